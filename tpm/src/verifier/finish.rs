//! What the TPM proves: that it opened the credential, that the identity key is inside, and how the device booted.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use muster_schemas::enrolment::{Attestation, Event, Finish, RefusalCode};
use subtle::ConstantTimeEq;

use super::{Candidate, Rejection, event_log::replay};
use crate::{
    binding::{activation_proof, qualifying_data_of_hash},
    limits::{PCR_COUNT, PCR_DYNAMIC_FIRST, PCR_DYNAMIC_LAST},
    name::sha256,
    wire::{Attested, Hash, PcrBank, TpmsAttest, TpmtPublic, TpmtSignature},
};

/// What the hub remembers of its challenge, and what it knows of the connection.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The challenge's nonce.
    pub nonce: [u8; 32],
    /// TLS exporter of the connection that the finish came on.
    pub exporter: [u8; 32],
    /// The secret inside the credential.
    pub secret: [u8; 32],
    /// Registers asked for: SHA-256 bank, ascending, static ones only.
    pub pcr_selection: Vec<u8>,
}

/// What a TPM has proved about its device, for policy and registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Resets of the TPM: one more for every boot.
    pub reset_count: u32,
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// The TPM's clock, in milliseconds of power.
    pub clock_ms: u64,
    /// Whether that clock is certain; false after an unclean power cut. Log it, do not refuse it.
    pub safe: bool,
    /// The vendor's firmware version.
    pub firmware_version: u64,
    /// The quoted registers.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
}

/// Checks the proof, in this order: activated secret, certification of the identity key, quote, registers, event log.
/// That the session exists, is fresh, was not used before and belongs to this connection is the caller's to check.
///
/// # Errors
/// The first check that fails.
pub fn check_finish(
    candidate: &Candidate,
    expected: &Expected,
    finish: &Finish,
) -> Result<Evidence, Rejection> {
    let proof = activation_proof(&expected.secret, &expected.nonce);
    if !bool::from(proof.ct_eq(&finish.proof)) {
        let detail = "the device could not open the credential: its endorsement key and attestation key are not \
                      in one TPM";
        return Err(Rejection::new(RefusalCode::WrongProof, detail));
    }
    Statements {
        ak_public: &candidate.ak_public,
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

/// The two statements of one TPM and what they are held against; first enrolment and renewal share it.
pub(super) struct Statements<'a> {
    pub(super) ak_public: &'a TpmtPublic,
    pub(super) ldevid_name: &'a [u8],
    pub(super) qualifying_data: [u8; 32],
    pub(super) pcr_selection: &'a [u8],
    pub(super) certify: &'a Attestation,
    pub(super) quote: &'a Attestation,
    pub(super) pcrs: &'a [[u8; 32]],
    pub(super) event_log: &'a [Event],
}

impl Statements<'_> {
    pub(super) fn check(&self) -> Result<Evidence, Rejection> {
        self.check_certify()?;
        self.check_boot()
    }

    /// Quote, registers and event log: how the device booted.
    pub(super) fn check_boot(&self) -> Result<Evidence, Rejection> {
        let quote = self.check_quote()?;
        let pcrs: BTreeMap<_, _> =
            self.pcr_selection.iter().copied().zip(self.pcrs.iter().copied()).collect();
        let explained = replay(self.event_log, self.pcr_selection)?;
        if explained.iter().any(|(register, value)| pcrs.get(register) != Some(value)) {
            let detail =
                "the event log does not lead to the quoted registers: an event is missing, added or changed";
            return Err(Rejection::new(RefusalCode::EventLogMismatch, detail));
        }
        Ok(Evidence {
            reset_count: quote.clock.reset_count,
            restart_count: quote.clock.restart_count,
            clock_ms: quote.clock.clock_ms,
            safe: quote.clock.safe,
            firmware_version: quote.firmware_version,
            pcrs,
        })
    }

    fn check_certify(&self) -> Result<(), Rejection> {
        let statement = self.signed(RefusalCode::BadCertify, "certification", self.certify)?;
        let Attested::Certify { name, .. } = &statement.attested else {
            return Err(Rejection::new(
                RefusalCode::BadCertify,
                "the certification is another kind of statement",
            ));
        };
        if name != self.ldevid_name {
            let detail = "the TPM certified another key than the identity key";
            return Err(Rejection::new(RefusalCode::BadCertify, detail));
        }
        Ok(())
    }

    fn check_quote(&self) -> Result<TpmsAttest, Rejection> {
        check_selection(self.pcr_selection)?;
        let statement = self.signed(RefusalCode::BadQuote, "quote", self.quote)?;
        let Attested::Quote { selection, digest } = &statement.attested else {
            return Err(Rejection::new(RefusalCode::BadQuote, "the quote is another kind of statement"));
        };
        let asked = PcrBank { hash: Hash::Sha256.id(), registers: self.pcr_selection.to_vec() };
        if selection.as_slice() != [asked] {
            let detail = "the quote covers other registers than the hub asked for";
            return Err(Rejection::new(RefusalCode::BadQuote, detail));
        }
        let values: Vec<&[u8]> = self.pcrs.iter().map(<[u8; 32]>::as_slice).collect();
        if values.len() != self.pcr_selection.len() || digest != &sha256(&values) {
            let detail = "the register values sent do not hash to the digest in the quote";
            return Err(Rejection::new(RefusalCode::PcrMismatch, detail));
        }
        Ok(statement)
    }

    /// The statement, after its signature by the attestation key over the bytes as they came, and its binding.
    fn signed(&self, code: RefusalCode, what: &str, sent: &Attestation) -> Result<TpmsAttest, Rejection> {
        let malformed = |error| Rejection::new(code, format!("the {what} would {error}"));
        let signature = TpmtSignature::parse(&sent.signature).map_err(malformed)?;
        let fixed = (signature.hash == Hash::Sha256).then(|| signature.p256_fixed()).flatten();
        let (Some(fixed), Some(point)) = (fixed, self.ak_public.p256_sec1()) else {
            return Err(Rejection::new(code, format!("the {what} is not signed with P-256 and SHA-256")));
        };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(&sent.attest, &fixed)
            .map_err(|_| Rejection::new(code, format!("the {what} is not signed by the attestation key")))?;
        let statement = TpmsAttest::parse(&sent.attest).map_err(malformed)?;
        if statement.extra_data != self.qualifying_data {
            let detail = format!(
                "the {what} is bound to another challenge, TLS connection or signing request: TLS must end in the \
                 hub itself, and the connection be the same from begin to finish"
            );
            return Err(Rejection::new(RefusalCode::WrongChannel, detail));
        }
        Ok(statement)
    }
}

/// The selection comes from the hub's own policy; a bad one is the hub's fault and must not look like the device's.
fn check_selection(selection: &[u8]) -> Result<(), Rejection> {
    let ascending = selection.is_sorted_by(|left, right| left < right);
    let dynamic = PCR_DYNAMIC_FIRST..=PCR_DYNAMIC_LAST;
    let known = selection.iter().all(|pcr| usize::from(*pcr) < PCR_COUNT && !dynamic.contains(pcr));
    if selection.is_empty() || !ascending || !known {
        let detail = "the hub's PCR selection is not an ascending list of registers 0-16 and 23";
        return Err(Rejection::new(RefusalCode::HubUnavailable, detail));
    }
    Ok(())
}
