//! The folder in which one tenant's artifacts lie, each in a file of its own. It knows no names, versions or users:
//! those are rows of the hub's store, and a file that no row names is an orphan.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    digest::{BlobName, Digest},
    error::{PutError, ReadError},
    limits::ARTIFACT_BYTES_MAX,
    reader::Blob,
    sealer::Sealer,
    writer::{Declared, Incoming},
};

/// What a file is called while it is written.
const PART: &str = ".part";

/// A folder of sealed artifacts of one tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Folder {
    root: Arc<Path>,
}

/// What [`Folder::sweep`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that no row names, and parts of uploads that did not end: removed.
    pub removed: usize,
    /// Bytes that this freed.
    pub bytes: u64,
    /// Rows whose file is gone.
    pub missing: Vec<BlobName>,
    /// Files that are not ours: left alone.
    pub foreign: usize,
}

impl Folder {
    /// Takes a folder, and makes it if it is not there.
    pub fn open(root: &Path) -> Result<Self, PutError> {
        let folder = Self { root: root.into() };
        if !root.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
            made.map_err(|source| PutError::io("make the folder", root, source))?;
            let above =
                root.parent().map_or(Ok(()), |above| File::open(above).and_then(|dir| dir.sync_all()));
            above.map_err(|source| PutError::io("sync the folder above", root, source))?;
        }
        Ok(folder)
    }

    /// Begins to store an artifact in a file with this name, which has to be random and new.
    pub fn begin(
        &self,
        blob: BlobName,
        declared: Declared,
        sealer: Arc<dyn Sealer>,
    ) -> Result<Incoming, PutError> {
        match declared.size {
            0 => return Err(PutError::Empty),
            size if size > ARTIFACT_BYTES_MAX => {
                return Err(PutError::TooLarge { size, max: ARTIFACT_BYTES_MAX });
            }
            _ => {}
        }
        let whole = self.path_of(&blob);
        if whole.exists() {
            return Err(PutError::io("make", &whole, io::ErrorKind::AlreadyExists.into()));
        }
        let part = self.root.join(format!("{blob}{PART}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|source| PutError::io("make", &part, source))?;
        Incoming::new(self.clone(), part, file, (blob, declared), sealer)
    }

    /// Opens an artifact for reading. What is open is read to its end, even if it is removed meanwhile.
    pub fn read(
        &self,
        blob: &BlobName,
        (digest, size): (Digest, u64),
        sealer: Arc<dyn Sealer>,
    ) -> Result<Blob, ReadError> {
        match File::open(self.path_of(blob)) {
            Ok(file) => Blob::new(file, digest, size, sealer),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(ReadError::Gone { digest }),
            Err(source) => Err(ReadError::Io { digest, source }),
        }
    }

    /// Removes a file; one that is gone is no error. To be called when its row is gone from disk, not before.
    pub fn remove(&self, blob: &BlobName) -> Result<(), PutError> {
        let path = self.path_of(blob);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(PutError::io("remove", &path, source))
            }
            _ => self.sync(),
        }
    }

    /// Removes what no row names. To be called at start, before the first upload begins.
    pub fn sweep(&self, known: &BTreeSet<BlobName>) -> Result<Swept, PutError> {
        let failed = |source| PutError::io("list", &self.root, source);
        let (mut swept, mut seen) = (Swept::default(), BTreeSet::new());
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let whole = name.strip_suffix(PART).unwrap_or(name).parse::<BlobName>();
            match whole {
                Ok(blob) if known.contains(&blob) && !name.ends_with(PART) => {
                    seen.insert(blob);
                }
                Ok(_) => {
                    swept.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                    let path = entry.path();
                    fs::remove_file(&path).map_err(|source| PutError::io("remove", &path, source))?;
                    swept.removed += 1;
                }
                Err(_) => swept.foreign += 1,
            }
        }
        swept.missing = known.difference(&seen).copied().collect();
        if swept.removed > 0 {
            self.sync()?;
        }
        Ok(swept)
    }

    pub(crate) fn path_of(&self, blob: &BlobName) -> PathBuf {
        self.root.join(blob.to_string())
    }

    pub(crate) fn sync(&self) -> Result<(), PutError> {
        let synced = File::open(&self.root).and_then(|dir| dir.sync_all());
        synced.map_err(|source| PutError::io("sync", &self.root, source))
    }
}
