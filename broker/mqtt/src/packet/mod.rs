//! The packets of MQTT 3.1.1 and 5 as one type. What a version cannot say is left out when a packet is encoded.

mod connect;
mod publish;
mod subscribe;

pub use connect::{Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Password, Will};
pub use muster_schemas::{RetainHandling, SubscriptionOptions};
pub use publish::{Ack, Publish, SubscriptionIds};
pub use subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};

use std::{fmt, num::NonZeroU16};

use bytestring::ByteString;

/// Name-value pairs of a packet, in order.
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// A control packet (MQTT 5 §3, MQTT 3.1.1 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The client asks to be admitted.
    Connect(Box<Connect>),
    /// The server's answer.
    ConnAck(Box<ConnAck>),
    /// A message, in either direction.
    Publish(Publish),
    /// A QoS 1 message is taken over.
    PubAck(Ack),
    /// A QoS 2 message is taken over.
    PubRec(Ack),
    /// The sender of a QoS 2 message forgets it.
    PubRel(Ack),
    /// The receiver of a QoS 2 message forgets its id.
    PubComp(Ack),
    /// The client asks for messages.
    Subscribe(Subscribe),
    /// The server's answer.
    SubAck(SubAck),
    /// The client asks for no more messages.
    Unsubscribe(Unsubscribe),
    /// The server's answer.
    UnsubAck(UnsubAck),
    /// The client is alive.
    PingReq,
    /// So is the server.
    PingResp,
    /// The last packet.
    Disconnect(Disconnect),
    /// One step of enhanced authentication; MQTT 5 only.
    Auth(Auth),
}

impl Packet {
    /// Its type.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

macro_rules! packet_types {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// A control packet's type (MQTT 5 §2.1.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PacketType {
            $(
                #[doc = concat!($text, ".")]
                $name = $value,
            )*
        }

        impl TryFrom<u8> for PacketType {
            type Error = u8;
            fn try_from(bits: u8) -> Result<Self, u8> {
                match bits {
                    $($value => Ok(Self::$name),)*
                    other => Err(other),
                }
            }
        }

        impl fmt::Display for PacketType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

packet_types! {
    Connect = 1, "CONNECT";
    ConnAck = 2, "CONNACK";
    Publish = 3, "PUBLISH";
    PubAck = 4, "PUBACK";
    PubRec = 5, "PUBREC";
    PubRel = 6, "PUBREL";
    PubComp = 7, "PUBCOMP";
    Subscribe = 8, "SUBSCRIBE";
    SubAck = 9, "SUBACK";
    Unsubscribe = 10, "UNSUBSCRIBE";
    UnsubAck = 11, "UNSUBACK";
    PingReq = 12, "PINGREQ";
    PingResp = 13, "PINGRESP";
    Disconnect = 14, "DISCONNECT";
    Auth = 15, "AUTH";
}

impl PacketType {
    /// The flags of its fixed header, which only PUBLISH may choose (MQTT 5 §2.1.3).
    pub(crate) const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// A packet identifier (MQTT 5 §2.2.1), never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// An identifier, unless `id` is 0.
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The one after it; after 65,535 comes 1.
    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(NonZeroU16::MIN))
    }

    /// How often [`Self::next`] leads from `earlier` to this one.
    pub(crate) fn distance_from(self, earlier: Self) -> usize {
        let (later, earlier) = (self.get(), earlier.get());
        usize::from(if later >= earlier { later - earlier } else { u16::MAX - (earlier - later) })
    }
}

impl From<NonZeroU16> for PacketId {
    fn from(id: NonZeroU16) -> Self {
        Self(id)
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_run_in_a_circle_without_zero() {
        let last = PacketId::new(65_535).expect("not 0");
        assert_eq!(last.next(), PacketId::FIRST);
        assert_eq!(PacketId::FIRST.distance_from(last), 1);
        assert_eq!(last.distance_from(PacketId::FIRST), 65_534);
        assert_eq!(PacketId::new(0), None);
    }
}
