use super::*;

fn planned(failure: Failure) -> Plan {
    Plan { failure: vec![failure], deadlines: short(), ..everybody() }
}

fn pause(limit: Limit, started_min: u32) -> Failure {
    too_much(limit, started_min, Action::Pause)
}

/// Ends devices one after the other until the campaign stops; how many it took.
fn until_it_stops(failure: Failure, devices: u32, outcome: Outcome) -> Option<u32> {
    // Its wave is content with anything, so that nothing else stops it.
    let success = Success { permille: 0, started_permille: 1_000 };
    let content = Wave { success, ..wave(Size::Rest) };
    let (mut stage, _) = Scene::begun(Plan { waves: vec![content], ..planned(failure) }, &[devices]);
    let stopped = (0..devices).find(|device| {
        stage.ended(*device, outcome);
        stage.state() == State::PausedByThreshold
    });
    stage.check();
    stopped.map(|device| device + 1)
}

#[test]
fn a_count_trips_at_that_count_and_not_before() {
    for count in [1, 2, 10] {
        assert_eq!(until_it_stops(pause(Limit::Count(count), 0), 100, failed()), Some(count));
    }
    assert_eq!(until_it_stops(pause(Limit::Count(101), 0), 100, failed()), None);
}

#[test]
fn a_part_trips_over_the_devices_that_started() {
    // A hundred have started: five of a hundred are the fifth, whatever the others will say.
    assert_eq!(until_it_stops(pause(Limit::Permille(50), 0), 100, failed()), Some(5));
    assert_eq!(until_it_stops(pause(Limit::Permille(1_000), 0), 100, failed()), Some(100));
    // Only ten of a thousand have started, so that the first is a tenth.
    let slow = Plan { downloads_max: 10, ..planned(pause(Limit::Permille(100), 0)) };
    let (mut stage, effects) = Scene::begun(slow, &[1_000]);
    assert_eq!(offers(&effects).len(), 10);
    stage.fails(0, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::PausedByThreshold);
}

#[test]
fn of_too_few_nothing_is_concluded() {
    let slow = |started_min| Plan { downloads_max: 5, ..planned(pause(Limit::Permille(1), started_min)) };
    let (mut stage, _) = Scene::begun(slow(8), &[100]);
    // Each that fails makes room for another: the fourth failure comes when eight have started.
    for device in 0..3 {
        stage.fails(device, FailureCode::BootFailed);
        assert_eq!(stage.state(), State::Running, "{device}");
    }
    stage.fails(3, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::PausedByThreshold);
    let (mut without, _) = Scene::begun(slow(0), &[100]);
    without.fails(0, FailureCode::BootFailed);
    assert_eq!(without.state(), State::PausedByThreshold, "that is what the minimum changes");
}

#[test]
fn each_class_counts_where_it_is_asked_for_and_nowhere_else() {
    let none = Classes { failed: false, rolled_back: false, timed_out: false, rejected: false };
    let classes = [
        (Classes { failed: true, ..none }, failed()),
        (Classes { rolled_back: true, ..none }, Outcome::RolledBack),
        (Classes { rejected: true, ..none }, Outcome::Rejected),
    ];
    for (at, (counted, _)) in classes.iter().enumerate() {
        for (other, (_, outcome)) in classes.iter().enumerate() {
            let failure = Failure { classes: *counted, ..pause(Limit::Count(1), 0) };
            let stops = until_it_stops(failure, 3, *outcome).is_some();
            assert_eq!(stops, at == other, "{counted:?} and {outcome:?}");
        }
    }
    for timed_out in [true, false] {
        let failure = Failure { classes: Classes { timed_out, ..none }, ..pause(Limit::Count(1), 0) };
        let (mut stage, _) = Scene::begun(planned(failure), &[3]);
        let alarms = alarms(&stage.wait(101));
        let tripped = alarms.iter().any(|alarm| matches!(alarm, Alarm::Threshold { .. }));
        assert_eq!(tripped, timed_out, "silence: {alarms:?}");
    }
}

#[test]
fn what_says_nothing_of_the_image_does_not_count() {
    for outcome in [Outcome::AlreadyInstalled, Outcome::Incompatible] {
        assert_eq!(until_it_stops(pause(Limit::Count(1), 0), 3, outcome), None);
    }
}

#[test]
fn devices_that_fall_silent_stop_a_campaign() {
    let (mut stage, _) = Scene::begun(planned(pause(Limit::Permille(300), 0)), &[10]);
    for device in 3..10 {
        stage.reached(device, Stage::Downloading);
    }
    let effects = stage.wait(101);
    assert_eq!(alarms(&effects), [Alarm::Threshold { wave: None, bad: 3, started: 10 }]);
    assert_eq!(stage.state(), State::PausedByThreshold);
    stage.check();
}

#[test]
fn the_very_call_that_trips_makes_no_offer() {
    let slow = Plan { downloads_max: 10, ..planned(pause(Limit::Count(3), 0)) };
    let (mut stage, _) = Scene::begun(slow, &[1_000]);
    for device in 0..2 {
        let effects = stage.fails(device, FailureCode::BootFailed);
        assert_eq!(offers(&effects).len(), 1, "the next has its turn");
    }
    let effects = stage.fails(2, FailureCode::BootFailed);
    assert_eq!(alarms(&effects), [Alarm::Threshold { wave: None, bad: 3, started: 12 }]);
    assert_eq!(offers(&effects), [0_u32; 0]);
    assert_eq!(offers(&stage.wait(90)), [0_u32; 0], "nor does any after it");
    stage.check();
}

#[test]
fn a_wave_has_thresholds_of_its_own() {
    let strict = Wave { failure: vec![pause(Limit::Count(1), 0)], ..lenient(Size::Count(2)) };
    let planned = Plan { deadlines: short(), ..plan(vec![strict, lenient(Size::Rest)]) };
    let (mut stage, _) = Scene::begun(planned.clone(), &[2, 5]);
    stage.succeeds(0);
    stage.succeeds(1);
    stage.fails(2, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::Running, "that is another wave");
    let (mut stage, _) = Scene::begun(planned, &[2, 5]);
    let effects = stage.fails(0, FailureCode::BootFailed);
    assert_eq!(alarms(&effects), [Alarm::Threshold { wave: Some(0), bad: 1, started: 2 }]);
    assert_eq!(stage.state(), State::PausedByThreshold);
    stage.check();
}

#[test]
fn a_device_that_is_tried_again_counts_when_it_has_no_attempt_left() {
    let retry = plan::Retry { attempts: 3, jitter_permille: 0, ..plan::Retry::default() };
    let planned = Plan { retry, ..planned(pause(Limit::Count(1), 0)) };
    let (mut stage, _) = Scene::begun(planned, &[2]);
    stage.succeeds(1);
    for (attempt, wait_s) in [(1, 300), (2, 600)] {
        assert_eq!(stage.device(0).attempt, attempt);
        let effects = stage.fails(0, FailureCode::Transfer);
        assert!(effects.contains(&Effect::Withdraw { execution: stage.execution(0) }));
        assert_eq!((stage.status(0), stage.state()), (Status::Retrying, State::Running));
        assert_eq!(offers(&stage.wait(wait_s - 2)), [0_u32; 0], "attempt {attempt}");
        assert_eq!(offers(&stage.wait(3)), [0], "attempt {attempt}");
    }
    let effects = stage.fails(0, FailureCode::Transfer);
    assert_eq!(stage.state(), State::PausedByThreshold);
    assert_eq!(alarms(&effects).len(), 1);
    stage.check();
}

#[test]
fn what_is_not_worth_another_attempt_counts_at_once() {
    let retry = plan::Retry {
        attempts: 3,
        codes: vec![FailureCode::Transfer, FailureCode::Timeout],
        ..plan::Retry::default()
    };
    let planned = Plan { retry, ..planned(pause(Limit::Count(1), 0)) };
    let (mut stage, _) = Scene::begun(planned.clone(), &[2]);
    stage.fails(0, FailureCode::BootFailed);
    assert_eq!((stage.status(0), stage.state()), (Status::Failed, State::PausedByThreshold));
    // Silence is tried again while it can be the network, and not after it began to install.
    let (mut stage, _) = Scene::begun(planned, &[2]);
    stage.reached(0, Stage::Installing);
    stage.wait(101);
    assert_eq!(stage.status(1), Status::Retrying);
    stage.wait(300);
    assert_eq!(stage.status(0), Status::TimedOut);
    stage.check();
}

#[test]
fn a_threshold_aborts_or_rolls_back_if_it_says_so() {
    for (action, state) in [(Action::Abort, State::Aborting), (Action::Rollback, State::RollingBack)] {
        let slow = Plan { downloads_max: 4, ..planned(too_much(Limit::Count(2), 0, action)) };
        let (mut stage, _) = Scene::begun(slow, &[20]);
        stage.succeeds(0);
        stage.reached(1, Stage::Verifying);
        stage.fails(2, FailureCode::BootFailed);
        let effects = stage.fails(3, FailureCode::BootFailed);
        assert_eq!((stage.state(), offers(&effects)), (state, vec![]));
        let undo = effects.contains(&Effect::Undo);
        assert_eq!(undo, action == Action::Rollback);
        let verifying = if undo { Status::Superseded } else { Status::Verifying };
        assert_eq!(stage.status(1), verifying);
        assert_eq!(stage.status(19), Status::Cancelled, "who was never offered it");
        stage.check();
    }
}

#[test]
fn what_a_person_has_seen_does_not_trip_again_but_more_of_it_does() {
    let (mut stage, _) = Scene::begun(planned(pause(Limit::Count(2), 0)), &[9]);
    stage.fails(0, FailureCode::BootFailed);
    stage.fails(1, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::PausedByThreshold);
    stage.must(Event::Resume { by: "ann".to_owned() });
    stage.fails(2, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::Running);
    stage.fails(3, FailureCode::BootFailed);
    assert_eq!(stage.state(), State::PausedByThreshold);
    stage.check();
}

#[test]
fn what_a_person_has_seen_of_a_wave_does_not_trip_again_but_more_of_it_does() {
    let strict = Wave { failure: vec![pause(Limit::Count(2), 0)], ..lenient(Size::Rest) };
    let (mut stage, _) = Scene::begun(plan(vec![strict]), &[9]);
    for expected in [State::Running, State::PausedByThreshold, State::Running, State::PausedByThreshold] {
        let next = (0..9).find(|device| !stage.status(*device).is_ended()).expect("one");
        stage.fails(next, FailureCode::BootFailed);
        assert_eq!(stage.state(), expected);
        if expected != State::Running {
            stage.must(Event::Resume { by: "ann".to_owned() });
        }
    }
    stage.check();
}

#[test]
fn who_goes_back_after_it_succeeded_counts_as_one_that_went_back() {
    let soaking = Wave { soak_s: 3_600, ..lenient(Size::Rest) };
    let planned = Plan { failure: vec![pause(Limit::Count(1), 0)], ..plan(vec![soaking]) };
    let (mut stage, _) = Scene::begun(planned, &[2]);
    stage.succeeds(0);
    stage.succeeds(1);
    assert_eq!(stage.state(), State::Running, "it is being watched");
    let effects = stage.runs(1, old_image()).expect("taken");
    assert_eq!(alarms(&effects), [Alarm::Threshold { wave: None, bad: 1, started: 2 }]);
    assert_eq!(stage.state(), State::PausedByThreshold);
    stage.check();
}
