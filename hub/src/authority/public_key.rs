//! A public key to certify: a point on P-256 that was checked, and nothing else of what it came in.

use std::path::{Path, PathBuf};

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey},
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer, pem::PemObject as _,
};
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    prelude::{FromDer as _, SubjectPublicKeyInfo, X509CertificationRequest},
};

use crate::{
    limits::{CSR_BYTES_MAX, PEM_BYTES_MAX},
    private_file,
};

/// An uncompressed point: 0x04, x, y (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;

/// The AlgorithmIdentifier ecdsa-with-SHA256, DER (RFC 5758 §3.2: without parameters).
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Why bytes from outside hold no key that we certify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// Longer than any honest request.
    #[error("the signing request is longer than {CSR_BYTES_MAX} bytes")]
    TooLong,
    /// Not PEM with a signing request in it.
    #[error("it is not a signing request in PEM")]
    Pem,
    /// Not the DER structure it should be, or bytes follow it.
    #[error("it is not well-formed DER, or something follows it")]
    Der,
    /// A key of another algorithm or curve.
    #[error("the key is not an elliptic-curve key on P-256")]
    NotP256,
    /// Not a point on the curve, or compressed.
    #[error("the key is not an uncompressed point on P-256")]
    NotAPoint,
    /// Signed with something else than the key it names, or with another algorithm than ECDSA with SHA-256.
    #[error("the signing request was not signed with its own key (ECDSA with SHA-256)")]
    Signature,
}

/// A P-256 public key: an uncompressed point that lies on the curve.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: [u8; POINT_BYTES],
}

impl PublicKey {
    /// From an uncompressed SEC 1 point.
    pub fn from_sec1(point: &[u8]) -> Result<Self, InvalidPublicKey> {
        let point: [u8; POINT_BYTES] = point.try_into().map_err(|_| InvalidPublicKey::NotAPoint)?;
        if point.first() != Some(&0x04) {
            return Err(InvalidPublicKey::NotAPoint);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| InvalidPublicKey::NotAPoint)?;
        Ok(Self { point })
    }

    /// From a SubjectPublicKeyInfo, DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| InvalidPublicKey::Der)?;
        if !rest.is_empty() {
            return Err(InvalidPublicKey::Der);
        }
        Self::from_parsed(&spki)
    }

    /// From a signing request (PKCS #10, DER) after checking that it was signed with its own key. Only the key is taken:
    /// whatever names or extensions it asks for are ignored.
    pub fn from_csr(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        if der.len() > CSR_BYTES_MAX {
            return Err(InvalidPublicKey::TooLong);
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| InvalidPublicKey::Der)?;
        if !rest.is_empty() {
            return Err(InvalidPublicKey::Der);
        }
        let key = Self::from_parsed(&csr.certification_request_info.subject_pki)?;
        // The parser is lenient about tags behind what is signed, so the algorithm is compared as it is encoded.
        let signed = csr.certification_request_info.raw;
        let behind = der.windows(signed.len()).position(|part| std::ptr::eq(part, signed));
        let behind = behind.and_then(|start| der.get(start + signed.len()..));
        let algorithm_fits = behind.is_some_and(|rest| rest.starts_with(&ECDSA_WITH_SHA256));
        if !algorithm_fits || csr.signature_value.unused_bits != 0 {
            return Err(InvalidPublicKey::Signature);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point)
            .map_err(|_| InvalidPublicKey::NotAPoint)?
            .verify_sig(signed, &csr.signature_value.data)
            .map_err(|_| InvalidPublicKey::Signature)?;
        Ok(key)
    }

    /// From a signing request in PEM; see [`PublicKey::from_csr`].
    pub fn from_csr_pem(pem: &str) -> Result<Self, InvalidPublicKey> {
        // Base64 and its frame make it longer by less than half.
        if pem.len() > CSR_BYTES_MAX + CSR_BYTES_MAX / 2 {
            return Err(InvalidPublicKey::TooLong);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| InvalidPublicKey::Pem)?;
        Self::from_csr(&der)
    }

    /// The point, uncompressed (SEC 1 §2.3.3).
    pub fn sec1(&self) -> &[u8; POINT_BYTES] {
        &self.point
    }

    /// SHA-256 of the SubjectPublicKeyInfo, as in [`super::Leaf::spki_sha256`].
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.subject_public_key_info())
    }

    fn from_parsed(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, InvalidPublicKey> {
        let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
            return Err(InvalidPublicKey::NotP256);
        }
        if spki.subject_public_key.unused_bits != 0 {
            return Err(InvalidPublicKey::NotAPoint);
        }
        Self::from_sec1(&spki.subject_public_key.data)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey(P-256, spki sha256 {})", data_encoding::HEXLOWER.encode(&self.spki_sha256()))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Every certificate of a PEM file, in order; an error says which file and why.
pub fn pem_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    let pem = private_file::read_public(path, PEM_BYTES_MAX)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(PemFileError::Empty { path: path.to_owned() }),
    }
}

/// Every revocation list of a file, in DER: a PEM file has one or more, any other is taken for one in DER.
pub fn revocation_lists(path: &Path) -> Result<Vec<Vec<u8>>, PemFileError> {
    let bytes = private_file::read_public(path, PEM_BYTES_MAX)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(lists.into_iter().map(|der| der.as_ref().to_vec()).collect()),
        _ => Ok(vec![bytes]),
    }
}

/// Why a PEM file gave no certificates.
#[derive(Debug, thiserror::Error)]
pub enum PemFileError {
    /// It could not be read.
    #[error(transparent)]
    File(#[from] private_file::PrivateFileError),
    /// Nothing in it, or something that is not PEM.
    #[error("find a certificate in {path}: it holds no well-formed PEM certificate")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}
