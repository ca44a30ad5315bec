//! Data items: the blocks that telemetry is cut into, and the unit of storage and of access.
//!
//! Pure: no clock, no key, no file. The hub's telemetry store seals what is encoded here and keeps it; queries, exports,
//! access rules and other backends read [`Chunk`]s through [`History`] and know nothing of how they lie on the disk.
//!
//! ```text
//!  SenML ──▶ readings ──▶ open item ──▶ column block ──▶ sealed, stored
//!                                            │
//!              History::scan ◀── View ───────┘      one Chunk per item: its attributes and its columns
//! ```

mod attributes;
pub mod block;
mod chunk;
mod cut;
mod history;
mod item;
pub mod judge;
pub mod limits;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod open;
pub mod query;
pub mod retention;
mod rows;
pub mod sensitive;
pub mod units;
mod weave;

pub use attributes::Attributes;
pub use chunk::{Chunk, Column, Values};
pub use cut::{OpenStream, Origin, cell, day, day_begins_us};
pub use history::{History, ItemFilter, LastReading, QueryRefusal, Selection, View, Visit};
pub use item::{Fingerprint, ItemInfo, StreamId};
pub use open::{Name, OpenItem, Scalar};
pub use rows::Rows;
pub use weave::{Part, weave};
