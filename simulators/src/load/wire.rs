//! Just enough MQTT for load, in both versions: packets are appended to a buffer, and read where they lie.
//!
//! The codec of the broker makes a message of every PUBLISH and checks all that a server must check. Here a message is
//! counted and forgotten, and the load must cost less than what it measures, so nothing is copied.

use muster_mqtt::Version;

/// Types of packets, the upper half of the first byte.
pub mod kind {
    #![expect(missing_docs, reason = "the names of the standard")]
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBACK: u8 = 9;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// A PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];
/// A DISCONNECT without a reason, in both versions.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// What the broker sent is no MQTT, or not what this load can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker sent what is no MQTT: {0}")]
pub struct Malformed(pub &'static str);

/// One packet within received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: u8,
    /// The lower half of its first byte.
    pub flags: u8,
    /// All that follows the remaining length.
    pub body: &'a [u8],
}

/// A PUBLISH within received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// 0, 1 or 2.
    pub qos: u8,
    /// Its packet id; 0 at QoS 0.
    pub packet_id: u16,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Takes the first whole packet from the front of `bytes`; `None` while its end has not come.
///
/// # Errors
/// The remaining length is longer than four bytes.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Option<Packet<'a>>, Malformed> {
    let Some((&first, mut rest)) = bytes.split_first() else { return Ok(None) };
    let Some(length) = varint(&mut rest)? else { return Ok(None) };
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *bytes = rest;
    Ok(Some(Packet { kind: first >> 4, flags: first & 0x0f, body }))
}

impl<'a> Packet<'a> {
    /// Reads it as a PUBLISH.
    ///
    /// # Errors
    /// It ends too early.
    pub fn publish(&self, version: Version) -> Result<Publish<'a>, Malformed> {
        let short = Malformed("a PUBLISH that ends too early");
        let mut rest = self.body;
        let topic_bytes = number(&mut rest).ok_or(short)?;
        rest = rest.get(usize::from(topic_bytes)..).ok_or(short)?;
        let qos = (self.flags >> 1) & 3;
        let packet_id = if qos == 0 { 0 } else { number(&mut rest).ok_or(short)? };
        if version == Version::V5 {
            let properties_bytes = varint(&mut rest)?.ok_or(short)?;
            rest = rest.get(properties_bytes..).ok_or(short)?;
        }
        Ok(Publish { qos, packet_id, payload: rest })
    }

    /// The packet id and the reason code of an acknowledgement; a reason that is not there is 0.
    ///
    /// # Errors
    /// It ends too early.
    pub fn acknowledgement(&self) -> Result<(u16, u8), Malformed> {
        let mut rest = self.body;
        let packet_id = number(&mut rest).ok_or(Malformed("an acknowledgement that ends too early"))?;
        Ok((packet_id, rest.first().copied().unwrap_or(0)))
    }

    /// Whether a session was there, and the return or reason code, of a CONNACK.
    ///
    /// # Errors
    /// It ends too early.
    pub fn connack(&self) -> Result<(bool, u8), Malformed> {
        match self.body {
            [flags, code, ..] => Ok((flags & 1 == 1, *code)),
            _ => Err(Malformed("a CONNACK that ends too early")),
        }
    }

    /// The code for the first filter of a SUBACK.
    ///
    /// # Errors
    /// It ends too early.
    pub fn suback(&self, version: Version) -> Result<u8, Malformed> {
        let short = Malformed("a SUBACK that ends too early");
        let mut rest = self.body.get(2..).ok_or(short)?;
        if version == Version::V5 {
            let properties_bytes = varint(&mut rest)?.ok_or(short)?;
            rest = rest.get(properties_bytes..).ok_or(short)?;
        }
        rest.first().copied().ok_or(short)
    }

    /// The reason code of a DISCONNECT; 0 when there is none.
    pub fn reason(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }
}

fn number(bytes: &mut &[u8]) -> Option<u16> {
    let (found, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*found))
}

/// A variable byte integer; `None` when its end has not come.
fn varint(bytes: &mut &[u8]) -> Result<Option<usize>, Malformed> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Err(Malformed("a length of more than four bytes"))
}

/// How a session is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The protocol version.
    pub version: Version,
    /// The client id.
    pub client_id: &'a str,
    /// Whether what the session had before ends.
    pub clean: bool,
    /// Whether the session outlives its connection, for an hour in version 5.
    pub persistent: bool,
    /// Keep alive, in seconds.
    pub keep_alive_s: u16,
}

/// Appends a CONNECT. In version 3.1.1 a session is clean or persistent; there a persistent one resumes.
pub fn connect(out: &mut Vec<u8>, opening: &Opening<'_>) {
    let mut body = Vec::with_capacity(32 + opening.client_id.len());
    text(&mut body, "MQTT");
    let five = opening.version == Version::V5;
    body.push(if five { 5 } else { 4 });
    let clean = if five { opening.clean } else { opening.clean && !opening.persistent };
    body.push(u8::from(clean) << 1);
    body.extend(opening.keep_alive_s.to_be_bytes());
    if five && opening.persistent {
        const EXPIRY_S: u32 = 3_600;
        body.extend([5, 0x11]);
        body.extend(EXPIRY_S.to_be_bytes());
    } else if five {
        body.push(0);
    }
    text(&mut body, opening.client_id);
    packet(out, 0x10, &body);
}

/// Appends a SUBSCRIBE for one filter, with packet id 1.
pub fn subscribe(out: &mut Vec<u8>, version: Version, filter: &str, qos: u8) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter);
    body.push(qos);
    packet(out, 0x82, &body);
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP that says success.
pub fn acknowledge(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.extend([kind << 4 | flags, 2, high, low]);
}

/// Appends a PUBLISH, at QoS 1 if it has a packet id.
pub fn publish(out: &mut Vec<u8>, version: Version, topic: &str, packet_id: Option<u16>, payload: &[u8]) {
    let mut body = Vec::with_capacity(8 + topic.len() + payload.len());
    text(&mut body, topic);
    body.extend(packet_id.into_iter().flat_map(u16::to_be_bytes));
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(out, 0x30 | u8::from(packet_id.is_some()) << 1, &body);
}

/// A PUBLISH of which only the packet id and the payload's first bytes change from message to message.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// A PUBLISH to this topic with a payload of this size.
    pub fn new(version: Version, topic: &str, qos: u8, payload_bytes: usize) -> Self {
        let mut body = Vec::with_capacity(8 + topic.len() + payload_bytes);
        text(&mut body, topic);
        let packet_id_in_body = (qos > 0).then_some(body.len());
        if qos > 0 {
            body.extend([0, 0]);
        }
        if version == Version::V5 {
            body.push(0);
        }
        let payload_in_body = body.len();
        body.resize(payload_in_body + payload_bytes, b'.');
        let mut bytes = Vec::with_capacity(body.len() + 5);
        packet(&mut bytes, 0x30 | qos << 1, &body);
        let head = bytes.len() - body.len();
        let packet_id_at = packet_id_in_body.map(|at| head + at);
        Self { bytes, packet_id_at, payload_at: head + payload_in_body }
    }

    /// Bytes of the whole packet.
    pub fn packet_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the packet with this packet id and these bytes at the payload's beginning.
    pub fn write(&mut self, out: &mut Vec<u8>, packet_id: u16, head: &[u8]) {
        if let Some(place) = self.packet_id_at.and_then(|at| self.bytes.get_mut(at..at + 2)) {
            place.copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(place) = self.bytes.get_mut(self.payload_at..self.payload_at + head.len()) {
            place.copy_from_slice(head);
        }
        out.extend_from_slice(&self.bytes);
    }
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(text.bytes().take(usize::from(length)));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use muster_mqtt::{
        Decoder, Outgoing, Packet as Whole, PacketId, PacketLimits, Publish as WholePublish, encode,
    };
    use muster_schemas::{Message, Qos};

    use super::*;

    fn decoded(bytes: &[u8], first: Option<&[u8]>) -> Whole {
        let mut decoder = Decoder::new(PacketLimits::default());
        if let Some(first) = first {
            decoder.buffer().extend_from_slice(first);
            decoder.next().unwrap().unwrap();
        }
        decoder.buffer().extend_from_slice(bytes);
        decoder.next().unwrap().unwrap()
    }

    fn hello(version: Version, persistent: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let opening = Opening { version, client_id: "c1", clean: true, persistent, keep_alive_s: 60 };
        connect(&mut out, &opening);
        out
    }

    #[test]
    fn the_broker_s_decoder_reads_what_is_written() {
        for version in [Version::V311, Version::V5] {
            let Whole::Connect(connect) = decoded(&hello(version, false), None) else { panic!() };
            assert_eq!((connect.version, connect.clean_start, connect.keep_alive_s), (version, true, 60));
            let mut bytes = Vec::new();
            subscribe(&mut bytes, version, "a/+", 1);
            let Whole::Subscribe(packet) = decoded(&bytes, Some(&hello(version, true))) else { panic!() };
            assert_eq!((packet.filters.len(), packet.filters[0].0.as_str()), (1, "a/+"));
            let mut bytes = Vec::new();
            Template::new(version, "a/b", 2, 300).write(&mut bytes, 77, b"stamp");
            let Whole::Publish(packet) = decoded(&bytes, Some(&hello(version, false))) else { panic!() };
            assert_eq!((packet.packet_id, packet.message.topic.as_str()), (PacketId::new(77), "a/b"));
            assert!(packet.message.payload.starts_with(b"stamp..") && packet.message.payload.len() == 300);
            for (packet_id, qos) in [(None, Qos::AtMostOnce), (Some(9), Qos::AtLeastOnce)] {
                let mut bytes = Vec::new();
                publish(&mut bytes, version, "a/b", packet_id, b"all of it");
                let first = hello(version, false);
                let Whole::Publish(packet) = decoded(&bytes, Some(&first)) else { panic!() };
                assert_eq!((packet.packet_id, packet.message.qos), (packet_id.and_then(PacketId::new), qos));
                assert_eq!(packet.message.payload, "all of it");
            }
        }
    }

    #[test]
    fn a_persistent_session_is_not_clean_in_version_3_and_expires_in_version_5() {
        let Whole::Connect(three) = decoded(&hello(Version::V311, true), None) else { panic!() };
        let Whole::Connect(five) = decoded(&hello(Version::V5, true), None) else { panic!() };
        assert_eq!((three.clean_start, five.clean_start), (false, true));
        assert_eq!(five.properties.session_expiry_s, Some(3_600));
    }

    #[test]
    fn what_the_broker_s_encoder_writes_is_read_only_when_it_is_whole() {
        for version in [Version::V311, Version::V5] {
            let message = Message {
                topic: "a/b".parse().unwrap(),
                qos: Qos::AtLeastOnce,
                retain: false,
                payload: Bytes::from_static(&[7; 200]),
                properties: None,
            };
            let packet_id = PacketId::new(9);
            let publish = WholePublish {
                dup: false,
                packet_id,
                topic_alias: None,
                subscription_ids: Default::default(),
                message: message.into(),
            };
            let mut outgoing = Outgoing::default();
            encode(&Whole::Publish(publish), version, &mut outgoing);
            let bytes = outgoing.take_chunks().concat();
            for end in 0..bytes.len() {
                assert_eq!(take(&mut &bytes[..end]), Ok(None));
            }
            let mut rest = &bytes[..];
            let found = take(&mut rest).unwrap().unwrap();
            let publish = found.publish(version).unwrap();
            assert_eq!((found.kind, publish.qos, publish.packet_id), (kind::PUBLISH, 1, 9));
            assert_eq!((publish.payload, rest), (&[7; 200][..], &[][..]));
        }
    }

    #[test]
    fn bytes_that_are_no_packet_are_refused() {
        assert!(take(&mut &[0x30, 0xff, 0xff, 0xff, 0xff, 1][..]).is_err());
        let cut = Packet { kind: kind::PUBLISH, flags: 2, body: &[0, 9, 1] };
        assert!(cut.publish(Version::V311).is_err() && cut.acknowledgement().is_ok());
        let empty = Packet { kind: kind::PUBACK, flags: 0, body: &[] };
        assert!(
            empty.acknowledgement().is_err()
                && empty.connack().is_err()
                && empty.suback(Version::V5).is_err()
        );
    }
}
