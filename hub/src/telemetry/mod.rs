//! The telemetry store: reads every tenant's log from its own cursor, cuts what is SenML on a device's own topic into
//! items, and stores these as sealed blocks. The log keeps what is in no block yet. Not for routing: an app that wants
//! readings as they come subscribes.
//!
//! ```text
//!  router ──LogGrew──▶ bell ─▶ TelemetryActor ─── log, from the cursor ───▶ core::Filling: open items, by stream and day
//!                                                                               │ ended: full, old, of another place
//!  API, policies, exports ──▶ Archive ── open items, blocks ──▶ woven            ▼
//!                                ▲                             flush: blocks, last values, cursor, trim: one commit
//!                                └──────────── store::TenantRows ◀───────────────┘
//! ```

pub mod actor;
pub mod archive;
pub mod bell;
mod convert;
pub mod core;
pub mod counters;
mod flush;
mod keep;
pub mod limits;
mod live;
pub mod message;
mod page;
pub mod reading;
pub mod store;

pub use self::{
    actor::{AttributesOf, TelemetryActor, TelemetryOptions},
    archive::{Archive, RulesOf},
    bell::Announcements,
    counters::{Counted, Counters},
    keep::InvalidRetention,
    message::{Last, LastReadings, Page, QueryRefusal, Range, ReadRetention, SetRetention, Settle},
    reading::{Reading, Value},
};
pub use muster_items::StreamId;

/// The messages that have to be on the log before they are acknowledged, because readings are made of them.
pub fn durable_filter() -> muster_schemas::TopicFilter {
    let filter = "devices/+/telemetry/+".parse();
    filter.unwrap_or_else(|_: muster_schemas::InvalidTopic| unreachable!("the constant is a filter"))
}

/// Reads all logs to their ends, stores what they say, and returns: for programs that measure. Blocks.
pub fn settle(options: TelemetryOptions) {
    actix_rt::System::new().block_on(async {
        let running = actix::Actor::start(TelemetryActor::new(options));
        // One that ended by itself has said why.
        let _ = running.send(Settle { tenant: None }).await;
    });
}
