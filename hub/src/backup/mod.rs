//! Backups of this hub, and back: what of it is backed up, where to, and how it or one tenant of it is put back. The format
//! and the cryptography are `muster-backup`'s.
//!
//! ```text
//!  running hub: Desk ─ a thread ─▶ HubSource (a snapshot of the store, files) ─▶ muster_backup::make ─▶ place
//!  stopped hub: place ─▶ muster_backup::Opened ─▶ restore (an empty directory) or restore_tenant (this directory)
//! ```
//!
//! Not in a backup: the storage root key and what outlived those before it, the passphrase, the operator's private key,
//! the number of the last publication.

mod desk;
mod error;
mod escrow;
mod place;
mod restored;
mod source;
mod tenant;

pub use desk::{Desk, make_offline};
pub use error::BackupFailure;
pub use escrow::{escrow, open_escrow};
pub(crate) use place::recipient;
pub use place::{Environment, open_place, opener};
pub use restored::{Restored, Wanted, restore};
pub use source::HubSource;
pub use tenant::{TenantRestored, restore_tenant};
