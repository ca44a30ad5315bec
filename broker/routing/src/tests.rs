//! Tests of the router as a whole. Those of one part stand with the part.

mod commits;
mod durable;
pub(crate) mod model;
mod no_local;
mod quarantine;
mod quotas;
mod shared;
mod slices;
mod stories;

use std::sync::Arc;

use muster_schemas::{Kind, Message, Publisher, Qos};

use crate::{
    Access, Effect, Input, Limits, Outcome, Request, Router, RouterOptions, SubscriberId, SubscriptionOptions,
};

/// When stories happen, in Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_000_000;

/// A router and the effects it gave, with the few words that stories are told in.
pub(crate) struct Bus {
    pub(crate) router: Router,
    pub(crate) effects: Vec<Effect>,
}

/// A delivery, short: to whom, topic, payload, quality of service, retain flag.
type Told = (u64, String, String, u8, bool);

impl Bus {
    /// A router with smaller bounds, and with `logged/#` on the log from sequence 1.
    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let durable = vec!["logged/#".parse().expect("filter")];
        let router = Router::new(RouterOptions { limits, durable, next_sequence: 1 });
        Self { router, effects: Vec::new() }
    }

    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn handle(&mut self, input: Input) -> &mut Self {
        self.router.handle(NOW_MS, input, &mut self.effects);
        self
    }

    pub(crate) fn join(&mut self, subscriber: u64) -> &mut Self {
        self.join_with(subscriber, Access::app())
    }

    pub(crate) fn join_with(&mut self, subscriber: u64, access: Access) -> &mut Self {
        let publisher = publisher(subscriber);
        self.handle(Input::Join { subscriber: SubscriberId(subscriber), publisher, access: Arc::new(access) })
    }

    pub(crate) fn leave(&mut self, subscriber: u64) -> &mut Self {
        self.handle(Input::Leave { subscriber: SubscriberId(subscriber) })
    }

    pub(crate) fn subscribe(&mut self, subscriber: u64, filter: &str, qos: u8) -> &mut Self {
        let qos = Qos::try_from(qos).expect("qos");
        self.subscribe_with(subscriber, filter, SubscriptionOptions { qos, ..Default::default() }, None)
    }

    pub(crate) fn subscribe_with(
        &mut self,
        subscriber: u64,
        filter: &str,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    ) -> &mut Self {
        let filter = filter.parse().expect("filter");
        let filters = vec![Request { filter, options, subscription_id }];
        self.handle(Input::Subscribe { subscriber: SubscriberId(subscriber), ticket: 1, filters })
    }

    pub(crate) fn unsubscribe(&mut self, subscriber: u64, filter: &str) -> &mut Self {
        let filters = vec![filter.parse().expect("filter")];
        self.handle(Input::Unsubscribe { subscriber: SubscriberId(subscriber), ticket: 1, filters })
    }

    /// Publishes; at quality of service 0 without a ticket.
    pub(crate) fn publish(&mut self, from: u64, ticket: u16, message: Message) -> &mut Self {
        let ticket = (message.qos > Qos::AtMostOnce).then_some(ticket);
        self.handle(Input::Publish { subscriber: SubscriberId(from), ticket, message: message.into() })
    }

    /// Continues until nothing is left, and says how often.
    pub(crate) fn finish(&mut self) -> usize {
        let mut times = 0;
        while let Some(at) = self.effects.iter().position(|e| *e == Effect::Continue) {
            self.effects.remove(at);
            self.handle(Input::Continue);
            times += 1;
        }
        times
    }

    /// Takes the effects so far.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes the effects so far and keeps the deliveries.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        told(&self.take())
    }

    /// Takes the effects so far and keeps the answers to publishers.
    pub(crate) fn answers(&mut self) -> Vec<(u16, Outcome)> {
        let answer = |effect| match effect {
            Effect::Published { ticket, outcome, .. } => Some((ticket, outcome)),
            _ => None,
        };
        self.take().into_iter().filter_map(answer).collect()
    }
}

pub(crate) fn told(effects: &[Effect]) -> Vec<Told> {
    let short = |effect: &Effect| match effect {
        Effect::Deliver { to, delivery } => {
            let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            Some((to.0, delivery.message.topic.to_string(), payload, delivery.qos as u8, delivery.retain))
        }
        _ => None,
    };
    effects.iter().filter_map(short).collect()
}

pub(crate) fn publisher(subscriber: u64) -> Publisher {
    Publisher { kind: Kind::App, id: format!("app-{subscriber}").parse().expect("id") }
}

pub(crate) fn retained(message: Message) -> Message {
    Message { retain: true, ..message }
}
