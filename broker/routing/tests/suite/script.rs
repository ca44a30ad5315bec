//! Bytes as a story of a router: whatever its sessions, its disk and the clock may do, in any order. Judged is what holds in
//! every story: who never joined gets nothing, and what stands in line stays within its bounds. What is for somebody who has
//! left meanwhile is the shell's to pass over.

use std::{collections::BTreeSet, sync::Arc};

use muster_routing::{
    Access, Effect, Input, Limits, Refusal, Request, Router, RouterOptions, SubscriberId, Will,
};
use muster_schemas::{Kind, Message, Publisher, Qos, RetainHandling, SubscriptionOptions};

const FILTERS: [&str; 8] = ["#", "a/+", "a/b", "$share/g/a/#", "$share/h/+", "+/b/#", "$share//a", "$SYS/#"];
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "logged/a", "$SYS/x", "b"];
const QUEUED_INPUTS_MAX: usize = 16;

/// Runs a story to its end.
pub fn run(bytes: &[u8]) {
    let limits = Limits {
        queued_inputs_max: QUEUED_INPUTS_MAX,
        fanout_slice_max: 4,
        queue_runs_max: 2,
        flights_max: 3,
        uncommitted_records_max: 8,
        ..Limits::default()
    };
    let durable = vec!["logged/#".parse().expect("a filter")];
    let mut router = Router::new(RouterOptions { limits, durable, next_sequence: 1 });
    let (mut effects, mut joined, mut now_ms) = (Vec::new(), BTreeSet::new(), 1_000_u64);
    let mut reads = Vec::new();
    for step in bytes.chunks_exact(4) {
        let [what, who, which, number] = step else { continue };
        let subscriber = SubscriberId(u64::from(who % 4));
        let input = input(*what, subscriber, *which, *number, &mut router, &mut reads);
        now_ms += u64::from(*number);
        if let Input::Join { .. } = &input {
            joined.insert(subscriber);
        }
        router.handle(now_ms, input, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver { to, .. } => assert!(joined.contains(&to), "a delivery to nobody"),
                Effect::Read { session, epoch, wanted } => reads.push((session, epoch, wanted)),
                _ => {}
            }
        }
        // Leavings, joinings and what frees something stand in line at any length.
        assert!(router.waiting().0 <= QUEUED_INPUTS_MAX + bytes.len() / 4);
        assert!(router.next_sequence() > 0);
    }
}

type Reads = Vec<(u64, u64, muster_routing::Wanted)>;

fn input(
    what: u8,
    subscriber: SubscriberId,
    which: u8,
    number: u8,
    router: &mut Router,
    reads: &mut Reads,
) -> Input {
    let qos = Qos::try_from(number % 3).unwrap_or_default();
    let filter = FILTERS[usize::from(which) % FILTERS.len()].parse().expect("a filter");
    let message = || Message {
        topic: TOPICS[usize::from(which) % TOPICS.len()].parse().expect("a topic"),
        qos,
        retain: number & 8 != 0,
        payload: vec![number; usize::from(number % 5)].into(),
        properties: None,
    };
    let (tag, packet_id) = (u64::from(number), u16::from(which) + 1);
    match what % 18 {
        0 => Input::Join {
            subscriber,
            publisher: Publisher {
                kind: Kind::App,
                id: format!("app-{}", subscriber.0).parse().expect("an id"),
            },
            access: Arc::new(Access::app()),
        },
        1 => Input::Leave { subscriber },
        2 | 3 => Input::Subscribe {
            subscriber,
            ticket: packet_id,
            filters: vec![Request {
                filter,
                options: SubscriptionOptions {
                    qos,
                    retain_handling: RetainHandling::Send,
                    ..Default::default()
                },
                subscription_id: None,
            }],
        },
        4 => Input::Unsubscribe { subscriber, ticket: packet_id, filters: vec![filter] },
        5..=7 => {
            let ticket = (qos > Qos::AtMostOnce).then_some(packet_id);
            Input::Publish { subscriber, ticket, message: message().into() }
        }
        8 => Input::Attach {
            subscriber,
            client_id: format!("client-{}", which % 2).parse().expect("a client identifier"),
            clean_start: number & 1 != 0,
            expiry_s: u32::from(number & 6),
            will: (number & 16 != 0).then(|| Will { message: message(), delay_s: u32::from(number % 3) }),
        },
        9 => Input::Detach {
            subscriber,
            graceful: number & 1 != 0,
            expiry_s: (number & 2 != 0).then_some(u32::from(number)),
            unacknowledged: vec![(packet_id, tag)],
        },
        10 => Input::Complete { subscriber, tag },
        11 => Input::Bind { subscriber, packet_id, tag },
        12 => Input::Release { subscriber, packet_id, tag },
        13 => Input::Forget { subscriber, packet_id },
        14 => Input::Committed { up_to: router.next_sequence().saturating_sub(1) },
        15 => match router.seal() {
            (batch, _) if number & 1 == 0 => Input::Stored { batch },
            (batch, _) => Input::StoreFailed { batch, reason: Refusal::DiskFull },
        },
        16 => match reads.pop() {
            Some((session, epoch, wanted)) => {
                let next = router.next_sequence();
                Input::Records { session, epoch, wanted, records: Vec::new(), next }
            }
            None => Input::Continue,
        },
        _ if number & 1 == 0 => Input::DeadlineReached,
        _ => Input::Continue,
    }
}
