//! Asking for messages, and no longer asking.

use bytestring::ByteString;
use muster_schemas::{SubscriptionOptions, TopicFilter};

use super::{PacketId, UserProperties};
use crate::reason::ReasonCode;

/// SUBSCRIBE (MQTT 5 §3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Names this request in its answer.
    pub packet_id: PacketId,
    /// Sent along with every message these filters match, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// What is asked for, at least one.
    pub filters: Vec<(TopicFilter, SubscriptionOptions)>,
    /// The client's own name-value pairs.
    pub user_properties: UserProperties,
}

/// SUBACK (MQTT 5 §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The request.
    pub packet_id: PacketId,
    /// One code per filter, in order. In 3.1.1 every failure becomes 0x80.
    pub codes: Vec<ReasonCode>,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The server's own name-value pairs.
    pub user_properties: UserProperties,
}

/// UNSUBSCRIBE (MQTT 5 §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Names this request in its answer.
    pub packet_id: PacketId,
    /// What is no longer asked for, at least one.
    pub filters: Vec<TopicFilter>,
    /// The client's own name-value pairs.
    pub user_properties: UserProperties,
}

/// UNSUBACK (MQTT 5 §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The request.
    pub packet_id: PacketId,
    /// One code per filter, in order; left out in 3.1.1.
    pub codes: Vec<ReasonCode>,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The server's own name-value pairs.
    pub user_properties: UserProperties,
}
