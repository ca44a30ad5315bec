//! What the router is told and asked.

use std::sync::Arc;

use muster_schemas::{Message, Publisher, SubscriptionOptions, TopicFilter};

use crate::{access::Access, refusal::Refusal, subscription::SubscriberId};

/// One wish of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub filter: TopicFilter,
    /// How.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier, if the packet has one.
    pub subscription_id: Option<u32>,
}

/// What happens to the router. A ticket is the asker's own number and comes back with the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A session is there. Joining again replaces the old session, its subscriptions and its unanswered tickets.
    Join {
        /// Its number.
        subscriber: SubscriberId,
        /// As whom it publishes.
        publisher: Publisher,
        /// What it may do.
        access: Arc<Access>,
    },
    /// A session is gone. What it published before is still routed, but not answered; what comes after is ignored.
    Leave {
        /// Its number.
        subscriber: SubscriberId,
    },
    /// Answered with [`Effect::Subscribed`](crate::Effect::Subscribed).
    Subscribe {
        /// Who asks.
        subscriber: SubscriberId,
        /// Comes back with the answer.
        ticket: u16,
        /// What it asks for, in the order of the packet.
        filters: Vec<Request>,
    },
    /// Answered with [`Effect::Unsubscribed`](crate::Effect::Unsubscribed).
    Unsubscribe {
        /// Who asks.
        subscriber: SubscriberId,
        /// Comes back with the answer.
        ticket: u16,
        /// The filters, in the order of the packet.
        filters: Vec<TopicFilter>,
    },
    /// Answered with [`Effect::Published`](crate::Effect::Published) if there is a ticket.
    Publish {
        /// Who publishes.
        subscriber: SubscriberId,
        /// Comes back with the answer; none when nobody waits, as at quality of service 0.
        ticket: Option<u16>,
        /// The message.
        message: Message,
    },
    /// The broker itself has something to say, such as a number of `$SYS`. It is delivered, and kept in memory if it is
    /// retained; it goes to no log, and behind a fan-out that is over its bound it is left out.
    Announce {
        /// The message; its topic may begin with `$`.
        message: Message,
    },
    /// All records with sequences up to this one are on disk.
    Committed {
        /// The highest of them.
        up_to: u64,
    },
    /// No record from this sequence on is or will be on disk. The router undoes what they retained and gives out the
    /// same sequences again; until it does, the log drops what it is still given with a higher one.
    CommitFailed {
        /// The first that is not.
        from: u64,
        /// Why: [`Refusal::DiskFull`] or [`Refusal::StorageFailed`].
        reason: Refusal,
    },
    /// The answer to [`Effect::Continue`](crate::Effect::Continue).
    Continue,
}

impl Input {
    /// What it takes while it waits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Publish { message, .. } | Self::Announce { message } => {
                message.topic.as_str().len() + message.payload.len()
            }
            Self::Subscribe { filters, .. } => filters.iter().map(|f| f.filter.as_str().len()).sum(),
            Self::Unsubscribe { filters, .. } => filters.iter().map(|f| f.as_str().len()).sum(),
            _ => 0,
        }
    }
}
