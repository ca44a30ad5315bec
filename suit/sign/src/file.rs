//! Files, read within a bound and never written over by accident.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use muster_schemas::firmware::Digest;

use crate::complaint::Complaint;

/// Longest image, in bytes. What is longer is no firmware for a slot.
const IMAGE_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;
/// How much of an image is read at once, in bytes.
const READ_BYTES: usize = 1_024 * 1_024;

/// All of a file that may not be longer.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Complaint> {
    let failed = |why| Complaint::Read { path: path.to_owned(), why };
    let bytes_max = bytes_max as u64;
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Complaint::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

/// A new file.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    write_new(OpenOptions::new().write(true).create_new(true), path, bytes)
}

/// A new file that only its owner reads.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_new(&options, path, bytes)
}

fn write_new(options: &OpenOptions, path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    let failed = |why: std::io::Error| match why.kind() {
        ErrorKind::AlreadyExists => Complaint::Exists(path.to_owned()),
        _ => Complaint::Write { path: path.to_owned(), why },
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// Takes the place of a file at once, so that a power cut leaves the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let failed = |why| Complaint::Write { path: path.to_owned(), why };
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// The SHA-256 and the length of an image, without holding it.
pub fn digest(path: &Path) -> Result<(Digest, u64), Complaint> {
    let failed = |why| Complaint::Read { path: path.to_owned(), why };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut length, mut buffer) = (Context::new(&SHA256), 0_u64, vec![0; READ_BYTES]);
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        length += read as u64;
        if length > IMAGE_BYTES_MAX {
            return Err(Complaint::TooLong { path: path.to_owned(), bytes_max: IMAGE_BYTES_MAX });
        }
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok((Digest(digest), length))
}
