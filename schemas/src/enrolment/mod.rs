//! The frames of `muster-enroll/1`: how a device that has no certificate yet asks for one, and how one that has renews it.
//!
//! ```text
//!   first boot, TLS 1.3 without a client certificate        renewal, mutual TLS with the current certificate
//!   device ── Begin ──────────────▶ hub                      device ── RenewBegin ──────▶ hub
//!          ◀────────────  Challenge ──                              ◀──── RenewChallenge ──
//!          ── Finish ──────────────▶                                ── RenewFinish ─────▶
//!          ◀ Issued|Pending|Refused ──                              ◀ Issued|Pending|Refused ──
//!
//!   firmware that nobody approved, so the identity key does not sign; TLS 1.3 without a client certificate
//!   device ── Recover ──▶ hub ── Quarantined|Refused ──▶ device
//! ```
//!
//! On the wire a frame is its length as four big-endian bytes, then one CBOR map whose keys are small unsigned integers
//! in ascending order; key 0 tells which frame it is. The grammar is `schemas/cddl/enrolment.cddl`. Nothing here checks
//! a signature or a chip: that is the verifier's work.

pub(crate) mod codec;
mod length;
mod refusal;
#[cfg(test)]
pub(crate) mod samples;

pub use codec::InvalidFrame;
pub use length::{InvalidLength, LENGTH_PREFIX_BYTES, frame_length};
pub use refusal::RefusalCode;

use crate::{DeviceId, TenantId};

/// The application protocol that a connection for enrolment names in its TLS hello (RFC 7301).
pub const ALPN: &[u8] = b"muster-enroll/1";

/// The label under which both ends export 32 bytes of the TLS session (RFC 8446 §7.5), without a context. The
/// attestation covers them, so that it is worth nothing on another connection.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-muster-attest";

/// What a device sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFrame {
    /// Asks for a first certificate.
    Begin(Begin),
    /// Answers [`Challenge`].
    Finish(Finish),
    /// Asks for the next certificate.
    RenewBegin(RenewBegin),
    /// Answers [`RenewChallenge`].
    RenewFinish(RenewFinish),
    /// Asks for a way back, under firmware that nobody approved.
    Recover(Recover),
}

/// What the hub sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFrame {
    /// Answers [`Begin`].
    Challenge(Challenge),
    /// Answers [`RenewBegin`].
    RenewChallenge(RenewChallenge),
    /// The certificate.
    Issued(Issued),
    /// Not yet: a person has to decide.
    Pending(Pending),
    /// No, and why.
    Refused(Refused),
    /// Answers [`Recover`]: all that a device in that state is given.
    Quarantined(Quarantined),
}

/// Asks for what a device needs to come back whose identity key does not sign: it is bound to approved firmware, and what
/// booted is not, or its approval is missing. It is no proof of anything, and what is answered is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recover {
    /// The manufacturer's certificate of the endorsement key, X.509 DER.
    pub ek_certificate: Vec<u8>,
    /// Certificates between it and the manufacturer's root, DER, leaf side first.
    pub ek_chain: Vec<Vec<u8>>,
    /// The endorsement key, `TPMT_PUBLIC`.
    pub ek_public: Vec<u8>,
}

/// What a device in quarantine is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Seconds after which to ask again.
    pub retry_after_s: u32,
    /// Approvals of firmware for its class, newest first. The device trusts them as far as its authority signed them.
    pub approvals: Vec<Vec<u8>>,
}

/// Asks for a first certificate: which chip this is, and which keys it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The manufacturer's certificate of the endorsement key, X.509 DER; absent when the chip carries none.
    pub ek_certificate: Option<Vec<u8>>,
    /// Certificates between it and the manufacturer's root, DER, leaf side first.
    pub ek_chain: Vec<Vec<u8>>,
    /// The endorsement key, `TPMT_PUBLIC`.
    pub ek_public: Vec<u8>,
    /// The attestation key, `TPMT_PUBLIC`.
    pub ak_public: Vec<u8>,
    /// The key that the certificate is for, `TPMT_PUBLIC`.
    pub ldevid_public: Vec<u8>,
    /// The signing request (PKCS #10 DER), signed by that key.
    pub csr: Vec<u8>,
    /// The single-use code that ties an unknown chip to a tenant.
    pub claim: Option<String>,
    /// What the device says it is.
    pub model: String,
    /// The version of the program that speaks.
    pub agent_version: String,
    /// The serial number on the device's plate, as the device read it. Nothing proves it.
    pub serial_number: Option<String>,
    /// The hardware address of its network interface, six bytes. Nothing proves it.
    pub mac: Option<[u8; 6]>,
}

/// What the chip has to solve, and what it has to attest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Names this exchange; repeated in [`Finish`].
    pub session: [u8; 16],
    /// Fresh random bytes that the attestation covers.
    pub nonce: [u8; 32],
    /// `TPM2B_ID_OBJECT` of the hub's MakeCredential, without its size.
    pub credential_blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET` that goes with it, without its size.
    pub encrypted_secret: Vec<u8>,
    /// Indices (0 to 23) of the PCRs to quote from the SHA-256 bank, ascending.
    pub pcr_selection: Vec<u8>,
}

/// The solved challenge and the attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The exchange this belongs to.
    pub session: [u8; 16],
    /// Proof that the chip of the endorsement key released the secret to the attestation key's holder.
    pub proof: [u8; 32],
    /// `TPM2_Certify` of the identity key by the attestation key.
    pub certify: Attestation,
    /// `TPM2_Quote` of the selected PCRs.
    pub quote: Attestation,
    /// The values that were quoted, in the order of the selection.
    pub pcrs: Vec<[u8; 32]>,
    /// What was measured into them, in order.
    pub event_log: Vec<Event>,
}

/// Something a TPM says, and its signature under the attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// `TPMS_ATTEST`, the bytes that were signed.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

/// One measurement of the device's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The PCR that was extended, 0 to 23.
    pub pcr: u8,
    /// What it was extended with (SHA-256).
    pub digest: [u8; 32],
    /// What kind of thing was measured.
    pub kind: String,
    /// Which one, for a person.
    pub text: String,
}

/// Asks for the next certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewBegin {
    /// The key that the next certificate is for, `TPMT_PUBLIC`; may be the current one.
    pub ldevid_public: Vec<u8>,
    /// The signing request (PKCS #10 DER), signed by that key.
    pub csr: Vec<u8>,
    /// The version of the program that speaks.
    pub agent_version: String,
}

/// What the chip has to attest for the next certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewChallenge {
    /// Names this exchange; repeated in [`RenewFinish`].
    pub session: [u8; 16],
    /// Fresh random bytes that the attestation covers.
    pub nonce: [u8; 32],
    /// Indices (0 to 23) of the PCRs to quote from the SHA-256 bank, ascending.
    pub pcr_selection: Vec<u8>,
}

/// The attestation for the next certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewFinish {
    /// The exchange this belongs to.
    pub session: [u8; 16],
    /// `TPM2_Certify` of the identity key by the attestation key.
    pub certify: Attestation,
    /// `TPM2_Quote` of the selected PCRs.
    pub quote: Attestation,
    /// The values that were quoted, in the order of the selection.
    pub pcrs: Vec<[u8; 32]>,
    /// What was measured into them, in order.
    pub event_log: Vec<Event>,
}

/// The certificate, and what the device needs to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The device's certificate, DER.
    pub certificate: Vec<u8>,
    /// What ties it to the root, DER, without the root: the device authority.
    pub chain: Vec<Vec<u8>>,
    /// The device's name within its tenant.
    pub device: DeviceId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Where to speak MQTT, as `host:port`; empty means the address that was enrolled at.
    pub mqtt_endpoint: String,
    /// Seconds from now after which to renew.
    pub renew_after_s: u64,
    /// The hub's wall clock, Unix seconds, for a device that has none.
    pub hub_time_s: u64,
}

/// Not yet: a person has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Seconds after which to ask again.
    pub retry_after_s: u32,
}

/// No, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason, stable across versions.
    pub code: RefusalCode,
    /// What exactly was wrong, for a person.
    pub detail: String,
}
