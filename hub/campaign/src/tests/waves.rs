use super::*;
use crate::plan::Gate;

fn by() -> String {
    "ann".to_owned()
}

fn two(first: Wave) -> Plan {
    Plan { deadlines: short(), ..plan(vec![first, lenient(Size::Rest)]) }
}

#[test]
fn the_next_wave_begins_when_enough_of_one_succeeded() {
    let first = Wave { success: Success { permille: 750, started_permille: 1_000 }, ..wave(Size::Count(4)) };
    let (mut stage, effects) = Scene::begun(two(first), &[4, 3]);
    assert_eq!(offers(&effects), [0, 1, 2, 3]);
    stage.succeeds(0);
    stage.fails(1, FailureCode::BootFailed);
    assert_eq!(offers(&stage.succeeds(2)), [0_u32; 0], "two of four");
    assert_eq!(offers(&stage.succeeds(3)), [4, 5, 6], "three of four");
    for device in 4..7 {
        stage.succeeds(device);
    }
    assert_eq!(stage.state(), State::Partial);
    stage.check();
}

#[test]
fn enough_has_to_have_started() {
    let success = Success { permille: 700, started_permille: 500 };
    let first = Wave { success, ..wave(Size::Count(10)) };
    let (mut stage, _) = Scene::begun(Plan { downloads_max: 1, ..two(first) }, &[10, 3]);
    // Each that has downloaded makes room for the next: when the third succeeds, four have started.
    for device in 0..3 {
        stage.succeeds(device);
        assert_eq!(stage.campaign.report().waves[1].state, WaveState::Waiting, "{device}");
    }
    stage.succeeds(3);
    assert_eq!(stage.campaign.report().waves[0].state, WaveState::Passed, "four of five, of ten");
    assert_eq!(stage.campaign.report().waves[1].state, WaveState::Running);
    stage.check();
}

#[test]
fn a_wave_of_which_too_few_succeeded_stops_the_campaign() {
    let first = Wave { success: Success { permille: 900, started_permille: 1_000 }, ..wave(Size::Count(2)) };
    let (mut stage, _) = Scene::begun(two(first), &[2, 3]);
    stage.succeeds(0);
    let effects = stage.fails(1, FailureCode::BootFailed);
    assert_eq!(alarms(&effects), [Alarm::WaveFailed { wave: 0 }]);
    assert_eq!((stage.state(), offers(&effects)), (State::PausedByThreshold, vec![]));
    assert_eq!(
        offers(&stage.must(Event::Resume { by: by() })),
        [2, 3, 4],
        "a person says that it is good enough"
    );
    stage.check();
}

#[test]
fn who_left_says_nothing_of_whether_a_wave_is_good_enough() {
    let (mut stage, _) = Scene::begun(two(wave(Size::Count(4))), &[4, 1]);
    stage.succeeds(0);
    stage.ended(1, Outcome::Incompatible);
    let (gone, superseded) = (stage.execution(2), stage.execution(3));
    stage.must(Event::Gone { execution: gone });
    assert_eq!(
        offers(&stage.must(Event::Superseded { execution: superseded })),
        [4],
        "all that were left succeeded"
    );
    stage.check();
}

#[test]
fn a_wave_is_watched_before_the_next_begins() {
    let (mut stage, _) = Scene::begun(two(Wave { soak_s: 600, ..lenient(Size::Count(1)) }), &[1, 1]);
    assert_eq!(offers(&stage.succeeds(0)), [0_u32; 0]);
    assert_eq!(offers(&stage.wait(598)), [0_u32; 0]);
    assert!(matches!(stage.campaign.report().waits[0], Wait::Soak { wave: 0, .. }));
    assert_eq!(offers(&stage.wait(3)), [1]);
    stage.check();
}

#[test]
fn a_gate_is_opened_by_hand_or_by_whoever_is_called() {
    for gate in [Gate::Manual, Gate::Webhook] {
        let (mut stage, _) = Scene::begun(two(Wave { gate, ..lenient(Size::Count(1)) }), &[1, 1]);
        let effects = stage.succeeds(0);
        assert_eq!(effects.contains(&Effect::CallGate { wave: 0 }), gate == Gate::Webhook);
        let again = stage.campaign.outstanding().contains(&Effect::CallGate { wave: 0 });
        assert_eq!(again, gate == Gate::Webhook);
        assert_eq!(offers(&stage.wait(600)), [0_u32; 0]);
        assert!(matches!(stage.campaign.report().waits[0], Wait::Gate { wave: 0, .. }));
        let open = Event::Gate { by: by(), wave: 0, open: true };
        let other = Event::Gate { by: by(), wave: 1, open: true };
        assert_eq!(stage.tell(other), Err(Refused::NoGate { wave: 1 }));
        assert_eq!(offers(&stage.must(open.clone())), [1]);
        assert_eq!(stage.tell(open), Err(Refused::NoGate { wave: 0 }), "once");
        stage.check();
    }
}

#[test]
fn a_gate_that_stays_shut_pauses_the_campaign() {
    let gated = || two(Wave { gate: Gate::Webhook, ..lenient(Size::Count(1)) });
    let (mut stage, _) = Scene::begun(gated(), &[1, 1]);
    stage.succeeds(0);
    stage.wait(698);
    assert_eq!(stage.state(), State::Running);
    assert_eq!(alarms(&stage.wait(3)), [Alarm::Shut { wave: 0 }], "nobody answered");
    assert_eq!(stage.state(), State::PausedByGate);
    let effects = stage.must(Event::Resume { by: by() });
    assert!(effects.contains(&Effect::CallGate { wave: 0 }), "asked once more");
    stage.must(Event::Gate { by: by(), wave: 0, open: false });
    assert_eq!(stage.state(), State::PausedByGate, "no is no");
    assert_eq!(offers(&stage.must(Event::Gate { by: by(), wave: 0, open: true })), [1], "and may become yes");
    stage.check();
}

#[test]
fn nobody_is_offered_it_while_it_is_paused() {
    let (mut stage, _) = Scene::begun(Plan { downloads_max: 1, ..everybody() }, &[3]);
    stage.must(Event::Pause { by: by() });
    assert_eq!(offers(&stage.succeeds(0)), [0_u32; 0], "who has it goes on");
    assert_eq!(offers(&stage.wait(3_600)), [0_u32; 0]);
    assert_eq!(stage.campaign.report().waits[0], Wait::Operator { state: State::PausedByOperator });
    assert_eq!(offers(&stage.must(Event::Resume { by: by() })), [1]);
    stage.check();
}

#[test]
fn a_withdrawn_manifest_is_offered_to_nobody_again() {
    let (mut stage, _) = Scene::begun(Plan { downloads_max: 2, deadlines: short(), ..everybody() }, &[5]);
    stage.reached(1, Stage::Installing);
    let effects = stage.must(Event::Withdrawn);
    assert_eq!(alarms(&effects), [Alarm::Stale]);
    let cancelled: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Cancel { .. })).collect();
    // Device 2 came after device 1 began to install.
    assert_eq!(cancelled.len(), 2);
    assert!(matches!(stage.tell(Event::Resume { by: by() }), Err(Refused::State { .. })));
    stage.must(Event::Abort { by: by() });
    stage.wait(401);
    assert_eq!(stage.state(), State::Aborted);
    stage.check();
}

#[test]
fn those_who_come_later_join_the_last_wave() {
    let planned = Plan { dynamic: true, ..two(lenient(Size::Count(1))) };
    let (mut stage, _) = Scene::begun(planned, &[1, 1]);
    let join = |number, wave| Event::Enlist { members: vec![member(number, wave)] };
    assert!(matches!(stage.tell(join(50, 0)), Err(Refused::Member { .. })));
    assert_eq!(offers(&stage.must(join(50, 1))), [0_u32; 0], "the last wave has not begun");
    assert!(matches!(stage.tell(join(50, 1)), Err(Refused::Member { .. })), "once");
    assert!(matches!(stage.tell(join(1, 1)), Err(Refused::Member { .. })), "it was there from the start");
    assert_eq!(offers(&stage.succeeds(0)), [1, 2]);
    stage.succeeds(1);
    stage.succeeds(2);
    assert_eq!(stage.state(), State::Running, "others may come");
    assert!(matches!(stage.campaign.report().waits[..], [Wait::Members { .. }]));
    // Any order.
    assert_eq!(offers(&stage.must(join(40, 1))), [3]);
    assert_eq!(stage.campaign.find(&member(40, 1).device), Some(stage.execution(3)));
    stage.succeeds(3);
    stage.check();
    stage.wait(100_000);
    assert_eq!(stage.state(), State::Complete, "until its deadline");
    let (mut frozen, _) = Scene::begun(everybody(), &[1]);
    assert!(matches!(frozen.tell(join(50, 0)), Err(Refused::State { .. })));
}

#[test]
fn what_is_rolled_back_is_undone_by_another_campaign() {
    let (mut stage, _) = Scene::begun(Plan { deadlines: short(), downloads_max: 5, ..everybody() }, &[9]);
    stage.succeeds(0);
    stage.reached(1, Stage::Verifying);
    stage.reached(2, Stage::Downloading);
    stage.fails(3, FailureCode::BootFailed);
    let effects = stage.must(Event::Rollback { by: by() });
    assert!(effects.contains(&Effect::Undo) && stage.campaign.outstanding().contains(&Effect::Undo));
    let inverse = stage.campaign.inverse().expect("a way back");
    let names: Vec<_> = inverse.members.iter().map(|member| member.device.as_str().to_owned()).collect();
    assert_eq!(names, ["d0000000", "d0000001"], "who has it, and who was at it");
    assert_eq!((inverse.plan.check(), inverse.plan.manifest), (Ok(()), manifest(3)));
    let created = Created { undoes: Some(7), number: 8, ..created(inverse.plan, 9) };
    let (mut undoing, _) = Campaign::create(stage.now_ms, created).expect("a campaign");
    assert_eq!(undoing.state(), State::Scheduled, "it was approved with the one that it undoes");
    undoing.apply(stage.now_ms, &Event::Enlist { members: inverse.members }).expect("brought in");
    let edit = Event::Edit { by: by(), plan: Box::new(everybody()) };
    assert!(undoing.apply(stage.now_ms, &edit).is_err(), "and is what was approved");
    let start = Event::Start { by: by(), signed: vec![manifest(3)] };
    let offered = undoing.apply(stage.now_ms, &start).expect("started");
    assert_eq!(offers(&offered.list).len(), 2);
    stage.must(Event::Undone);
    assert_eq!(stage.state(), State::RollingBack, "some have not answered yet");
    stage.wait(51);
    assert_eq!(stage.state(), State::RolledBack);
    stage.check();
}

#[test]
fn what_is_finished_can_be_undone_if_there_is_a_way_back() {
    let (mut stage, _) = Scene::begun(everybody(), &[1]);
    stage.succeeds(0);
    assert_eq!(stage.state(), State::Complete);
    stage.must(Event::Rollback { by: by() });
    stage.must(Event::Undone);
    assert_eq!(stage.state(), State::RolledBack);
    stage.check();
    let (mut stage, _) = Scene::begun(Plan { rollback: None, ..everybody() }, &[1]);
    assert_eq!(stage.tell(Event::Rollback { by: by() }), Err(Refused::NoWayBack));
    assert_eq!(stage.campaign.inverse(), None);
}
