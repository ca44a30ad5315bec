//! What a session wants done: bytes written, and requests to the broker.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use muster_schemas::{ClientId, Message, TopicFilter};

use super::{authentication::AuthenticationStep, close::Closing};
use crate::{
    outgoing::Outgoing,
    packet::{PacketId, Password, SubscriptionOptions, Will},
    version::Version,
};

/// Appended to by [`super::Session::handle`], emptied by the shell. One value can serve many sessions in turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Bytes for the client.
    pub outgoing: Outgoing,
    /// Requests to the broker, in order. The bytes before a close are to be written before it.
    pub requests: Vec<Request>,
}

/// Something only the broker can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Decide on a client; answered by `Admitted` or `Refused`.
    Admit(Box<Admit>),
    /// Judge what a client says to prove who it is, with one of [`super::SessionOptions::authentication_methods`];
    /// answered by `Authenticated`. Until the first success there is no `Admit`.
    Authenticate(Box<Authenticate>),
    /// Take a message over; answered by `Published` unless there is no packet id: at QoS 0.
    Publish {
        /// Names it in the answer; none when nobody waits for it.
        packet_id: Option<PacketId>,
        /// The message.
        message: Arc<Message>,
    },
    /// Subscribe; answered by `Subscribed`.
    Subscribe {
        /// Names it in the answer.
        packet_id: PacketId,
        /// At least one.
        filters: Vec<SubscriptionRequest>,
    },
    /// Unsubscribe; answered by `Unsubscribed`.
    Unsubscribe {
        /// Names it in the answer.
        packet_id: PacketId,
        /// At least one.
        filters: Vec<TopicFilter>,
    },
    /// A delivery with a tag has ended: the client has it, does not want it, or cannot take it.
    Complete {
        /// The broker's name for it.
        tag: u64,
    },
    /// A QoS 2 delivery of a durable session is about to begin: keep what the packet id stands for, so that the message is
    /// sent again under the same whatever happens; answered by `Bound`.
    Bind {
        /// The packet id.
        packet_id: PacketId,
        /// The broker's name for the message.
        tag: u64,
    },
    /// PUBREC came, in a durable session: keep that the client has the message; answered by `Released`.
    Release {
        /// The packet id.
        packet_id: PacketId,
        /// The broker's name for the message.
        tag: u64,
    },
    /// PUBREL came, in a durable session: forget the packet id of the client's QoS 2 message; answered by `Forgotten`.
    Forget {
        /// The packet id.
        packet_id: PacketId,
    },
    /// The last request: write what is left, close the connection, forget the session.
    Close(Closing),
}

/// What a client says to prove who it is (MQTT 5 §4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// The method.
    pub method: ByteString,
    /// The client's data.
    pub data: Option<Bytes>,
    /// Where in the exchange.
    pub step: AuthenticationStep,
}

/// A client that wants to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// Its identifier; none asks for one.
    pub client_id: Option<ClientId>,
    /// What it speaks.
    pub version: Version,
    /// Whether to forget an earlier session.
    pub clean_start: bool,
    /// The silence it promises to keep at most, in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// Seconds it wants its session to live on; a 3.1.1 client without clean session wants `u32::MAX`.
    pub session_expiry_s: u32,
    /// A user name, if sent.
    pub username: Option<ByteString>,
    /// A password, if sent.
    pub password: Option<Password>,
    /// What to publish should the client vanish; the broker keeps it, for it may outlive the connection.
    pub will: Option<Will>,
    /// Whether the client wants to be told where replies may be expected.
    pub wants_response_information: bool,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRequest {
    /// What is asked for.
    pub filter: TopicFilter,
    /// How.
    pub options: SubscriptionOptions,
    /// Sent along with what it matches.
    pub subscription_id: Option<u32>,
}
