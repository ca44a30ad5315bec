//! Maps with ascending keys, read one after the other, and why bytes are none.

use crate::{
    InvalidId,
    cbor::{Fields, InvalidCbor, Reader},
    limits::{UPDATE_KEYS_MAX, UPDATE_MESSAGE_BYTES_MAX},
};

/// Why bytes are no message of an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpdate {
    /// Longer than any may be.
    #[error("is longer than {max} bytes")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// Not the CBOR that it should be.
    #[error("{cause}{}", after(*.key))]
    Cbor {
        /// The last key that was read, when there was one: the fault is in its value or in what follows.
        key: Option<u64>,
        /// What is wrong.
        cause: InvalidCbor,
    },
    /// A kind of message that this end does not know.
    #[error("has the kind {0}, which this end does not know")]
    UnknownKind(u64),
    /// A name that is no id.
    #[error("has an id (key {key}) that {cause}")]
    Id {
        /// The key.
        key: u64,
        /// What is wrong.
        cause: InvalidId,
    },
    /// A value that this place cannot have.
    #[error("has in key {key} {what}")]
    Value {
        /// The key.
        key: u64,
        /// What is wrong.
        what: &'static str,
    },
}

fn after(key: Option<u64>) -> String {
    key.map(|key| format!(" (key {key})")).unwrap_or_default()
}

impl From<InvalidCbor> for InvalidUpdate {
    fn from(cause: InvalidCbor) -> Self {
        Self::Cbor { key: None, cause }
    }
}

/// A map that is being read.
pub(super) struct Map<'a> {
    pub reader: Reader<'a>,
    fields: Fields,
}

/// Reads one map, of all the bytes.
pub(super) fn decode<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Map<'_>) -> Result<T, InvalidUpdate>,
) -> Result<T, InvalidUpdate> {
    if bytes.len() > UPDATE_MESSAGE_BYTES_MAX {
        return Err(InvalidUpdate::TooLong { max: UPDATE_MESSAGE_BYTES_MAX });
    }
    let mut reader = Reader::strict(bytes);
    let fields = reader.fields(UPDATE_KEYS_MAX)?;
    let mut map = Map { reader, fields };
    let whole = read(&mut map).and_then(|value| {
        map.fields.end(&mut map.reader)?;
        Ok(value)
    });
    match whole {
        Ok(value) => {
            map.reader.finish()?;
            Ok(value)
        }
        Err(InvalidUpdate::Cbor { cause, .. }) => {
            Err(InvalidUpdate::Cbor { key: map.fields.last_key(), cause })
        }
        Err(other) => Err(other),
    }
}

impl Map<'_> {
    pub fn require(&mut self, key: u64) -> Result<(), InvalidUpdate> {
        Ok(self.fields.require(&mut self.reader, key)?)
    }

    pub fn has(&mut self, key: u64) -> Result<bool, InvalidUpdate> {
        Ok(self.fields.optional(&mut self.reader, key)?)
    }

    pub fn unsigned(&mut self, key: u64) -> Result<u64, InvalidUpdate> {
        self.require(key)?;
        Ok(self.reader.unsigned(u64::MAX)?)
    }

    pub fn number(&mut self, key: u64) -> Result<u32, InvalidUpdate> {
        self.require(key)?;
        Ok(u32::try_from(self.reader.unsigned(u32::MAX.into())?).unwrap_or(u32::MAX))
    }

    pub fn small(&mut self, key: u64) -> Result<u8, InvalidUpdate> {
        self.require(key)?;
        self.small_value()
    }

    pub fn small_value(&mut self) -> Result<u8, InvalidUpdate> {
        Ok(u8::try_from(self.reader.unsigned(u8::MAX.into())?).unwrap_or(u8::MAX))
    }

    pub fn exactly<const N: usize>(&mut self, key: u64) -> Result<[u8; N], InvalidUpdate> {
        self.require(key)?;
        Ok(self.reader.array_of_bytes()?)
    }

    pub fn exactly_if<const N: usize>(&mut self, key: u64) -> Result<Option<[u8; N]>, InvalidUpdate> {
        Ok(if self.has(key)? { Some(self.reader.array_of_bytes()?) } else { None })
    }

    pub fn bytes(&mut self, key: u64, max: usize) -> Result<Vec<u8>, InvalidUpdate> {
        self.require(key)?;
        Ok(self.reader.bytes(max)?.to_vec())
    }

    /// Text that people read: without control characters, which a terminal would obey.
    pub fn text(&mut self, key: u64, max: usize) -> Result<String, InvalidUpdate> {
        self.require(key)?;
        self.text_value(key, max)
    }

    pub fn text_value(&mut self, key: u64, max: usize) -> Result<String, InvalidUpdate> {
        let text = self.reader.text(max)?;
        if text.chars().any(char::is_control) {
            return Err(InvalidUpdate::Value { key, what: "text with a control character" });
        }
        Ok(text.to_owned())
    }

    pub fn id<T: std::str::FromStr<Err = InvalidId>>(&mut self, key: u64) -> Result<T, InvalidUpdate> {
        self.require(key)?;
        let text = self.reader.text(crate::limits::ID_BYTES_MAX)?;
        text.parse().map_err(|cause| InvalidUpdate::Id { key, cause })
    }
}
