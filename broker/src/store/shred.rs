//! Destroys the keys of a tenant, and shows that they are destroyed: what they sealed, wherever a copy of it lies, is noise
//! from then on.
//!
//! One commit removes every row that holds one of them and writes down which they were; from that moment on nobody opens
//! anything, also after a crash. What follows can be repeated: the rows are purged from the engine's files, the files are
//! searched for them, and the tenant's sealed rows are removed, which frees the space and adds nothing to the secrecy.

use muster_schemas::TenantId;

use super::{
    KEYS_TABLE, MARKS_TABLE, Purged, Store, Write, bundle, custody,
    custody::{GONE, GUARD, SECRET, row_key},
    error::StoreError,
    grants,
    keys::{self, Handle},
    limits::SHRED_ROWS_MAX,
    locked, log, open_table,
    purge::{NEEDLE_BYTES, Needle, needle_of},
    reading,
    ring::{KeyRing, epoch_of_row, purpose_of_row},
    sealing::{Purpose, Sealer},
    table::{Role, Table},
};

/// One key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    /// What it was: `tenant`, `own` for one that the tenant brought, `grant`, or the purpose of a data key.
    pub kind: String,
    /// Which data key of its purpose; 0 for others.
    pub epoch: u32,
    /// Names it without showing it, 16 hexadecimal digits. For what had no name of its own it is that of its wrapping.
    pub key_id: String,
}

/// What shredding a tenant came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shredding {
    /// Whose keys they were.
    pub tenant: TenantId,
    /// When, in Unix seconds.
    pub at_s: u64,
    /// Every key that was destroyed.
    pub destroyed: Vec<Destroyed>,
    /// What was searched for them, and where they were found.
    pub purged: Purged,
    /// The tenant's sealed rows that were removed.
    pub rows_removed: u64,
    /// Whether a sealed record of the tenant opened before; none if its key was withdrawn, or if it was shredded earlier.
    pub sample_opened_before: Option<bool>,
    /// Whether it opens now.
    pub sample_opens: bool,
}

impl Shredding {
    /// Whether nothing of the keys is left.
    pub fn is_proved(&self) -> bool {
        self.purged.found_in.is_empty() && !self.sample_opens
    }
}

impl Store {
    /// Destroys the keys of a tenant for good. Called again, it does again what can be repeated. Blocks, for as long as it
    /// takes to write about 80 MB and to remove the tenant's rows.
    ///
    /// # Errors
    /// There is no such tenant, or a commit was refused. Which of the two: ask [`Store::is_shredded`].
    pub fn shred_tenant(&self, tenant: &TenantId, now_s: u64) -> Result<Shredding, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let handle = reading(&self.0.root).handle(tenant.as_str());
        let (at_s, destroyed, sample, before) = match self.gone(&handle)? {
            Some((at_s, destroyed)) => (at_s, destroyed, None, None),
            None => {
                let keys = self.known(tenant, &mut tenants)?.keys;
                let owner = keys.owner();
                owner.flush(&self.keys_table(), &self.0.orders)?;
                let sample = self.sample(&keys)?;
                let before = (!keys.is_locked()).then(|| sample.opens(&keys.sealer(sample.purpose)));
                let destroyed = self.destroy(&keys, now_s)?;
                tenants.remove(tenant);
                // Nobody lends it what begins from now on.
                tenants.values().for_each(|lender| grants::forget(lender.keys.owner(), &handle));
                (now_s, destroyed, Some((sample, keys)), before)
            }
        };
        drop(tenants);
        let needles: Vec<Needle> = destroyed.iter().map(|gone| gone.needle).collect();
        let purged = self.purge(&needles)?;
        let rows_removed = self.remove_rows(&handle)?;
        // With what a router or a reader still has in its hands.
        let sample_opens = sample.is_some_and(|(sample, keys)| sample.opens(&keys.sealer(sample.purpose)));
        let destroyed = destroyed.into_iter().map(|gone| gone.shown()).collect();
        Ok(Shredding {
            tenant: tenant.clone(),
            at_s,
            destroyed,
            purged,
            rows_removed,
            sample_opened_before: before,
            sample_opens,
        })
    }

    /// Removes every row that holds a key of the tenant, and writes down which they were, in one commit.
    fn destroy(&self, keys: &KeyRing, now_s: u64) -> Result<Vec<Gone>, StoreError> {
        let (owner, table) = (keys.owner(), self.keys_table());
        // From here on nobody makes another one.
        keys.destroy();
        let mut rows: Vec<Vec<u8>> = owner.data_key_rows(None)?.into_keys().collect();
        rows.extend(grants::rows_of(owner)?);
        rows.push(row_key(SECRET, &owner.handle));
        rows.push(row_key(GUARD, &owner.handle));
        let mut gone = Vec::new();
        for key in &rows {
            if let Some(value) = table.get(key)? {
                gone.extend(Gone::of(key, &value));
            }
        }
        let mut plain = now_s.to_be_bytes().to_vec();
        gone.iter().for_each(|gone| plain.extend_from_slice(&gone.to_bytes()));
        let value = reading(&self.0.root).wrap(&custody::gone_context(&owner.handle), &plain)?;
        let key = row_key(GONE, &owner.handle);
        let mut writes = vec![Write::Put { table: table.clone(), key, value }];
        writes.extend(rows.into_iter().map(|key| Write::Delete { table: table.clone(), key }));
        self.commit_blocking(writes)?;
        Ok(gone)
    }

    /// What was destroyed of a tenant, and when.
    fn gone(&self, handle: &Handle) -> Result<Option<(u64, Vec<Gone>)>, StoreError> {
        let Some(row) = self.keys_table().get(&row_key(GONE, handle))? else { return Ok(None) };
        let damaged = || StoreError::KeyDamaged { owner: "a tenant that was shredded".to_owned() };
        let plain = reading(&self.0.root).unwrap(&custody::gone_context(handle), &row).ok_or_else(damaged)?;
        let (at_s, gone) = plain.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (gone, rest) = gone.as_chunks::<GONE_BYTES>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Some((u64::from_be_bytes(*at_s), gone.iter().map(Gone::from_bytes).collect())))
    }

    /// A sealed record of the tenant: from its log, or one that is made for it.
    fn sample(&self, keys: &KeyRing) -> Result<Sample, StoreError> {
        let last = self.0.log.last(&keys.handle())?;
        Ok(match last.and_then(|(key, value)| Some((log::split_key(&key)?.1, value))) {
            Some((number, sealed)) => Sample { purpose: Purpose::Log, number: Some(number), sealed },
            None => {
                let sealed = keys.sealer(Purpose::Telemetry).seal(SAMPLE, SAMPLE);
                Sample { purpose: Purpose::Telemetry, number: None, sealed }
            }
        })
    }

    /// Removes the tenant's sealed rows from every table.
    fn remove_rows(&self, handle: &Handle) -> Result<u64, StoreError> {
        let db = &self.0.shared.db;
        let mut removed = 0;
        for name in db.list_keyspace_names() {
            if matches!(&*name, KEYS_TABLE | MARKS_TABLE) {
                continue;
            }
            // As a plain table: the marks of a log that nobody reads any more stay where they are.
            let table = Table::new("", Role::Plain, open_table(db, &name)?, db.clone());
            loop {
                let rows = table.prefix(handle).take(SHRED_ROWS_MAX);
                let rows = rows.map(|row| row.map(|(key, _)| Write::Delete { table: table.clone(), key }));
                let rows = rows.collect::<Result<Vec<_>, _>>()?;
                if rows.is_empty() {
                    break;
                }
                removed += rows.len() as u64;
                self.commit_blocking(rows)?;
            }
        }
        Ok(removed)
    }
}

const SAMPLE: &[u8] = b"muster/sample/1";

struct Sample {
    purpose: Purpose,
    /// Of a record of the log.
    number: Option<u64>,
    sealed: Vec<u8>,
}

impl Sample {
    fn opens(&self, sealer: &Sealer) -> bool {
        match self.number {
            Some(number) => bundle::open(&self.sealed, number, sealer).is_ok(),
            None => sealer.open(SAMPLE, &self.sealed).is_ok(),
        }
    }
}

const GONE_BYTES: usize = 1 + 1 + 4 + 8 + NEEDLE_BYTES;

/// One destroyed key, as it is written down: nothing of it is a secret.
struct Gone {
    row: u8,
    purpose: u8,
    epoch: u32,
    id: [u8; 8],
    needle: Needle,
}

impl Gone {
    fn of(key: &[u8], value: &[u8]) -> Option<Self> {
        let row = *key.first()?;
        let is_data_key = matches!(row, b'd' | b'l');
        let needle = needle_of(key, value)?;
        let mut id = *needle.first_chunk::<8>()?;
        if is_data_key {
            id = *value.first_chunk()?;
        }
        let purpose = if row == b'd' { purpose_of_row(key).map_or(0, |purpose| purpose as u8) } else { 0 };
        let epoch = if is_data_key { epoch_of_row(key).unwrap_or_default() } else { 0 };
        Some(Self { row, purpose, epoch, id, needle })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.row, self.purpose];
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.needle);
        bytes
    }

    fn from_bytes(bytes: &[u8; GONE_BYTES]) -> Self {
        let [row, purpose, e0, e1, e2, e3, rest @ ..] = *bytes;
        let (mut id, mut needle) = ([0; 8], [0; NEEDLE_BYTES]);
        id.iter_mut().chain(&mut needle).zip(rest).for_each(|(to, from)| *to = from);
        Self { row, purpose, epoch: u32::from_be_bytes([e0, e1, e2, e3]), id, needle }
    }

    fn shown(&self) -> Destroyed {
        let purpose = Purpose::ALL.into_iter().find(|purpose| *purpose as u8 == self.purpose);
        let kind = match (self.row, purpose) {
            (SECRET, _) => "tenant",
            (GUARD, _) => "own",
            (b'd', Some(purpose)) => purpose.as_str(),
            _ => "grant",
        };
        Destroyed { kind: kind.to_owned(), epoch: self.epoch, key_id: keys::key_id(&self.id) }
    }
}
