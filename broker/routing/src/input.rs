//! What the router is told and asked.

use std::sync::Arc;

use muster_schemas::{ClientId, Message, Publisher, SubscriptionOptions, TopicFilter};

use crate::{
    access::Access,
    durable::{Record, Wanted, Will},
    refusal::Refusal,
    subscription::SubscriberId,
};

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
    /// A session that has joined has yet to show something: until [`Input::Clear`] it may publish only what this list
    /// allows, subscribes to nothing, gets nothing, and leaves no will.
    Quarantine {
        /// Its number.
        subscriber: SubscriberId,
        /// What it may do meanwhile.
        access: Arc<Access>,
    },
    /// It has shown it: it has the rights that it joined with, its durable session is fed, and its will holds.
    Clear {
        /// Its number.
        subscriber: SubscriberId,
    },
    /// A connection's CONNECT: take up its durable session, begin one, or none. Answered with
    /// [`Effect::Attached`](crate::Effect::Attached).
    Attach {
        /// Its number.
        subscriber: SubscriberId,
        /// Its client identifier.
        client_id: ClientId,
        /// Whether to end an earlier session.
        clean_start: bool,
        /// Seconds that the session is to outlive the connection; 0 is none.
        expiry_s: u32,
        /// What to publish should it vanish.
        will: Option<Will>,
    },
    /// How a connection ends; its leaving follows.
    Detach {
        /// Its number.
        subscriber: SubscriberId,
        /// Whether its will is discarded.
        graceful: bool,
        /// A session expiry instead of the one agreed, in seconds.
        expiry_s: Option<u32>,
        /// Packet ids and tags of QoS 1 deliveries that were sent and not acknowledged.
        unacknowledged: Vec<(u16, u64)>,
    },
    /// A delivery with a tag is over.
    Complete {
        /// Whose.
        subscriber: SubscriberId,
        /// Its tag.
        tag: u64,
    },
    /// A QoS 2 delivery of a durable session has got its packet id. Answered with
    /// [`Effect::Bound`](crate::Effect::Bound).
    Bind {
        /// Whose.
        subscriber: SubscriberId,
        /// The packet id.
        packet_id: u16,
        /// Its tag.
        tag: u64,
    },
    /// The client of a durable session has a QoS 2 message. Answered with
    /// [`Effect::Released`](crate::Effect::Released).
    Release {
        /// Whose.
        subscriber: SubscriberId,
        /// The packet id.
        packet_id: u16,
        /// Its tag.
        tag: u64,
    },
    /// The client of a durable session has ended a QoS 2 message of its own. Answered with
    /// [`Effect::Forgotten`](crate::Effect::Forgotten).
    Forget {
        /// Whose.
        subscriber: SubscriberId,
        /// Its packet id.
        packet_id: u16,
    },
    /// The answer to [`Effect::Ahead`](crate::Effect::Ahead).
    CaughtUp {
        /// Who.
        subscriber: SubscriberId,
    },
    /// The answer to [`Effect::Read`](crate::Effect::Read).
    Records {
        /// As asked.
        session: u64,
        /// As asked.
        epoch: u64,
        /// As asked.
        wanted: Wanted,
        /// What the log has of it, ascending.
        records: Vec<Record>,
        /// The sequence before which everything that was asked for has been looked at.
        next: u64,
    },
    /// Retention has given up all records below a sequence, also those that durable sessions had yet to get.
    Trimmed {
        /// The first that is kept.
        below: u64,
    },
    /// The rows of a batch are on disk, see [`Router::seal`](crate::Router::seal), and those of all before it.
    Stored {
        /// Its number.
        batch: u64,
    },
    /// The rows of a batch are not on disk, nor are those of any sealed since.
    StoreFailed {
        /// Its number.
        batch: u64,
        /// Why: [`Refusal::DiskFull`] or [`Refusal::StorageFailed`].
        reason: Refusal,
    },
    /// The moment of [`Router::next_deadline`](crate::Router::next_deadline) may have come.
    DeadlineReached,
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
        message: Arc<Message>,
    },
    /// The will of somebody who has left: no access list is asked and nobody is answered.
    Will {
        /// In whose name.
        publisher: Publisher,
        /// The durable session that it was left with, if it still is there.
        session: Option<u64>,
        /// The message.
        message: Message,
    },
    /// What the broker has to say about what somebody published: in their name and at their cost, on whatever topic. No
    /// access list is asked and nobody is answered; behind a fan-out that is over its bound it is left out.
    Letter {
        /// Whom it is about.
        publisher: Publisher,
        /// The message; its topic may begin with `$`.
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
            Self::Publish { message, .. } => message_bytes(message),
            Self::Will { message, .. } | Self::Letter { message, .. } | Self::Announce { message } => {
                message_bytes(message)
            }
            Self::Attach { will, .. } => will.as_ref().map_or(0, Will::bytes),
            Self::Subscribe { filters, .. } => filters.iter().map(|f| f.filter.as_str().len()).sum(),
            Self::Unsubscribe { filters, .. } => filters.iter().map(|f| f.as_str().len()).sum(),
            _ => 0,
        }
    }
}

fn message_bytes(message: &Message) -> usize {
    message.topic.as_str().len() + message.payload.len()
}
