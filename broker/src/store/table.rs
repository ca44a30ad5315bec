//! A table: rows in the order of their keys. It reads; writing goes through a commit.

use std::fmt;

use fjall::{Database, Guard, Iter, Keyspace, Readable as _, Snapshot};

use super::{
    error::{CommitError, StoreError},
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
};

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What the committer does besides storing the rows of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// Keeps the marks of each log and lets nobody leave a gap.
    Log,
}

/// One table of the store. Cheap to clone; the store stays open as long as one of its tables is held.
#[derive(Clone)]
pub struct Table {
    name: &'static str,
    pub(super) role: Role,
    pub(super) keyspace: Keyspace,
    db: Database,
}

impl Table {
    pub(super) fn new(name: &'static str, role: Role, keyspace: Keyspace, db: Database) -> Self {
        Self { name, role, keyspace, db }
    }

    /// Another table of the same store.
    pub(super) fn sibling(&self, name: &'static str, keyspace: Keyspace) -> Self {
        Self { name, role: Role::Plain, keyspace, db: self.db.clone() }
    }

    /// The store as it is now, all tables at one instant.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// The name of the table.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.keyspace.get(key).map_err(|error| StoreError::engine("read a row", &error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// The rows whose keys begin with `prefix`, in order.
    pub fn prefix(&self, prefix: &[u8]) -> Scan {
        Scan { rows: self.db.snapshot().prefix(&self.keyspace, prefix) }
    }

    /// The rows whose keys begin with `prefix` and come after `after`: goes on where an earlier scan stopped.
    pub fn prefix_after(&self, prefix: &[u8], after: &[u8]) -> Scan {
        // The smallest key greater than `after` is `after` and a zero byte.
        let mut from = after.to_vec();
        from.push(0);
        self.range(if from.as_slice() < prefix { prefix } else { &from }, past(prefix).as_deref())
    }

    /// The rows from `from` up to but without `to`; without `to`, up to the end of the table.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Scan {
        let snapshot = self.db.snapshot();
        let rows = match to {
            // The engine would panic on a range that ends before it begins.
            Some(to) => snapshot.range(&self.keyspace, from..to.max(from)),
            None => snapshot.range(&self.keyspace, from..),
        };
        Scan { rows }
    }

    /// The first row whose key begins with `prefix`.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn first(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        self.prefix(prefix).next().transpose()
    }

    /// The last row whose key begins with `prefix`.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        self.prefix(prefix).rows.next_back().map(row).transpose()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

/// Rows in order, as they were when the scan began. It has no end of its own but the table's: bound it with `take`,
/// and do not keep it, because the store cannot forget old rows while it lives.
pub struct Scan {
    rows: Iter,
}

impl Scan {
    pub(super) fn of(rows: Iter) -> Self {
        Self { rows }
    }
}

impl Iterator for Scan {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(row)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(row)
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scan")
    }
}

/// The key and the value behind an iterator's guard.
pub(super) fn row(guard: Guard) -> Result<Row, StoreError> {
    let (key, value) = guard.into_inner().map_err(|error| StoreError::engine("read a row", &error))?;
    Ok((key.to_vec(), value.to_vec()))
}

/// The smallest key after all that begin with `prefix`; none if there is no such key.
fn past(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(byte) = end.pop() {
        if let Some(next) = byte.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// One change of one row.
#[derive(Debug, Clone)]
pub enum Write {
    /// Sets a row.
    Put {
        /// Where.
        table: Table,
        /// 1 to 1,024 bytes.
        key: Vec<u8>,
        /// Up to 16 MiB.
        value: Vec<u8>,
    },
    /// Removes a row, if there is one.
    Delete {
        /// Where.
        table: Table,
        /// 1 to 1,024 bytes.
        key: Vec<u8>,
    },
}

impl Write {
    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }

    /// Checks the bounds of key and value.
    pub(super) fn check(&self) -> Result<(), CommitError> {
        let (key, value) = match self {
            Self::Put { key, value, .. } => (key, value.len()),
            Self::Delete { key, .. } => (key, 0),
        };
        // The engine panics on an empty key.
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: key.len(), max: KEY_BYTES_MAX });
        }
        if value > VALUE_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: value, max: VALUE_BYTES_MAX });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(past(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(past(&[1, 255]), Some(vec![2]));
        assert_eq!(past(&[255, 255]), None);
        assert_eq!(past(b""), None);
    }
}
