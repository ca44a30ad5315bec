//! TPM evidence. A hub asks whether an identity key lives in a genuine TPM, how that device booted, and whether both
//! speak on this very connection; this crate answers without any TPM library. Behind the feature `device` it is also
//! the other side: the keys of a chip, over tpm2-tss. Not for policy, ownership or registry, which are the hub's.
//!
//! ```text
//!   device                                        hub
//!   keys::DeviceKeys ── Begin ──────────────────▶ verifier::check_begin ── endorsement, wire, name
//!   (device::Chip,   ◀── Challenge ────────────── verifier::challenge   ── credential
//!    soft keys)      ── Finish ─────────────────▶ verifier::check_finish ─ binding, event log ──▶ Evidence
//! ```
//!
//! ```
//! use muster_tpm::{
//!     keys::{DeviceKeys, Slot}, manufacturer::SimulatedManufacturer, soft::SimulatedSoftwareKeys, verifier,
//!     wire::TpmtPublic,
//! };
//!
//! let manufacturer = SimulatedManufacturer::well_known()?;
//! let mut keys = SimulatedSoftwareKeys::new(&[1; 32], &manufacturer)?;
//! keys.create_ldevid(Slot::A)?;
//! let ek = TpmtPublic::parse(&keys.ek_public()?)?;
//! assert_eq!(verifier::device_id(&verifier::ek_hash(&ek)).as_str().len(), 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod binding;
pub mod credential;
pub mod csr;
#[cfg(feature = "device")]
pub mod device;
pub mod endorsement;
pub mod keys;
pub mod limits;
pub mod manufacturer;
pub mod name;
pub mod policy;
pub mod soft;
pub mod spki;
pub mod templates;
pub mod verifier;
pub mod wire;

#[cfg(feature = "device")]
pub use device::{manufacture, signer, swtpm, thread};
