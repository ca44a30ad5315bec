//! How a session ends, as a value, and what the client is told about it.

use bytestring::ByteString;

use super::{Effects, Phase, Request, Session};
use crate::{
    decode::{DecodeError, Fault},
    limits::REASON_BYTES_MAX,
    packet::{ConnAck, ConnAckProperties, Disconnect, Packet, PacketId, PacketType},
    primitive::cut,
    reason::ReasonCode,
    version::Version,
};

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Why.
    pub reason: CloseReason,
    /// Whether the client said goodbye (DISCONNECT with code 0), so that its will is to be discarded [MQTT-3.14.4-3].
    pub graceful: bool,
    /// The session expiry that DISCONNECT asks for instead of the one agreed, in seconds (MQTT 5 §3.14.2.2.2).
    pub session_expiry_s: Option<u32>,
    /// Packet ids and tags of QoS 1 deliveries that were sent and not acknowledged, oldest first, so that a durable session
    /// sends them again under the same. Those of QoS 2 are bound on disk.
    pub unacknowledged: Vec<(PacketId, u64)>,
}

/// Why a session ends. The text reads after "session closed: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client sent DISCONNECT.
    #[error("client disconnected: {code}")]
    Disconnected {
        /// Its code.
        code: ReasonCode,
    },
    /// The connection went away without DISCONNECT.
    #[error("connection lost")]
    PeerClosed,
    /// The client sent what is no packet.
    #[error("client sent a wrong packet: failed to {0}")]
    Malformed(#[source] DecodeError),
    /// The client sent a packet that may not come now.
    #[error("client broke the protocol: {what}")]
    ProtocolViolation {
        /// The code it is told.
        code: ReasonCode,
        /// What it did.
        what: &'static str,
    },
    /// The client was not admitted.
    #[error("client refused with {code}{}", in_words(.reason))]
    Refused {
        /// The code it is told.
        code: ReasonCode,
        /// Why.
        reason: Option<String>,
    },
    /// The client is to use another server.
    #[error("sent to the server {server} with {code}{}", in_words(.reason))]
    Redirected {
        /// The code it is told, in MQTT 5.
        code: ReasonCode,
        /// Where to.
        server: Box<str>,
        /// Why.
        reason: Option<String>,
    },
    /// A message was refused, and the client cannot be told in any other way.
    #[error("message refused with {code}: {reason}")]
    PublishRefused {
        /// The code it is told, in MQTT 5.
        code: ReasonCode,
        /// Why.
        reason: String,
    },
    /// No CONNECT, or no decision on it, within the time for it.
    #[error("not connected within the time for it")]
    ConnectTimeout,
    /// An authentication that the client began again did not end within the time for it.
    #[error("not authenticated again within the time for it")]
    AuthenticationTimeout,
    /// Silence for one and a half times the keep alive [MQTT-3.1.2-22].
    #[error("client silent for one and a half times its keep alive")]
    KeepAliveTimeout,
    /// A queue of this session is full.
    #[error("the {queue} queue is full at {messages} messages, {bytes} bytes")]
    QueueFull {
        /// Which.
        queue: &'static str,
        /// Messages or packets in it.
        messages: usize,
        /// Bytes in it.
        bytes: usize,
    },
    /// The server wants it: takeover, administration, shutdown.
    #[error("closed by the server with {code}{}", in_words(.reason))]
    Shutdown {
        /// The code the client is told.
        code: ReasonCode,
        /// Why.
        reason: Option<String>,
    },
}

fn in_words(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}

impl CloseReason {
    /// The code for the client, the log and the counters.
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Disconnected { code }
            | Self::ProtocolViolation { code, .. }
            | Self::Refused { code, .. }
            | Self::Redirected { code, .. }
            | Self::PublishRefused { code, .. }
            | Self::Shutdown { code, .. } => *code,
            Self::Malformed(error) => error.reason_code(),
            Self::PeerClosed => ReasonCode::UnspecifiedError,
            Self::ConnectTimeout => ReasonCode::ServerUnavailable,
            Self::AuthenticationTimeout => ReasonCode::NotAuthorized,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::QueueFull { .. } => ReasonCode::QuotaExceeded,
        }
    }

    /// Whether the client ended it, so that nothing is sent.
    fn is_by_client(&self) -> bool {
        matches!(self, Self::Disconnected { .. } | Self::PeerClosed)
    }

    /// Where the client is to go.
    fn server_reference(&self) -> Option<ByteString> {
        match self {
            Self::Redirected { server, .. } => Some((**server).into()),
            _ => None,
        }
    }

    /// Why, in words for the client.
    fn for_client(&self) -> Option<ByteString> {
        let text = match self {
            Self::Refused { reason, .. }
            | Self::Redirected { reason, .. }
            | Self::Shutdown { reason, .. } => reason.clone()?,
            Self::PublishRefused { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        Some(cut(&text, REASON_BYTES_MAX).into())
    }
}

impl Session {
    /// Ends the session: tells the client why, as its version and phase allow, and asks for the close.
    pub(super) fn close(&mut self, reason: CloseReason, effects: &mut Effects) {
        self.close_for(reason, None, effects);
    }

    /// As [`Self::close`], with the session expiry that the client's DISCONNECT asks for.
    pub(super) fn close_for(
        &mut self,
        reason: CloseReason,
        session_expiry_s: Option<u32>,
        effects: &mut Effects,
    ) {
        let graceful = matches!(reason, CloseReason::Disconnected { code: ReasonCode::Success });
        match &self.phase {
            Phase::Closed => return,
            Phase::Connected if !reason.is_by_client() => self.disconnect(&reason, effects),
            Phase::Connecting | Phase::Authenticating(_) | Phase::Admitting(_) if !reason.is_by_client() => {
                if let Some(version) = self.version_to_refuse_in(&reason) {
                    self.refuse(version, &reason, effects);
                }
            }
            _ => {}
        }
        let unacknowledged = self.unacknowledged();
        self.phase = Phase::Closed;
        self.timers.clear();
        self.queue.clear();
        self.binding = None;
        effects.requests.push(Request::Close(Closing { reason, graceful, session_expiry_s, unacknowledged }));
    }

    /// DISCONNECT, where the server may send it.
    fn disconnect(&mut self, reason: &CloseReason, effects: &mut Effects) {
        if !self.version.capabilities().server_disconnect {
            return;
        }
        let code = reason.code().allowed_in_or(PacketType::Disconnect, ReasonCode::UnspecifiedError);
        // A server never says "normal disconnection with will".
        let code = if code.is_failure() { code } else { ReasonCode::UnspecifiedError };
        let bare = Disconnect { server_reference: reason.server_reference(), ..Disconnect::new(code) };
        let with_words = Disconnect { reason: reason.for_client(), ..bare.clone() };
        // What does not fit is left out, the words first [MQTT-3.14.2-3].
        for packet in [with_words, bare] {
            let packet = Packet::Disconnect(packet);
            if self.fits(&packet) {
                return self.send(&packet, effects);
            }
        }
        self.send(&Packet::Disconnect(Disconnect::new(code)), effects);
    }

    /// The version for a CONNACK that refuses, or none if the client should hear nothing.
    fn version_to_refuse_in(&self, reason: &CloseReason) -> Option<Version> {
        if matches!(self.phase, Phase::Authenticating(_) | Phase::Admitting(_)) {
            return Some(self.version);
        }
        match reason {
            // Newer versions than 5 understand its CONNACK; older than 3.1.1 understand that of 3.1.1.
            CloseReason::Malformed(DecodeError { fault: Fault::UnsupportedVersion { level }, .. }) => {
                Some(if *level < 5 { Version::V311 } else { Version::V5 })
            }
            CloseReason::Malformed(error) => error.version,
            CloseReason::Refused { .. } => Some(self.version),
            _ => None,
        }
    }

    /// CONNACK with a failure. In 3.1.1 only where there is a return code for it [MQTT-3.2.2-6].
    fn refuse(&mut self, version: Version, reason: &CloseReason, effects: &mut Effects) {
        self.version = version;
        let code = reason.code();
        let code = if code.is_failure() { code } else { ReasonCode::UnspecifiedError };
        if version == Version::V311 && code.connack_return_code().is_none() {
            return;
        }
        let code = match version {
            Version::V311 => code,
            Version::V5 => code.allowed_in_or(PacketType::ConnAck, ReasonCode::ServerUnavailable),
        };
        let server_reference = reason.server_reference();
        let bare = ConnAckProperties { server_reference, ..ConnAckProperties::default() };
        let with_words = ConnAckProperties { reason: reason.for_client(), ..bare.clone() };
        // What does not fit is left out, the words first [MQTT-3.2.2-19].
        let connack =
            |properties| Packet::ConnAck(Box::new(ConnAck { session_present: false, code, properties }));
        for properties in [with_words, bare] {
            let packet = connack(properties);
            if self.fits(&packet) {
                return self.send(&packet, effects);
            }
        }
        self.send(&connack(ConnAckProperties::default()), effects);
    }
}
