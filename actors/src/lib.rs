//! What actix 0.13 lacks for a system that must not fall over: supervision that survives panics, exits as values,
//! credit that bounds what is in flight, one timer per actor, and a world for tests in which time is virtual. It knows
//! no protocol, no tenant and no disk, and it is not a second actor framework: actors are plain actix actors.
//!
//! ```text
//!             owner ── Child::new(name, plan, factory).start() ──► Supervised (drop = stop)
//!               ▲                                                      │
//!  ChildReport  │        ┌──────────── Incarnation ───────────┐        │ stop
//!  {exit,       │        │  actor + context + mailbox         │◄───────┘
//!   verdict}    │        │   WakeUp ─► DeadlineReached        │◄── messages, each with its Permit
//!               │        └──────────────┬─────────────────────┘         (Credit bounds them)
//!               │                       │ Exit: Stopped | Failed(cause) | Panicked(text)
//!               └── verdict ◄── policy: Restart{after} | Done | Park | Escalate
//! ```
//!
//! ```
//! use actix::{Actor, Context, Handler, Message};
//! use muster_actors::{Cause, Child, Exit, ExitSlot, Phase, Plan};
//!
//! struct Counter { slot: ExitSlot, left: u32 }
//! struct Count;
//!
//! impl Message for Count { type Result = (); }
//! impl Actor for Counter { type Context = Context<Self>; }
//! impl Handler<Count> for Counter {
//!     type Result = ();
//!     fn handle(&mut self, _: Count, ctx: &mut Context<Self>) {
//!         match self.left.checked_sub(1) {
//!             Some(left) => self.left = left,
//!             None => self.slot.fail(ctx, Cause::text("nothing left to count")),
//!         }
//!     }
//! }
//!
//! actix::System::new().block_on(async {
//!     let counter = Child::new("counter", Plan::NO_RESTART, |slot| Counter { slot, left: 1 })
//!         .on_exit(|report| assert_eq!(report.exit.to_string(), "failed: nothing left to count"))
//!         .start();
//!     let address = counter.address().expect("it runs");
//!     address.send(Count).await.expect("it counts");
//!     address.send(Count).await.expect("it fails, and says so");
//!     assert_eq!(counter.ended().await, Phase::Done);
//! });
//! ```

pub mod clock;
pub mod credit;
pub mod exit;
pub mod limits;
pub mod policy;
pub mod reach;
pub mod supervisor;
pub mod turn;
pub mod wakeup;
#[cfg(any(test, feature = "world"))]
pub mod world;

mod incarnation;
mod stop;

pub use clock::{Clock, SharedClock, SystemClock};
pub use credit::{Credit, Permit};
pub use exit::{Cause, Exit, ExitSlot};
pub use policy::{OverBudget, Plan, Restart, Verdict};
pub use reach::Reach;
pub use supervisor::{Child, ChildReport, Phase, Supervised};
pub use turn::{Turning, ask_for_turn_end};
pub use wakeup::{DeadlineReached, WakeUp};
