//! What a peer can get wrong in its bytes, each with the reason code that tells it so.

use muster_schemas::{InvalidId, InvalidTopic};

use crate::{packet::PacketType, properties::PropertyId, reason::ReasonCode, version::Version};

/// A fault and where it was met. The connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decode {}: {fault}", .packet.map_or_else(|| "a fixed header".to_owned(), |packet| packet.to_string()))]
pub struct DecodeError {
    /// What is wrong.
    pub fault: Fault,
    /// In which packet, if its first byte could be read.
    pub packet: Option<PacketType>,
    /// The version of the connection, if it was learned before.
    pub version: Option<Version>,
}

impl DecodeError {
    /// What to tell the peer.
    pub fn reason_code(&self) -> ReasonCode {
        self.fault.reason_code()
    }
}

/// What is wrong with a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field goes beyond the end of the packet.
    #[error("ends within a field")]
    Truncated,
    /// Bytes after the last field.
    #[error("has {bytes} bytes after its last field")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Packet type 0, or AUTH in 3.1.1.
    #[error("has the reserved packet type {bits}")]
    ReservedType {
        /// The type.
        bits: u8,
    },
    /// Flags other than the ones prescribed [MQTT-2.1.3-1].
    #[error("has the reserved flags {flags:#06b}")]
    ReservedFlags {
        /// The lower half of the first byte.
        flags: u8,
    },
    /// Reserved bits of connect flags, acknowledge flags or subscription options that are not 0.
    #[error("has reserved bits set: {bits:#010b}")]
    ReservedBits {
        /// The byte.
        bits: u8,
    },
    /// A length of more than four bytes.
    #[error("has a variable byte integer of more than four bytes")]
    VarintTooLong,
    /// A length in more bytes than needed [MQTT-1.5.5-1].
    #[error("has a variable byte integer in more bytes than it needs")]
    VarintOverlong,
    /// A string that is not UTF-8 [MQTT-1.5.4-1].
    #[error("has a string that is not UTF-8")]
    NotUtf8,
    /// A string with U+0000 [MQTT-1.5.4-2].
    #[error("has a string with a null character")]
    NullCharacter,
    /// Quality of service 3 [MQTT-3.3.1-4].
    #[error("asks for QoS 3")]
    Qos,
    /// DUP at QoS 0 [MQTT-3.3.1-2].
    #[error("is marked as a duplicate at QoS 0")]
    DuplicateAtQos0,
    /// An identifier that no property has.
    #[error("has the unknown property {0:#04x}")]
    UnknownProperty(u8),
    /// A property that this type of packet does not have.
    #[error("has a {0}, which does not belong there")]
    MisplacedProperty(PropertyId),
    /// A property given twice.
    #[error("has more than one {0}")]
    RepeatedProperty(PropertyId),
    /// A property's value out of its range.
    #[error("has a {0} out of range")]
    PropertyValue(PropertyId),
    /// A byte that is no reason code.
    #[error("has the unknown reason code {0:#04x}")]
    UnknownReasonCode(u8),
    /// A reason code that this type of packet does not have.
    #[error("has the reason code {0}, which does not belong there")]
    MisplacedReasonCode(ReasonCode),
    /// Retain handling 3.
    #[error("asks for retain handling 3")]
    RetainHandling,
    /// A topic name with a wildcard, or beyond our bounds.
    #[error("has a topic name that {0}")]
    TopicName(InvalidTopic),
    /// A filter with a misplaced wildcard, or beyond our bounds.
    #[error("has a topic filter that {0}")]
    TopicFilter(InvalidTopic),
    /// A client identifier that we do not take.
    #[error("has a client identifier that {0}")]
    ClientId(InvalidId),
    /// Another packet before CONNECT [MQTT-3.1.0-1].
    #[error("came before CONNECT")]
    NotConnect,
    /// A packet that only the other end sends.
    #[error("was sent by the wrong end")]
    WrongDirection,
    /// Not MQTT at all.
    #[error("has a protocol name other than MQTT")]
    ProtocolName,
    /// MQTT in a version we do not speak.
    #[error("asks for protocol level {level}, we speak 4 (3.1.1) and 5")]
    UnsupportedVersion {
        /// The level.
        level: u8,
    },
    /// Packet identifier 0 [MQTT-2.2.1-3].
    #[error("has the packet identifier 0")]
    PacketIdZero,
    /// A password without a user name, in 3.1.1 [MQTT-3.1.2-22].
    #[error("has a password without a user name")]
    PasswordWithoutUserName,
    /// Authentication data without a method.
    #[error("has authentication data without a method")]
    DataWithoutMethod,
    /// SUBSCRIBE or UNSUBSCRIBE of nothing [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    #[error("has no topic filter")]
    NoFilters,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("asks for no local on a shared subscription")]
    SharedNoLocal,
    /// A shared subscription without a share name, with a wildcard in it, or without a filter after it [MQTT-4.8.2-1],
    /// [MQTT-4.8.2-2].
    #[error("has a shared subscription that is not $share/name/filter")]
    SharedFilter,
    /// A client says which subscription its message answers [MQTT-3.3.4-6].
    #[error("has a subscription identifier, which only a server sends")]
    SubscriptionIdFromClient,
    /// Neither topic nor alias.
    #[error("has neither topic nor topic alias")]
    NoTopic,
    /// An alias that is 0, beyond the maximum, or without a topic so far [MQTT-3.3.2-8], [MQTT-3.3.2-9].
    #[error("has the topic alias {alias}, which is 0, too high or not defined")]
    TopicAlias {
        /// The alias.
        alias: u16,
    },
    /// Larger than our limit, which CONNACK told.
    #[error("has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// Its size, fixed header included.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More of something than we take.
    #[error("has too many {0}")]
    TooMany(&'static str),
}

impl Fault {
    /// What to tell the peer (MQTT 5 §4.13).
    pub fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Truncated
            | Self::TrailingBytes { .. }
            | Self::ReservedType { .. }
            | Self::ReservedFlags { .. }
            | Self::ReservedBits { .. }
            | Self::VarintTooLong
            | Self::VarintOverlong
            | Self::NotUtf8
            | Self::NullCharacter
            | Self::Qos
            | Self::DuplicateAtQos0
            | Self::UnknownProperty(_)
            | Self::MisplacedProperty(_)
            | Self::SharedFilter
            | Self::UnknownReasonCode(_) => ReasonCode::MalformedPacket,
            // "Topic name invalid" is for names that are well formed and not accepted; so our bounds, not the syntax.
            Self::TopicName(InvalidTopic::TooLong | InvalidTopic::TooDeep) => ReasonCode::TopicNameInvalid,
            Self::TopicFilter(InvalidTopic::TooLong | InvalidTopic::TooDeep) => {
                ReasonCode::TopicFilterInvalid
            }
            Self::TopicName(_) | Self::TopicFilter(_) => ReasonCode::MalformedPacket,
            Self::ClientId(_) => ReasonCode::ClientIdentifierNotValid,
            Self::RepeatedProperty(_)
            | Self::PropertyValue(_)
            | Self::MisplacedReasonCode(_)
            | Self::RetainHandling
            | Self::NotConnect
            | Self::WrongDirection
            | Self::ProtocolName
            | Self::PacketIdZero
            | Self::PasswordWithoutUserName
            | Self::DataWithoutMethod
            | Self::NoFilters
            | Self::SharedNoLocal
            | Self::SubscriptionIdFromClient
            | Self::NoTopic => ReasonCode::ProtocolError,
            Self::UnsupportedVersion { .. } => ReasonCode::UnsupportedProtocolVersion,
            Self::TopicAlias { .. } => ReasonCode::TopicAliasInvalid,
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::TooMany(_) => ReasonCode::QuotaExceeded,
        }
    }
}
