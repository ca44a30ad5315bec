//! Keys of P-256: what verifies, and what signs. A private key is a file here; a token signs through the same trait.

use std::fmt;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
    },
};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::limits::KEY_FILE_BYTES_MAX;

/// SubjectPublicKeyInfo up to the point of P-256 (RFC 5480): uncompressed, 65 bytes.
const SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point of P-256, in bytes.
pub const POINT_BYTES: usize = 65;
/// An ES256 signature: r and s (RFC 9053 §2.1), in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Characters in a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// An ES256 signature.
pub type Signature = [u8; SIGNATURE_BYTES];

/// Why bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A file too large for a key.
    #[error("is longer than the {KEY_FILE_BYTES_MAX} bytes that a key's file may have")]
    TooLong,
    /// No such section in it.
    #[error("has no \"{expected}\" section in PEM")]
    NotPem {
        /// What is looked for.
        expected: &'static str,
    },
    /// A private key where a public one has to be.
    #[error("is a private key; give the public one, which `muster-sign key show` prints")]
    Private,
    /// A public key where a private one has to be.
    #[error("is a public key, which cannot sign")]
    Public,
    /// Another kind of key.
    #[error("is no key of P-256 that signs by ECDSA")]
    OtherKind,
    /// Not a point of the curve.
    #[error("is no point of P-256")]
    NotOnCurve,
    /// The generator of random numbers failed.
    #[error("cannot be made: the generator of random numbers failed")]
    NoRandomness,
}

/// The name of a key: the first 8 bytes of the SHA-256 of its SubjectPublicKeyInfo, which
/// `openssl pkey -pubin -outform DER | sha256sum` begins with. It helps to find the key, and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key, checked to be a point of the curve.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    /// An uncompressed point.
    ///
    /// # Errors
    /// It is none.
    pub fn from_point(point: &[u8]) -> Result<Self, InvalidKey> {
        let bytes: [u8; POINT_BYTES] = point.try_into().map_err(|_| InvalidKey::NotOnCurve)?;
        if bytes[0] != 4 {
            return Err(InvalidKey::NotOnCurve);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map_err(|_| InvalidKey::NotOnCurve)?;
        Ok(Self(bytes))
    }

    /// The `PUBLIC KEY` of a PEM file.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        if pem.len() > KEY_FILE_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        match SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            Ok(der) => Self::from_point(der.strip_prefix(SPKI_PREFIX).ok_or(InvalidKey::OtherKind)?),
            Err(_) if PrivateKeyDer::from_pem_slice(pem).is_ok() => Err(InvalidKey::Private),
            Err(_) => Err(InvalidKey::NotPem { expected: "PUBLIC KEY" }),
        }
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> String {
        std::mem::take(&mut *to_pem("PUBLIC KEY", &[SPKI_PREFIX, &self.0].concat()))
    }

    /// The uncompressed point.
    pub fn as_point(&self) -> &[u8; POINT_BYTES] {
        &self.0
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        let hash = digest::digest(&digest::SHA256, &[SPKI_PREFIX, &self.0].concat());
        let mut id = [0; 8];
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// Whether that is this key's signature over the message.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0);
        key.is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("the key {key} did not sign: {why}")]
pub struct SignFailure {
    /// Which.
    pub key: KeyId,
    /// What its keeper said.
    pub why: String,
}

/// Who signs: a key in a file, or one that a token keeps.
pub trait Signer {
    /// The key that verifies.
    fn public(&self) -> &PublicKey;

    /// An ES256 signature over the message: ECDSA over its SHA-256, as r and s.
    ///
    /// # Errors
    /// The key's keeper refused.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignFailure>;
}

/// A private key in memory; its library wipes it when it is dropped.
pub struct SoftKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftKey").field("id", &self.public.id()).finish_non_exhaustive()
    }
}

impl SoftKey {
    /// A new key.
    ///
    /// # Errors
    /// The generator of random numbers failed.
    pub fn generate() -> Result<Self, InvalidKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::of(pair.map_err(|_| InvalidKey::NoRandomness)?)
    }

    /// The `PRIVATE KEY` (PKCS #8) or `EC PRIVATE KEY` of a PEM file.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        if pem.len() > KEY_FILE_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        let key = match PrivateKeyDer::from_pem_slice(pem) {
            Ok(key) => key,
            Err(_) if SubjectPublicKeyInfoDer::from_pem_slice(pem).is_ok() => return Err(InvalidKey::Public),
            Err(_) => return Err(InvalidKey::NotPem { expected: "PRIVATE KEY" }),
        };
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der());
        Self::of(pair.map_err(|_| InvalidKey::OtherKind)?)
    }

    fn of(pair: EcdsaKeyPair) -> Result<Self, InvalidKey> {
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// The key in PEM (PKCS #8).
    ///
    /// # Errors
    /// The library refused, which it does not do with keys that it made or read.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, InvalidKey> {
        let der = self.pair.to_pkcs8v1().map_err(|_| InvalidKey::OtherKind)?;
        Ok(to_pem("PRIVATE KEY", der.as_ref()))
    }
}

impl Signer for SoftKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFailure> {
        let failure = |why: &str| SignFailure { key: self.public.id(), why: why.to_owned() };
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| failure("its library refused"))?;
        signature.as_ref().try_into().map_err(|_| failure("the signature has another length"))
    }
}

/// DER in PEM.
fn to_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(data_encoding::BASE64.encode(der));
    // All of it at once, so that no half of a private key stays behind where the text grew.
    let mut pem = String::with_capacity(text.len() + text.len() / PEM_LINE + 2 * label.len() + 64);
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = further;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    Zeroizing::new(pem)
}
