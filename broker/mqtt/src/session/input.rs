//! What happens to a session: packets, and the broker's answers and deliveries.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Instant,
};

use bytestring::ByteString;
use muster_schemas::{ClientId, Message, Qos};

use super::AuthenticationOutcome;
use crate::{
    decode::DecodeError,
    packet::{Packet, PacketId, SubscriptionIds, UserProperties},
    reason::ReasonCode,
};

/// One thing that happened. Answers to a [`super::Request`] may come in any order; acknowledgements leave in the
/// order of their messages all the same [MQTT-4.6.0-2]. An answer that comes after the close is ignored.
#[derive(Debug)]
pub enum Input {
    /// The client sent a packet.
    Packet(Packet),
    /// The client sent something else.
    Malformed(DecodeError),
    /// Answers [`super::Request::Admit`]: come in.
    Admitted(Admission),
    /// Answers [`super::Request::Admit`]: no, with words for the client.
    Refused(ReasonCode, Option<String>),
    /// Answers [`super::Request::Admit`], or comes at any later time: another server is to be used (MQTT 5 §4.13).
    /// A 3.1.1 client is only told that this one is unavailable, and after CONNACK not even that.
    Redirect {
        /// Use another server, or server moved. Any other code is told as the former.
        code: ReasonCode,
        /// Where to.
        server: ByteString,
        /// Why, in words for the client.
        reason: Option<String>,
    },
    /// Answers [`super::Request::Authenticate`].
    Authenticated(AuthenticationOutcome),
    /// Answers [`super::Request::Publish`].
    Published {
        /// As in the request; at QoS 0 an answer is only needed for a refusal.
        packet_id: Option<PacketId>,
        /// What became of the message.
        outcome: PublishOutcome,
    },
    /// Answers [`super::Request::Subscribe`].
    Subscribed {
        /// As in the request.
        packet_id: PacketId,
        /// The granted QoS or the refusal of each filter, in the order of the request.
        outcomes: Vec<Result<Qos, ReasonCode>>,
        /// Why, in words for the client.
        reason: Option<String>,
    },
    /// Answers [`super::Request::Unsubscribe`].
    Unsubscribed {
        /// As in the request.
        packet_id: PacketId,
        /// One code per filter: success, no subscription existed, or a failure.
        outcomes: Vec<ReasonCode>,
    },
    /// Words to go with the answer to a message that is still to come (MQTT 5 §3.4.2.2.2), if the client wants any.
    Remark {
        /// The message.
        packet_id: PacketId,
        /// The words.
        reason: String,
    },
    /// A message for the client.
    Deliver(Delivery),
    /// Answers [`super::Request::Bind`]: it is on disk that the packet id stands for the message. In the order of the
    /// requests, which is the order of the messages.
    Bound(PacketId),
    /// Answers [`super::Request::Release`]: it is on disk that the client has the message. In the order of the requests,
    /// which is that of PUBREC [MQTT-4.6.0-4]. Also the first that a resumed
    /// session hears of a message whose PUBREL or PUBCOMP its earlier connection did not see: PUBREL is sent (again).
    Released {
        /// Which exchange.
        packet_id: PacketId,
        /// The broker's name for the message.
        tag: u64,
    },
    /// Answers [`super::Request::Forget`]: it is on disk that the packet id is free again.
    Forgotten(PacketId),
    /// The writer wrote. Must come after every write, or deliveries wait for ever.
    OutgoingDrained {
        /// Bytes taken from [`super::Effects::outgoing`] and not yet written to the socket.
        bytes_left: usize,
    },
    /// The broker chose not to read from the client until this moment, or still does not: silence until then says nothing
    /// about the client, and the keep alive begins anew at it.
    NotRead {
        /// Until when.
        until: Instant,
    },
    /// The moment of [`super::Session::next_deadline`] may have come.
    DeadlineReached,
    /// The connection is gone.
    PeerClosed,
    /// The server closes: 0x8E session taken over, 0x8B shutting down, 0x98 administrative action, and so on.
    Shutdown(ReasonCode, Option<String>),
}

/// The terms of a session. What is none is as in [`super::SessionOptions`], or as the client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The client's identifier.
    pub client_id: ClientId,
    /// Whether an earlier session goes on.
    pub session_present: bool,
    /// Whether the server chose the identifier, so that the client must be told (MQTT 5).
    pub assigned_client_id: bool,
    /// A keep alive instead of the client's, in seconds (MQTT 5; a 3.1.1 client cannot be told, so its own holds).
    pub server_keep_alive_s: Option<u16>,
    /// Seconds that the session outlives its connection; none is 0.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages that the server takes at once (MQTT 5).
    pub receive_maximum: Option<NonZeroU16>,
    /// Largest packet to announce, in bytes (MQTT 5); not above what the decoder takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// Where replies may be expected, for a client that asked (MQTT 5 §3.2.2.3.15).
    pub response_information: Option<Box<ByteString>>,
    /// What else the client is told (MQTT 5 §3.2.2.3.10), if there is room for it in a packet of the size it takes
    /// [MQTT-3.2.2-20].
    pub user_properties: Option<Box<UserProperties>>,
    /// Packet ids of the resumed session's deliveries: each comes with [`Input::Deliver`] or [`Input::Released`] before
    /// any other delivery, and none is given to another message before.
    pub in_flight: Vec<PacketId>,
    /// Packet ids of QoS 2 messages that the resumed session has answered with PUBREC and not yet with PUBCOMP.
    pub received: Vec<PacketId>,
}

impl Admission {
    /// Admits a client on the usual terms, without an earlier session.
    pub fn new(client_id: ClientId) -> Self {
        Self {
            client_id,
            session_present: false,
            assigned_client_id: false,
            server_keep_alive_s: None,
            session_expiry_s: None,
            receive_maximum: None,
            packet_bytes_max: None,
            response_information: None,
            user_properties: None,
            in_flight: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Whether the session outlives its connection, so that what it owes and is owed is kept on disk.
    pub fn is_durable(&self) -> bool {
        self.session_expiry_s.is_some_and(|seconds| seconds > 0)
    }
}

/// What became of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is taken over: stored as far as anyone wants it stored, and on its way.
    Routed {
        /// Whether anyone asked for it.
        matched: bool,
    },
    /// It is not. At QoS 1 and 2 a client of MQTT 5 is told, if the code may stand in PUBACK; with another code, or
    /// in 3.1.1, the connection closes. At QoS 0 the message is dropped and counted.
    Refused {
        /// Why.
        code: ReasonCode,
        /// Why, in words for the client.
        reason: String,
    },
    /// It is not, for what is in it. A client of MQTT 5 is told as of a refusal. One of 3.1.1 has it acknowledged: it has no
    /// other way than to send it again for ever, or to lose the connection again and again.
    Unfit {
        /// Why; a code that may stand in PUBACK.
        code: ReasonCode,
        /// Why, in words for the client.
        reason: String,
    },
}

/// A message for this client, after its subscription is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What was published.
    pub message: Arc<Message>,
    /// The lower of published and granted QoS.
    pub qos: Qos,
    /// The retain flag that the client gets to see.
    pub retain: bool,
    /// Identifiers of the subscriptions that match; left out in 3.1.1.
    pub subscription_ids: SubscriptionIds,
    /// The broker's name for it, if it wants to hear of its end with [`super::Request::Complete`]. At QoS 0 there is none.
    pub tag: Option<u64>,
    /// The packet id under which an earlier connection sent it: it is sent again under the same, with DUP
    /// [MQTT-4.4.0-1].
    pub resent_as: Option<PacketId>,
    /// When it loses its meaning (MQTT 5 §3.3.2.3.3): after that it is not sent, before that the client is told the
    /// seconds that are left [MQTT-3.3.2-5], [MQTT-3.3.2-6].
    pub expires: Option<Instant>,
}

impl Delivery {
    /// A message as one subscription gets it at this QoS, with nothing else to say about it.
    pub fn new(message: Arc<Message>, qos: Qos) -> Self {
        Self {
            message,
            qos,
            retain: false,
            subscription_ids: SubscriptionIds::new(),
            tag: None,
            resent_as: None,
            expires: None,
        }
    }
}
