//! Digests, numbers and ids.

use std::{fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not the hexadecimal digits that it should be.
    #[error("is not {digits} hexadecimal digits")]
    NotHex {
        /// How many there should be.
        digits: usize,
    },
    /// Not a number in its range.
    #[error("is not a decimal number from {min} to {max}")]
    NotInRange {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

/// A SHA-256: of an image, of what is transferred for it, or of a manifest. As text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

as_text!(Digest);

impl Digest {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Digest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        hex(text).map(Self).ok_or(InvalidName::NotHex { digits: 64 })
    }
}

/// A UUID (RFC 9562), as SUIT names vendors, classes and devices. As text `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uuid(pub [u8; 16]);

as_text!(Uuid);

impl Uuid {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = InvalidName::NotHex { digits: 32 };
        let hyphens = [8, 13, 18, 23].map(|place| text.as_bytes().get(place) == Some(&b'-'));
        if text.len() != 32 && (text.len() != 36 || hyphens != [true; 4]) {
            return Err(invalid);
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        hex(&digits).map(Self).ok_or(invalid)
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// What a device is to do for one campaign: 1 to 2^31 - 1, since clients of DDI read it into a signed number of 32
/// bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ExecutionId(u32);

impl ExecutionId {
    /// The least.
    pub const MIN: Self = Self(1);
    /// The most.
    pub const MAX: Self = Self(i32::MAX.unsigned_abs());

    /// None for 0 and for what a signed number of 32 bits does not hold.
    pub fn new(number: u32) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&number).then_some(Self(number))
    }

    /// As a number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<ExecutionId> for u32 {
    fn from(id: ExecutionId) -> u32 {
        id.0
    }
}

impl TryFrom<u32> for ExecutionId {
    type Error = InvalidName;
    fn try_from(number: u32) -> Result<Self, InvalidName> {
        Self::new(number).ok_or(InvalidName::NotInRange { min: 1, max: Self::MAX.0.into() })
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecutionId({self})")
    }
}

impl FromStr for ExecutionId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        decimal(text).and_then(|number| u32::try_from(number).ok()).unwrap_or_default().try_into()
    }
}

/// The sequence number of a manifest: grows with each of a class, and a device installs none that is not above its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Sequence {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        decimal(text).map(Self).ok_or(InvalidName::NotInRange { min: 0, max: u64::MAX })
    }
}

/// Digits and nothing else, no zero before another: one number has one text.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && shortest)
}

/// How many bytes a nonce has.
pub const NONCE_BYTES: usize = 16;

/// Random bytes of a device, echoed under the hub's signature: what has them was made after they were sent.
pub type Nonce = [u8; NONCE_BYTES];
