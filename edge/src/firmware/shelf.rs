//! Where the record lies.

use std::{fs, sync::Arc};

use super::{FirmwareSettings, Record, RecordError};
use crate::{
    limits::FIRMWARE_RECORD_BYTES_MAX,
    state::{StateDir, StateError},
};

/// The name of the record in the state folder.
const RECORD: &str = "firmware.cbor";

/// Keeps the record: whole, or as it was.
pub trait Shelf: Send + Sync {
    /// Replaces it.
    ///
    /// # Errors
    /// It cannot be written.
    fn keep(&self, bytes: &[u8]) -> Result<(), StateError>;
}

impl Shelf for StateDir {
    fn keep(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.write(RECORD, bytes)
    }
}

/// Why there is no record to begin with.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// It cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is damaged.
    #[error(
        "understand {RECORD} in the state folder: {0}; it says what was installed, so none is begun anew"
    )]
    Damaged(RecordError),
    /// There is none yet, and no first root.
    #[error("read firmware.root ({path}): {why}")]
    Root {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The record as it was kept, or a new one with the first root.
///
/// # Errors
/// It is damaged, or the first root is none.
pub fn read_record(state: &Arc<StateDir>, settings: &FirmwareSettings) -> Result<Record, NoRecord> {
    if let Some(bytes) = state.read_bytes(RECORD, FIRMWARE_RECORD_BYTES_MAX)? {
        return Record::decode(&bytes).map_err(NoRecord::Damaged);
    }
    let refused = |why: String| NoRecord::Root { path: settings.root.display().to_string(), why };
    let length = fs::metadata(&settings.root).map_err(|error| refused(error.to_string()))?.len();
    if length > FIRMWARE_RECORD_BYTES_MAX as u64 {
        return Err(refused("it is too long to be a tenant's root".to_owned()));
    }
    let bytes = fs::read(&settings.root).map_err(|error| refused(error.to_string()))?;
    Record::new(bytes).map_err(|error| refused(error.to_string()))
}
