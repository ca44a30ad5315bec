//! A hub is put back into an empty directory, so that its devices find it as it was.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path, PathBuf},
};

use muster_backup::{Found, HubKey, KEYS, Listed, Manifest, Nowhere, Opened, Place, Repository, Sink};
use muster_broker::store::{Restoration, Store, StoreError, StoreKeys, StoreOptions, StoreSnapshot};
use muster_schemas::TenantId;
use muster_seal::Opener;
use tracing::warn;

use super::{BackupFailure, desk::remember};
use crate::{
    config::{Config, Layout},
    init, keyring, private_file,
    registry::stored::stored_tenants,
    vault::{Passphrase, Vault},
};

/// Which backup, and how to get into it.
pub struct Wanted<'a> {
    /// Where the backups lie.
    pub place: &'a dyn Place,
    /// Which of them.
    pub listed: Listed,
    /// The key of a recipient.
    pub opener: &'a Opener,
    /// What opens the hub's store.
    pub keys: &'a StoreKeys,
    /// Read and check all of it first, before anything is written.
    pub verify: bool,
    /// Go on with what is whole if some is damaged.
    pub damaged: bool,
}

impl Wanted<'_> {
    /// Opens it, checks that the hub with these keys signed it, and reads it through if that is asked for.
    pub(super) fn open<'a>(&'a self, repository: &'a Repository) -> Result<Opened<'a>, BackupFailure> {
        let signer = HubKey::derive(&self.keys.backup_seed())?.signer();
        let mut opened = Opened::open(self.place, repository, self.listed, self.opener, &signer)?;
        if self.verify {
            self.accept(&opened.read(&|_| true, &mut Nowhere)?)?;
        }
        Ok(opened)
    }

    /// Whether what was read is good enough.
    pub(super) fn accept(&self, found: &Found) -> Result<(), BackupFailure> {
        match found.damages.first() {
            Some(first) if !self.damaged => Err(BackupFailure::Damaged {
                damages: found.damages.len() as u64 + found.damages_untold,
                first: first.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// A hub that was put back.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// What was read, and what was damaged.
    pub found: Found,
    /// The tenants that it has, each with the records of its log, and why these cannot all be read.
    pub tenants: Vec<(TenantId, u64, Option<String>)>,
    /// The configuration, with a new identity of the operator beside it; none if the configuration was kept elsewhere.
    pub operator: Option<PathBuf>,
}

/// Puts a hub back into `dir`, which is empty or not there. The passphrase is the one that it had.
///
/// # Errors
/// Anything that keeps the hub from being as it was; what is in `dir` then is of no use.
pub fn restore(
    wanted: &Wanted<'_>,
    dir: &Path,
    passphrase_file: &Path,
    now_s: u64,
) -> Result<Restored, BackupFailure> {
    let io = |what, source| BackupFailure::Io { what, path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(BackupFailure::NotEmpty { path: dir.to_owned() });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("look into", error)),
    }
    let passphrase = Passphrase::read(passphrase_file)?;
    let repository = Repository::open(wanted.place)?;
    let mut opened = wanted.open(&repository)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| io("make", error))?;
    let layout = Layout::new(dir);
    wanted.keys.put(&layout.store())?;
    let store = Store::open(&layout.store(), wanted.keys.root(), StoreOptions::default())?;
    let mut into = Into { dir, store: store.restoration() };
    let found = opened.read(&|_| true, &mut into)?;
    into.store.finish()?;
    wanted.accept(&found)?;

    let vault = Vault::open(&layout.vault(), &passphrase)?;
    keyring::put_storage_key(&layout, &vault, &wanted.keys.root().to_bytes())?;
    let tenants = look_through(&layout, wanted.keys)?;
    let operator = renew_operator(&layout, (&passphrase, passphrase_file), now_s)?;
    remember(&layout.backup_memory(), &opened.memory())?;
    Ok(Restored { manifest: opened.manifest().clone(), found, tenants, operator })
}

/// Gives the operator a new identity: the private key of the old one is in no backup. Puts the passphrase where the
/// configuration looks for it.
fn renew_operator(
    layout: &Layout,
    (passphrase, passphrase_file): (&Passphrase, &Path),
    now_s: u64,
) -> Result<Option<PathBuf>, BackupFailure> {
    if !layout.config().exists() {
        return Ok(None);
    }
    let config = Config::read(&layout.config(), [], &[])?;
    if config.data_dir != layout.data_dir().components().collect::<PathBuf>() {
        return Ok(None);
    }
    if !config.passphrase_file.exists()
        && let Err(error) = passphrase.create(&config.passphrase_file)
    {
        warn!(%error, "the passphrase could not be put where the configuration says");
    }
    init::renew_operator(&Config { passphrase_file: passphrase_file.to_owned(), ..config }, now_s)?;
    Ok(Some(layout.config()))
}

/// Opens the store as the hub will, and reads every log from its beginning to its end.
fn look_through(
    layout: &Layout,
    keys: &StoreKeys,
) -> Result<Vec<(TenantId, u64, Option<String>)>, BackupFailure> {
    let opened = Store::open(&layout.store(), keys.root(), StoreOptions::default());
    let store = opened.map_err(|error| match error {
        StoreError::WrongRootKey | StoreError::KeyDamaged { .. } => BackupFailure::Root(error),
        error => error.into(),
    })?;
    let mut tenants = Vec::new();
    for tenant in stored_tenants(&store)? {
        let (records, why) = match log_of(&store, &tenant) {
            Ok(records) => (records, None),
            Err((records, why)) => (records, Some(why)),
        };
        tenants.push((tenant, records, why));
    }
    store.close();
    Ok(tenants)
}

fn log_of(store: &Store, tenant: &TenantId) -> Result<u64, (u64, String)> {
    const RECORDS: usize = 1_024;
    const BYTES: usize = 1024 * 1024;
    let before = |error: StoreError| (0, error.to_string());
    let keys = store.tenant(tenant).map_err(before)?;
    let keys = keys.ok_or_else(|| (0, "its keys are not there".to_owned()))?;
    let log = keys.log().map_err(before)?;
    let first = log.first().map_err(|error| (0, error.to_string()))?.unwrap_or(1);
    let mut reader = log.reader(first);
    let mut records = 0;
    loop {
        match reader.next_batch(RECORDS, BYTES) {
            Ok(batch) if batch.is_empty() => return Ok(records),
            Ok(batch) => records += batch.len() as u64,
            Err(damage) => return Err((records, damage.to_string())),
        }
    }
}

/// The directory that a hub is put back into.
struct Into<'a> {
    dir: &'a Path,
    store: Restoration,
}

impl Sink for Into<'_> {
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), String> {
        let path = Path::new(path);
        // A signature stands over all of it; and yet nothing is written outside the directory.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("{} leads out of the hub's directory", path.display()));
        }
        let path = self.dir.join(path);
        let write = || {
            if let Some(parent) = path.parent() {
                private_file::create_directory(parent)?;
            }
            // What others could read before, they may read again; the rest only its owner.
            match mode & 0o077 {
                0 => private_file::create(&path, content),
                _ => private_file::create_public(&path, content),
            }
        };
        write().map_err(|error| format!("write {}: {error}", path.display()))
    }

    fn row(&mut self, table: &str, key: Vec<u8>, value: Vec<u8>) -> Result<(), String> {
        let table = if table == KEYS { StoreSnapshot::KEYS } else { table };
        self.store.put(table, key, value).map_err(|error| error.to_string())
    }
}
