//! Retained messages on their way to new subscriptions. Publishes go on meanwhile: a message that changes is sent as it
//! is when its turn comes. A subscriber gets no more at once than it can put out, and the rest when it has done so, or a
//! long replay would fill its delivery queue and end it.

use std::collections::VecDeque;

use muster_schemas::{Qos, TopicFilter};

use crate::{
    durable::{OFF_LOG, Session},
    effect::{Delivery, Effect},
    limits::{REPLAY_BYTES_MAX, REPLAY_MESSAGES_MAX},
    numbers::SubscriberMap,
    retained::{Cursor, Retained, RetainedMessage},
    subscription::{SubscriberId, Subscription},
};

/// The replays of all subscriptions. One per subscription at most.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Those that may go on; the first is served next.
    line: VecDeque<Replay>,
    /// Who reads. Only ever asked for one.
    readers: SubscriberMap<Reader>,
}

/// A subscriber with replays.
#[derive(Debug, Default)]
struct Reader {
    /// How many.
    replays: usize,
    /// What it was given since it last had put out all.
    messages: usize,
    bytes: usize,
    /// It was given as much as it may, and says when it has put that out.
    is_ahead: bool,
    /// Its replays that wait for that.
    held: Vec<Replay>,
}

#[derive(Debug)]
struct Replay {
    to: SubscriberId,
    subscription: Subscription,
    cursor: Cursor,
}

impl Replays {
    /// Begins one.
    pub(crate) fn begin(&mut self, to: SubscriberId, subscription: Subscription, filter: &TopicFilter) {
        let reader = self.readers.entry(to).or_default();
        reader.replays += 1;
        let replay = Replay { to, subscription, cursor: Retained::matching(filter) };
        if reader.is_ahead { reader.held.push(replay) } else { self.line.push_back(replay) }
    }

    /// Ends that of one subscription.
    pub(crate) fn end(&mut self, to: SubscriberId, filter: &TopicFilter) {
        let Some(reader) = self.readers.get_mut(&to) else { return };
        let before = self.line.len() + reader.held.len();
        self.line.retain(|replay| replay.to != to || replay.cursor.filter() != filter);
        reader.held.retain(|replay| replay.cursor.filter() != filter);
        reader.replays -= before - (self.line.len() + reader.held.len());
        self.forget(to);
    }

    /// Ends all of a subscriber.
    pub(crate) fn end_all(&mut self, to: SubscriberId) {
        if self.readers.remove(&to).is_some() {
            self.line.retain(|replay| replay.to != to);
        }
    }

    /// A subscriber has put out what it was given.
    pub(crate) fn caught_up(&mut self, to: SubscriberId) {
        let Some(reader) = self.readers.get_mut(&to) else { return };
        (reader.messages, reader.bytes, reader.is_ahead) = (0, 0, false);
        self.line.extend(reader.held.drain(..));
        self.forget(to);
    }

    /// Whether none can go on.
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Who is served next.
    pub(crate) fn next(&self) -> Option<SubscriberId> {
        self.line.front().map(|replay| replay.to)
    }

    /// Serves the next, until its end, until `budget` is used up, or until its subscriber has enough for now. With the
    /// durable session of whoever subscribed, if there is one.
    pub(crate) fn serve(
        &mut self,
        retained: &Retained,
        now_ms: u64,
        session: Option<&mut Session>,
        budget: &mut usize,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut replay) = self.line.pop_front() else { return };
        let Some(reader) = self.readers.get_mut(&replay.to) else { return };
        if reader.is_ahead {
            reader.held.push(replay);
            return;
        }
        let to = replay.to;
        if replay.deliver(retained, now_ms, session, (reader, budget), effects) {
            reader.replays -= 1;
            *budget = budget.saturating_sub(1);
        } else if reader.has_enough() {
            reader.is_ahead = true;
            reader.held.push(replay);
            effects.push(Effect::Ahead { to });
        } else {
            self.line.push_back(replay);
        }
        self.forget(to);
    }

    /// Forgets who reads nothing any more, unless it has yet to say that it has caught up.
    fn forget(&mut self, to: SubscriberId) {
        if self.readers.get(&to).is_some_and(|reader| reader.replays == 0 && !reader.is_ahead) {
            self.readers.remove(&to);
        }
    }
}

impl Reader {
    fn has_enough(&self) -> bool {
        self.messages >= REPLAY_MESSAGES_MAX || self.bytes >= REPLAY_BYTES_MAX
    }
}

impl Replay {
    /// Delivers until the end, which it tells by true, or until there is enough for now.
    fn deliver(
        &mut self,
        retained: &Retained,
        now_ms: u64,
        mut session: Option<&mut Session>,
        (reader, budget): (&mut Reader, &mut usize),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Self { to, subscription, cursor } = self;
        cursor.read_while(retained, budget, |RetainedMessage { message, expires_ms, .. }| {
            if expires_ms.is_some_and(|at| at <= now_ms) {
                return true;
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
            reader.messages += 1;
            reader.bytes += message.topic.as_str().len() + message.payload.len();
            !reader.has_enough()
        })
    }
}
