//! Writes a tree, or brings one up to date.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    INDEX_FILE,
    index::Index,
    sign::{self, IndexSigner},
};
use crate::{
    artifact::blob_path,
    digest::{Digest, Summing},
    error::ReadError,
    limits::{CHUNK_BYTES, INDEX_BYTES_MAX},
    reader::Blob,
};

/// Why there is no tree. What was there before is still as it was.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An artifact could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read is not what the index would say.
    #[error("write {0}: its bytes are not those of its name")]
    Differs(Digest),
    /// The hub does not have the bytes of an artifact: they lie elsewhere.
    #[error("write {0}: its bytes are elsewhere; take it from there, or leave it out")]
    NoBytes(Digest),
    /// Nobody signed.
    #[error("sign the index: {0}")]
    Sign(String),
    /// More artifacts than an index tells of.
    #[error("write the index: it would be longer than {INDEX_BYTES_MAX} bytes; make two trees")]
    TooLong,
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

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    move |source| BuildError::Io { what, path: path.to_owned(), source }
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Built {
    /// Artifacts that were written.
    pub written: usize,
    /// Artifacts that were there, and whole.
    pub kept: usize,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Builds a tree of all entries of an index; `bytes_of` gives the bytes of one. What is there and whole is not
/// written again, what is there and damaged is. Everything is on disk before the index names it.
pub fn build(
    root: &Path,
    index: &Index,
    mut bytes_of: impl FnMut(&Digest) -> Option<Blob>,
    signer: &dyn IndexSigner,
) -> Result<Built, BuildError> {
    let signed = sign::sign(&index.encode(), signer).map_err(BuildError::Sign)?;
    if signed.len() > INDEX_BYTES_MAX {
        return Err(BuildError::TooLong);
    }
    let blobs = root.join("blobs/sha256");
    DirBuilder::new().recursive(true).mode(0o755).create(&blobs).map_err(failed("make", &blobs))?;
    let mut built = Built::default();
    for entry in &index.entries {
        let (digest, size) = (entry.described().digest, entry.described().size);
        let path = root.join(blob_path(&digest));
        if is_whole(&path, &digest, size).map_err(failed("read", &path))? {
            built.kept += 1;
            continue;
        }
        let blob = bytes_of(&digest).ok_or(BuildError::NoBytes(digest))?;
        if blob.digest() != digest || blob.size() != size {
            return Err(BuildError::Differs(digest));
        }
        write(&path, |file| copy(&blob, file, &path))?;
        (built.written, built.bytes) = (built.written + 1, built.bytes + size);
    }
    for folder in [&blobs, &root.join("blobs"), root] {
        sync(folder)?;
    }
    let path = root.join(INDEX_FILE);
    write(&path, |file| file.write_all(&signed).map_err(failed("write", &path)))?;
    sync(root)?;
    Ok(built)
}

/// Reads a file and says whether it is that artifact; one that is not there is not.
pub(super) fn is_whole(path: &Path, digest: &Digest, size: u64) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut summing, mut buffer) = (Summing::new(), vec![0; CHUNK_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 && summing.size() <= size => summing.update(bytes),
            _ => break,
        }
    }
    let sums = summing.finish();
    Ok(sums.digest == *digest && sums.size == size)
}

fn copy(blob: &Blob, file: &mut File, path: &Path) -> Result<(), BuildError> {
    let mut summing = Summing::new();
    for piece in blob.pieces(0..blob.size())? {
        let piece = piece?;
        summing.update(&piece);
        file.write_all(&piece).map_err(failed("write", path))?;
    }
    match summing.finish().digest == blob.digest() {
        true => Ok(()),
        false => Err(BuildError::Differs(blob.digest())),
    }
}

/// Under its name when it is whole and on disk, and not before.
fn write(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), BuildError>) -> Result<(), BuildError> {
    let part = path.with_extension("part");
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&part);
    let mut file = made.map_err(failed("make", &part))?;
    let filled = fill(&mut file).and_then(|()| file.sync_all().map_err(failed("sync", &part)));
    if let Err(error) = filled {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, path).map_err(failed("rename", path))
}

fn sync(folder: &Path) -> Result<(), BuildError> {
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed("sync", folder))
}
