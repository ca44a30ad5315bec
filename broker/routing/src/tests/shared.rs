//! Stories of shared subscriptions.

use muster_schemas::ClientId;

use crate::{
    Effect, Input, SubscriberId,
    tests::{Bus, model::message},
};

fn attach(bus: &mut Bus, subscriber: u64, expiry_s: u32) {
    let client_id: ClientId = format!("client-{subscriber}").parse().expect("client id");
    let subscriber = SubscriberId(subscriber);
    bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s, will: None });
    stored(bus);
}

/// Everything that was given to the disk is there.
fn stored(bus: &mut Bus) {
    let up_to = bus.router.next_sequence() - 1;
    let (batch, _) = bus.router.seal();
    bus.handle(Input::Committed { up_to }).handle(Input::Stored { batch });
}

/// To whom each payload went, and under which tag.
fn given(bus: &mut Bus) -> Vec<(u64, String, Option<u64>)> {
    let deliver = |effect| match effect {
        Effect::Deliver { to, delivery } => {
            let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            Some((to.0, payload, delivery.tag))
        }
        _ => None,
    };
    bus.take().into_iter().filter_map(deliver).collect()
}

#[test]
fn members_get_messages_in_turn_and_others_get_all() {
    let mut bus = Bus::new();
    bus.join(1).join(2).join(3).join(9);
    bus.subscribe(1, "$share/g/jobs/+", 1)
        .subscribe(2, "$share/g/jobs/+", 1)
        .subscribe(3, "jobs/#", 1)
        .take();
    for number in 0..4 {
        bus.publish(9, 1, message("jobs/a", &number.to_string(), 1));
    }
    let given = given(&mut bus);
    let to = |subscriber| given.iter().filter(|(to, ..)| *to == subscriber).count();
    assert_eq!((to(1), to(2), to(3)), (2, 2, 4));
}

#[test]
fn what_a_member_that_leaves_has_not_acknowledged_goes_to_another() {
    let mut bus = Bus::new();
    bus.join(1).join(2).join(9);
    bus.subscribe(1, "$share/g/jobs", 2).subscribe(2, "$share/g/jobs", 2).take();
    for (number, qos) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)] {
        bus.publish(9, 1, message("jobs", &number.to_string(), qos));
    }
    let given_first = given(&mut bus);
    let (_, _, tag) =
        given_first.iter().find(|(to, payload, _)| (*to, &**payload) == (1, "0")).expect("a turn");
    bus.handle(Input::Complete { subscriber: SubscriberId(1), tag: tag.expect("a tag") });
    bus.leave(1);
    let again: Vec<_> = given(&mut bus).into_iter().map(|(to, payload, _)| (to, payload)).collect();
    assert_eq!(again, [(2, "2".to_owned())], "neither what was acknowledged nor what has QoS 2");
}

#[test]
fn a_message_waits_for_a_member_that_will_be_back() {
    let mut bus = Bus::new();
    bus.join(1).join(9);
    attach(&mut bus, 1, 60);
    bus.subscribe(1, "$share/g/jobs", 1);
    stored(&mut bus);
    bus.leave(1).take();
    bus.publish(9, 1, message("jobs", "later", 1));
    stored(&mut bus);
    assert_eq!(given(&mut bus), []);
    bus.join(1);
    attach(&mut bus, 1, 60);
    let given = given(&mut bus);
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].1, "later");
}

#[test]
fn what_waits_for_a_member_whose_session_ends_goes_to_another_that_has_one() {
    let mut bus = Bus::new();
    bus.join(1).join(2).join(9);
    for subscriber in [1, 2] {
        attach(&mut bus, subscriber, 60);
        bus.subscribe(subscriber, "$share/g/jobs", 1);
        stored(&mut bus);
    }
    bus.leave(1).leave(2).take();
    for number in 0..4 {
        bus.publish(9, 1, message("jobs", &number.to_string(), 1));
    }
    stored(&mut bus);
    // The first comes back for good, without its session.
    bus.join(1);
    let (subscriber, client_id) = (SubscriberId(1), "client-1".parse().expect("client id"));
    bus.handle(Input::Attach { subscriber, client_id, clean_start: true, expiry_s: 0, will: None });
    stored(&mut bus);
    bus.take();
    bus.join(2);
    attach(&mut bus, 2, 60);
    let payloads: Vec<_> = given(&mut bus).into_iter().map(|(_, payload, _)| payload).collect();
    assert_eq!(payloads, ["0", "1", "2", "3"]);
}
