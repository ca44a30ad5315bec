//! The two ends of sealing: who a message is sealed to, and who opens it.

use std::fmt;

use aws_lc_rs::{
    agreement::{self, ParsedPublicKey, PrivateKey, UnparsedPublicKey},
    digest,
    encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der},
};
use rustls::crypto::{
    aws_lc_rs::hpke::{DH_KEM_P256_HKDF_SHA256_AES_256, DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305},
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{
    limits::KEY_FILE_BYTES_MAX,
    pem::{self, P256_PUBLIC, X25519_PRIVATE, X25519_PUBLIC},
};

/// How a content key gets to its recipient; of each curve the suite that draft-ietf-cose-hpke names with 256-bit keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kem {
    /// DHKEM(P-256, HKDF-SHA256) with AES-256-GCM, `HPKE-7-KE`: what secure elements and FIPS modules have.
    P256,
    /// DHKEM(X25519, HKDF-SHA256) with ChaCha20-Poly1305, `HPKE-4-KE`; the draft has none with X25519 and AES-256.
    X25519,
}

impl Kem {
    /// The COSE algorithm, as the draft assumes it.
    pub fn algorithm(self) -> i64 {
        match self {
            Self::P256 => 53,
            Self::X25519 => 50,
        }
    }

    fn suite(self) -> &'static dyn Hpke {
        match self {
            Self::P256 => DH_KEM_P256_HKDF_SHA256_AES_256,
            Self::X25519 => DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305,
        }
    }

    fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::X25519 => &agreement::X25519,
        }
    }

    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::P256 => P256_PUBLIC,
            Self::X25519 => X25519_PUBLIC,
        }
    }
}

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
    #[error(
        "is a private key; give the public one, which `openssl pkey -pubout` or `muster seal keygen` writes"
    )]
    Private,
    /// Another kind of key.
    #[error("is a key of another kind than P-256 or X25519")]
    OtherKind,
    /// Not a point of the curve, or not a number below its order.
    #[error("is not a valid key of its curve")]
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

/// Whom a message is sealed to: a public key, checked to be a point of its curve.
#[derive(Debug, Clone)]
pub struct Recipient {
    kem: Kem,
    public: HpkePublicKey,
    id: KeyId,
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.kem == other.kem && self.public.0 == other.public.0
    }
}

impl Eq for Recipient {}

impl Recipient {
    /// The `PUBLIC KEY` of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        if pem.len() > KEY_FILE_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        match SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            Ok(der) => Self::from_der(&der),
            Err(_) if PrivateKeyDer::from_pem_slice(pem).is_ok() => Err(InvalidKey::Private),
            Err(_) => Err(InvalidKey::NotPem { expected: "PUBLIC KEY" }),
        }
    }

    /// A SubjectPublicKeyInfo.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let kems = [Kem::P256, Kem::X25519];
        let mut found = kems.into_iter().filter_map(|kem| Some((kem, der.strip_prefix(kem.spki_prefix())?)));
        let (kem, raw) = found.next().ok_or(InvalidKey::OtherKind)?;
        Self::from_raw(kem, raw)
    }

    /// The key as HPKE has it: an uncompressed point of P-256, or the 32 bytes of X25519.
    pub fn from_raw(kem: Kem, raw: &[u8]) -> Result<Self, InvalidKey> {
        let length = match kem {
            Kem::P256 => 65,
            Kem::X25519 => 32,
        };
        if raw.len() != length {
            return Err(InvalidKey::NotOnCurve);
        }
        ParsedPublicKey::try_from(UnparsedPublicKey::new(kem.agreement(), raw))
            .map_err(|_| InvalidKey::NotOnCurve)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(kem.spki_prefix());
        hash.update(raw);
        let mut id = [0; 8];
        id.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Ok(Self { kem, public: HpkePublicKey(raw.to_vec()), id: KeyId(id) })
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> String {
        std::mem::take(&mut *pem::encode("PUBLIC KEY", &[self.kem.spki_prefix(), &self.public.0].concat()))
    }

    /// How it gets its keys.
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The bytes of its name.
    pub(crate) fn id_bytes(&self) -> &[u8] {
        &self.id.0
    }

    /// HPKE, base mode, one message (RFC 9180 §6.1): the encapsulated secret and the ciphertext.
    pub(crate) fn seal(&self, info: &[u8], aad: &[u8], plaintext: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (encapsulated, ciphertext) = self.kem.suite().seal(info, aad, plaintext, &self.public).ok()?;
        Some((encapsulated.0, ciphertext))
    }
}

/// Who opens what was sealed to its [`Recipient`]: a private key, wiped when it is dropped.
pub struct Opener {
    private: HpkePrivateKey,
    recipient: Recipient,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("id", &self.recipient.id).finish_non_exhaustive()
    }
}

impl Opener {
    /// A new key.
    pub fn generate(kem: Kem) -> Result<Self, InvalidKey> {
        let (public, private) = kem.suite().generate_key_pair().map_err(|_| InvalidKey::NoRandomness)?;
        Ok(Self { private, recipient: Recipient::from_raw(kem, &public.0)? })
    }

    /// The `PRIVATE KEY` (PKCS #8) or `EC PRIVATE KEY` of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        if pem.len() > KEY_FILE_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        let key =
            PrivateKeyDer::from_pem_slice(pem).map_err(|_| InvalidKey::NotPem { expected: "PRIVATE KEY" })?;
        let der = key.secret_der();
        if let Some(raw) = der.strip_prefix(X25519_PRIVATE) {
            return Self::from_raw(Kem::X25519, raw);
        }
        let key = PrivateKey::from_private_key_der(&agreement::ECDH_P256, der)
            .map_err(|_| InvalidKey::OtherKind)?;
        let raw: EcPrivateKeyBin<'_> = key.as_be_bytes().map_err(|_| InvalidKey::OtherKind)?;
        Self::from_raw(Kem::P256, raw.as_ref())
    }

    /// The key as HPKE has it: 32 bytes.
    pub fn from_raw(kem: Kem, raw: &[u8]) -> Result<Self, InvalidKey> {
        let key = PrivateKey::from_private_key(kem.agreement(), raw).map_err(|_| InvalidKey::NotOnCurve)?;
        let public = key.compute_public_key().map_err(|_| InvalidKey::NotOnCurve)?;
        let recipient = Recipient::from_raw(kem, public.as_ref())?;
        Ok(Self { private: HpkePrivateKey::from(raw.to_vec()), recipient })
    }

    /// The key in PEM (PKCS #8).
    pub fn to_pem(&self) -> Result<Zeroizing<String>, InvalidKey> {
        let raw = self.private.secret_bytes();
        match self.recipient.kem {
            Kem::X25519 => {
                let mut der = Zeroizing::new(Vec::with_capacity(X25519_PRIVATE.len() + raw.len()));
                der.extend_from_slice(X25519_PRIVATE);
                der.extend_from_slice(raw);
                Ok(pem::encode("PRIVATE KEY", &der))
            }
            Kem::P256 => {
                let key = PrivateKey::from_private_key(&agreement::ECDH_P256, raw)
                    .map_err(|_| InvalidKey::NotOnCurve)?;
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| InvalidKey::NotOnCurve)?;
                Ok(pem::encode("PRIVATE KEY", der.as_ref()))
            }
        }
    }

    /// Whom to seal to for this key.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// HPKE, base mode, one message (RFC 9180 §6.1).
    pub(crate) fn open(
        &self,
        enc: &[u8],
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let enc = EncapsulatedSecret(enc.to_vec());
        let suite = self.recipient.kem.suite();
        suite.open(&enc, info, aad, ciphertext, &self.private).ok().map(Zeroizing::new)
    }
}
