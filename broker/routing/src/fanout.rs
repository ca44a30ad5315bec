//! Deliveries in slices: of one publish to all who want it.

use std::sync::Arc;

use muster_schemas::Message;

use crate::{
    commit::Answer,
    effect::{Delivery, Effect},
    index::Matches,
    limits::FANOUT_SLICE_MAX,
    subscription::SubscriberId,
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
        let published_qos = self.message.as_ref()?.qos;
        while *budget > reserve {
            let Some(found) = self.matches.next() else { break };
            *budget -= 1;
            // The last takes it along.
            let message = if self.matches.is_empty() { self.message.take() } else { self.message.clone() };
            let Some(message) = message else { break };
            effects.push(Effect::Deliver {
                to: found.subscriber,
                delivery: Delivery {
                    qos: found.qos.min(published_qos),
                    retain: message.retain && found.retain_as_published,
                    message,
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
