//! The router actor: one per tenant. It owns the routing core, the tenant's log and the addresses of its sessions.
//!
//! It batches: all that lies in its mailbox is routed in one turn, and leaves as one message per session and one commit.
//! What it may not do is wait: the log answers when it has answered.

mod reads;
mod recovered;
mod retention;
mod sieving;
mod writes;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{fut::wrap_future, prelude::*};
use muster_actors::{
    Cause, DeadlineReached, ExitSlot, Reach, SharedClock, Turning, WakeUp, ask_for_turn_end,
};
use muster_routing::{Access, Effect, Input, Refusal, SubscriberId, SubscriberMap};
use muster_schemas::{Kind, Publisher, TenantId, TopicFilter, audit::Act};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    aside::aside,
    audit::{Trail, Who},
    counters::TenantCounters,
    inspection::{AskRouter, Insight, Sys},
    limits::LOG_READS_MAX,
    pace::{Cost, Pace},
    quota::Quotas,
    refusal,
    session::Permits,
    sieve::Sieve,
    store::{Commit, CommitError, Store, TenantStore, Write, limits::LOG_TRIM_ROWS_MAX},
};
use reads::{Read, Reads};
use recovered::Recovered;
use sieving::Sieving;
use writes::Writes;

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
    Join {
        subscriber: SubscriberId,
        publisher: Publisher,
        access: Arc<Access>,
        /// What it may do until it is cleared, if that is to come.
        quarantine: Option<Arc<Access>>,
        outlet: Reach<ToSession>,
        /// Its principal's, which pays for what takes the router long.
        pace: Pace,
    },
    Leave {
        subscriber: SubscriberId,
    },
}

/// The log's answer to one commit.
#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    /// The first record of the commit, or the one that would have been, and the last, if there is any.
    first: u64,
    last: Option<u64>,
    /// Its batch of durable sessions' rows, or the one that would have been.
    batch: u64,
    has_batch: bool,
    /// Which generation of the log this belongs to. After a failure the rest of its generation fails as well.
    generation: u64,
    outcome: Result<(), CommitError>,
}

/// New records stand in a tenant's log, or durable sessions need less of it. Sent at most once until it is taken.
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
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) log_grew: LogWatch,
    pub(crate) sieve: Box<dyn Sieve>,
    /// From where on durable sessions need the log, for whoever trims it.
    pub(crate) log_needed_from: Arc<AtomicU64>,
    /// Told once it has recovered.
    pub(crate) settled: Arc<watch::Sender<bool>>,
    pub(crate) counters: Arc<TenantCounters>,
    pub(crate) insight: Insight,
    pub(crate) trail: Trail,
    pub(crate) clock: SharedClock,
    pub(crate) exit: ExitSlot,
}

pub(crate) struct Router {
    parts: RouterParts,
    /// None until recovered.
    recovered: Option<Recovered>,
    outlets: SubscriberMap<Outlet>,
    /// Sessions that this turn has something for, in the order it came up.
    touched: Vec<SubscriberId>,
    effects: Vec<Effect>,
    /// Permits of the batches of this turn.
    permits: Vec<Permits>,
    /// The end of this turn is on its way.
    turning: bool,
    /// Permits of what stands in line behind a long fan-out. They go back when the line is empty, or with a commit that
    /// some of it went into, if that is later.
    held: Vec<Arc<Vec<Permits>>>,
    committing: Arc<Committing>,
    sys: Sys,
    /// What durable sessions want of the log and is not being read yet.
    reads: Reads,
    reads_under_way: usize,
    /// Messages that expired on the log and that were counted.
    expired: u64,
    timer: WakeUp,
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
        let is_stored = committed.outcome.is_ok() && committed.last.is_some();
        if let Some(router) = &self.router {
            // A report: there is one per commit, and every commit rode on a permit.
            router.do_send(committed);
        }
        // After the report, for it is somebody else's code.
        if is_stored {
            self.announce();
        }
    }

    fn announce(&self) {
        if !self.grew.announced.swap(true, Ordering::AcqRel) {
            (self.log_grew)(self.grew.clone());
        }
    }
}

struct Outlet {
    /// Who is asked about before it is given anything; none for a device.
    reader: Option<Publisher>,
    session: Reach<ToSession>,
    pace: Pace,
    pending: Vec<Effect>,
    /// How much the last turn had for it.
    expected: usize,
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
            outlets: SubscriberMap::default(),
            touched: Vec::new(),
            effects: Vec::new(),
            permits: Vec::new(),
            turning: false,
            held: Vec::new(),
            committing: Arc::new(committing),
            reads: Reads::default(),
            reads_under_way: 0,
            expired: 0,
            timer: WakeUp::new(),
        }
    }

    fn recovered(&mut self, ctx: &mut Context<Self>, outcome: Result<Recovered, Cause>) {
        let tenant = self.parts.tenant.tenant();
        match outcome {
            Ok(recovered) => {
                let core = &recovered.core;
                let (next_sequence, retained) = (core.next_sequence(), core.retained().len());
                let durable_sessions = core.durable_sessions();
                info!(%tenant, next_sequence, retained, durable_sessions, "router ready");
                self.parts.log_needed_from.store(core.needed_from(), Ordering::Release);
                self.recovered = Some(recovered);
                // Whoever trims may know of none of this yet, or the log may be too old by now.
                self.retain();
                self.carry_out(ctx);
                self.parts.settled.send_replace(true);
            }
            Err(cause) => {
                error!(%tenant, error = %cause, "failed to recover the router");
                self.parts.exit.fail(ctx, cause);
            }
        }
    }

    fn input(&mut self, input: Input) {
        if let Some(recovered) = &mut self.recovered {
            recovered.core.handle(self.parts.clock.unix_ms(), input, &mut self.effects);
        }
    }

    /// Says the numbers of `$SYS` that have changed.
    fn announce(&mut self) {
        let Some(recovered) = &mut self.recovered else { return };
        let now = self.parts.clock.now();
        for message in self.sys.news(now, &self.parts.counters, &recovered.core) {
            recovered.core.handle(self.parts.clock.unix_ms(), Input::Announce { message }, &mut self.effects);
        }
    }

    /// Carries out what follows from all that was handled since the last time.
    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        let Some(recovered) = &mut self.recovered else { return };
        let mut writes = Writes::new(recovered, &self.parts.clock);
        let (mut unfinished, mut needed) = (false, None);
        let mut sieving = Sieving::default();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Deliver { to, .. }
                | Effect::Published { to, .. }
                | Effect::Subscribed { to, .. }
                | Effect::Unsubscribed { to, .. }
                | Effect::Attached { to, .. }
                | Effect::Bound { to, .. }
                | Effect::Released { to, .. }
                | Effect::Forgotten { to, .. }
                | Effect::Close { to, .. }
                | Effect::Ahead { to }
                | Effect::Denied { to, .. } => {
                    if let Some(outlet) = self.outlets.get_mut(&to) {
                        if sieving.keeps_back((&mut *self.parts.sieve, &self.parts.clock), &effect, outlet) {
                            continue;
                        }
                        if outlet.pending.is_empty() {
                            self.touched.push(to);
                            outlet.pending.reserve(outlet.expected);
                        }
                        outlet.pending.push(effect);
                    }
                }
                Effect::Append { sequence, publisher, session, message } => {
                    writes.append(sequence, (&publisher, session), &message);
                }
                Effect::KeepRetained { sequence, publisher, message } => {
                    writes.keep(sequence, &publisher, &message)
                }
                Effect::ForgetRetained { sequence, topic } => writes.forget(sequence, topic),
                Effect::StoreRow { key, value } => writes.session_row(&key, value.as_deref()),
                Effect::Read { session, epoch, wanted } => {
                    self.reads.ask(Read { session, epoch, wanted });
                }
                Effect::Need { from } => needed = Some(from),
                Effect::Lost { publisher, refusal } => {
                    refusal::count(&refusal, &self.parts.counters);
                    let (tenant, Publisher { kind, id }) = (self.parts.tenant.tenant(), publisher);
                    info!(%tenant, %kind, %id, why = %refusal, "message lost");
                    let who = Who { kind, id: &id, client: None, peer: None };
                    let (code, why) = (refusal::code(&refusal), refusal.to_string());
                    self.parts.trail.note(who, (Act::Publish, None), code, &why);
                }
                Effect::Searched { subscriber, messages } => {
                    if let Some(outlet) = self.outlets.get(&subscriber) {
                        let cost = Cost { messages: messages as u64, bytes: 0 };
                        // Its reader waits when it pays for its next batch.
                        let _ = outlet.pace.pay(self.parts.clock.now(), cost);
                    }
                }
                Effect::Continue => unfinished = true,
            }
        }
        if writes.last.is_some() {
            writes.clear_segments();
        }
        let (writes, first, last) = writes.finish();
        let (batch, has_batch) = recovered.core.seal();
        let (in_line, _) = recovered.core.waiting();
        if in_line > 0 && !self.permits.is_empty() {
            // Which inputs stand in line and which went into the commit nobody knows here, so permits wait for both.
            self.held.push(Arc::new(mem::take(&mut self.permits)));
        }
        if last.is_some() || has_batch {
            let permits = (mem::take(&mut self.permits), self.held.clone());
            self.commit(writes, (first, last), (batch, has_batch), permits);
        }
        self.permits.clear();
        if in_line == 0 {
            self.held.clear();
        }
        if let Some(from) = needed {
            self.need(from);
        }
        self.read_log(ctx);
        if unfinished {
            // A notification to itself would be handled in the same poll, and nobody else would have a turn.
            let turn = wrap_future(tokio::task::yield_now());
            ctx.spawn(turn.map(|(), router: &mut Self, ctx: &mut Context<Self>| {
                router.input(Input::Continue);
                router.carry_out(ctx);
            }));
        }
        self.hand_out();
        self.pass_over(sieving, ctx);
        let Some(Recovered { core, retention, .. }) = &self.recovered else { return };
        let (waiting, expired) = core.sessions_waiting();
        self.parts.counters.sessions_waiting.set(waiting as u64);
        self.parts.counters.sessions_expired.set(expired);
        let deadline =
            [core.next_deadline(), retention.next_deadline(core.committed())].into_iter().flatten().min();
        self.parts.counters.messages_missed.set(core.messages_missed());
        let before = mem::replace(&mut self.expired, core.messages_expired());
        self.parts.counters.messages_expired.add(core.messages_expired() - before);
        self.parts.counters.log_held_bytes.set(retention.bytes());
        let (now, now_ms) = (self.parts.clock.now(), self.parts.clock.unix_ms());
        self.timer.arm(ctx, deadline.map(|at| now + Duration::from_millis(at.saturating_sub(now_ms))));
    }

    /// Durable sessions need the log from here on, but for what retention has given up. Whoever trims it is woken: it may
    /// have nothing else to do.
    fn need(&mut self, from: u64) {
        let Some(Recovered { retention, .. }) = &mut self.recovered else { return };
        let from = from.max(retention.floor());
        retention.release(from);
        let before = self.parts.log_needed_from.swap(from, Ordering::AcqRel);
        if from.saturating_sub(before) >= LOG_TRIM_ROWS_MAX as u64 {
            self.committing.announce();
        }
    }

    /// Gives up what of the log is too old, or too much.
    fn retain(&mut self) {
        let Some(Recovered { core, retention, log, .. }) = &mut self.recovered else { return };
        let committed = core.committed();
        retention.release(self.parts.log_needed_from.load(Ordering::Acquire));
        let Some(below) = retention.give_up(self.parts.clock.unix_ms(), committed) else { return };
        let (missed, next_sequence) = (core.messages_missed(), log.next_sequence());
        self.input(Input::Trimmed { below });
        let Some(Recovered { core, .. }) = &self.recovered else { return };
        let (missed, tenant) = (core.messages_missed() - missed, self.parts.tenant.tenant());
        if missed > 0 {
            warn!(%tenant, below, next_sequence, missed, "retention took messages that durable sessions had yet to get");
        }
        self.need(self.parts.log_needed_from.load(Ordering::Acquire));
    }

    /// Reads the log for durable sessions, a few at a time, where it holds up nobody.
    fn read_log(&mut self, ctx: &mut Context<Self>) {
        let Some(recovered) = &self.recovered else { return };
        let core = &recovered.core;
        if self.reads.len() > core.durable_sessions() {
            // Some are of sessions that have ended.
            self.reads.keep(|session, epoch| core.is_reading(session, epoch));
        }
        while self.reads_under_way < LOG_READS_MAX
            && let Some(Read { session, epoch, wanted }) = self.reads.next()
        {
            if !core.is_reading(session, epoch) {
                continue;
            }
            self.reads_under_way += 1;
            let (reader, tenant) = (recovered.log.reader(1), self.parts.tenant.tenant().clone());
            let reading = aside(&self.parts.store, move || {
                let (records, next) = recovered::read(reader, &wanted, &tenant);
                Input::Records { session, epoch, wanted, records, next }
            });
            ctx.spawn(wrap_future(reading).map(|read, router: &mut Self, ctx: &mut Context<Self>| {
                router.reads_under_way -= 1;
                match read {
                    Ok(records) => router.input(records),
                    Err(panicked) => return router.parts.exit.fail(ctx, panicked),
                }
                router.carry_out(ctx);
            }));
        }
    }

    fn commit(
        &self,
        writes: Vec<Write>,
        (first, last): (u64, Option<u64>),
        (batch, has_batch): (u64, bool),
        permits: impl Send + 'static,
    ) {
        let Some(recovered) = &self.recovered else { return };
        let generation = recovered.log.generation();
        let committing = self.committing.clone();
        self.parts.counters.log_appended.add(last.map_or(0, |last| last + 1 - first));
        self.parts.store.commit(Commit {
            writes,
            fence: Some(recovered.log.fence()),
            permit: Some(Box::new(permits)),
            done: Box::new(move |outcome| {
                committing.report(Committed { first, last, batch, has_batch, generation, outcome });
            }),
        });
    }

    fn hand_out(&mut self) {
        for subscriber in self.touched.drain(..) {
            if let Some(outlet) = self.outlets.get_mut(&subscriber) {
                outlet.expected = outlet.pending.len();
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
                    router.carry_out(ctx);
                }
            });
        }
        let RouterParts { tenant, store, durable, .. } = &self.parts;
        let (tenant, store, durable) = (tenant.clone(), store.clone(), durable.clone());
        let quotas = self.parts.quotas.clone();
        // The disk may be slow and the neighbours on this arbiter do not wait for it; our own mailbox does.
        let now_ms = self.parts.clock.unix_ms();
        let recovering =
            aside(&self.parts.store, move || Recovered::from_disk(tenant, &store, durable, &quotas, now_ms));
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
        let now_ms = self.parts.clock.unix_ms();
        for input in inputs {
            if self.sys.is_asked_for(&input) {
                // First, so that what is retained is of now.
                self.announce();
            }
            if let Some(recovered) = &mut self.recovered {
                recovered.core.handle(now_ms, input, &mut self.effects);
            }
        }
        self.permits.extend(permit);
        if !mem::replace(&mut self.turning, true) {
            ask_for_turn_end(ctx);
        }
    }
}

impl Turning for Router {
    fn turn_ended(&mut self, ctx: &mut Context<Self>) {
        self.turning = false;
        self.carry_out(ctx);
    }
}

impl Handler<Membership> for Router {
    type Result = ();

    fn handle(&mut self, membership: Membership, ctx: &mut Context<Self>) {
        match membership {
            Membership::Join { subscriber, publisher, access, quarantine, outlet, pace } => {
                let reader = Some(publisher.clone()).filter(|who| who.kind != Kind::Device);
                let outlet = Outlet { reader, session: outlet, pace, pending: Vec::new(), expected: 0 };
                self.outlets.insert(subscriber, outlet);
                self.input(Input::Join { subscriber, publisher, access });
                if let Some(access) = quarantine {
                    self.input(Input::Quarantine { subscriber, access });
                }
            }
            Membership::Leave { subscriber } => {
                self.outlets.remove(&subscriber);
                self.input(Input::Leave { subscriber });
            }
        }
        self.carry_out(ctx);
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

    fn handle(
        &mut self,
        Committed { first, last, batch, has_batch, generation, outcome }: Committed,
        ctx: &mut Context<Self>,
    ) {
        if outcome.is_err() {
            // What was taken before is sealed before: it fails with the rest.
            self.carry_out(ctx);
        }
        match outcome {
            Ok(()) => {
                if let Some(up_to) = last {
                    self.input(Input::Committed { up_to });
                }
                if has_batch {
                    self.input(Input::Stored { batch });
                }
                self.retain();
            }
            Err(error) => {
                let rewound = self.recovered.as_mut().is_some_and(|r| r.log.rewind(generation, first));
                if !rewound {
                    return;
                }
                if let Some(recovered) = &mut self.recovered {
                    recovered.retention.failed(first);
                }
                self.parts.counters.log_failed.add(1);
                error!(tenant = %self.parts.tenant.tenant(), %error, first, "failed to commit to the tenant log");
                let reason = match error {
                    CommitError::DiskFull { .. } => Refusal::DiskFull,
                    CommitError::Busy { waiting_max } => Refusal::LogBehind { max: waiting_max },
                    CommitError::Withdrawn => Refusal::KeyWithdrawn,
                    _ => Refusal::StorageFailed,
                };
                self.input(Input::CommitFailed { from: first, reason: reason.clone() });
                // What was sealed after it rests on it, and is refused as well.
                self.input(Input::StoreFailed { batch, reason });
            }
        }
        self.carry_out(ctx);
    }
}

impl Handler<DeadlineReached> for Router {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        self.retain();
        self.input(Input::DeadlineReached);
        self.carry_out(ctx);
    }
}
