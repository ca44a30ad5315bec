//! An audit trail as it is on disk: for whoever reads it, and for the auditor that goes on with it.
//!
//! A row's key is the tenant's handle and the entry's number, eight bytes, big-endian; the value is sealed, and bound to
//! that key, so an entry that is moved, changed or put in by somebody else does not open, and one that is taken out is a
//! gap in the numbers. In the place of number 0 the row of ends says which numbers there are, in the same commit.

use std::ops::RangeInclusive;

use muster_schemas::audit::{AuditEntry, InvalidAudit};

use crate::{
    limits::AUDIT_PAGE_MAX,
    store::{Purpose, Sealer, Store, StoreError, Table, TenantStore, Unsealable, Write},
};

/// The table of all tenants' trails.
const TABLE: &str = "audit";
/// The number under which the row of ends lies.
const ENDS: u64 = 0;

/// Why a trail could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be read.
    #[error("read the audit trail")]
    Store(#[from] StoreError),
    /// An entry was changed on the disk, or its key is lost.
    #[error("open entry {number} of the audit trail")]
    Sealed {
        /// Which.
        number: u64,
        /// Why.
        source: Unsealable,
    },
    /// An entry is of another version.
    #[error("read entry {number} of the audit trail: it {source}")]
    Entry {
        /// Which.
        number: u64,
        /// Why.
        source: InvalidAudit,
    },
    /// A row has a key that none of ours has, or the row of ends is none or was taken out.
    #[error("read the audit trail: a row is none of ours, or is missing")]
    Row,
}

/// An entry and its number.
pub type Numbered = (u64, AuditEntry);

/// A part of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// In order.
    pub entries: Vec<Numbered>,
    /// Numbers within the part that have no entry, as ranges. There are none unless somebody took entries out. On the
    /// last part it goes up to the end of the trail.
    pub missing: Vec<RangeInclusive<u64>>,
    /// The numbers that the whole trail has now; none if it is empty. The oldest entries go when there are too many.
    pub kept: Option<RangeInclusive<u64>>,
}

/// The audit trail of one tenant.
#[derive(Debug, Clone)]
pub struct AuditTrail {
    table: Table,
    sealer: Sealer,
    tenant: TenantStore,
}

impl AuditTrail {
    /// The trail of `tenant`.
    ///
    /// # Errors
    /// The table cannot be opened.
    pub fn open(store: &Store, tenant: TenantStore) -> Result<Self, StoreError> {
        Ok(Self { table: store.table(TABLE)?, sealer: tenant.sealer(Purpose::Audit), tenant })
    }

    /// Up to `limit` entries, at most [`AUDIT_PAGE_MAX`]: those behind the number `after`, or without it the newest. Blocks
    /// for the disk.
    ///
    /// # Errors
    /// What is there cannot be read, or does not open.
    pub fn page(&self, after: Option<u64>, limit: usize) -> Result<AuditPage, AuditError> {
        let limit = limit.min(AUDIT_PAGE_MAX);
        let Some(kept) = self.kept()? else {
            return Ok(AuditPage { entries: Vec::new(), missing: Vec::new(), kept: None });
        };
        let newest = kept.end().saturating_sub(limit as u64);
        let after = after.unwrap_or(newest).max(kept.start() - 1);
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        let mut expected = after.saturating_add(1);
        for row in self.table.prefix_after(&self.tenant.handle(), &self.key(after)).take(limit) {
            let (key, sealed) = row?;
            let number = self.number(&key)?;
            let plain =
                self.sealer.open(&key, &sealed).map_err(|source| AuditError::Sealed { number, source })?;
            let entry = AuditEntry::decode(&plain).map_err(|source| AuditError::Entry { number, source })?;
            if number > expected {
                missing.push(expected..=number - 1);
            }
            expected = number.saturating_add(1);
            entries.push((number, entry));
        }
        if entries.len() < limit && expected <= *kept.end() {
            missing.push(expected..=*kept.end());
        }
        Ok(AuditPage { entries, missing, kept: Some(kept) })
    }

    /// The numbers of the oldest and the newest entry, as the row of ends has them.
    pub(super) fn kept(&self) -> Result<Option<RangeInclusive<u64>>, AuditError> {
        let key = self.key(ENDS);
        let Some(sealed) = self.table.get(&key)? else {
            // Entries and no row of ends: somebody took that out.
            return if self.table.first(&self.tenant.handle())?.is_none() {
                Ok(None)
            } else {
                Err(AuditError::Row)
            };
        };
        let number = ENDS;
        let ends = self.sealer.open(&key, &sealed).map_err(|source| AuditError::Sealed { number, source })?;
        let (first, last) = ends.split_first_chunk::<8>().ok_or(AuditError::Row)?;
        let last = last.try_into().map_err(|_| AuditError::Row)?;
        let (first, last) = (u64::from_be_bytes(*first), u64::from_be_bytes(last));
        if first == 0 || last < first { Err(AuditError::Row) } else { Ok(Some(first..=last)) }
    }

    /// Writes entries from the number `next` on, and removes those from `first` up to but without `keep_from`.
    pub(super) fn writes(&self, entries: &[AuditEntry], next: u64, first: u64, keep_from: u64) -> Vec<Write> {
        let last = (next + entries.len() as u64).saturating_sub(1);
        let ends = [keep_from.to_be_bytes(), last.to_be_bytes()].concat();
        let puts = (next..).zip(entries).map(|(number, entry)| self.put(number, &entry.encode()));
        let removes = (first..keep_from).map(|number| self.remove(number));
        puts.chain(removes).chain([self.put(ENDS, &ends)]).collect()
    }

    fn put(&self, number: u64, plain: &[u8]) -> Write {
        let key = self.key(number);
        Write::Put { table: self.table.clone(), value: self.sealer.seal(&key, plain), key }
    }

    fn remove(&self, number: u64) -> Write {
        Write::Delete { table: self.table.clone(), key: self.key(number) }
    }

    fn key(&self, number: u64) -> Vec<u8> {
        [self.tenant.handle().as_slice(), &number.to_be_bytes()].concat()
    }

    fn number(&self, key: &[u8]) -> Result<u64, AuditError> {
        let number = key.get(self.tenant.handle().len()..).and_then(|number| number.try_into().ok());
        number.map(u64::from_be_bytes).ok_or(AuditError::Row)
    }
}
