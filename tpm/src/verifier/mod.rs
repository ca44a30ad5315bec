//! The hub's side of `muster-enroll/1`: the checks on what a device claims and what its TPM states, in a fixed order,
//! the first failure ending it. Pure: no clock, no session table, no registry. The hub adds what needs those: rate
//! limits, one use per session, deny-lists, ownership, PCR policy.
//!
//! ```text
//! Begin ──check_begin──▶ Candidate ──challenge──▶ Credential
//!                            │
//! Finish ───────────────check_finish──▶ Evidence
//! ```

mod begin;
mod event_log;
mod finish;
mod renewal;
mod session;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod authorities;

use std::fmt;

use data_encoding::{Encoding, Specification};
use muster_schemas::{DeviceId, enrolment::RefusalCode};

pub use begin::{Candidate, challenge, check_begin, check_recover};
pub use event_log::{quoted_only, replay};
pub use finish::{Evidence, Expected, check_finish};
pub use renewal::{RenewCandidate, RenewExpected, check_renew_begin, check_renew_finish};
pub use session::{SessionExpected, check_session};

use crate::{name::sha256, spki::spki_der, wire::TpmtPublic};

/// Characters of a device id.
const DEVICE_ID_CHARS: usize = 20;

/// Why a device is refused: the code that goes on the wire, and what was found, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Rejection {
    /// The code of `muster-enroll/1`.
    pub code: RefusalCode,
    /// What was found and why it is refused.
    pub detail: String,
}

impl Rejection {
    /// A refusal with its reason.
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accept the evidence: {} ({})", self.detail, self.code.as_str())
    }
}

/// SHA-256 of an endorsement key's SubjectPublicKeyInfo in DER: names a chip, survives clearing and reinstalling.
pub fn ek_hash(ek_public: &TpmtPublic) -> [u8; 32] {
    // A parsed public area always has one: the parser refuses coordinates longer than their curve's.
    sha256(&[&spki_der(ek_public).unwrap_or_default()])
}

/// The device id of a chip: the first 20 characters of its endorsement key's hash in lower-case base32 (RFC 4648).
///
/// # Panics
/// Never: base32 in lower case is a label.
pub fn device_id(ek_hash: &[u8; 32]) -> DeviceId {
    let mut text = lower_base32().encode(ek_hash);
    text.truncate(DEVICE_ID_CHARS);
    match text.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("lower-case base32 is a label"),
    }
}

/// Whether this could be the id of a chip: nobody else is to be called so.
pub fn is_chip_id(id: &DeviceId) -> bool {
    let id = id.as_str();
    id.len() == DEVICE_ID_CHARS && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

fn lower_base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    match specification.encoding() {
        Ok(encoding) => encoding,
        Err(_) => unreachable!("32 distinct symbols are an encoding"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_twenty_base32_characters() {
        assert_eq!(device_id(&[0; 32]).as_str(), "aaaaaaaaaaaaaaaaaaaa");
        // RFC 4648 §10: BASE32("foobar") = "MZXW6YTBOI".
        let mut hash = [0; 32];
        hash[..6].copy_from_slice(b"foobar");
        assert_eq!(device_id(&hash).as_str(), "mzxw6ytboiaaaaaaaaaa");
    }
}
