//! What one turn of a router writes, on its way into one commit.

use bytes::Bytes;
use muster_actors::SharedClock;
use muster_schemas::{
    Kind, Message as BusMessage, Publisher, Qos, TopicName,
    stored::{self, StoredMessage},
};

use super::{
    recovered::{RecoverError, Recovered},
    retention::Segment,
};
use crate::limits::LOG_RECORD_FURNITURE_BYTES;
use crate::store::{Bundle, Purpose, Row, Sealer, Store, Table, TenantStore, Write};

/// Keyspace of retained messages.
const RETAINED: &str = "retained";
/// Keyspace of segments of the log.
const SEGMENTS: &str = "segments";
/// Keyspace of durable sessions.
const SESSIONS: &str = "sessions";

/// Log records, retained rows and rows of durable sessions, in the order of the effects.
pub(super) struct Writes<'a> {
    recovered: &'a mut Recovered,
    clock: &'a SharedClock,
    /// The clock is asked once per turn, and only if there is something to record.
    received_ms: Option<u64>,
    writes: Vec<Write>,
    /// The first record, or the one that would be.
    first: u64,
    /// The last record, if there is any.
    pub(super) last: Option<u64>,
    /// Records that become one row, the last of them `last`.
    bundle: Bundle,
}

impl<'a> Writes<'a> {
    pub(super) fn new(recovered: &'a mut Recovered, clock: &'a SharedClock) -> Self {
        let first = recovered.log.next_sequence();
        Self {
            recovered,
            clock,
            received_ms: None,
            writes: Vec::new(),
            first,
            last: None,
            bundle: Bundle::default(),
        }
    }

    pub(super) fn append(&mut self, sequence: u64, from: (&Publisher, Option<u64>), message: &BusMessage) {
        let received_ms = self.received_ms();
        if self.bundle.is_full() {
            self.end_bundle();
        }
        let bytes = self.bundle.add(|out| stored::encode_parts(received_ms, from, message, out));
        let bytes = bytes as u64 + LOG_RECORD_FURNITURE_BYTES;
        if let Some(closed) = self.recovered.retention.appended(sequence, bytes, received_ms) {
            self.writes.push(self.recovered.segments.put(&closed));
        }
        self.last = Some(sequence);
    }

    pub(super) fn keep(&mut self, sequence: u64, publisher: &Publisher, message: &BusMessage) {
        self.record(sequence, message);
        let received_ms = self.received_ms();
        self.writes.push(self.recovered.retained.keep(received_ms, publisher, message));
    }

    pub(super) fn forget(&mut self, sequence: u64, topic: TopicName) {
        self.writes.push(self.recovered.retained.forget(&topic));
        let (qos, payload) = (Qos::AtLeastOnce, Bytes::new());
        self.record(sequence, &BusMessage { topic, qos, retain: true, payload, properties: None });
    }

    pub(super) fn session_row(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.writes.push(self.recovered.sessions.write(key, value));
    }

    /// Rows of segments that are no more go with the next commit.
    pub(super) fn clear_segments(&mut self) {
        for first in self.recovered.retention.take_gone() {
            self.writes.push(self.recovered.segments.remove(first));
        }
    }

    /// All writes, the first record or the one that would be, and the last.
    pub(super) fn finish(mut self) -> (Vec<Write>, u64, Option<u64>) {
        self.end_bundle();
        (self.writes, self.first, self.last)
    }

    fn end_bundle(&mut self) {
        if !self.bundle.is_empty() {
            let log = &mut self.recovered.log;
            self.writes.push(log.append_bundle(log.next_sequence(), &self.bundle));
            self.bundle = Bundle::default();
        }
    }

    fn received_ms(&mut self) -> u64 {
        *self.received_ms.get_or_insert_with(|| self.clock.unix_ms())
    }

    /// A retained change stands in the log also when nothing else wants the message there: the log has no gaps, and
    /// tells the whole story.
    fn record(&mut self, sequence: u64, message: &BusMessage) {
        if self.last != Some(sequence) {
            let publisher = self.recovered.retained.publisher.clone();
            self.append(sequence, (&publisher, None), message);
        }
    }
}

/// Retained messages on disk: what the core holds in memory, for the next start.
pub(super) struct Retained {
    table: Table,
    sealer: Sealer,
    tenant: TenantStore,
    /// In whose name the router writes.
    publisher: Publisher,
}

impl Retained {
    pub(super) fn open(store: &Store, tenant: TenantStore) -> Result<Self, RecoverError> {
        let publisher = Publisher { kind: Kind::Service, id: "router".parse()? };
        let sealer = tenant.sealer(Purpose::Retained);
        Ok(Self { table: store.table(RETAINED)?, sealer, tenant, publisher })
    }

    fn key(&self, topic: &TopicName) -> Vec<u8> {
        let topic = self.tenant.blind(&[RETAINED.as_bytes(), topic.as_str().as_bytes()]);
        [self.tenant.handle(), topic].concat()
    }

    fn keep(&self, received_ms: u64, publisher: &Publisher, message: &BusMessage) -> Write {
        let key = self.key(&message.topic);
        let mut plaintext = Vec::new();
        stored::encode_parts(received_ms, (publisher, None), message, &mut plaintext);
        let value = self.sealer.seal(&key, &plaintext);
        Write::Put { table: self.table.clone(), key, value }
    }

    fn forget(&self, topic: &TopicName) -> Write {
        Write::Delete { table: self.table.clone(), key: self.key(topic) }
    }

    pub(super) fn load(&self) -> Result<Vec<StoredMessage>, RecoverError> {
        let mut messages = Vec::new();
        for row in self.table.prefix(&self.tenant.handle()) {
            let (key, value) = row?;
            let plaintext = self.sealer.open(&key, &value)?;
            messages.push(StoredMessage::decode(plaintext.into())?);
        }
        Ok(messages)
    }
}

/// Segments of the log on disk, so that a start need not read the log to know how large and how old it is.
pub(super) struct Segments {
    table: Table,
    sealer: Sealer,
    tenant: TenantStore,
}

impl Segments {
    pub(super) fn open(store: &Store, tenant: TenantStore) -> Result<Self, RecoverError> {
        let sealer = tenant.sealer(Purpose::Sessions);
        Ok(Self { table: store.table(SEGMENTS)?, sealer, tenant })
    }

    fn key(&self, first: u64) -> Vec<u8> {
        [self.tenant.handle().as_slice(), &first.to_be_bytes()].concat()
    }

    fn put(&self, segment: &Segment) -> Write {
        let key = self.key(segment.first);
        Write::Put { table: self.table.clone(), value: self.sealer.seal(&key, &segment.encode()), key }
    }

    fn remove(&self, first: u64) -> Write {
        Write::Delete { table: self.table.clone(), key: self.key(first) }
    }

    /// In order. A row that is none of ours is passed over: what it told is measured.
    pub(super) fn load(&self) -> Result<Vec<Segment>, RecoverError> {
        let handle = self.tenant.handle();
        let mut segments = Vec::new();
        for row in self.table.prefix(&handle) {
            let (key, value) = row?;
            let first = key.get(handle.len()..).and_then(|first| first.try_into().ok());
            let plaintext = self.sealer.open(&key, &value)?;
            segments.extend(first.and_then(|first| Segment::decode(u64::from_be_bytes(first), &plaintext)));
        }
        Ok(segments)
    }
}

/// Durable sessions on disk. What is in a row is the core's affair.
pub(super) struct Sessions {
    table: Table,
    sealer: Sealer,
    tenant: TenantStore,
}

impl Sessions {
    pub(super) fn open(store: &Store, tenant: TenantStore) -> Result<Self, RecoverError> {
        let sealer = tenant.sealer(Purpose::Sessions);
        Ok(Self { table: store.table(SESSIONS)?, sealer, tenant })
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>) -> Write {
        let (table, key) = (self.table.clone(), [self.tenant.handle().as_slice(), key].concat());
        match value {
            Some(value) => Write::Put { table, value: self.sealer.seal(&key, value), key },
            None => Write::Delete { table, key },
        }
    }

    /// Keys without the tenant's handle, and what is in the rows.
    pub(super) fn load(&self) -> Result<Vec<Row>, RecoverError> {
        let handle = self.tenant.handle();
        let mut rows = Vec::new();
        for row in self.table.prefix(&handle) {
            let (key, value) = row?;
            let plaintext = self.sealer.open(&key, &value)?;
            rows.push((key.get(handle.len()..).unwrap_or_default().to_vec(), plaintext));
        }
        Ok(rows)
    }
}
