//! Backups: what an operator asks for, and what came of it.

use serde::{Deserialize, Serialize};

/// `POST /api/v1/backups`: a backup to make, where and for whom the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Go on although somebody else's mark is at the place, or the newest backup there is not the one that the hub made
    /// last.
    #[serde(default)]
    pub force: bool,
}

/// `GET /api/v1/backups/current`: how it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum BackupState {
    /// None was asked for since the hub was started.
    None,
    /// It is being made.
    Running {
        /// When it was begun, in milliseconds since 1970.
        since_ms: u64,
    },
    /// The last one was made.
    Made(BackupMade),
    /// The last one failed. What was there before is as it was.
    Failed {
        /// When it was begun, in milliseconds since 1970.
        since_ms: u64,
        /// Why it failed.
        why: String,
    },
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// Where it lies.
    pub place: String,
    /// Counts the backups at that place, from 1.
    pub number: u64,
    /// When it was begun, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// The hub's signature key, as 64 hexadecimal digits: keep it, to check backups by.
    pub signer: String,
    /// Rows that are in it.
    pub rows: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Pieces that it consists of.
    pub pieces: u64,
    /// Of those, how many were not there before.
    pub pieces_new: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
}
