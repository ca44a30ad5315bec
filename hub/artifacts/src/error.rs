//! Why bytes were not taken, or not given: whose fault it is comes first.

use std::{io, ops::Range, path::PathBuf};

use crate::{digest::Digest, sealer::SealRefusal};

/// Why an artifact was not stored. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Nothing to store.
    #[error("store an artifact without any byte")]
    Empty,
    /// Above the bound for one artifact.
    #[error("store an artifact of {size} bytes: the most is {max}")]
    TooLarge {
        /// What was declared.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// More bytes came than were declared.
    #[error("store an artifact: more came than the {declared} bytes that were declared; nothing was kept")]
    Longer {
        /// What was declared.
        declared: u64,
    },
    /// The bytes ended too early.
    #[error("store an artifact: {came} of {declared} bytes came; send it again")]
    Shorter {
        /// What was declared.
        declared: u64,
        /// What came.
        came: u64,
    },
    /// Other bytes than were declared.
    #[error("store an artifact: what came has the digest {came}, not {declared}; send it again")]
    Differs {
        /// What was declared.
        declared: Digest,
        /// What came.
        came: Digest,
    },
    /// The tenant has no key at present, or its sealer does not what it says.
    #[error("seal an artifact: {0}")]
    Seal(#[from] SealRefusal),
    /// A sealer that adds another number of bytes than it says: a fault of the program.
    #[error("seal an artifact: the sealer added {added} bytes where it says {said}")]
    Sealer {
        /// What it says.
        said: usize,
        /// What it did.
        added: usize,
    },
    /// The disk is full.
    #[error("store an artifact in {}: the disk is full; make room and send it again", path.display())]
    NoSpace {
        /// Which file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PutError {
    pub(crate) fn io(what: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_owned() }
            }
            _ => Self::Io { what, path: path.to_owned(), source },
        }
    }
}

/// Why bytes of an artifact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file any more.
    #[error("find the file of the artifact {digest}: it is gone; push the artifact again")]
    Gone {
        /// Which artifact.
        digest: Digest,
    },
    /// What lies there is not what was stored. The rest of the artifact can still be read.
    #[error("read the artifact {digest}: bytes {} to {} are lost ({why}); push it again", lost.start, lost.end)]
    Damaged {
        /// Which artifact.
        digest: Digest,
        /// Which of its bytes, the end excluded.
        lost: Range<u64>,
        /// What is wrong.
        why: Damage,
    },
    /// The tenant's key is not here.
    #[error("read the artifact {digest}: its tenant's key is withdrawn")]
    Withdrawn {
        /// Which artifact.
        digest: Digest,
    },
    /// A part that the artifact does not have: a fault of whoever made the plan.
    #[error("read bytes {} to {} of an artifact of {size}", asked.start, asked.end)]
    Outside {
        /// What was asked.
        asked: Range<u64>,
        /// What there is.
        size: u64,
    },
    /// The file system said no.
    #[error("read the artifact {digest}")]
    Io {
        /// Which artifact.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Damage {
    /// Its tag does not fit: a bit has changed, or it stood elsewhere.
    #[error("a chunk was changed")]
    Changed,
    /// The file ends before it does.
    #[error("the file was cut")]
    Cut,
    /// The disk does not give it back.
    #[error("the disk does not read it")]
    Unreadable,
    /// The file does not begin as ours do.
    #[error("the file has another header")]
    Header,
}
