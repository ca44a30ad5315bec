//! The registry: the single writer of tenants, devices, claims, apps and users, and the one place that says whether a
//! certificate may act. Not for telemetry, retained messages or anything else that grows with traffic.
//!
//! ```text
//!   API, Enrolment, Listener ──command──▶ Registry actor ──▶ core::Registry (rows in memory)
//!            ▲                                  │                  │ writes
//!            └────────── reply, once durable ───┴── commit ◀───────┘
//! ```

pub mod actor;
pub mod admissions;
mod admit;
pub mod alarm;
mod attest;
pub mod attributes;
pub mod boots;
mod clock;
pub mod core;
pub mod est;
pub mod firmware_approval;
pub mod firmware_authority;
pub mod grants;
pub mod issued;
pub mod keys;
pub mod legacy;
mod lending;
pub mod life;
pub mod limits;
pub mod message;
pub mod odd;
pub mod people;
pub mod policies;
pub mod revocation;
pub mod row;
pub mod rules;
pub mod schema;
pub mod sensitive;
pub mod shredded;
pub mod standing;
pub mod stored;
pub mod ways_in;

pub use self::{
    actor::{RegistryActor, RegistryError, RegistryOptions, register_first},
    alarm::{Alarm, AlarmKind},
    attest::{AttestSessions, AttestationDemand, Attested, FindAttestationKey, SetAttestSessions},
    core::Registry,
    issued::{IssuedRow, ListIssued, ListedCertificate, RecordIssued},
    life::Ended,
    message::{AdmitReason, AdmitRefusal, Admitted, OwnerRefusal, Ownership, Refusal},
    revocation::{ListRevocations, RecordRevocation, Revocation, RevocationList, RevocationReason},
    row::{AcceptedClasses, Certificate, Claim, ClaimCode, Client, ClientKind, Device, State, Tenant},
};
