//! The hub's side of `muster-enroll/1`: a device proves which chip it is and gets a certificate, or renews the one it
//! has with a fresh quote. Not for the checks on TPM structures, which are the verifier's, nor for ownership, which is
//! the registry's.
//!
//! ```text
//!  device ─frames─▶ connection::serve ─Exchange─▶ EnrolmentActor ─▶ core::Enrolment (rates, sessions, checks, signs)
//!        ◀─frames──                  ◀─HubFrame──      │ ▲
//!                                             FindOwner, │ │ answers, once durable
//!                                      Enrol, Renewed ▼ │
//!                                                    Registry
//! ```

pub mod actor;
pub mod connection;
pub mod core;
pub mod counters;
pub mod limits;
pub mod rate;
pub mod session;
#[cfg(test)]
mod test_device;

pub use self::{
    actor::{EnrolmentActor, EnrolmentOptions, Exchange, RegistryDesk},
    connection::{EnrolmentHandle, serve},
    core::Policy,
    counters::{Counted, Counters},
};
