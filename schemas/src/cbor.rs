//! A small reader and writer of CBOR (RFC 8949) that our formats are written with. Not a general decoder: it builds no
//! tree, and the caller says for every item what it expects and how large it may be.
//!
//! [`Reader::strict`] accepts one encoding of each item, so that a frame has one form: definite lengths, and heads no
//! longer than needed. [`Reader::tolerant`] also accepts longer heads and arrays and maps of indefinite length, for
//! formats of others (SenML). Text and bytes are borrowed from the input; nothing is allocated. The writer is
//! `cbor4ii::core`; the reader has its own heads because that crate accepts every form and its errors name no cause.

mod number;
mod reader;
mod writer;

pub use number::{decimal_fraction, half_to_f64};
pub use reader::{Fields, Items, Reader};
pub use writer::Writer;

use crate::limits::CBOR_DEPTH_MAX;

/// The major type of an item (RFC 8949 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Major {
    /// An integer from 0.
    Unsigned = 0,
    /// An integer below 0.
    Negative = 1,
    /// A byte string.
    Bytes = 2,
    /// A text string.
    Text = 3,
    /// An array.
    Array = 4,
    /// A map.
    Map = 5,
    /// A tag, before the item it is about.
    Tag = 6,
    /// A simple value or a floating-point number.
    Simple = 7,
}

impl Major {
    /// The type of an item that begins with this byte.
    pub fn of(first: u8) -> Self {
        match first >> 5 {
            0 => Self::Unsigned,
            1 => Self::Negative,
            2 => Self::Bytes,
            3 => Self::Text,
            4 => Self::Array,
            5 => Self::Map,
            6 => Self::Tag,
            _ => Self::Simple,
        }
    }
}

/// Why bytes are not the CBOR that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCbor {
    /// The input ends within an item.
    #[error("ends within an item")]
    Truncated,
    /// The input goes on after its last item.
    #[error("has {bytes} bytes after its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A head that RFC 8949 §3 reserves.
    #[error("has the reserved head {head:#04x}")]
    Reserved {
        /// The first byte of the item.
        head: u8,
    },
    /// An indefinite length where there has to be a number.
    #[error("has an item of indefinite length")]
    Indefinite,
    /// A head that is longer than needed (RFC 8949 §4.2.1).
    #[error("has an integer or length that is not in its shortest form")]
    NotShortest,
    /// Another type than expected.
    #[error("has {found:?} where {expected} is expected")]
    WrongType {
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: Major,
    },
    /// Another tag than expected.
    #[error("has the tag {found} where {expected} is expected")]
    WrongTag {
        /// What is there.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// More bytes than the bound for this place.
    #[error("has a string of {found} bytes where at most {max} are allowed")]
    TooLong {
        /// Its length, in bytes.
        found: u64,
        /// The bound, in bytes.
        max: usize,
    },
    /// More elements than the bound for this place.
    #[error("has {found} elements where at most {max} are allowed")]
    TooMany {
        /// How many.
        found: u64,
        /// The bound.
        max: usize,
    },
    /// A fixed number of bytes or elements was expected.
    #[error("has {found} bytes or elements where exactly {expected} are expected")]
    WrongSize {
        /// How many there are.
        found: u64,
        /// How many there have to be.
        expected: usize,
    },
    /// A number above its bound.
    #[error("has the number {found} where at most {max} is allowed")]
    TooLarge {
        /// The number.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Nested deeper than our bound.
    #[error("is nested deeper than {CBOR_DEPTH_MAX}")]
    TooDeep,
    /// Text that is not UTF-8.
    #[error("has text that is not UTF-8")]
    NotUtf8,
    /// Not a number, or infinite.
    #[error("has a number that is not finite")]
    NotFinite,
    /// A map key that is not above the one before it: repeated, or out of order.
    #[error("has the key {key} twice or out of order")]
    KeyOrder {
        /// The key.
        key: u64,
    },
    /// A key that this map does not have.
    #[error("has the unknown key {key}")]
    UnknownKey {
        /// The key.
        key: u64,
    },
    /// A key that this map must have.
    #[error("lacks the key {key}")]
    MissingKey {
        /// The key.
        key: u64,
    },
}

#[cfg(test)]
mod tests;
