//! The keys above the data keys: the root key, what is derived from it, and how one key is wrapped by another.
//! Pure: nothing here reads or writes a table.
//!
//! ```text
//! root key ── wraps ──▶ tenant secret (wrapping key, index key) ── wraps ──▶ data key per purpose and epoch
//! ```

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use muster_schemas::TenantId;
use zeroize::Zeroizing;

use super::error::StoreError;

/// Bytes of every symmetric key.
pub(super) const KEY_BYTES: usize = 32;
/// A tenant's rows begin with this: sixteen bytes that only the root key connects with the tenant's name.
pub(super) type Handle = [u8; 16];
/// A key that erases itself.
pub(super) type SecretKey = Zeroizing<[u8; KEY_BYTES]>;

/// The key at the top. It is never stored; whoever has the directory and not this key has nothing.
pub struct RootKey(SecretKey);

impl RootKey {
    /// Takes 32 bytes from wherever the root key lives: a TPM, a file, a person.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key from the system's random numbers.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> Result<Self, StoreError> {
        random().map(Self)
    }

    /// What the rows of a tenant begin with in the store of this key.
    pub fn handle(&self, tenant: &TenantId) -> [u8; 16] {
        RootKeys::derive(self).handle(tenant.as_str())
    }

    /// The key, for whoever wraps it. The copy erases itself.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.0.clone()
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
    index: hmac::Key,
    check: SecretKey,
    witness: hmac::Key,
}

impl RootKeys {
    pub fn derive(root: &RootKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, root.0.as_slice());
        Self {
            wrapping: aes(&derive(&root, &[b"muster/root/wrapping/1"])),
            index: mac(&derive(&root, &[b"muster/root/index/1"])),
            check: derive(&root, &[b"muster/root/check/1"]),
            witness: mac(&derive(&root, &[b"muster/root/witness/1"])),
        }
    }

    /// Stands in the key table, so that another root key is noticed before anything is made with it.
    pub fn check(&self) -> &[u8] {
        self.check.as_slice()
    }

    pub fn handle(&self, label: &str) -> Handle {
        blind(&self.index, &[b"tenant", label.as_bytes()])
    }

    pub fn witness(&self) -> hmac::Key {
        self.witness.clone()
    }

    /// Wraps a new tenant's secret. The nonce is random: a root key wraps far fewer than 2^32 secrets.
    pub fn wrap(&self, label: &str, secret: &TenantSecret) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| StoreError::Randomness)?;
        let mut plain = Zeroizing::new([0; 2 * KEY_BYTES]);
        let (wrapping, index) = plain.split_at_mut(KEY_BYTES);
        wrapping.copy_from_slice(secret.wrapping.as_slice());
        index.copy_from_slice(secret.index.as_slice());
        Ok(wrap(&self.wrapping, nonce, &tenant_context(label), plain.as_slice()))
    }

    /// Unwraps a tenant's secret; none if the row is damaged or another tenant's.
    pub fn unwrap(&self, label: &str, row: &[u8]) -> Option<TenantSecret> {
        let plain = unwrap(&self.wrapping, &tenant_context(label), row)?;
        let (wrapping, index) = plain.split_at_checked(KEY_BYTES)?;
        Some(TenantSecret { wrapping: secret(wrapping)?, index: secret(index)? })
    }
}

/// What is generated for a tenant and lives as long as it does. The two keys are separate so that the wrapping key can
/// be replaced without changing a single blind index.
pub(super) struct TenantSecret {
    wrapping: SecretKey,
    index: SecretKey,
}

impl TenantSecret {
    pub fn generate() -> Result<Self, StoreError> {
        Ok(Self { wrapping: random()?, index: random()? })
    }

    pub fn wrapping(&self) -> LessSafeKey {
        aes(&self.wrapping)
    }

    pub fn index(&self) -> hmac::Key {
        mac(&self.index)
    }
}

/// A fresh key.
pub(super) fn random() -> Result<SecretKey, StoreError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
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
    let mut out = Zeroizing::new([0; KEY_BYTES]);
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
    let mut text = plain.to_vec();
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

/// 32 bytes as a key.
pub(super) fn secret(bytes: &[u8]) -> Option<SecretKey> {
    Some(Zeroizing::new(bytes.try_into().ok()?))
}

fn tenant_context(label: &str) -> Vec<u8> {
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
        let row = root(1).wrap("acme", &secret).unwrap();
        assert_eq!(root(1).unwrap("acme", &row).unwrap().index, secret.index);
        assert!(root(1).unwrap("other", &row).is_none());
        assert!(root(2).unwrap("acme", &row).is_none());
        assert!(root(1).unwrap("acme", &row[..row.len() - 1]).is_none());
    }

    #[test]
    fn a_blind_index_tells_parts_apart_by_their_bounds() {
        let key = mac(&Zeroizing::new([7; KEY_BYTES]));
        assert_eq!(blind(&key, &[b"ab", b"c"]), blind(&key, &[b"ab", b"c"]));
        assert_ne!(blind(&key, &[b"ab", b"c"]), blind(&key, &[b"a", b"bc"]));
        assert_ne!(blind(&key, &[b"abc"]), blind(&key, &[b"abc", b""]));
    }

    #[test]
    fn a_root_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", RootKey::from_bytes([65; KEY_BYTES])), "RootKey(..)");
    }
}
