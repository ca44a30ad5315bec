//! Stories of the disk: what is acknowledged when, and what a failed commit undoes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Effect, Input, Outcome, Refusal, SubscriberId,
    tests::{Bus, model::message, publisher, retained, told},
};

const ROUTED: Outcome = Outcome::Routed { matched: true };
const UNWANTED: Outcome = Outcome::Routed { matched: false };

fn failed(from: u64, reason: Refusal) -> Input {
    Input::CommitFailed { from, reason }
}

#[test]
fn a_durable_publish_is_delivered_at_once_and_acknowledged_from_disk() {
    let mut bus = Bus::new();
    bus.join(1).join(2).subscribe(2, "#", 1).take();
    bus.publish(1, 7, message("logged/a", "1", 1));
    let effects = bus.take();
    assert!(matches!(&effects[0], Effect::Append { sequence: 1, publisher: by, .. } if *by == publisher(1)));
    assert_eq!(told(&effects).len(), 1);
    assert_eq!(effects.len(), 2);
    bus.handle(Input::Committed { up_to: 0 });
    assert_eq!(bus.take(), []);
    bus.handle(Input::Committed { up_to: 1 });
    assert_eq!(bus.answers(), [(7, ROUTED)]);
    bus.handle(Input::Committed { up_to: 1 });
    assert_eq!(bus.take(), []);
}

#[test]
fn a_durable_publish_at_qos_0_is_on_the_log_and_nobody_waits() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 7, message("logged/a", "1", 0));
    assert!(matches!(bus.take()[..], [Effect::Append { sequence: 1, .. }]));
    bus.handle(Input::Committed { up_to: 1 });
    assert_eq!(bus.take(), []);
    let message = message("logged/a", "2", 0);
    bus.handle(Input::Publish { subscriber: SubscriberId(1), ticket: Some(3), message: message.into() });
    assert_eq!(bus.answers(), [(3, ROUTED)], "whoever asks is answered after routing");
}

#[test]
fn a_retained_change_is_acknowledged_from_disk() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 1, retained(message("a", "1", 1)));
    assert!(
        matches!(&bus.take()[..], [Effect::KeepRetained { sequence: 1, message, .. }] if message.payload == "1")
    );
    bus.publish(1, 2, retained(message("a", "", 1)));
    assert!(
        matches!(&bus.take()[..], [Effect::ForgetRetained { sequence: 2, topic }] if topic.as_str() == "a")
    );
    bus.handle(Input::Committed { up_to: 2 });
    assert_eq!(bus.answers(), [(1, UNWANTED), (2, UNWANTED)]);
}

#[test]
fn clearing_what_is_not_there_waits_for_the_clearing_that_is_not_yet_on_disk() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 1, retained(message("a", "", 1)));
    assert_eq!(bus.take().len(), 1, "answered at once when nothing is under way");
    bus.publish(1, 1, retained(message("a", "1", 0))).publish(1, 2, retained(message("a", "", 0))).take();
    bus.publish(1, 3, retained(message("a", "", 1)));
    assert_eq!(bus.take(), []);
    bus.handle(Input::Committed { up_to: 2 });
    assert_eq!(bus.answers(), [(3, UNWANTED)]);
}

#[test]
fn one_sequence_carries_both_the_append_and_what_is_retained() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 1, retained(message("logged/a", "1", 1)));
    assert!(matches!(
        bus.take()[..],
        [Effect::Append { sequence: 1, .. }, Effect::KeepRetained { sequence: 1, .. }]
    ));
    bus.publish(1, 2, retained(message("logged/a", "", 1)));
    assert!(matches!(
        bus.take()[..],
        [Effect::Append { sequence: 2, .. }, Effect::ForgetRetained { sequence: 2, .. }]
    ));
    assert_eq!(bus.router.next_sequence(), 3);
}

#[test]
fn one_commit_answers_all_it_covers_in_order_and_no_other() {
    let mut bus = Bus::new();
    bus.join(1).join(2);
    for ticket in 1..=5 {
        bus.publish(1 + u64::from(ticket) % 2, ticket, message("logged/a", "1", 1));
    }
    bus.take();
    bus.handle(Input::Committed { up_to: 3 });
    assert_eq!(bus.answers(), [(1, ROUTED), (2, ROUTED), (3, ROUTED)]);
    bus.handle(Input::Committed { up_to: 5 });
    assert_eq!(bus.answers(), [(4, ROUTED), (5, ROUTED)]);
}

#[test]
fn a_failed_commit_refuses_whoever_waited_and_gives_the_sequences_out_again() {
    let mut bus = Bus::new();
    bus.join(1);
    for ticket in 1..=3 {
        bus.publish(1, ticket, message("logged/a", "1", 1));
    }
    bus.take();
    bus.handle(Input::Committed { up_to: 1 });
    assert_eq!(bus.answers(), [(1, ROUTED)]);
    bus.handle(failed(2, Refusal::DiskFull));
    let full = Outcome::Refused(Refusal::DiskFull);
    assert_eq!(bus.answers(), [(2, full.clone()), (3, full)]);
    bus.publish(1, 4, message("logged/a", "1", 1));
    assert!(matches!(bus.take()[..], [Effect::Append { sequence: 2, .. }]));
    bus.handle(Input::Committed { up_to: 2 });
    assert_eq!(bus.answers(), [(4, ROUTED)]);
}

#[test]
fn a_failed_commit_puts_back_what_was_retained_before() {
    let mut bus = Bus::new();
    bus.join(1).publish(1, 1, retained(message("a", "old", 1))).handle(Input::Committed { up_to: 1 });
    bus.publish(1, 2, retained(message("a", "new", 1))).publish(1, 3, retained(message("a", "", 0)));
    bus.publish(1, 4, retained(message("b", "new", 0))).take();
    bus.handle(failed(2, Refusal::StorageFailed));
    assert_eq!(bus.answers(), [(2, Outcome::Refused(Refusal::StorageFailed))]);
    bus.subscribe(1, "#", 0);
    assert_eq!(bus.told(), [(1, "a".into(), "old".into(), 0, true)]);
}

#[test]
fn a_session_that_joins_again_gets_no_answers_to_old_tickets() {
    let mut bus = Bus::new();
    bus.join(1).join(2).publish(1, 1, message("logged/a", "1", 1)).publish(2, 1, message("logged/a", "1", 1));
    bus.join(1).leave(2).publish(1, 1, message("logged/a", "2", 1)).take();
    bus.handle(Input::Committed { up_to: 2 });
    assert_eq!(bus.take(), []);
    bus.handle(Input::Committed { up_to: 3 });
    assert_eq!(bus.answers(), [(1, ROUTED)]);
}

#[test]
fn a_log_that_is_behind_refuses_what_needs_it_and_nothing_else() {
    let mut bus = Bus::with(|limits| limits.uncommitted_records_max = 1);
    bus.join(1).publish(1, 1, message("logged/a", "1", 1)).take();
    bus.publish(1, 2, message("logged/a", "1", 1)).publish(1, 3, message("a", "1", 1));
    let behind = Outcome::Refused(Refusal::LogBehind { max: 1 });
    assert_eq!(bus.answers(), [(2, behind), (3, UNWANTED)]);
    bus.handle(Input::Committed { up_to: 1 }).publish(1, 4, message("logged/a", "1", 1));
    assert!(matches!(
        bus.take()[..],
        [Effect::Published { ticket: 1, .. }, Effect::Append { sequence: 2, .. }]
    ));
}

#[test]
fn what_is_kept_for_undoing_is_bounded_in_bytes() {
    let mut bus = Bus::with(|limits| limits.undo_bytes_max = 500);
    bus.join(1);
    for ticket in 1..=4 {
        bus.publish(1, ticket, retained(message("a", "1", 1)));
    }
    let behind = Outcome::Refused(Refusal::LogBehind { max: 500 });
    assert_eq!(bus.answers(), [(4, behind)]);
    bus.handle(Input::Committed { up_to: 3 }).take();
    bus.publish(1, 5, retained(message("a", "1", 1)));
    assert!(matches!(bus.take()[..], [Effect::KeepRetained { sequence: 4, .. }]));
}

#[derive(Debug, Clone)]
enum Step {
    Publish { topic: usize, payload: u8, qos: u8 },
    Commit { of: usize },
    Fail { of: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..4, 0_u8..4, 0_u8..3).prop_map(|(topic, payload, qos)| Step::Publish { topic, payload, qos }),
        1 => (0_usize..4).prop_map(|of| Step::Commit { of }),
        1 => (0_usize..4).prop_map(|of| Step::Fail { of }),
    ]
}

proptest! {
    #[test]
    fn what_was_acknowledged_is_on_disk_and_memory_follows_the_disk(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        const TOPICS: [&str; 4] = ["a", "b", "logged/a", "logged/b"];
        let mut bus = Bus::new();
        bus.join(1);
        // What the log was given and is not on disk, what the disk retains, and the last sequence there.
        let mut given: Vec<(u64, Effect)> = Vec::new();
        let mut disk: BTreeMap<String, String> = BTreeMap::new();
        let mut up_to = 0;
        // Ticket to the sequence that must be on disk when it is acknowledged.
        let mut open: BTreeMap<u16, u64> = BTreeMap::new();
        let mut tickets = 0..;
        for step in steps.into_iter().chain([Step::Fail { of: 0 }]) {
            let mut asked = None;
            let mut failing = false;
            match step {
                Step::Publish { topic, payload, qos } => {
                    let ticket = tickets.next().expect("endless");
                    let text = if payload == 0 { String::new() } else { payload.to_string() };
                    bus.publish(1, ticket, retained(message(TOPICS[topic], &text, qos)));
                    asked = (qos > 0).then_some(ticket);
                }
                Step::Commit { of } => {
                    up_to = given.get(of).map_or(up_to, |(sequence, _)| *sequence);
                    for (_, effect) in given.extract_if(.., |(sequence, _)| *sequence <= up_to) {
                        match effect {
                            Effect::KeepRetained { message, .. } => {
                                let payload = String::from_utf8_lossy(&message.payload).into_owned();
                                disk.insert(message.topic.to_string(), payload);
                            }
                            Effect::ForgetRetained { topic, .. } => drop(disk.remove(topic.as_str())),
                            _ => {}
                        }
                    }
                    bus.handle(Input::Committed { up_to });
                }
                Step::Fail { of } => {
                    let from = given.get(of).map_or(up_to + 1, |(sequence, _)| *sequence);
                    given.retain(|(sequence, _)| *sequence < from);
                    bus.handle(failed(from, Refusal::DiskFull));
                    prop_assert_eq!(bus.router.next_sequence(), from);
                    failing = true;
                }
            }
            let mut answered = Vec::new();
            for effect in bus.take() {
                match effect {
                    Effect::Append { sequence, .. }
                    | Effect::KeepRetained { sequence, .. }
                    | Effect::ForgetRetained { sequence, .. } => {
                        let last = given.last().map_or(up_to, |(last, _)| *last);
                        let appended = matches!(given.last(), Some((_, Effect::Append { .. })));
                        prop_assert!(sequence == last + 1 || (sequence == last && appended), "not in order");
                        given.push((sequence, effect));
                    }
                    Effect::Published { ticket, outcome, .. } => answered.push((ticket, outcome)),
                    Effect::Denied { .. } => {}
                    other => prop_assert!(false, "unexpected {:?}", other),
                }
            }
            if let Some(ticket) = asked {
                open.insert(ticket, given.last().map_or(up_to, |(last, _)| *last));
            }
            for (ticket, outcome) in answered {
                let Some(needed) = open.remove(&ticket) else {
                    return Err(TestCaseError::fail(format!("{ticket} was answered twice")));
                };
                let routed = matches!(outcome, Outcome::Routed { .. });
                prop_assert!(!routed || needed <= up_to, "{} was acknowledged before the disk", ticket);
                prop_assert_eq!(routed, !failing, "{} was answered wrongly", ticket);
            }
        }
        let kept = TOPICS.iter().filter_map(|t| bus.router.retained().find(&t.parse().expect("topic")));
        let memory: BTreeMap<String, String> = kept
            .map(|m| (m.topic.to_string(), String::from_utf8_lossy(&m.payload).into_owned()))
            .collect();
        prop_assert_eq!(memory, disk);
        prop_assert!(open.is_empty(), "not answered: {:?}", open);
    }
}
