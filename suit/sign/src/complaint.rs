//! Why a command did not do what was asked, and what to do next.

use std::{path::PathBuf, process::ExitCode};

use muster_suit::{InvalidEnvelope, InvalidKey, InvalidRoot, InvalidVersion, SignFailure, Unfit, Unfollowed};

/// A complaint, as it is printed.
#[derive(Debug, thiserror::Error)]
pub enum Complaint {
    /// A file that cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {why}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A file that is there.
    #[error("{} is there already, and is left as it is; choose another name, or remove it", .0.display())]
    Exists(PathBuf),
    /// A file larger than what it should hold may be.
    #[error("{} has more than {bytes_max} bytes, and is none of ours", .path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// A file that holds no key.
    #[error("the key {place} {why}")]
    Key {
        /// Where it is.
        place: String,
        /// What is wrong.
        why: InvalidKey,
    },
    /// A token that does not do it.
    #[error("{0}")]
    Token(String),
    /// A file that holds no root.
    #[error("{} is no root: it {why}", .path.display())]
    Root {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: InvalidRoot,
    },
    /// A root that cannot be made.
    #[error("such a root {0}")]
    NewRoot(#[from] InvalidRoot),
    /// A root that is not to be believed.
    #[error("{} is not believed: it {why}", .path.display())]
    Unfollowed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: Unfollowed,
    },
    /// A file that holds no manifest.
    #[error("{} is no manifest: it {why}", .path.display())]
    Envelope {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: InvalidEnvelope,
    },
    /// A manifest that is not for the devices that were named.
    #[error("{} {why}", .path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: Unfit,
    },
    /// A version that cannot be in a manifest.
    #[error("the version {text:?} {why}")]
    Version {
        /// What was given.
        text: String,
        /// What is wrong.
        why: InvalidVersion,
    },
    /// Nothing was signed.
    #[error("{0}")]
    Sign(#[from] SignFailure),
    /// Something that does not verify.
    #[error("not verified: {0}")]
    NotVerified(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
}

impl Complaint {
    /// The program's exit code.
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Version { .. } | Self::NewRoot(_) => 2,
            Self::Exists(_) => 6,
            _ => 1,
        })
    }
}
