//! The router actor: one per tenant. It owns the routing core, the tenant's log and the addresses of its sessions.
//!
//! It batches: all that one read of a socket brought is routed in one turn, and leaves as one message per session and
//! one commit. What it may not do is wait: the log answers when it has answered.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix::{fut::wrap_future, prelude::*};
use bytes::Bytes;
use muster_actors::{Cause, ExitSlot, SharedClock};
use muster_routing::{Access, Effect, Input, Refusal, Router as Core, RouterOptions, SubscriberId};
use muster_schemas::{
    InvalidId, Kind, Message as BusMessage, Publisher, Qos, TenantId, TopicFilter, TopicName,
    stored::{self, InvalidStored, StoredMessage},
};
use tracing::{error, info};

use crate::{
    counters::TenantCounters,
    inspection::{AskRouter, Insight, Sys},
    session::Permits,
    store::{
        Commit, CommitError, Purpose, Sealer, Store, StoreError, Table, TenantLog, TenantStore, Unsealable,
        Write,
    },
};

/// Keyspace of retained messages.
const RETAINED: &str = "retained";

/// Inputs of one session, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FromSession {
    pub(crate) inputs: Vec<Input>,
    pub(crate) permit: Option<Permits>,
}

/// What one turn of the router means for one session, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ToSession {
    pub(crate) effects: Vec<Effect>,
}

/// A session joins before its first input, and leaves after its last.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Membership {
    Join { subscriber: SubscriberId, publisher: Publisher, access: Arc<Access>, outlet: Recipient<ToSession> },
    Leave { subscriber: SubscriberId },
}

/// The log's answer to one commit.
#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    first: u64,
    last: u64,
    /// Which generation of the log this belongs to. After a failure the rest of its generation fails as well.
    generation: u64,
    outcome: Result<(), CommitError>,
}

/// New records stand in a tenant's log. Sent at most once until it is taken.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct LogGrew {
    /// Whose log.
    pub tenant: TenantId,
    /// Told when the reader starts reading, so that what is committed from then on is announced again.
    pub announced: Arc<AtomicBool>,
}

/// Told when a tenant's log grew.
pub type LogWatch = Arc<dyn Fn(LogGrew) + Send + Sync>;

/// What a router is made of.
pub(crate) struct RouterParts {
    pub(crate) tenant: TenantStore,
    pub(crate) store: Store,
    pub(crate) durable: Vec<TopicFilter>,
    pub(crate) log_grew: LogWatch,
    pub(crate) counters: Arc<TenantCounters>,
    pub(crate) insight: Insight,
    pub(crate) clock: SharedClock,
    pub(crate) exit: ExitSlot,
}

pub(crate) struct Router {
    parts: RouterParts,
    /// None until recovered.
    recovered: Option<Recovered>,
    outlets: HashMap<SubscriberId, Outlet>,
    /// Sessions that this turn has something for, in the order it came up.
    touched: Vec<SubscriberId>,
    effects: Vec<Effect>,
    /// Permits of what stands in line behind a long fan-out. They go back when the line is empty, or with a commit that
    /// some of it went into, if that is later.
    held: Vec<Arc<Permits>>,
    committing: Arc<Committing>,
    sys: Sys,
}

/// What follows from a commit, on the committer's thread.
struct Committing {
    /// None until the router has started.
    router: Option<Recipient<Committed>>,
    log_grew: LogWatch,
    grew: LogGrew,
}

impl Committing {
    fn report(&self, committed: Committed) {
        let is_stored = committed.outcome.is_ok();
        if let Some(router) = &self.router {
            // A report: there is one per commit, and every commit rode on a permit.
            router.do_send(committed);
        }
        // After the report, for it is somebody else's code.
        if is_stored && !self.grew.announced.swap(true, Ordering::AcqRel) {
            (self.log_grew)(self.grew.clone());
        }
    }
}

struct Recovered {
    core: Core,
    log: TenantLog,
    retained: Retained,
}

impl Recovered {
    /// Waits for what is on the way to the disk, and reads what a router needs to begin. Blocks.
    fn from_disk(
        tenant: TenantStore,
        store: &Store,
        durable: Vec<TopicFilter>,
    ) -> Result<Self, RecoverError> {
        let log = tenant.log()?;
        let retained = Retained::open(store, tenant)?;
        let options =
            RouterOptions { durable, next_sequence: log.next_sequence(), ..RouterOptions::default() };
        let mut core = Core::new(options);
        for message in retained.load()? {
            core.restore_retained(message);
        }
        Ok(Self { core, log, retained })
    }
}

struct Outlet {
    session: Recipient<ToSession>,
    pending: Vec<Effect>,
}

impl Router {
    pub(crate) fn new(parts: RouterParts) -> Self {
        let grew = LogGrew { tenant: parts.tenant.tenant().clone(), announced: Arc::default() };
        let committing = Committing { router: None, log_grew: parts.log_grew.clone(), grew };
        let sys = Sys::new(&parts.insight, parts.clock.now());
        Self {
            parts,
            sys,
            recovered: None,
            outlets: HashMap::new(),
            touched: Vec::new(),
            effects: Vec::new(),
            held: Vec::new(),
            committing: Arc::new(committing),
        }
    }

    fn recovered(&mut self, ctx: &mut Context<Self>, outcome: Result<Recovered, Cause>) {
        let tenant = self.parts.tenant.tenant();
        match outcome {
            Ok(recovered) => {
                let (next_sequence, retained) =
                    (recovered.core.next_sequence(), recovered.core.retained().len());
                info!(%tenant, next_sequence, retained, "router ready");
                self.recovered = Some(recovered);
            }
            Err(cause) => {
                error!(%tenant, error = %cause, "failed to recover the router");
                self.parts.exit.fail(ctx, cause);
            }
        }
    }

    fn input(&mut self, input: Input) {
        if let Some(recovered) = &mut self.recovered {
            recovered.core.handle(input, &mut self.effects);
        }
    }

    /// Says the numbers of `$SYS` that have changed.
    fn announce(&mut self) {
        let Some(recovered) = &mut self.recovered else { return };
        let now = self.parts.clock.now();
        for message in self.sys.news(now, &self.parts.counters, &recovered.core) {
            recovered.core.handle(Input::Announce { message }, &mut self.effects);
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>, permit: Option<Permits>) {
        let Some(recovered) = &mut self.recovered else { return };
        let mut records = Records::new(recovered, &self.parts.clock);
        let mut unfinished = false;
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver { to, .. }
                | Effect::Published { to, .. }
                | Effect::Subscribed { to, .. }
                | Effect::Unsubscribed { to, .. }
                | Effect::Denied { to, .. } => {
                    if let Some(outlet) = self.outlets.get_mut(&to) {
                        if outlet.pending.is_empty() {
                            self.touched.push(to);
                        }
                        outlet.pending.push(effect);
                    }
                }
                Effect::Append { sequence, publisher, message } => {
                    records.append(sequence, &publisher, &message)
                }
                Effect::KeepRetained { sequence, message } => records.keep(sequence, &message),
                Effect::ForgetRetained { sequence, topic } => records.forget(sequence, topic),
                Effect::Continue => unfinished = true,
            }
        }
        let Records { writes, first, last, .. } = records;
        let (in_line, _) = recovered.core.waiting();
        let permit = if in_line > 0 {
            // Which inputs stand in line and which went into the commit nobody knows here, so permits wait for both.
            self.held.extend(permit.map(Arc::new));
            None
        } else {
            permit
        };
        if let Some(first) = first {
            self.commit(writes, (first, last), (permit, self.held.clone()));
        }
        if in_line == 0 {
            self.held.clear();
        }
        if unfinished {
            // A notification to itself would be handled in the same poll, and nobody else would have a turn.
            let turn = wrap_future(tokio::task::yield_now());
            ctx.spawn(turn.map(|(), router: &mut Self, ctx: &mut Context<Self>| {
                router.input(Input::Continue);
                router.carry_out(ctx, None);
            }));
        }
        self.hand_out();
    }

    fn commit(&self, writes: Vec<Write>, (first, last): (u64, u64), permits: impl Send + 'static) {
        let generation = self.recovered.as_ref().map_or(0, |recovered| recovered.log.generation());
        let committing = self.committing.clone();
        self.parts.counters.log_appended.add(last + 1 - first);
        self.parts.store.commit(Commit {
            writes,
            permit: Some(Box::new(permits)),
            done: Box::new(move |outcome| committing.report(Committed { first, last, generation, outcome })),
        });
    }

    fn hand_out(&mut self) {
        for subscriber in self.touched.drain(..) {
            if let Some(outlet) = self.outlets.get_mut(&subscriber) {
                // Bounded by what the turn's permits allowed in, times the slice of fan-out.
                outlet.session.do_send(ToSession { effects: mem::take(&mut outlet.pending) });
            }
        }
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(committing) = Arc::get_mut(&mut self.committing) {
            committing.router = Some(ctx.address().recipient());
        }
        if let Some(interval) = self.parts.insight.sys_interval {
            ctx.run_interval(interval, |router, ctx| {
                router.sys.tick(router.parts.clock.now(), &router.parts.counters);
                if router.recovered.as_ref().is_some_and(|r| Sys::is_heard(&r.core)) {
                    router.announce();
                    router.carry_out(ctx, None);
                }
            });
        }
        let RouterParts { tenant, store, durable, .. } = &self.parts;
        let (tenant, store, durable) = (tenant.clone(), store.clone(), durable.clone());
        // The disk may be slow and the neighbours on this arbiter do not wait for it; our own mailbox does.
        let recovering = tokio::task::spawn_blocking(move || Recovered::from_disk(tenant, &store, durable));
        ctx.wait(wrap_future(recovering).map(|outcome, router: &mut Self, ctx: &mut Context<Self>| {
            let outcome = match outcome {
                Ok(recovered) => recovered.map_err(Cause::from),
                Err(panicked) => Err(Cause::from(panicked)),
            };
            router.recovered(ctx, outcome);
        }));
    }
}

impl Handler<FromSession> for Router {
    type Result = ();

    fn handle(&mut self, FromSession { inputs, permit }: FromSession, ctx: &mut Context<Self>) {
        for input in inputs {
            if self.sys.is_asked_for(&input) {
                // First, so that what is retained is of now.
                self.announce();
            }
            self.input(input);
        }
        self.carry_out(ctx, permit);
    }
}

impl Handler<Membership> for Router {
    type Result = ();

    fn handle(&mut self, membership: Membership, ctx: &mut Context<Self>) {
        match membership {
            Membership::Join { subscriber, publisher, access, outlet } => {
                self.outlets.insert(subscriber, Outlet { session: outlet, pending: Vec::new() });
                self.input(Input::Join { subscriber, publisher, access });
            }
            Membership::Leave { subscriber } => {
                self.outlets.remove(&subscriber);
                self.input(Input::Leave { subscriber });
            }
        }
        self.carry_out(ctx, None);
    }
}

impl Handler<AskRouter> for Router {
    type Result = ();

    fn handle(&mut self, AskRouter(ask): AskRouter, _: &mut Context<Self>) {
        if let Some(recovered) = &self.recovered {
            ask(&recovered.core);
        }
    }
}

impl Handler<Committed> for Router {
    type Result = ();

    fn handle(&mut self, Committed { first, last, generation, outcome }: Committed, ctx: &mut Context<Self>) {
        match outcome {
            Ok(()) => self.input(Input::Committed { up_to: last }),
            Err(error) => {
                let rewound = self.recovered.as_mut().is_some_and(|r| r.log.rewind(generation, first));
                if !rewound {
                    return;
                }
                self.parts.counters.log_failed.add(1);
                error!(tenant = %self.parts.tenant.tenant(), %error, first, "failed to commit to the tenant log");
                let reason = match error {
                    CommitError::DiskFull { .. } => Refusal::DiskFull,
                    CommitError::Busy { waiting_max } => Refusal::LogBehind { max: waiting_max },
                    _ => Refusal::StorageFailed,
                };
                self.input(Input::CommitFailed { from: first, reason });
            }
        }
        self.carry_out(ctx, None);
    }
}

/// The log records and retained rows of one turn, on their way into one commit.
struct Records<'a> {
    recovered: &'a mut Recovered,
    clock: &'a SharedClock,
    /// The clock is asked once per turn, and only if there is something to record.
    received_ms: Option<u64>,
    writes: Vec<Write>,
    first: Option<u64>,
    last: u64,
    buffer: Vec<u8>,
}

impl<'a> Records<'a> {
    fn new(recovered: &'a mut Recovered, clock: &'a SharedClock) -> Self {
        Self {
            recovered,
            clock,
            received_ms: None,
            writes: Vec::new(),
            first: None,
            last: 0,
            buffer: Vec::new(),
        }
    }

    fn append(&mut self, sequence: u64, publisher: &Publisher, message: &BusMessage) {
        let received_ms = self.received_ms();
        self.buffer.clear();
        stored::encode_parts(received_ms, publisher, message, &mut self.buffer);
        self.writes.push(self.recovered.log.append(sequence, &self.buffer));
        self.first.get_or_insert(sequence);
        self.last = sequence;
    }

    fn keep(&mut self, sequence: u64, message: &BusMessage) {
        self.record(sequence, message);
        let received_ms = self.received_ms();
        self.writes.push(self.recovered.retained.keep(received_ms, message));
    }

    fn forget(&mut self, sequence: u64, topic: TopicName) {
        self.writes.push(self.recovered.retained.forget(&topic));
        let (qos, payload) = (Qos::AtLeastOnce, Bytes::new());
        self.record(sequence, &BusMessage { topic, qos, retain: true, payload, properties: None });
    }

    fn received_ms(&mut self) -> u64 {
        *self.received_ms.get_or_insert_with(|| self.clock.unix_ms())
    }

    /// A retained change stands in the log also when nothing else wants the message there: the log has no gaps, and
    /// tells the whole story.
    fn record(&mut self, sequence: u64, message: &BusMessage) {
        if self.first.is_none() || self.last != sequence {
            let publisher = self.recovered.retained.publisher.clone();
            self.append(sequence, &publisher, message);
        }
    }
}

/// Retained messages on disk: what the core holds in memory, for the next start.
struct Retained {
    table: Table,
    sealer: Sealer,
    tenant: TenantStore,
    /// In whose name the router writes.
    publisher: Publisher,
}

impl Retained {
    fn open(store: &Store, tenant: TenantStore) -> Result<Self, RecoverError> {
        let publisher = Publisher { kind: Kind::Service, id: "router".parse()? };
        let sealer = tenant.sealer(Purpose::Retained);
        Ok(Self { table: store.table(RETAINED)?, sealer, tenant, publisher })
    }

    fn key(&self, topic: &TopicName) -> Vec<u8> {
        let topic = self.tenant.blind(&[RETAINED.as_bytes(), topic.as_str().as_bytes()]);
        [self.tenant.handle(), topic].concat()
    }

    fn keep(&self, received_ms: u64, message: &BusMessage) -> Write {
        let key = self.key(&message.topic);
        let mut plaintext = Vec::new();
        stored::encode_parts(received_ms, &self.publisher, message, &mut plaintext);
        let value = self.sealer.seal(&key, &plaintext);
        Write::Put { table: self.table.clone(), key, value }
    }

    fn forget(&self, topic: &TopicName) -> Write {
        Write::Delete { table: self.table.clone(), key: self.key(topic) }
    }

    fn load(&self) -> Result<Vec<BusMessage>, RecoverError> {
        let mut messages = Vec::new();
        for row in self.table.prefix(&self.tenant.handle()) {
            let (key, value) = row?;
            let plaintext = self.sealer.open(&key, &value)?;
            messages.push(StoredMessage::decode(plaintext.into())?.message);
        }
        Ok(messages)
    }
}

/// Why a router could not be rebuilt from the store.
#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error("open the tenant's log and tables")]
    Store(#[from] StoreError),
    #[error("open a retained message")]
    Sealed(#[from] Unsealable),
    #[error("read a retained message")]
    Malformed(#[from] InvalidStored),
    #[error("name the router")]
    Name(#[from] InvalidId),
}
