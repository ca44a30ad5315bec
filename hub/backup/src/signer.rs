//! Who made a backup: an Ed25519 key that the hub derives from what goes with its storage root key and outlives it, and with
//! it the names of pieces. Whoever restores has that as well, and so knows whose signature to expect; others are told it.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::{
    error::BackupError,
    object::{Kind, ObjectId, Tag},
};

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// What a hub makes backups with. It opens nothing.
pub struct HubKey {
    ids: hmac::Key,
    cut: u64,
    pair: Ed25519KeyPair,
}

impl HubKey {
    /// Takes what the hub keeps for it.
    ///
    /// # Errors
    /// The cryptographic library refuses.
    pub fn derive(seed: &[u8; 32]) -> Result<Self, BackupError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let ids = hmac::sign(&root, b"muster/backup/id/1");
        let cut = hmac::sign(&root, b"muster/backup/cut/1");
        let cut = cut.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let seed = Zeroizing::new(hmac::sign(&root, b"muster/backup/sign/1").as_ref().to_vec());
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        let pair = pair.map_err(|_| BackupError::Library("derive the key that signs backups"))?;
        Ok(Self { ids: hmac::Key::new(hmac::HMAC_SHA256, ids.as_ref()), cut, pair })
    }

    /// Who this hub is to those who check its backups.
    pub fn signer(&self) -> Signer {
        let mut public = [0; 32];
        public.iter_mut().zip(self.pair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        Signer(public)
    }

    /// The seed of the hash that says where a chunk ends, so that nobody else can say so.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    /// The name of a piece, by what is in it: equal pieces have equal names, and to others the name says nothing.
    pub(crate) fn object(&self, kind: Kind, parts: &[&[u8]]) -> ObjectId {
        let mut context = hmac::Context::with_key(&self.ids);
        context.update(&[kind as u8]);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut id = [0; 32];
        id.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        id
    }

    /// How a tenant is called in the repository, by its handle in the store.
    pub(crate) fn tag(&self, handle: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.ids);
        context.update(b"T");
        context.update(handle);
        let mut tag = [0; 16];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    pub(crate) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }
}

impl fmt::Debug for HubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HubKey").field(&self.signer()).finish()
    }
}

/// The public half: 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer([u8; 32]);

impl Signer {
    pub(crate) fn is_right(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text, signature).is_ok()
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A text that names no signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not the 64 hexadecimal digits that `muster backup run` prints as the signer")]
pub struct InvalidSigner;

impl FromStr for Signer {
    type Err = InvalidSigner;

    fn from_str(text: &str) -> Result<Self, InvalidSigner> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidSigner)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidSigner)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_text_and_its_hub() {
        let [ours, theirs] = [1, 2].map(|byte| HubKey::derive(&[byte; 32]).unwrap());
        let signature = ours.sign(b"text");
        assert_eq!(signature.len(), SIGNATURE_BYTES);
        let read: Signer = ours.signer().to_string().parse().unwrap();
        assert!(read.is_right(b"text", &signature));
        assert!(!read.is_right(b"tex", &signature));
        assert!(!theirs.signer().is_right(b"text", &signature));
        assert!("12".parse::<Signer>().is_err());
    }
}
