//! How this device comes by its certificate and keeps it: first boot, renewal, and starting over when the hub no longer
//! takes what we have. The device's side of `muster-enroll/1`.
//!
//! ```text
//!   actor::Enrolment ── owns ──▶ lifecycle::Lifecycle      when to ask for what; pure, virtual time
//!          │ attempt
//!          ▼
//!   attempt::run ──▶ exchange::Exchange                    frames in, frames out, over DeviceKeys; pure
//!          │ TLS 1.3, ALPN muster-enroll/1
//!          ▼
//!         hub
//! ```

mod actor;
mod attempt;
mod exchange;
mod lifecycle;

pub use actor::{Enrolment, EnrolmentParts, SessionReport};
pub use attempt::AttemptError;
pub(crate) use attempt::ask_once;
pub use exchange::{Exchange, ExchangeError, Grant, Outcome, Request, Step, own_hash, own_id};
pub use lifecycle::{Effect, Found, Input, Lifecycle, Purpose};
