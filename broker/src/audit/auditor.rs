//! The auditor: one per tenant, and the only one who writes its trail. It takes what waits, numbers it and has it stored
//! in one commit, not more often than every [`AUDIT_INTERVAL`]: that bounds what a tenant that is
//! refused all the time writes.

use std::time::Instant;

use actix::{fut::wrap_future, prelude::*};
use muster_actors::{Cause, DeadlineReached, ExitSlot, SharedClock, WakeUp};
use muster_schemas::audit::AuditEntry;
use tracing::{error, warn};

use super::{
    line::{Noted, Trail},
    pages::{AuditError, AuditTrail},
};
use crate::{
    aside::aside,
    limits::{AUDIT_ENTRIES_MAX, AUDIT_INTERVAL, AUDIT_REMOVED_MAX, AUDIT_RETRY_TIME},
    store::{Commit, CommitError, Store, TenantStore},
};

/// What an auditor is made of.
#[derive(Clone)]
pub(crate) struct AuditorParts {
    pub(crate) tenant: TenantStore,
    pub(crate) store: Store,
    pub(crate) trail: Trail,
    pub(crate) clock: SharedClock,
}

/// The store's answer to a commit.
#[derive(Message)]
#[rtype(result = "()")]
struct Stored(Result<(), CommitError>);

pub(crate) struct Auditor {
    parts: AuditorParts,
    exit: ExitSlot,
    /// None until it is known where the trail ends.
    written: Option<Written>,
    /// Taken and not yet on disk.
    taken: Vec<AuditEntry>,
    is_storing: bool,
    /// Nothing is stored before.
    rests_until: Instant,
    timer: WakeUp,
}

/// The trail on disk.
struct Written {
    trail: AuditTrail,
    /// The oldest number that may be there.
    first: u64,
    /// The number of the next entry.
    next: u64,
}

impl Written {
    fn open(store: &Store, tenant: TenantStore) -> Result<Self, AuditError> {
        let trail = AuditTrail::open(store, tenant)?;
        let (first, next) =
            trail.kept()?.map_or((1, 1), |kept| (*kept.start(), kept.end().saturating_add(1)));
        Ok(Self { trail, first, next })
    }

    /// The first number that is kept once `count` entries more are there.
    fn first_after(&self, count: u64) -> u64 {
        let wanted = (self.next + count).saturating_sub(AUDIT_ENTRIES_MAX).max(self.first);
        wanted.min(self.first + AUDIT_REMOVED_MAX)
    }
}

impl Auditor {
    pub(crate) fn new(parts: AuditorParts, exit: ExitSlot) -> Self {
        let (rests_until, timer) = (parts.clock.now(), WakeUp::new());
        Self { parts, exit, written: None, taken: Vec::new(), is_storing: false, rests_until, timer }
    }

    /// Stores what waits, unless something is on its way already or it is too early.
    fn store(&mut self, ctx: &mut Context<Self>) {
        let Some(written) = &self.written else { return };
        if self.is_storing {
            return;
        }
        if self.parts.clock.now() < self.rests_until {
            return self.timer.arm(ctx, Some(self.rests_until));
        }
        if self.taken.is_empty() {
            self.taken = self.parts.trail.take();
        }
        if self.taken.is_empty() {
            return;
        }
        let keep_from = written.first_after(self.taken.len() as u64);
        let writes = written.trail.writes(&self.taken, written.next, written.first, keep_from);
        let stored = ctx.address().recipient();
        self.is_storing = true;
        self.parts.store.commit(Commit {
            writes,
            fence: None,
            permit: None,
            // A report: one commit is on its way at a time.
            done: Box::new(move |outcome| stored.do_send(Stored(outcome))),
        });
    }
}

impl Actor for Auditor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.parts.trail.written_by(ctx.address().recipient());
        let AuditorParts { tenant, store, .. } = self.parts.clone();
        let opening = aside(&self.parts.store, move || Written::open(&store, tenant));
        ctx.wait(wrap_future(opening).map(|opened, auditor: &mut Self, ctx: &mut Context<Self>| {
            match opened.map_err(Cause::from).and_then(|opened| opened.map_err(Cause::from)) {
                Ok(written) => auditor.written = Some(written),
                Err(cause) => {
                    error!(tenant = %auditor.parts.tenant.tenant(), error = %cause, "failed to open the audit trail");
                    auditor.exit.fail(ctx, cause);
                }
            }
            auditor.store(ctx);
        }));
    }
}

impl Handler<Noted> for Auditor {
    type Result = ();

    fn handle(&mut self, _: Noted, ctx: &mut Context<Self>) {
        // More of the same may follow.
        self.rests_until = self.rests_until.max(self.parts.clock.now() + AUDIT_INTERVAL);
        self.store(ctx);
    }
}

impl Handler<Stored> for Auditor {
    type Result = ();

    fn handle(&mut self, Stored(outcome): Stored, ctx: &mut Context<Self>) {
        self.is_storing = false;
        let now = self.parts.clock.now();
        match (outcome, &mut self.written) {
            (Ok(()), Some(written)) => {
                let count = self.taken.len() as u64;
                written.first = written.first_after(count);
                written.next += count;
                self.taken.clear();
            }
            (outcome, _) => {
                // What was taken waits for the disk; what comes meanwhile waits in the line, and is bounded there.
                if let Err(error) = outcome {
                    warn!(tenant = %self.parts.tenant.tenant(), %error, "failed to store the audit trail; trying again");
                }
                self.rests_until = now + AUDIT_RETRY_TIME;
            }
        }
        self.store(ctx);
    }
}

impl Handler<DeadlineReached> for Auditor {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        // This timer has gone off: without that it would stand in the way of every later one.
        self.timer.arm(ctx, None);
        self.store(ctx);
    }
}
