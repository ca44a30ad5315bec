//! The keys above the data keys: the root key, what is derived from it, and how one key is wrapped by another.
//! Pure: nothing here reads or writes a table.
//!
//! ```text
//! root key ── wraps ──▶ tenant secret (wrapping key, index key) ── wraps ──▶ data key per purpose and epoch
//!               └─ and between the two, where the tenant brought one, its own key
//! ```

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::StoreError;

/// Bytes of every symmetric key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a tenant's secret.
pub(super) const SECRET_BYTES: usize = 2 * KEY_BYTES;
/// A tenant's rows begin with this: sixteen bytes that only the root key connects with the tenant's name.
pub(super) type Handle = [u8; 16];

/// A key that erases itself. It stays in one place: what is moved about is where it is, so that no copy of it stays behind.
#[derive(PartialEq, Eq)]
pub struct SecretKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl SecretKey {
    /// Zeros, to be written over.
    fn zeros() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_BYTES])))
    }

    /// A copy of `bytes`; none if they are not 32.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
        let mut key = Self::zeros();
        key.copy_from_slice(bytes);
        Some(key)
    }
}

impl From<[u8; KEY_BYTES]> for SecretKey {
    /// Erases what it was given. What the caller has kept is the caller's.
    fn from(mut bytes: [u8; KEY_BYTES]) -> Self {
        let mut key = Self::zeros();
        key.copy_from_slice(&bytes);
        bytes.zeroize();
        key
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        let mut key = Self::zeros();
        key.copy_from_slice(self.as_slice());
        key
    }
}

impl Deref for SecretKey {
    type Target = [u8; KEY_BYTES];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for SecretKey {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The key at the top. It is never stored; whoever has the directory and not this key has nothing.
pub struct RootKey(SecretKey);

impl RootKey {
    /// As [`SecretKey::from`].
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(SecretKey::from(bytes))
    }

    /// A key from the system's random numbers.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> Result<Self, StoreError> {
        random().map(Self)
    }

    /// The key, for whoever wraps it. The copy erases itself.
    pub fn to_bytes(&self) -> SecretKey {
        self.0.clone()
    }
}

impl From<SecretKey> for RootKey {
    /// From wherever the root key lives: a TPM, a file, a person.
    fn from(key: SecretKey) -> Self {
        Self(key)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// What the root key is used for, each use with a key of its own.
pub(super) struct RootKeys {
    wrapping: LessSafeKey,
    check: SecretKey,
    /// Wraps what [`super::carried`] keeps.
    pub(super) carrying: LessSafeKey,
    lasting: Lasting,
}

/// What outlives the root key: names of rows on the disk are made with the one, the witness is written with the other.
/// Both are derived from the first root key, and carried on when another takes its place.
#[derive(Clone)]
pub(super) struct Lasting {
    pub index: SecretKey,
    pub witness: SecretKey,
}

impl Lasting {
    /// Whatever is made of it stays the same when the root key is replaced.
    pub fn backup(&self) -> SecretKey {
        derive(&mac(&self.witness), &[b"muster/root/backup/1"])
    }
}

impl RootKeys {
    pub fn derive(root: &RootKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, root.0.as_slice());
        Self {
            wrapping: aes(&derive(&root, &[b"muster/root/wrapping/1"])),
            check: derive(&root, &[b"muster/root/check/1"]),
            carrying: aes(&derive(&root, &[b"muster/root/carrying/1"])),
            lasting: Lasting {
                index: derive(&root, &[b"muster/root/index/1"]),
                witness: derive(&root, &[b"muster/root/witness/1"]),
            },
        }
    }

    /// The keys of a later root key, with what outlived the first.
    pub fn with_lasting(self, lasting: Lasting) -> Self {
        Self { lasting, ..self }
    }

    pub fn lasting(&self) -> &Lasting {
        &self.lasting
    }

    /// Stands in the key table, so that another root key is noticed before anything is made with it.
    pub fn check(&self) -> &[u8] {
        self.check.as_slice()
    }

    /// What a tenant's rows begin with.
    pub fn handle(&self, label: &str) -> Handle {
        blind(&mac(&self.lasting.index), &[b"tenant", label.as_bytes()])
    }

    pub fn witness(&self) -> hmac::Key {
        mac(&self.lasting.witness)
    }

    /// Wraps a tenant's secret, or what its own key has made of it. The nonce is random: a root key wraps far fewer than
    /// 2^32 secrets.
    pub fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(wrap(&self.wrapping, random_nonce()?, context, plain))
    }

    /// The opposite; none if the row is damaged or another tenant's.
    pub fn unwrap(&self, context: &[u8], row: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        unwrap(&self.wrapping, context, row)
    }
}

/// What is generated for a tenant. The two keys are separate so that the wrapping key can be replaced without changing a
/// single blind index.
#[derive(Clone)]
pub(super) struct TenantSecret {
    wrapping: SecretKey,
    index: SecretKey,
}

impl TenantSecret {
    pub fn generate() -> Result<Self, StoreError> {
        Ok(Self { wrapping: random()?, index: random()? })
    }

    /// The same index key, and another wrapping key.
    pub fn rotated(&self) -> Result<Self, StoreError> {
        Ok(Self { wrapping: random()?, index: self.index.clone() })
    }

    pub fn wrapping(&self) -> LessSafeKey {
        aes(&self.wrapping)
    }

    pub fn index(&self) -> hmac::Key {
        mac(&self.index)
    }

    /// Names the wrapping key without showing it: 16 hexadecimal digits.
    pub fn key_id(&self) -> String {
        key_id(derive(&mac(&self.wrapping), &[b"muster/fingerprint/1"]).as_slice())
    }

    /// Both keys, to be wrapped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        let mut plain = Zeroizing::new([0; SECRET_BYTES]);
        let (wrapping, index) = plain.split_at_mut(KEY_BYTES);
        wrapping.copy_from_slice(self.wrapping.as_slice());
        index.copy_from_slice(self.index.as_slice());
        plain
    }

    /// What [`TenantSecret::to_bytes`] gave.
    pub fn from_bytes(plain: &[u8]) -> Option<Self> {
        let (wrapping, index) = plain.split_at_checked(KEY_BYTES)?;
        Some(Self { wrapping: SecretKey::copy_of(wrapping)?, index: SecretKey::copy_of(index)? })
    }
}

/// The first eight bytes of a fingerprint, as people read them.
pub(super) fn key_id(fingerprint: &[u8]) -> String {
    fingerprint.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Twelve random bytes, for a key that wraps far fewer than 2^32 others.
pub(super) fn random_nonce() -> Result<[u8; NONCE_LEN], StoreError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| StoreError::Randomness)?;
    Ok(nonce)
}

/// A fresh key.
pub(super) fn random() -> Result<SecretKey, StoreError> {
    let mut key = SecretKey::zeros();
    getrandom::fill(key.as_mut_slice()).map_err(|_| StoreError::Randomness)?;
    Ok(key)
}

/// HMAC-SHA-256 of the parts, each with its length before it, so that no two lists of parts give the same input.
pub(super) fn derive(key: &hmac::Key, parts: &[&[u8]]) -> SecretKey {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let tag = context.sign();
    let mut out = SecretKey::zeros();
    out.iter_mut().zip(tag.as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}

/// The first half of [`derive`]: equal for equal parts, and without the key says nothing about them.
pub(super) fn blind(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 16] {
    let full = derive(key, parts);
    let mut out = [0; 16];
    out.iter_mut().zip(full.iter()).for_each(|(out, byte)| *out = *byte);
    out
}

/// An AES-256-GCM key.
pub(super) fn aes(key: &SecretKey) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, key.as_slice()) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("AES-256 takes every key of 32 bytes"),
    }
}

/// An HMAC-SHA-256 key.
pub(super) fn mac(key: &SecretKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())
}

/// Nonce, ciphertext and tag of `plain`. The caller sees to it that no nonce serves twice under `key`.
pub(super) fn wrap(key: &LessSafeKey, nonce: [u8; NONCE_LEN], context: &[u8], plain: &[u8]) -> Vec<u8> {
    // With room for the tag: a text that has to move for it would leave a key behind.
    let mut text = Vec::with_capacity(plain.len() + key.algorithm().tag_len());
    text.extend_from_slice(plain);
    let sealed =
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut text);
    if sealed.is_err() {
        unreachable!("AES-256-GCM refuses only texts over 64 GiB");
    }
    [nonce.as_slice(), text.as_slice()].concat()
}

/// The opposite of [`wrap`]; none if anything was changed.
pub(super) fn unwrap(key: &LessSafeKey, context: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = wrapped.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// Binds a wrapped secret of the first format to its tenant.
pub(super) fn tenant_context(label: &str) -> Vec<u8> {
    [b"muster/tenant/1|".as_slice(), label.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(byte: u8) -> RootKeys {
        RootKeys::derive(&RootKey::from_bytes([byte; KEY_BYTES]))
    }

    #[test]
    fn a_tenant_secret_opens_under_its_root_key_and_name_only() {
        let secret = TenantSecret::generate().unwrap();
        let (acme, other) = (tenant_context("acme"), tenant_context("other"));
        let row = root(1).wrap(&acme, secret.to_bytes().as_slice()).unwrap();
        let opened = TenantSecret::from_bytes(&root(1).unwrap(&acme, &row).unwrap()).unwrap();
        assert_eq!(opened.index, secret.index);
        assert!(root(1).unwrap(&other, &row).is_none());
        assert!(root(2).unwrap(&acme, &row).is_none());
        assert!(root(1).unwrap(&acme, &row[..row.len() - 1]).is_none());
    }

    #[test]
    fn a_blind_index_tells_parts_apart_by_their_bounds() {
        let key = mac(&SecretKey::from([7; KEY_BYTES]));
        assert_eq!(blind(&key, &[b"ab", b"c"]), blind(&key, &[b"ab", b"c"]));
        assert_ne!(blind(&key, &[b"ab", b"c"]), blind(&key, &[b"a", b"bc"]));
        assert_ne!(blind(&key, &[b"abc"]), blind(&key, &[b"abc", b""]));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", RootKey::from_bytes([65; KEY_BYTES])), "RootKey(..)");
        assert_eq!(format!("{:?}", SecretKey::from([65; KEY_BYTES])), "SecretKey(..)");
    }
}
