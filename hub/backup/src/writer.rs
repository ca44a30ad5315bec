//! Makes a backup: reads the source once, seals what the repository does not have yet, and writes the manifest last.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use muster_seal::Recipient;

use crate::{
    busy::Busy,
    chunk::{Chunk, Cutter},
    error::BackupError,
    index::{self, Entry, Span},
    limits::{BACKUPS_MAX, PIECES_MAX, ROW_BYTES_MAX},
    manifest::{Listed, Manifest, Memory, Repository, Stored, TableCount, TenantCount, listed},
    object::{self, ContentKey, FORMAT, HEAD_BYTES, KeyId, Kind, ObjectId, Reference, TAG_BYTES, Tag},
    place::Place,
    signer::HubKey,
    source::{FILES, Handle, KEYS, Row, RowIter, Source},
};

/// Where a backup goes, for whom, and what is to stand in it.
pub struct Order<'a> {
    /// Where it goes.
    pub place: &'a dyn Place,
    /// Who can open it.
    pub recipients: &'a [Recipient],
    /// Who makes it.
    pub hub: &'a HubKey,
    /// The name of the hub.
    pub node: String,
    /// The name of the installation.
    pub trust_domain: String,
    /// The program.
    pub program: String,
    /// The time.
    pub now_ms: u64,
    /// The newest backup that this hub remembers to have made.
    pub memory: Option<Memory>,
    /// Go on although somebody else's mark is there, or the newest backup is not the one that is remembered.
    pub force: bool,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// To be remembered.
    pub memory: Memory,
    /// Rows that are in it, with files and keys.
    pub rows: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Pieces with rows that it consists of.
    pub pieces: u64,
    /// Of those, how many were not there before.
    pub pieces_new: u64,
    /// Bytes that were written to the place, all in all.
    pub bytes_written: u64,
}

/// Makes a backup.
///
/// # Errors
/// The place, the source, or a repository that is not as it was left. Nothing that was there before is changed; pieces that
/// were written are used by the next try.
pub fn make(order: &Order<'_>, source: &dyn Source) -> Result<Made, BackupError> {
    if order.recipients.is_empty() {
        return Err(BackupError::NoRecipient);
    }
    let signer = order.hub.signer();
    let repository = Repository::open_or_make(order.place, order.now_ms, &signer)?;
    let _busy = Busy::mark(order.place, "a backup", order.now_ms, order.force)?;
    let before = listed(order.place)?;
    if before.len() >= BACKUPS_MAX {
        return Err(BackupError::Full(BACKUPS_MAX));
    }
    let previous = match before.last() {
        Some(newest) => Some(Stored::read(order.place, *newest)?.map_err(BackupError::Damage)?),
        None => None,
    };
    if let Some(previous) = &previous {
        previous.check(&signer)?;
    }
    remembered(order, &repository, previous.as_ref())?;
    let numbers = before.last().map(|newest| newest.number).into_iter();
    let number = numbers.chain(order.memory.as_ref().map(|memory| memory.number)).max().unwrap_or(0) + 1;
    let listed = Listed { number, made_at_ms: order.now_ms, manifest_bytes: 0 };
    let mut writer = Writer::new(order, &repository, source)?;
    writer.files(source)?;
    for table in source.tables() {
        writer.table(&table, source)?;
    }
    writer.keys(source)?;
    writer.finish(listed, &repository, previous.as_ref(), source)
}

/// Whether the newest backup is the one that the hub made last.
fn remembered(order: &Order<'_>, repository: &Repository, found: Option<&Stored>) -> Result<(), BackupError> {
    let Some(memory) = order.memory.as_ref().filter(|memory| memory.repository == repository.id) else {
        return Ok(());
    };
    if order.force || found.is_some_and(|found| HEXLOWER.encode(&found.sha256()) == memory.sha256) {
        return Ok(());
    }
    Err(BackupError::Older {
        place: order.place.shown(),
        found: found.map_or_else(|| "none".to_owned(), |found| format!("number {}", found.listed.number)),
        expected: format!("number {}", memory.number),
    })
}

struct Writer<'a> {
    order: &'a Order<'a>,
    key: ContentKey,
    /// What is there already, by name: under which content key, and how large.
    known: BTreeMap<ObjectId, (KeyId, u64)>,
    known_index: BTreeMap<ObjectId, (KeyId, u64)>,
    entries: Vec<Entry>,
    pieces: Vec<Reference>,
    tables: Vec<TableCount>,
    tenants: BTreeMap<Option<Handle>, TenantCount>,
    made: Made,
}

impl<'a> Writer<'a> {
    fn new(order: &'a Order<'a>, repository: &Repository, source: &dyn Source) -> Result<Self, BackupError> {
        let (key, stored) = ContentKey::generate(order.recipients, &repository.id)?;
        let keys = known(order.place, "keys/", object::key_of_name)?;
        let known_of = |prefix| {
            known(order.place, prefix, |name| {
                Reference::named(name).filter(|(_, key)| keys.contains_key(key))
            })
        };
        let both = |found: BTreeMap<(ObjectId, KeyId), u64>| -> BTreeMap<ObjectId, (KeyId, u64)> {
            found.into_iter().map(|((id, key), bytes)| (id, (key, bytes))).collect()
        };
        let mut rows = both(known_of("chunks/")?);
        rows.extend(both(known_of("tenant-keys/")?));
        let known_index = both(known_of("index/")?);
        let tenants = source.tenants().into_iter().map(|(handle, tenant)| (Some(handle), tenant));
        let tenants = tenants.chain([(None, String::new())]);
        let tenants = tenants.map(|(handle, tenant)| {
            let bytes = handle.unwrap_or_default();
            let (tag, handle_text) = (order.hub.tag(&bytes), HEXLOWER.encode(&bytes));
            let tag = HEXLOWER.encode(&tag);
            (handle, TenantCount { tenant, handle: handle_text, tag, ..TenantCount::default() })
        });
        let mut writer = Self {
            order,
            known: rows,
            known_index,
            entries: Vec::new(),
            pieces: Vec::new(),
            tables: Vec::new(),
            tenants: tenants.collect(),
            made: Made {
                memory: Memory {
                    repository: repository.id.clone(),
                    number: 0,
                    made_at_ms: 0,
                    sha256: String::new(),
                },
                rows: 0,
                bytes: 0,
                pieces: 0,
                pieces_new: 0,
                bytes_written: 0,
            },
            key,
        };
        // Before anything that it seals.
        let name = object::key_name(&writer.key.id);
        writer.put(&name, &stored)?;
        Ok(writer)
    }

    fn files(&mut self, source: &dyn Source) -> Result<(), BackupError> {
        let files = source.files().into_iter();
        let rows = files.map(|(path, mode, content)| {
            Ok((path.into_bytes(), [mode.to_be_bytes().as_slice(), &content].concat()))
        });
        self.rows(FILES, Kind::Rows, Box::new(rows), source)
    }

    fn table(&mut self, table: &str, source: &dyn Source) -> Result<(), BackupError> {
        self.rows(table, Kind::Rows, source.rows(table), source)
    }

    /// The wrapped keys, which lie in the table by kind and not by tenant.
    fn keys(&mut self, source: &dyn Source) -> Result<(), BackupError> {
        let mut by_tenant: BTreeMap<Option<Handle>, Vec<Row>> = BTreeMap::new();
        for row in source.rows(KEYS) {
            let (key, value) = row.map_err(BackupError::Source)?;
            by_tenant.entry(source.owner(KEYS, &key)).or_default().push((key, value));
        }
        let mut all = TableCount { name: KEYS.to_owned(), ..TableCount::default() };
        for rows in by_tenant.into_values() {
            self.rows(KEYS, Kind::Keys, Box::new(rows.into_iter().map(Ok)), source)?;
            if let Some(part) = self.tables.pop() {
                all.rows += part.rows;
                all.bytes += part.bytes;
            }
        }
        self.tables.push(all);
        Ok(())
    }

    fn rows(
        &mut self,
        table: &str,
        kind: Kind,
        rows: RowIter<'_>,
        source: &dyn Source,
    ) -> Result<(), BackupError> {
        let mut cutter = Cutter::new(table, self.order.hub.cut());
        let mut count = TableCount { name: table.to_owned(), ..TableCount::default() };
        let mut owner = None;
        for row in rows {
            let (key, value) = row.map_err(BackupError::Source)?;
            let bytes = key.len() + value.len();
            if bytes > ROW_BYTES_MAX {
                let why = format!("a row of {table} has {bytes} bytes, and {ROW_BYTES_MAX} are kept");
                return Err(BackupError::Source(why));
            }
            count.rows += 1;
            count.bytes += bytes as u64;
            if table != FILES {
                owner = source.owner(table, &key);
                let tenant = self.tenants.entry(owner).or_default();
                let number = if table == KEYS { &mut tenant.keys } else { &mut tenant.rows };
                *number += 1;
            }
            if let Some(chunk) = cutter.add(&key, &value) {
                self.chunk(kind, owner, table, &chunk)?;
            }
        }
        if let Some(chunk) = cutter.finish() {
            self.chunk(kind, owner, table, &chunk)?;
        }
        self.made.rows += count.rows;
        self.made.bytes += count.bytes;
        self.tables.push(count);
        Ok(())
    }

    fn chunk(
        &mut self,
        kind: Kind,
        owner: Option<Handle>,
        table: &str,
        chunk: &Chunk,
    ) -> Result<(), BackupError> {
        let tag = match kind {
            Kind::Keys => self.order.hub.tag(&owner.unwrap_or_default()),
            _ => Tag::default(),
        };
        let id = self.order.hub.object(kind, &[&chunk.body]);
        let bytes = (HEAD_BYTES + chunk.body.len() + TAG_BYTES) as u64;
        let known = self.known.get(&id).filter(|(_, found)| *found == bytes);
        let key = known.map_or(self.key.id, |(key, _)| *key);
        let reference =
            Reference { kind: kind as u8, tag, id, key, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
        self.made.pieces += 1;
        if known.is_none() {
            let object = self.key.seal(kind, id, None, &chunk.body)?;
            self.put(&reference.name(), &object)?;
            self.known.insert(id, (key, bytes));
            self.made.pieces_new += 1;
        }
        let (first, last) = (chunk.first.clone(), chunk.last.clone());
        let span = Span { table: table.to_owned(), rows: chunk.rows, first, last };
        let entry = Entry { reference, span };
        let is_end = index::ends_after(&entry, self.entries.len() + 1);
        self.entries.push(entry);
        if is_end { self.piece() } else { Ok(()) }
    }

    /// Ends a piece of the index.
    fn piece(&mut self) -> Result<(), BackupError> {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return Ok(());
        }
        let list: Vec<Reference> = entries.iter().map(|entry| entry.reference.clone()).collect();
        let sealed = index::write(&entries);
        let clear = object::list(&list);
        let id = self.order.hub.object(Kind::Index, &[&clear, &sealed]);
        let bytes = (HEAD_BYTES + clear.len() + sealed.len() + TAG_BYTES) as u64;
        let known = self.known_index.get(&id).filter(|(_, found)| *found == bytes);
        let key = known.map_or(self.key.id, |(key, _)| *key);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let reference = Reference { kind: Kind::Index as u8, tag: Tag::default(), id, key, bytes };
        if known.is_none() {
            let object = self.key.seal(Kind::Index, id, Some(&list), &sealed)?;
            self.put(&reference.name(), &object)?;
        }
        self.pieces.push(reference);
        Ok(())
    }

    fn finish(
        mut self,
        listed: Listed,
        repository: &Repository,
        previous: Option<&Stored>,
        source: &dyn Source,
    ) -> Result<Made, BackupError> {
        self.piece()?;
        let manifest = Manifest {
            format: FORMAT.into(),
            repository: repository.id.clone(),
            number: listed.number,
            made_at_ms: listed.made_at_ms,
            node: self.order.node.clone(),
            trust_domain: self.order.trust_domain.clone(),
            program: self.order.program.clone(),
            commit: source.commit(),
            tables: std::mem::take(&mut self.tables),
            tenants: std::mem::take(&mut self.tenants).into_values().collect(),
        };
        let plain = serde_json::to_vec(&manifest).map_err(|_| BackupError::Library("write JSON"))?;
        let object = self.key.seal(Kind::Manifest, listed.id(), Some(&self.pieces), &plain)?;
        let stored = Stored::sign(listed, object, previous, self.order.hub);
        self.order.place.settle()?;
        self.put(&listed.name(), stored.file())?;
        self.order.place.settle()?;
        self.made.memory = stored.memory(&repository.id);
        Ok(self.made)
    }

    fn put(&mut self, name: &str, object: &[u8]) -> Result<(), BackupError> {
        self.order.place.put(name, object)?;
        self.made.bytes_written += object.len() as u64;
        Ok(())
    }
}

/// What lies under this prefix, by what its name says.
fn known<T: Ord>(
    place: &dyn Place,
    prefix: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<T, u64>, BackupError> {
    let mut found = BTreeMap::new();
    place.list(prefix, &mut |name, bytes| {
        if found.len() <= PIECES_MAX {
            found.extend(read(name).map(|name| (name, bytes)));
        }
    })?;
    match found.len() > PIECES_MAX {
        true => Err(BackupError::Full(PIECES_MAX)),
        false => Ok(found),
    }
}
