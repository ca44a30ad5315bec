//! What a device claims before its TPM has said anything: certificate, three public areas, a signing request.

use muster_schemas::enrolment::{Begin, Recover, RefusalCode};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{Rejection, ek_hash};
use crate::{
    binding::csr_hash,
    credential::{Credential, CredentialError, Randomness, make_credential},
    endorsement::{Endorsement, EndorsementProblem, EndorsementRoots},
    limits::CSR_BYTES_MAX,
    name::name,
    spki::p256_spki_der,
    templates::{RESIDENT, follows_ek_template},
    wire::{Attributes, Curve, Hash, KeyScheme, PublicKey, TpmtPublic},
};

/// What neither of our signing keys may do or be.
const UNWANTED: Attributes = Attributes::DECRYPT
    .and(Attributes::ENCRYPTED_DUPLICATION)
    .and(Attributes::X509_SIGN)
    .and(Attributes::ST_CLEAR);

/// A device whose claims are sound and not yet proved. Keep it in the session table, bounded and for a minute.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo: names the chip.
    pub ek_hash: [u8; 32],
    /// What the manufacturer's certificate says. A chip without one is vouched for by nobody but a tenant that has listed
    /// the hash of its key; that the device holds the key is proved all the same.
    pub endorsement: Option<Endorsement>,
    /// The chip's endorsement key.
    pub ek_public: TpmtPublic,
    /// The attestation key. `marshal` gives the bytes for the registry.
    pub ak_public: TpmtPublic,
    /// Its name.
    pub ak_name: Vec<u8>,
    /// Name of the identity key that the certificate will be for.
    pub ldevid_name: Vec<u8>,
    /// Its point, uncompressed.
    pub ldevid_sec1: [u8; 65],
    /// SHA-256 of the signing request.
    pub csr_hash: [u8; 32],
}

/// Checks the claims, in this order: endorsement certificate and chain if there is one, its key and template, attestation
/// key, identity key, signing request. `now_unix_s` is seconds since 1970.
///
/// # Errors
/// The first check that fails.
pub fn check_begin(begin: &Begin, roots: &EndorsementRoots, now_unix_s: u64) -> Result<Candidate, Rejection> {
    let ek_public = parse_public("endorsement key", &begin.ek_public)?;
    let verified = begin
        .ek_certificate
        .as_ref()
        .map(|certificate| roots.verify(certificate, &begin.ek_chain, &ek_public, now_unix_s));
    let endorsement = verified.transpose().map_err(|problem| untrusted(&problem))?;
    check_endorsement_key(&ek_public)?;
    let ak_public = parse_public("attestation key", &begin.ak_public)?;
    check_attestation_key(&ak_public)?;
    let ldevid_public = parse_public("identity key", &begin.ldevid_public)?;
    let ldevid_sec1 = check_identity_key(&ldevid_public)?;
    check_signing_request(&begin.csr, &ldevid_sec1)?;
    Ok(Candidate {
        ek_hash: ek_hash(&ek_public),
        endorsement,
        ek_public,
        ak_public,
        ak_name: key_name("attestation key", &begin.ak_public)?,
        ldevid_name: key_name("identity key", &begin.ldevid_public)?,
        ldevid_sec1,
        csr_hash: csr_hash(&begin.csr),
    })
}

/// Says which chip asks for a way back: its endorsement certificate and chain, and that it is of the key shown. Whoever has
/// seen the certificate can say the same.
///
/// # Errors
/// The first check that fails.
pub fn check_recover(
    recover: &Recover,
    roots: &EndorsementRoots,
    now_unix_s: u64,
) -> Result<[u8; 32], Rejection> {
    let ek_public = parse_public("endorsement key", &recover.ek_public)?;
    let endorsement = roots
        .verify(&recover.ek_certificate, &recover.ek_chain, &ek_public, now_unix_s)
        .map_err(|problem| untrusted(&problem))?;
    check_endorsement_key(&ek_public)?;
    Ok(endorsement.ek_hash)
}

/// Protects `secret` so that only the candidate's chip, holding the candidate's attestation key, can open it.
///
/// # Errors
/// When the endorsement key is not a valid key: no TPM made it.
pub fn challenge(
    candidate: &Candidate,
    secret: &[u8; 32],
    rng: &mut dyn Randomness,
) -> Result<Credential, CredentialError> {
    make_credential(&candidate.ek_public, &candidate.ak_name, secret, rng)
}

pub(super) fn parse_public(what: &str, bytes: &[u8]) -> Result<TpmtPublic, Rejection> {
    TpmtPublic::parse(bytes).map_err(|error| {
        Rejection::new(RefusalCode::Malformed, format!("the public area of the {what} would {error}"))
    })
}

pub(super) fn key_name(what: &str, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    name(bytes).map_err(|error| {
        Rejection::new(RefusalCode::Malformed, format!("the public area of the {what} would {error}"))
    })
}

fn untrusted(problem: &EndorsementProblem) -> Rejection {
    let code = match problem {
        EndorsementProblem::Unreadable(_) | EndorsementProblem::Untrusted(_) => {
            RefusalCode::UntrustedEndorsement
        }
        EndorsementProblem::NotAnEndorsement(_) => RefusalCode::UnsuitableEndorsementKey,
        EndorsementProblem::OtherKey => RefusalCode::EndorsementMismatch,
    };
    Rejection::new(code, format!("failed to {problem}"))
}

/// The key must be exactly what a TCG template makes: then the TPM uses it for nothing but credentials.
fn check_endorsement_key(ek: &TpmtPublic) -> Result<(), Rejection> {
    if follows_ek_template(ek) {
        return Ok(());
    }
    let detail = "the endorsement key follows none of the TCG templates for RSA-2048, P-256 and P-384";
    Err(Rejection::new(RefusalCode::UnsuitableEndorsementKey, detail))
}

/// The key must sign nothing but what the TPM itself states, for ever inside this TPM.
pub(super) fn check_attestation_key(ak: &TpmtPublic) -> Result<(), Rejection> {
    let refuse = |detail: &str| Err(Rejection::new(RefusalCode::UnsuitableAttestationKey, detail));
    if !ak.attributes.has(RESIDENT) {
        return refuse("the attestation key can leave its TPM or was not made in it");
    }
    if !ak.attributes.has(Attributes::SIGN.and(Attributes::RESTRICTED)) {
        return refuse(
            "the attestation key is not a restricted signing key, so it could sign forged statements",
        );
    }
    if ak.attributes.has_any(UNWANTED) {
        return refuse(
            "the attestation key may decrypt, be duplicated, sign X.509 content or vanish at reset",
        );
    }
    if ak.scheme != Some(KeyScheme::Ecdsa(Hash::Sha256)) || !is_plain_p256(ak) {
        return refuse("the attestation key is not a P-256 key for ECDSA with SHA-256");
    }
    Ok(())
}

/// The key must sign, inside this TPM for ever; and not be restricted, for TLS signs what the TPM did not make.
pub(super) fn check_identity_key(ldevid: &TpmtPublic) -> Result<[u8; 65], Rejection> {
    let refuse = |detail: &str| Err(Rejection::new(RefusalCode::UnsuitableIdentityKey, detail));
    if !ldevid.attributes.has(RESIDENT) {
        return refuse("the identity key can leave its TPM or was not made in it");
    }
    if !ldevid.attributes.has(Attributes::SIGN) || ldevid.attributes.has_any(Attributes::RESTRICTED) {
        return refuse("the identity key is not a general signing key, so TLS cannot use it");
    }
    if ldevid.attributes.has_any(UNWANTED) {
        return refuse("the identity key may decrypt, be duplicated, sign X.509 content or vanish at reset");
    }
    if !matches!(ldevid.scheme, None | Some(KeyScheme::Ecdsa(Hash::Sha256))) || !is_plain_p256(ldevid) {
        return refuse("the identity key is not a P-256 key for ECDSA with SHA-256");
    }
    match ldevid.p256_sec1() {
        Some(point) => Ok(point),
        None => refuse("the identity key has no point"),
    }
}

fn is_plain_p256(key: &TpmtPublic) -> bool {
    key.name_hash == Hash::Sha256
        && key.symmetric.is_none()
        && matches!(key.key, PublicKey::Ecc { curve: Curve::P256, .. })
}

/// The request must be signed by the very key the TPM will certify, and ask for nothing: who the device is follows from its
/// chip, so a subject or an attribute (RFC 2986 §4.1) is a wish that nobody grants.
pub(super) fn check_signing_request(csr: &[u8], ldevid_sec1: &[u8; 65]) -> Result<(), Rejection> {
    let refuse = |detail: &str| Err(Rejection::new(RefusalCode::BadSigningRequest, detail));
    if csr.len() > CSR_BYTES_MAX {
        return refuse("the signing request is longer than 2048 bytes");
    }
    let Ok((rest, request)) = X509CertificationRequest::from_der(csr) else {
        return refuse("the signing request is not PKCS#10 in DER");
    };
    if !rest.is_empty() {
        return refuse("bytes follow the signing request");
    }
    if request.certification_request_info.subject_pki.raw != p256_spki_der(ldevid_sec1) {
        return refuse("the signing request is for another key than the identity key in the TPM");
    }
    let info = &request.certification_request_info;
    if info.subject.iter().next().is_some() || info.iter_attributes().next().is_some() {
        return refuse(
            "the signing request asks for a subject or extensions; the chip alone says who the device is",
        );
    }
    if request.verify_signature().is_err() {
        return refuse("the signature of the signing request does not verify");
    }
    Ok(())
}
