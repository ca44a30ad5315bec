//! Stories of long fan-outs and replays, done slice by slice.

use muster_schemas::Message;

use crate::{
    Effect, Input, Outcome, Refusal, SubscriberId, Wish,
    limits::{REPLAY_BYTES_MAX, REPLAY_MESSAGES_MAX},
    tests::{Bus, model::message, retained, told},
};

/// Ten subscribers of `a`, slices of four.
fn ten() -> Bus {
    let mut bus = Bus::with(|limits| limits.fanout_slice_max = 4);
    for n in 0..10 {
        bus.join(n).subscribe(n, "a", 0);
    }
    bus.take();
    bus
}

#[test]
fn a_long_fanout_comes_in_slices_and_is_answered_at_its_end() {
    let mut bus = ten();
    bus.publish(0, 1, message("a", "1", 1));
    assert_eq!((told(&bus.effects).len(), bus.effects.last()), (4, Some(&Effect::Continue)));
    assert_eq!(bus.finish(), 2);
    let effects = bus.take();
    let all: Vec<_> = told(&effects).into_iter().map(|told| told.0).collect();
    assert_eq!(all, Vec::from_iter(0..10));
    assert!(matches!(
        effects.last(),
        Some(Effect::Published { outcome: Outcome::Routed { matched: true }, .. })
    ));
}

#[test]
fn what_comes_meanwhile_waits_in_line_and_asks_no_second_time() {
    let mut bus = ten();
    bus.publish(0, 1, message("a", "1", 1)).take();
    bus.publish(1, 1, message("a", "2", 1)).subscribe(0, "b", 0).publish(2, 1, message("b", "3", 1));
    assert_eq!(bus.take(), []);
    assert_eq!(bus.router.waiting(), (3, 2 + 1 + 2));
    bus.effects.push(Effect::Continue);
    bus.finish();
    let payloads: Vec<_> = bus.told().into_iter().map(|told| told.2).collect();
    let expected: Vec<_> = [vec!["1"; 6], vec!["2"; 10], vec!["3"]].concat();
    assert_eq!(payloads, expected);
    assert_eq!(bus.router.waiting(), (0, 0));
}

#[test]
fn news_of_the_disk_does_not_wait_in_line() {
    let mut bus = ten();
    bus.publish(0, 1, message("logged/x", "1", 1)).publish(0, 2, message("a", "1", 0)).take();
    bus.handle(Input::Committed { up_to: 1 });
    assert_eq!(bus.answers(), [(1, Outcome::Routed { matched: true })]);
}

#[test]
fn who_leaves_gets_nothing_more_while_what_it_published_is_still_routed() {
    let mut bus = ten();
    bus.publish(0, 1, message("a", "1", 0)).publish(9, 1, message("a", "2", 1)).take();
    bus.leave(9).effects.push(Effect::Continue);
    bus.finish();
    let effects = bus.take();
    let payload = |which: &str| told(&effects).iter().filter(|told| told.2 == which).count();
    assert_eq!((payload("1"), payload("2")), (5, 9));
    assert!(told(&effects).iter().all(|told| told.0 != 9));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Published { .. })));
}

#[test]
fn a_session_that_joins_again_meanwhile_gets_nothing_of_its_predecessor() {
    let mut bus = ten();
    bus.publish(0, 1, message("a", "1", 0)).take();
    bus.publish(9, 1, message("$SYS/a", "old", 1)).publish(9, 2, message("a", "old", 1)).subscribe(9, "b", 0);
    bus.join(9).publish(9, 1, message("b", "new", 1)).effects.push(Effect::Continue);
    bus.finish();
    let effects = bus.take();
    assert!(told(&effects).iter().all(|told| told.0 != 9));
    let answers = effects.iter().filter(|effect| matches!(effect, Effect::Published { .. })).count();
    assert_eq!(answers, 1, "of the new session");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Denied { .. })));
}

#[test]
fn a_full_line_refuses_what_asks_and_takes_what_frees() {
    let mut bus = Bus::with(|limits| {
        limits.fanout_slice_max = 1;
        limits.queued_inputs_max = 1;
    });
    bus.join(1).join(2).subscribe(1, "#", 1).subscribe(2, "#", 1);
    bus.finish();
    bus.take();
    bus.publish(1, 1, message("a", "1", 1)).publish(1, 2, message("a", "2", 1)).take();
    let behind = Refusal::RouterBehind { max: 1 };
    assert_eq!(bus.publish(1, 3, message("a", "3", 1)).answers(), [(3, Outcome::Refused(behind.clone()))]);
    bus.publish(1, 0, message("a", "4", 0)).subscribe(1, "b", 1);
    assert_eq!(
        bus.take(),
        [
            Effect::Denied {
                to: SubscriberId(1),
                wish: Wish::Publish(Some("a".parse().expect("a topic"))),
                refusal: behind.clone()
            },
            Effect::Denied {
                to: SubscriberId(1),
                wish: Wish::Subscribe("b".parse().expect("a filter")),
                refusal: behind.clone()
            },
            Effect::Subscribed { to: SubscriberId(1), ticket: 1, outcomes: vec![Err(behind)] },
        ]
    );
    bus.unsubscribe(1, "#").effects.push(Effect::Continue);
    bus.finish();
    assert_eq!(bus.router.index().len(), 1);
}

#[test]
fn the_line_is_bounded_in_bytes_too() {
    let mut bus = Bus::with(|limits| {
        limits.fanout_slice_max = 1;
        limits.queued_bytes_max = 10;
    });
    bus.join(1).join(2).subscribe(1, "a", 0).subscribe(2, "a", 0).publish(1, 1, message("a", "1", 1)).take();
    bus.publish(1, 2, message("a", "12345", 1)).publish(1, 3, message("a", "12345", 1));
    assert_eq!(bus.answers(), [(3, Outcome::Refused(Refusal::RouterBehind { max: 10 }))]);
}

#[test]
fn subscribing_again_begins_the_replay_again_and_ends_the_old_one() {
    let mut bus = Bus::with(|limits| limits.fanout_slice_max = 8);
    bus.join(1);
    for n in 0..20 {
        bus.publish(1, 1, retained(message(&format!("kept/{n}"), "old", 1)));
    }
    bus.take();
    bus.subscribe(1, "kept/#", 0).subscribe(1, "kept/#", 1);
    bus.finish();
    let qos: Vec<_> = bus.told().into_iter().map(|told| told.3).collect();
    assert_eq!(qos, [vec![0; 8], vec![1; 20]].concat());
}

#[test]
fn a_long_replay_comes_in_slices_and_publishes_pass_it() {
    let mut bus = Bus::with(|limits| limits.fanout_slice_max = 8);
    bus.join(1).join(2).subscribe(1, "live", 0);
    for n in 0..100 {
        bus.publish(1, 1, retained(message(&format!("kept/{n:03}"), "old", 1)));
    }
    bus.take();
    bus.subscribe(2, "kept/#", 0);
    assert_eq!(told(&bus.effects).len(), 8);
    assert_eq!(bus.effects.pop(), Some(Effect::Continue));
    bus.take();
    bus.publish(1, 1, message("live", "now", 0));
    assert_eq!(bus.told(), [(1, "live".into(), "now".into(), 0, false)]);
    bus.publish(1, 1, retained(message("kept/099", "new", 0))).take();
    bus.effects.push(Effect::Continue);
    bus.finish();
    let rest = bus.told();
    assert_eq!(rest.len(), 92);
    assert_eq!(rest.last(), Some(&(2, "kept/099".into(), "new".into(), 0, true)));
}

#[test]
fn publishes_that_never_end_do_not_starve_a_replay() {
    let mut bus = Bus::with(|limits| limits.fanout_slice_max = 8);
    bus.join(1);
    for n in 0..20 {
        bus.publish(1, 1, retained(message(&format!("kept/{n}"), "old", 1)));
    }
    for n in 10..30 {
        bus.join(n).subscribe(n, "live", 0);
    }
    bus.take();
    bus.subscribe(1, "kept/#", 0);
    let mut replayed = 0;
    for _ in 0..20 {
        bus.publish(1, 1, message("live", "now", 0));
        replayed += told(&bus.take()).iter().filter(|told| told.4).count();
        bus.handle(Input::Continue);
    }
    replayed += bus.told().iter().filter(|told| told.4).count();
    assert_eq!(replayed, 20);
}

#[test]
fn a_replay_ends_with_its_subscription() {
    for end in 0..3 {
        let mut bus = Bus::with(|limits| limits.fanout_slice_max = 8);
        bus.join(1);
        for n in 0..20 {
            bus.publish(1, 1, retained(message(&format!("kept/{n}"), "old", 1)));
        }
        bus.subscribe(1, "kept/#", 0).take();
        match end {
            0 => drop(bus.unsubscribe(1, "kept/#").take()),
            1 => drop(bus.leave(1).take()),
            _ => drop(bus.join(1).take()),
        }
        bus.handle(Input::Continue);
        assert_eq!(bus.take(), []);
    }
}

#[test]
fn a_long_replay_waits_for_its_subscriber_and_for_nobody_else() {
    let mut bus = Bus::with(|_| {});
    bus.join(9);
    let many = 3 * REPLAY_MESSAGES_MAX;
    for n in 0..many {
        bus.publish(9, 0, Message { retain: true, ..message(&format!("r/{n}"), "x", 0) });
    }
    bus.take();
    let got = |bus: &mut Bus, who: u64| {
        while bus.effects.contains(&Effect::Continue) {
            bus.effects.retain(|effect| *effect != Effect::Continue);
            bus.handle(Input::Continue);
        }
        let to = SubscriberId(who);
        let deliveries = |effect: &&Effect| matches!(effect, Effect::Deliver { to: one, .. } if *one == to);
        let count = bus.effects.iter().filter(deliveries).count();
        (count, bus.take().contains(&Effect::Ahead { to }))
    };
    bus.join(1).subscribe(1, "r/#", 0).subscribe(1, "r/+", 0);
    assert_eq!(got(&mut bus, 1), (REPLAY_MESSAGES_MAX, true), "of both together");
    // Whatever it does not say, another is served, and so is what is new.
    bus.join(2).subscribe(2, "r/1", 0).publish(9, 0, message("r/new", "y", 0));
    assert_eq!(got(&mut bus, 1), (1, false));
    bus.subscribe(1, "r/2", 0).handle(Input::CaughtUp { subscriber: SubscriberId(1) });
    assert_eq!(got(&mut bus, 1), (REPLAY_MESSAGES_MAX, true));
    bus.unsubscribe(1, "r/+");
    let mut rest = 0;
    for _ in 0..10 {
        bus.handle(Input::CaughtUp { subscriber: SubscriberId(1) });
        rest += got(&mut bus, 1).0;
    }
    assert!(rest <= many + 1 - REPLAY_MESSAGES_MAX / 2, "what ended is not gone on with: {rest}");
    assert!(rest >= many - 2 * REPLAY_MESSAGES_MAX, "and the other comes to its end: {rest}");
    // It may be said too often, and by who has gone.
    bus.leave(1).handle(Input::CaughtUp { subscriber: SubscriberId(1) });
    assert_eq!(got(&mut bus, 1), (0, false));
    bus.join(3).subscribe(3, "r/#", 0);
    assert_eq!(got(&mut bus, 3), (REPLAY_MESSAGES_MAX, true));
}

#[test]
fn a_replay_of_large_messages_is_bounded_in_bytes() {
    let mut bus = Bus::with(|_| {});
    bus.join(9);
    for n in 0..100 {
        let large = message(&format!("r/{n}"), &"x".repeat(REPLAY_BYTES_MAX / 3), 0);
        bus.publish(9, 0, Message { retain: true, ..large });
    }
    bus.join(1).take();
    bus.subscribe(1, "r/#", 0);
    let deliveries = bus.effects.iter().filter(|effect| matches!(effect, Effect::Deliver { .. }));
    assert_eq!(deliveries.count(), 3);
    assert_eq!(bus.effects.iter().filter(|effect| matches!(effect, Effect::Ahead { .. })).count(), 1);
}
