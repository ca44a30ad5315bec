//! MakeCredential without a TPM (Part 1, 24): a secret that only the TPM with this endorsement key can open, and only
//! while the key with this name is loaded in it. That is how a hub learns that an attestation key lives in a chip.
//!
//! ECDH is done on RustCrypto's curves, for they take the ephemeral scalar from the caller and so allow known-answer
//! tests. RSA-OAEP goes through aws-lc-rs, because the `rsa` crate has an open advisory and only a pre-release.

use aes::{Aes128, Aes256};
use aws_lc_rs::{
    hmac,
    rsa::{OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use cfb_mode::cipher::KeyIvInit;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    limits::{DIGEST_BYTES_MAX, SCALAR_TRIES_MAX},
    name::digest,
    spki::spki_der,
    wire::{Curve, Hash, PublicKey, Reader, Symmetric, TpmtPublic, Writer},
};

/// Labels are hashed with their trailing NUL (Part 1, 11.4.10).
const IDENTITY: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";

/// Where random bytes come from: the system in a program, a counter in a known-answer test.
pub trait Randomness {
    /// Fills the whole buffer.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Randomness for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// A protected secret, as `TPM2_ActivateCredential` takes it. Both fields are the contents of their `TPM2B`, without
/// the outer length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`: the sized integrity HMAC and the encrypted, sized secret.
    pub credential_blob: Vec<u8>,
    /// `TPMU_ENCRYPTED_SECRET`: the RSA ciphertext, or the ephemeral point (`TPMS_ECC_POINT`).
    pub encrypted_secret: Vec<u8>,
}

/// Why a credential could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The endorsement key has no cipher for its children.
    #[error("protect a credential: the endorsement key is no storage key")]
    NotAStorageKey,
    /// The endorsement key is no usable RSA key or no point of its curve.
    #[error("protect a credential: the endorsement key is no valid key")]
    InvalidKey,
    /// The random source gave no usable scalar.
    #[error("protect a credential: the random source gives no usable scalar")]
    Randomness,
    /// A blob that was not made for this key and name, or was altered.
    #[error("open a credential: it was not made for this key and name")]
    Integrity,
}

/// Protects `secret` for the TPM with the endorsement key `ek` while it holds the key named `object_name`.
/// An RSA key's padding draws its own randomness from aws-lc-rs; the rest comes from `rng`.
///
/// # Errors
/// When `ek` is not a storage key or not a valid key, or `rng` gives no usable scalar.
pub fn make_credential(
    ek: &TpmtPublic,
    object_name: &[u8],
    secret: &[u8; 32],
    rng: &mut dyn Randomness,
) -> Result<Credential, CredentialError> {
    let symmetric = ek.symmetric.ok_or(CredentialError::NotAStorageKey)?;
    let (seed, encrypted_secret) = match &ek.key {
        PublicKey::Rsa { .. } => rsa_seed(ek, rng)?,
        PublicKey::Ecc { curve, .. } => ecc_seed(ek, *curve, rng)?,
    };
    let credential_blob = Protection::new(ek.name_hash, symmetric, &seed, object_name).seal(secret)?;
    Ok(Credential { credential_blob, encrypted_secret })
}

fn rsa_seed(
    ek: &TpmtPublic,
    rng: &mut dyn Randomness,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), CredentialError> {
    let invalid = |_| CredentialError::InvalidKey;
    let der = spki_der(ek).ok_or(CredentialError::InvalidKey)?;
    let public = PublicEncryptingKey::from_der(&der).map_err(|_| CredentialError::InvalidKey)?;
    let public = OaepPublicEncryptingKey::new(public).map_err(invalid)?;
    let algorithm = match ek.name_hash {
        Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
    };
    let mut seed = Zeroizing::new(vec![0; ek.name_hash.digest_len()]);
    rng.fill(&mut seed);
    let mut ciphertext = vec![0; public.ciphertext_size()];
    let written = public.encrypt(algorithm, &seed, &mut ciphertext, Some(IDENTITY)).map_err(invalid)?.len();
    ciphertext.truncate(written);
    Ok((seed, ciphertext))
}

/// One-pass ECDH with a scalar of `rng` (Part 1, C.6.1): the seed, and the ephemeral point for the TPM.
fn ecc_seed(
    ek: &TpmtPublic,
    curve: Curve,
    rng: &mut dyn Randomness,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), CredentialError> {
    let ek_point = ek.sec1().ok_or(CredentialError::InvalidKey)?;
    let (z, ephemeral) = match curve {
        Curve::P256 => agree_p256(&ek_point, rng)?,
        Curve::P384 => agree_p384(&ek_point, rng)?,
    };
    let len = curve.coordinate_len();
    let (x, y) = coordinates(&ephemeral, len).ok_or(CredentialError::InvalidKey)?;
    let (ek_x, _) = coordinates(&ek_point, len).ok_or(CredentialError::InvalidKey)?;
    let seed = kdf_e(ek.name_hash, &z, IDENTITY, x, ek_x);
    Ok((seed, Writer::new().sized(x).sized(y).take()))
}

/// The shared x coordinate and the ephemeral point.
type Agreement = (Zeroizing<Vec<u8>>, Vec<u8>);

fn agree_p256(ek_point: &[u8], rng: &mut dyn Randomness) -> Result<Agreement, CredentialError> {
    let public = p256::PublicKey::from_sec1_bytes(ek_point).map_err(|_| CredentialError::InvalidKey)?;
    let mut scalar = Zeroizing::new([0u8; 32]);
    for _ in 0..SCALAR_TRIES_MAX {
        rng.fill(scalar.as_mut_slice());
        if let Ok(secret) = p256::SecretKey::from_slice(scalar.as_slice()) {
            let z = Zeroizing::new(secret.diffie_hellman(&public).raw_secret_bytes().to_vec());
            return Ok((z, secret.public_key().to_sec1_bytes().to_vec()));
        }
    }
    Err(CredentialError::Randomness)
}

fn agree_p384(ek_point: &[u8], rng: &mut dyn Randomness) -> Result<Agreement, CredentialError> {
    let public = p384::PublicKey::from_sec1_bytes(ek_point).map_err(|_| CredentialError::InvalidKey)?;
    let mut scalar = Zeroizing::new([0u8; 48]);
    for _ in 0..SCALAR_TRIES_MAX {
        rng.fill(scalar.as_mut_slice());
        if let Ok(secret) = p384::SecretKey::from_slice(scalar.as_slice()) {
            let z = Zeroizing::new(secret.diffie_hellman(&public).raw_secret_bytes().to_vec());
            return Ok((z, secret.public_key().to_sec1_bytes().to_vec()));
        }
    }
    Err(CredentialError::Randomness)
}

/// Opens a credential made for the P-256 endorsement key `ek`: what a TPM does inside, for soft keys.
pub(crate) fn open_credential(
    ek: &TpmtPublic,
    ek_secret: &p256::SecretKey,
    object_name: &[u8],
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let symmetric = ek.symmetric.ok_or(CredentialError::NotAStorageKey)?;
    let mut reader = Reader::new(&credential.encrypted_secret, "encrypted secret", 2 * DIGEST_BYTES_MAX)
        .map_err(|_| CredentialError::Integrity)?;
    let mut coordinate = || reader.sized("coordinate", 32).map_err(|_| CredentialError::Integrity);
    let (x, y) = (coordinate()?, coordinate()?);
    let public =
        p256::PublicKey::from_sec1_bytes(&[&[4], x, y].concat()).map_err(|_| CredentialError::Integrity)?;
    let z = Zeroizing::new(ek_secret.diffie_hellman(&public).raw_secret_bytes().to_vec());
    let ek_point = ek.sec1().ok_or(CredentialError::InvalidKey)?;
    let (ek_x, _) = coordinates(&ek_point, 32).ok_or(CredentialError::InvalidKey)?;
    let seed = kdf_e(ek.name_hash, &z, IDENTITY, x, ek_x);
    Protection::new(ek.name_hash, symmetric, &seed, object_name).open(&credential.credential_blob)
}

fn coordinates(sec1: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    sec1.get(1..)?.split_at_checked(len)
}

/// The outer wrapping of a credential: encrypt, then authenticate together with the name (Part 1, 24.4 and 24.5).
struct Protection<'a> {
    hash: Hash,
    symmetric: Symmetric,
    key: Zeroizing<Vec<u8>>,
    integrity_key: Zeroizing<Vec<u8>>,
    object_name: &'a [u8],
}

impl<'a> Protection<'a> {
    fn new(hash: Hash, symmetric: Symmetric, seed: &[u8], object_name: &'a [u8]) -> Self {
        let bits = u32::from(symmetric.key_bits());
        let key = kdf_a(hash, seed, STORAGE, object_name, &[], bits);
        let hash_bits = if hash == Hash::Sha256 { 256 } else { 384 };
        let integrity_key = kdf_a(hash, seed, INTEGRITY, &[], &[], hash_bits);
        Self { hash, symmetric, key, integrity_key, object_name }
    }

    fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let mut identity = Writer::new().sized(secret).take();
        let iv = [0u8; 16];
        match self.symmetric {
            Symmetric::Aes128Cfb => cfb_mode::Encryptor::<Aes128>::new_from_slices(&self.key, &iv)
                .map_err(|_| CredentialError::InvalidKey)?
                .encrypt(&mut identity),
            Symmetric::Aes256Cfb => cfb_mode::Encryptor::<Aes256>::new_from_slices(&self.key, &iv)
                .map_err(|_| CredentialError::InvalidKey)?
                .encrypt(&mut identity),
        }
        let tag = hmac(self.hash, &self.integrity_key, &[&identity, self.object_name]);
        Ok(Writer::new().sized(&tag).raw(&identity).take())
    }

    fn open(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        let integrity = |_| CredentialError::Integrity;
        let mut reader = Reader::new(blob, "credential", 4 * DIGEST_BYTES_MAX).map_err(integrity)?;
        let tag = reader.sized("integrity", DIGEST_BYTES_MAX).map_err(integrity)?;
        let identity = blob.get(2 + tag.len()..).unwrap_or_default();
        let expected = hmac(self.hash, &self.integrity_key, &[identity, self.object_name]);
        if !bool::from(expected.as_slice().ct_eq(tag)) {
            return Err(CredentialError::Integrity);
        }
        let mut plain = Zeroizing::new(identity.to_vec());
        let iv = [0u8; 16];
        match self.symmetric {
            Symmetric::Aes128Cfb => cfb_mode::Decryptor::<Aes128>::new_from_slices(&self.key, &iv)
                .map_err(|_| CredentialError::InvalidKey)?
                .decrypt(&mut plain),
            Symmetric::Aes256Cfb => cfb_mode::Decryptor::<Aes256>::new_from_slices(&self.key, &iv)
                .map_err(|_| CredentialError::InvalidKey)?
                .decrypt(&mut plain),
        }
        let mut reader = Reader::new(&plain, "identity", 2 + DIGEST_BYTES_MAX).map_err(integrity)?;
        let secret = Zeroizing::new(reader.sized("secret", DIGEST_BYTES_MAX).map_err(integrity)?.to_vec());
        reader.finish().map_err(integrity)?;
        Ok(secret)
    }
}

/// `KDFa` (Part 1, 11.4.10.2): NIST SP 800-108 in counter mode.
fn kdf_a(hash: Hash, key: &[u8], label: &[u8], u: &[u8], v: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
    let len = usize::try_from(bits / 8).unwrap_or_default();
    let mut derived = Zeroizing::new(Vec::with_capacity(len + DIGEST_BYTES_MAX));
    for counter in 1u32.. {
        if derived.len() >= len {
            break;
        }
        derived.extend(hmac(hash, key, &[&counter.to_be_bytes(), label, u, v, &bits.to_be_bytes()]));
    }
    derived.truncate(len);
    derived
}

/// `KDFe` (Part 1, 11.4.10.3) for one digest's worth of bits: NIST SP 800-56A.
fn kdf_e(hash: Hash, z: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(digest(hash, &[&1u32.to_be_bytes(), z, label, u, v]))
}

fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}
