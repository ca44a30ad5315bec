//! `TPMT_SIGNATURE` (Part 2, 11.3.4): ECDSA only, for that is what our attestation keys are fixed to.

use super::{Hash, MalformedStructure, Reader, Writer};
use crate::{
    limits::{COORDINATE_BYTES_MAX, SIGNATURE_BYTES_MAX},
    spki::ecdsa_der,
    wire::public::padded,
};

const ALG_ECDSA: u16 = 0x0018;

/// An ECDSA signature as a TPM writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmtSignature {
    /// The hash that was signed.
    pub hash: Hash,
    /// Big-endian r; some TPMs leave out leading zeros.
    pub r: Vec<u8>,
    /// Big-endian s.
    pub s: Vec<u8>,
}

impl TpmtSignature {
    /// Parses a whole signature.
    ///
    /// # Errors
    /// `MalformedStructure`, also for any other scheme and for trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedStructure> {
        let mut reader = Reader::new(bytes, "signature", SIGNATURE_BYTES_MAX)?;
        let algorithm = reader.u16()?;
        if algorithm != ALG_ECDSA {
            let value = u32::from(algorithm);
            return Err(MalformedStructure::Unsupported { field: "signature scheme", value });
        }
        let hash = Hash::from_id(reader.u16()?)?;
        let r = reader.sized("r", COORDINATE_BYTES_MAX)?.to_vec();
        let s = reader.sized("s", COORDINATE_BYTES_MAX)?.to_vec();
        reader.finish()?;
        Ok(Self { hash, r, s })
    }

    /// The structure's bytes.
    pub fn marshal(&self) -> Vec<u8> {
        Writer::new().u16(ALG_ECDSA).u16(self.hash.id()).sized(&self.r).sized(&self.s).take()
    }

    /// r and s, 32 bytes each, as P-256 verifiers take them; none when either is longer.
    pub fn p256_fixed(&self) -> Option<[u8; 64]> {
        let mut fixed = padded(&self.r, 32)?;
        fixed.extend(padded(&self.s, 32)?);
        fixed.try_into().ok()
    }

    /// The signature in DER (`Ecdsa-Sig-Value`), as TLS and X.509 take it.
    pub fn der(&self) -> Vec<u8> {
        ecdsa_der(&self.r, &self.s)
    }
}
