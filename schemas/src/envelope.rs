//! A message as the bus carries it, whatever protocol brought it.

use bytes::Bytes;
use bytestring::ByteString;

use crate::{DeviceId, Kind, TopicName};

/// Quality of service (MQTT 5 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    /// Delivered at most once; never waits for the disk.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged, and repeated until it is.
    AtLeastOnce = 1,
    /// Acknowledged in two steps, so that a repeat is recognised.
    ExactlyOnce = 2,
}

impl TryFrom<u8> for Qos {
    type Error = u8;
    fn try_from(bits: u8) -> Result<Self, u8> {
        match bits {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(other),
        }
    }
}

/// What a publisher says about a message beyond topic and payload; forwarded unaltered (MQTT 5 §3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties {
    /// Whether the payload is UTF-8 text (Payload Format Indicator).
    pub payload_is_utf8: bool,
    /// Seconds after which an undelivered message is worth nothing.
    pub expiry_interval_s: Option<u32>,
    /// What the payload is, such as a media type.
    pub content_type: Option<ByteString>,
    /// Where a reply is expected.
    pub response_topic: Option<TopicName>,
    /// What makes the reply recognisable.
    pub correlation_data: Option<Bytes>,
    /// The publisher's own name-value pairs, in order.
    pub user_properties: Vec<(ByteString, ByteString)>,
}

/// A message within one tenant: what was published, before anyone's subscription is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// The publisher's quality of service.
    pub qos: Qos,
    /// Whether it replaces the topic's retained message; an empty payload then clears it.
    pub retain: bool,
    /// The application's bytes, shared with the buffer they were read into.
    pub payload: Bytes,
    /// The rest, absent when the publisher said nothing more.
    pub properties: Option<Box<MessageProperties>>,
}

/// Who published a message: a principal within the tenant, without the parts that the tenant's own log need not repeat.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publisher {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub id: DeviceId,
}
