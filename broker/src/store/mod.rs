//! The store: one engine (fjall), one committer, and keys that nobody but the tenant's own actors hold.
//!
//! What is acknowledged is on disk, what is on disk is sealed, and what is damaged is named. Not for deciding what is
//! stored: it knows tables, logs and keys, and no topic, session or device.
//!
//! ```text
//!  router ─ commit ─▶ ┌───────────┐ one batch, one fdatasync    ┌────────────────────────────────────┐
//!  registry ────────▶ │ committer │ ──────────────────────────▶ │ engine: log, keys, marks, tables.. │
//!  telemetry ───────▶ └───────────┘ ── then ──▶ witness         └────────────────────────────────────┘
//!     ◀────── done ─────────┘
//! ```

mod bundle;
mod carried;
mod committer;
mod custody;
mod error;
mod field;
mod grants;
mod journal;
mod keys;
pub mod limits;
mod log;
mod purge;
mod restoration;
mod ring;
mod sealing;
mod shred;
mod snapshot;
mod table;
mod tear;
mod tenant;
mod witness;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread::JoinHandle,
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions,
    config::{CompressionPolicy, PinningPolicy},
};
use muster_schemas::TenantId;

pub use bundle::Bundle;
pub use carried::StoreKeys;
pub use committer::{Commit, Done, Fence, Stats};
pub use custody::{KeyOrigin, KeyStatus, RootStatus};
pub use error::{CommitError, DamageKind, LogDamage, StoreError, Unsealable};
pub use field::{FieldSealer, UnsealableField};
pub use grants::Lent;
pub use keys::{RootKey, SecretKey};
pub use log::{LogReader, TenantLog};
pub use purge::Purged;
pub use restoration::Restoration;
pub use sealing::{Purpose, SEALED_OVERHEAD_BYTES, Sealer};
pub use shred::{Destroyed, Shredding};
pub use snapshot::StoreSnapshot;
pub use table::{Row, Scan, Table, Write};
pub use tenant::TenantStore;

use committer::{Committer, MARK_NUMBER, Orders, Shared};
use custody::{GONE, SECRET, row_key};
use keys::{RootKeys, TenantSecret};
use limits::{
    CACHE_BYTES_MAX, COMMITS_WAITING_MAX, DISK_FREE_BYTES_MIN_DEFAULT, JOURNALS_BYTES_MAX,
    MEMTABLE_BYTES_MAX, OPEN_FILES_MAX, TABLE_NAME_BYTES_MAX, WORKER_THREADS,
};
use ring::{Held, KeyRing};
use table::Role;
use witness::Witness;

// The dots keep these out of reach of `Store::table`.
const KEYS_TABLE: &str = "store.keys";
const MARKS_TABLE: &str = "store.marks";
const LOG_TABLE: &str = "store.log";
const ENGINE_DIRECTORY: &str = "engine";
const WITNESS_FILE: &str = "acknowledged";
/// The row of the key table that tells one root key from another.
const ROOT_ROW: &[u8] = b"r";
/// The name under which the platform's own keys are made. No tenant can have it.
const PLATFORM: &str = "";

/// How a store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Free bytes on the disk below which nothing is written. It has to leave room for flushes and compactions.
    pub disk_free_bytes_min: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { disk_free_bytes_min: DISK_FREE_BYTES_MIN_DEFAULT }
    }
}

/// Whether a commit would be taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It would.
    Writable,
    /// It would be refused until there is space.
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        min: u64,
    },
    /// It would fail, and so will all others until the process is restarted.
    Failed(String),
}

/// The store. Cheap to clone. It closes when it is told to or when the last clone is dropped; the directory is free for
/// another process once all tables, logs, readers and scans are dropped as well.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    orders: Orders,
    thread: Mutex<Option<JoinHandle<()>>>,
    root: RwLock<RootKeys>,
    platform: OnceLock<KeyRing>,
    log: Table,
    tenants: Mutex<BTreeMap<TenantId, TenantStore>>,
}

impl Store {
    /// Opens the store in `dir`, or creates it, and starts the committer.
    ///
    /// # Errors
    /// The directory is unusable, locked or damaged; acknowledged commits are missing; the root key is another one.
    pub fn open(dir: &Path, root: RootKey, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(dir, root, options, |committer, orders| {
            let thread = std::thread::Builder::new().name("committer".to_owned());
            thread.spawn(move || committer.run()).map(|thread| (orders, Some(thread)))
        })
    }

    /// As [`Store::open`], but the committer works when [`Store::step`] is called, in its caller's thread.
    #[cfg(test)]
    pub(crate) fn open_stepped(dir: &Path, root: RootKey, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(dir, root, options, |committer, mut orders| {
            orders.stepped = Some(Arc::new(Mutex::new(committer)));
            Ok((orders, None))
        })
    }

    /// Stores what was sent, as one group, and answers it. Whether there was anything.
    #[cfg(test)]
    pub(crate) fn step(&self) -> bool {
        self.0.orders.stepped.as_ref().is_some_and(|committer| locked(committer).step())
    }

    /// Whether this is the store of a simulated world, where all is one thread.
    #[cfg(test)]
    pub(crate) fn is_stepped(&self) -> bool {
        self.0.orders.stepped.is_some()
    }

    fn open_with(
        dir: &Path,
        root: RootKey,
        options: StoreOptions,
        start: impl FnOnce(Committer, Orders) -> io::Result<(Orders, Option<JoinHandle<()>>)>,
    ) -> Result<Self, StoreError> {
        let io = |what| move |source| StoreError::Io { what, path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("create directory"))?;
        let root = carried::load(dir, RootKeys::derive(&root))?;
        let witness = Witness::open(&dir.join(WITNESS_FILE), root.witness());
        let witness = witness.map_err(io("open the witness in"))?;
        let engine = dir.join(ENGINE_DIRECTORY);
        let (expected, cut) = tear::mend(dir, &engine, &witness)?;
        let found = open_known(&engine, &root).and_then(|found| match found.number {
            number if witness.claimed() > number => Err(witness.missing(number)),
            number if expected.is_some_and(|expected| expected != number) => Err(StoreError::Damaged {
                path: engine.clone(),
                why: format!(
                    "its journal ends with another commit than {number}, the last one in the tables"
                ),
            }),
            _ => Ok(found),
        });
        let Known { db, keys, marks, log, number } = match (found, cut) {
            (Ok(found), None) => found,
            (Ok(found), Some(cut)) => {
                cut.settle(found.number, witness.claimed());
                found
            }
            (Err(error), cut) => {
                cut.into_iter().for_each(tear::Cut::put_back);
                return Err(error);
            }
        };
        witness.sync().map_err(io("sync the witness in"))?;
        if carried::is_unfinished(dir) {
            // Somebody was stopped while the root key was replaced. This one is in place: the other is good for nothing.
            carried::store(dir, &[&root])?;
        }

        let shared = Arc::new(Shared {
            db: db.clone(),
            keys,
            marks,
            directory: dir.to_owned(),
            pending: Arc::default(),
            disk_free_bytes_min: AtomicU64::new(options.disk_free_bytes_min),
            failed: OnceLock::new(),
            closing: AtomicBool::new(false),
            stats: Mutex::default(),
            #[cfg(test)]
            break_disk: AtomicBool::new(false),
        });
        let (orders, received) = sync_channel(COMMITS_WAITING_MAX);
        let committer = Committer {
            shared: Arc::clone(&shared),
            orders: received,
            number,
            witness,
            tails: BTreeMap::new(),
        };
        let (orders, thread) = start(committer, Orders::new(orders)).map_err(io("start the committer of"))?;
        let store = Self(Arc::new(Inner {
            shared,
            orders,
            thread: Mutex::new(thread),
            root: RwLock::new(root),
            platform: OnceLock::new(),
            log: Table::new(LOG_TABLE, Role::Log, log, db),
            tenants: Mutex::default(),
        }));
        store.open_platform()?;
        Ok(store)
    }

    /// Opens the table `name`, or creates it.
    ///
    /// # Errors
    /// The name is not 1 to 64 characters of `a-z`, `0-9` and `-`, or the engine cannot create it.
    pub fn table(&self, name: &'static str) -> Result<Table, StoreError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > TABLE_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(StoreError::TableName(name));
        }
        let db = &self.0.shared.db;
        Ok(Table::new(name, Role::Plain, open_table(db, name)?, db.clone()))
    }

    /// Generates the keys of a tenant. They are on disk, wrapped, when this returns. Blocks meanwhile.
    ///
    /// # Errors
    /// The tenant has keys already, or they could not be stored.
    pub fn create_tenant(&self, tenant: &TenantId) -> Result<TenantStore, StoreError> {
        self.create_tenant_at(tenant, 0)
    }

    /// As [`Store::create_tenant`], and notes the time, in Unix seconds.
    ///
    /// # Errors
    /// The tenant has keys already, or they could not be stored.
    pub fn create_tenant_at(&self, tenant: &TenantId, now_s: u64) -> Result<TenantStore, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let label = tenant.as_str();
        if tenants.contains_key(tenant) || self.secret_row(label)?.is_some() {
            return Err(StoreError::TenantExists(tenant.clone()));
        }
        if self.is_shredded(tenant)? {
            return Err(StoreError::Shredded(tenant.clone()));
        }
        let secret = TenantSecret::generate()?;
        let row = self.first_secret_row(label, &secret, now_s)?;
        let keys = self.key_ring(label, Some(Held::new(secret, None)?))?;
        self.commit_blocking(vec![row])?;
        let store = self.tenant_store(tenant, keys);
        tenants.insert(tenant.clone(), store.clone());
        Ok(store)
    }

    /// The keys and the log of a tenant; none if it was not created, or was shredded. A tenant whose own key is withdrawn
    /// is there, and neither seals nor opens anything: see [`TenantStore::is_withdrawn`].
    ///
    /// # Errors
    /// Its keys are damaged or cannot be read.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantStore>, StoreError> {
        self.find(tenant, &mut locked(&self.0.tenants))
    }

    fn find(
        &self,
        tenant: &TenantId,
        tenants: &mut BTreeMap<TenantId, TenantStore>,
    ) -> Result<Option<TenantStore>, StoreError> {
        if let Some(store) = tenants.get(tenant) {
            return Ok(Some(store.clone()));
        }
        let label = tenant.as_str();
        let Some(row) = self.secret_row(label)? else { return Ok(None) };
        let store = self.tenant_store(tenant, self.key_ring(label, self.held(label, &row)?)?);
        tenants.insert(tenant.clone(), store.clone());
        Ok(Some(store))
    }

    /// Whether the keys of a tenant of this name were destroyed.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn is_shredded(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let key = row_key(GONE, &reading(&self.0.root).handle(tenant.as_str()));
        Ok(self.keys_table().get(&key)?.is_some())
    }

    /// Who lends data keys of a purpose to whom, by the handles of the tenants. Grants that lack a part are among them.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn lent(&self, purpose: Purpose) -> Result<Vec<Lent>, StoreError> {
        grants::all(&self.keys_table(), purpose)
    }

    /// Seals what belongs to the platform and no tenant: rows of the registry.
    pub fn platform(&self) -> Sealer {
        self.platform_sealer(Purpose::Registry)
    }

    /// Seals what belongs to the platform, for another purpose than the registry.
    pub fn platform_sealer(&self, purpose: Purpose) -> Sealer {
        self.platform_keys().sealer(purpose)
    }

    /// As `TenantStore::blind`, for what belongs to the platform.
    pub fn platform_blind(&self, parts: &[&[u8]]) -> [u8; 16] {
        self.platform_keys().blind(parts)
    }

    /// Stores a commit. Returns at once; the outcome goes to its `done`.
    pub fn commit(&self, commit: Commit) {
        committer::send(&self.0.orders, commit);
    }

    /// Stores writes and waits for it: for start-up and tests, never in an actor and never in a `done`.
    ///
    /// # Errors
    /// They were not stored.
    pub fn commit_blocking(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        log::commit_blocking(&self.0.orders, writes)
    }

    /// Whether a commit would be taken now. Asks the disk: about a microsecond.
    pub fn health(&self) -> Health {
        let shared = &self.0.shared;
        if let Some(why) = shared.failed.get() {
            return Health::Failed(why.to_string());
        }
        let min = shared.disk_free_bytes_min.load(Ordering::Relaxed);
        match shared.disk_free() {
            Ok(free) if free < min => Health::DiskFull { free, min },
            Ok(_) => Health::Writable,
            Err(error) => Health::Failed(format!("read the free space: {error}")),
        }
    }

    /// Sets how many bytes of the disk must stay free, from the next commit on.
    pub fn set_disk_free_bytes_min(&self, bytes: u64) {
        self.0.shared.disk_free_bytes_min.store(bytes, Ordering::Relaxed);
    }

    /// What the committer has done so far.
    pub fn stats(&self) -> Stats {
        *locked(&self.0.shared.stats)
    }

    /// Finishes what was sent, answers it and ends the committer. Later commits are refused as closed.
    pub fn close(&self) {
        self.0.close();
    }

    fn platform_keys(&self) -> &KeyRing {
        match self.0.platform.get() {
            Some(keys) => keys,
            None => unreachable!("opening a store makes or reads the platform's keys"),
        }
    }

    fn open_platform(&self) -> Result<(), StoreError> {
        let damaged = || StoreError::KeyDamaged { owner: "the platform".to_owned() };
        let held = match self.secret_row(PLATFORM)? {
            Some(row) => self.held(PLATFORM, &row)?,
            None if self.0.shared.keys.contains_key(ROOT_ROW).unwrap_or(true) => return Err(damaged()),
            None => {
                let secret = TenantSecret::generate()?;
                let status = RootStatus { generation: 1, made_at_s: 0 };
                let root = Write::Put {
                    table: self.keys_table(),
                    key: ROOT_ROW.to_vec(),
                    value: custody::root_row(&reading(&self.0.root), status),
                };
                self.commit_blocking(vec![root, self.first_secret_row(PLATFORM, &secret, 0)?])?;
                Some(Held::new(secret, None)?)
            }
        };
        let keys = self.key_ring(PLATFORM, held)?;
        self.0.platform.get_or_init(|| keys);
        Ok(())
    }

    fn tenant_store(&self, tenant: &TenantId, keys: KeyRing) -> TenantStore {
        TenantStore {
            tenant: tenant.clone(),
            keys: Arc::new(keys),
            log: self.0.log.clone(),
            marks: self.0.shared.marks.clone(),
            orders: self.0.orders.clone(),
        }
    }

    fn key_ring(&self, label: &str, held: Option<Held>) -> Result<KeyRing, StoreError> {
        let shared = &self.0.shared;
        let handle = reading(&self.0.root).handle(label);
        KeyRing::new(label, handle, held, &shared.keys, &shared.pending)
    }

    fn secret_row(&self, label: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let handle = reading(&self.0.root).handle(label);
        self.keys_table().get(&row_key(SECRET, &handle))
    }

    fn keys_table(&self) -> Table {
        let shared = &self.0.shared;
        Table::new(KEYS_TABLE, Role::Plain, shared.keys.clone(), shared.db.clone())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.shared.directory).finish()
    }
}

impl Inner {
    fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        // If the channel is full, the committer is awake and sees the flag; this only wakes it.
        self.orders.close();
        let Some(thread) = locked(&self.thread).take() else { return };
        // A `done` may hold the last clone of the store: then the committer ends by itself, right after it.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the committer panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// An engine that was opened and belongs to the root key.
struct Known {
    db: Database,
    keys: Keyspace,
    marks: Keyspace,
    log: Keyspace,
    /// The last commit in it.
    number: u64,
}

fn open_known(path: &Path, root: &RootKeys) -> Result<Known, StoreError> {
    let db = open_engine(path)?;
    let [keys, marks, log] =
        [open_table(&db, KEYS_TABLE)?, open_table(&db, MARKS_TABLE)?, open_table(&db, LOG_TABLE)?];
    let number = marks.get(MARK_NUMBER).map_err(|error| StoreError::engine("read a mark", &error))?;
    let number = log::number(number.as_deref())?;
    let found = keys.get(ROOT_ROW).map_err(|error| StoreError::engine("read the root row", &error))?;
    match found {
        Some(found) if found.starts_with(root.check()) => {}
        Some(_) => return Err(StoreError::WrongRootKey),
        None if number > 0 => return Err(StoreError::KeyDamaged { owner: "the store".to_owned() }),
        None => {}
    }
    Ok(Known { db, keys, marks, log, number })
}

/// Opens the engine. It meets some damage with an error and some with a panic; both are refusals to open.
fn open_engine(path: &Path) -> Result<Database, StoreError> {
    let builder = Database::builder(path)
        .cache_size(CACHE_BYTES_MAX)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .worker_threads(WORKER_THREADS)
        // Sealed bytes do not get smaller.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true);
    let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
    match catch_unwind(AssertUnwindSafe(|| builder.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(fjall::Error::Locked)) => Err(StoreError::Locked { path: path.to_owned() }),
        Ok(Err(fjall::Error::Io(source))) if source.kind() != io::ErrorKind::InvalidData => {
            Err(StoreError::Io { what: "open the engine in", path: path.to_owned(), source })
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(damaged(text.unwrap_or("the engine panicked").to_owned()))
        }
    }
}

fn open_table(db: &Database, name: &str) -> Result<Keyspace, StoreError> {
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE_BYTES_MAX)
            .manual_journal_persist(true)
            .data_block_compression_policy(CompressionPolicy::disabled())
            .index_block_compression_policy(CompressionPolicy::disabled())
            .filter_block_pinning_policy(PinningPolicy::all(false))
            .index_block_pinning_policy(PinningPolicy::all(false))
    };
    db.keyspace(name, options).map_err(|error| StoreError::engine("open a table", &error))
}

/// The value behind a lock. A thread that panicked while it held one of these left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn writing<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
