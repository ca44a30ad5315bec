//! MQTT 3.1.1 and 5 as a core: one packet type for both versions, a codec, and the server's side of a session.
//! Not for sockets, clocks, storage or authorization: bytes and decisions come in by the door, effects go out by it.
//!
//! ```text
//!   socket ──bytes──▶ Decoder ──Packet──▶ Session ──Request──▶ broker: admit, publish, subscribe, close
//!   socket ◀──bytes── Outgoing ◀─────────  (core)  ◀──Input─── broker: admitted, published, deliver, shut down
//! ```
//!
//! A PUBLISH is read without copying: topic and payload are slices of the read buffer. Whoever keeps a small message
//! for long (a retained message) should copy it, or it keeps the whole read buffer alive.
//!
//! What outlives a connection is the broker's: it keeps the will that comes with [`Admit`], and [`Closing::graceful`] says
//! whether to discard it; it keeps subscriptions, shared ones among them, whose filters it sees as they were sent; and it
//! keeps what a durable session owes and is owed. Such a session names every delivery by a tag, asks before it goes on to
//! where a crash must not take it back ([`Request::Bind`], [`Request::Release`], [`Request::Forget`]), and starts from
//! [`Admission::in_flight`] and [`Admission::received`]:
//!
//! ```text
//!   QoS 1:  Deliver ─▶ PUBLISH ── PUBACK ─▶ Complete
//!   QoS 2:  Deliver ─▶ Bind ══ Bound ─▶ PUBLISH ── PUBREC ─▶ Release ══ Released ─▶ PUBREL ── PUBCOMP ─▶ Complete
//!           PUBLISH ─▶ Publish ══ Published ─▶ PUBREC ── PUBREL ─▶ Forget ══ Forgotten ─▶ PUBCOMP
//! ```
//!
//! Enhanced authentication is judged by the broker ([`Request::Authenticate`]) for the methods that
//! [`SessionOptions::authentication_methods`] lists, none by default.
//!
//! ```
//! use muster_mqtt::{Decoder, Outgoing, Packet, PacketLimits, Version, encode};
//!
//! let mut decoder = Decoder::new(PacketLimits::default());
//! decoder.buffer().extend_from_slice(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1");
//! let packet = decoder.next()?;
//! assert!(matches!(packet, Some(Packet::Connect(ref connect)) if connect.version == Version::V311));
//!
//! let mut outgoing = Outgoing::default();
//! encode(&Packet::PingResp, Version::V311, &mut outgoing);
//! assert_eq!(outgoing.take_chunks().concat(), [0xd0, 0x00]);
//! # Ok::<(), muster_mqtt::DecodeError>(())
//! ```

mod connection;
mod decode;
mod encode;
pub mod limits;
mod outgoing;
mod packet;
mod primitive;
mod properties;
mod reason;
mod session;
mod version;

pub use connection::Connection;
pub use decode::{DecodeError, Decoder, Fault};
pub use encode::{encode, encoded_len};
pub use limits::{PacketLimits, SessionLimits};
pub use outgoing::Outgoing;
pub use packet::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketId,
    PacketType, Password, Publish, RetainHandling, SubAck, Subscribe, SubscriptionIds, SubscriptionOptions,
    UnsubAck, Unsubscribe, UserProperties, Will,
};
pub use properties::PropertyId;
pub use reason::{ReasonCode, UnknownReasonCode};
pub use session::{
    Admission, Admit, Authenticate, AuthenticationOutcome, AuthenticationStep, CloseReason, Closing,
    Delivery, Effects, Input, PublishOutcome, Request, Session, SessionOptions, Statistics,
    SubscriptionRequest,
};
pub use version::{Capabilities, Version};
