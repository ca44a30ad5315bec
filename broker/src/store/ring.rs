//! The keys of one tenant as a running hub has them: the unwrapped secret, the data keys of each purpose, and what happens
//! to all of them when the tenant takes its key back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{LessSafeKey, NONCE_LEN},
    hmac,
};
use fjall::Keyspace;

use super::{
    committer::Orders,
    error::{StoreError, Unsealable},
    grants::{self, Grants},
    keys::{self, Handle, KEY_BYTES, SecretKey, TenantSecret},
    limits::{EPOCH_RECORDS_MAX, EPOCHS_OPEN_MAX},
    locked,
    log::commit_blocking,
    reading,
    sealing::{Keys, Purpose, Sealer},
    table::{Table, Write},
    writing,
};

/// Wrapped keys that wait for the next batch, as rows of the key table.
pub(super) type PendingKeys = Mutex<Vec<(Vec<u8>, Vec<u8>)>>;

/// All keys of one tenant, or of the platform.
pub(super) struct KeyRing {
    owner: Arc<Owner>,
    sealers: BTreeMap<Purpose, Arc<PurposeKeys>>,
}

impl KeyRing {
    /// Looks up how many epochs each purpose has had. Without what is held, the ring is withdrawn from the beginning.
    pub fn new(
        label: &str,
        handle: Handle,
        held: Option<Held>,
        table: &Keyspace,
        pending: &Arc<PendingKeys>,
    ) -> Result<Self, StoreError> {
        let owner = Arc::new(Owner {
            label: label.to_owned(),
            handle,
            held: RwLock::new(held),
            gone: RwLock::new(false),
            void_index: keys::mac(&keys::random()?),
            table: table.clone(),
            pending: Arc::clone(pending),
        });
        if let Some(held) = owner.held_mut().as_mut() {
            held.grants = grants::grants_of(&owner, &held.wrapping)?;
        }
        let mut sealers = BTreeMap::new();
        for purpose in Purpose::ALL {
            sealers.insert(purpose, Arc::new(PurposeKeys::load(&owner, purpose, EPOCH_RECORDS_MAX)?));
        }
        Ok(Self { owner, sealers })
    }

    pub fn sealer(&self, purpose: Purpose) -> Sealer {
        Sealer(Keys::Own(Arc::clone(self.keys(purpose))))
    }

    pub fn keys(&self, purpose: Purpose) -> &Arc<PurposeKeys> {
        match self.sealers.get(&purpose) {
            Some(keys) => keys,
            None => unreachable!("the ring is made with every purpose"),
        }
    }

    pub fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Without the key it is something that no row has.
    pub fn blind(&self, parts: &[&[u8]]) -> [u8; 16] {
        match reading(&self.owner.held).as_ref() {
            Some(held) => keys::blind(&held.index, parts),
            None => keys::blind(&self.owner.void_index, parts),
        }
    }

    pub fn handle(&self) -> Handle {
        self.owner.handle
    }

    /// Ends the epochs that seal: each purpose begins another with its next record.
    pub fn turn(&self) {
        for keys in self.sealers.values() {
            keys.turn();
        }
    }

    /// Erases every key. What is sealed from here on is void, and nothing opens.
    pub fn lock(&self) {
        let mut held = writing(&self.owner.held);
        *held = None;
        for keys in self.sealers.values() {
            keys.forget();
        }
    }

    /// Erases every key for good: the tenant was shredded.
    pub fn destroy(&self) {
        *writing(&self.owner.gone) = true;
        self.lock();
    }

    /// Puts the keys back. The next record of each purpose begins an epoch.
    pub fn unlock(&self, mut unlocked: Held) -> Result<(), StoreError> {
        unlocked.grants = grants::grants_of(&self.owner, &unlocked.wrapping)?;
        let mut held = writing(&self.owner.held);
        if held.is_none() && !*reading(&self.owner.gone) {
            *held = Some(unlocked);
        }
        Ok(())
    }

    pub fn is_locked(&self) -> bool {
        reading(&self.owner.held).is_none()
    }
}

/// Whose keys these are.
pub(super) struct Owner {
    /// The tenant's id; empty for the platform, which no tenant id can be.
    pub label: String,
    pub handle: Handle,
    /// None while the tenant's own key is withdrawn. Whoever makes or reads a data key holds this lock for reading;
    /// whoever replaces the wrapping key holds it for writing until that is on disk.
    held: RwLock<Option<Held>>,
    /// The tenant was shredded; nothing is put back.
    gone: RwLock<bool>,
    /// Stands in for the index key while that is withdrawn.
    void_index: hmac::Key,
    pub table: Keyspace,
    pub pending: Arc<PendingKeys>,
}

impl Owner {
    pub fn held(&self) -> RwLockReadGuard<'_, Option<Held>> {
        reading(&self.held)
    }

    pub fn held_mut(&self) -> RwLockWriteGuard<'_, Option<Held>> {
        writing(&self.held)
    }

    /// The wrapped data keys of a purpose, or of all: those on disk and those on their way there, by row key. Call it with
    /// the lock on what is held, so that no further ones begin meanwhile.
    pub fn data_key_rows(&self, purpose: Option<Purpose>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let prefix = match purpose {
            Some(purpose) => row_key(&self.handle, purpose, None),
            None => [b"d".as_slice(), &self.handle].concat(),
        };
        self.rows(&prefix)
    }

    /// The rows of the key table with this prefix, on disk or on their way there.
    pub fn rows(&self, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        // What waits first: whatever leaves there meanwhile is on disk by then.
        let waiting = locked(&self.pending).clone();
        let mut rows = BTreeMap::new();
        for row in self.table.prefix(prefix) {
            let (key, value) = super::table::row(row)?;
            rows.insert(key, value);
        }
        rows.extend(waiting.into_iter().filter(|(key, _)| key.starts_with(prefix)));
        Ok(rows)
    }

    /// A row of the key table, on disk or on its way there.
    pub fn row(&self, wanted: &[u8]) -> Result<Option<Vec<u8>>, Unsealable> {
        let waiting = locked(&self.pending).iter().find(|(key, _)| key == wanted).map(|(_, row)| row.clone());
        if waiting.is_some() {
            return Ok(waiting);
        }
        let row = self.table.get(wanted);
        let row = row.map_err(|error| Unsealable::Unreadable(Arc::from(error.to_string())))?;
        Ok(row.map(|row| row.to_vec()))
    }

    /// Waits until the wrapped keys that wait for a batch are on disk. Blocks.
    pub fn flush(&self, table: &Table, orders: &Orders) -> Result<(), StoreError> {
        if !locked(&self.pending).is_empty() {
            // The removal of a row that is not there: a batch without writes would not be one.
            let nothing = Write::Delete { table: table.clone(), key: NO_ROW.to_vec() };
            commit_blocking(orders, vec![nothing])?;
        }
        Ok(())
    }
}

/// The key of no row.
const NO_ROW: &[u8] = b"-";

/// What a tenant's keys are wrapped and derived with, as long as it lets us.
pub(super) struct Held {
    pub secret: TenantSecret,
    /// The tenant's own key, if it brought one.
    pub guard: Option<SecretKey>,
    /// Wraps the data keys.
    pub wrapping: LessSafeKey,
    /// Makes the blind indexes.
    index: hmac::Key,
    /// Drawn when this was made, never stored: this process derives its new data keys from it.
    fresh: hmac::Key,
    /// To whom data keys are lent, and for what.
    pub grants: Grants,
}

impl Held {
    pub fn new(secret: TenantSecret, guard: Option<SecretKey>) -> Result<Self, StoreError> {
        let (wrapping, index) = (secret.wrapping(), secret.index());
        let fresh = keys::mac(&keys::random()?);
        Ok(Self { secret, guard, wrapping, index, fresh, grants: BTreeMap::new() })
    }
}

/// The data keys of one purpose.
pub(super) struct PurposeKeys {
    owner: Arc<Owner>,
    purpose: Purpose,
    records_max: u64,
    /// The last epoch of earlier processes, or from before the key was withdrawn; none sealed yet if 0.
    stored: AtomicU32,
    /// The epoch that seals; none before the first record.
    current: RwLock<Option<Arc<Epoch>>>,
    /// Earlier epochs, read when a record names them. The oldest makes room.
    earlier: Mutex<BTreeMap<u32, Arc<Epoch>>>,
    /// The last epoch whose key is known to be on disk.
    durable: AtomicU32,
}

impl PurposeKeys {
    pub fn load(owner: &Arc<Owner>, purpose: Purpose, records_max: u64) -> Result<Self, StoreError> {
        let prefix = row_key(&owner.handle, purpose, None);
        let stored = match owner.table.prefix(&prefix).next_back() {
            None => 0,
            Some(row) => {
                let key =
                    row.key().map_err(|error| StoreError::engine("read the epochs of a key", &error))?;
                epoch_of_row(&key).ok_or_else(|| damaged(owner))?
            }
        };
        if stored == u32::MAX {
            return Err(damaged(owner));
        }
        Ok(Self {
            owner: Arc::clone(owner),
            purpose,
            records_max,
            stored: AtomicU32::new(stored),
            current: RwLock::new(None),
            earlier: Mutex::new(BTreeMap::new()),
            durable: AtomicU32::new(0),
        })
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The epoch that seals, or the last one that did; 0 if none has.
    pub fn last_epoch(&self) -> u32 {
        reading(&self.current).as_ref().map_or(self.stored.load(Ordering::Relaxed), |epoch| epoch.id)
    }

    /// Sees to it that the key of an epoch is on disk, for what leaves the store: a batch of its own, once in each epoch.
    /// Blocks.
    pub fn make_durable(&self, id: u32, table: &Table, orders: &Orders) -> Result<(), StoreError> {
        if self.durable.load(Ordering::Acquire) != id {
            self.owner.flush(table, orders)?;
            self.durable.store(id, Ordering::Release);
        }
        Ok(())
    }

    /// The epoch to seal with, and a count that nobody else gets; none while the key is withdrawn.
    pub fn next_count(&self) -> Option<(Arc<Epoch>, u64)> {
        loop {
            let worn = {
                let current = reading(&self.current);
                if let Some(epoch) = current.as_ref() {
                    let count = epoch.used.fetch_add(1, Ordering::Relaxed);
                    if count < self.records_max {
                        return Some((Arc::clone(epoch), count));
                    }
                }
                current.as_ref().map(|epoch| epoch.id)
            };
            if !self.begin_epoch(worn) {
                return None;
            }
        }
    }

    /// Begins the epoch after `worn`, unless another thread already has. Says no while the key is withdrawn.
    fn begin_epoch(&self, worn: Option<u32>) -> bool {
        let held = self.owner.held();
        let Some(held) = held.as_ref() else { return false };
        let mut current = writing(&self.current);
        if current.as_ref().map(|epoch| epoch.id) != worn {
            return true;
        }
        let id = worn.unwrap_or_else(|| self.stored.load(Ordering::Relaxed)) + 1;
        let number = id.to_be_bytes();
        let key = keys::derive(&held.fresh, &[b"key", &[self.purpose as u8], &number]);
        let epoch = Epoch::new(&self.owner.label, self.purpose, id, &key);
        // Pseudo-random, from a key that only this process has ever had: as good as random, and cannot fail.
        let random = keys::derive(&held.fresh, &[b"nonce", &[self.purpose as u8], &number]);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(random.iter()).for_each(|(out, byte)| *out = *byte);
        let wrapped = keys::wrap(&held.wrapping, nonce, &epoch.context, key.as_slice());
        let row = [epoch.fingerprint.as_slice(), wrapped.as_slice()].concat();
        let mut rows = vec![(row_key(&self.owner.handle, self.purpose, Some(id)), row)];
        for ((purpose, _), grant) in &held.grants {
            if *purpose == self.purpose {
                rows.push(grant.lend(&epoch, nonce, &key));
            }
        }
        // Before the epoch is visible to anyone who seals: so no record is sealed whose key does not wait here already.
        locked(&self.owner.pending).extend(rows);
        if let Some(previous) = current.replace(Arc::new(epoch)) {
            self.keep(previous);
        }
        true
    }

    /// Whether the tenant's key is there.
    pub fn stands(&self) -> Result<(), Unsealable> {
        self.owner.held().as_ref().map(|_| ()).ok_or(Unsealable::Withdrawn)
    }

    /// The epoch that a record names.
    pub fn epoch(&self, id: u32) -> Result<Arc<Epoch>, Unsealable> {
        if let Some(epoch) = reading(&self.current).as_ref().filter(|epoch| epoch.id == id) {
            return Ok(Arc::clone(epoch));
        }
        if let Some(epoch) = locked(&self.earlier).get(&id) {
            return Ok(Arc::clone(epoch));
        }
        let held = self.owner.held();
        let held = held.as_ref().ok_or(Unsealable::Withdrawn)?;
        // It may still wait for its batch, if the tenant's key was withdrawn and given back meanwhile.
        let row = self.owner.row(&row_key(&self.owner.handle, self.purpose, Some(id)))?;
        let row = row.ok_or(Unsealable::Key { epoch: id })?;
        let (epoch, _) = open_data_key(&held.wrapping, &self.owner.label, self.purpose, id, &row)
            .ok_or(Unsealable::Key { epoch: id })?;
        let epoch = Arc::new(epoch);
        self.keep(Arc::clone(&epoch));
        Ok(epoch)
    }

    /// Ends the epoch that seals.
    pub fn turn(&self) {
        if let Some(epoch) = reading(&self.current).as_ref() {
            epoch.used.fetch_max(self.records_max, Ordering::Relaxed);
        }
    }

    /// Forgets every data key. The caller holds the lock on what is held.
    fn forget(&self) {
        if let Some(epoch) = writing(&self.current).take() {
            self.stored.store(epoch.id, Ordering::Relaxed);
        }
        locked(&self.earlier).clear();
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
pub(super) struct Epoch {
    pub id: u32,
    pub key: LessSafeKey,
    /// Names the key without showing it.
    pub fingerprint: SecretKey,
    /// All of the associated data but the position.
    pub context: Vec<u8>,
    /// How many records it has sealed; of no use in an epoch that was read from disk, because those only open.
    used: AtomicU64,
}

impl Epoch {
    pub fn new(label: &str, purpose: Purpose, id: u32, key: &SecretKey) -> Self {
        let fingerprint = keys::derive(&keys::mac(key), &[b"muster/fingerprint/1"]);
        let context = context(label, purpose, id, &fingerprint);
        Self { id, key: keys::aes(key), fingerprint, context, used: AtomicU64::new(0) }
    }

    pub fn context(&self, position: &[u8]) -> Vec<u8> {
        [self.context.as_slice(), position].concat()
    }
}

/// The data key in a row: a fingerprint, and the key wrapped under `wrapping`.
pub(super) fn open_data_key(
    wrapping: &LessSafeKey,
    label: &str,
    purpose: Purpose,
    id: u32,
    row: &[u8],
) -> Option<(Epoch, SecretKey)> {
    let (fingerprint, wrapped) = row.split_first_chunk::<KEY_BYTES>()?;
    let context = context(label, purpose, id, fingerprint);
    let key = SecretKey::copy_of(&keys::unwrap(wrapping, &context, wrapped)?)?;
    let epoch = Epoch::new(label, purpose, id, &key);
    // A tenant that brings its own wrapping key could make one row that opens to two data keys; the fingerprint
    // commits to one.
    (epoch.fingerprint.as_slice() == fingerprint.as_slice()).then_some((epoch, key))
}

/// The parts have fixed lengths or carry them, so that no two contexts read the same.
fn context(label: &str, purpose: Purpose, id: u32, fingerprint: &[u8; KEY_BYTES]) -> Vec<u8> {
    let mut context = b"muster/sealed/1".to_vec();
    context.extend_from_slice(&(label.len() as u64).to_be_bytes());
    context.extend_from_slice(label.as_bytes());
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

/// The epoch at the end of a row's key.
pub(super) fn epoch_of_row(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|epoch| u32::from_be_bytes(*epoch))
}

/// The purpose of the data key that a row `d` holds.
pub(super) fn purpose_of_row(key: &[u8]) -> Option<Purpose> {
    let purpose = *key.get(1 + size_of::<Handle>())?;
    Purpose::ALL.into_iter().find(|known| *known as u8 == purpose)
}

pub(super) fn damaged(owner: &Owner) -> StoreError {
    let owner = if owner.label.is_empty() { "the platform" } else { &owner.label };
    StoreError::KeyDamaged { owner: owner.to_owned() }
}

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
        let keys = Arc::new(PurposeKeys::load(owner, Purpose::Audit, 3).unwrap());
        let sealer = Sealer(Keys::Own(keys));
        let records: Vec<Vec<u8>> =
            (0..300_u32).map(|number| sealer.seal(b"", &number.to_be_bytes())).collect();
        let epoch = |record: &Vec<u8>| u32::from_be_bytes(record[1..5].try_into().unwrap());
        assert_eq!(
            records.iter().map(epoch).collect::<Vec<_>>(),
            (0..300).map(|at| at / 3 + 1).collect::<Vec<_>>()
        );
        assert_eq!(locked(&owner.pending).len(), 100);
        let write = Write::Put { table: store.table("rows").unwrap(), key: vec![1], value: Vec::new() };
        store.commit_blocking(vec![write]).unwrap();
        // Now 64 older epochs are held ready, and the others are read from the table.
        assert_eq!(locked(&owner.pending).len(), 0);
        let keys = Arc::new(PurposeKeys::load(owner, Purpose::Audit, 3).unwrap());
        let later = Sealer(Keys::Own(Arc::clone(&keys)));
        for (number, record) in (0..300_u32).zip(&records) {
            assert_eq!(sealer.open(b"", record).unwrap(), number.to_be_bytes());
            assert_eq!(later.open(b"", record).unwrap(), number.to_be_bytes());
        }
        assert_eq!(locked(&keys.earlier).len(), EPOCHS_OPEN_MAX);
        assert_eq!(epoch(&later.seal(b"", b"")), 101);
    }
}
