//! The bus as a library: listeners, sessions, routers and the tenant log, assembled by a program around it.
//!
//! Not for identity or data: who may come in is a [`Gate`]'s answer, and what telemetry means is its reader's affair.
//!
//! ```text
//!  socket ─ reader ─▶ session ─▶ router ─▶ store (one committer, one fsync for all)
//!  socket ◀ writer ◀─ outbox ◀──┘  ▲ └──▶ other sessions of the same tenant
//!                                  └────── committed: now the publisher is acknowledged
//! ```

mod address;
mod admission;
mod aside;
mod audit;
mod bucket;
mod bus;
mod connection;
mod counters;
mod directory;
mod halves;
mod inspection;
mod lent;
pub mod limits;
mod listener;
mod named;
mod outbox;
mod pace;
mod quarantine;
mod questions;
mod quota;
mod ration;
mod refusal;
mod router;
mod screening;
mod session;
pub mod sieve;
pub mod store;
mod tenant;
#[cfg(test)]
mod tests;
mod tls;
mod transports;
mod websocket;

pub use address::PeerAddress;
pub use admission::{Admission, Admitted, Gate, Named, NotAdmitted, PasswordGate};
pub use audit::{AuditError, AuditPage, AuditTrail, Numbered};
pub use bucket::Rate;
pub use bus::{AddTenantError, Bus, BusOptions};
pub use counters::{Counter, ListenerCounters, TenantCounters};
pub use inspection::{
    ClientSeen, Direction, FilterSeen, Filters, Inspector, NotInspected, TopicSeen, TraceTarget, Traced,
    TracedPacket, Tracing, Whom,
};
pub use listener::{
    Arrival, Bound, Entrance, Handshake, Listener, ListenerOptions, Place, Socket, bind, bind_unix,
};
pub use muster_mqtt::{ReasonCode, Version};
pub use muster_routing::{Access, Rule};
pub use quarantine::{Judge, Judgement, Quarantine};
pub use questions::{Answer, Answering, Answers, Question};
pub use quota::{PrincipalQuota, Quota, Quotas, TenantQuotas};
pub use router::{LogGrew, LogWatch};
pub use screening::{Partly, Screen, Screening, Unfit, Verdict};
pub use tls::{Accepted, Protocol};
