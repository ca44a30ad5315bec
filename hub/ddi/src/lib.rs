//! The device interface of hawkBit (DDI v1), as its unmodified clients speak it: documents from what the hub knows,
//! and from what devices say what it means. Pure: no socket, no clock. Not for deciding who gets what: that is
//! `muster-campaign`'s; nor for bytes of artifacts: those are `muster-artifacts`'.
//!
//! ```text
//!   GET  path ──▶ Route ──▶ respond(target, resource) ──▶ Document ──▶ Format (HAL, JSON, CBOR)
//!   POST path ──▶ Route ──▶ read_feedback(body) ──▶ feedback(target, id, said) ──▶ Report { event } ──▶ campaign
//! ```
//!
//! ```
//! use muster_ddi::{Execution, Finished, Format, read_feedback};
//!
//! let body = br#"{"id":7,"status":{"execution":"closed","result":{"finished":"success"},"details":["done"]}}"#;
//! let said = read_feedback(Format::Json, body)?;
//! assert_eq!((said.execution, said.finished), (Execution::Closed, Finished::Success));
//! # Ok::<(), muster_ddi::Problem>(())
//! ```
//!
//! What clients do besides what is written down is law here: each quirk has a test that is named after it, in
//! `tests/quirks.rs`.

mod client;
mod codec;
pub mod document;
pub mod limits;
mod polling;
mod problem;
mod report;
mod respond;
mod route;
mod said;
mod state;
mod token;

#[cfg(test)]
mod tests;

pub use client::Client;
pub use codec::Format;
pub use document::Document;
pub use polling::{Pace, Sleep};
pub use problem::{Problem, ProblemBody};
pub use report::{
    Event, Report, attribute_said, cancel_feedback, confirmation_feedback, feedback, version_said,
};
pub use respond::{Reply, file, md5_line, respond};
pub use route::{Resource, Route, Verb};
pub use said::{
    ConfigData, Confirmed, Execution, Feedback, Finished, Mode, StateVersion, read_config_data,
    read_confirmation, read_feedback, read_state_version,
};
pub use state::{Action, Chunk, File, Force, MANIFEST_KEY, Phase, Target, Unfit};
pub use token::{Credential, Token};

/// What is answered to PUT and POST: 200, with `Content-Length: 0`. swupdate takes 201, 202 and 204 for errors, and
/// sends the same again for ever.
pub const ACCEPTED: u16 = 200;
/// How a client is sent elsewhere: swupdate follows no other status.
pub const REDIRECT: u16 = 302;
