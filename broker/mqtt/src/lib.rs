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
//! Seams left for what comes later: wills are parsed and handed out with [`Admit`], and [`Closing::graceful`] says
//! whether to discard one; sessions end with their connection (a session expiry of 0 is announced); shared
//! subscriptions are refused; message expiry is carried, not counted down; topic aliases are accepted, never sent.
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
    Admission, Admit, AuthenticationOutcome, AuthenticationStep, CloseReason, Closing, Delivery, Effects,
    Input, PublishOutcome, Request, Session, SessionOptions, Statistics, SubscriptionRequest,
};
pub use version::{Capabilities, Version};
