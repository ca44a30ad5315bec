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
