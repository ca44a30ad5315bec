//! The engine of firmware campaigns: which devices are offered an image when, and what is made of what they say. Not for
//! whether an image may be installed: that is signed by the tenant and judged by the device. Not for carrying: it knows no
//! socket, no disk and no clock.
//!
//! ```text
//!  plan ──approved──▶ Campaign ◀── what devices say, what people order, that time passed
//!                        │
//!                        ├─▶ a record, which is made durable first        records, in order ──▶ the same Campaign
//!                        └─▶ effects: offers, cancellations, questions, alarms
//! ```
//!
//! The caller, for each event: [`Campaign::apply`]; makes the record durable; only then carries out the effects and
//! acknowledges to whoever said it; wakes up at [`Campaign::next_deadline_ms`] with [`Event::Tick`]. After a crash:
//! [`Campaign::replay`], or [`Campaign::restore`] and [`Campaign::repeat`], and then all of [`Campaign::outstanding`].

mod cell;
mod claims;
mod codec;
mod counts;
mod engine;
mod event;
pub mod limits;
mod names;
mod pace;
pub mod plan;
pub mod query;
mod record;
mod report;
mod snapshot;
mod split;
mod state;
mod version;
mod wheel;
pub mod window;

pub use claims::Claims;
pub use codec::Malformed;
pub use counts::Counts;
pub use engine::{Broken, Campaign, Device, Inverse, Reason};
pub use event::{Alarm, Created, Effect, Effects, Event, Member, Refused, What};
pub use plan::{Plan, PlanHash};
pub use query::{Candidate, Query};
pub use record::{Happened, RECORD_VERSION, Record};
pub use report::{Report, Wait, WaveReport};
pub use split::{Split, split};
pub use state::{State, Status, WaveState, Why};
pub use version::compare as compare_versions;

#[cfg(test)]
mod tests;
