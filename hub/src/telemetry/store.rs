//! A tenant's readings in the store. All tenants share a table; a tenant's rows begin with its handle, then:
//!
//! | row | key | sealed value |
//! |---|---|---|
//! | cursor | `p` | the next record of the log to read |
//! | stream | `c`, stream | device and name of the stream |
//! | last reading | `l`, stream, name | the reading |
//! | reading | `r`, stream, time, name | the reading |
//!
//! `stream` and `name` are blind: they tell nothing without the tenant's key. The time is in the clear, in microseconds,
//! so that ranges can be read. A reading that is delivered again has the same key and replaces itself.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use muster_broker::store::{Purpose, Sealer, Store, StoreError, Table, TenantStore, Unsealable, Write};

use super::{
    core::Harvest,
    limits::{BLINDS_MAX, LAST_READINGS_MAX, LAST_TIMES_MAX},
    message::{LastReadings, Page, QueryRefusal, Range},
    reading::{MalformedRow, Reading, StreamId},
};

/// The table of all tenants' readings.
const TABLE: &str = "telemetry";
const CURSOR: u8 = b'p';
const STREAM: u8 = b'c';
const LAST: u8 = b'l';
const READING: u8 = b'r';
/// Time and name at the end of a reading's key: what a cursor of a range holds.
const SUFFIX_BYTES: usize = 16;
const US_PER_MS: i64 = 1_000;

/// Why readings could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReadingsError {
    /// The store cannot be read.
    #[error("read the table of readings: {0}")]
    Store(#[from] StoreError),
    /// A row was changed on the disk, or its key is lost.
    #[error("open a row of the table of readings: {0}")]
    Sealed(#[from] Unsealable),
    /// A row is of another version.
    #[error(transparent)]
    Row(#[from] MalformedRow),
}

impl From<ReadingsError> for QueryRefusal {
    fn from(error: ReadingsError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The readings of one tenant.
#[derive(Debug)]
pub struct TenantReadings {
    tenant: TenantStore,
    table: Table,
    sealer: Sealer,
    /// When the last reading of a name was measured, by its key. A part of what the table holds.
    last_times: BTreeMap<Vec<u8>, i64>,
    /// How streams and their names stand in keys, as far as it was worked out: each is a hash under the tenant's key.
    blinds: BTreeMap<StreamId, (StreamBlind, BTreeMap<String, NameBlind>)>,
    /// How many names that are.
    blinds_kept: usize,
}

type StreamBlind = [u8; 16];
type NameBlind = [u8; 8];

impl TenantReadings {
    /// The readings of `tenant` in `store`.
    ///
    /// # Errors
    /// The table cannot be opened.
    pub fn open(store: &Store, tenant: TenantStore) -> Result<Self, ReadingsError> {
        let sealer = tenant.sealer(Purpose::Telemetry);
        let (last_times, blinds) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { table: store.table(TABLE)?, sealer, tenant, last_times, blinds, blinds_kept: 0 })
    }

    /// The next record of the log to read; the first when none was read yet.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn cursor(&self) -> Result<u64, ReadingsError> {
        let key = self.key(CURSOR, &[]);
        let Some(sealed) = self.table.get(&key)? else { return Ok(1) };
        let bytes = self.sealer.open(&key, &sealed)?;
        Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| MalformedRow)?))
    }

    /// All streams of the catalogue.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn streams(&self) -> Result<Vec<StreamId>, ReadingsError> {
        let rows = self.table.prefix(&self.key(STREAM, &[]));
        rows.map(|row| {
            let (key, sealed) = row?;
            Ok(StreamId::decode(&self.sealer.open(&key, &sealed)?)?)
        })
        .collect()
    }

    /// What to write for a harvest, the new cursor included.
    ///
    /// # Errors
    /// The last readings so far cannot be read.
    pub fn writes(&mut self, harvest: &Harvest, cursor: u64) -> Result<Vec<Write>, ReadingsError> {
        let mut writes = Vec::with_capacity(harvest.readings.len() + harvest.lasts.len() + 2);
        for stream in &harvest.new_streams {
            writes.push(self.put(self.key(STREAM, &[&self.stream_blind(stream)]), &stream.encode()));
        }
        for (stream, reading) in &harvest.readings {
            let (stream, name) = self.blinds(stream, &reading.name);
            let key = self.key(READING, &[&stream, &time_key(reading.time_us()), &name]);
            writes.push(self.put(key, &reading.encode()));
        }
        for place in harvest.lasts.values() {
            let Some((stream, reading)) = harvest.readings.get(*place) else { continue };
            let (stream, name) = self.blinds(stream, &reading.name);
            let key = self.key(LAST, &[&stream, &name]);
            if self.last_time(&key)?.is_none_or(|last| last <= reading.time_us()) {
                writes.push(self.put(key.clone(), &reading.encode()));
                self.remember(key, reading.time_us());
            }
        }
        writes.push(self.put(self.key(CURSOR, &[]), &cursor.to_be_bytes()));
        Ok(writes)
    }

    /// The last readings of these streams.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn last(&self, streams: impl Iterator<Item = StreamId>) -> Result<LastReadings, QueryRefusal> {
        let mut last = LastReadings::default();
        for stream in streams {
            for row in self.table.prefix(&self.key(LAST, &[&self.stream_blind(&stream)])) {
                if last.readings.len() >= LAST_READINGS_MAX {
                    last.truncated = true;
                    return Ok(last);
                }
                let (key, sealed) = row.map_err(ReadingsError::from)?;
                last.readings.push((stream.clone(), self.reading(&key, &sealed)?));
            }
        }
        Ok(last)
    }

    /// The last readings of one stream.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn last_of(&self, stream: &StreamId) -> Result<Vec<Reading>, ReadingsError> {
        let rows = self.table.prefix(&self.key(LAST, &[&self.stream_blind(stream)]));
        rows.map(|row| {
            let (key, sealed) = row?;
            self.reading(&key, &sealed)
        })
        .collect()
    }

    /// The readings of one stream from one time up to but without another, by time.
    pub fn rows(
        &self,
        stream: &StreamId,
        from_us: Option<i64>,
        to_us: Option<i64>,
    ) -> impl Iterator<Item = Result<Reading, ReadingsError>> {
        let prefix = self.key(READING, &[&self.stream_blind(stream)]);
        let at = |time_us: i64| [&prefix[..], &time_key(time_us)].concat();
        let end = self.key(READING + 1, &[]);
        let to = to_us.map_or(end, at);
        let inside = prefix.clone();
        let rows = self.table.range(&at(from_us.unwrap_or(i64::MIN)), Some(&to));
        let rows = rows.take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&inside)));
        rows.map(|row| {
            let (key, sealed) = row?;
            self.reading(&key, &sealed)
        })
    }

    /// One page of a range that was checked.
    ///
    /// # Errors
    /// The cursor is none of ours, or a row cannot be read.
    pub fn range(&self, query: &Range) -> Result<Page, QueryRefusal> {
        let stream = StreamId { device: query.device.clone(), stream: query.stream.clone() };
        let prefix = self.key(READING, &[&self.stream_blind(&stream)]);
        let at = |time_ms: i64| [&prefix[..], &time_key(time_ms.saturating_mul(US_PER_MS))].concat();
        let mut from = at(query.from_ms);
        if let Some(cursor) = &query.cursor {
            let suffix = HEXLOWER.decode(cursor.as_bytes()).map_err(|_| QueryRefusal::Cursor)?;
            if suffix.len() != SUFFIX_BYTES {
                return Err(QueryRefusal::Cursor);
            }
            // The smallest key after the one that the page before ended with.
            from = from.max([&prefix[..], &suffix, &[0]].concat());
        }
        let mut rows = self.table.range(&from, Some(&at(query.to_ms)));
        let mut page = Page::default();
        let mut suffix = Vec::new();
        while page.readings.len() < query.limit {
            let Some(row) = rows.next() else { return Ok(page) };
            let (key, sealed) = row.map_err(ReadingsError::from)?;
            page.readings.push(self.reading(&key, &sealed)?);
            suffix = key.get(prefix.len()..).unwrap_or_default().to_vec();
        }
        if rows.next().is_some() {
            page.next_cursor = Some(HEXLOWER.encode(&suffix));
        }
        Ok(page)
    }

    fn reading(&self, key: &[u8], sealed: &[u8]) -> Result<Reading, ReadingsError> {
        Ok(Reading::decode(&self.sealer.open(key, sealed)?)?)
    }

    fn put(&self, key: Vec<u8>, plaintext: &[u8]) -> Write {
        let value = self.sealer.seal(&key, plaintext);
        Write::Put { table: self.table.clone(), key, value }
    }

    fn last_time(&self, key: &[u8]) -> Result<Option<i64>, ReadingsError> {
        if let Some(time) = self.last_times.get(key) {
            return Ok(Some(*time));
        }
        match self.table.get(key)? {
            Some(sealed) => Ok(Some(self.reading(key, &sealed)?.time_us())),
            None => Ok(None),
        }
    }

    fn remember(&mut self, key: Vec<u8>, time_us: i64) {
        if self.last_times.len() >= LAST_TIMES_MAX {
            self.last_times.clear();
        }
        self.last_times.insert(key, time_us);
    }

    fn key(&self, kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = self.tenant.handle().to_vec();
        key.push(kind);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    /// A stream and one of its names as they stand in keys.
    fn blinds(&mut self, stream: &StreamId, name: &str) -> (StreamBlind, NameBlind) {
        if let Some((blind, names)) = self.blinds.get(stream)
            && let Some(name) = names.get(name)
        {
            return (*blind, *name);
        }
        if self.blinds_kept >= BLINDS_MAX {
            self.blinds.clear();
            self.blinds_kept = 0;
        }
        let blinds = (self.stream_blind(stream), self.name_blind(stream, name));
        let (_, names) = self.blinds.entry(stream.clone()).or_insert_with(|| (blinds.0, BTreeMap::new()));
        names.insert(name.to_owned(), blinds.1);
        self.blinds_kept += 1;
        blinds
    }

    fn stream_blind(&self, stream: &StreamId) -> StreamBlind {
        self.tenant.blind(&[b"telemetry stream", stream.device.as_str().as_bytes(), stream.stream.as_bytes()])
    }

    /// Half a blind is enough to tell the names of one stream apart.
    fn name_blind(&self, stream: &StreamId, name: &str) -> NameBlind {
        let StreamId { device, stream } = stream;
        let parts = [b"telemetry name", device.as_str().as_bytes(), stream.as_bytes(), name.as_bytes()];
        let blind = self.tenant.blind(&parts);
        let mut half = [0; 8];
        half.iter_mut().zip(blind).for_each(|(to, from)| *to = from);
        half
    }
}

/// Times as bytes that sort as they do, those before 1970 too.
fn time_key(time_us: i64) -> [u8; 8] {
    (time_us ^ i64::MIN).to_be_bytes()
}
