//! Stories of shared subscriptions.

use muster_schemas::{ClientId, stored::COPY};

use crate::{
    Effect, Input, Record, Refusal, SubscriberId, Wanted,
    tests::{Bus, model::message, publisher},
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

/// A session of `client-{client}` that ends another of its kind and has none itself.
fn ends_for_good(bus: &mut Bus, subscriber: u64, client: u64) {
    bus.handle(Input::Join {
        subscriber: SubscriberId(subscriber),
        publisher: publisher(client),
        access: std::sync::Arc::new(crate::Access::app()),
    });
    let client_id = format!("client-{client}").parse().expect("client id");
    let subscriber = SubscriberId(subscriber);
    bus.handle(Input::Attach { subscriber, client_id, clean_start: true, expiry_s: 0, will: None });
}

/// Client 1 is away for longer, and client 2 is there with its connection only. Both share, and a job waits for client 1.
fn a_job_for_who_is_away(change: impl FnOnce(&mut crate::Limits)) -> Bus {
    let mut bus = Bus::with(change);
    bus.join(1).join(9);
    attach(&mut bus, 1, 60);
    bus.subscribe(1, "$share/g/jobs", 1);
    stored(&mut bus);
    bus.leave(1);
    bus.publish(9, 1, message("jobs", "later", 1));
    stored(&mut bus);
    bus.join(2).subscribe(2, "$share/g/jobs", 1).take();
    bus
}

#[test]
fn a_message_that_goes_on_to_another_is_still_of_whoever_published_it() {
    let mut bus = a_job_for_who_is_away(|_| {});
    ends_for_good(&mut bus, 11, 1);
    assert_eq!(given(&mut bus), [(2, "later".to_owned(), Some(1))]);
    // From there it goes to one whose session keeps it, and is written down for that.
    bus.join(3);
    attach(&mut bus, 3, 60);
    bus.subscribe(3, "$share/g/jobs", 1).leave(3);
    stored(&mut bus);
    bus.take();
    bus.leave(2);
    let appended = bus.take().into_iter().find_map(|effect| match effect {
        Effect::Append { publisher, session, message, .. } => {
            Some((publisher, session, message.payload.clone()))
        }
        _ => None,
    });
    assert_eq!(appended, Some((publisher(9), Some(COPY), "later".into())));
}

#[test]
fn what_nobody_has_and_memory_has_not_is_read_from_the_log_for_a_connection() {
    let mut bus = a_job_for_who_is_away(|limits| limits.tail_records_max = 0);
    ends_for_good(&mut bus, 11, 1);
    stored(&mut bus);
    let effects = bus.take();
    let read = effects.iter().find_map(|effect| match effect {
        Effect::Read { session, epoch, wanted } => Some((*session, *epoch, wanted.clone())),
        _ => None,
    });
    let (session, epoch, wanted) = read.expect("the log is asked");
    assert_eq!(wanted, Wanted::These(vec![1]));
    assert!(bus.router.is_reading(session, epoch));
    assert_eq!(bus.router.needed_from(), 1, "the log keeps it until then");
    let message = std::sync::Arc::new(message("jobs", "later", 1));
    let record =
        Record { sequence: 1, received_ms: super::NOW_MS, publisher: publisher(9), session: None, message };
    bus.handle(Input::Records { session, epoch, wanted, records: vec![record], next: 0 });
    assert_eq!(given(&mut bus), [(2, "later".to_owned(), Some(1))]);
    assert_eq!(bus.router.needed_from(), u64::MAX);
}

#[test]
fn a_message_that_cannot_be_kept_for_another_is_lost_for_the_reason_that_is_told() {
    let mut bus = Bus::with(|limits| limits.uncommitted_records_max = 1);
    bus.join(1).join(2).join(9);
    attach(&mut bus, 2, 60);
    bus.subscribe(2, "$share/g/jobs", 1).leave(2);
    stored(&mut bus);
    bus.subscribe(1, "$share/g/jobs", 1).take();
    bus.publish(9, 1, message("jobs", "1", 1));
    assert_eq!(given(&mut bus), [(1, "1".to_owned(), Some(1))]);
    bus.publish(9, 2, message("logged/x", "2", 1)).take();
    bus.leave(1);
    let lost = Effect::Lost { publisher: publisher(9), refusal: Refusal::LogBehind { max: 1 } };
    assert!(bus.take().contains(&lost));
}

#[test]
fn what_a_member_has_in_its_hands_when_it_unsubscribes_goes_to_nobody_else() {
    let mut bus = Bus::new();
    bus.join(1).join(2).join(9);
    for subscriber in [1, 2] {
        attach(&mut bus, subscriber, 60);
        bus.subscribe(subscriber, "$share/g/jobs", 2);
        stored(&mut bus);
    }
    bus.take();
    bus.publish(9, 1, message("jobs", "once", 2));
    stored(&mut bus);
    assert_eq!(given(&mut bus).len(), 1);
    bus.unsubscribe(1, "$share/g/jobs").unsubscribe(2, "$share/g/jobs");
    bus.subscribe(2, "$share/g/jobs", 2);
    stored(&mut bus);
    assert_eq!(given(&mut bus), []);
}

#[test]
fn what_a_session_may_no_longer_share_is_for_others() {
    let mut bus = a_job_for_who_is_away(|_| {});
    let topics = vec![crate::Rule::allow("other", "other".parse().expect("filter"))];
    let access = crate::Access::new("narrow", topics.clone(), topics);
    bus.join_with(1, access);
    attach(&mut bus, 1, 60);
    assert_eq!(given(&mut bus), [(2, "later".to_owned(), Some(1))]);
}

#[test]
fn who_is_on_the_way_is_not_asked_before_who_is_there() {
    let mut bus = Bus::new();
    bus.join(1).join(2).join(9);
    attach(&mut bus, 1, 60);
    bus.subscribe(1, "$share/g/jobs", 0);
    stored(&mut bus);
    bus.subscribe(2, "$share/g/jobs", 0).leave(1).take();
    // Whoever shares at QoS 0 gets what comes while it is there, or another does.
    for number in 0..4 {
        bus.publish(9, 1, message("jobs", &number.to_string(), 1));
    }
    let to: Vec<u64> = given(&mut bus).into_iter().map(|(to, ..)| to).collect();
    assert_eq!(to, [2; 4]);
}
