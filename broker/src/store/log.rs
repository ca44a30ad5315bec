//! The log of a tenant: sealed records with consecutive numbers, from 1. Everything that needs a durable message later
//! is a cursor into it. Records that are appended together are one row, see [`bundle`].
//!
//! Three things make a loss visible: the numbers have no gaps, which the committer enforces; each row is sealed for its
//! numbers; and the marks of the log (first kept, last appended) are stored in another table with the same batch.

use std::sync::{Arc, mpsc::sync_channel};

use bytes::Bytes;
use fjall::{Guard, Keyspace, Readable as _, Snapshot};

use super::{
    bundle::{self, Bundle, Records},
    committer::{self, Commit, Fence, Orders},
    error::{CommitError, DamageKind, LogDamage, StoreError, Unsealable},
    keys::Handle,
    limits::LOG_TRIM_ROWS_MAX,
    sealing::Sealer,
    table::{Table, Write, row},
};

/// The mark of the last record appended.
pub(super) const MARK_HIGH: u8 = b'h';
/// The mark of the first record kept.
pub(super) const MARK_LOW: u8 = b'l';

const HANDLE_BYTES: usize = 16;

/// The writing end of one tenant's log. Its router owns it; there is one at a time, and a second one could not do harm:
/// the committer takes no number twice.
#[derive(Debug)]
pub struct TenantLog {
    place: Place,
    next: u64,
    generation: u64,
    fence: Fence,
}

/// Where the log lies, and how it is sealed.
#[derive(Clone)]
pub(super) struct Place {
    pub handle: Handle,
    pub table: Table,
    pub marks: Keyspace,
    pub sealer: Sealer,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

impl TenantLog {
    /// Waits for what is on the way to the disk, then finds the end of the log there and compares it with the mark.
    pub(super) fn open(place: Place, orders: &Orders) -> Result<Self, StoreError> {
        let (log, damage) = Self::find(place, orders)?;
        match damage {
            Some(damage) => Err(StoreError::Log(damage)),
            None => Ok(log),
        }
    }

    /// As [`TenantLog::open`], but goes on after a lost tail: new records are numbered past it, and a reader still names
    /// the gap.
    pub(super) fn open_past_damage(place: Place, orders: &Orders) -> Result<Self, StoreError> {
        let (log, damage) = Self::find(place, orders)?;
        match damage {
            Some(damage) if matches!(damage.why, DamageKind::PastMark) => Err(StoreError::Log(damage)),
            _ => Ok(log),
        }
    }

    fn find(place: Place, orders: &Orders) -> Result<(Self, Option<LogDamage>), StoreError> {
        commit_blocking(orders, Vec::new())?;
        let now = place.table.snapshot();
        let (low, high) = place.marks(&now)?;
        let last = match now.prefix(&place.table.keyspace, place.handle).next_back().map(row).transpose()? {
            Some((key, _)) => split_key(&key).map_or(0, |(_, sequence)| sequence),
            None => 0,
        };
        let damage = if last > high {
            Some(LogDamage { sequence: high + 1, why: DamageKind::PastMark })
        } else if last < high && low <= high {
            Some(LogDamage { sequence: low.max(last + 1), why: DamageKind::Missing { through: high } })
        } else {
            None
        };
        Ok((Self { place, next: high + 1, generation: 0, fence: Fence::default() }, damage))
    }

    /// The number of the next record.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Seals a record. It is in the log when a commit with this write is answered; commits have to be sent in the order
    /// of their numbers.
    ///
    /// # Panics
    /// `sequence` is not [`TenantLog::next_sequence`].
    pub fn append(&mut self, sequence: u64, plaintext: &[u8]) -> Write {
        let mut bundle = Bundle::default();
        bundle.add(|out| out.extend_from_slice(plaintext));
        self.append_bundle(sequence, &bundle)
    }

    /// As [`TenantLog::append`], for records that follow one another, at least one. The first gets the number `first`.
    ///
    /// # Panics
    /// `first` is not [`TenantLog::next_sequence`].
    pub fn append_bundle(&mut self, first: u64, bundle: &Bundle) -> Write {
        assert_eq!(first, self.next, "a log is appended to in order");
        self.next += u64::from(bundle.len());
        let last = self.next - 1;
        Write::Put {
            table: self.place.table.clone(),
            key: key(&self.place.handle, last),
            value: bundle.seal(last, &self.place.sealer),
        }
    }

    /// Counts the rewinds. Whoever sends an append remembers it, to hand it to [`TenantLog::rewind`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What all commits of this generation share.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Begins a new generation, after a commit was refused before which `sequence` was the next: the appends from it on
    /// are taken back. The committer refuses the later commits of that generation as well; their refusals, which come in
    /// with the generation that is over, change nothing. Says whether it rewound.
    pub fn rewind(&mut self, generation: u64, sequence: u64) -> bool {
        if generation != self.generation || sequence > self.next {
            return false;
        }
        self.generation += 1;
        self.fence = Fence::default();
        self.next = sequence;
        true
    }

    /// The first record kept; none if the log is empty.
    ///
    /// # Errors
    /// The engine cannot read the marks.
    pub fn first(&self) -> Result<Option<u64>, StoreError> {
        self.place.marks(&self.place.table.snapshot()).map(|(low, high)| (low <= high).then_some(low))
    }

    /// The last record stored; none if the log is empty.
    ///
    /// # Errors
    /// The engine cannot read the marks.
    pub fn last(&self) -> Result<Option<u64>, StoreError> {
        self.place.marks(&self.place.table.snapshot()).map(|(low, high)| (low <= high).then_some(high))
    }

    /// Writes that remove stored rows whose records are all below `below`, 512 rows at most: call again until there are
    /// none.
    ///
    /// # Errors
    /// The engine cannot read the marks or the rows.
    pub fn trim(&self, below: u64) -> Result<Vec<Write>, StoreError> {
        let Place { table, handle, .. } = &self.place;
        let now = table.snapshot();
        let (low, high) = self.place.marks(&now)?;
        let end = below.min(high + 1);
        if end <= low {
            return Ok(Vec::new());
        }
        let rows = now.range(&table.keyspace, key(handle, low)..key(handle, end)).take(LOG_TRIM_ROWS_MAX);
        let removed = rows.map(|row| {
            let key = row.key().map_err(|error| StoreError::engine("read a row of a log", &error))?;
            Ok(Write::Delete { table: table.clone(), key: key.to_vec() })
        });
        removed.collect()
    }

    /// A cursor at `from`, or at the first record kept if that is later.
    pub fn reader(&self, from: u64) -> LogReader {
        LogReader { place: self.place.clone(), next: from.max(1) }
    }
}

/// A cursor into a log. It reads what is stored, also while the log is written, and can go to another thread.
#[derive(Debug)]
pub struct LogReader {
    place: Place,
    next: u64,
}

impl LogReader {
    /// The number of the record that comes next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next records, in order: `records_max` at most, and none after `bytes_max` bytes have been read. An empty
    /// batch means that the end is reached for now. Records of one row share a buffer: whoever keeps one keeps all of it.
    ///
    /// # Errors
    /// The next record is missing or does not open. The records before it have been returned; the same damage is
    /// reported until [`LogReader::skip_past`].
    pub fn next_batch(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, LogDamage> {
        let now = self.place.table.snapshot();
        let (low, high) = self.place.marks(&now).map_err(|error| self.unreadable(&error))?;
        self.next = self.next.max(low);
        let from = key(&self.place.handle, self.next);
        let to = key(&self.place.handle, u64::MAX);
        let mut rows = now.range(&self.place.table.keyspace, from..to);
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < records_max && bytes < bytes_max {
            let row = match rows.next() {
                Some(row) => self.open(row),
                None if self.next <= high => Err(self.missing(high)),
                None => break,
            };
            match row {
                Ok(row) => {
                    // What is left of a row when the batch is full is opened once more by the next.
                    let from = self.next;
                    for (sequence, record) in row.skip_while(|(sequence, _)| *sequence < from) {
                        if records.len() == records_max || bytes >= bytes_max {
                            break;
                        }
                        bytes += record.len();
                        records.push((sequence, record));
                        self.next = sequence + 1;
                    }
                }
                Err(damage) if records.is_empty() => return Err(damage),
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// The records of these numbers that there are and that open. Whoever goes through the log meets the others' damage.
    pub fn find(&self, sequences: &[u64]) -> Vec<(u64, Bytes)> {
        let now = self.place.table.snapshot();
        let mut found = Vec::new();
        let mut row: Option<Records> = None;
        for sequence in sequences.iter().copied() {
            if !row.as_ref().is_some_and(|row| row.holds(sequence)) {
                row = self.look_up(&now, sequence);
            }
            let record = row.as_mut().and_then(|row| row.find(|(at, _)| *at == sequence));
            found.extend(record);
        }
        found
    }

    /// The row that holds a record.
    fn look_up(&self, now: &Snapshot, sequence: u64) -> Option<Records> {
        let Place { table, handle, sealer, .. } = &self.place;
        let mut rows = now.range(&table.keyspace, key(handle, sequence)..key(handle, u64::MAX));
        let (key, value) = row(rows.next()?).ok()?;
        let (_, last) = split_key(&key)?;
        bundle::open(&value, last, sealer).ok().filter(|row| row.holds(sequence))
    }

    /// Goes on after a damage that was reported: pass [`LogDamage::last_sequence`].
    pub fn skip_past(&mut self, sequence: u64) {
        self.next = self.next.max(sequence.saturating_add(1));
    }

    /// The records of the row that the next one is in, from before it on.
    fn open(&self, guard: Guard) -> Result<Records, LogDamage> {
        let (key, value) = row(guard).map_err(|error| self.unreadable(&error))?;
        let last = split_key(&key).map_or(0, |(_, last)| last);
        let row = bundle::open(&value, last, &self.place.sealer);
        let row = row.map_err(|why| LogDamage {
            sequence: self.next,
            why: match why {
                // Nothing is damaged: whoever passed over it would lose what opens again later.
                Unsealable::Withdrawn | Unsealable::Unreadable(_) => {
                    DamageKind::Unreadable(Arc::from(why.to_string()))
                }
                why => DamageKind::Unsealable { through: last, why },
            },
        })?;
        match row.next_sequence() {
            first if first > self.next => Err(self.missing(first - 1)),
            _ => Ok(row),
        }
    }

    fn missing(&self, through: u64) -> LogDamage {
        LogDamage { sequence: self.next, why: DamageKind::Missing { through } }
    }

    fn unreadable(&self, error: &StoreError) -> LogDamage {
        LogDamage { sequence: self.next, why: DamageKind::Unreadable(Arc::from(error.to_string())) }
    }
}

impl Place {
    /// First kept and last appended; the log is empty if the first is past the last.
    fn marks(&self, now: &Snapshot) -> Result<(u64, u64), StoreError> {
        let mark = |kind| {
            let value = now.get(&self.marks, mark_key(kind, &self.handle));
            number(value.map_err(|error| StoreError::engine("read a mark", &error))?.as_deref())
        };
        Ok((mark(MARK_LOW)?.max(1), mark(MARK_HIGH)?))
    }
}

/// Sends the writes and waits for the outcome. Not for the committer's own thread, which would wait for itself.
pub(super) fn commit_blocking(orders: &Orders, writes: Vec<Write>) -> Result<(), CommitError> {
    let (answer, outcome) = sync_channel(1);
    let done = Box::new(move |result| drop(answer.send(result)));
    committer::send(orders, Commit { writes, fence: None, permit: None, done });
    orders.hurry();
    outcome.recv().unwrap_or(Err(CommitError::Closed))
}

/// Handle and number of the last record of a row, big-endian, so that the order of keys is the order of numbers.
fn key(handle: &Handle, sequence: u64) -> Vec<u8> {
    [handle.as_slice(), &sequence.to_be_bytes()].concat()
}

/// The opposite of [`key`].
pub(super) fn split_key(key: &[u8]) -> Option<(Handle, u64)> {
    let (handle, sequence) = key.split_first_chunk::<HANDLE_BYTES>()?;
    Some((*handle, u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// The key of a mark.
pub(super) fn mark_key(kind: u8, handle: &Handle) -> Vec<u8> {
    [[kind].as_slice(), handle].concat()
}

/// The number in a row of the marks table; 0 if there is no row.
pub(super) fn number(value: Option<&[u8]>) -> Result<u64, StoreError> {
    match value.map(<[u8; 8]>::try_from) {
        None => Ok(0),
        Some(Ok(number)) => Ok(u64::from_be_bytes(number)),
        Some(Err(_)) => Err(StoreError::Engine { what: "read a mark", why: "it is not a number".to_owned() }),
    }
}
