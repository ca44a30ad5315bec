//! Two slots for firmware, and what brings an image into one of them so that, whenever power goes, one of them boots:
//! the old image or the new one, whole. Not for judging whether an image may be installed, which is `muster-suit`'s,
//! and not for fetching it: [`Updater`](updater::Updater) says which blocks it wants, and whoever drives it has the
//! network.
//!
//! ```text
//!                    events                    actions
//!   agent ──offer, blocks, health──▶ Updater ──ask, report──▶ agent
//!                                       │ begin, keep, mark, install, switch, commit
//!                                       ▼
//!                                     Slots ──▶ Fs: slot A, slot B, journal, boot pointer
//!                                                               ▲
//!                                     loader::choose ───────────┘  (muster-boot, or a boot loader)
//! ```
//!
//! ```
//! use muster_schemas::firmware::{Digest, Sequence};
//! use muster_slots::{pointer::BootPointer, slot::{Image, Slot}};
//!
//! let image = |digest, sequence, version: &str| -> Result<Image, muster_slots::slot::InvalidVersion> {
//!     let (digest, sequence) = (Digest([digest; 32]), Sequence(sequence));
//!     Ok(Image { digest, size: 4_096, sequence, version: version.parse()? })
//! };
//! let factory = BootPointer::new(image(1, 1, "1.0")?);
//! let installed = factory.switched(image(2, 2, "1.1")?).ok_or("an image is on trial")?;
//! let boot = installed.boot();
//! assert_eq!((boot.slot, boot.trial), (Slot::B, Some(2)));
//! // What it costs is written before anything is started.
//! let trying = boot.write.ok_or("nothing is written")?;
//! assert_eq!(trying.committed().map(|pointer| pointer.active), Some(Slot::B));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod carrier;
pub mod confine;
mod decode;
pub mod emulator;
pub mod floor;
pub mod fs;
pub mod journal;
pub mod limits;
pub mod loader;
pub mod pointer;
pub mod record;
pub mod slot;
pub mod slots;
pub mod updater;
mod wire;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, unpack};
