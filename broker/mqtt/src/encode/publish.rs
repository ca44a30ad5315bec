//! PUBLISH (MQTT 5 §3.3), encoded from a shared message and what one delivery adds to it, so that a fan-out copies
//! no message.

use std::num::NonZeroU16;

use bytes::BufMut;
use muster_schemas::{Message, Qos};

use super::connect::message_properties;
use crate::{
    limits::{FIXED_HEADER_BYTES_MAX, REMAINING_LENGTH_BYTES_MAX},
    outgoing::Outgoing,
    packet::{PacketId, Publish},
    primitive::{Sink, measure, varint_len},
    properties::{PropertyId, Varint, put, put_some},
    version::Version,
};

/// What a delivery says beyond its message. QoS and retain flag stand here and not in the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishHead<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Without one the message goes out at QoS 0.
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) topic_alias: Option<NonZeroU16>,
    /// Whether the alias says enough, so that the topic is left out.
    pub(crate) alias_is_known: bool,
    /// What is left of the message's expiry interval, in seconds; none leaves it as it is.
    pub(crate) expiry_left_s: Option<u32>,
    pub(crate) subscription_ids: &'a [u32],
}

impl<'a> PublishHead<'a> {
    pub(crate) fn of(publish: &'a Publish) -> Self {
        Self {
            dup: publish.dup,
            qos: publish.message.qos,
            retain: publish.message.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias,
            alias_is_known: false,
            expiry_left_s: None,
            subscription_ids: &publish.subscription_ids,
        }
    }
}

/// A PUBLISH whose length is known and that is not written yet.
#[derive(Debug)]
pub(crate) struct PublishFrame<'a> {
    head: PublishHead<'a>,
    message: &'a Message,
    /// As written: empty where the alias says enough.
    topic: &'a str,
    /// Length of the properties without the length itself; none where the version has no properties.
    properties: Option<usize>,
    remaining: usize,
}

impl<'a> PublishFrame<'a> {
    pub(crate) fn new(head: PublishHead<'a>, message: &'a Message, version: Version) -> Self {
        let properties = version.capabilities().properties.then(|| {
            let plain = message.properties.is_none()
                && head.topic_alias.is_none()
                && head.subscription_ids.is_empty();
            if plain { 0 } else { measure(&|sink| properties(head, message, sink)) }
        });
        let id = if head.packet_id.is_some() { 2 } else { 0 };
        let topic = if head.alias_is_known { "" } else { message.topic.as_str() };
        let remaining = 2
            + topic.len()
            + id
            + properties.map_or(0, |length| varint_len(length) + length)
            + message.payload.len();
        Self { head, message, topic, properties, remaining }
    }

    /// Its size on the wire, fixed header included, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        1 + varint_len(self.remaining) + self.remaining
    }

    /// Appends it; a large payload is shared, not copied.
    pub(crate) fn write(&self, out: &mut Outgoing) {
        let Self { head, message, .. } = self;
        let head_bytes = self.remaining - message.payload.len();
        if self.remaining > REMAINING_LENGTH_BYTES_MAX {
            return;
        }
        let qos = if head.packet_id.is_some() { head.qos as u8 } else { 0 };
        let first = 0x30 | u8::from(head.dup && qos > 0) << 3 | qos << 1 | u8::from(head.retain);
        let tail = out.tail();
        // The payload's copy, if it is copied, is reserved for by what copies it.
        tail.reserve(FIXED_HEADER_BYTES_MAX + head_bytes);
        tail.put_u8(first);
        tail.varint(self.remaining);
        tail.text(self.topic);
        if let Some(id) = head.packet_id {
            tail.packet_id(id);
        }
        if let Some(length) = self.properties {
            tail.varint(length);
            if length > 0 {
                properties(*head, message, tail);
            }
        }
        out.push_shared(&message.payload);
    }
}

fn properties(head: PublishHead<'_>, message: &Message, sink: &mut dyn Sink) {
    for id in head.subscription_ids {
        put(sink, PropertyId::SubscriptionIdentifier, &Varint(*id));
    }
    put_some(sink, PropertyId::TopicAlias, head.topic_alias.as_ref());
    if let Some(properties) = &message.properties {
        message_properties(properties, head.expiry_left_s, sink);
    }
}
