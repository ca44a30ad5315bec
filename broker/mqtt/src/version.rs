//! The two versions of the protocol, and the table of what they can say.

use std::fmt;

/// A protocol version, by the level that CONNECT carries (MQTT 5 §3.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1.1 (ISO/IEC 20922).
    V311 = 4,
    /// MQTT 5.
    V5 = 5,
}

/// What a version can say. The session asks this table; it has no second state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Packets carry properties.
    pub properties: bool,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK carry reason codes, so that a single operation can be refused.
    pub ack_codes: bool,
    /// The server says why it closes, with DISCONNECT.
    pub server_disconnect: bool,
    /// The peers tell each other how many messages may be in flight.
    pub receive_maximum: bool,
    /// CONNACK can change the keep alive and assign a client identifier.
    pub server_chooses: bool,
}

impl Version {
    /// What this version can say.
    pub const fn capabilities(self) -> Capabilities {
        let v5 = matches!(self, Self::V5);
        Capabilities {
            properties: v5,
            ack_codes: v5,
            server_disconnect: v5,
            receive_maximum: v5,
            server_chooses: v5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}
