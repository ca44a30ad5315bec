//! Reads a tree and says what of it is not as its index says.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    INDEX_FILE,
    build::is_whole,
    index::{Index, InvalidIndex},
    sign::IndexVerifier,
};
use crate::{
    artifact::blob_path,
    digest::Digest,
    limits::{FAULTS_TOLD_MAX, INDEX_BYTES_MAX},
};

/// Why nothing can be said of a tree.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The index is none, or is signed by nobody who may.
    #[error("check {}: {why}", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: InvalidIndex,
    },
    /// An index that is older than one that was seen.
    #[error("check {}: its index has the number {found}, and {seen} was there before", path.display())]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its number.
        found: u64,
        /// That of the one that was seen.
        seen: u64,
    },
    /// The file system said no.
    #[error("read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with an artifact of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("{0} is missing; build the tree again")]
    Missing(Digest),
    /// It is not what its name says.
    #[error("{0} is not what its name says; build the tree again")]
    Damaged(Digest),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// What the index says.
    pub index: Index,
    /// What is wrong, at most 256.
    pub faults: Vec<Fault>,
    /// How much more is wrong.
    pub untold: usize,
    /// Files in the folder of blobs that the index does not name: of earlier indexes, or of others.
    pub unnamed: usize,
}

impl Findings {
    /// Whether all is as the index says.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks a tree: the signature, that the index is none older than `seen`, and every byte of every artifact.
pub fn check(root: &Path, verifier: &dyn IndexVerifier, seen: u64) -> Result<Findings, CheckError> {
    let path = root.join(INDEX_FILE);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CheckError::Io { path, source }
    };
    let mut signed = Vec::new();
    let file = File::open(&path).map_err(io(&path))?;
    file.take(INDEX_BYTES_MAX as u64 + 1).read_to_end(&mut signed).map_err(io(&path))?;
    let index =
        Index::open(&signed, verifier).map_err(|why| CheckError::Index { path: path.clone(), why })?;
    if index.number < seen {
        return Err(CheckError::Older { path, found: index.number, seen });
    }
    let mut findings = Findings { index, faults: Vec::new(), untold: 0, unnamed: 0 };
    let mut named = BTreeSet::new();
    for entry in &findings.index.entries {
        let (digest, size) = (entry.described().digest, entry.described().size);
        named.insert(digest.to_string());
        let path = root.join(blob_path(&digest));
        let fault = match is_whole(&path, &digest, size).map_err(io(&path))? {
            true => continue,
            false if path.exists() => Fault::Damaged(digest),
            false => Fault::Missing(digest),
        };
        match findings.faults.len() < FAULTS_TOLD_MAX {
            true => findings.faults.push(fault),
            false => findings.untold += 1,
        }
    }
    let blobs = root.join("blobs/sha256");
    match fs::read_dir(&blobs) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(io(&blobs))?.file_name();
                findings.unnamed += usize::from(name.to_str().is_none_or(|name| !named.contains(name)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(&blobs)(error)),
    }
    Ok(findings)
}
