//! Renewal: over mutual TLS with the current certificate, and a fresh quote by the attestation key in the registry.
//! No credential is needed: the key's name was proved at enrolment and does not change.

use muster_schemas::enrolment::{RenewBegin, RenewFinish};

use super::{
    Evidence, Rejection,
    begin::{check_attestation_key, check_identity_key, check_signing_request, key_name, parse_public},
    finish::Statements,
};
use crate::{
    binding::{csr_hash, qualifying_data_of_hash},
    wire::TpmtPublic,
};

/// A device that asks for its next certificate, for the same identity key or for the one in its other slot.
#[derive(Debug, Clone)]
pub struct RenewCandidate {
    /// Name of the identity key that the next certificate will be for.
    pub ldevid_name: Vec<u8>,
    /// Its point, uncompressed.
    pub ldevid_sec1: [u8; 65],
    /// SHA-256 of the signing request.
    pub csr_hash: [u8; 32],
}

/// What the hub remembers of its challenge, and what it knows of the connection.
#[derive(Debug, Clone)]
pub struct RenewExpected {
    /// The challenge's nonce.
    pub nonce: [u8; 32],
    /// TLS exporter of the connection that the finish came on.
    pub exporter: [u8; 32],
    /// Registers asked for: SHA-256 bank, ascending, static ones only.
    pub pcr_selection: Vec<u8>,
}

/// Checks the identity key and the signing request.
///
/// # Errors
/// The first check that fails.
pub fn check_renew_begin(begin: &RenewBegin) -> Result<RenewCandidate, Rejection> {
    let ldevid_public = parse_public("identity key", &begin.ldevid_public)?;
    let ldevid_sec1 = check_identity_key(&ldevid_public)?;
    check_signing_request(&begin.csr, &ldevid_sec1)?;
    Ok(RenewCandidate {
        ldevid_name: key_name("identity key", &begin.ldevid_public)?,
        ldevid_sec1,
        csr_hash: csr_hash(&begin.csr),
    })
}

/// Checks certification, quote, registers and event log against the registry's attestation key `ak_public`.
///
/// # Errors
/// The first check that fails.
pub fn check_renew_finish(
    candidate: &RenewCandidate,
    ak_public: &TpmtPublic,
    expected: &RenewExpected,
    finish: &RenewFinish,
) -> Result<Evidence, Rejection> {
    check_attestation_key(ak_public)?;
    Statements {
        ak_public,
        ldevid_name: &candidate.ldevid_name,
        qualifying_data: qualifying_data_of_hash(&expected.nonce, &expected.exporter, &candidate.csr_hash),
        pcr_selection: &expected.pcr_selection,
        certify: &finish.certify,
        quote: &finish.quote,
        pcrs: &finish.pcrs,
        event_log: &finish.event_log,
    }
    .check()
}
