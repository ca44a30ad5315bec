//! Sealing: AES-256-GCM under a data key of one tenant, one purpose and one epoch.
//!
//! A sealed record is `version 1 | epoch, 4 bytes | count, 8 bytes | ciphertext | tag, 16 bytes`. Tenant, purpose, epoch,
//! the key's fingerprint and the position are associated data, so a record opens only where it was put.
//!
//! An epoch begins with the first record sealed after a start of the process, and its key lives in one process only.
//! Therefore the nonce is a counter that begins at zero: no two records of an epoch can have the same one, and after a
//! crash there is no counter to guess, because there is a new key. The wrapped key travels with the committer's next
//! batch, so it is on disk before, or together with, the first record that it sealed.
//!
//! Whoever has no key to seal with, because the tenant took its own back or because the key was lent for reading, gets a
//! **void**: bytes that hold nothing of the text, and that the committer refuses. So nothing unsealed, and nothing that
//! nobody could open, reaches the disk, whoever forgot to ask before.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};

use super::{
    error::Unsealable,
    grants::GrantedKeys,
    ring::{Epoch, PurposeKeys},
};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 8;
const TAG_BYTES: usize = 16;

/// Bytes by which a sealed record is longer than what it holds.
pub const SEALED_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// What a record is for. Each purpose has its own data keys, so a record of one never opens as one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Devices, claims, apps and the other rows of the registry.
    Registry = 1,
    /// The durable messages of a tenant.
    Log = 2,
    /// Persistent sessions: subscriptions, cursors, packet ids in flight.
    Sessions = 3,
    /// Retained messages.
    Retained = 4,
    /// Telemetry blocks.
    Telemetry = 5,
    /// Audit entries.
    Audit = 6,
    /// Keys and state of certificate authorities.
    Authority = 7,
    /// Single fields of readings, where the rest of the reading is left in clear.
    Field = 8,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Registry,
        Self::Log,
        Self::Sessions,
        Self::Retained,
        Self::Telemetry,
        Self::Audit,
        Self::Authority,
        Self::Field,
    ];

    /// The word for it in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Log => "log",
            Self::Sessions => "sessions",
            Self::Retained => "retained",
            Self::Telemetry => "telemetry",
            Self::Audit => "audit",
            Self::Authority => "authority",
            Self::Field => "field",
        }
    }
}

/// Seals and opens records of one tenant and one purpose. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(pub(super) Keys);

/// Whose keys a sealer uses.
#[derive(Clone)]
pub(super) enum Keys {
    /// The tenant's own.
    Own(Arc<PurposeKeys>),
    /// Those that another tenant lent it: they open.
    Granted(Arc<GrantedKeys>),
}

impl Sealer {
    /// Seals `plaintext` for `position`: whatever names the place of the record, usually its key in the table.
    /// What comes out belongs into a commit of the same store, which also makes its key durable. While the tenant's own
    /// key is withdrawn it is a void, and the store refuses that commit.
    pub fn seal(&self, position: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_behind(&[], position, plaintext)
    }

    /// As [`Sealer::seal`], with `clear` in front as it is. What is to be trusted of it has to stand in `position` too.
    pub(super) fn seal_behind(&self, clear: &[u8], position: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let counted = match &self.0 {
            Keys::Own(keys) => keys.next_count(),
            Keys::Granted(_) => None,
        };
        let Some((epoch, count)) = counted else { return [clear, void()].concat() };
        let mut record = Vec::with_capacity(clear.len() + plaintext.len() + SEALED_OVERHEAD_BYTES);
        record.extend_from_slice(clear);
        record.push(VERSION);
        record.extend_from_slice(&epoch.id.to_be_bytes());
        record.extend_from_slice(&count.to_be_bytes());
        record.extend_from_slice(plaintext);
        let text = record.get_mut(clear.len() + HEADER_BYTES..).unwrap_or_default();
        let aad = Aad::from(epoch.context(position));
        let Ok(tag) = epoch.key.seal_in_place_separate_tag(nonce(count), aad, text) else {
            unreachable!("AES-256-GCM refuses only texts over 64 GiB");
        };
        record.extend_from_slice(tag.as_ref());
        record
    }

    /// Opens a record that was sealed for `position`.
    ///
    /// # Errors
    /// The record was changed, or belongs elsewhere, or its key is lost, or the tenant took its key back.
    pub fn open(&self, position: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let truncated = Unsealable::Truncated(sealed.len());
        let (version, rest) = sealed.split_first().ok_or(truncated.clone())?;
        if *version != VERSION {
            return Err(Unsealable::Version(*version));
        }
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(truncated.clone())?;
        let (count, text) = rest.split_first_chunk::<8>().ok_or(truncated.clone())?;
        if text.len() < TAG_BYTES {
            return Err(truncated);
        }
        let epoch = self.epoch(u32::from_be_bytes(*epoch))?;
        let mut text = text.to_vec();
        let aad = Aad::from(epoch.context(position));
        let length = epoch
            .key
            .open_in_place(nonce(u64::from_be_bytes(*count)), aad, &mut text)
            .map_err(|_| Unsealable::Forged)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Whether it opens anything now: to be asked before something is shown that is not sealed yet.
    ///
    /// # Errors
    /// A key that it rests on is withdrawn, or was lent and taken back.
    pub fn stands(&self) -> Result<(), Unsealable> {
        match &self.0 {
            Keys::Own(keys) => keys.stands(),
            Keys::Granted(keys) => keys.stands(),
        }
    }

    fn epoch(&self, id: u32) -> Result<Arc<Epoch>, Unsealable> {
        match &self.0 {
            Keys::Own(keys) => keys.epoch(id),
            Keys::Granted(keys) => keys.epoch(id),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Keys::Own(keys) => f.debug_tuple("Sealer").field(&keys.purpose()).finish(),
            Keys::Granted(keys) => f.debug_tuple("Sealer(lent)").field(&keys.purpose()).finish(),
        }
    }
}

/// The epoch that a record names, as far as it is one.
pub(super) fn epoch_of(sealed: &[u8]) -> Option<u32> {
    sealed.get(1..5)?.try_into().ok().map(u32::from_be_bytes)
}

/// What a record is that could not be sealed. The same for all of them, drawn once, so that no client can send something
/// that looks like it.
fn void() -> &'static [u8] {
    static VOID: OnceLock<[u8; TAG_BYTES]> = OnceLock::new();
    VOID.get_or_init(|| {
        let mut void = *b"muster/void/1\0\0\0";
        // Without random numbers the constant does as well: a tag that ends like it does not happen.
        let _ = getrandom::fill(&mut void);
        void
    })
}

/// Whether a value is, or ends with, a void.
pub(super) fn is_void(value: &[u8]) -> bool {
    value.ends_with(void())
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().skip(NONCE_LEN - 8).zip(count.to_be_bytes()).for_each(|(out, byte)| *out = byte);
    Nonce::assume_unique_for_key(nonce)
}

const _: () = assert!(NONCE_LEN >= 8, "a count of 8 bytes must fit the nonce");
