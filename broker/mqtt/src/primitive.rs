//! The data representations of MQTT 5 §1.5: integers, strings, binary data and variable byte integers, both ways.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use muster_schemas::{TopicFilter, TopicName};

use crate::{
    decode::Fault,
    limits::{FIELD_BYTES_MAX, REMAINING_LENGTH_BYTES_MAX},
    packet::PacketId,
};

/// Reads the body of one packet, or its properties. Everything it returns is a slice of the same memory.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.bytes.try_get_u8().map_err(|_| Fault::Truncated)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.bytes.try_get_u16().map_err(|_| Fault::Truncated)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes.try_get_u32().map_err(|_| Fault::Truncated)
    }

    pub(crate) fn varint(&mut self) -> Result<u32, Fault> {
        let (value, length) = varint(&self.bytes)?.ok_or(Fault::Truncated)?;
        self.bytes.advance(length);
        Ok(value)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Fault> {
        if length > self.bytes.len() {
            return Err(Fault::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    pub(crate) fn binary(&mut self) -> Result<Bytes, Fault> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// UTF-8, so without surrogates, and without U+0000 [MQTT-1.5.4-1], [MQTT-1.5.4-2]. Control characters and
    /// non-characters, which should not be sent and may be refused, are passed on as they are, and so is U+FEFF
    /// [MQTT-1.5.4-3]. Only client identifiers are narrower.
    pub(crate) fn text(&mut self) -> Result<ByteString, Fault> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) {
            return Err(Fault::NullCharacter);
        }
        Ok(text)
    }

    pub(crate) fn topic_name(&mut self) -> Result<TopicName, Fault> {
        TopicName::try_from(self.utf8()?).map_err(Fault::TopicName)
    }

    /// A topic name, or none where the field is empty.
    pub(crate) fn topic_name_if_any(&mut self) -> Result<Option<TopicName>, Fault> {
        let text = self.utf8()?;
        if text.is_empty() {
            return Ok(None);
        }
        TopicName::try_from(text).map(Some).map_err(Fault::TopicName)
    }

    pub(crate) fn topic_filter(&mut self) -> Result<TopicFilter, Fault> {
        TopicFilter::try_from(self.utf8()?).map_err(Fault::TopicFilter)
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(Fault::PacketIdZero)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    /// That nothing is left.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Fault::TrailingBytes { bytes: self.bytes.len() }) }
    }

    fn utf8(&mut self) -> Result<ByteString, Fault> {
        ByteString::try_from(self.binary()?).map_err(|_| Fault::NotUtf8)
    }
}

/// A variable byte integer (MQTT 5 §1.5.5) at the start of `bytes`, and its length; none where more must arrive.
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if *byte == 0 && index > 0 {
                return Err(Fault::VarintOverlong);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Fault::VarintTooLong) }
}

/// Bytes that `value` takes as a variable byte integer.
pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// `text` up to `bytes_max`, cut between two characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let end = text.floor_char_boundary(bytes_max.min(text.len()));
    text.get(..end).unwrap_or_default()
}

/// Where a packet is written, or measured: one description of a layout serves both, so they cannot differ.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    fn varint(&mut self, value: usize) {
        debug_assert!(value <= REMAINING_LENGTH_BYTES_MAX, "callers measure first");
        let mut rest = value;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                return self.u8(low & 0x7f);
            }
            self.u8(low | 0x80);
        }
    }

    /// A string; beyond 65,535 bytes it is cut.
    fn text(&mut self, text: &str) {
        let text = cut(text, FIELD_BYTES_MAX);
        self.u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        self.bytes(text.as_bytes());
    }

    /// Binary data; beyond 65,535 bytes it is cut.
    fn binary(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..FIELD_BYTES_MAX).unwrap_or(bytes);
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.bytes(bytes);
    }
}

impl Sink for BytesMut {
    fn bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts bytes.
#[derive(Debug, Default)]
pub(crate) struct Measure(pub(crate) usize);

impl Sink for Measure {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Bytes that `write` writes.
pub(crate) fn measure(write: &dyn Fn(&mut dyn Sink)) -> usize {
    let mut measure = Measure::default();
    write(&mut measure);
    measure.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_each_length_of_a_varint_survive() {
        for value in [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, REMAINING_LENGTH_BYTES_MAX] {
            let mut bytes = BytesMut::new();
            bytes.varint(value);
            assert_eq!(bytes.len(), varint_len(value));
            let expected = u32::try_from(value).expect("fits");
            assert_eq!(varint(&bytes), Ok(Some((expected, bytes.len()))), "{value}");
        }
    }

    #[test]
    fn a_varint_is_refused_when_overlong_or_too_long() {
        assert_eq!(varint(&[0x80, 0x00]), Err(Fault::VarintOverlong));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff]), Err(Fault::VarintTooLong));
        assert_eq!(varint(&[0xff, 0xff]), Ok(None));
        assert_eq!(varint(&[]), Ok(None));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("", 3), "");
    }
}
