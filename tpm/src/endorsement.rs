//! Endorsement certificates: does a manufacturer we trust say that this key is inside one of its TPMs? Checks the chain
//! and the certificate (TCG EK Credential Profile); that the device holds the key is the credential's business.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_parser::{
    oid_registry::{Oid, asn1_rs::oid},
    prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate},
};

use crate::{
    limits::{CERTIFICATE_BYTES_MAX, CHAIN_COUNT_MAX, REVOCATION_LISTS_MAX, ROOTS_COUNT_MAX},
    name::sha256,
    spki::{SEQUENCE, cut_certificate, spki_der, value},
    wire::{PublicKey, TpmtPublic},
};

/// tcg-kp-EKCertificate, 2.23.133.8.1, as webpki takes it: the contents of the DER object identifier.
const EK_CERTIFICATE_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// How much a root's TPMs are worth: who could have made a key that it endorses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TpmClass {
    /// A chip of its own.
    Hardware,
    /// Firmware in the processor (fTPM).
    Firmware,
    /// A hypervisor's TPM: as good as whoever runs the host.
    Virtual,
    /// A simulator: proves nothing. Only tenants that accept it explicitly may use it.
    Simulated,
    /// No TPM at all: nobody knows where the key is. No root vouches for this, and no configuration names it; it is what
    /// the registry says of devices that came another way.
    None,
}

impl TpmClass {
    /// The word in configuration and registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Firmware => "firmware",
            Self::Virtual => "virtual",
            Self::Simulated => "simulated",
            Self::None => "none",
        }
    }
}

impl fmt::Display for TpmClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the TPM class {0:?}: it is one of hardware, firmware, virtual, simulated")]
pub struct InvalidTpmClass(String);

impl FromStr for TpmClass {
    type Err = InvalidTpmClass;
    fn from_str(text: &str) -> Result<Self, InvalidTpmClass> {
        [Self::Hardware, Self::Firmware, Self::Virtual, Self::Simulated]
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| InvalidTpmClass(text.to_owned()))
    }
}

/// What a chain of certificates says about an endorsement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Class of the root the chain ends in.
    pub class: TpmClass,
    /// SHA-256 of the key's SubjectPublicKeyInfo: the chip's name for ever.
    pub ek_hash: [u8; 32],
    /// The certificate's serial number, big-endian.
    pub serial: Vec<u8>,
    /// The issuer's distinguished name, for people.
    pub issuer: String,
    /// SHA-256 of the issuer's SubjectPublicKeyInfo in DER. Names the issuer in purchase lists: any authority can call
    /// itself by another's name, and none has another's key.
    pub issuer_spki_sha256: [u8; 32],
}

/// Why a certificate endorses nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementProblem {
    /// Not a certificate, or too much of it.
    #[error("read the endorsement certificate: {0}")]
    Unreadable(String),
    /// No chain to a trusted root, or one that does not hold now.
    #[error("trust the endorsement certificate: {0}")]
    Untrusted(String),
    /// The certificate is not for an endorsement key.
    #[error("accept the certificate as an endorsement: {0}")]
    NotAnEndorsement(String),
    /// The certificate names another key than the device sent.
    #[error("match the endorsement certificate with the endorsement key: they are different keys")]
    OtherKey,
}

/// Why the list of roots cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoots {
    /// Not a certificate.
    #[error("read TPM root {index}: {cause}")]
    Unreadable {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong.
        cause: String,
    },
    /// The same root twice, so its class would be ambiguous.
    #[error("use TPM root {index}: it is in the list twice")]
    Duplicate {
        /// Position in the list, from 0.
        index: usize,
    },
    /// Not a revocation list.
    #[error("read the revocation list {index} of TPM manufacturers: {cause}")]
    RevocationList {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong.
        cause: String,
    },
    /// Too many revocation lists.
    #[error("use {count} revocation lists of TPM manufacturers: at most {max} are supported")]
    TooManyLists {
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Too many.
    #[error("use {count} TPM roots: at most {max} are supported")]
    TooMany {
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
}

/// The manufacturers' roots that a hub trusts, each with its class.
#[derive(Debug, Clone, Default)]
pub struct EndorsementRoots {
    anchors: Vec<TrustAnchor<'static>>,
    classes: Vec<TpmClass>,
    revoked: Arc<[CertRevocationList<'static>]>,
}

impl EndorsementRoots {
    /// Roots from certificates in DER.
    ///
    /// # Errors
    /// When one is no certificate or comes twice, or there are too many.
    pub fn new(roots: Vec<(Vec<u8>, TpmClass)>) -> Result<Self, InvalidRoots> {
        if roots.len() > ROOTS_COUNT_MAX {
            return Err(InvalidRoots::TooMany { count: roots.len(), max: ROOTS_COUNT_MAX });
        }
        let mut trusted = Self::default();
        let mut seen = BTreeSet::new();
        for (index, (der, class)) in roots.into_iter().enumerate() {
            let certificate = CertificateDer::from(der);
            let anchor = anchor_from_trusted_cert(&certificate)
                .map_err(|error| InvalidRoots::Unreadable { index, cause: error.to_string() })?
                .to_owned();
            if !seen.insert((anchor.subject.to_vec(), anchor.subject_public_key_info.to_vec())) {
                return Err(InvalidRoots::Duplicate { index });
            }
            trusted.anchors.push(anchor);
            trusted.classes.push(class);
        }
        Ok(trusted)
    }

    /// The same roots with revocation lists (CRLs, DER) of the manufacturers: what one of them names, at any place of a
    /// chain, endorses nothing any more. A certificate whose issuer has no list here is taken as good, and a list counts
    /// beyond its next update: most manufacturers publish none, and the hub fetches nothing.
    ///
    /// # Errors
    /// When one is no revocation list, or there are too many.
    pub fn with_revocation_lists(self, lists: Vec<Vec<u8>>) -> Result<Self, InvalidRoots> {
        if lists.len() > REVOCATION_LISTS_MAX {
            return Err(InvalidRoots::TooManyLists { count: lists.len(), max: REVOCATION_LISTS_MAX });
        }
        let read = |(index, der): (usize, Vec<u8>)| {
            OwnedCertRevocationList::from_der(&der)
                .map(CertRevocationList::from)
                .map_err(|error| InvalidRoots::RevocationList { index, cause: error.to_string() })
        };
        let revoked = lists.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { revoked, ..self })
    }

    /// Whether there is none, so that no device can enrol by certificate.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Verifies that `certificate`, through `chain`, endorses the key `ek_public` at `now_unix_s`, in seconds since
    /// 1970. The certificate may carry the padding of a TPM's storage.
    ///
    /// # Errors
    /// The first problem, in the order unreadable, untrusted, not an endorsement, other key.
    pub fn verify(
        &self,
        certificate: &[u8],
        chain: &[Vec<u8>],
        ek_public: &TpmtPublic,
        now_unix_s: u64,
    ) -> Result<Endorsement, EndorsementProblem> {
        let unreadable = |cause: &str| EndorsementProblem::Unreadable(cause.to_owned());
        if chain.len() > CHAIN_COUNT_MAX {
            return Err(unreadable("the chain has more than four certificates"));
        }
        if chain.iter().map(Vec::len).chain([certificate.len()]).any(|len| len > CERTIFICATE_BYTES_MAX) {
            return Err(unreadable("a certificate is longer than 4096 bytes"));
        }
        let certificate =
            cut_certificate(certificate).ok_or_else(|| unreadable("it is not a certificate in DER"))?;
        let (class, issuer_spki_sha256) = self.issued_by(certificate, chain, now_unix_s)?;
        let (rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| unreadable("it is not strict DER"))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow the certificate"));
        }
        check_usage(&parsed)?;
        if !same_key(&parsed, ek_public) {
            return Err(EndorsementProblem::OtherKey);
        }
        let spki = spki_der(ek_public).ok_or(EndorsementProblem::OtherKey)?;
        Ok(Endorsement {
            class,
            ek_hash: sha256(&[&spki]),
            serial: parsed.raw_serial().to_vec(),
            issuer: parsed.issuer().to_string(),
            issuer_spki_sha256,
        })
    }

    /// The class of the root that a chain leads to, and the hash of the key that signed its leaf.
    fn issued_by(
        &self,
        certificate: &[u8],
        chain: &[Vec<u8>],
        now_unix_s: u64,
    ) -> Result<(TpmClass, [u8; 32]), EndorsementProblem> {
        let certificate = CertificateDer::from(certificate);
        let leaf = EndEntityCert::try_from(&certificate)
            .map_err(|error| EndorsementProblem::Unreadable(error.to_string()))?;
        let chain: Vec<_> =
            chain.iter().map(|der| CertificateDer::from(cut_certificate(der).unwrap_or(der))).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_unix_s));
        // Intermediates lack the usage, so it can only be required if present here; `check_usage` requires it of the leaf.
        let usage = KeyUsage::required_if_present(EK_CERTIFICATE_USAGE);
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation = revocation.map(|lists| lists.with_status_policy(UnknownStatusPolicy::Allow).build());
        let path = leaf
            .verify_for_usage(ALL_VERIFICATION_ALGS, &self.anchors, &chain, now, usage, revocation, None)
            .map_err(|error| EndorsementProblem::Untrusted(error.to_string()))?;
        let issuer_spki = match path.intermediate_certificates().next() {
            Some(intermediate) => intermediate.subject_public_key_info().to_vec(),
            // An anchor keeps the contents of the sequence alone.
            None => value(SEQUENCE, &path.anchor().subject_public_key_info),
        };
        let class = self
            .anchors
            .iter()
            .zip(&self.classes)
            .find_map(|(anchor, class)| (anchor == path.anchor()).then_some(*class))
            .ok_or_else(|| EndorsementProblem::Untrusted("its root has no class".to_owned()))?;
        Ok((class, sha256(&[&issuer_spki])))
    }
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), EndorsementProblem> {
    let problem = |what: &str| EndorsementProblem::NotAnEndorsement(what.to_owned());
    if certificate.is_ca() {
        return Err(problem("it is an authority's certificate"));
    }
    let usage =
        certificate.extended_key_usage().map_err(|_| problem("its extended key usage is malformed"))?;
    let endorses: Oid<'_> = oid!(2.23.133.8.1);
    let endorsed = usage.is_some_and(|usage| usage.value.other.contains(&endorses));
    endorsed.then_some(()).ok_or_else(|| problem("it lacks the extended key usage 2.23.133.8.1"))
}

/// Whether the certificate's key is `public`. Elliptic keys must agree to the byte, curve included; RSA certificates
/// may say rsaEncryption or RSAES-OAEP, so there the key itself is compared.
fn same_key(certificate: &X509Certificate<'_>, public: &TpmtPublic) -> bool {
    let Some(ours) = spki_der(public) else { return false };
    let theirs = certificate.public_key();
    match public.key {
        PublicKey::Ecc { .. } => theirs.raw == ours,
        PublicKey::Rsa { .. } => SubjectPublicKeyInfo::from_der(&ours)
            .is_ok_and(|(_, ours)| ours.subject_public_key == theirs.subject_public_key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_one_of_four_words() {
        assert_eq!("simulated".parse(), Ok(TpmClass::Simulated));
        assert!("Hardware".parse::<TpmClass>().is_err());
    }

    #[test]
    fn a_root_in_two_classes_is_refused() {
        let root =
            crate::manufacturer::SimulatedManufacturer::well_known().unwrap().root_certificate().to_vec();
        let twice = vec![(root.clone(), TpmClass::Simulated), (root, TpmClass::Hardware)];
        assert_eq!(EndorsementRoots::new(twice).unwrap_err(), InvalidRoots::Duplicate { index: 1 });
    }
}
