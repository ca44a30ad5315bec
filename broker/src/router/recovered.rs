//! What a router needs to begin, from the disk: its log, its retained messages, its durable sessions.

use std::sync::Arc;

use bytes::Bytes;
use muster_routing::{Record, RestoreError, Router as Core, RouterOptions, Wanted};
use muster_schemas::{
    InvalidId, TenantId, TopicFilter,
    stored::{InvalidStored, StoredMessage},
};
use tracing::error;

use super::{
    retention::{Retention, Segment},
    writes::{Retained, Segments, Sessions},
};
use crate::{
    limits::{LOG_READ_BYTES_MAX, LOG_READ_RECORDS_MAX, LOG_RECORD_FURNITURE_BYTES},
    quota::Quotas,
    store::{LogReader, Store, StoreError, TenantLog, TenantStore, Unsealable},
};

pub(super) struct Recovered {
    pub(super) core: Core,
    pub(super) log: TenantLog,
    pub(super) retained: Retained,
    pub(super) sessions: Sessions,
    pub(super) segments: Segments,
    pub(super) retention: Retention,
}

impl Recovered {
    /// Waits for what is on the way to the disk, and reads what a router needs to begin. Blocks.
    pub(super) fn from_disk(
        tenant: TenantStore,
        store: &Store,
        durable: Vec<TopicFilter>,
        quotas: &Quotas,
        now_ms: u64,
    ) -> Result<Self, RecoverError> {
        let name = tenant.tenant().clone();
        let log = tenant.log()?;
        let retained = Retained::open(store, tenant.clone())?;
        let sessions = Sessions::open(store, tenant.clone())?;
        let segments = Segments::open(store, tenant)?;
        let options = RouterOptions { limits: quotas.limits(), durable, next_sequence: log.next_sequence() };
        let mut core = Core::new(options);
        for StoredMessage { publisher, message, received_ms, .. } in retained.load()? {
            core.restore_retained(&publisher, &message, received_ms);
        }
        let low = log.first()?.unwrap_or_else(|| log.next_sequence());
        let mut restoring = core.restore_sessions(sessions.load()?, low, now_ms)?;
        if let Some(from) = restoring.from {
            let mut reader = log.reader(from);
            loop {
                let records = next_records(&mut reader, LOG_READ_RECORDS_MAX, &name);
                if records.is_empty() {
                    break;
                }
                for record in &records {
                    core.restore_record(record, &mut restoring);
                }
            }
        }
        let (bounds, place) = ((quotas.log_bytes_max, quotas.log_age_max), (low, log.next_sequence()));
        let measured = |first, end| measure(&mut log.reader(first), (first, end), &name);
        let mut retention = Retention::new(bounds, place, segments.load()?, measured);
        retention.release(core.needed_from());
        Ok(Self { core, log, retained, sessions, segments, retention })
    }
}

/// The size and the times of a part of the log, told from its first records. Blocks.
fn measure(reader: &mut LogReader, (first, end): (u64, u64), tenant: &TenantId) -> Option<Segment> {
    let records = next_records(reader, LOG_READ_RECORDS_MAX, tenant);
    let (from_ms, to_ms) = (records.first()?.received_ms, records.last()?.received_ms);
    let weight =
        |record: &Record| (record.message.topic.as_str().len() + record.message.payload.len()) as u64;
    let bytes: u64 = records.iter().map(|record| weight(record) + LOG_RECORD_FURNITURE_BYTES).sum();
    let bytes = (bytes / records.len().max(1) as u64).saturating_mul(end - first);
    Some(Segment { first, end, from_ms, to_ms, bytes })
}

/// Reads what a durable session wants of the log, and says how far it got. Blocks.
pub(super) fn read(mut reader: LogReader, wanted: &Wanted, tenant: &TenantId) -> (Vec<Record>, u64) {
    match wanted {
        Wanted::These(sequences) => {
            let found = reader.find(sequences).into_iter();
            (found.filter_map(|(sequence, bytes)| record(sequence, &bytes, tenant)).collect(), 0)
        }
        Wanted::From(sequence) => {
            reader.skip_past(sequence.saturating_sub(1));
            let records = next_records(&mut reader, LOG_READ_RECORDS_MAX, tenant);
            (records, reader.position())
        }
    }
}

/// The next records, past whatever is damaged; none at the end of the log.
fn next_records(reader: &mut LogReader, records_max: usize, tenant: &TenantId) -> Vec<Record> {
    loop {
        match reader.next_batch(records_max, LOG_READ_BYTES_MAX) {
            Ok(batch) => {
                let is_end = batch.is_empty();
                let records: Vec<Record> = batch
                    .into_iter()
                    .filter_map(|(sequence, bytes)| record(sequence, &bytes, tenant))
                    .collect();
                if is_end || !records.is_empty() {
                    return records;
                }
            }
            Err(damage) => {
                error!(%tenant, %damage, "a durable session goes on after damage in the log");
                reader.skip_past(damage.last_sequence());
            }
        }
    }
}

/// A record for a session, which may keep it for long: a copy, for what the log gives shares a buffer with others.
fn record(sequence: u64, bytes: &[u8], tenant: &TenantId) -> Option<Record> {
    match StoredMessage::decode(Bytes::copy_from_slice(bytes)) {
        Ok(StoredMessage { received_ms, publisher, session, message }) => {
            Some(Record { sequence, received_ms, publisher, session, message: Arc::new(message) })
        }
        Err(error) => {
            error!(%tenant, sequence, %error, "failed to read a record of the log");
            None
        }
    }
}

/// Why a router could not be rebuilt from the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    #[error("open the tenant's log and tables")]
    Store(#[from] StoreError),
    #[error("open a row of the tenant")]
    Sealed(#[from] Unsealable),
    #[error("read a retained message")]
    Malformed(#[from] InvalidStored),
    #[error("restore the durable sessions")]
    Sessions(#[from] RestoreError),
    #[error("name the router")]
    Name(#[from] InvalidId),
}
