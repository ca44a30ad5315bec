//! One tenant's telemetry on its way from the log into requests: what the actor does for each tenant, without the requests.

use std::time::Instant;

use muster_broker::{
    Quotas,
    store::{
        DamageKind, LogDamage, LogReader, Purpose, Sealer, Store, StoreError, Table, TenantLog, TenantStore,
        Write,
    },
};
use muster_influx::{
    answer::{Answer, Trouble},
    backlog::{Backlog, GivenUp},
    batch::Batch,
    courier::{Courier, DeadLetter, Next},
    points::{Cut, Cutter, FieldSealer, Unsealed},
};
use muster_schemas::{TenantId, stored::StoredMessage};
use tracing::{error, warn};

use super::{
    RulesOf,
    limits::{MEASURED_BYTES_MAX, READ_BYTES_MAX, READ_MESSAGES_MAX},
};
use crate::causes::causes;

/// The table of all tenants' cursors. A tenant's row begins with its handle.
const TABLE: &str = "influx";
const CURSOR: u8 = b'p';

/// Why a feed cannot go on now.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(LogDamage),
    #[error(transparent)]
    Unsealed(#[from] Unsealed),
    #[error("find the keys of the tenant")]
    TenantUnknown,
}

/// What the actor has to do for a feed.
#[derive(Debug)]
pub(super) enum Deed {
    /// Nothing for now.
    Rest,
    /// Store the cursor and say when it is on the disk.
    Commit(Vec<Write>),
    /// Send these lines and tell the answer.
    Send(String),
}

/// What a feed has to tell.
#[derive(Debug, Default)]
pub(super) struct News {
    pub readings: u64,
    pub sealed: u64,
    pub damaged: u64,
    pub letters: Vec<DeadLetter>,
    pub given_up: u64,
}

/// The way of one tenant's telemetry.
pub(super) struct Feed {
    tenant: TenantId,
    keys: TenantStore,
    table: Table,
    sealer: Sealer,
    log: TenantLog,
    reader: LogReader,
    rules: RulesOf,
    cutter: Cutter,
    courier: Courier,
    backlog: Backlog,
    /// The first record that the backlog does not know.
    measured: u64,
    /// The next record to send, as it is on the disk.
    cursor: u64,
    /// The first record behind the batch.
    ahead: u64,
    /// What the batch is made of.
    cut: Cut,
    /// The cursor that is on its way to the disk.
    committing: Option<u64>,
    news: News,
}

/// Seals with a data key of the tenant's, which is on the disk before a text is given out.
struct Seal<'a>(&'a TenantStore);

impl FieldSealer for Seal<'_> {
    fn seal(&self, stream: &str, name: &str, plaintext: &[u8]) -> Result<String, Unsealed> {
        self.0.field_sealer(stream).seal(name, plaintext).map_err(|error| match error {
            StoreError::Withdrawn { .. } => Unsealed::KeyAway,
            error => Unsealed::Store(causes(&error)),
        })
    }
}

impl Feed {
    /// Goes on from the cursor of `tenant`, or from the first record that its log keeps.
    pub fn open(
        store: &Store,
        tenant: &TenantId,
        quotas: &Quotas,
        rules: RulesOf,
        seed: u64,
    ) -> Result<Self, FeedError> {
        let keys = store.tenant(tenant)?.ok_or(FeedError::TenantUnknown)?;
        if keys.is_withdrawn() {
            return Err(Unsealed::KeyAway.into());
        }
        // A lost tail is named by the reader when it gets there.
        let log = keys.log_past_damage()?;
        let (table, sealer) = (store.table(TABLE)?, keys.sealer(Purpose::Telemetry));
        let key = row_key(&keys);
        let opened = table.get(&key)?.map(|sealed| sealer.open(&key, &sealed).ok()?.try_into().ok());
        let stored = match opened {
            Some(Some(bytes)) => u64::from_be_bytes(bytes),
            Some(None) => {
                error!(%tenant, "the cursor is damaged: what the log holds is sent once more, which changes nothing there");
                1
            }
            None => 1,
        };
        let cursor = stored.max(log.first()?.unwrap_or(stored));
        Ok(Self {
            tenant: tenant.clone(),
            reader: log.reader(cursor),
            cutter: Cutter::new(rules(tenant)),
            rules,
            courier: Courier::new(seed),
            backlog: Backlog::new(quotas.log_bytes_max, quotas.log_age_max),
            measured: cursor,
            cursor,
            ahead: cursor,
            cut: Cut::default(),
            committing: None,
            news: News::default(),
            keys,
            table,
            sealer,
            log,
        })
    }

    /// What to do now. Not to be asked while a request or a commit is under way.
    pub fn next(&mut self, now: Instant, now_ms: u64) -> Result<Deed, FeedError> {
        if self.keys.is_withdrawn() {
            // The log cannot be read either, and nothing is written to it.
            if self.trouble() != Some(&Trouble::KeyAway) {
                self.courier.unload();
                self.rewind(self.cursor);
            }
            self.answered(now, Answer::Stopped(Trouble::KeyAway));
            return Ok(Deed::Rest);
        }
        let waits = self.courier.waits_until().is_some_and(|until| until > now);
        if waits {
            self.unload();
            self.measure()?;
        }
        if let Some(GivenUp { below, records }) = self.backlog.give_up(now_ms) {
            self.give_up(below, records);
            return Ok(self.commit());
        }
        if waits {
            return Ok(Deed::Rest);
        }
        if self.ahead == self.cursor {
            match self.fill() {
                Ok(()) => {}
                Err(FeedError::Unsealed(Unsealed::KeyAway)) => {
                    self.answered(now, Answer::Stopped(Trouble::KeyAway));
                    return Ok(Deed::Rest);
                }
                Err(FeedError::Unsealed(why)) => {
                    warn!(tenant = %self.tenant, %why, "telemetry is not sent now; it waits in the log");
                    self.answered(now, Answer::Later(why.into()));
                    return Ok(Deed::Rest);
                }
                Err(error) => return Err(error),
            }
        }
        match self.courier.next(now) {
            Next::Send(lines) => Ok(Deed::Send(lines.to_owned())),
            Next::Wait(_) => Ok(Deed::Rest),
            Next::Done if self.ahead > self.cursor => Ok(self.commit()),
            Next::Done => Ok(Deed::Rest),
        }
    }

    /// What became of what was sent.
    pub fn answered(&mut self, now: Instant, answer: Answer) {
        let mut letters = Vec::new();
        self.courier.answered(now, answer, &mut letters);
        self.news.letters.append(&mut letters);
    }

    /// What was to be stored is on the disk.
    pub fn committed(&mut self) {
        if let Some(cursor) = self.committing.take() {
            self.cursor = cursor;
            self.backlog.release(cursor);
            let cut = std::mem::take(&mut self.cut);
            self.news.readings += cut.readings;
            self.news.sealed += cut.sealed;
            self.news.letters.extend(cut.letters);
        }
    }

    /// What is to be stored was refused: everything from the cursor on is read again.
    pub fn uncommitted(&mut self) {
        self.committing = None;
        self.courier.unload();
        self.rewind(self.cursor);
    }

    /// Somebody has changed something: it waits no longer.
    pub fn hurry(&mut self) {
        self.courier.hurry();
    }

    /// What is in the way.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.courier.trouble()
    }

    /// The next record to send.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// What of the log waits.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// What there is to tell since the last time.
    pub fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    fn commit(&mut self) -> Deed {
        self.committing = Some(self.ahead);
        Deed::Commit(vec![self.write(self.ahead)])
    }

    fn write(&self, cursor: u64) -> Write {
        let key = row_key(&self.keys);
        let value = self.sealer.seal(&key, &cursor.to_be_bytes());
        Write::Put { table: self.table.clone(), key, value }
    }

    /// Reads the log into a batch, until that is full or the log ends.
    fn fill(&mut self) -> Result<(), FeedError> {
        self.cutter.follow((self.rules)(&self.tenant));
        let mut batch = Batch::default();
        let mut cut = Cut::default();
        let outcome = loop {
            if batch.is_full() {
                break Ok(());
            }
            let records = match self.reader.next_batch(READ_MESSAGES_MAX, READ_BYTES_MAX) {
                Ok(records) if records.is_empty() => break Ok(()),
                Ok(records) => records,
                Err(damage) if matches!(damage.why, DamageKind::Unreadable(_)) => {
                    break Err(FeedError::Log(damage));
                }
                Err(damage) => {
                    error!(tenant = %self.tenant, %damage, "records of the log are lost and not sent to the server");
                    self.news.damaged += 1;
                    self.reader.skip_past(damage.last_sequence());
                    self.ahead = self.reader.position();
                    continue;
                }
            };
            let mut unsealed = None;
            for (sequence, record) in records {
                if batch.is_full() || unsealed.is_some() {
                    break;
                }
                let bytes = record.len() as u64;
                match StoredMessage::decode(record) {
                    Ok(stored) => {
                        unsealed = self.cutter.take(&stored, &Seal(&self.keys), &mut batch, &mut cut).err();
                        if unsealed.is_some() {
                            break;
                        }
                        self.count(sequence, bytes, stored.received_ms);
                    }
                    Err(why) => {
                        error!(tenant = %self.tenant, sequence, %why, "a record of the log is no message");
                        self.news.damaged += 1;
                    }
                }
                self.ahead = sequence + 1;
            }
            if self.ahead < self.reader.position() {
                // The batch took less than was read: the rest is read again.
                self.reader = self.log.reader(self.ahead);
            }
            if let Some(why) = unsealed {
                break Err(why.into());
            }
        };
        self.cut = cut;
        self.courier.load(batch);
        // What there is goes first.
        if self.ahead > self.cursor { Ok(()) } else { outcome }
    }

    /// Counts what waits in the log, while nothing can be sent.
    fn measure(&mut self) -> Result<(), FeedError> {
        let mut scout = self.log.reader(self.measured);
        let mut bytes = 0;
        while bytes < MEASURED_BYTES_MAX {
            let records = match scout.next_batch(READ_MESSAGES_MAX, READ_BYTES_MAX) {
                Ok(records) if records.is_empty() => return Ok(()),
                Ok(records) => records,
                Err(damage) if matches!(damage.why, DamageKind::Unreadable(_)) => {
                    return Err(FeedError::Log(damage));
                }
                Err(damage) => {
                    // It is told when it is to be sent.
                    scout.skip_past(damage.last_sequence());
                    self.measured = scout.position();
                    continue;
                }
            };
            for (sequence, record) in records {
                bytes += record.len();
                let length = record.len() as u64;
                let received_ms = StoredMessage::decode(record).map_or(0, |stored| stored.received_ms);
                self.count(sequence, length, received_ms);
            }
        }
        Ok(())
    }

    fn count(&mut self, sequence: u64, bytes: u64, received_ms: u64) {
        if sequence >= self.measured {
            self.backlog.add(sequence, bytes, received_ms);
            self.measured = sequence + 1;
        }
    }

    fn give_up(&mut self, below: u64, records: u64) {
        warn!(
            tenant = %self.tenant, below, records,
            "the log may hold no more: its oldest messages are not sent to the server any more; the hub's own store has them"
        );
        self.news.given_up += records;
        self.courier.unload();
        self.rewind(below);
    }

    /// Gives the memory of the batch back. It is made again of the same records.
    fn unload(&mut self) {
        if self.ahead > self.cursor {
            self.courier.unload();
            self.rewind(self.cursor);
        }
    }

    fn rewind(&mut self, to: u64) {
        self.ahead = to;
        self.reader = self.log.reader(to);
        self.cut = Cut::default();
    }
}

fn row_key(keys: &TenantStore) -> Vec<u8> {
    let mut key = keys.handle().to_vec();
    key.push(CURSOR);
    key
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
