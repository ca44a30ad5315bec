//! What the router wants done. The order of effects is the order in which they must be carried out per session and log.

use std::sync::Arc;

use muster_schemas::{Message, Publisher, Qos, TopicFilter, TopicName};
use smallvec::SmallVec;

use crate::{
    durable::{Attached, Wanted},
    refusal::Refusal,
    subscription::SubscriberId,
};

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
    /// Comes back with [`Input::Complete`](crate::Input::Complete) when it is over; none if nobody wants to know.
    pub tag: Option<u64>,
    /// The packet id under which an earlier connection of the session sent it.
    pub resent_as: Option<u16>,
    /// When it loses its meaning, in Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// When a message that came in at `received_ms` loses its meaning, in Unix milliseconds (MQTT 5 §3.3.2.3.3).
pub(crate) fn expires_ms(message: &Message, received_ms: u64) -> Option<u64> {
    let seconds = message.properties.as_ref()?.expiry_interval_s?;
    Some(received_ms.saturating_add(u64::from(seconds) * 1_000))
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

/// What somebody wanted and did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To publish on this topic; none if the message is not at hand any more.
    Publish(Option<TopicName>),
    /// To subscribe with this filter.
    Subscribe(TopicFilter),
    /// To connect and leave a will on this topic, or none.
    Attach(Option<TopicName>),
}

impl Wish {
    /// The topic or filter.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::Publish(topic) | Self::Attach(topic) => topic.as_ref().map(TopicName::as_str),
            Self::Subscribe(filter) => Some(filter.as_str()),
        }
    }
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
        /// The durable session that it came from, if that has subscriptions with No Local: it is kept with the record, so
        /// that the session does not get it from there either. Or [`COPY`](muster_schemas::stored::COPY).
        session: Option<u64>,
        /// The message.
        message: Arc<Message>,
    },
    /// Store a topic's retained message, in the same commit as an append of the same sequence.
    KeepRetained {
        /// Its place among the records.
        sequence: u64,
        /// Who published it, and whose it is until somebody else publishes there.
        publisher: Publisher,
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
    /// A subscriber has as many retained messages on their way as it may at once: it is to say with
    /// [`Input::CaughtUp`](crate::Input::CaughtUp) when it has put them out.
    Ahead {
        /// Who.
        to: SubscriberId,
    },
    /// It took long to find out who wants what was published: as long as to route so many messages.
    Searched {
        /// Who published.
        subscriber: SubscriberId,
        /// As many as that.
        messages: usize,
    },
    /// A wish was refused: it is counted and noted. The answer, if there is one, comes apart and after it.
    Denied {
        /// Whose wish it was.
        to: SubscriberId,
        /// What was wanted.
        wish: Wish,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// Answers an attach.
    Attached {
        /// Which connection.
        to: SubscriberId,
        /// What it has taken up, or why not.
        outcome: Result<Box<Attached>, Refusal>,
    },
    /// Answers a bind: it is on disk.
    Bound {
        /// Which session.
        to: SubscriberId,
        /// Its packet id.
        packet_id: u16,
    },
    /// Answers a release: it is on disk. Also told of a message that the client may have from an earlier connection.
    Released {
        /// Which session.
        to: SubscriberId,
        /// Its packet id.
        packet_id: u16,
        /// What the delivery was tagged with.
        tag: u64,
    },
    /// Answers a forget: it is on disk.
    Forgotten {
        /// Which session.
        to: SubscriberId,
        /// The client's packet id.
        packet_id: u16,
    },
    /// Close a connection: what it rests on could not be stored.
    Close {
        /// Which session.
        to: SubscriberId,
        /// Why.
        refusal: Refusal,
    },
    /// Write a row of a durable session, or remove it, in this turn's commit.
    StoreRow {
        /// Its key, to be put behind the tenant's.
        key: Vec<u8>,
        /// The row; none removes it.
        value: Option<Vec<u8>>,
    },
    /// Read the log for a durable session; answered by [`Input::Records`](crate::Input::Records).
    Read {
        /// Which, by its number.
        session: u64,
        /// Comes back with the answer.
        epoch: u64,
        /// What.
        wanted: Wanted,
    },
    /// Durable sessions need the log from here on; what is below may go.
    Need {
        /// The lowest sequence; `u64::MAX` if they need nothing.
        from: u64,
    },
    /// A message that nobody waits for was not routed: a will, or one that a member of a share left behind.
    Lost {
        /// In whose name it was.
        publisher: Publisher,
        /// Why.
        refusal: Refusal,
    },
    /// The slice is full and there is more to do: call with [`Input::Continue`](crate::Input::Continue) when others
    /// had their turn. Asked once until it is called.
    Continue,
}

impl Effect {
    /// The session that is told, if one is.
    pub(crate) fn addressee(&self) -> Option<SubscriberId> {
        match self {
            Self::Deliver { to, .. }
            | Self::Published { to, .. }
            | Self::Subscribed { to, .. }
            | Self::Unsubscribed { to, .. }
            | Self::Denied { to, .. }
            | Self::Ahead { to }
            | Self::Attached { to, .. }
            | Self::Bound { to, .. }
            | Self::Released { to, .. }
            | Self::Forgotten { to, .. }
            | Self::Close { to, .. } => Some(*to),
            Self::Append { .. }
            | Self::KeepRetained { .. }
            | Self::ForgetRetained { .. }
            | Self::StoreRow { .. }
            | Self::Read { .. }
            | Self::Need { .. }
            | Self::Lost { .. }
            | Self::Searched { .. }
            | Self::Continue => None,
        }
    }
}
