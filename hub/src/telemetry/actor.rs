//! The telemetry actor: for each tenant, steps from the cursor to the end of its log, one commit each, and answers to
//! questions in between.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use muster_broker::{
    LogGrew,
    store::{Commit, CommitError, DamageKind, LogDamage, LogReader, Store, StoreError, TenantLog, Write},
};
use muster_items::Attributes;
use muster_schemas::{DeviceId, TenantId, stored::StoredMessage};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{
    bell::Announcements,
    core::{Harvest, Streams},
    counters::Counters,
    limits::{
        LOGGED_REJECTIONS_MAX, MAILBOX_MESSAGES_MAX, RANGE_READINGS_MAX, RETRY_AFTER, STEP_BYTES_MAX,
        STEP_MESSAGES_MAX,
    },
    message::{Last, LastReadings, Page, QueryRefusal, Range},
    store::{ReadingsError, TenantReadings},
};

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
    /// What the items of a device are to say of it.
    pub attributes: AttributesOf,
    /// Shared with the bell.
    pub announcements: Announcements,
    /// What is counted.
    pub counters: Counters,
}

/// Reads all tenants' logs and owns their readings.
pub struct TelemetryActor {
    options: TelemetryOptions,
    tenants: BTreeMap<TenantId, Tenant>,
}

struct Tenant {
    readings: TenantReadings,
    streams: Streams,
    log: TenantLog,
    reader: LogReader,
    /// A step is on its way to the disk, or due.
    busy: bool,
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
    #[error("find the keys of the tenant")]
    TenantUnknown,
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
        Self { options, tenants: BTreeMap::new() }
    }

    fn open(&mut self, id: &TenantId) -> Result<&mut Tenant, StepError> {
        if !self.tenants.contains_key(id) {
            let store = &self.options.store;
            let keys = store.tenant(id)?.ok_or(StepError::TenantUnknown)?;
            // A lost tail is named by the reader when it gets there.
            let log = keys.log_past_damage()?;
            let readings = TenantReadings::open(store, keys)?;
            let streams = Streams::load(readings.streams()?);
            let reader = log.reader(readings.cursor()?);
            self.tenants.insert(id.clone(), Tenant { readings, streams, log, reader, busy: false });
        }
        self.tenants.get_mut(id).ok_or(StepError::TenantUnknown)
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
        let Self { options, tenants } = self;
        let tenant = tenants.get_mut(id).ok_or(StepError::TenantUnknown)?;
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
        let mut harvest = Harvest::default();
        let mut cursor = None;
        for (sequence, record) in records {
            if harvest.is_full() {
                break;
            }
            match StoredMessage::decode(record) {
                Ok(stored) => tenant.streams.take(&stored, &mut harvest),
                Err(error) => {
                    error!(tenant = %id, sequence, %error, "a record of the log is no message; it is passed over");
                    options.counters.count(|counted| counted.damaged += 1);
                }
            }
            cursor = Some(sequence + 1);
        }
        let cursor = cursor.unwrap_or(read_to);
        if cursor < read_to {
            // The step took less than was read: the rest is read again.
            tenant.reader = tenant.log.reader(cursor);
        }
        if cursor == tenant.readings.cursor()? {
            // Nothing to read, but others may need less of the log than before.
            let trimmed = tenant.log.trim(cursor.min((options.needed_from)(id)))?;
            return Ok((!trimmed.is_empty()).then(|| commit(&options.store, trimmed)));
        }
        report(id, &harvest, &options.counters);
        let mut writes = tenant.readings.writes(&harvest, cursor)?;
        writes.extend(tenant.log.trim(cursor.min((options.needed_from)(id)))?);
        Ok(Some(commit(&options.store, writes)))
    }

    /// Forgets what is in memory of a tenant, and begins anew from the disk a little later.
    fn retry(&mut self, id: TenantId, error: &StepError, ctx: &mut Context<Self>) {
        self.options.counters.count(|counted| counted.failed += 1);
        self.tenants.remove(&id);
        if matches!(error, StepError::TenantUnknown) {
            warn!(tenant = %id, "a log without a tenant is not read");
            return;
        }
        warn!(tenant = %id, %error, retry_s = RETRY_AFTER.as_secs(), "failed to store telemetry; it is tried again");
        ctx.run_later(RETRY_AFTER, move |actor, ctx| actor.wake(id, ctx));
    }

    fn query(&mut self, id: &TenantId) -> Result<&Tenant, QueryRefusal> {
        match self.open(id) {
            Ok(tenant) => Ok(tenant),
            Err(StepError::TenantUnknown) => Err(QueryRefusal::TenantUnknown),
            Err(error) => Err(QueryRefusal::Unavailable(error.to_string())),
        }
    }
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
                        Ok(()) => ctx.notify(Step { tenant: id }),
                        Err(error) => actor.retry(id, &error.into(), ctx),
                    }
                }));
            }
            Ok(None) => {
                if let Some(tenant) = self.tenants.get_mut(&id) {
                    tenant.busy = false;
                }
            }
            Err(error) => self.retry(id, &error, ctx),
        }
    }
}

impl Handler<Last> for TelemetryActor {
    type Result = Result<LastReadings, QueryRefusal>;

    fn handle(&mut self, query: Last, _: &mut Context<Self>) -> Self::Result {
        let tenant = self.query(&query.tenant)?;
        tenant.readings.last(tenant.streams.matching(query.device.as_ref(), query.stream.as_deref()))
    }
}

impl Handler<Range> for TelemetryActor {
    type Result = Result<Page, QueryRefusal>;

    fn handle(&mut self, query: Range, _: &mut Context<Self>) -> Self::Result {
        if query.limit == 0 || query.limit > RANGE_READINGS_MAX {
            return Err(QueryRefusal::Limit(query.limit));
        }
        if query.from_ms > query.to_ms {
            return Err(QueryRefusal::Order);
        }
        self.query(&query.tenant)?.readings.range(&query)
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
        counted.readings += harvest.readings.len() as u64;
        for rejected in &harvest.rejected {
            *counted.rejected.entry(rejected.why.as_str()).or_default() += 1;
        }
    });
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
