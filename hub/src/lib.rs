//! The hub: enrolment authority, registry, telemetry store, HTTPS API and command line around the broker. For whoever
//! runs muster; not for embedding a bus in another program, which is what `muster-broker` is for.
//!
//! ```text
//!  command line --HTTPS, client certificate--> API --> registry, telemetry
//!  device ------muster-enroll/1 over TLS-----> enrolment --> registry, device authority
//!  device, app -MQTT over mutual TLS---------> broker --> tenant log --> telemetry
//! ```

pub mod api;
pub mod assembly;
pub mod attest;
pub mod authority;
pub mod backup;
pub mod causes;
pub mod check;
pub mod cli;
pub mod config;
mod doors;
pub mod enroller;
pub mod enrolment;
pub mod gate;
pub mod history;
pub mod influx;
pub mod init;
pub mod key_command;
pub mod keyring;
pub mod limits;
pub mod log;
mod memory;
pub mod peer_verifier;
pub mod people;
pub mod pinned;
pub mod place;
pub mod private_file;
pub mod publication;
pub mod random;
pub mod registry;
pub mod root_key;
pub mod rules;
pub mod screening;
pub mod telemetry;
pub mod tls;
pub mod vault;
pub mod witness;
