//! A tenant's sealer, and bytes that do not compress.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};

use crate::{Blob, BlobName, Declared, Digest, Folder, SealRefusal, Sealer, Stored, digest_of};

/// AES-256-GCM with a random nonce in front.
pub(crate) struct Tenant {
    key: LessSafeKey,
    withdrawn: AtomicBool,
}

impl Tenant {
    pub fn new(key: u8) -> Arc<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[key; 32]).unwrap());
        Arc::new(Self { key, withdrawn: AtomicBool::new(false) })
    }

    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
    }
}

impl Sealer for Tenant {
    fn overhead_bytes(&self) -> usize {
        NONCE_LEN + 16
    }

    fn seal(&self, position: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        if self.withdrawn.load(Ordering::Relaxed) {
            return Err(SealRefusal::Withdrawn);
        }
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).unwrap();
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(position), &mut sealed)
            .unwrap();
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, position: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        if self.withdrawn.load(Ordering::Relaxed) {
            return Err(SealRefusal::Withdrawn);
        }
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(SealRefusal::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let mut rest = rest.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(position), &mut rest);
        plain.map(|plain| plain.to_vec()).map_err(|_| SealRefusal::Forged)
    }
}

/// Bytes that follow from a seed (xorshift64*).
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(bytes).collect()
}

pub(crate) fn declared(bytes: &[u8]) -> Declared {
    Declared { digest: digest_of(bytes), size: bytes.len() as u64 }
}

pub(crate) fn put(folder: &Folder, name: u8, bytes: &[u8], tenant: &Arc<Tenant>) -> Stored {
    let mut incoming = folder.begin(BlobName([name; 16]), declared(bytes), tenant.clone()).unwrap();
    incoming.write(bytes).unwrap();
    incoming.finish().unwrap()
}

pub(crate) fn open(folder: &Folder, name: u8, bytes: &[u8], tenant: &Arc<Tenant>) -> Blob {
    folder.read(&BlobName([name; 16]), (digest_of(bytes), bytes.len() as u64), tenant.clone()).unwrap()
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}
