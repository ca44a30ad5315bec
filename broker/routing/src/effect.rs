//! What the router wants done. The order of effects is the order in which they must be carried out per session and log.

use std::sync::Arc;

use muster_schemas::{Message, Publisher, Qos, TopicName};
use smallvec::SmallVec;

use crate::{refusal::Refusal, subscription::SubscriberId};

/// A message on its way to one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What was published.
    pub message: Arc<Message>,
    /// The lower of what was published with and what is subscribed with.
    pub qos: Qos,
    /// The retain flag to send.
    pub retain: bool,
    /// The identifiers of the subscriptions that it is for.
    pub subscription_ids: SmallVec<[u32; 2]>,
}

/// How a publish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was routed, and is on disk if it has to be.
    Routed {
        /// Whether anybody wants it: a live subscriber, or something that reads the log.
        matched: bool,
    },
    /// It was not.
    Refused(Refusal),
}

/// What the router wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give a session a message. A session that is gone by now is passed over.
    Deliver {
        /// Which session.
        to: SubscriberId,
        /// The message and how.
        delivery: Delivery,
    },
    /// Append a message to the log.
    Append {
        /// Its place, without gaps. Records are committed in this order.
        sequence: u64,
        /// Who published it.
        publisher: Publisher,
        /// The message.
        message: Arc<Message>,
    },
    /// Store a topic's retained message, in the same commit as an append of the same sequence.
    KeepRetained {
        /// Its place among the records.
        sequence: u64,
        /// The message, a compact copy.
        message: Arc<Message>,
    },
    /// Remove a topic's retained message from storage, in the same commit as an append of the same sequence.
    ForgetRetained {
        /// Its place among the records.
        sequence: u64,
        /// Which topic.
        topic: TopicName,
    },
    /// Answers a publish with a ticket.
    Published {
        /// Which session.
        to: SubscriberId,
        /// Its ticket.
        ticket: u16,
        /// How it ended.
        outcome: Outcome,
    },
    /// Answers a subscribe.
    Subscribed {
        /// Which session.
        to: SubscriberId,
        /// Its ticket.
        ticket: u16,
        /// For each wish in order, the quality of service granted or why it was refused.
        outcomes: Vec<Result<Qos, Refusal>>,
    },
    /// Answers an unsubscribe.
    Unsubscribed {
        /// Which session.
        to: SubscriberId,
        /// Its ticket.
        ticket: u16,
        /// For each filter in order, whether there was such a subscription.
        existed: Vec<bool>,
    },
    /// A publish without a ticket was refused: nobody is told, it is counted and logged.
    Denied {
        /// Who published.
        to: SubscriberId,
        /// Why.
        refusal: Refusal,
    },
    /// The slice is full and there is more to do: call with [`Input::Continue`](crate::Input::Continue) when others
    /// had their turn. Asked once until it is called.
    Continue,
}
