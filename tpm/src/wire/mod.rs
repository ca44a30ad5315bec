//! The three TPM structures that travel from a device to a hub, parsed strictly: `TPMT_PUBLIC`, `TPMS_ATTEST` and
//! `TPMT_SIGNATURE` (TPM 2.0 Library, Part 2). Every parser refuses trailing bytes, every length has a bound, and
//! what we have no use for is refused by name instead of skipped.
//!
//! Parsed values are for reading. Names and signatures are computed over the **raw bytes** that arrived, never over a
//! re-marshalled value; `marshal` exists for soft keys and tests. Not for talking to a TPM: that is `device`.

mod attest;
mod marshal;
mod public;
mod reader;
mod signature;

pub use attest::{Attested, ClockInfo, PcrBank, TpmsAttest};
pub use marshal::Writer;
pub use public::{Attributes, Curve, KeyScheme, PublicKey, Symmetric, TpmtPublic};
pub use reader::{MalformedStructure, Reader};
pub use signature::TpmtSignature;

/// A hash algorithm (`TPM_ALG_ID`) that this crate computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256, `0x000b`.
    Sha256,
    /// SHA-384, `0x000c`.
    Sha384,
}

impl Hash {
    /// The hash with this algorithm id.
    ///
    /// # Errors
    /// `Unsupported` for any other algorithm.
    pub fn from_id(id: u16) -> Result<Self, MalformedStructure> {
        match id {
            0x000b => Ok(Self::Sha256),
            0x000c => Ok(Self::Sha384),
            _ => Err(MalformedStructure::Unsupported { field: "hash algorithm", value: u32::from(id) }),
        }
    }

    /// The algorithm id.
    pub fn id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    /// Length of a digest, in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}
