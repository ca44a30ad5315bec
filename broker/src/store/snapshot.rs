//! The store as it is at one instant, for backups: all tables, and nothing but sealed rows. The hub goes on meanwhile.

use std::fmt;

use fjall::{Database, Readable as _, Snapshot};
use muster_schemas::TenantId;

use super::{
    KEYS_TABLE, MARKS_TABLE, Scan, Store, StoreError,
    committer::MARK_NUMBER,
    keys::{Handle, SecretKey},
    log, open_table, reading,
};

/// All tables at one instant. The store cannot forget old rows while it lives, so it is to be dropped soon.
pub struct StoreSnapshot {
    db: Database,
    snapshot: Snapshot,
    tables: Vec<String>,
    commit: u64,
}

impl Store {
    /// The store as it is now. Whatever was acknowledged before is in it.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        let shared = &self.0.shared;
        let snapshot = shared.db.snapshot();
        let mut tables: Vec<String> =
            shared.db.list_keyspace_names().into_iter().map(|name| name.to_string()).collect();
        tables.sort_unstable();
        let number = snapshot.get(&shared.marks, MARK_NUMBER);
        let number = number.map_err(|error| StoreError::engine("read a mark", &error))?;
        let commit = log::number(number.as_deref())?;
        Ok(StoreSnapshot { db: shared.db.clone(), snapshot, tables, commit })
    }

    /// What the key that signs backups is made of, as in [`super::StoreKeys::backup_seed`].
    pub fn backup_seed(&self) -> SecretKey {
        reading(&self.0.root).lasting().backup()
    }

    /// What a tenant's rows begin with, whether or not there is such a tenant.
    pub fn handle(&self, tenant: &TenantId) -> [u8; 16] {
        reading(&self.0.root).handle(tenant.as_str())
    }
}

impl StoreSnapshot {
    /// The table of the wrapped keys.
    pub const KEYS: &'static str = KEYS_TABLE;

    /// The names of all tables, those of the store's own among them.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// The last commit that is in it.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// The rows of a table that there is, in order.
    ///
    /// # Errors
    /// The engine cannot open it.
    pub fn rows(&self, table: &str) -> Result<Scan, StoreError> {
        let keyspace = open_table(&self.db, table)?;
        Ok(Scan::of(self.snapshot.iter(&keyspace)))
    }

    /// What stands where a row of this table has its tenant's handle, if it has one.
    pub fn handle_in(table: &str, key: &[u8]) -> Option<Handle> {
        let key = match table {
            // A letter says what kind of row it is.
            KEYS_TABLE | MARKS_TABLE => key.get(1..)?,
            _ => key,
        };
        key.first_chunk().copied()
    }
}

impl fmt::Debug for StoreSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSnapshot").field("commit", &self.commit).finish_non_exhaustive()
    }
}
