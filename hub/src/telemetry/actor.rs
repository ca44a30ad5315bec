//! The telemetry actor: for each tenant, steps from the cursor to the end of its log, one commit each, and answers to
//! questions in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _,
};
use muster_broker::{
    LogGrew,
    store::{
        Commit, CommitError, DamageKind, LogDamage, LogReader, Store, StoreError, TenantLog, Write,
        limits::LOG_TRIM_ROWS_MAX,
    },
};
use muster_items::{Attributes, QueryRefusal, StreamId};
use muster_schemas::{DeviceId, TenantId, api::Retention, stored::StoredMessage};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{
    archive::Archive,
    bell::Announcements,
    convert::convert,
    core::{Ended, Filling, Harvest},
    counters::Counters,
    flush::Flush,
    keep,
    limits::{
        BEHIND_MESSAGES_MAX, CURSOR_BEHIND_MAX, FLUSH_BYTES_MAX, KEEP_TICKS, LOGGED_REJECTIONS_MAX,
        MAILBOX_MESSAGES_MAX, OPEN_TICKS_MAX, RETRY_AFTER, STEP_BYTES_MAX, STEP_ENDED_BYTES_MAX,
        STEP_MESSAGES_MAX, TICK,
    },
    live,
    message::{ReadRetention, RetentionRefusal, SetRetention, Settle},
    store::{ReadingsError, TenantRows},
};
use crate::screening::TenantBounds;

/// The number up to which somebody else still needs a tenant's log: the first record that must stay.
pub type NeededFrom = Arc<dyn Fn(&TenantId) -> u64 + Send + Sync>;

/// What is known of a device at this instant; it is called for every message, and does not wait.
pub type AttributesOf = Arc<dyn Fn(&TenantId, &DeviceId) -> Arc<Attributes> + Send + Sync>;

/// What the actor is made of; a restart makes a new one of the same.
#[derive(Clone)]
pub struct TelemetryOptions {
    /// Where logs and readings are.
    pub store: Store,
    /// The tenants whose logs are read at the start.
    pub tenants: Arc<dyn Fn() -> Vec<TenantId> + Send + Sync>,
    /// What others still need of a log: it is trimmed no further. `u64::MAX` when nobody does.
    pub needed_from: NeededFrom,
    /// How many streams a device may have.
    pub bounds: Arc<TenantBounds>,
    /// What is asked of telemetry, and shown what is not stored yet.
    pub archive: Archive,
    /// What the items of a device are to say of it.
    pub attributes: AttributesOf,
    /// The day that it is, in days since 1970.
    pub today: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Shared with the bell.
    pub announcements: Announcements,
    /// What is counted.
    pub counters: Counters,
}

/// Reads all tenants' logs and owns their readings.
pub struct TelemetryActor {
    options: TelemetryOptions,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Counts the looks at what is open for long: the clock of open streams.
    ticks: u64,
}

struct Tenant {
    rows: TenantRows,
    live: live::Tenant,
    log: TenantLog,
    reader: LogReader,
    /// The first record of the log that is not stored, as the disk knows it.
    cursor: u64,
    /// What ended and is not on its way yet, of steps or because it was asked for.
    waiting: Vec<Ended>,
    /// A commit that failed, to be tried again before anything else is done.
    failed: Option<Vec<Write>>,
    /// More of the log may be trimmed than was.
    trims: bool,
    /// A step is on its way to the disk, or due.
    busy: bool,
    /// Streams that are to be looked at for what is old, once there is nothing else to do.
    tidying: Vec<StreamId>,
    /// Everything is to be stored when the end of the log is reached: somebody waits for it.
    settling: Vec<oneshot::Sender<()>>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Readings(#[from] ReadingsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Damage(#[from] LogDamage),
    #[error("{0}")]
    Rows(String),
    #[error("find the keys of the tenant")]
    TenantUnknown,
    #[error("open what the tenant has: it has withdrawn its key")]
    Withdrawn,
}

/// The next step of a tenant is due.
struct Step {
    tenant: TenantId,
}

impl Message for Step {
    type Result = ();
}

impl TelemetryActor {
    /// An actor that reads every tenant's log from its cursor when it starts.
    pub fn new(options: TelemetryOptions) -> Self {
        Self { options, tenants: BTreeMap::new(), ticks: 0 }
    }

    fn open(&mut self, id: &TenantId) -> Result<&mut Tenant, StepError> {
        if !self.tenants.contains_key(id) {
            let store = &self.options.store;
            let keys = store.tenant(id)?.ok_or(StepError::TenantUnknown)?;
            if keys.is_withdrawn() {
                return Err(StepError::Withdrawn);
            }
            // A lost tail is named by the reader when it gets there.
            let log = keys.log_past_damage()?;
            let rows = self.options.archive.rows(id).map_err(|error| StepError::Rows(error.to_string()))?;
            self.turn_into_blocks(id, &rows)?;
            let cursor = rows.cursor()?;
            let streams_max = self.options.bounds.of(id).device_streams_max;
            let filling = Filling::load(rows.streams()?, log.last()?.unwrap_or_default(), streams_max);
            let live = self.options.archive.live().put(id.clone(), filling);
            let reader = log.reader(cursor);
            let tenant = Tenant {
                rows,
                live,
                log,
                reader,
                cursor,
                waiting: Vec::new(),
                failed: None,
                trims: false,
                busy: false,
                tidying: Vec::new(),
                settling: Vec::new(),
            };
            self.tenants.insert(id.clone(), tenant);
        }
        self.tenants.get_mut(id).ok_or(StepError::TenantUnknown)
    }

    /// A store of a hub of yesterday.
    fn turn_into_blocks(&self, id: &TenantId, rows: &TenantRows) -> Result<(), StepError> {
        let streams = rows.streams()?;
        let mut commits = 0_u64;
        while let Some(writes) = convert(rows, &streams)? {
            self.options.store.commit_blocking(writes)?;
            commits += 1;
        }
        if commits > 0 {
            info!(tenant = %id, commits, "readings of an older hub were turned into blocks");
        }
        Ok(())
    }

    /// Begins a step unless one is under way, whose end begins the next.
    fn wake(&mut self, id: TenantId, ctx: &mut Context<Self>) {
        match self.open(&id) {
            Ok(tenant) if tenant.busy => {}
            Ok(tenant) => {
                tenant.busy = true;
                ctx.notify(Step { tenant: id });
            }
            Err(error) => self.retry(id, &error, ctx),
        }
    }

    /// Takes a piece of the log to the disk. Returns nothing when the end of the log is reached.
    fn step(
        &mut self,
        id: &TenantId,
    ) -> Result<Option<oneshot::Receiver<Result<(), CommitError>>>, StepError> {
        let Self { options, tenants, ticks } = self;
        let tenant = tenants.get_mut(id).ok_or(StepError::TenantUnknown)?;
        if let Some(writes) = tenant.failed.take() {
            return Ok(Some(tenant.commit(&options.store, writes)));
        }
        // What was on its way is stored, or the step before would not have ended.
        tenant.live.lock().flushing.clone_from(&tenant.waiting);
        if !tenant.waiting.is_empty() {
            return tenant.flush(options, id).map(Some);
        }
        let records = match tenant.reader.next_batch(STEP_MESSAGES_MAX, STEP_BYTES_MAX) {
            Ok(records) => records,
            Err(damage) if matches!(damage.why, DamageKind::Unreadable(_)) => return Err(damage.into()),
            Err(damage) => {
                error!(tenant = %id, %damage, "records of the log are lost and passed over");
                options.counters.count(|counted| counted.damaged += 1);
                tenant.reader.skip_past(damage.last_sequence());
                Vec::new()
            }
        };
        let read_to = tenant.reader.position();
        let is_end = records.is_empty();
        let mut harvest = Harvest::default();
        let mut position = None;
        let others = options.archive.live().bytes().saturating_sub(tenant.live.weight());
        {
            let mut filling = tenant.live.lock();
            let origin_of = |device: &DeviceId| (options.attributes)(id, device);
            for (sequence, record) in records {
                if harvest.bytes >= STEP_ENDED_BYTES_MAX {
                    break;
                }
                match StoredMessage::decode(record) {
                    Ok(stored) => filling.take(sequence, &stored, *ticks, &origin_of, &mut harvest),
                    Err(error) => {
                        error!(tenant = %id, sequence, %error, "a record of the log is no message; it is passed over");
                        options.counters.count(|counted| counted.damaged += 1);
                    }
                }
                position = Some(sequence + 1);
            }
            let needed = read_to.saturating_sub(BEHIND_MESSAGES_MAX);
            if filling.needs_from(read_to) < needed {
                filling.end(|open| open.needs_from().is_some_and(|first| first < needed), &mut harvest);
            }
            filling.make_room(others, &mut harvest);
            if is_end && !tenant.settling.is_empty() {
                filling.end(|_| true, &mut harvest);
            }
            tenant.live.weigh(filling.bytes());
            // Until they are on the disk, they are shown from here.
            filling.flushing = harvest.ended.clone();
        }
        let position = position.unwrap_or(read_to);
        if position < read_to {
            // The step took less than was read: the rest is read again.
            tenant.reader = tenant.log.reader(position);
        }
        report(id, &harvest, &options.counters);
        tenant.waiting = harvest.ended;
        if !tenant.waiting.is_empty() {
            return tenant.flush(options, id).map(Some);
        }
        if !is_end {
            let behind = tenant.reader.position() - tenant.cursor;
            let is_open = tenant.live.lock().open_streams() > 0;
            if !tenant.trims && (is_open || behind < CURSOR_BEHIND_MAX) {
                return Ok(Some(done()));
            }
        }
        // Nothing to store, but less of the log is needed than before, by us or by others.
        let cursor = tenant.live.lock().needs_from(tenant.reader.position());
        let mut writes = tenant.trim(cursor.min((options.needed_from)(id)))?;
        if cursor > tenant.cursor {
            tenant.cursor = cursor;
            writes.push(tenant.rows.cursor_write(cursor));
        }
        if writes.is_empty() && is_end {
            writes = tenant.tidy((options.today)())?;
        }
        if writes.is_empty() {
            for settled in tenant.settling.drain(..) {
                let _ = settled.send(());
            }
            return Ok(is_end.then_some(()).map_or_else(|| Some(done()), |()| None));
        }
        Ok(Some(tenant.commit(&options.store, writes)))
    }

    /// Forgets what is in memory of a tenant, and begins anew from the disk a little later.
    fn retry(&mut self, id: TenantId, error: &StepError, ctx: &mut Context<Self>) {
        let is_void = matches!(error, StepError::Withdrawn | StepError::Commit(CommitError::Withdrawn));
        if is_void || self.tenants.get(&id).is_some_and(|tenant| tenant.rows.is_withdrawn()) {
            return self.forget(&id);
        }
        self.options.counters.count(|counted| counted.failed += 1);
        if matches!(error, StepError::Commit(_))
            && self.tenants.get(&id).is_some_and(|tenant| tenant.failed.is_some())
        {
            // What is open stays, and is shown; the log takes nothing in while the disk does not.
            warn!(tenant = %id, %error, retry_s = RETRY_AFTER.as_secs(), "failed to store telemetry; it is tried again");
            ctx.run_later(RETRY_AFTER, move |_, ctx| ctx.notify(Step { tenant: id }));
            return;
        }
        self.tenants.remove(&id);
        self.options.archive.live().remove(&id);
        if matches!(error, StepError::TenantUnknown) {
            warn!(tenant = %id, "a log without a tenant is not read");
            return;
        }
        warn!(tenant = %id, %error, retry_s = RETRY_AFTER.as_secs(), "failed to store telemetry; it is tried again");
        ctx.run_later(RETRY_AFTER, move |actor, ctx| actor.wake(id, ctx));
    }

    /// Forgets what is in memory of a tenant, one that has withdrawn its key say: it is on the log, and read again from
    /// there when the tenant gives its key back. What was sealed meanwhile holds nothing, and was refused.
    fn forget(&mut self, id: &TenantId) {
        if self.tenants.remove(id).is_some() {
            self.options.archive.live().remove(id);
            info!(tenant = %id, "the tenant is not served, or has withdrawn its key: its telemetry waits on its log");
        }
    }

    /// Forgets tenants that have withdrawn their keys or are served no more, and goes on with those that are back.
    fn look_for_keys(&mut self, ctx: &mut Context<Self>) {
        let served: BTreeSet<_> = (self.options.tenants)().into_iter().collect();
        let is_gone = |id: &TenantId, tenant: &Tenant| tenant.rows.is_withdrawn() || !served.contains(id);
        let gone = self.tenants.iter().filter(|(id, tenant)| !tenant.busy && is_gone(id, tenant));
        for id in gone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.forget(&id);
        }
        let back = served.into_iter().filter(|id| !self.tenants.contains_key(id));
        for id in back.collect::<Vec<_>>() {
            self.wake(id, ctx);
        }
    }

    /// Has all streams of a tenant looked at for what is old.
    fn look_for_old(&mut self, id: TenantId, ctx: &mut Context<Self>) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        if keep::rules(&tenant.rows).is_ok_and(|rules| !rules.rules.is_empty()) {
            tenant.tidying = tenant.live.lock().matching(None, None).collect();
            self.wake(id, ctx);
        }
    }

    /// Ends what is open for long, of all tenants.
    fn look_around(&mut self, ctx: &mut Context<Self>) {
        self.ticks += 1;
        self.look_for_keys(ctx);
        // Soon after the start as well: a hub may never run for an hour.
        if self.ticks % KEEP_TICKS == 1 {
            let ids: Vec<_> = self.tenants.keys().cloned().collect();
            ids.into_iter().for_each(|id| self.look_for_old(id, ctx));
        }
        let Some(before) = self.ticks.checked_sub(OPEN_TICKS_MAX) else { return };
        let mut due = Vec::new();
        for (id, tenant) in &mut self.tenants {
            let mut filling = tenant.live.lock();
            let mut harvest = Harvest::default();
            filling.end(|open| open.since().is_some_and(|since| since <= before), &mut harvest);
            if harvest.ended.is_empty() {
                continue;
            }
            tenant.live.weigh(filling.bytes());
            filling.flushing.extend(harvest.ended.iter().cloned());
            tenant.waiting.append(&mut harvest.ended);
            due.push(id.clone());
        }
        due.into_iter().for_each(|id| self.wake(id, ctx));
    }
}

impl Tenant {
    /// Writes what waits, or as much of it as goes into one commit.
    fn flush(&mut self, options: &TelemetryOptions, id: &TenantId) -> Result<Stored, StepError> {
        self.rows.rules = options.archive.rules(id);
        let mut flush = Flush::new(&self.rows);
        let (mut bytes, mut count) = (0, 0);
        for ended in &self.waiting {
            if bytes > FLUSH_BYTES_MAX {
                break;
            }
            bytes += ended.bytes();
            flush.add(ended)?;
            count += 1;
        }
        let left = self.waiting.split_off(count);
        // What is left is not stored either.
        let waiting = left.iter().map(|ended| ended.first_sequence).min().unwrap_or(u64::MAX);
        let mut writes = flush.into_writes()?;
        let cursor = {
            let mut filling = self.live.lock();
            let stored = std::mem::replace(&mut self.waiting, left);
            filling.flushing = stored.into_iter().chain(self.waiting.iter().cloned()).collect();
            filling.needs_from(self.reader.position()).min(waiting)
        };
        if cursor > self.cursor {
            self.cursor = cursor;
            writes.push(self.rows.cursor_write(cursor));
        }
        writes.extend(self.trim(self.cursor.min((options.needed_from)(id)))?);
        Ok(self.commit(&options.store, writes))
    }

    /// The next writes that keep streams within their rules.
    fn tidy(&mut self, today: i64) -> Result<Vec<Write>, StepError> {
        if self.tidying.is_empty() {
            return Ok(Vec::new());
        }
        // They were checked before they were stored.
        let rules = keep::checked(&keep::rules(&self.rows)?).unwrap_or_default();
        while let Some(stream) = self.tidying.last() {
            if let Some(rule) = rules.of(&stream.stream) {
                let writes = keep::tidy(&self.rows, stream, rule, today)?;
                if !writes.is_empty() {
                    return Ok(writes);
                }
            }
            self.tidying.pop();
        }
        Ok(Vec::new())
    }

    /// What of the log is needed no more, a part at a time.
    fn trim(&mut self, below: u64) -> Result<Vec<Write>, StepError> {
        let trimmed = self.log.trim(below)?;
        self.trims = trimmed.len() >= LOG_TRIM_ROWS_MAX;
        Ok(trimmed)
    }

    /// Sends writes, and keeps them until they are stored.
    fn commit(&mut self, store: &Store, writes: Vec<Write>) -> Stored {
        self.failed = Some(writes.clone());
        commit(store, writes)
    }
}

/// Told when a commit is stored.
type Stored = oneshot::Receiver<Result<(), CommitError>>;

/// Nothing was to be stored: the next step can follow.
fn done() -> Stored {
    let (answer, stored) = oneshot::channel();
    let _ = answer.send(Ok(()));
    stored
}

impl Actor for TelemetryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        // Before the first read: what is committed from here on is announced to this life of the actor.
        self.options.announcements.take_back();
        let tenants = (self.options.tenants)();
        info!(tenants = tenants.len(), "telemetry goes on from its cursors");
        for tenant in tenants {
            self.wake(tenant, ctx);
        }
        ctx.run_interval(TICK, Self::look_around);
    }
}

impl Handler<Settle> for TelemetryActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Settle { tenant }: Settle, ctx: &mut Context<Self>) -> Self::Result {
        let tenants: Vec<_> = match tenant {
            Some(tenant) => vec![tenant],
            None => self.tenants.keys().cloned().collect(),
        };
        let mut waits = Vec::new();
        for id in tenants {
            if let Ok(tenant) = self.open(&id) {
                let (settled, wait) = oneshot::channel();
                tenant.settling.push(settled);
                waits.push(wait);
                self.wake(id, ctx);
            }
        }
        Box::pin(async move {
            for wait in waits {
                // One whose tenant failed is not waited for.
                let _ = wait.await;
            }
        })
    }
}

impl Handler<LogGrew> for TelemetryActor {
    type Result = ();

    fn handle(&mut self, grew: LogGrew, ctx: &mut Context<Self>) {
        // Before the read, so that what is committed after it is announced again.
        grew.announced.store(false, Ordering::Release);
        self.wake(grew.tenant, ctx);
    }
}

impl Handler<Step> for TelemetryActor {
    type Result = ();

    fn handle(&mut self, Step { tenant: id }: Step, ctx: &mut Context<Self>) {
        match self.step(&id) {
            Ok(Some(stored)) => {
                ctx.spawn(stored.into_actor(self).map(move |outcome, actor, ctx| {
                    match outcome.unwrap_or(Err(CommitError::Closed)) {
                        Ok(()) => {
                            if let Some(tenant) = actor.tenants.get_mut(&id) {
                                tenant.failed = None;
                            }
                            ctx.notify(Step { tenant: id });
                        }
                        Err(error) => actor.retry(id, &error.into(), ctx),
                    }
                }));
            }
            Ok(None) => {
                if let Some(tenant) = self.tenants.get_mut(&id) {
                    tenant.busy = false;
                    // Asked for while the last step found the end.
                    if !tenant.settling.is_empty() || !tenant.waiting.is_empty() {
                        self.wake(id, ctx);
                    }
                }
            }
            Err(error) => self.retry(id, &error, ctx),
        }
    }
}

impl Handler<ReadRetention> for TelemetryActor {
    type Result = Result<Retention, RetentionRefusal>;

    fn handle(&mut self, ReadRetention { tenant }: ReadRetention, _: &mut Context<Self>) -> Self::Result {
        let rows = self.options.archive.rows(&tenant)?;
        keep::rules(&rows).map_err(|error| QueryRefusal::Unavailable(error.to_string()).into())
    }
}

impl Handler<SetRetention> for TelemetryActor {
    type Result = Result<(), RetentionRefusal>;

    fn handle(
        &mut self,
        SetRetention { tenant, rules }: SetRetention,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        keep::checked(&rules)?;
        let rows = self.options.archive.rows(&tenant)?;
        // Rare, and the caller is to know that it is stored.
        let stored = self.options.store.commit_blocking(vec![keep::rules_write(&rows, &rules)]);
        stored.map_err(|error| QueryRefusal::Unavailable(error.to_string()))?;
        self.look_for_old(tenant, ctx);
        Ok(())
    }
}

fn commit(store: &Store, writes: Vec<Write>) -> oneshot::Receiver<Result<(), CommitError>> {
    let (answer, stored) = oneshot::channel();
    let done = Box::new(move |outcome| {
        let _ = answer.send(outcome);
    });
    store.commit(Commit { writes, fence: None, permit: None, done });
    stored
}

fn report(tenant: &TenantId, harvest: &Harvest, counters: &Counters) {
    for rejected in harvest.rejected.iter().take(LOGGED_REJECTIONS_MAX) {
        warn!(%tenant, device = %rejected.device, reason = rejected.why.as_str(), why = %rejected.why,
            "telemetry kept out");
    }
    if let Some(more @ 1..) = harvest.rejected.len().checked_sub(LOGGED_REJECTIONS_MAX) {
        warn!(%tenant, more, "more telemetry kept out");
    }
    counters.count(|counted| {
        counted.messages += harvest.messages as u64;
        counted.readings += harvest.readings as u64;
        for rejected in &harvest.rejected {
            *counted.rejected.entry(rejected.why.as_str()).or_default() += 1;
        }
    });
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
