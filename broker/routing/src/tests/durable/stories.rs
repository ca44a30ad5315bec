//! Stories that came out of the property: each was once a message lost, a message twice, or a client without an answer.

use std::sync::Arc;

use super::world::World;
use crate::{
    Access, Effect, Input, Limits, Refusal, SubscriberId, Will,
    tests::{Bus, NOW_MS, model::message, publisher, retained},
};

/// Everybody has a session and listens to everything.
fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut world = World::new(limits);
    world.settle();
    for who in 0..3 {
        world.subscribe(who, 2, Some(2));
    }
    world.settle();
    world
}

/// Client 1 publishes on `a/1`, and it is on disk.
fn published(world: &mut World, qos: u8) {
    world.publish(1, 0, qos);
    world.broker_hears(1);
    world.commit_all();
}

fn ends_well(mut world: World) {
    world.settle();
    world.judge();
    assert_eq!(world.faults, [""; 0]);
}

#[test]
fn a_session_is_fed_however_small_the_slice() {
    let mut world = world(|limits| (limits.fanout_slice_max, limits.tail_records_max) = (1, 0));
    world.cut(0);
    published(&mut world, 1);
    ends_well(world);
}

#[test]
fn a_session_that_waits_for_the_log_asks_it_once() {
    let mut world = world(|limits| (limits.read_records_max, limits.tail_records_max) = (1, 0));
    world.cut(0);
    (0..3).for_each(|_| published(&mut world, 1));
    world.connect(0, false);
    world.commit_all();
    world.read();
    // The acknowledgement of the first comes while the log is asked for the second.
    (0..2).for_each(|_| world.client_hears(0));
    world.broker_hears(0);
    published(&mut world, 1);
    assert_eq!(world.reads(), 1);
    ends_well(world);
}

#[test]
fn a_queue_that_could_not_be_written_is_written_before_the_log_is_let_go() {
    let mut world = world(|_| ());
    world.connect(0, true);
    world.settle();
    world.subscribe(0, 0, Some(1));
    world.settle();
    world.cut(0);
    world.commit_all();
    published(&mut world, 1);
    (0..9).for_each(|_| world.client_hears(1));
    world.pass(2_000);
    world.commit(false);
    world.answer();
    world.connect(1, false);
    world.commit_all();
    (0..9).for_each(|_| world.client_hears(1));
    // A message for others brings the next flush, and with it the next checkpoint.
    world.publish(1, 2, 1);
    (0..9).for_each(|_| world.broker_hears(1));
    world.commit_all();
    world.pass(2_000);
    world.commit_all();
    (0..9).for_each(|_| world.client_hears(1));
    world.crash();
    world.trim();
    ends_well(world);
}

#[test]
fn a_qos_2_message_whose_row_failed_stays_in_the_queue_on_disk() {
    let mut world = world(|_| ());
    world.publish(1, 0, 2);
    world.broker_hears(1);
    world.commit(true);
    world.answer();
    world.client_hears(1);
    // The packet ids of the deliveries are asked for, and are not kept; then the connections close.
    world.commit(false);
    world.answer();
    world.commit_all();
    world.crash();
    ends_well(world);
}

#[test]
fn a_subscription_made_after_records_that_failed_is_for_those_in_their_places() {
    let mut world = world(|_| ());
    world.connect(0, true);
    world.settle();
    world.publish(1, 0, 1);
    world.broker_hears(1);
    world.subscribe(0, 0, Some(1));
    world.broker_hears(0);
    world.commit(false);
    world.answer();
    world.settle();
    // The session has the subscription by now; the client does not know, and asks again.
    world.subscribe(0, 0, Some(1));
    world.settle();
    published(&mut world, 1);
    world.client_hears(1);
    world.crash();
    ends_well(world);
}

#[test]
fn a_recovery_does_not_search_for_what_is_in_flight() {
    let mut world = world(|limits| limits.queue_runs_max = 1);
    // To client 0 some of it is in flight at QoS 2 and some, before and between, at QoS 1.
    for qos in [1, 2, 1, 1, 2, 1, 2] {
        published(&mut world, qos);
        world.publish(2, 2, 0);
        world.broker_hears(2);
    }
    world.commit_all();
    (0..9).for_each(|_| world.client_hears(0));
    world.crash();
    world.settle();
    world.crash();
    ends_well(world);
}

#[test]
fn what_a_new_session_needs_stays_although_the_end_of_the_one_before_is_stored_later() {
    let mut bus = Bus::new();
    let attach = |bus: &mut Bus, number: u64, clean_start: bool, expiry_s: u32| {
        let (subscriber, client_id) = (SubscriberId(number), "c".parse().expect("client id"));
        let (publisher, access) = (publisher(1), Arc::new(Access::app()));
        bus.handle(Input::Join { subscriber, publisher, access });
        bus.handle(Input::Attach { subscriber, client_id, clean_start, expiry_s, will: None });
        bus.router.seal().0
    };
    let first = attach(&mut bus, 1, false, 100);
    bus.handle(Input::Stored { batch: first }).leave(1);
    bus.router.seal();
    let end = attach(&mut bus, 2, true, 0);
    let anew = attach(&mut bus, 3, false, 100);
    bus.take();
    bus.handle(Input::Stored { batch: end });
    assert!(bus.take().contains(&Effect::Need { from: 1 }));
    bus.handle(Input::Stored { batch: anew });
    assert!(bus.take().contains(&Effect::Need { from: 1 }));
}

#[test]
fn who_wanted_no_session_any_more_is_told_to_go_if_that_could_not_be_stored() {
    let mut bus = Bus::new();
    let client_id = || "c".parse().expect("client id");
    let attach = |number, clean_start, expiry_s| Input::Attach {
        subscriber: SubscriberId(number),
        client_id: client_id(),
        clean_start,
        expiry_s,
        will: None,
    };
    let join = |number| Input::Join {
        subscriber: SubscriberId(number),
        publisher: publisher(1),
        access: Arc::new(Access::app()),
    };
    bus.handle(join(1)).handle(attach(1, false, 100));
    let (batch, _) = bus.router.seal();
    bus.handle(Input::Stored { batch }).leave(1);
    bus.router.seal();
    bus.handle(join(2)).handle(attach(2, true, 0));
    let (batch, _) = bus.router.seal();
    bus.take();
    let reason = Refusal::DiskFull;
    bus.handle(Input::StoreFailed { batch, reason: reason.clone() });
    assert_eq!(bus.take(), [Effect::Close { to: SubscriberId(2), refusal: reason }]);
    // What could not be removed goes before its successor is written.
    bus.handle(join(3)).handle(attach(3, false, 100));
    let rows: Vec<_> = bus
        .take()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::StoreRow { key, value } => Some((key[7], key[8], value.is_some())),
            _ => None,
        })
        .collect();
    let removed = rows.iter().position(|row| *row == (1, b'h', false)).expect("removed");
    let written = rows.iter().position(|row| *row == (2, b'h', true)).expect("written");
    assert!(removed < written, "{rows:?}");
}

#[test]
fn wills_that_are_due_together_hold_up_nobody() {
    let mut bus = Bus::new();
    for number in [1, 2] {
        let (subscriber, client_id) = (SubscriberId(number), "c".parse().expect("client id"));
        let will = Some(Will { message: message("gone", "x", 1), delay_s: 1 });
        bus.join(number);
        bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 100, will });
        let (batch, _) = bus.router.seal();
        bus.handle(Input::Stored { batch }).leave(number);
    }
    bus.join(3).subscribe(3, "gone", 0).take();
    bus.router.handle(NOW_MS + 1_000, Input::DeadlineReached, &mut bus.effects);
    bus.finish();
    assert_eq!(bus.told().len(), 2);
    bus.publish(3, 1, message("gone", "y", 0));
    assert_eq!(bus.told().len(), 1);
}

#[test]
fn a_retained_message_at_qos_2_keeps_its_packet_id_for_the_session() {
    let mut bus = Bus::new();
    let attach = |bus: &mut Bus, number: u64| {
        let (subscriber, client_id) = (SubscriberId(number), "c".parse().expect("client id"));
        let (publisher, access) = (publisher(1), Arc::new(Access::app()));
        bus.handle(Input::Join { subscriber, publisher, access });
        bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 100, will: None });
        let (batch, _) = bus.router.seal();
        bus.handle(Input::Stored { batch });
    };
    bus.join(9).publish(9, 1, retained(message("a", "x", 2))).handle(Input::Committed { up_to: 1 });
    attach(&mut bus, 1);
    bus.take();
    bus.subscribe(1, "a", 2);
    let tag = bus.take().iter().find_map(|effect| match effect {
        Effect::Deliver { delivery, .. } => delivery.tag,
        _ => None,
    });
    let tag = tag.expect("it is tagged");
    let subscriber = SubscriberId(1);
    bus.handle(Input::Bind { subscriber, packet_id: 7, tag });
    let (batch, _) = bus.router.seal();
    bus.handle(Input::Stored { batch });
    assert!(bus.take().contains(&Effect::Bound { to: subscriber, packet_id: 7 }));
    bus.leave(1);
    attach(&mut bus, 2);
    // The client may have it. Whether or not, the exchange comes to its end, and then the packet id is free.
    let (to, packet_id) = (SubscriberId(2), 7);
    assert!(bus.take().contains(&Effect::Released { to, packet_id, tag }));
    bus.handle(Input::Complete { subscriber: to, tag });
    assert!(bus.router.sessions().iter().all(|(_, session)| session.flights.is_empty()));
}

#[test]
fn who_left_before_it_had_its_session_is_not_fed_from_it() {
    let mut bus = Bus::with(|limits| limits.fanout_slice_max = 1);
    let subscriber = SubscriberId(5);
    bus.join(5).join(9);
    let client_id = "c".parse().expect("client id");
    bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 100, will: None });
    let (batch, _) = bus.router.seal();
    for other in 1..=3 {
        bus.join(other).subscribe(other, "a", 0);
    }
    bus.publish(9, 1, message("a", "x", 0)).leave(5).take();
    assert!(bus.router.waiting().0 > 0, "its leaving stands in line");
    bus.handle(Input::Stored { batch });
    assert!(bus.take().iter().all(|effect| effect.addressee() != Some(subscriber)));
    assert!(bus.router.sessions().iter().all(|(_, session)| session.here().is_none()));
    (0..9).for_each(|_| _ = bus.handle(Input::Continue));
    assert!(bus.router.sessions().iter().all(|(_, session)| session.online().is_none()));
}
