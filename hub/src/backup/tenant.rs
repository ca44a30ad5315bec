//! One tenant is put back into a hub that is stopped, as it was when the backup was made. The hub keeps its storage root
//! key, its own keys and all other tenants.
//!
//! The registry's rows are sealed with the platform's keys of then. So a small store is made beside the hub's own, with
//! those keys, the registry of then and the tenant's rows, and both are opened.

use std::{fs, io};

use muster_backup::{FILES, Found, Handle, KEYS, Repository, Sink};
use muster_broker::store::{Restoration, Store, StoreError, StoreOptions, StoreSnapshot};
use muster_schemas::TenantId;

use super::{BackupFailure, Wanted};
use crate::{
    config::Config,
    registry::stored::{PutBack, put_tenant_back},
};

/// The table of the registry, whose rows say in a sealed place whose they are.
const REGISTRY: &str = "registry";

/// A tenant that was put back.
#[derive(Debug)]
pub struct TenantRestored {
    /// From which backup.
    pub number: u64,
    /// What was read, and what was damaged.
    pub found: Found,
    /// Rows that the tenant had in the store, and that went.
    pub removed: u64,
    /// Rows that it has now.
    pub rows: u64,
    /// What became of it in the registry.
    pub registry: PutBack,
}

/// Puts a tenant back into the hub with this configuration, which does not run. If it breaks off, it is run again: until
/// then the tenant is not there, or has some of its rows, and everybody else is as before.
///
/// # Errors
/// The backup does not have the tenant, or is damaged; the hub runs; the disk.
pub fn restore_tenant(
    wanted: &Wanted<'_>,
    config: &Config,
    tenant: &TenantId,
) -> Result<TenantRestored, BackupFailure> {
    let layout = config.layout();
    let number = wanted.listed.number;
    let open = |path: &std::path::Path| Store::open(path, wanted.keys.root(), StoreOptions::default());
    let refused = |why| BackupFailure::Tenant { tenant: tenant.clone(), number, why };
    let repository = Repository::open(wanted.place)?;
    let mut opened = wanted.open(&repository)?;
    if !opened.manifest().tenants.iter().any(|counted| counted.tenant == tenant.as_str()) {
        return Err(refused("there was no such tenant then; see: muster backup list --key"));
    }
    // First, so that a hub that runs is found before anything is done.
    let now = open(&layout.store())?;
    let is_shredded = now.is_shredded(tenant)?;
    now.close();
    drop(now);
    if is_shredded {
        return Err(refused(
            "its keys were destroyed since, for good; to have them out of the backups: muster backup forget",
        ));
    }
    let handle = wanted.keys.handle(tenant);

    let beside = layout.restoring();
    let clear = || match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupFailure::Io { what: "remove", path: beside.clone(), source: error })
        }
        _ => Ok(()),
    };
    clear()?;
    wanted.keys.put(&beside)?;
    let mut into = Beside { handle, store: open(&beside)?.restoration() };
    let found = opened.read(&|table| table != FILES, &mut into)?;
    into.store.finish()?;
    wanted.accept(&found)?;
    let then = match open(&beside) {
        Err(StoreError::WrongRootKey) => {
            return Err(refused(
                "the storage root key was replaced since; restore the whole hub of then elsewhere",
            ));
        }
        then => then?,
    };
    if then.tenant(tenant)?.is_none() {
        return Err(refused("its keys are no longer in it: it was forgotten, or they are damaged"));
    }

    let mut now = open(&layout.store())?.restoration();
    let removed = now.remove_tenant(tenant)?;
    let mut rows = 0;
    {
        let snapshot = then.snapshot()?;
        // The keys last: a tenant without keys is not served, one without rows would be.
        let (keys, rest): (Vec<_>, Vec<_>) =
            snapshot.tables().iter().partition(|name| name.as_str() == StoreSnapshot::KEYS);
        for table in rest.into_iter().chain(keys) {
            for row in snapshot.rows(table)? {
                let (key, value) = row?;
                if StoreSnapshot::handle_in(table, &key) == Some(handle) {
                    rows += 1;
                    now.put(table, key, value)?;
                }
            }
        }
    }
    now.finish()?;
    let now = open(&layout.store())?;
    let registry = put_tenant_back(&then, &now, tenant)?;
    now.close();
    then.close();
    drop((now, then));
    clear()?;
    Ok(TenantRestored { number, found, removed, rows, registry })
}

/// The small store.
struct Beside {
    handle: Handle,
    store: Restoration,
}

impl Sink for Beside {
    fn file(&mut self, _: &str, _: u32, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn row(&mut self, table: &str, key: Vec<u8>, value: Vec<u8>) -> Result<(), String> {
        let table = if table == KEYS { StoreSnapshot::KEYS } else { table };
        let is_wanted = table == StoreSnapshot::KEYS
            || table == REGISTRY
            || StoreSnapshot::handle_in(table, &key) == Some(self.handle);
        match is_wanted {
            true => self.store.put(table, key, value).map_err(|error| error.to_string()),
            false => Ok(()),
        }
    }
}
