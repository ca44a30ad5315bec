use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::{ActorContext, AsyncContext, Handler, Running};

use super::*;
use crate::credit::{Credit, Permit};
use crate::exit::Cause;
use crate::policy::OverBudget;
use crate::world::{self, Recorder};

const SECOND: Duration = Duration::from_secs(1);

const PLAN: Plan = Plan {
    delay_first: SECOND,
    delay_max: Duration::from_secs(4),
    restarts_max: 2,
    window: Duration::from_secs(60),
    over_budget: OverBudget::Park,
};

/// What a child is told to do.
enum Tell {
    Add,
    Panic,
    Fail,
    Leave,
    Hold(Permit),
    PanicHolding(Permit),
}

impl Message for Tell {
    type Result = u32;
}

/// Counts what it is told, to show that no memory is kept.
struct Worker {
    slot: ExitSlot,
    told: u32,
    held: Vec<Permit>,
    fragile: Fragile,
}

/// Where a worker breaks, or that it takes its time to stop.
#[derive(Clone, Copy, PartialEq)]
enum Fragile {
    Sound,
    InStarted,
    InHooks,
    InDrop,
    StopsLater,
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert!(self.fragile != Fragile::InStarted, "started broke");
    }

    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        assert!(self.fragile != Fragile::InHooks, "stopping broke");
        if self.fragile == Fragile::StopsLater {
            self.fragile = Fragile::Sound;
            ctx.run_later(SECOND * 5, |_, ctx| ctx.stop());
            return Running::Continue;
        }
        Running::Stop
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        assert!(self.fragile != Fragile::InDrop || std::thread::panicking(), "drop broke");
    }
}

impl Handler<Tell> for Worker {
    type Result = u32;

    fn handle(&mut self, tell: Tell, ctx: &mut Context<Self>) -> u32 {
        self.told += 1;
        match tell {
            Tell::Add => {}
            Tell::Panic => panic!("worker broke"),
            Tell::PanicHolding(_permit) => panic!("worker broke with a permit"),
            Tell::Fail => self.slot.fail(ctx, Cause::text("the disk is full")),
            Tell::Leave => ctx.stop(),
            Tell::Hold(permit) => self.held.push(permit),
        }
        self.told
    }
}

fn worker(fragile: Fragile) -> impl FnMut(ExitSlot) -> Worker {
    move |slot| Worker { slot, told: 0, held: Vec::new(), fragile }
}

/// A worker whose reports are recorded.
fn start(plan: Plan, fragile: Fragile) -> (Supervised<Worker>, Recorder<ChildReport>) {
    let reports = Recorder::start("owner");
    (Child::new("worker", plan, worker(fragile)).report_to(reports.recipient()).start(), reports)
}

/// Tells the current incarnation, without looking at its answer.
fn tell(child: &Supervised<Worker>, tell: Tell) {
    child.address().expect("it runs").recipient().do_send(tell);
}

/// Asks the current incarnation.
async fn count(child: &Supervised<Worker>) -> u32 {
    child.address().expect("it runs").send(Tell::Add).await.expect("an answer")
}

fn restarts_after(report: &ChildReport, seconds: u64) -> bool {
    report.verdict == Verdict::Restart { after: SECOND * u32::try_from(seconds).unwrap() }
}

#[test]
fn a_panicking_child_is_restarted_after_its_delay() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        assert_eq!(count(&child).await, 1);
        assert_eq!(count(&child).await, 2);
        let old = child.address().unwrap();
        tell(&child, Tell::Panic);
        let report = reports.next().await;
        assert_eq!(&*report.name, "worker");
        assert_eq!(report.exit.to_string(), "panicked: worker broke");
        assert!(restarts_after(&report, 1));
        assert_eq!((child.phase(), child.address()), (Phase::Restarting, None));

        tokio::time::sleep(SECOND - Duration::from_millis(1)).await;
        assert_eq!(child.phase(), Phase::Restarting);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(child.phase(), Phase::Running);
        assert!(!old.connected(), "the old address is dead");
        assert_eq!(count(&child).await, 1, "nothing is remembered");
    });
}

#[test]
fn a_child_that_fails_says_why() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        tell(&child, Tell::Fail);
        tell(&child, Tell::Panic); // Never handled: it has ended.
        let report = reports.next().await;
        assert_eq!(report.exit.to_string(), "failed: the disk is full");
        assert!(restarts_after(&report, 1));
    });
}

#[test]
fn a_child_that_stops_is_done() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        tell(&child, Tell::Leave);
        let report = reports.next().await;
        assert!(matches!((report.exit, report.verdict), (Exit::Stopped, Verdict::Done)));
        assert_eq!(child.ended().await, Phase::Done);
        reports.stays_quiet(SECOND * 600).await;
    });
}

#[test]
fn over_budget_the_child_is_parked_and_its_sibling_goes_on() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        let (sibling, mut quiet) = start(PLAN, Fragile::Sound);
        for delay in [1, 2] {
            tell(&child, Tell::Panic);
            assert!(restarts_after(&reports.next().await, delay));
            tokio::time::sleep(SECOND * 5).await;
        }
        tell(&child, Tell::Panic);
        assert_eq!(reports.next().await.verdict, Verdict::Park);
        assert_eq!(child.ended().await, Phase::Parked);
        assert!(child.address().is_none());
        quiet.stays_quiet(SECOND * 3600).await;
        assert_eq!(child.phase(), Phase::Parked, "it rests until it is started anew");
        assert_eq!(count(&sibling).await, 1);
        child.stop().await;
    });
}

#[test]
fn over_budget_the_owner_is_told_to_end() {
    world::run(async {
        let plan = Plan { restarts_max: 0, over_budget: OverBudget::Escalate, ..PLAN };
        let (child, mut reports) = start(plan, Fragile::Sound);
        tell(&child, Tell::Panic);
        assert_eq!(reports.next().await.verdict, Verdict::Escalate);
        assert_eq!(child.ended().await, Phase::Escalated);
    });
}

#[test]
fn a_panic_in_started_is_seen() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::InStarted);
        for _ in 0..3 {
            assert_eq!(reports.next().await.exit.to_string(), "panicked: started broke");
        }
        assert_eq!(child.ended().await, Phase::Parked);
    });
}

#[test]
fn a_panic_in_the_factory_is_seen_and_the_next_life_may_succeed() {
    world::run(async {
        let mut reports = Recorder::start("owner");
        let mut lives = 0;
        let child = Child::new("worker", PLAN, move |slot| {
            lives += 1;
            assert!(lives > 1, "the log is locked");
            worker(Fragile::Sound)(slot)
        });
        let child = child.report_to(reports.recipient()).start();
        assert_eq!(child.phase(), Phase::Restarting);
        assert_eq!(reports.next().await.exit.to_string(), "panicked: the log is locked");
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(count(&child).await, 1);
    });
}

/// Notes a call of its hooks, and panics at once.
struct Broken {
    hook_called: Rc<Cell<bool>>,
}

impl Actor for Broken {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        panic!("broken from the start");
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.hook_called.set(true);
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.hook_called.set(true);
    }
}

#[test]
fn after_a_panic_the_broken_actor_is_not_called_again() {
    world::run(async {
        let hook_called = Rc::new(Cell::new(false));
        let child = Child::new("broken", Plan::NO_RESTART, {
            let hook_called = Rc::clone(&hook_called);
            move |_| Broken { hook_called: Rc::clone(&hook_called) }
        });
        let child = child.start();
        assert_eq!(child.ended().await, Phase::Done);
        assert!(!hook_called.get(), "actix calls these while the panic unwinds");
    });
}

#[test]
fn a_panic_in_a_hook_is_seen() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::InHooks);
        tell(&child, Tell::Leave);
        assert_eq!(reports.next().await.exit.to_string(), "panicked: stopping broke");
        tokio::time::sleep(SECOND * 2).await;
        tell(&child, Tell::Panic);
        assert_eq!(reports.next().await.exit.to_string(), "panicked: worker broke");
    });
}

#[test]
fn a_panic_in_a_destructor_is_seen() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::InDrop);
        tell(&child, Tell::Leave);
        assert_eq!(reports.next().await.exit.to_string(), "panicked: drop broke");
        tokio::time::sleep(SECOND * 2).await;
        tell(&child, Tell::Panic);
        assert_eq!(reports.next().await.exit.to_string(), "panicked: worker broke");
    });
}

#[test]
fn a_permit_lost_in_a_panic_comes_back() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        let credit = Credit::new("test", 3, 100);
        tell(&child, Tell::Hold(credit.acquire(10).await));
        tell(&child, Tell::PanicHolding(credit.acquire(10).await));
        tell(&child, Tell::Hold(credit.acquire(10).await)); // Waits in the mailbox for ever.
        assert_eq!(credit.in_use(), (3, 30));
        let _address_that_outlives = child.address();
        reports.next().await;
        assert_eq!(credit.in_use(), (0, 0), "in hand, in memory and in the mailbox: all came back");
    });
}

#[test]
fn the_owner_learns_each_new_address() {
    world::run(async {
        let (starts, last) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let child = Child::new("worker", PLAN, worker(Fragile::Sound));
        let child = child.on_started({
            let (starts, last) = (Rc::clone(&starts), Rc::clone(&last));
            move |address| {
                starts.set(starts.get() + 1);
                last.set(Some(address));
            }
        });
        let child = child.start();
        assert_eq!((starts.get(), last.take()), (1, child.address()), "known before the start returns");
        tell(&child, Tell::Panic);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!((starts.get(), last.take()), (2, child.address()));
    });
}

#[test]
fn a_child_lives_without_anybody_holding_its_address() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        reports.stays_quiet(SECOND * 3600).await;
        assert_eq!(count(&child).await, 1);
    });
}

#[test]
fn stop_ends_the_child_and_waits_for_it() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::StopsLater);
        let address = child.address().unwrap();
        let before = SystemClock.now();
        child.stop().await;
        assert!(SystemClock.now() - before >= SECOND * 5, "it had something to finish first");
        assert!(!address.connected());
        assert!(matches!(reports.next().await.exit, Exit::Stopped));
        reports.stays_quiet(SECOND * 600).await;
    });
}

#[test]
fn stop_ends_a_child_that_waits_for_its_restart() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        tell(&child, Tell::Panic);
        reports.next().await;
        let before = SystemClock.now();
        child.stop().await;
        assert_eq!(SystemClock.now(), before);
        reports.stays_quiet(SECOND * 600).await;
    });
}

#[test]
fn a_child_that_breaks_while_stopping_is_not_restarted() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::InHooks);
        child.stop().await;
        let report = reports.next().await;
        assert!(matches!((report.exit, report.verdict), (Exit::Panicked(_), Verdict::Done)));
        reports.stays_quiet(SECOND * 600).await;
    });
}

#[test]
fn a_child_ends_with_its_owner() {
    world::run(async {
        let (child, mut reports) = start(PLAN, Fragile::Sound);
        let address = child.address().unwrap();
        drop(child);
        assert!(matches!(reports.next().await.exit, Exit::Stopped));
        assert!(!address.connected());
    });
}
