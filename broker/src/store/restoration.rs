//! Puts rows of a backup into a store that no hub has open. They go through the committer as all others do, so that a crash
//! leaves what a crash leaves, but past the rules of logs: a restored log ends where the backup does.

use std::{collections::BTreeMap, fmt};

use muster_schemas::TenantId;

use super::{
    CommitError, KEYS_TABLE, MARKS_TABLE, Scan, Store, StoreError, StoreSnapshot, Table, Write,
    committer::MARK_NUMBER, limits::RESTORED_BYTES_MAX, open_table, table::Role,
};

/// A store that takes rows as they are. What the store itself held in memory no longer holds, so it is closed at the end.
pub struct Restoration {
    store: Store,
    tables: BTreeMap<String, Table>,
    writes: Vec<Write>,
    bytes: usize,
}

impl Store {
    /// Opens the store for rows of a backup. Nobody else may have it open, nor a tenant of it.
    pub fn restoration(self) -> Restoration {
        Restoration { store: self, tables: BTreeMap::new(), writes: Vec::new(), bytes: 0 }
    }
}

impl Restoration {
    /// Puts a row in its place. Blocks when enough have come together.
    ///
    /// # Errors
    /// It could not be stored.
    pub fn put(&mut self, table: &str, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        // The count of the batches is this store's own, and its witness knows it.
        if table == MARKS_TABLE && key == MARK_NUMBER {
            return Ok(());
        }
        let table = self.table(table)?;
        self.write(Write::Put { table, key, value })
    }

    /// Removes all rows that are a tenant's own, its keys first: without them the rest is nothing.
    ///
    /// # Errors
    /// They could not be read or removed.
    pub fn remove_tenant(&mut self, tenant: &TenantId) -> Result<u64, StoreError> {
        let handle = self.store.handle(tenant);
        let snapshot = self.store.snapshot()?;
        let mut removed = 0;
        let (first, rest): (Vec<_>, Vec<_>) =
            snapshot.tables().iter().partition(|name| name.as_str() == StoreSnapshot::KEYS);
        for name in first.into_iter().chain(rest) {
            let table = self.table(name)?;
            let rows: Scan = match name.as_str() {
                KEYS_TABLE | MARKS_TABLE => snapshot.rows(name)?,
                _ => table.prefix(&handle),
            };
            for row in rows {
                let (key, _) = row?;
                if StoreSnapshot::handle_in(name, &key) == Some(handle) {
                    removed += 1;
                    self.write(Write::Delete { table: table.clone(), key })?;
                }
            }
        }
        self.flush()?;
        Ok(removed)
    }

    /// Stores what is left, and closes the store.
    ///
    /// # Errors
    /// It could not be stored.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.store.close();
        Ok(())
    }

    fn table(&mut self, name: &str) -> Result<Table, StoreError> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        let db = &self.store.0.shared.db;
        // As a plain table, also the log: its rules are for what is appended.
        let table = Table::new("restored", Role::Plain, open_table(db, name)?, db.clone());
        self.tables.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    fn write(&mut self, write: Write) -> Result<(), StoreError> {
        self.bytes += write.bytes();
        self.writes.push(write);
        if self.bytes >= RESTORED_BYTES_MAX || self.writes.len() >= RESTORED_BYTES_MAX / 64 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CommitError> {
        self.bytes = 0;
        self.store.commit_blocking(std::mem::take(&mut self.writes))
    }
}

impl fmt::Debug for Restoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Restoration").field(&self.store).finish()
    }
}
