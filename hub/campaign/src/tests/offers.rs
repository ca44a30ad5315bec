use super::*;
use crate::plan::Rate;

#[test]
fn offers_keep_to_the_rate() {
    let planned = Plan { rate: Rate::Constant { per_minute: 60 }, ..everybody() };
    let (mut stage, effects) = Scene::begun(planned, &[500]);
    let mut seen = offers(&effects);
    for minute in 1..=5 {
        seen.extend(offers(&stage.wait(60)));
        assert!((60 * minute..=60 * minute + 1).contains(&seen.len()), "{} in {minute} min", seen.len());
    }
    assert!(seen.is_sorted(), "in the order of the queue");
    assert!(matches!(stage.campaign.report().waits[0], Wait::Rate { .. }));
    stage.check();
}

#[test]
fn success_makes_offers_faster() {
    let rate =
        Rate::Exponential { base_per_minute: 6, factor_permille: 2_000, every: 2, max_per_minute: 100 };
    let (mut stage, effects) = Scene::begun(Plan { rate, ..everybody() }, &[500]);
    assert_eq!(offers(&effects), [0]);
    assert_eq!(offers(&stage.wait(10)), [1]);
    stage.succeeds(0);
    assert_eq!(stage.campaign.report().per_minute, 6);
    stage.succeeds(1);
    assert_eq!(stage.campaign.report().per_minute, 12);
    assert_eq!(offers(&stage.wait(60)).len(), 12);
    stage.check();
}

#[test]
fn no_more_download_at_a_time_than_the_plan_says() {
    let (mut stage, effects) = Scene::begun(Plan { downloads_max: 3, ..everybody() }, &[10]);
    assert_eq!(offers(&effects), [0, 1, 2]);
    assert_eq!(offers(&stage.wait(100)), [0_u32; 0]);
    assert_eq!(stage.campaign.report().waits[0], Wait::Downloads { devices: 7, downloads_max: 3 });
    assert_eq!(offers(&stage.reached(0, Stage::Downloading)), [0_u32; 0], "it still downloads");
    assert_eq!(offers(&stage.reached(0, Stage::Downloaded)), [3]);
    assert_eq!(offers(&stage.fails(1, FailureCode::NoSpace)), [4]);
    stage.check();
}

#[test]
fn what_one_event_brings_forth_is_bounded_and_the_rest_follows_at_once() {
    let planned = Plan { rate: Rate::Constant { per_minute: 1_000_000 }, ..everybody() };
    let (mut stage, effects) = Scene::begun(planned, &[5_000]);
    assert_eq!(offers(&effects).len(), limits::OFFERS_PER_EVENT_MAX);
    assert_eq!(stage.campaign.next_deadline_ms(), Some(stage.now_ms));
    assert_eq!(offers(&stage.wait(0)).len(), 5_000 - limits::OFFERS_PER_EVENT_MAX);
    stage.check();
}

#[test]
fn devices_are_changed_in_their_own_night() {
    let windows = vec!["daily 02:00 +120".parse().expect("a window")];
    let mut stage = Scene::approved(Plan { windows, ..everybody() }, &[1]);
    let zoned = |number, zone: &str| Member { zone: Some(zone.parse().expect(zone)), ..member(number, 0) };
    stage.must(Event::Enlist { members: vec![zoned(1, "Europe/Berlin"), zoned(2, "America/New_York")] });
    // It is midnight in Greenwich, one in Berlin, and seven in the evening in New York.
    assert_eq!(offers(&stage.start()), [0_u32; 0]);
    let waits = stage.campaign.report().waits;
    assert_eq!(waits.iter().filter(|wait| matches!(wait, Wait::Window { .. })).count(), 3);
    let hour = 3_600;
    assert_eq!(offers(&stage.wait(hour - 1)), [0_u32; 0]);
    let effects = stage.wait(2);
    let until_ms = Some(BEGIN_MS + 3 * hour * 1_000);
    let offer = Effect::Offer { execution: stage.execution(1), attempt: 1, install: true, until_ms };
    assert!(effects.contains(&offer), "Berlin: {effects:?}");
    assert_eq!(offers(&stage.wait(hour)), [0], "Greenwich");
    assert_eq!(offers(&stage.wait(5 * hour)), [2], "New York");
    stage.check();
}

#[test]
fn a_device_may_download_before_its_window_and_installs_in_it() {
    let windows = vec!["daily 02:00 +120".parse().expect("a window")];
    let planned = Plan { windows, download_outside: true, deadlines: short(), ..everybody() };
    let (mut stage, effects) = Scene::begun(planned, &[2]);
    let offer = |install| Effect::Offer {
        execution: ExecutionId::new(100).expect("one"),
        attempt: 1,
        install,
        until_ms: None,
    };
    assert!(effects.contains(&offer(false)));
    assert!(stage.campaign.outstanding().contains(&offer(false)));
    stage.reached(0, Stage::Downloading);
    let effects = stage.reached(0, Stage::Downloaded);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Install { .. })));
    let effects = stage.wait(2 * 3_600);
    assert_eq!(stage.status(0), Status::Downloaded, "it is not late: it was told to wait");
    let until_ms = Some(BEGIN_MS + 4 * 3_600_000);
    let install = Effect::Install { execution: stage.execution(0), attempt: 1, until_ms };
    assert!(effects.contains(&install), "{effects:?}");
    assert!(stage.campaign.outstanding().contains(&install));
    stage.wait(301);
    assert_eq!(stage.status(0), Status::TimedOut, "now it is");
    stage.check();
}

#[test]
fn nobody_is_changed_who_did_not_agree_where_that_is_asked() {
    let (mut stage, effects) = Scene::begun(Plan { consent: true, ..everybody() }, &[2]);
    assert_eq!(offers(&effects), [0_u32; 0]);
    let consent = |stage: &mut Scene, device, granted| {
        let execution = stage.execution(device);
        stage.tell(Event::Consent { execution, granted })
    };
    assert_eq!(offers(&consent(&mut stage, 0, true).expect("taken")), [0]);
    assert_eq!(consent(&mut stage, 0, false), Err(Refused::Again), "it has its offer");
    consent(&mut stage, 1, false).expect("taken");
    assert_eq!(stage.status(1), Status::Rejected);
    stage.check();
}

#[test]
fn an_offer_waits_for_who_is_away_and_for_who_is_with_another() {
    let mut stage = Scene::approved(everybody(), &[0]);
    let away = Member { offline: true, ..member(1, 0) };
    let taken = Member { taken: true, ..member(2, 0) };
    stage.must(Event::Enlist { members: vec![away, taken] });
    assert_eq!(offers(&stage.start()), [0_u32; 0]);
    let (first, second) = (stage.execution(0), stage.execution(1));
    assert_eq!(stage.tell(Event::Seen { execution: first, online: false }), Err(Refused::Again));
    assert_eq!(offers(&stage.must(Event::Seen { execution: first, online: true })), [0]);
    assert_eq!(offers(&stage.must(Event::Freed { execution: second })), [1]);
    assert_eq!(stage.tell(Event::Freed { execution: second }), Err(Refused::Again));
    stage.check();
}

#[test]
fn waits_before_another_attempt_double_and_are_spread() {
    let retry =
        plan::Retry { attempts: 5, jitter_permille: 500, base_s: 100, cap_s: 300, ..plan::Retry::default() };
    let (mut stage, _) = Scene::begun(Plan { retry, ..everybody() }, &[200]);
    for (attempt, wait_s) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        let mut waits = Vec::new();
        for device in 0..200 {
            stage.fails(device, FailureCode::Transfer);
            waits.push(stage.campaign.cells[device as usize].due_s - stage.campaign.clock.seconds());
        }
        let (least, most) = (*waits.iter().min().expect("one"), *waits.iter().max().expect("one"));
        assert!(least >= wait_s / 2 && most <= wait_s * 3 / 2, "attempt {attempt}: {least} to {most}");
        assert!(most - least > wait_s / 2, "attempt {attempt}: all come back together");
        stage.wait(u64::from(wait_s) * 3 / 2 + 1);
    }
    stage.check();
}

#[test]
fn reasons_are_grouped_and_the_most_frequent_comes_first() {
    let (mut stage, _) = Scene::begun(everybody(), &[6]);
    for device in 0..3 {
        stage.fails(device, FailureCode::NoSpace);
    }
    stage.reached(3, Stage::Rebooting);
    stage.ended(3, Outcome::RolledBack);
    let reasons = stage.campaign.report().reasons;
    assert_eq!(reasons[0], ((Status::Failed, Status::Offered, Some(FailureCode::NoSpace)), 3));
    assert_eq!(reasons[1], ((Status::RolledBack, Status::Rebooting, None), 1));
    assert_eq!(stage.campaign.devices_from(4).count(), 2);
    stage.check();
}
