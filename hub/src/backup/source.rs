//! What of a hub is backed up: all tables of its store at one instant, and the files beside it that are no secret without
//! a passphrase.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path},
};

use muster_backup::{Handle, KEYS, RowIter, Source};
use muster_broker::store::{Store, StoreSnapshot};
use muster_schemas::TenantId;

use super::BackupFailure;
use crate::{
    config::{Config, Layout},
    limits::{BACKUP_FILE_BYTES_MAX, BACKUP_FILES_MAX},
    private_file,
    registry::stored::stored_tenants,
};

/// A hub at one instant.
pub struct HubSource {
    snapshot: StoreSnapshot,
    tenants: Vec<(Handle, String)>,
    handles: BTreeSet<Handle>,
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl HubSource {
    /// Takes it. The hub may run on meanwhile.
    ///
    /// # Errors
    /// The store or a file cannot be read.
    pub fn take(store: &Store, config: &Config) -> Result<Self, BackupFailure> {
        let snapshot = store.snapshot()?;
        // Read after the instant: a tenant more does no harm.
        let named = |tenant: TenantId| (store.handle(&tenant), tenant.to_string());
        let tenants: Vec<_> = stored_tenants(store)?.into_iter().map(named).collect();
        let handles = tenants.iter().map(|(handle, _)| *handle).collect();
        Ok(Self { snapshot, tenants, handles, files: files(config)? })
    }
}

impl Source for HubSource {
    fn tables(&self) -> Vec<String> {
        let others = |name: &&String| name.as_str() != StoreSnapshot::KEYS;
        self.snapshot.tables().iter().filter(others).cloned().collect()
    }

    fn rows(&self, table: &str) -> RowIter<'_> {
        let table = if table == KEYS { StoreSnapshot::KEYS } else { table };
        match self.snapshot.rows(table) {
            Ok(rows) => Box::new(rows.map(|row| row.map_err(|error| error.to_string()))),
            Err(error) => Box::new(std::iter::once(Err(error.to_string()))),
        }
    }

    fn owner(&self, table: &str, key: &[u8]) -> Option<Handle> {
        let table = if table == KEYS { StoreSnapshot::KEYS } else { table };
        StoreSnapshot::handle_in(table, key).filter(|handle| self.handles.contains(handle))
    }

    fn files(&self) -> Vec<(String, u32, Vec<u8>)> {
        let files = self.files.iter();
        files.map(|(path, (mode, content))| (path.clone(), *mode, content.clone())).collect()
    }

    fn tenants(&self) -> Vec<(Handle, String)> {
        self.tenants.clone()
    }

    fn commit(&self) -> u64 {
        self.snapshot.commit()
    }
}

/// The files that a hub cannot be without. Not among them: what opens the vault and what is sealed with the storage root
/// key's file, the operator's private key, and the number of the last publication, which the time replaces.
fn files(config: &Config) -> Result<BTreeMap<String, (u32, Vec<u8>)>, BackupFailure> {
    let layout = config.layout();
    let operator = layout.operator();
    let mut found = BTreeMap::new();
    let mut paths = vec![
        config.path.clone(),
        layout.vault(),
        layout.server_certificate(),
        layout.server_key(),
        operator.join("cert.pem"),
        operator.join("ca.pem"),
        operator.join("hub.toml"),
    ];
    for directory in [layout.authorities(), layout.tpm_roots()] {
        paths.extend(listed(&directory)?);
    }
    paths.extend(config.tpm_crls.iter().cloned());
    paths.extend(config.backup.iter().flat_map(|backup| backup.recipients.iter().cloned()));
    for path in paths {
        if let Some((name, mode, content)) = file(&layout, &path)? {
            found.insert(name, (mode, content));
        }
        if found.len() > BACKUP_FILES_MAX {
            let why = format!("has more than {BACKUP_FILES_MAX} files that belong into a backup");
            return Err(BackupFailure::File { path: layout.data_dir().to_owned(), why });
        }
    }
    Ok(found)
}

fn listed(directory: &Path) -> Result<Vec<std::path::PathBuf>, BackupFailure> {
    let io = |source| BackupFailure::Io { what: "list", path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    entries.map(|entry| Ok(entry.map_err(io)?.path())).collect()
}

/// A file below the hub's directory; none if it is not there or lies elsewhere.
fn file(layout: &Layout, path: &Path) -> Result<Option<(String, u32, Vec<u8>)>, BackupFailure> {
    let Ok(name) = path.strip_prefix(layout.data_dir()) else { return Ok(None) };
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(None);
    }
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => {
            metadata.map_err(|source| BackupFailure::Io { what: "read", path: path.to_owned(), source })?
        }
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let content = private_file::read_public(path, BACKUP_FILE_BYTES_MAX)?;
    Ok(Some((name.to_string_lossy().into_owned(), metadata.permissions().mode() & 0o777, content)))
}
