//! Bytes to items.

use super::{InvalidCbor, Major, decimal_fraction, half_to_f64};
use crate::limits::CBOR_DEPTH_MAX;

/// The tag of a decimal fraction (RFC 8949 §3.4.4).
const TAG_DECIMAL_FRACTION: u64 = 4;
/// The byte that ends an array or map of indefinite length.
const BREAK: u8 = 0xff;

/// Reads items from the front of a slice. Nothing is allocated.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    tolerant: bool,
}

/// The elements of an array, or the pairs of a map, that are still to come.
#[derive(Debug)]
pub struct Items {
    left: Left,
}

#[derive(Debug)]
enum Left {
    Exactly(u64),
    UntilBreak { seen: usize, max: usize },
}

impl Items {
    /// How many there are, when the head said so; never above the bound that was asked for.
    pub fn announced(&self) -> Option<usize> {
        match self.left {
            Left::Exactly(count) => usize::try_from(count).ok(),
            Left::UntilBreak { .. } => None,
        }
    }
}

impl<'a> Reader<'a> {
    /// Accepts the one shortest form of each item.
    pub fn strict(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, tolerant: false }
    }

    /// Accepts heads that are longer than needed, and arrays and maps of indefinite length.
    pub fn tolerant(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, tolerant: true }
    }

    /// Says that nothing may follow.
    pub fn finish(self) -> Result<(), InvalidCbor> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(InvalidCbor::Trailing { bytes }),
        }
    }

    /// The type of the next item.
    pub fn peek(&self) -> Result<Major, InvalidCbor> {
        self.rest.first().map(|&first| Major::of(first)).ok_or(InvalidCbor::Truncated)
    }

    /// An integer from 0 to `max`.
    pub fn unsigned(&mut self, max: u64) -> Result<u64, InvalidCbor> {
        match self.argument(Major::Unsigned, "an unsigned integer")? {
            found if found <= max => Ok(found),
            found => Err(InvalidCbor::TooLarge { found, max }),
        }
    }

    /// An integer of any sign; CBOR has them from -2^64 to 2^64 - 1.
    pub fn integer(&mut self) -> Result<i128, InvalidCbor> {
        match self.peek()? {
            Major::Negative => Ok(-1 - i128::from(self.argument(Major::Negative, "an integer")?)),
            _ => Ok(i128::from(self.argument(Major::Unsigned, "an integer")?)),
        }
    }

    /// A finite number in any of its forms: integer, float of 16, 32 or 64 bits, decimal fraction.
    pub fn number(&mut self) -> Result<f64, InvalidCbor> {
        let value = self.any_number()?;
        if value.is_finite() { Ok(value) } else { Err(InvalidCbor::NotFinite) }
    }

    /// As [`Reader::number`], also one that is infinite or none.
    pub fn any_number(&mut self) -> Result<f64, InvalidCbor> {
        Ok(match self.peek()? {
            #[expect(clippy::cast_precision_loss, reason = "a number of SenML is a double (RFC 8428 §6)")]
            Major::Unsigned | Major::Negative => self.integer()? as f64,
            Major::Tag => self.fraction()?,
            _ => self.float()?,
        })
    }

    /// The tag with that number; what it is about follows.
    pub fn tag(&mut self, expected: u64) -> Result<(), InvalidCbor> {
        match self.argument(Major::Tag, "a tag")? {
            found if found == expected => Ok(()),
            found => Err(InvalidCbor::WrongTag { found, expected }),
        }
    }

    /// Null.
    pub fn null(&mut self) -> Result<(), InvalidCbor> {
        match self.take(1)? {
            [0xf6] => Ok(()),
            other => Err(wrong(other, "null")),
        }
    }

    /// What `read` gives, and the very bytes that it passed over: of what is hashed or signed as it came.
    pub fn raw<T, E>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<(&'a [u8], T), E> {
        let before = self.rest;
        let value = read(self)?;
        let length = before.len().saturating_sub(self.rest.len());
        Ok((before.get(..length).unwrap_or_default(), value))
    }

    /// True or false.
    pub fn boolean(&mut self) -> Result<bool, InvalidCbor> {
        match self.take(1)? {
            [0xf4] => Ok(false),
            [0xf5] => Ok(true),
            other => Err(wrong(other, "a boolean")),
        }
    }

    /// A byte string of at most `max` bytes.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], InvalidCbor> {
        self.string(Major::Bytes, "a byte string", max)
    }

    /// A byte string of exactly `N` bytes.
    pub fn array_of_bytes<const N: usize>(&mut self) -> Result<[u8; N], InvalidCbor> {
        let found = self.argument(Major::Bytes, "a byte string")?;
        if usize::try_from(found) != Ok(N) {
            return Err(InvalidCbor::WrongSize { found, expected: N });
        }
        self.take(N)?.try_into().map_err(|_| InvalidCbor::Truncated)
    }

    /// A text string of at most `max` bytes.
    pub fn text(&mut self, max: usize) -> Result<&'a str, InvalidCbor> {
        std::str::from_utf8(self.string(Major::Text, "a text string", max)?).map_err(|_| InvalidCbor::NotUtf8)
    }

    /// The head of an array of at most `max` elements.
    pub fn array(&mut self, max: usize) -> Result<Items, InvalidCbor> {
        self.items(Major::Array, "an array", max)
    }

    /// The head of an array of exactly `expected` elements.
    pub fn tuple(&mut self, expected: usize) -> Result<(), InvalidCbor> {
        match self.argument(Major::Array, "an array")? {
            found if usize::try_from(found) == Ok(expected) => Ok(()),
            found => Err(InvalidCbor::WrongSize { found, expected }),
        }
    }

    /// The head of a map of at most `max` pairs.
    pub fn map(&mut self, max: usize) -> Result<Items, InvalidCbor> {
        self.items(Major::Map, "a map", max)
    }

    /// The head of a map of at most `max` pairs, whose keys are unsigned and ascend.
    pub fn fields(&mut self, max: usize) -> Result<Fields, InvalidCbor> {
        match self.argument(Major::Map, "a map")? {
            found if usize::try_from(found).is_ok_and(|count| count <= max) => {
                Ok(Fields { left: found, last: None, pending: None })
            }
            found => Err(InvalidCbor::TooMany { found, max }),
        }
    }

    /// Whether `items` has one more; the caller then reads it (of a map: its key and its value).
    pub fn more(&mut self, items: &mut Items) -> Result<bool, InvalidCbor> {
        match &mut items.left {
            Left::Exactly(0) => Ok(false),
            Left::Exactly(left) => {
                *left -= 1;
                Ok(true)
            }
            Left::UntilBreak { .. } if self.rest.first() == Some(&BREAK) => {
                self.take(1)?;
                items.left = Left::Exactly(0);
                Ok(false)
            }
            Left::UntilBreak { seen, max } if *seen < *max => {
                *seen += 1;
                Ok(true)
            }
            Left::UntilBreak { max, .. } => Err(InvalidCbor::TooMany { found: *max as u64 + 1, max: *max }),
        }
    }

    /// Passes over one item, whatever it is, nested at most 8 deep.
    pub fn skip(&mut self) -> Result<(), InvalidCbor> {
        self.skip_within(CBOR_DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), InvalidCbor> {
        let depth = depth.checked_sub(1).ok_or(InvalidCbor::TooDeep)?;
        let anything = usize::MAX;
        match self.peek()? {
            Major::Unsigned | Major::Negative => self.integer().map(drop),
            Major::Bytes => self.bytes(anything).map(drop),
            Major::Text => self.text(anything).map(drop),
            Major::Array => {
                let mut items = self.array(anything)?;
                while self.more(&mut items)? {
                    self.skip_within(depth)?;
                }
                Ok(())
            }
            Major::Map => {
                let mut items = self.map(anything)?;
                while self.more(&mut items)? {
                    self.skip_within(depth)?;
                    self.skip_within(depth)?;
                }
                Ok(())
            }
            Major::Tag => {
                self.argument(Major::Tag, "a tag")?;
                self.skip_within(depth)
            }
            Major::Simple => self.skip_simple(),
        }
    }

    /// A simple value or a float (RFC 8949 §3.3), whatever it means.
    fn skip_simple(&mut self) -> Result<(), InvalidCbor> {
        match self.take(1)? {
            [0xe0..=0xf7] => Ok(()),
            &[head @ 0xf8] => match self.take(1)? {
                // Two-byte forms of simple values below 32 are not well-formed.
                [32..=255] => Ok(()),
                _ => Err(InvalidCbor::Reserved { head }),
            },
            [0xf9] => self.take(2).map(drop),
            [0xfa] => self.take(4).map(drop),
            [0xfb] => self.take(8).map(drop),
            &[head] => Err(InvalidCbor::Reserved { head }),
            _ => Err(InvalidCbor::Truncated),
        }
    }

    fn float(&mut self) -> Result<f64, InvalidCbor> {
        match self.take(1)? {
            [0xf9] => Ok(half_to_f64(u16::from_be_bytes(self.fixed()?))),
            [0xfa] => Ok(f64::from(f32::from_be_bytes(self.fixed()?))),
            [0xfb] => Ok(f64::from_be_bytes(self.fixed()?)),
            other => Err(wrong(other, "a number")),
        }
    }

    fn fraction(&mut self) -> Result<f64, InvalidCbor> {
        if self.argument(Major::Tag, "a number")? != TAG_DECIMAL_FRACTION {
            return Err(InvalidCbor::WrongType { expected: "a number", found: Major::Tag });
        }
        self.tuple(2)?;
        let exponent = self.integer()?;
        let mantissa = self.integer()?;
        // An exponent outside i64 is outside a double by far, so the nearest is as good.
        let saturated = i64::try_from(exponent).unwrap_or(if exponent < 0 { i64::MIN } else { i64::MAX });
        Ok(decimal_fraction(mantissa, saturated))
    }

    fn string(&mut self, major: Major, expected: &'static str, max: usize) -> Result<&'a [u8], InvalidCbor> {
        let found = self.argument(major, expected)?;
        match usize::try_from(found) {
            Ok(length) if length <= max => self.take(length),
            _ => Err(InvalidCbor::TooLong { found, max }),
        }
    }

    fn items(&mut self, major: Major, expected: &'static str, max: usize) -> Result<Items, InvalidCbor> {
        match self.head(major, expected)? {
            Some(found) if usize::try_from(found).is_ok_and(|count| count <= max) => {
                Ok(Items { left: Left::Exactly(found) })
            }
            Some(found) => Err(InvalidCbor::TooMany { found, max }),
            None if self.tolerant => Ok(Items { left: Left::UntilBreak { seen: 0, max } }),
            None => Err(InvalidCbor::Indefinite),
        }
    }

    /// The number or length of an item of that type.
    fn argument(&mut self, major: Major, expected: &'static str) -> Result<u64, InvalidCbor> {
        self.head(major, expected)?.ok_or(InvalidCbor::Indefinite)
    }

    /// The number or length of an item of that type; none when its length is indefinite.
    fn head(&mut self, major: Major, expected: &'static str) -> Result<Option<u64>, InvalidCbor> {
        let found = self.peek()?;
        if found != major {
            return Err(InvalidCbor::WrongType { expected, found });
        }
        let [first] = self.fixed()?;
        let (value, least) = match first & 0x1f {
            small @ 0..=23 => (u64::from(small), 0),
            24 => (u64::from(u8::from_be_bytes(self.fixed()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.fixed()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.fixed()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.fixed()?), 1 << 32),
            31 if matches!(major, Major::Bytes | Major::Text | Major::Array | Major::Map) => {
                return Ok(None);
            }
            _ => return Err(InvalidCbor::Reserved { head: first }),
        };
        if value < least && !self.tolerant {
            return Err(InvalidCbor::NotShortest);
        }
        Ok(Some(value))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], InvalidCbor> {
        self.take(N)?.try_into().map_err(|_| InvalidCbor::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidCbor> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(InvalidCbor::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn wrong(found: &[u8], expected: &'static str) -> InvalidCbor {
    match found.first() {
        Some(&first) => InvalidCbor::WrongType { expected, found: Major::of(first) },
        None => InvalidCbor::Truncated,
    }
}

/// The pairs of a map whose keys are unsigned and ascend; the caller asks for its keys in that order.
#[derive(Debug)]
pub struct Fields {
    left: u64,
    last: Option<u64>,
    pending: Option<u64>,
}

impl Fields {
    /// The key that was read last: where a fault was, when reading its value failed.
    pub fn last_key(&self) -> Option<u64> {
        self.last
    }

    /// Expects `key` next; the caller then reads its value.
    pub fn require(&mut self, reader: &mut Reader<'_>, key: u64) -> Result<(), InvalidCbor> {
        if self.optional(reader, key)? { Ok(()) } else { Err(InvalidCbor::MissingKey { key }) }
    }

    /// Whether `key` comes next; if so the caller then reads its value.
    pub fn optional(&mut self, reader: &mut Reader<'_>, key: u64) -> Result<bool, InvalidCbor> {
        let Some(found) = self.next_key(reader)? else { return Ok(false) };
        if found < key {
            return Err(InvalidCbor::UnknownKey { key: found });
        }
        self.pending = (found > key).then_some(found);
        Ok(found == key)
    }

    /// Expects no more keys.
    pub fn end(&mut self, reader: &mut Reader<'_>) -> Result<(), InvalidCbor> {
        match self.next_key(reader)? {
            None => Ok(()),
            Some(key) => Err(InvalidCbor::UnknownKey { key }),
        }
    }

    fn next_key(&mut self, reader: &mut Reader<'_>) -> Result<Option<u64>, InvalidCbor> {
        if let Some(key) = self.pending {
            return Ok(Some(key));
        }
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let key = reader.unsigned(u64::MAX)?;
        if self.last.is_some_and(|last| key <= last) {
            return Err(InvalidCbor::KeyOrder { key });
        }
        self.left = left;
        self.last = Some(key);
        Ok(Some(key))
    }
}
