//! The router against a naive model: a list of subscriptions, each asked whether it matches.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_schemas::{Message, Qos, TopicFilter, TopicName};
use proptest::prelude::*;
use smallvec::SmallVec;

use crate::{
    Delivery, Effect, Index, Input, Matches, Request, RetainHandling, SubscriberId, Subscription,
    SubscriptionOptions, tests::Bus,
};

/// A message at a quality of service, not retained.
pub(crate) fn message(topic: &str, payload: &str, qos: u8) -> Message {
    Message {
        topic: topic.parse().expect("topic"),
        qos: Qos::try_from(qos).expect("qos"),
        retain: false,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: None,
    }
}

/// Few levels of few names, so that topics and filters meet; among them names that sort around the separator.
fn levels() -> impl Strategy<Value = Vec<&'static str>> {
    let level =
        prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "a-", "a0", "", "é"]);
    let usual = prop::sample::select(vec!["a", "b"]);
    prop::collection::vec(prop_oneof![3 => usual, 1 => level], 1..5)
}

pub(crate) fn topic() -> impl Strategy<Value = TopicName> {
    levels().prop_filter_map("empty", |levels| levels.join("/").parse().ok())
}

pub(crate) fn filter() -> impl Strategy<Value = TopicFilter> {
    let wild = prop::collection::vec(prop::bool::weighted(0.3), 5);
    (levels(), wild, prop::bool::weighted(0.3)).prop_filter_map("empty", |(mut levels, wild, rest)| {
        for (level, _) in levels.iter_mut().zip(wild).filter(|(_, wild)| *wild) {
            *level = "+";
        }
        if rest {
            levels.push("#");
            if levels.len() == 2 && levels[0] == "+" {
                levels.remove(0);
            }
        }
        levels.join("/").parse().ok()
    })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    (0_u8..3, any::<bool>(), any::<bool>(), 0_u8..3).prop_map(
        |(qos, no_local, retain_as_published, handling)| SubscriptionOptions {
            qos: Qos::try_from(qos).expect("qos"),
            no_local,
            retain_as_published,
            retain_handling: RetainHandling::try_from(handling).expect("handling"),
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(u64, TopicFilter, Subscription),
    Unsubscribe(u64, TopicFilter),
    Leave(u64),
    Publish(u64, Message),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0_u64..4;
    let subscription = (options(), prop::option::of(1_u32..4));
    let published = (topic(), 0_u8..3, any::<bool>(), prop::sample::select(vec!["", "1", "2"]));
    prop_oneof![
        4 => (who(), filter(), subscription)
            .prop_map(|(who, filter, (options, id))| Step::Subscribe(who, filter, Subscription { options, id })),
        2 => (who(), filter()).prop_map(|(who, filter)| Step::Unsubscribe(who, filter)),
        1 => who().prop_map(Step::Leave),
        6 => (who(), published).prop_map(|(who, (topic, qos, retain, payload))| {
            Step::Publish(who, Message { retain, ..message(topic.as_str(), payload, qos) })
        }),
    ]
}

/// What the standard says, without an index or a tree.
#[derive(Default)]
struct Naive {
    subscriptions: Vec<(u64, TopicFilter, Subscription)>,
    retained: BTreeMap<Vec<String>, Message>,
}

impl Naive {
    fn publish(&mut self, from: u64, message: &Message) -> Vec<(u64, Delivery)> {
        if message.retain {
            let key = message.topic.levels().map(str::to_owned).collect();
            if message.payload.is_empty() {
                self.retained.remove(&key);
            } else {
                self.retained.insert(key, message.clone());
            }
        }
        let mut deliveries = Vec::new();
        for to in 0..4 {
            let wanted: Vec<_> = self
                .subscriptions
                .iter()
                .filter(|(who, filter, _)| *who == to && filter.matches(&message.topic))
                .map(|(_, _, subscription)| subscription)
                .filter(|subscription| !(subscription.options.no_local && from == to))
                .collect();
            let Some(highest) = wanted.iter().map(|s| s.options.qos).max() else { continue };
            let mut subscription_ids: SmallVec<[u32; 2]> = wanted.iter().filter_map(|s| s.id).collect();
            subscription_ids.sort();
            let retain = message.retain && wanted.iter().any(|s| s.options.retain_as_published);
            let qos = message.qos.min(highest);
            deliveries.push((to, delivery(message, qos, retain, subscription_ids)));
        }
        deliveries
    }

    fn subscribe(&mut self, to: u64, filter: &TopicFilter, new: Subscription) -> Vec<(u64, Delivery)> {
        let old = self.subscriptions.iter().position(|(who, what, _)| *who == to && what == filter);
        if let Some(at) = old {
            self.subscriptions.remove(at);
        }
        self.subscriptions.push((to, filter.clone(), new));
        match new.options.retain_handling {
            RetainHandling::DoNotSend => return Vec::new(),
            RetainHandling::SendIfNew if old.is_some() => return Vec::new(),
            _ => {}
        }
        let deliver = |message: &Message| {
            let qos = message.qos.min(new.options.qos);
            let subscription_ids = new.id.into_iter().collect();
            (to, delivery(message, qos, true, subscription_ids))
        };
        self.retained.values().filter(|m| filter.matches(&m.topic)).map(deliver).collect()
    }
}

fn deliveries(effects: Vec<Effect>) -> Vec<(u64, Delivery)> {
    let delivery = |effect| match effect {
        Effect::Deliver { to, delivery } => Some((to.0, delivery)),
        _ => None,
    };
    effects.into_iter().filter_map(delivery).collect()
}

proptest! {
    #[test]
    fn the_router_delivers_what_the_naive_model_delivers(
        slice in 1_usize..5,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bus = Bus::with(|limits| limits.fanout_slice_max = slice);
        let mut naive = Naive::default();
        for who in 0..4 {
            bus.join(who);
        }
        for step in steps {
            let expected = match &step {
                Step::Subscribe(who, filter, Subscription { options, id }) => {
                    bus.subscribe_with(*who, filter.as_str(), *options, *id);
                    naive.subscribe(*who, filter, Subscription { options: *options, id: *id })
                }
                Step::Unsubscribe(who, filter) => {
                    bus.unsubscribe(*who, filter.as_str());
                    let before = naive.subscriptions.len();
                    naive.subscriptions.retain(|(other, what, _)| other != who || what != filter);
                    let existed = vec![naive.subscriptions.len() < before];
                    let to = SubscriberId(*who);
                    prop_assert_eq!(&bus.effects, &[Effect::Unsubscribed { to, ticket: 1, existed }]);
                    Vec::new()
                }
                Step::Leave(who) => {
                    bus.leave(*who).join(*who);
                    naive.subscriptions.retain(|(other, _, _)| other != who);
                    Vec::new()
                }
                Step::Publish(who, message) => {
                    bus.publish(*who, 1, message.clone());
                    naive.publish(*who, message)
                }
            };
            bus.finish();
            prop_assert_eq!(deliveries(bus.take()), expected, "after {:?}", step);
            prop_assert_eq!(bus.router.index().len(), naive.subscriptions.len());
            prop_assert_eq!(bus.router.retained().len(), naive.retained.len());
        }
        for who in 0..4 {
            bus.leave(who);
        }
        prop_assert!(bus.router.index().is_empty());
    }

    #[test]
    fn slices_change_when_effects_come_and_not_which(
        slice in 1_usize..4,
        steps in prop::collection::vec((step(), any::<bool>()), 1..40),
    ) {
        let mut sliced = Bus::with(|limits| limits.fanout_slice_max = slice);
        let mut whole = Bus::with(|limits| limits.fanout_slice_max = 10_000);
        for who in 0..4 {
            sliced.join(who);
            whole.join(who);
        }
        for (step, turn) in steps {
            let input = match step {
                // Without replays, which may pass publishes, and without leaving, which cuts deliveries short.
                Step::Subscribe(who, filter, Subscription { mut options, id: subscription_id }) => {
                    options.retain_handling = RetainHandling::DoNotSend;
                    let filters = vec![Request { filter, options, subscription_id }];
                    Input::Subscribe { subscriber: SubscriberId(who), ticket: 1, filters }
                }
                Step::Unsubscribe(who, filter) => {
                    Input::Unsubscribe { subscriber: SubscriberId(who), ticket: 1, filters: vec![filter] }
                }
                Step::Publish(who, message) => {
                    Input::Publish { subscriber: SubscriberId(who), ticket: Some(1), message: message.into() }
                }
                Step::Leave(_) => continue,
            };
            whole.handle(input.clone());
            sliced.handle(input);
            if turn && let Some(at) = sliced.effects.iter().position(|e| *e == Effect::Continue) {
                sliced.effects.remove(at);
                sliced.handle(Input::Continue);
            }
        }
        sliced.finish();
        prop_assert_eq!(sliced.take(), whole.take());
    }

    #[test]
    fn the_index_finds_reserved_topics_only_by_their_first_level(filter in filter(), topic in topic()) {
        let reserved: TopicName = format!("$SYS/{topic}").parse().expect("topic");
        let mut index = Index::new();
        let mut matches = Matches::default();
        for filter in [filter.clone(), format!("$SYS/{filter}").parse().expect("filter")] {
            index.subscribe(SubscriberId(1), &filter, Subscription::default());
            index.matches(&reserved, None, &mut matches);
            prop_assert_eq!(matches.next().is_some(), filter.matches(&reserved), "{} {}", filter, reserved);
            index.remove(SubscriberId(1));
        }
    }
}

fn delivery(message: &Message, qos: Qos, retain: bool, subscription_ids: SmallVec<[u32; 2]>) -> Delivery {
    let message = message.clone().into();
    Delivery { message, qos, retain, subscription_ids, tag: None, resent_as: None, expires_ms: None }
}
