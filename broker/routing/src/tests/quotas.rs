//! What one principal may have over all of its sessions, and what retention takes from durable sessions.

use muster_schemas::{Kind, Message, Qos};

use crate::{
    Attached, Effect, Input, Outcome, PrincipalLimits, Refusal, SubscriberId, Will,
    limits::{SEARCH_NODES_MAX, SEARCH_NODES_OF_A_MESSAGE},
    tests::{Bus, model::message, publisher, retained},
};

fn small() -> PrincipalLimits {
    PrincipalLimits {
        subscriptions_max: 3,
        retained_messages_max: 2,
        retained_bytes_max: 1_000,
        durable_sessions_max: 1,
        log_bytes_max: u64::MAX,
        will_bytes_max: 1_000,
    }
}

impl Bus {
    /// The disk takes everything that this turn wrote.
    fn stores(&mut self) -> &mut Self {
        let (batch, is_there) = self.router.seal();
        let last = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Append { sequence, .. } | Effect::KeepRetained { sequence, .. } => Some(*sequence),
            _ => None,
        });
        if let Some(up_to) = last {
            self.handle(Input::Committed { up_to });
        }
        if is_there {
            self.handle(Input::Stored { batch });
        }
        self
    }

    fn attach(&mut self, subscriber: u64, client_id: &str) -> Result<Attached, Refusal> {
        let (subscriber, client_id) = (SubscriberId(subscriber), client_id.parse().expect("id"));
        self.take();
        self.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s: 60, will: None });
        self.attached()
    }

    /// With a will of so many bytes and a little more.
    fn attach_with_will(
        &mut self,
        subscriber: u64,
        client_id: &str,
        expiry_s: u32,
        bytes: usize,
    ) -> Result<Attached, Refusal> {
        let (subscriber, client_id) = (SubscriberId(subscriber), client_id.parse().expect("id"));
        let will = Some(Will { message: message("gone", &"x".repeat(bytes), 1), delay_s: 5 });
        self.take();
        self.handle(Input::Attach { subscriber, client_id, clean_start: false, expiry_s, will });
        self.attached()
    }

    fn attached(&mut self) -> Result<Attached, Refusal> {
        self.stores();
        let attached = self.take().into_iter().find_map(|effect| match effect {
            Effect::Attached { outcome, .. } => Some(outcome.map(|attached| *attached)),
            _ => None,
        });
        attached.expect("an answer")
    }

    /// Another session of the principal that subscriber 1 is.
    fn join_as_first(&mut self, subscriber: u64) -> &mut Self {
        let access = std::sync::Arc::new(crate::Access::app());
        self.handle(Input::Join { subscriber: SubscriberId(subscriber), publisher: publisher(1), access })
    }

    fn is_granted(&mut self, subscriber: u64, filter: &str) -> Result<Qos, Refusal> {
        self.take();
        self.subscribe(subscriber, filter, 1).stores();
        let granted = self.take().into_iter().find_map(|effect| match effect {
            Effect::Subscribed { mut outcomes, .. } => outcomes.pop(),
            _ => None,
        });
        granted.expect("an answer")
    }

    fn is_taken(&mut self, from: u64, message: Message) -> Option<Refusal> {
        self.take();
        self.publish(from, 1, message).stores();
        self.answers().into_iter().find_map(|(_, outcome)| match outcome {
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::Routed { .. } => None,
        })
    }
}

#[test]
fn subscriptions_count_over_all_sessions_of_a_principal() {
    let mut bus = Bus::with(|limits| limits.app = small());
    let refused = Err(Refusal::PrincipalSubscriptionQuota { who: Kind::App, max: 3 });
    bus.join(1).join_as_first(2).join(3);
    bus.is_granted(1, "a").expect("room");
    bus.is_granted(1, "b").expect("room");
    bus.is_granted(2, "a").expect("room");
    assert_eq!(bus.is_granted(2, "b"), refused);
    bus.is_granted(2, "a").expect("one that is there may change");
    bus.is_granted(3, "a").expect("another principal has its own");
    bus.unsubscribe(1, "a");
    bus.is_granted(2, "b").expect("room again");
    assert_eq!(bus.is_granted(2, "c"), refused);
    bus.leave(2);
    bus.is_granted(1, "c").expect("what has left holds nothing");
    bus.is_granted(1, "d").expect("what has left holds nothing");
    assert_eq!(bus.is_granted(1, "e"), refused);
}

#[test]
fn durable_sessions_and_their_subscriptions_count_while_nobody_has_them() {
    let mut bus = Bus::with(|limits| limits.app = small());
    bus.join(1);
    bus.attach(1, "first").expect("room");
    bus.is_granted(1, "a").expect("room");
    bus.is_granted(1, "b").expect("room");
    bus.leave(1).join_as_first(2);
    assert_eq!(bus.attach(2, "second"), Err(Refusal::PrincipalSessionQuota { who: Kind::App, max: 1 }));
    bus.leave(2).join_as_first(3);
    assert!(bus.attach(3, "first").expect("its own").session_present);
    bus.is_granted(3, "c").expect("room");
    assert!(bus.is_granted(3, "d").is_err());
    // It ends, and everything goes with it.
    let client_id = "first".parse().expect("id");
    bus.leave(3).join_as_first(4);
    let subscriber = SubscriberId(4);
    bus.handle(Input::Attach { subscriber, client_id, clean_start: true, expiry_s: 0, will: None }).stores();
    for filter in ["a", "b", "c"] {
        bus.is_granted(4, filter).expect("room");
    }
    bus.leave(4).join_as_first(5);
    bus.attach(5, "second").expect("room");
}

#[test]
fn wills_count_in_bytes_until_they_are_published_or_discarded() {
    let change = |limits: &mut crate::Limits| {
        limits.app = PrincipalLimits { durable_sessions_max: 9, ..small() };
        limits.will_bytes_max = 1_500;
    };
    let mut bus = Bus::with(change);
    let refused = Err(Refusal::PrincipalWillBytesQuota { who: Kind::App, max: 1_000 });
    bus.join(1).join_as_first(2).join_as_first(3).join(4);
    bus.attach_with_will(1, "kept", 60, 200).expect("room");
    bus.attach_with_will(2, "brief", 0, 200).expect("room");
    assert_eq!(bus.attach_with_will(3, "more", 0, 200), refused);
    bus.attach_with_will(3, "none", 0, 0).expect_err("its furniture counts as well");
    bus.attach(3, "none").expect("without a will there is always room");
    let of_all = Err(Refusal::WillBytesQuota { max: 1_500 });
    assert_eq!(bus.attach_with_will(4, "other", 0, 700), of_all, "another principal, the same tenant");
    // The one that ends with its connection is published with it, and there is room.
    bus.leave(2).join_as_first(2);
    bus.attach_with_will(2, "brief", 0, 200).expect("room again");
    // A will that its own successor replaces does not count beside it.
    bus.leave(1).join_as_first(1);
    bus.attach_with_will(1, "kept", 60, 200).expect("in its own place");
    bus.join_as_first(5);
    assert_eq!(bus.attach_with_will(5, "more", 0, 200), refused);
    // Discarded by DISCONNECT, and published after its delay.
    let (subscriber, unacknowledged) = (SubscriberId(1), Vec::new());
    bus.handle(Input::Detach { subscriber, graceful: true, expiry_s: None, unacknowledged });
    bus.leave(1).join_as_first(1);
    bus.attach_with_will(5, "more", 60, 200).expect("room again");
    bus.leave(5).stores();
    assert_eq!(bus.attach_with_will(1, "kept", 60, 200), refused, "it waits for its delay");
    bus.router.handle(super::NOW_MS + 5_000, Input::DeadlineReached, &mut bus.effects);
    bus.attach_with_will(1, "kept", 60, 200).expect("room again");
}

#[test]
fn the_will_of_a_session_that_nobody_has_counts_after_a_restart() {
    let change = |limits: &mut crate::Limits| limits.app = small();
    let mut bus = Bus::with(change);
    bus.join(1);
    let mut rows = std::collections::BTreeMap::new();
    bus.handle(Input::Attach {
        subscriber: SubscriberId(1),
        client_id: "kept".parse().expect("id"),
        clean_start: false,
        expiry_s: 60,
        will: Some(Will { message: message("gone", &"x".repeat(500), 1), delay_s: 5 }),
    });
    for effect in bus.take() {
        if let Effect::StoreRow { key, value: Some(value) } = effect {
            rows.insert(key, value);
        }
    }
    let mut bus = Bus::with(change);
    bus.router.restore_sessions(rows, 1, super::NOW_MS).expect("rows as they were");
    bus.join(1);
    let refused = Err(Refusal::PrincipalWillBytesQuota { who: Kind::App, max: 1_000 });
    assert_eq!(bus.attach_with_will(1, "more", 0, 500), refused);
}

#[test]
fn a_retained_message_counts_for_whoever_published_last() {
    let mut bus = Bus::with(|limits| limits.app = small());
    bus.join(1).join(2);
    let keep = |topic: &str, payload: &str| retained(message(topic, payload, 1));
    assert_eq!(bus.is_taken(1, keep("a", "1")), None);
    assert_eq!(bus.is_taken(1, keep("b", "1")), None);
    let full = Some(Refusal::PrincipalRetainedQuota { who: Kind::App, max: 2 });
    assert_eq!(bus.is_taken(1, keep("c", "1")), full);
    assert_eq!(bus.is_taken(1, keep("a", "2")), None, "its own may change");
    assert_eq!(bus.is_taken(2, keep("a", "3")), None, "it is the other's now");
    assert_eq!(bus.is_taken(1, keep("c", "1")), None);
    assert_eq!(bus.is_taken(1, keep("a", "4")), full, "to take it back needs room");
    let large = keep("c", &"x".repeat(500));
    let heavy = Some(Refusal::PrincipalRetainedBytesQuota { who: Kind::App, max: 1_000 });
    assert_eq!(bus.is_taken(1, large), heavy);
    assert_eq!(bus.is_taken(1, keep("b", "")), None);
    assert_eq!(bus.is_taken(1, keep("c", &"x".repeat(500))), None);
}

#[test]
fn a_retained_change_that_fails_goes_back_to_whose_it_was() {
    let mut bus = Bus::with(|limits| limits.app = small());
    bus.join(1).join(2);
    let keep = |topic: &str| retained(message(topic, "1", 1));
    assert_eq!(bus.is_taken(1, keep("a")), None);
    bus.publish(2, 1, keep("a"));
    bus.handle(Input::CommitFailed { from: 2, reason: Refusal::DiskFull });
    assert_eq!(bus.is_taken(2, keep("b")), None);
    assert_eq!(bus.is_taken(2, keep("c")), None, "the other's did not stay");
    assert_eq!(bus.is_taken(1, keep("d")), None);
    assert!(bus.is_taken(1, keep("e")).is_some());
}

#[test]
fn a_session_is_told_how_much_retention_took_and_holds_the_log_no_longer() {
    let mut bus = Bus::new();
    bus.join(1).join(9);
    bus.attach(1, "first").expect("room");
    bus.is_granted(1, "a").expect("room");
    bus.leave(1).stores();
    for n in 0..10_u16 {
        bus.take();
        bus.publish(9, n + 1, message("a", &n.to_string(), 1)).stores();
    }
    assert_eq!(bus.router.needed_from(), 1);
    bus.take();
    bus.handle(Input::Trimmed { below: 8 });
    bus.router.handle(super::NOW_MS + 10_000, Input::DeadlineReached, &mut bus.effects);
    bus.stores();
    assert_eq!((bus.router.needed_from(), bus.router.messages_missed()), (8, 7));
    assert!(bus.take().contains(&Effect::Need { from: 8 }));
    bus.join_as_first(2);
    let attached = bus.attach(2, "first").expect("its own");
    assert_eq!((attached.session_present, attached.missed), (true, 7));
    bus.leave(2).stores().join_as_first(3);
    assert_eq!(bus.attach(3, "first").expect("its own").missed, 0, "it is told once");
}

#[test]
fn what_was_sent_and_cannot_be_sent_again_is_missed_as_well() {
    let mut bus = Bus::new();
    bus.join(1).join(9);
    bus.attach(1, "first").expect("room");
    bus.is_granted(1, "a").expect("room");
    bus.take();
    bus.publish(9, 1, message("a", "1", 1)).stores();
    let tag = bus.take().into_iter().find_map(|effect| match effect {
        Effect::Deliver { delivery, .. } => delivery.tag,
        _ => None,
    });
    let unacknowledged = vec![(7, tag.expect("a tag"))];
    let (subscriber, graceful, expiry_s) = (SubscriberId(1), false, None);
    bus.handle(Input::Detach { subscriber, graceful, expiry_s, unacknowledged });
    bus.leave(1).stores();
    bus.handle(Input::Trimmed { below: 2 }).stores();
    bus.join_as_first(2);
    let attached = bus.attach(2, "first").expect("its own");
    assert_eq!((attached.missed, attached.in_flight), (1, vec![]));
}

#[test]
fn a_session_that_wants_nothing_holds_the_log_for_a_moment_only() {
    let mut bus = Bus::new();
    bus.join(1).join(9);
    bus.attach(1, "first").expect("room");
    for n in 0..crate::limits::CHECKPOINT_RECORDS_MAX {
        bus.take();
        bus.publish(9, u16::try_from(n + 1).expect("few"), message("logged/a", "1", 1)).stores();
    }
    assert_eq!(bus.router.needed_from(), 1);
    let at = bus.router.next_deadline().expect("a flush");
    bus.router.handle(at, Input::DeadlineReached, &mut bus.effects);
    assert_eq!(bus.router.needed_from(), crate::limits::CHECKPOINT_RECORDS_MAX + 1);
}

#[test]
fn what_waits_on_the_log_counts_for_its_publisher_until_sessions_have_it() {
    let mut bus = Bus::with(|limits| limits.app.log_bytes_max = 520);
    bus.join(1).join(2).join(3);
    bus.attach(1, "first").expect("room");
    bus.is_granted(1, "a/#").expect("room");
    let large = || message("a/b", &"x".repeat(100), 1);
    let full = Some(Refusal::PrincipalLogBytesQuota { who: Kind::App, max: 520 });
    assert_eq!([(); 3].map(|()| bus.is_taken(2, large())), [None, None, None]);
    assert_eq!(bus.is_taken(2, large()), full);
    assert_eq!(bus.is_taken(3, large()), None, "another principal has its own");
    assert_eq!(bus.is_taken(2, message("b", "x", 1)), None, "no durable session wants it");
    assert_eq!(bus.is_taken(2, message("logged/b", "x", 1)), None, "no durable session wants it");
    assert_eq!(bus.is_taken(2, message("a/b", "x", 0)), None, "QoS 0 does not wait");
}

#[test]
fn a_deep_or_long_filter_counts_for_as_many_as_it_takes_room() {
    let mut bus = Bus::with(|limits| {
        limits.app.subscriptions_max = 20;
        limits.subscriptions_per_subscriber_max = 16;
        limits.subscriptions_max = 24;
    });
    bus.join(1).join_as_first(2).join(3);
    let deep = |first: &str| format!("{first}{}", "/+".repeat(63));
    bus.is_granted(1, &deep("a")).expect("8 of 16");
    bus.is_granted(1, "short/and/ordinary/#").expect("9 of 16");
    bus.is_granted(1, &"x".repeat(7 * 512)).expect("16 of 16");
    assert_eq!(bus.is_granted(1, "a"), Err(Refusal::SubscriptionQuota { max: 16 }));
    bus.is_granted(1, &deep("a")).expect("one that is there may change");
    let refused = Refusal::PrincipalSubscriptionQuota { who: Kind::App, max: 20 };
    assert_eq!(bus.is_granted(2, &deep("b")), Err(refused.clone()));
    bus.is_granted(2, &format!("$share/g{}", "/a".repeat(32))).expect("20 of 20, shared ones included");
    assert_eq!(bus.is_granted(2, "b"), Err(refused));
    assert_eq!(bus.is_granted(3, &deep("b")), Err(Refusal::TenantSubscriptionQuota { max: 24 }));
    bus.unsubscribe(1, &deep("a"));
    bus.is_granted(3, &deep("b")).expect("room again");
    bus.leave(1).leave(2).leave(3).join(4);
    bus.is_granted(4, &deep("a")).expect("what has left holds nothing");
    bus.is_granted(4, &deep("b")).expect("what has left holds nothing");
}

#[test]
fn filters_that_fork_at_every_level_do_not_make_a_search_long() {
    let mut bus = Bus::with(|limits| limits.subscriptions_per_subscriber_max = 20_000);
    bus.join(1).join(2);
    // Every word of twelve letters `a` and `+`, and then as deep as may be.
    for word in 0..2_000_u32 {
        let levels = (0..12).map(|at| if word >> at & 1 == 1 { "a/" } else { "+/" });
        bus.subscribe(1, &format!("{}{}end", levels.collect::<String>(), "+/".repeat(50)), 1);
    }
    let topic = vec!["a"; 63].join("/");
    let wide = Refusal::SearchTooWide { max: SEARCH_NODES_MAX };
    assert_eq!(bus.is_taken(2, message(&topic, "x", 1)), Some(wide));
    bus.take();
    bus.publish(2, 1, message(&topic, "x", 1));
    assert_eq!(searched(&bus), Some(SEARCH_NODES_MAX / SEARCH_NODES_OF_A_MESSAGE), "and is paid for");
    // What does not go that way is not held up, nor paid for.
    assert_eq!(bus.is_taken(2, message("b/a/a", "x", 1)), None);
    bus.take();
    bus.publish(2, 1, message("a/a/a", "x", 1));
    assert_eq!(searched(&bus), None);
    // A will of such a topic is lost, and that is told.
    let will = message(&topic, "x", 1);
    bus.take();
    bus.handle(Input::Will { publisher: publisher(2), session: None, message: will });
    let lost =
        |effect: &Effect| matches!(effect, Effect::Lost { refusal: Refusal::SearchTooWide { .. }, .. });
    assert!(bus.effects.iter().any(lost));
    bus.leave(1);
    assert_eq!(bus.is_taken(2, message(&topic, "x", 1)), None);
}

fn searched(bus: &Bus) -> Option<usize> {
    bus.effects.iter().find_map(|effect| match effect {
        Effect::Searched { messages, .. } => Some(*messages),
        _ => None,
    })
}
