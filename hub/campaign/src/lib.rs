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

mod codec;
pub mod limits;
pub mod plan;
pub mod query;
mod version;
pub mod window;

pub use codec::Malformed;
pub use version::compare as compare_versions;
