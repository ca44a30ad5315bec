//! What crosses a process boundary, parsed once at the rim and trusted within: ids, topics, the message envelope,
//! telemetry, enrolment frames and the bodies of the HTTPS API. Not for behaviour: nothing here opens, sends or decides.
//!
//! ```
//! use muster_schemas::{TenantId, TopicFilter, TopicName};
//!
//! let tenant: TenantId = "acme".parse()?;
//! let topic: TopicName = "devices/42/telemetry/climate".parse()?;
//! let filter: TopicFilter = "devices/+/telemetry/#".parse()?;
//! assert!(filter.matches(&topic));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api;
pub mod attest;
pub mod audit;
pub mod cbor;
pub mod enrolment;
mod envelope;
pub mod firmware;
mod id;
pub mod limits;
mod principal;
pub mod questions;
pub mod senml;
pub mod stored;
mod subscription;
mod topic;
pub mod trust;

#[cfg(test)]
mod corpus;

pub use envelope::{Message, MessageProperties, Publisher, Qos};
pub use id::{ClientId, DeviceId, InvalidId, TenantId};
pub use principal::{InvalidPrincipal, Kind, Principal, TrustDomain};
pub use subscription::{RetainHandling, SubscriptionOptions};
pub use topic::{InvalidTopic, TopicFilter, TopicName};
