use super::*;

#[test]
fn success_is_that_it_booted_and_said_so() {
    let (mut stage, effects) = Scene::begun(everybody(), &[1]);
    assert_eq!(offers(&effects), [0]);
    for (stage_said, status) in [
        (Stage::Downloading, Status::Downloading),
        (Stage::Downloaded, Status::Downloaded),
        (Stage::Installing, Status::Installing),
        (Stage::Rebooting, Status::Rebooting),
        (Stage::Verifying, Status::Verifying),
    ] {
        stage.reached(0, stage_said);
        assert_eq!(stage.status(0), status);
    }
    let effects = stage.ended(0, Outcome::Succeeded);
    let execution = stage.execution(0);
    assert_eq!(effects[0], Effect::Close { execution, outcome: Outcome::Succeeded });
    assert_eq!(stage.state(), State::Complete);
    stage.check();
}

#[test]
fn a_success_before_the_restart_is_none_until_the_device_says_what_it_runs() {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), ..everybody() }, &[2]);
    for device in [0, 1] {
        stage.reached(device, Stage::Installing);
        // As hawkBit's clients say it, who close before they restart.
        stage.ended(device, Outcome::Succeeded);
        assert_eq!(stage.status(device), Status::Verifying);
    }
    stage.runs(0, new_image()).expect("taken");
    assert_eq!(stage.status(0), Status::Succeeded);
    stage.wait(600);
    assert_eq!(stage.status(1), Status::TimedOut, "it never came back");
    stage.check();
}

#[test]
fn to_boot_the_image_is_not_enough_to_be_well() {
    let (mut stage, _) = Scene::begun(everybody(), &[1]);
    stage.reached(0, Stage::Rebooting);
    stage.runs(0, new_image()).expect("taken");
    assert_eq!(stage.status(0), Status::Verifying, "its health is not yet known");
    stage.ended(0, Outcome::RolledBack);
    assert_eq!(stage.status(0), Status::RolledBack);
    stage.check();
}

#[test]
fn who_restarts_into_the_old_image_has_gone_back() {
    let (mut stage, _) = Scene::begun(everybody(), &[1]);
    stage.reached(0, Stage::Installing);
    assert_eq!(stage.runs(0, old_image()), Err(Refused::Again), "of course it runs that still");
    stage.reached(0, Stage::Rebooting);
    stage.runs(0, old_image()).expect("taken");
    assert_eq!(stage.status(0), Status::RolledBack);
    stage.check();
}

#[test]
fn where_it_has_to_be_proven_a_word_is_not_enough() {
    let planned = Plan { proof: plan::Proof::Verified, deadlines: short(), ..everybody() };
    let (mut stage, _) = Scene::begun(planned, &[3]);
    let verified = |stage: &mut Scene, device| {
        let execution = stage.execution(device);
        stage.tell(Event::Verified { execution })
    };
    for device in 0..3 {
        stage.reached(device, Stage::Rebooting);
    }
    stage.ended(0, Outcome::Succeeded);
    assert_eq!(stage.status(0), Status::Verifying);
    verified(&mut stage, 0).expect("taken");
    assert_eq!(stage.status(0), Status::Succeeded);
    // The other way round.
    verified(&mut stage, 1).expect("taken");
    assert_eq!(stage.status(1), Status::Verifying);
    stage.ended(1, Outcome::Succeeded);
    assert_eq!(stage.status(1), Status::Succeeded);
    stage.ended(2, Outcome::Succeeded);
    stage.wait(600);
    assert_eq!(stage.status(2), Status::TimedOut, "nothing proved it");
    assert_eq!(stage.campaign.report().total.verified, 2);
    stage.check();
}

#[test]
fn what_is_proven_is_counted_apart_from_what_is_said() {
    let (mut stage, _) = Scene::begun(everybody(), &[2]);
    stage.succeeds(0);
    stage.succeeds(1);
    let execution = stage.execution(1);
    stage.must(Event::Verified { execution });
    assert_eq!(stage.tell(Event::Verified { execution }), Err(Refused::Again));
    let total = stage.campaign.report().total;
    assert_eq!((total.of(Status::Succeeded), total.verified), (2, 1));
    stage.check();
}

#[test]
fn what_is_said_twice_or_too_late_changes_nothing() {
    let (mut stage, _) = Scene::begun(everybody(), &[2]);
    let execution = stage.execution(0);
    let report = |attempt, number, stage, bytes| Event::Report {
        execution,
        attempt,
        number,
        what: What::Reached { stage, bytes },
    };
    stage.must(report(1, 5, Stage::Downloading, 4_096));
    assert_eq!(stage.tell(report(1, 5, Stage::Downloading, 4_096)), Err(Refused::Again), "the same");
    assert_eq!(stage.tell(report(1, 4, Stage::Downloaded, 0)), Err(Refused::Again), "one before it");
    assert_eq!(
        stage.tell(report(2, 6, Stage::Downloaded, 0)),
        Err(Refused::Attempt { found: 2, current: 1 })
    );
    assert_eq!(stage.tell(report(1, 6, Stage::Offered, 0)), Err(Refused::Backwards));
    // Without numbers, as DDI has none, the stage decides.
    assert_eq!(stage.tell(report(1, 0, Stage::Downloading, 4_096)), Err(Refused::Again));
    stage.must(report(1, 0, Stage::Downloading, 8_192));
    assert_eq!(stage.device(0).kib, 8);
    stage.must(report(1, 0, Stage::Installing, 0));
    assert_eq!(stage.tell(report(1, 0, Stage::Downloaded, 0)), Err(Refused::Backwards));
    stage.fails(0, FailureCode::HealthCheck);
    let late = Event::Report {
        execution,
        attempt: 1,
        number: 99,
        what: What::Ended { outcome: Outcome::Succeeded },
    };
    assert_eq!(stage.tell(late), Err(Refused::Ended));
    assert_eq!(stage.status(0), Status::Failed);
    for harmless in [Refused::Again, Refused::Ended, Refused::Backwards] {
        assert!(harmless.is_harmless());
    }
    stage.check();
}

#[test]
fn who_comes_back_after_its_end_is_remembered_and_not_moved() {
    let (mut stage, _) = Scene::begun(everybody(), &[3]);
    stage.fails(0, FailureCode::HealthCheck);
    stage.runs(0, new_image()).expect("remembered");
    assert_eq!(stage.runs(0, new_image()), Err(Refused::Ended), "once");
    assert_eq!((stage.status(0), stage.device(0).late), (Status::Failed, true));
    stage.succeeds(1);
    stage.runs(1, old_image()).expect("remembered");
    assert_eq!((stage.status(1), stage.device(1).reverted), (Status::Succeeded, true));
    let total = stage.campaign.report().total;
    assert_eq!((total.late, total.reverted), (1, 1));
    stage.check();
}

#[test]
fn who_runs_it_before_it_is_offered_is_done() {
    let planned = Plan { rate: plan::Rate::Constant { per_minute: 1 }, ..everybody() };
    let (mut stage, effects) = Scene::begun(planned, &[3]);
    assert_eq!(offers(&effects), [0]);
    stage.runs(1, new_image()).expect("taken");
    assert_eq!(stage.status(1), Status::AlreadyInstalled);
    stage.ended(0, Outcome::AlreadyInstalled);
    assert_eq!(stage.status(0), Status::AlreadyInstalled, "so said the device when it was offered it");
    assert_eq!(offers(&stage.wait(61)), [2], "its turn went to the next");
    stage.succeeds(2);
    assert_eq!(stage.state(), State::Complete);
    stage.check();
}

#[test]
fn who_is_gone_or_taken_over_is_told_to_stop_and_is_no_failure() {
    let (mut stage, _) = Scene::begun(everybody(), &[3]);
    let (gone, taken) = (stage.execution(0), stage.execution(1));
    let effects = stage.must(Event::Gone { execution: gone });
    assert_eq!(effects[0], Effect::Cancel { execution: gone, attempt: 1 });
    stage.must(Event::Superseded { execution: taken });
    assert_eq!((stage.status(0), stage.status(1)), (Status::Gone, Status::Superseded));
    assert_eq!(stage.tell(Event::Gone { execution: gone }), Err(Refused::Ended));
    stage.succeeds(2);
    assert_eq!(stage.state(), State::Partial);
    stage.check();
}

#[test]
fn what_comes_on_a_topic_is_what_the_engine_hears() {
    use muster_schemas::firmware;
    let (mut stage, _) = Scene::begun(everybody(), &[1]);
    let said = |attempt, number, what| {
        Event::reported(&firmware::Event {
            execution: ExecutionId::new(100).expect("one"),
            attempt,
            number,
            what,
        })
    };
    let reached = firmware::EventKind::Reached { stage: Stage::Downloading, bytes: Some(5 * 1_024) };
    stage.must(said(1, 1, reached.clone()).expect("an event"));
    assert_eq!((stage.status(0), stage.device(0).kib), (Status::Downloading, 5));
    assert_eq!(said(256, 2, reached), None);
    let ended =
        firmware::EventKind::Ended { outcome: failed(), detail: "the probe got no answer".to_owned() };
    stage.must(said(1, 2, ended).expect("an event"));
    assert_eq!(stage.device(0).code, Some(FailureCode::HealthCheck));
}

#[test]
fn no_device_says_what_only_the_hub_can() {
    let (mut stage, _) = Scene::begun(everybody(), &[1]);
    for outcome in [Outcome::Gone, Outcome::Superseded] {
        assert_eq!(stage.said(0, What::Ended { outcome }), Err(Refused::NotForDevices));
    }
    let execution = ExecutionId::new(99).expect("a number");
    assert_eq!(stage.tell(Event::Gone { execution }), Err(Refused::Unknown { execution }));
    let execution = ExecutionId::new(101).expect("a number");
    assert_eq!(stage.tell(Event::Gone { execution }), Err(Refused::Unknown { execution }));
}
