//! The supervisor: starts a child, sees how it ends, asks the [policy](crate::policy) and acts on it.
//!
//! A restart builds a new actor from the factory and keeps nothing of the old one: not its memory, its timers, its
//! mailbox nor its address. Messages that waited are dropped, which returns their credit.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message, Recipient};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tracing::{debug, error, warn};

use crate::clock::{Clock, SystemClock};
use crate::exit::{Exit, ExitSlot};
use crate::incarnation::Incarnation;
use crate::policy::{Plan, Restart, Verdict};
use crate::reach::Reach;
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
    plan: Plan,
    births: Births<A>,
    on_exit: Box<dyn FnMut(ChildReport)>,
}

/// What is needed for one more life.
struct Births<A: Actor<Context = Context<A>>> {
    factory: Box<dyn FnMut(ExitSlot) -> A>,
    on_started: Box<dyn FnMut(Addr<A>)>,
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    /// A child that `factory` builds at its start and at each restart. The factory may panic; that is an exit, too.
    /// The actor ends itself with a cause by [`ExitSlot::fail`].
    pub fn new(name: impl Into<Arc<str>>, plan: Plan, factory: impl FnMut(ExitSlot) -> A + 'static) -> Self {
        Self {
            name: name.into(),
            plan,
            births: Births { factory: Box::new(factory), on_started: Box::new(|_| ()) },
            on_exit: Box::new(|_| ()),
        }
    }

    /// Called with the child's new address at its start (before [`Child::start`] returns) and at each restart,
    /// before its first message. Addresses of earlier lives are dead by then. It must not panic.
    #[must_use]
    pub fn on_started(mut self, tell: impl FnMut(Addr<A>) + 'static) -> Self {
        self.births.on_started = Box::new(tell);
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
    pub fn start(self) -> Supervised<A> {
        let Self { name, plan, mut births, on_exit } = self;
        let shared = Arc::new(Shared::default());
        let life = Life(Arc::clone(&shared));
        let state = births.next(&life);
        // A child of one life needs neither its factory any more nor room for its restarts.
        let again = (plan != Plan::NO_RESTART).then(|| Box::new((Restart::new(plan), births)));
        let listener = StopListener::default();
        let supervision = Supervision { name: Arc::clone(&name), again, on_exit, life, listener, state };
        let task = tokio::task::spawn_local(supervision);
        Supervised { name, shared, task: Some(task) }
    }
}

impl<A: Actor<Context = Context<A>>> Births<A> {
    /// Builds the next incarnation and makes its address known.
    fn next(&mut self, life: &Life<A>) -> State<A> {
        match Incarnation::build(&mut *self.factory) {
            Ok((incarnation, address)) => {
                life.0.set(Phase::Running, Some(Arc::new(address.clone())));
                (self.on_started)(address);
                State::Lives(Box::new(incarnation))
            }
            Err(exit) => State::Ended(exit),
        }
    }
}

/// Life after life, until a verdict says that there is no other: the task of a child. There are thousands, so what few of
/// them need is boxed.
struct Supervision<A: Actor<Context = Context<A>>> {
    name: Arc<str>,
    /// None if there is no restart.
    again: Option<Box<(Restart, Births<A>)>>,
    on_exit: Box<dyn FnMut(ChildReport)>,
    life: Life<A>,
    listener: StopListener,
    state: State<A>,
}

/// Where a supervised child is.
enum State<A: Actor<Context = Context<A>>> {
    Lives(Box<Incarnation<A>>),
    Ended(Exit),
    /// It is restarted then.
    Rests(Pin<Box<Sleep>>),
}

impl<A: Actor<Context = Context<A>>> Future for Supervision<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let stop = &this.life.0.stop;
            match &mut this.state {
                State::Lives(incarnation) => {
                    let exit = ready!(incarnation.poll(cx, (stop, &mut this.listener)));
                    this.state = State::Ended(exit);
                }
                State::Ended(exit) => {
                    let exit = std::mem::replace(exit, Exit::Stopped);
                    let Verdict::Restart { after } = this.judge(exit) else { return Poll::Ready(()) };
                    this.state = State::Rests(Box::pin(tokio::time::sleep(after)));
                }
                State::Rests(sleep) => {
                    if this.listener.poll(stop, cx).is_ready() {
                        this.life.0.set(Phase::Done, None);
                        return Poll::Ready(());
                    }
                    ready!(sleep.as_mut().poll(cx));
                    let Some(again) = &mut this.again else { return Poll::Ready(()) };
                    this.state = again.1.next(&this.life);
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>> Supervision<A> {
    /// Decides on an exit and tells it: the log, those who watch, the owner.
    fn judge(&mut self, exit: Exit) -> Verdict {
        let verdict = match &mut self.again {
            Some(again) if !self.life.0.stop.is_made() => again.0.decide(SystemClock.now(), &exit),
            _ => Verdict::Done,
        };
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
        self.life.0.set(phase, None);
        (self.on_exit)(ChildReport { name, exit, verdict });
        verdict
    }
}

/// What a child's task and its handle share: one allocation, because there are thousands.
struct Shared<A: Actor> {
    stop: StopRequest,
    seen: Mutex<Seen<A>>,
    /// The phase is another.
    changed: Notify,
}

/// What those who hold a [`Supervised`] see of the child.
struct Seen<A: Actor> {
    phase: Phase,
    /// Held here so that a child does not end for want of addresses; none between two lives.
    address: Option<Arc<Addr<A>>>,
}

impl<A: Actor> Default for Shared<A> {
    fn default() -> Self {
        let seen = Seen { phase: Phase::Restarting, address: None };
        Self { stop: StopRequest::default(), seen: Mutex::new(seen), changed: Notify::new() }
    }
}

impl<A: Actor> Shared<A> {
    fn seen(&self) -> MutexGuard<'_, Seen<A>> {
        // A panic cannot leave it half changed: it is assigned as a whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase, address: Option<Arc<Addr<A>>>) {
        let before = std::mem::replace(&mut *self.seen(), Seen { phase, address });
        self.changed.notify_waiters();
        drop(before);
    }
}

/// The task's end. If it is dropped with its arbiter, the child is done.
struct Life<A: Actor>(Arc<Shared<A>>);

impl<A: Actor> Drop for Life<A> {
    fn drop(&mut self) {
        if !self.0.seen().phase.is_final() {
            self.0.set(Phase::Done, None);
        }
    }
}

/// A child that was started. Dropping it stops the child, so that children do not outlive the actor that owns them.
pub struct Supervised<A: Actor<Context = Context<A>>> {
    name: Arc<str>,
    shared: Arc<Shared<A>>,
    /// None once [`Supervised::stop`] has taken it.
    task: Option<JoinHandle<()>>,
}

impl<A: Actor<Context = Context<A>>> Supervised<A> {
    /// Asks the child to stop and waits until it is gone. There is no restart after this, nor is a cause or a panic
    /// of its last moments acted on; it is reported. Messages that wait in its mailbox are dropped.
    ///
    /// An actor whose `stopping` returns `Running::Continue` is waited for until it stops by itself.
    pub async fn stop(mut self) {
        self.shared.stop.ask();
        if let Some(task) = self.task.take()
            && let Err(lost) = task.await
        {
            error!(child = %self.name, error = %lost, "supervision ended before its child");
        }
    }

    /// The address of the child as it lives now; none while it waits for a restart and after its end.
    #[must_use]
    pub fn address(&self) -> Option<Addr<A>> {
        self.shared.seen().address.as_deref().cloned()
    }

    /// The same for messages of one type, at no cost in memory.
    #[must_use]
    pub fn reach<M>(&self) -> Option<Reach<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = ()> + Send + 'static,
    {
        self.shared.seen().address.clone().map(Into::into)
    }

    /// Sends a message to the child as it lives now, as [`Reach::do_send`] does; while there is none it is dropped.
    #[expect(
        clippy::disallowed_methods,
        reason = "as a Recipient's: what is sent carries a permit or is a report"
    )]
    pub fn tell<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message<Result = ()> + Send + 'static,
    {
        let address = self.shared.seen().address.clone();
        if let Some(address) = address {
            address.do_send(message);
        }
    }

    /// Where the child is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.seen().phase
    }

    /// Waits until the child does not come back by itself, and says why.
    pub async fn ended(&self) -> Phase {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // Listen first and look then: a change in between is seen by one of the two.
            changed.as_mut().enable();
            let phase = self.phase();
            if phase.is_final() {
                return phase;
            }
            changed.await;
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
        self.shared.stop.ask();
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
