//! The witness: a file beside the engine's that says how many commits were acknowledged.
//!
//! The engine takes a journal that stops making sense for one that was cut short by a crash, and goes on without the
//! rest. After a crash that is right, because nothing after the cut was acknowledged. After a flipped bit it is not. The
//! witness tells the two apart: it is written after each fdatasync and before the answers, so it never claims a commit
//! that is not on disk, and a database that has fewer commits than it claims has lost acknowledged ones.
//! It is not synced with each batch: what a power cut can make it forget is only how much it knew.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;

use super::{error::StoreError, keys};

/// Two slots, written in turn, so that a torn write costs one commit of knowledge and no more.
const SLOT_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// The open file.
pub(super) struct Witness {
    file: File,
    path: PathBuf,
    key: hmac::Key,
    claimed: u64,
    is_readable: bool,
}

impl Witness {
    /// Opens the file at `path`, or creates it. A slot that does not authenticate claims nothing.
    pub fn open(path: &Path, key: hmac::Key) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut slots = [0; 2 * SLOT_BYTES];
        if file.metadata()?.len() == slots.len() as u64 {
            file.read_exact_at(&mut slots, 0)?;
        }
        let claims = slots.chunks_exact(SLOT_BYTES).filter_map(|slot| claim(&key, slot));
        let claimed = claims.max();
        let is_readable = claimed.is_some() || slots.iter().all(|byte| *byte == 0);
        Ok(Self { file, path: path.to_owned(), key, claimed: claimed.unwrap_or(0), is_readable })
    }

    /// Whether it is as we wrote it: empty, or with a claim that authenticates. If not, it may have claimed anything.
    pub fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to say when the last commit that is there is `last`, and more were claimed.
    pub fn missing(&self, last: u64) -> StoreError {
        StoreError::CommitsMissing { first: last + 1, last: self.claimed, witness: self.path.clone() }
    }

    /// The last commit that is known to have been acknowledged; 0 if none is.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Claims commit `number`, which is on disk.
    pub fn claim(&mut self, number: u64) -> io::Result<()> {
        let offset = (number % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&slot(&self.key, number), offset)?;
        (self.claimed, self.is_readable) = (number, true);
        Ok(())
    }

    /// Makes the claim durable: at the start and the end.
    pub fn sync(&self) -> io::Result<()> {
        self.file.set_len(2 * SLOT_BYTES as u64)?;
        self.file.sync_all()
    }
}

fn slot(key: &hmac::Key, number: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let tag = keys::derive(key, &[&number.to_be_bytes()]);
    slot.iter_mut().zip(number.to_be_bytes().iter().chain(tag.iter())).for_each(|(out, byte)| *out = *byte);
    slot
}

fn claim(key: &hmac::Key, found: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*found.first_chunk::<NUMBER_BYTES>()?);
    (slot(key, number).as_slice() == found).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[1; 32])
    }

    #[test]
    fn a_witness_remembers_its_last_claim() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let mut witness = Witness::open(&path, key()).unwrap();
        assert_eq!(witness.claimed(), 0);
        witness.sync().unwrap();
        for number in 1..=7 {
            witness.claim(number).unwrap();
        }
        assert_eq!(Witness::open(&path, key()).unwrap().claimed(), 7);
    }

    #[test]
    fn a_torn_slot_costs_one_commit_of_knowledge() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let mut witness = Witness::open(&path, key()).unwrap();
        witness.sync().unwrap();
        witness.claim(4).unwrap();
        witness.claim(5).unwrap();
        witness.file.write_all_at(&[9], SLOT_BYTES as u64 + 3).unwrap();
        assert_eq!(Witness::open(&path, key()).unwrap().claimed(), 4);
    }
}
