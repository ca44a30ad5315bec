//! Sealing to a public key: HPKE (RFC 9180), and `COSE_Encrypt` around it, for payloads that only the tenant's app opens
//! and for backups that only their recipients do. Not for what the hub seals for itself: that is the store's.
//!
//! ```text
//! plaintext ──AES-256-GCM under a fresh key──▶ ciphertext ┐
//!                          └──HPKE to each recipient──▶ wrapped keys ┴─▶ COSE_Encrypt (D8 60 84 …)
//! ```
//!
//! ```
//! use muster_seal::{Kem, Opener, Padding, open, seal};
//!
//! let app = Opener::generate(Kem::P256)?;
//! let sealed = seal(b"21.5 degrees", b"where it belongs", &[app.recipient().clone()], Padding::None)?;
//! assert_eq!(open(&sealed, b"where it belongs", &app)?.as_slice(), b"21.5 degrees");
//! assert!(open(&sealed, b"elsewhere", &app).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binding;
mod cose;
mod key;
pub mod limits;
mod padding;
mod pem;

#[cfg(test)]
mod tests;

pub use binding::Binding;
pub use cose::{InvalidSealed, OpenFailure, SealFailure, Sealed, SealedKey, is_sealed, open, seal};
pub use key::{InvalidKey, Kem, KeyId, Opener, Recipient};
pub use padding::Padding;
