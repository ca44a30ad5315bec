//! Who has yet to show something: it says what its list allows, gets nothing, and leaves nothing behind.

use std::sync::Arc;

use super::no_local::Disk;
use crate::{
    Access, Effect, Input, Limits, Outcome, Refusal, Rule, SubscriberId, Will,
    tests::{Bus, model::message, publisher, told},
};

fn health() -> Arc<Access> {
    let rule = Rule::allow("health", "health".parse().expect("a filter"));
    Arc::new(Access::new("quarantine", vec![rule], Vec::new()))
}

fn will(payload: &str) -> Option<Will> {
    Some(Will { message: message("wills", payload, 1), delay_s: 0 })
}

/// Comes into quarantine, as the client `c` of publisher 1.
fn comes(bus: &mut Bus, disk: &mut Disk, number: u64, expiry_s: u32, will: Option<Will>) -> Vec<Effect> {
    let (subscriber, client_id) = (SubscriberId(number), "c".parse().expect("client id"));
    let (publisher, access) = (publisher(1), Arc::new(Access::app()));
    bus.handle(Input::Join { subscriber, publisher, access });
    bus.handle(Input::Quarantine { subscriber, access: health() });
    bus.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s, will });
    disk.takes(bus)
}

fn is_cleared(bus: &mut Bus, disk: &mut Disk, number: u64) -> Vec<Effect> {
    bus.handle(Input::Clear { subscriber: SubscriberId(number) });
    disk.takes(bus)
}

fn payloads(effects: &[Effect]) -> Vec<String> {
    told(effects).into_iter().map(|(_, _, payload, _, _)| payload).collect()
}

#[test]
fn a_quarantined_session_says_what_its_list_allows_and_nothing_else() {
    let (mut bus, mut disk) = (Bus::new(), Disk::default());
    bus.join(2).subscribe(2, "#", 1);
    comes(&mut bus, &mut disk, 1, 0, None);
    bus.publish(1, 1, message("health", "ok", 1));
    assert_eq!(payloads(&disk.takes(&mut bus)), ["ok"]);
    for topic in ["elsewhere", "health/more", "$SYS/broker"] {
        bus.publish(1, 2, message(topic, "no", 1));
        assert_eq!(bus.answers(), [(2, Outcome::Refused(Refusal::Quarantined))], "{topic}");
    }
    assert_eq!(Refusal::Quarantined.to_string(), "quarantined: attest first");
    bus.subscribe(1, "health", 1);
    let effects = disk.takes(&mut bus);
    let is_refused = |effect: &Effect| match effect {
        Effect::Subscribed { outcomes, .. } => *outcomes == [Err(Refusal::Quarantined)],
        _ => false,
    };
    assert!(effects.iter().any(is_refused), "{effects:?}");

    is_cleared(&mut bus, &mut disk, 1);
    bus.publish(1, 3, message("elsewhere", "yes", 1));
    assert_eq!(payloads(&disk.takes(&mut bus)), ["yes"]);
    bus.subscribe(1, "answers", 1).publish(2, 4, message("answers", "heard", 1));
    assert_eq!(payloads(&disk.takes(&mut bus)), ["heard", "heard"]);
}

#[test]
fn what_waits_for_a_durable_session_comes_when_its_quarantine_ends() {
    let (mut bus, mut disk) = (Bus::new(), Disk::default());
    comes(&mut bus, &mut disk, 1, 100, None);
    is_cleared(&mut bus, &mut disk, 1);
    bus.subscribe(1, "news", 1).join(2);
    disk.takes(&mut bus);
    bus.leave(1).publish(2, 1, message("news", "one", 1));
    disk.takes(&mut bus);

    let effects = comes(&mut bus, &mut disk, 3, 100, None);
    let is_present = |effect: &Effect| match effect {
        Effect::Attached { outcome: Ok(attached), .. } => attached.session_present,
        _ => false,
    };
    assert!(effects.iter().any(is_present), "its subscriptions are kept");
    assert_eq!(payloads(&effects), [""; 0], "and nothing is told");
    bus.publish(2, 2, message("news", "two", 1)).publish(2, 3, message("news", "passing", 0));
    assert_eq!(payloads(&disk.takes(&mut bus)), [""; 0]);
    let effects = is_cleared(&mut bus, &mut disk, 3);
    assert_eq!(payloads(&effects), ["one", "two"], "what passed at QoS 0 has passed");
    bus.publish(2, 4, message("news", "three", 1));
    assert_eq!(payloads(&disk.takes(&mut bus)), ["three"], "and from then on as it comes");
}

#[test]
fn who_never_attests_takes_nothing_from_the_session_it_took_over() {
    let (mut bus, mut disk) = (Bus::new(), Disk::default());
    comes(&mut bus, &mut disk, 1, 100, None);
    is_cleared(&mut bus, &mut disk, 1);
    bus.subscribe(1, "news", 1).join(2);
    disk.takes(&mut bus);
    bus.leave(1).publish(2, 1, message("news", "one", 1));
    disk.takes(&mut bus);
    // Two that never attest, and a crash of the hub.
    comes(&mut bus, &mut disk, 3, 100, None);
    bus.leave(3);
    disk.takes(&mut bus);
    comes(&mut bus, &mut disk, 4, 100, will("forged"));
    let mut bus = disk.restarts(Limits::default());
    bus.join(2).subscribe(2, "wills", 1);
    comes(&mut bus, &mut disk, 5, 100, None);
    // The disk answers what is asked of the log.
    let mut effects = Vec::new();
    bus.handle(Input::Clear { subscriber: SubscriberId(5) });
    let asked = disk.takes(&mut bus);
    for effect in &asked {
        if let Effect::Read { session, epoch, wanted } = effect {
            let records = disk.log();
            let (session, epoch, wanted) = (*session, *epoch, wanted.clone());
            let next = bus.router.next_sequence();
            bus.handle(Input::Records { session, epoch, wanted, records, next });
            effects.extend(disk.takes(&mut bus));
        }
    }
    effects.extend(asked);
    assert_eq!(payloads(&effects), ["one"], "and no will was on the disk");
}

#[test]
fn a_will_of_a_quarantined_session_is_published_only_if_it_was_cleared() {
    for expiry_s in [0, 100] {
        for cleared in [false, true] {
            let (mut bus, mut disk) = (Bus::new(), Disk::default());
            bus.join(2).subscribe(2, "wills", 1);
            disk.takes(&mut bus);
            comes(&mut bus, &mut disk, 1, expiry_s, will("gone"));
            if cleared {
                is_cleared(&mut bus, &mut disk, 1);
            }
            bus.leave(1);
            let mut heard = payloads(&disk.takes(&mut bus));
            heard.extend(payloads(&disk.takes(&mut bus)));
            let expected: &[&str] = if cleared { &["gone"] } else { &[] };
            assert_eq!(heard, expected, "expiry {expiry_s} s, cleared: {cleared}");
        }
    }
}

#[test]
fn the_wills_of_quarantined_sessions_count() {
    let mut bus = Bus::with(|limits| limits.will_bytes_max = 900);
    let mut disk = Disk::default();
    let long = |payload: &str| Some(Will { message: message("wills", &payload.repeat(500), 1), delay_s: 0 });
    comes(&mut bus, &mut disk, 1, 0, long("a"));
    let second = |bus: &mut Bus, disk: &mut Disk, number| {
        let effects = comes(bus, disk, number, 0, long("b"));
        effects.iter().any(|effect| matches!(effect, Effect::Attached { outcome: Ok(_), .. }))
    };
    assert!(!second(&mut bus, &mut disk, 3));
    bus.leave(1);
    assert!(second(&mut bus, &mut disk, 4), "the first has given its room back");
}
