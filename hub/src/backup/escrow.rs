//! The storage root key and what outlived those before it, sealed for whoever is to keep them. They are in no backup:
//! whoever has a backup and the key of a recipient has sealed rows, and nothing that opens them.

use std::path::Path;

use muster_broker::store::StoreKeys;
use muster_seal::{Opener, Padding};

use super::{BackupFailure, place::recipient};
use crate::{limits::BACKUP_KEY_FILE_BYTES_MAX, private_file};

/// What an escrowed key is bound to.
const BOUND: &[u8] = b"muster/storage-root/escrow/2";

/// Seals the keys of a store for a recipient and writes them to a new file.
///
/// # Errors
/// The recipient's file is none, or the new one cannot be written.
pub fn escrow(keys: &StoreKeys, recipient_file: &Path, out: &Path) -> Result<(), BackupFailure> {
    let recipient = recipient(recipient_file)?;
    let sealed = muster_seal::seal(keys.to_bytes().as_slice(), BOUND, &[recipient], Padding::None)
        .map_err(muster_backup::BackupError::Seal)?;
    let io = |source| BackupFailure::Io { what: "write", path: out.to_owned(), source };
    private_file::create(out, &sealed).map_err(io)
}

/// Opens them.
///
/// # Errors
/// The file is none, or was sealed for another recipient.
pub fn open_escrow(file: &Path, opener: &Opener) -> Result<StoreKeys, BackupFailure> {
    let wrong = |why: String| BackupFailure::File { path: file.to_owned(), why };
    let sealed = private_file::read_public(file, BACKUP_KEY_FILE_BYTES_MAX)?;
    let plain = muster_seal::open(&sealed, BOUND, opener)
        .map_err(|error| wrong(format!("does not open as an escrowed storage root key: {error}")))?;
    let keys = plain.as_array().and_then(StoreKeys::from_bytes);
    keys.ok_or_else(|| wrong(format!("does not hold {} bytes", StoreKeys::BYTES)))
}
