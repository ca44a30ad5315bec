//! Opens the place that an address names, with what it takes to get in, and reads keys.

use std::path::Path;

use muster_backup::{Directory, Place, S3};
use muster_seal::{Opener, Recipient};

use super::BackupFailure;
use crate::{limits::BACKUP_KEY_FILE_BYTES_MAX, private_file};

/// The variables of the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A directory or an object store, by its address.
///
/// # Errors
/// The address is none, or there are no credentials.
pub fn open_place(
    address: &str,
    credentials: Option<&Path>,
    environment: Environment<'_>,
) -> Result<Box<dyn Place>, BackupFailure> {
    if !S3::is_address(address) {
        return Ok(Box::new(Directory::new(Path::new(address))));
    }
    let (key, secret) = match credentials {
        Some(path) => {
            let text = private_file::read(path, BACKUP_KEY_FILE_BYTES_MAX)?;
            let text = String::from_utf8_lossy(&text);
            let mut lines = text.lines().map(|line| line.trim().to_owned());
            let why =
                "does not have the key id on its first line and the secret key on its second".to_owned();
            let wrong = || BackupFailure::File { path: path.to_owned(), why };
            lines.next().zip(lines.next()).ok_or_else(wrong)?
        }
        None => environment("AWS_ACCESS_KEY_ID")
            .zip(environment("AWS_SECRET_ACCESS_KEY"))
            .ok_or(BackupFailure::NoCredentials)?,
    };
    Ok(Box::new(S3::new(address, &key, &secret)?))
}

/// Reads a recipient's public key.
pub(crate) fn recipient(path: &Path) -> Result<Recipient, BackupFailure> {
    let pem = private_file::read_public(path, BACKUP_KEY_FILE_BYTES_MAX)?;
    let wrong =
        |why: muster_seal::InvalidKey| BackupFailure::File { path: path.to_owned(), why: why.to_string() };
    Recipient::from_pem(&pem).map_err(wrong)
}

/// Reads a recipient's private key.
///
/// # Errors
/// The file cannot be read, others could have read it, or it is no key.
pub fn opener(path: &Path) -> Result<Opener, BackupFailure> {
    let pem = private_file::read(path, BACKUP_KEY_FILE_BYTES_MAX)?;
    let wrong =
        |why: muster_seal::InvalidKey| BackupFailure::File { path: path.to_owned(), why: why.to_string() };
    Opener::from_pem(&pem).map_err(wrong)
}
