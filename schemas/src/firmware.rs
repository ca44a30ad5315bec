//! Firmware updates: what hub, device and command line call things, and what they say to each other on
//! `devices/<id>/firmware/…`. Not for judging: whose signature an offer has, and whether it may be installed, is
//! `muster-suit`'s; who gets which offer is `muster-campaign`'s.
//!
//! ```text
//!   hub ── …/offer (retained): announcement = offer, freshness, manifest, roots ──▶ device
//!       ◀── …/get: a window of blocks ─────────────────────────────────────────────
//!       ── …/block/<request>: one block each ──────────────────────────────────────▶
//!       ◀── …/report: stages and outcome ──────────────────────────────────────────
//! ```
//!
//! Each payload is one CBOR map in deterministic encoding; the grammar is `schemas/cddl/update.cddl`.

mod block;
mod codec;
mod name;
mod offer;
mod outcome;
mod report;
mod topic;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use block::{Block, Get};
pub use codec::InvalidUpdate;
pub use name::{Digest, ExecutionId, InvalidName, NONCE_BYTES, Nonce, Sequence, Uuid};
pub use offer::{Announcement, Encoding, Freshness, Offer, Transfer, Window};
pub use outcome::{FailureCode, Outcome, Stage, UnknownWord};
pub use report::{Event, EventKind, Report, Running};
pub use topic::UpdateTopic;
