//! Reason codes (MQTT 5 §2.4), where each may stand, and the return codes of MQTT 3.1.1.

use std::fmt;

use crate::packet::PacketType;

/// A byte that is no reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a reason code: {0:#04x}")]
pub struct UnknownReasonCode(pub u8);

macro_rules! reason_codes {
    ($($name:ident = $value:literal, $text:literal, [$($packet:ident)*];)*) => {
        /// A reason code of MQTT 5 §2.4. From 0x80 on it says that something failed; 0x00 is also the normal
        /// disconnection and the granted QoS 0.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = concat!($text, ".")]
                $name = $value,
            )*
        }

        impl ReasonCode {
            /// Every code, ascending.
            pub const ALL: &[ReasonCode] = &[$(Self::$name,)*];

            /// The code in words, lower case.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The packets that may carry it, one bit per packet type.
            const fn packets(self) -> u16 {
                match self {
                    $(Self::$name => 0 $(| (1 << PacketType::$packet as u16))*,)*
                }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = UnknownReasonCode;
            fn try_from(byte: u8) -> Result<Self, UnknownReasonCode> {
                match byte {
                    $($value => Ok(Self::$name),)*
                    other => Err(UnknownReasonCode(other)),
                }
            }
        }
    };
}

reason_codes! {
    Success = 0x00, "success",
        [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth];
    GrantedQos1 = 0x01, "granted QoS 1", [SubAck];
    GrantedQos2 = 0x02, "granted QoS 2", [SubAck];
    DisconnectWithWill = 0x04, "disconnect with will message", [Disconnect];
    NoMatchingSubscribers = 0x10, "no matching subscribers", [PubAck PubRec];
    NoSubscriptionExisted = 0x11, "no subscription existed", [UnsubAck];
    ContinueAuthentication = 0x18, "continue authentication", [Auth];
    ReAuthenticate = 0x19, "re-authenticate", [Auth];
    UnspecifiedError = 0x80, "unspecified error", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    MalformedPacket = 0x81, "malformed packet", [ConnAck Disconnect];
    ProtocolError = 0x82, "protocol error", [ConnAck Disconnect];
    ImplementationSpecificError = 0x83, "implementation specific error",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version", [ConnAck];
    ClientIdentifierNotValid = 0x85, "client identifier not valid", [ConnAck];
    BadUserNameOrPassword = 0x86, "bad user name or password", [ConnAck];
    NotAuthorized = 0x87, "not authorized", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    ServerUnavailable = 0x88, "server unavailable", [ConnAck];
    ServerBusy = 0x89, "server busy", [ConnAck Disconnect];
    Banned = 0x8a, "banned", [ConnAck];
    ServerShuttingDown = 0x8b, "server shutting down", [Disconnect];
    BadAuthenticationMethod = 0x8c, "bad authentication method", [ConnAck Disconnect];
    KeepAliveTimeout = 0x8d, "keep alive timeout", [Disconnect];
    SessionTakenOver = 0x8e, "session taken over", [Disconnect];
    TopicFilterInvalid = 0x8f, "topic filter invalid", [SubAck UnsubAck Disconnect];
    TopicNameInvalid = 0x90, "topic name invalid", [ConnAck PubAck PubRec Disconnect];
    PacketIdentifierInUse = 0x91, "packet identifier in use", [PubAck PubRec SubAck UnsubAck];
    PacketIdentifierNotFound = 0x92, "packet identifier not found", [PubRel PubComp];
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded", [Disconnect];
    TopicAliasInvalid = 0x94, "topic alias invalid", [Disconnect];
    PacketTooLarge = 0x95, "packet too large", [ConnAck Disconnect];
    MessageRateTooHigh = 0x96, "message rate too high", [Disconnect];
    QuotaExceeded = 0x97, "quota exceeded", [ConnAck PubAck PubRec SubAck Disconnect];
    AdministrativeAction = 0x98, "administrative action", [Disconnect];
    PayloadFormatInvalid = 0x99, "payload format invalid", [ConnAck PubAck PubRec Disconnect];
    RetainNotSupported = 0x9a, "retain not supported", [ConnAck Disconnect];
    QosNotSupported = 0x9b, "QoS not supported", [ConnAck Disconnect];
    UseAnotherServer = 0x9c, "use another server", [ConnAck Disconnect];
    ServerMoved = 0x9d, "server moved", [ConnAck Disconnect];
    SharedSubscriptionsNotSupported = 0x9e, "shared subscriptions not supported", [SubAck Disconnect];
    ConnectionRateExceeded = 0x9f, "connection rate exceeded", [ConnAck Disconnect];
    MaximumConnectTime = 0xa0, "maximum connect time", [Disconnect];
    SubscriptionIdentifiersNotSupported = 0xa1, "subscription identifiers not supported", [SubAck Disconnect];
    WildcardSubscriptionsNotSupported = 0xa2, "wildcard subscriptions not supported", [SubAck Disconnect];
}

impl ReasonCode {
    /// The byte on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed.
    pub const fn is_failure(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// Whether a packet of this type may carry it (MQTT 5 §2.4, last column).
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        self.packets() & (1 << packet as u16) != 0
    }

    /// Itself where a packet of this type may carry it, and `otherwise` where not.
    pub(crate) fn allowed_in_or(self, packet: PacketType, otherwise: Self) -> Self {
        if self.is_allowed_in(packet) { self } else { otherwise }
    }

    /// The return code of a 3.1.1 CONNACK (3.1.1 §3.2.2.3), or none where the standard wants the connection closed
    /// without one [MQTT-3.2.2-6].
    pub const fn connack_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::ConnectionRateExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved => Some(3),
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// What a 3.1.1 CONNACK's return code means.
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl From<muster_schemas::Qos> for ReasonCode {
    fn from(granted: muster_schemas::Qos) -> Self {
        match granted {
            muster_schemas::Qos::AtMostOnce => Self::Success,
            muster_schemas::Qos::AtLeastOnce => Self::GrantedQos1,
            muster_schemas::Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.text(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_byte_and_stands_in_some_packet() {
        assert_eq!(ReasonCode::ALL.len(), 43);
        for code in ReasonCode::ALL {
            assert_eq!(ReasonCode::try_from(code.as_u8()), Ok(*code));
            assert_ne!(code.packets(), 0, "{code}");
        }
        assert_eq!(ReasonCode::try_from(0x03), Err(UnknownReasonCode(0x03)));
    }

    #[test]
    fn every_return_code_of_3_1_1_comes_back() {
        for byte in 0..=5 {
            let code = ReasonCode::from_connack_return_code(byte).expect("assigned");
            assert_eq!(code.connack_return_code(), Some(byte));
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), None);
        assert_eq!(ReasonCode::MalformedPacket.connack_return_code(), None);
    }
}
