//! Deliveries in slices: of one publish to all who want it, and of retained messages to one who subscribed.

use std::sync::Arc;

use muster_schemas::{Message, Qos};

use crate::{
    commit::Answer,
    durable::{OFF_LOG, Session},
    effect::{Delivery, Effect},
    index::Matches,
    limits::FANOUT_SLICE_MAX,
    retained::{Cursor, Retained, RetainedMessage},
    subscription::{SubscriberId, Subscription},
};

/// The publish that is being delivered. There is one at a time, which keeps the order of publishes.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    message: Option<Arc<Message>>,
    expires_ms: Option<u64>,
    matches: Matches,
    /// Who is answered after the last delivery, and whether anybody wanted it.
    answer: Option<(Answer, bool)>,
}

impl Fanout {
    /// The matches of the next publish, to be filled in before it begins.
    pub(crate) fn matches(&mut self) -> &mut Matches {
        &mut self.matches
    }

    /// Begins to deliver to the matches.
    pub(crate) fn begin(
        &mut self,
        message: Arc<Message>,
        expires_ms: Option<u64>,
        answer: Option<(Answer, bool)>,
    ) {
        self.message = Some(message);
        self.expires_ms = expires_ms;
        self.answer = answer;
    }

    /// Delivers until the end or until `budget` is down to `reserve`. At the end returns who waited for it.
    pub(crate) fn deliver(
        &mut self,
        budget: &mut usize,
        reserve: usize,
        effects: &mut Vec<Effect>,
    ) -> Option<(Answer, bool)> {
        let message = self.message.as_ref()?;
        while *budget > reserve {
            let Some(found) = self.matches.next() else { break };
            *budget -= 1;
            effects.push(Effect::Deliver {
                to: found.subscriber,
                delivery: Delivery {
                    message: message.clone(),
                    qos: found.qos.min(message.qos),
                    retain: message.retain && found.retain_as_published,
                    subscription_ids: found.subscription_ids,
                    tag: None,
                    resent_as: None,
                    expires_ms: self.expires_ms,
                },
            });
        }
        if !self.matches.is_empty() {
            return None;
        }
        self.message = None;
        self.matches.clear();
        self.matches.shrink_to(FANOUT_SLICE_MAX);
        self.answer.take()
    }

    /// Leaves out a subscriber that went away.
    pub(crate) fn leave_out(&mut self, subscriber: SubscriberId) {
        if self.message.is_some() {
            self.matches.leave_out(subscriber);
        }
    }

    /// Whether a publish is unfinished.
    pub(crate) fn is_pending(&self) -> bool {
        self.message.is_some()
    }
}

/// Retained messages on their way to a new subscription. Publishes go on meanwhile: a message that changes is sent as it
/// is when its turn comes.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) to: SubscriberId,
    pub(crate) subscription: Subscription,
    pub(crate) cursor: Cursor,
}

impl Replay {
    /// Delivers until the end, which it tells by true, or until `budget` is used up. With the durable session of whoever
    /// subscribed, if there is one.
    pub(crate) fn deliver(
        &mut self,
        retained: &Retained,
        now_ms: u64,
        mut session: Option<&mut Session>,
        budget: &mut usize,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Self { to, subscription, cursor } = self;
        cursor.read(retained, budget, |RetainedMessage { message, expires_ms, .. }| {
            if expires_ms.is_some_and(|at| at <= now_ms) {
                return;
            }
            let qos = subscription.options.qos.min(message.qos);
            let session = session.as_mut().filter(|_| qos == Qos::ExactlyOnce);
            let delivery = Delivery {
                message: message.clone(),
                qos,
                // Whatever Retain As Published says [MQTT-3.3.1-8].
                retain: true,
                subscription_ids: subscription.id.into_iter().collect(),
                tag: session.map(|session| session.begin_flight(OFF_LOG, qos, message)),
                resent_as: None,
                expires_ms: *expires_ms,
            };
            effects.push(Effect::Deliver { to: *to, delivery });
        })
    }
}
