//! A message on the wire, and its acknowledgements.

use std::{num::NonZeroU16, sync::Arc};

use bytestring::ByteString;
use muster_schemas::Message;
use smallvec::SmallVec;

use super::{PacketId, UserProperties};
use crate::reason::ReasonCode;

/// Identifiers of the subscriptions that a message is delivered for; up to two without allocation.
pub type SubscriptionIds = SmallVec<[u32; 2]>;

/// PUBLISH (MQTT 5 §3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// Present at QoS 1 and 2. Without one a message is encoded at QoS 0.
    pub packet_id: Option<PacketId>,
    /// The alias that stands for the topic, already resolved when decoded.
    pub topic_alias: Option<NonZeroU16>,
    /// Which subscriptions it answers; from server to client only.
    pub subscription_ids: SubscriptionIds,
    /// Topic, QoS, retain flag, payload and properties. Shared from here on: who hands it on copies nothing.
    pub message: Arc<Message>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5 §3.4 to §3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The message.
    pub packet_id: PacketId,
    /// Success, or why not; left out in 3.1.1.
    pub code: ReasonCode,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The sender's own name-value pairs.
    pub user_properties: UserProperties,
}

impl Ack {
    /// An acknowledgement with nothing but its code.
    pub fn new(packet_id: PacketId, code: ReasonCode) -> Self {
        Self { packet_id, code, reason: None, user_properties: Vec::new() }
    }
}
