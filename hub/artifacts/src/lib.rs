//! Artifacts of a tenant: what its devices are to install. Stored once by what is in them, sealed at rest, given out
//! in parts, made smaller for devices that have a version before, and copied to trees that any web server serves. Not
//! for deciding who installs what: that is `muster-campaign`'s; nor for trusting it: that is `muster-suit`'s, on the
//! device.
//!
//! ```text
//!   upload ──▶ Incoming ──chunks of 64 KiB, sealed──▶ Folder (random names)      Catalog: names, versions, quota, users
//!                                                        │
//!   GET, HEAD ──▶ http::plan (tags, dates, ranges) ──▶ http::Body ◀── Blob (any part, checked)
//!                                                                      │
//!   delta::Workshop (one at a time) ──▶ delta::make ◀── old and new ───┴──▶ tree::build ──▶ index.cose, blobs/
//! ```
//!
//! ```
//! use muster_artifacts::{Digest, http::{Entity, Method, Request, plan}};
//!
//! let entity = Entity { digest: Digest([7; 32]), size: 1_000, stored_s: 1_790_000_000, filename: None };
//! let rest = Request { range: Some(b"bytes=900-"), ..Request::new(Method::Get) };
//! let answer = plan(&rest, entity);
//! assert_eq!((answer.status(), answer.content_length()), (206, 100));
//! ```
//!
//! No runtime and no clock; files, and what is in them. The keys stay with whoever hands in the [`Sealer`].

mod artifact;
mod catalog;
mod chunk;
pub mod delta;
mod digest;
mod error;
pub mod http;
pub mod limits;
mod reader;
mod sealer;
mod store;
pub mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub use artifact::{
    Artifact, Class, ExternalUrl, InvalidArtifact, Kind, Location, Name, Repository, Version, blob_path,
};
pub use catalog::{Admitted, Catalog, Refused, User, Users, Wanted};
pub use digest::{BlobName, Digest, InvalidSum, Md5, Sha1, Summing, Sums, digest_of};
pub use error::{Damage, PutError, ReadError};
pub use reader::{Blob, Checked, Pieces};
pub use sealer::{SealRefusal, Sealer};
pub use store::{Folder, Swept};
pub use writer::{Declared, Incoming, Stored};
