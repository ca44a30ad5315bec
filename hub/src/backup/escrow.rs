//! The storage root key, sealed for whoever is to keep it. It is in no backup: whoever has a backup and the key of a
//! recipient has sealed rows, and nothing that opens them.

use std::path::Path;

use muster_broker::store::RootKey;
use muster_seal::{Opener, Padding};

use super::{BackupFailure, place::recipient};
use crate::{limits::BACKUP_KEY_FILE_BYTES_MAX, private_file};

/// What an escrowed key is bound to.
const BOUND: &[u8] = b"muster/storage-root/escrow/1";

/// Seals the root key for a recipient and writes it to a new file.
///
/// # Errors
/// The recipient's file is none, or the new one cannot be written.
pub fn escrow(root: &[u8; 32], recipient_file: &Path, out: &Path) -> Result<(), BackupFailure> {
    let recipient = recipient(recipient_file)?;
    let sealed = muster_seal::seal(root, BOUND, &[recipient], Padding::None)
        .map_err(muster_backup::BackupError::Seal)?;
    let io = |source| BackupFailure::Io { what: "write", path: out.to_owned(), source };
    private_file::create(out, &sealed).map_err(io)
}

/// Opens an escrowed root key.
///
/// # Errors
/// The file is none, or was sealed for another recipient.
pub fn open_escrow(file: &Path, opener: &Opener) -> Result<RootKey, BackupFailure> {
    let wrong = |why: String| BackupFailure::File { path: file.to_owned(), why };
    let sealed = private_file::read_public(file, BACKUP_KEY_FILE_BYTES_MAX)?;
    let plain = muster_seal::open(&sealed, BOUND, opener)
        .map_err(|error| wrong(format!("does not open as an escrowed storage root key: {error}")))?;
    let key = <[u8; 32]>::try_from(plain.as_slice());
    Ok(RootKey::from_bytes(key.map_err(|_| wrong("does not hold 32 bytes".to_owned()))?))
}
