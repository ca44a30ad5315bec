//! A tenant's audit trail: what was refused, to whom and why, sealed under the tenant's key and numbered from 1 without a
//! gap. Not for what went well, and not for decisions: nothing reads the trail to choose what to do.
//!
//! ```text
//!  session, router, supervisor ─ note ─▶ line (bounded) ─▶ auditor ─ one commit ─▶ store
//! ```
//!
//! Nobody waits for it: an entry is on disk within a second of what it tells, and what a crash takes of that second is
//! the newest only. Too much at once is told as a number.

mod auditor;
mod line;
mod pages;

pub(crate) use auditor::{Auditor, AuditorParts};
pub(crate) use line::{Trail, Who};
pub use pages::{AuditError, AuditPage, AuditTrail, Numbered};
