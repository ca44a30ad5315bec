//! The registry: the single writer of tenants, devices, claims, apps and users, and the one place that says whether a
//! certificate may act. Not for telemetry, retained messages or anything else that grows with traffic.
//!
//! ```text
//!   API, Enrolment, Listener ──command──▶ Registry actor ──▶ core::Registry (rows in memory)
//!            ▲                                  │                  │ writes
//!            └────────── reply, once durable ───┴── commit ◀───────┘
//! ```

pub mod actor;
pub mod core;
pub mod issued;
pub mod limits;
pub mod message;
pub mod revocation;
pub mod row;

pub use self::{
    actor::{RegistryActor, RegistryError, RegistryOptions, register_first},
    core::Registry,
    issued::{IssuedRow, ListIssued, ListedCertificate, RecordIssued},
    message::{AdmitReason, AdmitRefusal, Admitted, OwnerRefusal, Ownership, Refusal},
    revocation::{ListRevocations, RecordRevocation, Revocation, RevocationList, RevocationReason},
    row::{AcceptedClasses, Certificate, Claim, ClaimCode, Client, ClientKind, Device, State, Tenant},
};
