//! The packets that open and close a connection.

use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
};

use bytes::Bytes;
use bytestring::ByteString;
use muster_schemas::{ClientId, Message};

use super::UserProperties;
use crate::{reason::ReasonCode, version::Version};

/// CONNECT (MQTT 5 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that the connection speaks from here on.
    pub version: Version,
    /// Whether an earlier session is to be forgotten (3.1.1: Clean Session).
    pub clean_start: bool,
    /// Longest silence the client promises, in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// The client's identifier; none asks the server to assign one.
    pub client_id: Option<ClientId>,
    /// A user name, if sent.
    pub username: Option<ByteString>,
    /// A password, if sent.
    pub password: Option<Password>,
    /// What to publish should the client vanish.
    pub will: Option<Will>,
    /// The rest; empty in 3.1.1.
    pub properties: ConnectProperties,
}

/// Properties of CONNECT (MQTT 5 §3.1.2.11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectProperties {
    /// Seconds that the session outlives its connection; `u32::MAX` is for ever, none is 0.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages the client takes at once; none is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Largest packet the client takes, in bytes; none is no bound.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// Topic aliases the client takes; none is 0.
    pub topic_alias_max: Option<u16>,
    /// Whether the client wants to be told a place for replies.
    pub request_response_information: Option<bool>,
    /// Whether the client wants reason strings; none is yes.
    pub request_problem_information: Option<bool>,
    /// The client's own name-value pairs.
    pub user_properties: UserProperties,
    /// Method of enhanced authentication.
    pub authentication_method: Option<ByteString>,
    /// Its first data.
    pub authentication_data: Option<Bytes>,
}

/// A password. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({} bytes)", self.0.len())
    }
}

/// A will (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// What to publish.
    pub message: Message,
    /// Seconds to wait for the client's return before that.
    pub delay_interval_s: u32,
}

/// CONNACK (MQTT 5 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server continues an earlier session.
    pub session_present: bool,
    /// Success, or why not. In 3.1.1 it becomes one of five return codes.
    pub code: ReasonCode,
    /// The rest; left out in 3.1.1.
    pub properties: ConnAckProperties,
}

/// Properties of CONNACK (MQTT 5 §3.2.2.3). None stands for the default of the standard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAckProperties {
    /// Seconds that the session outlives its connection, where this is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages the server takes at once.
    pub receive_maximum: Option<NonZeroU16>,
    /// Whether QoS 1 is the highest that the server takes (`Some(true)`), or 0 (`Some(false)`). None: QoS 2.
    pub qos_1_is_maximum: Option<bool>,
    /// Whether messages can be retained.
    pub retain_available: Option<bool>,
    /// Largest packet the server takes, in bytes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The identifier that the server chose.
    pub assigned_client_id: Option<ByteString>,
    /// Topic aliases the server takes.
    pub topic_alias_max: Option<u16>,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The server's own name-value pairs.
    pub user_properties: UserProperties,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions: Option<bool>,
    /// Whether subscriptions may have identifiers.
    pub subscription_ids: Option<bool>,
    /// Whether subscriptions may be shared.
    pub shared_subscriptions: Option<bool>,
    /// The keep alive that holds instead of the client's, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Where replies may be expected.
    pub response_information: Option<ByteString>,
    /// Another server.
    pub server_reference: Option<ByteString>,
    /// Method of enhanced authentication.
    pub authentication_method: Option<ByteString>,
    /// Its data.
    pub authentication_data: Option<Bytes>,
}

/// DISCONNECT (MQTT 5 §3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub code: ReasonCode,
    /// A change of the session's expiry, in seconds.
    pub session_expiry_s: Option<u32>,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The sender's own name-value pairs.
    pub user_properties: UserProperties,
    /// Another server.
    pub server_reference: Option<ByteString>,
}

impl Disconnect {
    /// A DISCONNECT with nothing but its code.
    pub fn new(code: ReasonCode) -> Self {
        Self {
            code,
            session_expiry_s: None,
            reason: None,
            user_properties: Vec::new(),
            server_reference: None,
        }
    }
}

/// AUTH (MQTT 5 §3.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue, or start again.
    pub code: ReasonCode,
    /// The method, as in CONNECT.
    pub method: Option<ByteString>,
    /// Data of this step.
    pub data: Option<Bytes>,
    /// Why, in words.
    pub reason: Option<ByteString>,
    /// The sender's own name-value pairs.
    pub user_properties: UserProperties,
}
