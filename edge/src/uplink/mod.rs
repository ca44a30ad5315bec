//! The way up: readings to the hub, each kept until the hub has acknowledged it.
//!
//! ```text
//!   Reading ─▶ actor::Uplink ── owns ──▶ core::Core ── owns ──▶ spool::Spool
//!                   │ Connect, Publish                   waiting → handed → in flight → acknowledged
//!                   ▼
//!               session ── rumqttc ── hub.sock ── relay ── TLS 1.3 ── hub
//! ```
//!
//! rumqttc keeps a list of what to send again by itself. Each session here has a client of its own, new and without a
//! list: what was not acknowledged comes from the spool, once.

mod actor;
mod attester;
mod core;
mod sealing;
mod session;
mod spool;

pub use actor::{CertificateChanged, Finish, Uplink, UplinkParts};
pub use core::{Cause, Core, Effect, Input, PubackVerdict, Settings};
pub use sealing::{NotSealed, SealKeyError, Sealing};
pub use session::SessionEvent;
pub use spool::{Dropped, Spool};
