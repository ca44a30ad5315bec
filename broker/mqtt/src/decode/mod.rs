//! Bytes to packets: incremental, bounded, and strict. The first fault ends a connection.

mod ack;
mod connect;
mod fault;
mod publish;
mod subscribe;

pub use fault::{DecodeError, Fault};

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use muster_schemas::TopicName;

use crate::{
    limits::{PacketLimits, TOPIC_ALIASES_SENT_MAX},
    packet::{Ack, Packet, PacketId, PacketType},
    primitive::{Reader, varint},
    reason::ReasonCode,
    version::Version,
};

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Turns the bytes of one connection into packets. It learns the version from CONNECT, which must come first.
///
/// Nothing is reserved on the word of a peer: memory grows with the bytes that arrive, up to the size limit, which is
/// checked when the fixed header is complete and before the body is.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limits: Arc<PacketLimits>,
    role: Role,
    /// Known after CONNECT. At a client it is known from the start.
    version: Option<Version>,
    /// Topics by alias less one, as the peer defined them; never longer than `topic_aliases_max`.
    aliases: Vec<Option<TopicName>>,
    /// The first fault; every later call repeats it.
    failed: Option<Box<DecodeError>>,
}

/// A fixed header (MQTT 5 §2.1).
#[derive(Debug, Clone, Copy)]
struct FixedHeader {
    packet: PacketType,
    flags: u8,
    /// Its own length, in bytes.
    bytes: usize,
    /// Length of what follows, in bytes.
    remaining: usize,
}

impl Decoder {
    /// A decoder for the server's side of a new connection.
    pub fn new(limits: impl Into<Arc<PacketLimits>>) -> Self {
        Self {
            buffer: BytesMut::new(),
            limits: limits.into(),
            role: Role::Server,
            version: None,
            aliases: Vec::new(),
            failed: None,
        }
    }

    /// A decoder for the client's side of a connection that speaks `version`, with the default limits, except that it takes
    /// as many topic aliases as our sessions use at most.
    pub fn client(version: Version) -> Self {
        let limits = PacketLimits { topic_aliases_max: TOPIC_ALIASES_SENT_MAX, ..PacketLimits::default() };
        Self::client_within(version, limits)
    }

    /// The same with limits of its own.
    pub fn client_within(version: Version, limits: PacketLimits) -> Self {
        Self { role: Role::Client, version: Some(version), ..Self::new(limits) }
    }

    /// The bytes not yet decoded. Append what was read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The version of the connection, once a CONNECT said so.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Gives back the memory of an empty buffer; for connections that fall silent.
    pub fn release_buffer(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// The next packet, or none until more bytes arrive.
    ///
    /// # Errors
    /// The first fault of the peer, and the same again at every later call.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at the first None; this one goes on"
    )]
    pub fn next(&mut self) -> Result<Option<Packet>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err((**error).clone());
        }
        let mut packet = None;
        self.advance(&mut packet).map_err(|fault| {
            let error = DecodeError { fault, packet, version: self.version };
            self.failed = Some(Box::new(error.clone()));
            self.buffer = BytesMut::new();
            error
        })
    }

    /// Decodes one packet. `at` tells how far it came, for the error.
    fn advance(&mut self, at: &mut Option<PacketType>) -> Result<Option<Packet>, Fault> {
        let Some(header) = FixedHeader::parse(&self.buffer)? else {
            return Ok(None);
        };
        *at = Some(header.packet);
        self.check(header)?;
        let total = header.bytes + header.remaining;
        if self.buffer.len() < total {
            return Ok(None);
        }
        if let Some(packet) = self.short(header) {
            self.buffer.advance(total);
            return packet.map(Some);
        }
        let mut frame = self.buffer.split_to(total).freeze();
        frame.advance(header.bytes);
        self.body(header, Reader::new(frame)).map(Some)
    }

    /// What the fixed header alone can get wrong.
    fn check(&self, header: FixedHeader) -> Result<(), Fault> {
        use PacketType as T;
        let FixedHeader { packet, flags, .. } = header;
        if packet == T::Auth && self.version == Some(Version::V311) {
            return Err(Fault::ReservedType { bits: packet as u8 });
        }
        if packet != T::Publish && flags != packet.flags() {
            return Err(Fault::ReservedFlags { flags });
        }
        let bytes = header.bytes + header.remaining;
        let bytes_max = match self.version {
            Some(_) => self.limits.packet_bytes_max,
            None if packet != T::Connect => return Err(Fault::NotConnect),
            None => self.limits.connect_bytes_max.min(self.limits.packet_bytes_max),
        };
        if bytes > bytes_max {
            return Err(Fault::TooLarge { bytes, bytes_max });
        }
        let from_server = matches!(packet, T::ConnAck | T::SubAck | T::UnsubAck | T::PingResp);
        let from_client = matches!(packet, T::Connect | T::Subscribe | T::Unsubscribe | T::PingReq);
        match self.role {
            Role::Server if from_server => Err(Fault::WrongDirection),
            Role::Client if from_client => Err(Fault::WrongDirection),
            _ => Ok(()),
        }
    }

    /// The frequent packets of two and four bytes, read where they lie.
    fn short(&self, header: FixedHeader) -> Option<Result<Packet, Fault>> {
        use PacketType as T;
        match (header.packet, header.remaining) {
            (T::PingReq, 0) => return Some(Ok(Packet::PingReq)),
            (T::PingResp, 0) => return Some(Ok(Packet::PingResp)),
            (T::PubAck | T::PubRec | T::PubRel | T::PubComp, 2) => {}
            _ => return None,
        }
        let &[high, low] = self.buffer.get(header.bytes..)?.first_chunk()?;
        let Some(id) = PacketId::new(u16::from_be_bytes([high, low])) else {
            return Some(Err(Fault::PacketIdZero));
        };
        let ack = Ack::new(id, ReasonCode::Success);
        Some(Ok(match header.packet {
            T::PubRec => Packet::PubRec(ack),
            T::PubRel => Packet::PubRel(ack),
            T::PubComp => Packet::PubComp(ack),
            _ => Packet::PubAck(ack),
        }))
    }

    fn body(&mut self, header: FixedHeader, mut reader: Reader) -> Result<Packet, Fault> {
        if header.packet == PacketType::Connect {
            let version = connect::protocol(&mut reader)?;
            self.version.get_or_insert(version);
            return connect::connect(reader, version, &self.limits).map(|c| Packet::Connect(Box::new(c)));
        }
        // `check` let no other packet pass before CONNECT.
        let version = self.version.ok_or(Fault::NotConnect)?;
        let limits = &*self.limits;
        let ack = |reader| ack::ack(header.packet, reader, version, limits);
        Ok(match header.packet {
            PacketType::Connect => return Err(Fault::WrongDirection),
            PacketType::ConnAck => Packet::ConnAck(Box::new(connect::connack(reader, version, limits)?)),
            PacketType::Publish => Packet::Publish(publish::publish(
                header.flags,
                reader,
                version,
                limits,
                self.role,
                &mut self.aliases,
            )?),
            PacketType::PubAck => Packet::PubAck(ack(reader)?),
            PacketType::PubRec => Packet::PubRec(ack(reader)?),
            PacketType::PubRel => Packet::PubRel(ack(reader)?),
            PacketType::PubComp => Packet::PubComp(ack(reader)?),
            PacketType::Subscribe => Packet::Subscribe(subscribe::subscribe(reader, version, limits)?),
            PacketType::SubAck => Packet::SubAck(subscribe::suback(reader, version, limits)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(subscribe::unsubscribe(reader, version, limits)?),
            PacketType::UnsubAck => Packet::UnsubAck(subscribe::unsuback(reader, version, limits)?),
            PacketType::PingReq => reader.finish().map(|()| Packet::PingReq)?,
            PacketType::PingResp => reader.finish().map(|()| Packet::PingResp)?,
            PacketType::Disconnect => Packet::Disconnect(ack::disconnect(reader, version, limits)?),
            PacketType::Auth => Packet::Auth(ack::auth(reader, limits)?),
        })
    }
}

impl FixedHeader {
    fn parse(buffer: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((first, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let packet = PacketType::try_from(first >> 4).map_err(|bits| Fault::ReservedType { bits })?;
        let Some((remaining, length)) = varint(rest)? else {
            return Ok(None);
        };
        let remaining = usize::try_from(remaining).map_err(|_| Fault::VarintTooLong)?;
        Ok(Some(Self { packet, flags: first & 0x0f, bytes: 1 + length, remaining }))
    }
}

/// A reason code that may stand in this type of packet.
fn reason_code(reader: &mut Reader, packet: PacketType) -> Result<ReasonCode, Fault> {
    let code = ReasonCode::try_from(reader.u8()?).map_err(|unknown| Fault::UnknownReasonCode(unknown.0))?;
    if code.is_allowed_in(packet) { Ok(code) } else { Err(Fault::MisplacedReasonCode(code)) }
}

#[cfg(test)]
mod tests;
