//! The telemetry store: reads every tenant's log from its own cursor, keeps what is SenML on a device's own topic, and
//! answers for the last readings and for ranges. Not for routing: an app that wants readings as they come subscribes.
//!
//! ```text
//!  router ──LogGrew──▶ bell ─▶ TelemetryActor ◀── Last, Range ── API
//!                                  │  ▲
//!             core::Harvest ◀──────┘  │ log, from the cursor
//!                   │                 │
//!                   └▶ store::TenantReadings ── readings, last ones, cursor, trim: one commit ──▶ store
//! ```

pub mod actor;
pub mod archive;
pub mod bell;
pub mod core;
pub mod counters;
pub mod limits;
pub mod message;
pub mod reading;
pub mod store;

pub use self::{
    actor::{AttributesOf, TelemetryActor, TelemetryOptions},
    archive::Archive,
    bell::Announcements,
    counters::{Counted, Counters},
    message::{Last, LastReadings, Page, QueryRefusal, Range},
    reading::{Reading, StreamId, Value},
};

/// The messages that have to be on the log before they are acknowledged, because readings are made of them.
pub fn durable_filter() -> muster_schemas::TopicFilter {
    let filter = "devices/+/telemetry/+".parse();
    filter.unwrap_or_else(|_: muster_schemas::InvalidTopic| unreachable!("the constant is a filter"))
}
