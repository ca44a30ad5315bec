use super::*;

/// A device that comes to a stage and is silent from then on.
fn silent_at(stage_said: Option<Stage>) -> (Scene, u64) {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), ..everybody() }, &[2]);
    if let Some(said) = stage_said {
        stage.reached(0, said);
    }
    let after_s = match stage_said {
        None => 100,
        Some(Stage::Downloading) => 200,
        Some(Stage::Downloaded) => 300,
        Some(Stage::Installing) => 400,
        Some(Stage::Rebooting) => 500,
        _ => 600,
    };
    (stage, after_s)
}

#[test]
fn silence_is_failure_in_every_state() {
    for said in [None, Some(Stage::Downloading), Some(Stage::Downloaded), Some(Stage::Installing)]
        .into_iter()
        .chain([Some(Stage::Rebooting), Some(Stage::Verifying)])
    {
        let (mut stage, after_s) = silent_at(said);
        let before = stage.status(0);
        stage.wait(after_s - 2);
        assert_eq!(stage.status(0), before, "{said:?}, before its deadline");
        stage.wait(3);
        assert_eq!((stage.status(0), stage.device(0).stage), (Status::TimedOut, Some(before)), "{said:?}");
        let late = stage.said(0, What::Ended { outcome: Outcome::Succeeded });
        assert_eq!(late, Err(Refused::Ended), "{said:?}");
        stage.check();
    }
}

#[test]
fn a_download_that_goes_on_has_a_deadline_all_the_same() {
    let (mut stage, _) = silent_at(Some(Stage::Downloading));
    for step in 1..20 {
        stage.wait(10);
        stage.said(0, What::Reached { stage: Stage::Downloading, bytes: step * 1_024 }).expect("taken");
    }
    stage.wait(11);
    assert_eq!(stage.status(0), Status::TimedOut);
    stage.check();
}

#[test]
fn whoever_never_comes_or_is_never_asked_has_a_deadline() {
    let planned = Plan { deadlines: short(), consent: true, ..everybody() };
    let mut stage = Scene::approved(planned, &[1]);
    let offline = Member { offline: true, ..member(5, 0) };
    let taken = Member { taken: true, ..member(6, 0) };
    stage.must(Event::Enlist { members: vec![offline, taken] });
    let effects = stage.start();
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Ask { .. })).count(), 1);
    let whys = |stage: &Scene| [0, 1, 2].map(|device| stage.device(device).why);
    assert_eq!(whys(&stage), [Some(Why::Consent), Some(Why::Offline), Some(Why::Dependency)]);
    stage.wait(998);
    assert_eq!(whys(&stage), [Some(Why::Consent), Some(Why::Offline), Some(Why::Dependency)]);
    stage.wait(4);
    assert_eq!([0, 1, 2].map(|device| stage.status(device)), [Status::TimedOut; 3]);
    assert_eq!(stage.campaign.report().total.started, 0, "none of them says anything of the image");
    stage.check();
}

#[test]
fn while_it_is_paused_nobody_is_late_who_only_waits() {
    let mut stage = Scene::approved(Plan { deadlines: short(), ..everybody() }, &[1]);
    stage.must(Event::Enlist { members: vec![Member { offline: true, ..member(5, 0) }] });
    stage.start();
    stage.must(Event::Pause { by: "ann".to_owned() });
    stage.wait(2_500);
    assert_eq!(stage.device(1).why, Some(Why::Offline));
    assert_eq!(stage.status(0), Status::TimedOut, "but who has an offer is as silent as ever");
    stage.must(Event::Resume { by: "ann".to_owned() });
    stage.wait(1_001);
    assert_eq!(stage.status(1), Status::TimedOut);
    stage.check();
}

#[test]
fn the_campaign_itself_has_a_deadline() {
    let planned = Plan { deadlines: Deadlines { campaign_s: 90, ..short() }, ..everybody() };
    let planned = Plan { rate: plan::Rate::Constant { per_minute: 1 }, ..planned };
    let (mut stage, _) = Scene::begun(planned, &[9]);
    stage.wait(88);
    assert_eq!(stage.state(), State::Running);
    stage.wait(3);
    assert_eq!(stage.state(), State::Partial);
    let total = stage.campaign.report().total;
    assert_eq!((total.of(Status::TimedOut), total.started), (9, 2));
    stage.check();
}

#[test]
fn a_paused_campaign_has_that_deadline_too() {
    let planned = Plan { deadlines: Deadlines { campaign_s: 90, ..short() }, ..everybody() };
    let (mut stage, _) = Scene::begun(planned, &[2]);
    stage.must(Event::Pause { by: "ann".to_owned() });
    stage.wait(91);
    assert_eq!(stage.state(), State::Partial);
    stage.check();
}

#[test]
fn that_the_hub_was_away_is_no_silence_of_devices() {
    for jump_s in [3_600_u64, 86_400, 10 * 365 * 86_400] {
        let (mut stage, _) =
            Scene::begun(Plan { deadlines: Deadlines { offered_s: 3_000, ..short() }, ..everybody() }, &[5]);
        stage.wait(100);
        // Nobody was there to hear anything, or the clock was set.
        stage.now_ms += jump_s * 1_000;
        stage.must(Event::Tick);
        assert_eq!(stage.status(0), Status::Offered, "a jump of {jump_s} s");
        stage.wait(2_500);
        assert_eq!(stage.status(0), Status::Offered, "a jump counts for five minutes");
        stage.wait(400);
        assert_eq!(stage.status(0), Status::TimedOut);
        stage.check();
    }
}

#[test]
fn a_clock_that_goes_back_stops_time_and_breaks_nothing() {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), ..everybody() }, &[2]);
    stage.wait(60);
    let before_ms = stage.now_ms;
    stage.now_ms -= 3_600_000;
    stage.reached(0, Stage::Downloading);
    assert!(matches!(stage.tell(Event::Tick), Err(Refused::Early { .. })));
    assert_eq!(
        Record::decode(stage.records.last().expect("one")).expect("a record").now_ms,
        before_ms.min(Record::decode(stage.records.last().expect("one")).expect("a record").now_ms)
    );
    stage.now_ms = before_ms;
    stage.wait(41);
    assert_eq!((stage.status(0), stage.status(1)), (Status::Downloading, Status::TimedOut));
    stage.wait(200);
    assert_eq!(stage.status(0), Status::TimedOut);
    stage.check();
}

#[test]
fn a_tick_that_comes_too_early_does_nothing() {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), ..everybody() }, &[2]);
    let due_ms = stage.campaign.next_deadline_ms().expect("a deadline");
    stage.now_ms = due_ms - 1;
    assert_eq!(stage.tell(Event::Tick), Err(Refused::Early { due_ms }));
    stage.now_ms = due_ms;
    stage.must(Event::Tick);
}

#[test]
fn a_cancellation_that_nobody_acknowledges_ends_too() {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), ..everybody() }, &[4]);
    stage.reached(1, Stage::Downloading);
    stage.reached(2, Stage::Installing);
    let effects = stage.must(Event::Abort { by: "ann".to_owned() });
    let asked = effects.iter().filter(|effect| matches!(effect, Effect::Cancel { .. })).count();
    assert_eq!((asked, stage.state()), (4, State::Aborting));
    stage.ended(0, Outcome::Cancelled);
    assert!(stage.device(0).acknowledged);
    // What it still downloads does not put it off.
    stage.wait(30);
    stage.reached(1, Stage::Downloaded);
    stage.wait(21);
    assert_eq!((stage.status(1), stage.device(1).acknowledged), (Status::Cancelled, false));
    assert_eq!(stage.status(2), Status::Installing, "who installs cannot stop");
    assert_eq!(stage.state(), State::Aborting);
    stage.reached(2, Stage::Rebooting);
    stage.ended(2, Outcome::Succeeded);
    assert_eq!((stage.status(2), stage.state()), (Status::Succeeded, State::Aborted));
    stage.check();
}
