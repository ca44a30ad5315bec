//! The supervisor: starts a child, sees how it ends, asks the [policy](crate::policy) and acts on it.
//!
//! A restart builds a new actor from the factory and keeps nothing of the old one: not its memory, its timers, its
//! mailbox nor its address. Messages that waited are dropped, which returns their credit.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Message, Recipient};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use crate::clock::{Clock, SystemClock};
use crate::exit::{Exit, ExitSlot};
use crate::incarnation::Incarnation;
use crate::policy::{Plan, Restart, Verdict};
use crate::stop::{StopListener, StopRequest};

/// How a child ended and what becomes of it, told at each of its exits.
#[derive(Debug, Clone)]
pub struct ChildReport {
    /// The name that the child was given.
    pub name: Arc<str>,
    /// How it ended.
    pub exit: Exit,
    /// What the supervisor does about it.
    pub verdict: Verdict,
}

impl Message for ChildReport {
    type Result = ();
}

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Running,
    /// It has failed and waits for its restart.
    Restarting,
    /// It failed too often and rests. To try again, start a new child.
    Parked,
    /// It failed too often, and its owner was told to end.
    Escalated,
    /// It ended as it should, or was stopped, or is not to be restarted.
    Done,
}

impl Phase {
    /// Whether the child does not come back by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Running | Self::Restarting)
    }
}

/// A child that is about to be started: its name, its restart plan, its factory, and who is told.
pub struct Child<A: Actor<Context = Context<A>>> {
    name: Arc<str>,
    restart: Restart,
    factory: Box<dyn FnMut(ExitSlot) -> A>,
    on_started: Box<dyn FnMut(Addr<A>)>,
    on_exit: Box<dyn FnMut(ChildReport)>,
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    /// A child that `factory` builds at its start and at each restart. The factory may panic; that is an exit, too.
    /// The actor ends itself with a cause by [`ExitSlot::fail`].
    pub fn new(name: impl Into<Arc<str>>, plan: Plan, factory: impl FnMut(ExitSlot) -> A + 'static) -> Self {
        Self {
            name: name.into(),
            restart: Restart::new(plan),
            factory: Box::new(factory),
            on_started: Box::new(|_| ()),
            on_exit: Box::new(|_| ()),
        }
    }

    /// Called with the child's new address at its start (before [`Child::start`] returns) and at each restart,
    /// before its first message. Addresses of earlier lives are dead by then. It must not panic.
    #[must_use]
    pub fn on_started(mut self, tell: impl FnMut(Addr<A>) + 'static) -> Self {
        self.on_started = Box::new(tell);
        self
    }

    /// Called at each exit, with the verdict on it. It must not panic.
    #[must_use]
    pub fn on_exit(mut self, tell: impl FnMut(ChildReport) + 'static) -> Self {
        self.on_exit = Box::new(tell);
        self
    }

    /// Sends each [`ChildReport`] to `owner`, in place of [`Child::on_exit`]. A report never waits; there are at most
    /// as many in a mailbox as the plan allows restarts, and one.
    #[must_use]
    pub fn report_to(self, owner: Recipient<ChildReport>) -> Self {
        self.on_exit(move |report| owner.do_send(report))
    }

    /// Starts the child on the current arbiter.
    ///
    /// # Panics
    /// Outside of an arbiter or another `LocalSet`. A panic of the child is not one of the caller.
    #[must_use = "a child whose handle is dropped stops"]
    pub fn start(mut self) -> Supervised<A> {
        let stop = StopRequest::default();
        let listener = stop.listener();
        let (life, seen) = watch::channel(Life { phase: Phase::Restarting, address: None });
        let name = Arc::clone(&self.name);
        let first = self.begin(&life);
        let task = tokio::task::spawn_local(self.supervise(first, listener, life));
        Supervised { name, stop, seen, task: Some(task) }
    }

    /// Builds the next incarnation and makes its address known.
    fn begin(&mut self, life: &watch::Sender<Life<A>>) -> Result<Box<Incarnation<A>>, Exit> {
        let (incarnation, address) = Incarnation::build(&mut *self.factory)?;
        life.send_replace(Life { phase: Phase::Running, address: Some(address.clone()) });
        (self.on_started)(address);
        // Boxed, or the task would have room for it wherever it is handed on.
        Ok(Box::new(incarnation))
    }

    /// Life after life, until a verdict says that there is no other.
    async fn supervise(
        mut self,
        mut next: Result<Box<Incarnation<A>>, Exit>,
        mut stop: StopListener,
        life: watch::Sender<Life<A>>,
    ) {
        loop {
            let exit = match next {
                Ok(mut incarnation) => poll_fn(|cx| incarnation.poll(cx, &mut stop)).await,
                Err(exit) => exit,
            };
            let verdict = self.judge(exit, stop.requested(), &life);
            let Verdict::Restart { after } = verdict else { return };
            tokio::select! {
                biased;
                () = poll_fn(|cx| stop.poll(cx)) => {
                    life.send_replace(Life { phase: Phase::Done, address: None });
                    return;
                }
                () = tokio::time::sleep(after) => next = self.begin(&life),
            }
        }
    }

    /// Decides on an exit and tells it: the log, those who watch, the owner.
    fn judge(&mut self, exit: Exit, stopped: bool, life: &watch::Sender<Life<A>>) -> Verdict {
        let verdict = if stopped { Verdict::Done } else { self.restart.decide(SystemClock.now(), &exit) };
        let name = Arc::clone(&self.name);
        let phase = match verdict {
            Verdict::Restart { after } => {
                warn!(child = %name, %exit, ?after, "child is restarted");
                Phase::Restarting
            }
            Verdict::Park => {
                error!(child = %name, %exit, "child failed too often and is parked");
                Phase::Parked
            }
            Verdict::Escalate => {
                error!(child = %name, %exit, "child failed too often and its owner ends");
                Phase::Escalated
            }
            Verdict::Done => {
                match exit {
                    Exit::Stopped => debug!(child = %name, "child stopped"),
                    Exit::Failed(_) | Exit::Panicked(_) => warn!(child = %name, %exit, "child ended"),
                }
                Phase::Done
            }
        };
        life.send_replace(Life { phase, address: None });
        (self.on_exit)(ChildReport { name, exit, verdict });
        verdict
    }
}

/// What those who hold a [`Supervised`] see of the child.
struct Life<A: Actor> {
    phase: Phase,
    /// Held here so that a child does not end for want of addresses; none between two lives.
    address: Option<Addr<A>>,
}

/// A child that was started. Dropping it stops the child, so that children do not outlive the actor that owns them.
pub struct Supervised<A: Actor<Context = Context<A>>> {
    name: Arc<str>,
    stop: StopRequest,
    seen: watch::Receiver<Life<A>>,
    /// None once [`Supervised::stop`] has taken it.
    task: Option<JoinHandle<()>>,
}

impl<A: Actor<Context = Context<A>>> Supervised<A> {
    /// Asks the child to stop and waits until it is gone. There is no restart after this, nor is a cause or a panic
    /// of its last moments acted on; it is reported. Messages that wait in its mailbox are dropped.
    ///
    /// An actor whose `stopping` returns `Running::Continue` is waited for until it stops by itself.
    pub async fn stop(mut self) {
        self.stop.ask();
        if let Some(task) = self.task.take()
            && let Err(lost) = task.await
        {
            error!(child = %self.name, error = %lost, "supervision ended before its child");
        }
    }

    /// The address of the child as it lives now; none while it waits for a restart and after its end.
    #[must_use]
    pub fn address(&self) -> Option<Addr<A>> {
        self.seen.borrow().address.clone()
    }

    /// Where the child is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.seen.borrow().phase
    }

    /// Waits until the child does not come back by itself, and says why.
    pub async fn ended(&self) -> Phase {
        let mut seen = self.seen.clone();
        match seen.wait_for(|life| life.phase.is_final()).await {
            Ok(life) => life.phase,
            // The task was dropped with its arbiter.
            Err(_) => Phase::Done,
        }
    }

    /// The name that the child was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Supervised<A> {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Supervised<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervised({}: {:?})", self.name, self.phase())
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Child<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({})", self.name)
    }
}

#[cfg(test)]
mod tests;
