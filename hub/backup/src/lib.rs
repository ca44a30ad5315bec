//! Backups of a hub: encrypted for their recipients, incremental, verified on restore, of which one tenant can be taken.
//! Not for replication: a backup is as old as its last run.
//!
//! ```text
//!  hub ──rows, in order──▶ cutter ──chunks──▶ is it there already? ──no──▶ AES-256-GCM ──▶ chunks/…
//!                                              │ yes                        content key ──HPKE──▶ keys/…
//!                                              ▼
//!                        index/… (which pieces) ──▶ backups/… (the manifest: signed by the hub, names the one before)
//! ```
//!
//! The hub writes and cannot read: the content keys go to the recipients. It knows what is there already by name, and the
//! name of a piece is an HMAC of what is in it. `docs/backup.md` of the project has the format byte by byte.

mod busy;
mod chunk;
mod directory;
mod error;
mod index;
pub mod limits;
mod manifest;
mod object;
mod place;
mod prune;
mod reader;
mod s3;
mod signer;
mod source;
mod survey;
mod writer;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use error::{BackupError, Damage, PlaceError, Why};
pub use manifest::{Listed, Manifest, Memory, Repository, TableCount, TenantCount, choose, list};
pub use place::Place;
pub use prune::{Keep, Pruned, forget, prune};
pub use reader::{Found, Opened};
pub use s3::S3;
pub use signer::{HubKey, InvalidSigner, Signer};
pub use source::{FILES, Handle, KEYS, Nowhere, Row, RowIter, Sink, Source};
pub use survey::{Survey, survey};
pub use writer::{Made, Order, make};
