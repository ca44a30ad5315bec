//! Sealing: AES-256-GCM under a data key of one tenant, one purpose and one epoch.
//!
//! A sealed record is `version 1 | epoch, 4 bytes | count, 8 bytes | ciphertext | tag, 16 bytes`. Tenant, purpose, epoch,
//! the key's fingerprint and the position are associated data, so a record opens only where it was put.
//!
//! An epoch begins with the first record sealed after a start of the process, and its key lives in one process only.
//! Therefore the nonce is a counter that begins at zero: no two records of an epoch can have the same one, and after a
//! crash there is no counter to guess, because there is a new key. The wrapped key travels with the committer's next
//! batch, so it is on disk before, or together with, the first record that it sealed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{Aad, LessSafeKey, NONCE_LEN, Nonce},
    hmac,
};
use fjall::Keyspace;

use super::{
    error::{StoreError, Unsealable},
    keys::{self, Handle, KEY_BYTES, SecretKey, TenantSecret},
    limits::{EPOCH_RECORDS_MAX, EPOCHS_OPEN_MAX},
    locked, reading, writing,
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
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Registry,
        Self::Log,
        Self::Sessions,
        Self::Retained,
        Self::Telemetry,
        Self::Audit,
        Self::Authority,
    ];
}

/// Wrapped keys that wait for the next batch, as rows of the key table.
pub(super) type PendingKeys = Mutex<Vec<(Vec<u8>, Vec<u8>)>>;

/// Seals and opens records of one tenant and one purpose. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<PurposeKeys>);

impl Sealer {
    /// Seals `plaintext` for `position`: whatever names the place of the record, usually its key in the table.
    /// What comes out belongs into a commit of the same store, which also makes its key durable.
    pub fn seal(&self, position: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_behind(&[], position, plaintext)
    }

    /// As [`Sealer::seal`], with `clear` in front as it is. What is to be trusted of it has to stand in `position` too.
    pub(super) fn seal_behind(&self, clear: &[u8], position: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let (epoch, count) = self.0.next_count();
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
    /// The record was changed, or belongs elsewhere, or its key is lost.
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
        let epoch = self.0.epoch(u32::from_be_bytes(*epoch))?;
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
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&self.0.purpose).finish()
    }
}

/// All keys of one tenant, or of the platform.
pub(super) struct KeyRing {
    owner: Arc<Owner>,
    sealers: BTreeMap<Purpose, Sealer>,
}

impl KeyRing {
    /// Takes the unwrapped secret, and looks up how many epochs each purpose has had.
    pub fn new(
        label: &str,
        handle: Handle,
        secret: &TenantSecret,
        table: &Keyspace,
        pending: &Arc<PendingKeys>,
    ) -> Result<Self, StoreError> {
        let owner = Arc::new(Owner {
            label: label.to_owned(),
            handle,
            wrapping: secret.wrapping(),
            index: secret.index(),
            fresh: keys::mac(&keys::random()?),
            table: table.clone(),
            pending: Arc::clone(pending),
        });
        let mut sealers = BTreeMap::new();
        for purpose in Purpose::ALL {
            sealers.insert(purpose, Sealer(Arc::new(PurposeKeys::load(&owner, purpose, EPOCH_RECORDS_MAX)?)));
        }
        Ok(Self { owner, sealers })
    }

    pub fn sealer(&self, purpose: Purpose) -> Sealer {
        match self.sealers.get(&purpose) {
            Some(sealer) => sealer.clone(),
            None => unreachable!("the ring is made with every purpose"),
        }
    }

    pub fn blind(&self, parts: &[&[u8]]) -> [u8; 16] {
        keys::blind(&self.owner.index, parts)
    }

    pub fn handle(&self) -> Handle {
        self.owner.handle
    }
}

/// Whose keys these are.
struct Owner {
    /// The tenant's id; empty for the platform, which no tenant id can be.
    label: String,
    handle: Handle,
    /// Wraps the data keys.
    wrapping: LessSafeKey,
    /// Makes the blind indexes.
    index: hmac::Key,
    /// Drawn when the ring was made, never stored: this process derives its new data keys from it.
    fresh: hmac::Key,
    table: Keyspace,
    pending: Arc<PendingKeys>,
}

/// The data keys of one purpose.
struct PurposeKeys {
    owner: Arc<Owner>,
    purpose: Purpose,
    records_max: u64,
    /// The last epoch that is on disk from earlier processes; none sealed yet if 0.
    stored: u32,
    /// The epoch that seals; none before the first record.
    current: RwLock<Option<Arc<Epoch>>>,
    /// Earlier epochs, read when a record names them. The oldest makes room.
    earlier: Mutex<BTreeMap<u32, Arc<Epoch>>>,
}

impl PurposeKeys {
    fn load(owner: &Arc<Owner>, purpose: Purpose, records_max: u64) -> Result<Self, StoreError> {
        let prefix = row_key(&owner.handle, purpose, None);
        let stored = match owner.table.prefix(&prefix).next_back() {
            None => 0,
            Some(row) => {
                let key =
                    row.key().map_err(|error| StoreError::engine("read the epochs of a key", &error))?;
                let epoch = key.get(prefix.len()..).and_then(|epoch| epoch.try_into().ok());
                u32::from_be_bytes(epoch.ok_or_else(|| damaged(owner))?)
            }
        };
        if stored == u32::MAX {
            return Err(damaged(owner));
        }
        Ok(Self {
            owner: Arc::clone(owner),
            purpose,
            records_max,
            stored,
            current: RwLock::new(None),
            earlier: Mutex::new(BTreeMap::new()),
        })
    }

    /// The epoch to seal with, and a count that nobody else gets.
    fn next_count(&self) -> (Arc<Epoch>, u64) {
        loop {
            let worn = {
                let current = reading(&self.current);
                if let Some(epoch) = current.as_ref() {
                    let count = epoch.used.fetch_add(1, Ordering::Relaxed);
                    if count < self.records_max {
                        return (Arc::clone(epoch), count);
                    }
                }
                current.as_ref().map(|epoch| epoch.id)
            };
            self.begin_epoch(worn);
        }
    }

    /// Begins the epoch after `worn`, unless another thread already has.
    fn begin_epoch(&self, worn: Option<u32>) {
        let mut current = writing(&self.current);
        if current.as_ref().map(|epoch| epoch.id) != worn {
            return;
        }
        let id = worn.unwrap_or(self.stored) + 1;
        let number = id.to_be_bytes();
        let key = keys::derive(&self.owner.fresh, &[b"key", &[self.purpose as u8], &number]);
        let epoch = Epoch::new(&self.owner, self.purpose, id, &key);
        // Pseudo-random, from a key that only this process has ever had: as good as random, and cannot fail.
        let random = keys::derive(&self.owner.fresh, &[b"nonce", &[self.purpose as u8], &number]);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(random.iter()).for_each(|(out, byte)| *out = *byte);
        let wrapped = keys::wrap(&self.owner.wrapping, nonce, &epoch.context, key.as_slice());
        let row = [epoch.fingerprint.as_slice(), wrapped.as_slice()].concat();
        // Before the epoch is visible to anyone who seals: so no record is sealed whose key does not wait here already.
        locked(&self.owner.pending).push((row_key(&self.owner.handle, self.purpose, Some(id)), row));
        if let Some(previous) = current.replace(Arc::new(epoch)) {
            self.keep(previous);
        }
    }

    /// The epoch that a record names.
    fn epoch(&self, id: u32) -> Result<Arc<Epoch>, Unsealable> {
        if let Some(epoch) = reading(&self.current).as_ref().filter(|epoch| epoch.id == id) {
            return Ok(Arc::clone(epoch));
        }
        if let Some(epoch) = locked(&self.earlier).get(&id) {
            return Ok(Arc::clone(epoch));
        }
        let row = self
            .owner
            .table
            .get(row_key(&self.owner.handle, self.purpose, Some(id)))
            .map_err(|error| Unsealable::Unreadable(Arc::from(error.to_string())))?
            .ok_or(Unsealable::Key { epoch: id })?;
        let epoch = Arc::new(self.unwrap(id, &row).ok_or(Unsealable::Key { epoch: id })?);
        self.keep(Arc::clone(&epoch));
        Ok(epoch)
    }

    fn unwrap(&self, id: u32, row: &[u8]) -> Option<Epoch> {
        let (fingerprint, wrapped) = row.split_first_chunk::<KEY_BYTES>()?;
        let context = context(&self.owner, self.purpose, id, fingerprint);
        let key = keys::secret(&keys::unwrap(&self.owner.wrapping, &context, wrapped)?)?;
        let epoch = Epoch::new(&self.owner, self.purpose, id, &key);
        // A tenant that brings its own wrapping key could make one row that opens to two data keys; the fingerprint
        // commits to one.
        (epoch.fingerprint.as_slice() == fingerprint.as_slice()).then_some(epoch)
    }

    fn keep(&self, epoch: Arc<Epoch>) {
        let mut earlier = locked(&self.earlier);
        earlier.insert(epoch.id, epoch);
        while earlier.len() > EPOCHS_OPEN_MAX {
            earlier.pop_first();
        }
    }
}

/// One data key.
struct Epoch {
    id: u32,
    key: LessSafeKey,
    /// Names the key without showing it.
    fingerprint: SecretKey,
    /// All of the associated data but the position.
    context: Vec<u8>,
    /// How many records it has sealed; of no use in an epoch that was read from disk, because those only open.
    used: AtomicU64,
}

impl Epoch {
    fn new(owner: &Owner, purpose: Purpose, id: u32, key: &SecretKey) -> Self {
        let fingerprint = keys::derive(&keys::mac(key), &[b"muster/fingerprint/1"]);
        let context = context(owner, purpose, id, &fingerprint);
        Self { id, key: keys::aes(key), fingerprint, context, used: AtomicU64::new(0) }
    }

    fn context(&self, position: &[u8]) -> Vec<u8> {
        [self.context.as_slice(), position].concat()
    }
}

/// The parts have fixed lengths or carry them, so that no two contexts read the same.
fn context(owner: &Owner, purpose: Purpose, id: u32, fingerprint: &[u8; KEY_BYTES]) -> Vec<u8> {
    let mut context = b"muster/sealed/1".to_vec();
    context.extend_from_slice(&(owner.label.len() as u64).to_be_bytes());
    context.extend_from_slice(owner.label.as_bytes());
    context.push(purpose as u8);
    context.extend_from_slice(&id.to_be_bytes());
    context.extend_from_slice(fingerprint);
    context
}

/// `d`, handle, purpose, epoch; without an epoch, what all of them begin with.
fn row_key(handle: &Handle, purpose: Purpose, epoch: Option<u32>) -> Vec<u8> {
    let mut key = vec![b'd'];
    key.extend_from_slice(handle);
    key.push(purpose as u8);
    if let Some(epoch) = epoch {
        key.extend_from_slice(&epoch.to_be_bytes());
    }
    key
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().skip(NONCE_LEN - 8).zip(count.to_be_bytes()).for_each(|(out, byte)| *out = byte);
    Nonce::assume_unique_for_key(nonce)
}

fn damaged(owner: &Owner) -> StoreError {
    let owner = if owner.label.is_empty() { "the platform" } else { &owner.label };
    StoreError::KeyDamaged { owner: owner.to_owned() }
}

const _: () = assert!(NONCE_LEN >= 8, "a count of 8 bytes must fit the nonce");

#[cfg(test)]
mod tests {
    use muster_schemas::TenantId;

    use crate::store::{RootKey, Store, StoreOptions};

    use super::*;

    #[test]
    fn an_epoch_ends_after_its_records_and_all_of_them_still_open() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(dir.path(), RootKey::from_bytes([7; 32]), options).unwrap();
        let tenant: TenantId = "acme".parse().unwrap();
        let tenant = store.create_tenant(&tenant).unwrap();
        let owner = &tenant.keys.owner;
        let sealer = Sealer(Arc::new(PurposeKeys::load(owner, Purpose::Audit, 3).unwrap()));
        let records: Vec<Vec<u8>> =
            (0..300_u32).map(|number| sealer.seal(b"", &number.to_be_bytes())).collect();
        let epoch = |record: &Vec<u8>| u32::from_be_bytes(record[1..5].try_into().unwrap());
        assert_eq!(
            records.iter().map(epoch).collect::<Vec<_>>(),
            (0..300).map(|at| at / 3 + 1).collect::<Vec<_>>()
        );
        assert_eq!(locked(&owner.pending).len(), 100);
        let write =
            crate::store::Write::Put { table: store.table("rows").unwrap(), key: vec![1], value: Vec::new() };
        store.commit_blocking(vec![write]).unwrap();
        // Now 64 older epochs are held ready, and the others are read from the table.
        assert_eq!(locked(&owner.pending).len(), 0);
        let later = Sealer(Arc::new(PurposeKeys::load(owner, Purpose::Audit, 3).unwrap()));
        for (number, record) in (0..300_u32).zip(&records) {
            assert_eq!(sealer.open(b"", record).unwrap(), number.to_be_bytes());
            assert_eq!(later.open(b"", record).unwrap(), number.to_be_bytes());
        }
        assert_eq!(locked(&later.0.earlier).len(), EPOCHS_OPEN_MAX);
        assert_eq!(epoch(&later.seal(b"", b"")), 101);
    }
}
