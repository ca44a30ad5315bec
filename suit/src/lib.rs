//! Which firmware may run on a device: envelopes that a tenant signs offline, the root that says with which keys,
//! offers that a hub signs online, and the one judgement over all of them. Not for transfers, slots or campaigns, and
//! without any I/O: what is here runs the same on a device, in a hub, in `muster-sign` and under a fuzzer.
//!
//! ```
//! use muster_schemas::firmware::{Digest, Sequence};
//! use muster_suit::{Envelope, NewManifest, Signer as _, SoftKey, class_id, vendor_id};
//!
//! let vendor = vendor_id("acme.example");
//! let manifest = NewManifest {
//!     sequence: Sequence(12),
//!     vendor,
//!     class: class_id(vendor, "pump-mk2"),
//!     image: Digest([7; 32]),
//!     size: 3_002_368,
//!     version: Some("1.4.0".parse()?),
//!     uri: None,
//!     invoke: true,
//! };
//! let key = SoftKey::generate()?;
//! let unsigned = manifest.envelope();
//! let signed = Envelope::open(&unsigned)?.signed_by(&key)?;
//! let envelope = Envelope::open(&signed)?;
//! assert_eq!(envelope.signers(&[key.public()]), [key.public()]);
//! assert_eq!(envelope.manifest()?.sequence, Sequence(12));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command;
pub mod cose;
mod envelope;
mod judge;
mod key;
pub mod limits;
mod manifest;
mod offer;
mod procedure;
mod root;
mod state;
mod uuid;
mod version;

#[cfg(test)]
mod tests;

pub use cose::InvalidCose;
pub use envelope::{Envelope, InvalidEnvelope};
pub use judge::{Accepted, Clock, Device, Fault, Part, Parts, Refusal, follow, judge};
pub use key::{
    InvalidKey, KeyId, POINT_BYTES, PublicKey, SIGNATURE_BYTES, SignFailure, Signature, Signer, SoftKey,
};
pub use manifest::{Manifest, NewManifest};
pub use offer::{InvalidStatement, read_freshness, read_offer, sign_freshness, sign_offer};
pub use procedure::{Facts, Image, Unfit, carry_out};
pub use root::{InvalidRoot, Role, Root, RootDraft, Unfollowed};
pub use state::State;
pub use uuid::{class_id, vendor_id};
pub use version::{Comparison, InvalidVersion, Version};
