//! The agent on a device. At its first boot it proves with its TPM which chip it is and gets a certificate; from then
//! on it connects with mutual TLS by a key that never leaves that chip, publishes what its machine says, and keeps each
//! reading until the hub has acknowledged it. Not for the devices behind a gateway, nor for firmware; those come as
//! actors of their own.
//!
//! ```text
//!   sensors ── readings ──▶ uplink ── rumqttc ── relay ── TLS 1.3 ──▶ hub
//!      ▲                      │ ▲                           │ key
//!      └── session opened ────┘ │ certificate changed       ▼
//!                            enrolment ── muster-enroll/1 ── TPM
//! ```
//!
//! ```
//! use std::path::Path;
//!
//! use muster_edge::config::Config;
//!
//! let text = r#"
//!     hub = "hub.example:8883"
//!     root = "/etc/muster-edge/root.crt"
//!     tpm = "device:/dev/tpmrm0"
//!     model = "pump-mk2"
//!     state_dir = "/var/lib/muster-edge"
//! "#;
//! let config = Config::parse(Path::new("edge.toml"), text)?;
//! assert_eq!(config.interval.as_secs(), 10);
//! # Ok::<(), muster_edge::config::ConfigError>(())
//! ```
//!
//! tpm2-tss writes to standard error about every failure that is expected. The unit file (or whoever starts the program)
//! silences it with `TSS2_LOG=all+NONE`: a program cannot safely set a variable of its own environment.

pub mod assembly;
pub mod backoff;
pub mod certificate;
mod chip;
pub mod config;
pub mod enrolment;
pub mod firmware;
pub mod firmware_bound;
pub mod firmware_log;
pub mod hub;
pub mod introduction;
pub mod limits;
mod line;
pub mod measure;
pub mod recovery;
pub mod relay;
pub mod sensors;
pub mod state;
pub mod tls;
pub mod trust;
pub mod uplink;

pub use line::Line;
