//! Names of bytes: SHA-256, by which everything here is found, and what clients of hawkBit check besides.

use std::{fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::Digest as _;
use serde::{Deserialize, Serialize};

pub use muster_schemas::firmware::Digest;

/// A text that is no such sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not {digits} hexadecimal digits")]
pub struct InvalidSum {
    digits: usize,
}

macro_rules! sum {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidSum;
            fn from_str(text: &str) -> Result<Self, InvalidSum> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
                let whole = bytes.and_then(|bytes| bytes.try_into().ok());
                whole.map(Self).ok_or(InvalidSum { digits: $bytes * 2 })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidSum;
            fn try_from(text: String) -> Result<Self, InvalidSum> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(sum: $name) -> Self {
                sum.to_string()
            }
        }
    };
}

sum!(
    /// A SHA-1. swupdate checks it after each download and knows no other; nothing of ours rests on it.
    Sha1,
    20
);
sum!(
    /// An MD5, which clients of hawkBit may fetch beside a file; nothing of ours rests on it.
    Md5,
    16
);
sum!(
    /// What a file of the store is called: random, so that neither a folder's listing nor a backup tells what a
    /// tenant has.
    BlobName,
    16
);

/// What there is to know of bytes without having them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// How many there are.
    pub size: u64,
    /// What they are found by.
    pub digest: Digest,
    /// For clients of hawkBit.
    pub sha1: Sha1,
    /// For clients of hawkBit.
    pub md5: Md5,
}

/// Sums up bytes as they pass.
pub struct Summing {
    size: u64,
    sha256: aws_lc_rs::digest::Context,
    sha1: aws_lc_rs::digest::Context,
    md5: md5::Md5,
}

impl Summing {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self {
            size: 0,
            sha256: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256),
            sha1: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY),
            md5: md5::Md5::new(),
        }
    }

    /// And these.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.sha256.update(bytes);
        self.sha1.update(bytes);
        self.md5.update(bytes);
    }

    /// How many so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// That was all.
    pub fn finish(self) -> Sums {
        Sums {
            size: self.size,
            digest: Digest(fixed(self.sha256.finish().as_ref())),
            sha1: Sha1(fixed(self.sha1.finish().as_ref())),
            md5: Md5(self.md5.finalize().into()),
        }
    }
}

impl Default for Summing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Summing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summing").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The SHA-256 of bytes that are all here.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(fixed(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref()))
}

fn fixed<const N: usize>(sum: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(sum).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_sums_are_those_of_the_standards() {
        let mut summing = Summing::new();
        summing.update(b"a");
        summing.update(b"bc");
        let sums = summing.finish();
        assert_eq!(sums.size, 3);
        assert_eq!(
            sums.digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sums.sha1.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sums.md5.to_string(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(digest_of(b"abc"), sums.digest);
        assert_eq!("A9993E364706816ABA3E25717850C26C9CD0D89D".parse(), Ok(sums.sha1));
        assert!("a999".parse::<Sha1>().is_err());
    }
}
