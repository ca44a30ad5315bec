//! Names: what a TPM calls a key (Part 1, 16), and the digests everything else here is made of.

use aws_lc_rs::digest;

use crate::wire::{Hash, MalformedStructure, TpmtPublic};

/// The name of the key with this public area: its name algorithm and the hash of the bytes as they are.
///
/// # Errors
/// When the bytes are not a `TPMT_PUBLIC`.
pub fn name(public: &[u8]) -> Result<Vec<u8>, MalformedStructure> {
    let hash = TpmtPublic::parse(public)?.name_hash;
    let mut name = hash.id().to_be_bytes().to_vec();
    name.extend(digest(hash, &[public]));
    Ok(name)
}

/// The digest of the parts, one after the other.
pub(crate) fn digest(hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
    };
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// The SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut sum = [0; 32];
    for (to, from) in sum.iter_mut().zip(digest(Hash::Sha256, parts)) {
        *to = from;
    }
    sum
}
