//! What a durable record of a tenant's log holds: a message, who published it, and when it came in.
//!
//! ```text
//! version 1 │ flags 1 │ received_ms 8 │ publisher id │ session 8, if any │ topic │ properties, if any │ payload: the rest
//! ```
//!
//! Integers are big-endian; texts and bytes have their length before them as LEB128, in its shortest form. Not CBOR: this
//! is on the path of every durable message, and both its ends are ours. The log seals each record, so bytes that do not
//! decode are a defect or another version, not a device's doing. Decoding shares the record's buffer with topic, payload
//! and properties.

use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;

use crate::{DeviceId, InvalidId, InvalidTopic, Kind, Message, MessageProperties, Publisher, Qos, TopicName};

/// The layout that this module writes, the first byte of every record.
const VERSION: u8 = 1;

/// In place of a session: the record is a copy of a message that was published before, for those alone to whom it was
/// assigned as members of a share.
pub const COPY: u64 = 0;

const QOS: u8 = 0b0000_0011;
const RETAIN: u8 = 0b0000_0100;
const PROPERTIES: u8 = 0b0000_1000;
const KIND_SHIFT: u32 = 4;
const SESSION: u8 = 0b1000_0000;
const KINDS: u8 = 0b0000_0111;

const UTF8: u8 = 0b0000_0001;
const EXPIRY: u8 = 0b0000_0010;
const CONTENT_TYPE: u8 = 0b0000_0100;
const RESPONSE_TOPIC: u8 = 0b0000_1000;
const CORRELATION: u8 = 0b0001_0000;
const RESERVED_PROPERTIES: u8 = 0b1110_0000;

/// A message as a tenant's log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// When the hub took it, Unix milliseconds.
    pub received_ms: u64,
    /// Who published it.
    pub publisher: Publisher,
    /// The durable session that it came from, by number, where that must not get it back (No Local); or [`COPY`].
    pub session: Option<u64>,
    /// What was published.
    pub message: Message,
}

/// Why bytes are not a stored message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStored {
    /// Written by another version of the hub.
    #[error("has the layout {found}, where {VERSION} is known")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// Ends before its payload.
    #[error("ends within its fields")]
    Truncated,
    /// A bit, a kind or a quality of service that the layout does not have.
    #[error("has flags that the layout does not know")]
    Flags,
    /// A length that is not in its shortest form, or of 2^28 or more.
    #[error("has a length that is not in its shortest form, or beyond 28 bits")]
    Length,
    /// Text that is not UTF-8.
    #[error("has text that is not UTF-8")]
    NotUtf8,
    /// A publisher that is no id.
    #[error("has a publisher that {0}")]
    Publisher(InvalidId),
    /// A topic that is no topic name.
    #[error("has a topic that {0}")]
    Topic(InvalidTopic),
}

impl StoredMessage {
    /// Whether it was published before, and is there for members of shares only.
    pub fn is_copy(&self) -> bool {
        self.session == Some(COPY)
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { received_ms, publisher, session, message } = self;
        encode_parts(*received_ms, (publisher, *session), message, out);
    }

    /// Reads a record; what it holds shares `record`'s buffer.
    pub fn decode(record: Bytes) -> Result<Self, InvalidStored> {
        let mut rest = record;
        match byte(&mut rest)? {
            VERSION => {}
            found => return Err(InvalidStored::Version { found }),
        }
        let flags = byte(&mut rest)?;
        let qos = Qos::try_from(flags & QOS).map_err(|_| InvalidStored::Flags)?;
        let kind =
            Kind::ALL.get(usize::from(flags >> KIND_SHIFT & KINDS)).copied().ok_or(InvalidStored::Flags)?;
        let received_ms = rest.try_get_u64().map_err(|_| InvalidStored::Truncated)?;
        let id = bytes(&mut rest)?;
        let id: DeviceId = str::from_utf8(&id)
            .map_err(|_| InvalidStored::NotUtf8)?
            .parse()
            .map_err(InvalidStored::Publisher)?;
        let session = match flags & SESSION {
            0 => None,
            _ => Some(rest.try_get_u64().map_err(|_| InvalidStored::Truncated)?),
        };
        let topic = topic(&mut rest)?;
        let properties = match flags & PROPERTIES {
            0 => None,
            _ => Some(Box::new(decode_properties(&mut rest)?)),
        };
        let retain = flags & RETAIN != 0;
        let message = Message { topic, qos, retain, payload: rest, properties };
        Ok(Self { received_ms, publisher: Publisher { kind, id }, session, message })
    }
}

/// Appends the record of a message to `out`, for a caller that does not own the parts.
pub fn encode_parts(
    received_ms: u64,
    (publisher, session): (&Publisher, Option<u64>),
    message: &Message,
    out: &mut Vec<u8>,
) {
    let id = publisher.id.as_str().as_bytes();
    let topic = message.topic.as_str().as_bytes();
    out.reserve(2 + 8 + 8 + 2 + id.len() + 3 + topic.len() + message.payload.len());
    let mut flags = message.qos as u8 | (kind_number(publisher.kind) << KIND_SHIFT);
    if message.retain {
        flags |= RETAIN;
    }
    if message.properties.is_some() {
        flags |= PROPERTIES;
    }
    if session.is_some() {
        flags |= SESSION;
    }
    out.push(VERSION);
    out.push(flags);
    out.put_u64(received_ms);
    put_bytes(out, id);
    if let Some(session) = session {
        out.put_u64(session);
    }
    put_bytes(out, topic);
    if let Some(properties) = &message.properties {
        encode_properties(properties, out);
    }
    out.extend_from_slice(&message.payload);
}

/// The place in [`Kind::ALL`], which is also what is written: kinds may be added at its end, never moved.
fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Device => 0,
        Kind::Relay => 1,
        Kind::App => 2,
        Kind::User => 3,
        Kind::Service => 4,
        Kind::Node => 5,
        Kind::Software => 6,
    }
}

fn encode_properties(properties: &MessageProperties, out: &mut Vec<u8>) {
    let bit = |flag: u8, set: bool| if set { flag } else { 0 };
    out.push(
        bit(UTF8, properties.payload_is_utf8)
            | bit(EXPIRY, properties.expiry_interval_s.is_some())
            | bit(CONTENT_TYPE, properties.content_type.is_some())
            | bit(RESPONSE_TOPIC, properties.response_topic.is_some())
            | bit(CORRELATION, properties.correlation_data.is_some()),
    );
    if let Some(expiry_interval_s) = properties.expiry_interval_s {
        out.put_u32(expiry_interval_s);
    }
    if let Some(content_type) = &properties.content_type {
        put_bytes(out, content_type.as_bytes());
    }
    if let Some(response_topic) = &properties.response_topic {
        put_bytes(out, response_topic.as_str().as_bytes());
    }
    if let Some(correlation_data) = &properties.correlation_data {
        put_bytes(out, correlation_data);
    }
    put_length(out, properties.user_properties.len());
    for (name, value) in &properties.user_properties {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn decode_properties(rest: &mut Bytes) -> Result<MessageProperties, InvalidStored> {
    let flags = byte(rest)?;
    if flags & RESERVED_PROPERTIES != 0 {
        return Err(InvalidStored::Flags);
    }
    let has = |flag: u8| flags & flag != 0;
    let expiry_interval_s = match has(EXPIRY) {
        true => Some(rest.try_get_u32().map_err(|_| InvalidStored::Truncated)?),
        false => None,
    };
    let content_type = if has(CONTENT_TYPE) { Some(text(rest)?) } else { None };
    let response_topic = if has(RESPONSE_TOPIC) { Some(topic(rest)?) } else { None };
    let correlation_data = if has(CORRELATION) { Some(bytes(rest)?) } else { None };
    let count = length(rest)?;
    // Each takes two bytes or more, so the record itself bounds them.
    if count > rest.len() / 2 {
        return Err(InvalidStored::Truncated);
    }
    let mut user_properties = Vec::with_capacity(count);
    for _ in 0..count {
        user_properties.push((text(rest)?, text(rest)?));
    }
    Ok(MessageProperties {
        payload_is_utf8: has(UTF8),
        expiry_interval_s,
        content_type,
        response_topic,
        correlation_data,
        user_properties,
    })
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn byte(rest: &mut Bytes) -> Result<u8, InvalidStored> {
    rest.try_get_u8().map_err(|_| InvalidStored::Truncated)
}

fn length(rest: &mut Bytes) -> Result<usize, InvalidStored> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21] {
        let next = byte(rest)?;
        length |= usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return if next == 0 && shift > 0 { Err(InvalidStored::Length) } else { Ok(length) };
        }
    }
    Err(InvalidStored::Length)
}

fn bytes(rest: &mut Bytes) -> Result<Bytes, InvalidStored> {
    let length = length(rest)?;
    if length > rest.len() {
        return Err(InvalidStored::Truncated);
    }
    Ok(rest.split_to(length))
}

fn text(rest: &mut Bytes) -> Result<ByteString, InvalidStored> {
    ByteString::try_from(bytes(rest)?).map_err(|_| InvalidStored::NotUtf8)
}

fn topic(rest: &mut Bytes) -> Result<TopicName, InvalidStored> {
    TopicName::try_from(text(rest)?).map_err(InvalidStored::Topic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain() -> StoredMessage {
        StoredMessage {
            received_ms: 0x0102_0304_0506_0708,
            publisher: Publisher { kind: Kind::App, id: "pump-7".parse().expect("an id") },
            session: None,
            message: Message {
                topic: "a/b".parse().expect("a topic"),
                qos: Qos::AtLeastOnce,
                retain: true,
                payload: Bytes::from_static(b"hi"),
                properties: None,
            },
        }
    }

    fn full() -> StoredMessage {
        let mut stored = StoredMessage { session: Some(0x0102_0304), ..plain() };
        stored.message.properties = Some(Box::new(MessageProperties {
            payload_is_utf8: true,
            expiry_interval_s: Some(60),
            content_type: Some("application/senml+json".into()),
            response_topic: Some("replies/7".parse().expect("a topic")),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            user_properties: vec![("k".into(), "v".into()), ("k".into(), "x".repeat(300).into())],
        }));
        stored
    }

    fn encoded(stored: &StoredMessage) -> Bytes {
        let mut out = Vec::new();
        stored.encode(&mut out);
        out.into()
    }

    #[test]
    fn the_layout_stays_as_logs_on_disk_have_it() {
        assert_eq!(&encoded(&plain())[..], b"\x01\x25\x01\x02\x03\x04\x05\x06\x07\x08\x06pump-7\x03a/bhi");
    }

    #[test]
    fn a_message_survives_the_log() {
        for stored in [plain(), full()] {
            assert_eq!(StoredMessage::decode(encoded(&stored)), Ok(stored));
        }
        for kind in Kind::ALL {
            let mut stored = plain();
            stored.publisher.kind = kind;
            assert_eq!(StoredMessage::decode(encoded(&stored)), Ok(stored));
        }
    }

    #[test]
    fn the_payload_is_not_copied() {
        let record = encoded(&full());
        let decoded = StoredMessage::decode(record.clone()).expect("a record");
        assert_eq!(decoded.message.payload.as_ptr(), record[record.len() - 2..].as_ptr());
    }

    #[test]
    fn what_is_not_a_record_says_why() {
        let record = encoded(&plain());
        let with = |place: usize, byte: u8| {
            let mut record = record.to_vec();
            record[place] = byte;
            StoredMessage::decode(record.into())
        };
        assert_eq!(with(0, 2), Err(InvalidStored::Version { found: 2 }));
        assert_eq!(with(1, 0x23), Err(InvalidStored::Flags));
        assert_eq!(with(1, 0x71), Err(InvalidStored::Flags));
        assert_eq!(with(1, 0xa5), Err(InvalidStored::Truncated), "without the session that it names");
        assert_eq!(with(11, b'P'), Err(InvalidStored::Publisher(InvalidId::Character { found: 'P' })));
        assert_eq!(with(18, b'#'), Err(InvalidStored::Topic(InvalidTopic::Wildcard)));
        assert_eq!(with(18, 0xff), Err(InvalidStored::NotUtf8));
        assert_eq!(with(17, 0x80), Err(InvalidStored::Truncated));
        assert_eq!(StoredMessage::decode(Bytes::new()), Err(InvalidStored::Truncated));
        let overlong = Bytes::from_static(b"\x01\x00\0\0\0\0\0\0\0\0\x81\x00a");
        assert_eq!(StoredMessage::decode(overlong), Err(InvalidStored::Length));
    }

    #[test]
    fn a_record_cut_within_its_fields_is_refused() {
        let record = encoded(&full());
        for length in 0..record.len() - 2 {
            assert_eq!(
                StoredMessage::decode(record.slice(..length)),
                Err(InvalidStored::Truncated),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_form(
            mut bytes in proptest::collection::vec(any::<u8>(), 2..200), versioned in any::<bool>(),
        ) {
            if versioned {
                bytes[0] = VERSION;
                bytes[1] &= 0x7d;
                bytes.truncate(12);
                bytes.extend_from_slice(b"\x03a/b");
            }
            if let Ok(stored) = StoredMessage::decode(bytes.clone().into()) {
                prop_assert_eq!(&encoded(&stored)[..], &bytes[..]);
            }
        }

        #[test]
        fn a_mutated_record_has_one_form(place in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encoded(&full()).to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(stored) = StoredMessage::decode(bytes.clone().into()) {
                prop_assert_eq!(&encoded(&stored)[..], &bytes[..]);
            }
        }
    }
}
