//! Firmware: offers are judged, images brought into the slot that does not run, and a new image shows that it is well
//! or goes. Absent from the configuration, none of it exists.
//!
//! ```text
//!   session ──offer, blocks──▶ Inbox ──▶ thread "firmware": Core ──▶ Carrier ──▶ slots
//!   Uplink ◀──asks, reports── Outlet ◀──────┘   │ judge, Updater
//!                                               └──▶ Record: root, state, what was accepted, how the last one ended
//! ```
//!
//! The thread writes and syncs, so it may block; nobody waits for it. What comes while it does is bounded by the inbox.

mod core;
mod inbox;
mod record;
mod settings;
mod shelf;
mod thread;

pub use core::{About, Core, Effect, Input, Now};
pub use inbox::Inbox;
pub use record::{Accepted, Record, RecordError};
pub use settings::{FirmwareSettings, SlotPlaces};
pub use shelf::{NoRecord, Shelf, read_record};
pub use thread::{Firmware, FirmwareSaid, NoFirmware, Outlet, look};
