//! A tenant's artifacts as a folder that any web server serves: a signed index, and the bytes by their digest.
//!
//! ```text
//! DIR/index.cose                   COSE_Sign1 of the index: what is there, how large, since when
//! DIR/blobs/sha256/<64 digits>     the bytes of each artifact, as they are
//! ```
//!
//! The index is replaced last and in one step, and nothing that an earlier one named is removed, so a device that
//! reads while the tree is built anew finds what it was told of.

mod build;
mod check;
mod index;
mod sign;
#[cfg(test)]
mod tests;

pub use build::{BuildError, Built, build};
pub use check::{CheckError, Fault, Findings, check};
pub use index::{Entry, Index, InvalidIndex};
pub use sign::{INDEX_SIGNATURE_BYTES, IndexSigner, IndexVerifier};

/// What the index is called.
pub const INDEX_FILE: &str = "index.cose";
