//! An artifact on its way in: summed up, sealed chunk by chunk, and under its name only when all of it was right.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Arc,
};

use crate::{
    chunk::{HEADER, Layout, position},
    digest::{BlobName, Digest, Summing, Sums},
    error::PutError,
    limits::CHUNK_BYTES,
    sealer::Sealer,
    store::Folder,
};

/// What somebody says that it will send. The digest has to be known before, since each chunk is sealed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Of all the bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

/// What was stored. The file is on disk under its name; it stays only if a row of the hub's store names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Size and digests.
    pub sums: Sums,
    /// What the file is called.
    pub blob: BlobName,
    /// Bytes of disk.
    pub file_bytes: u64,
}

/// An artifact that is being stored: at most two chunks of memory. Dropped before [`Incoming::finish`], it leaves
/// nothing.
pub struct Incoming {
    folder: Folder,
    part: Option<PathBuf>,
    file: File,
    blob: BlobName,
    declared: Declared,
    layout: Layout,
    sealer: Arc<dyn Sealer>,
    summing: Summing,
    /// Bytes of the next chunk. It is sealed when one more byte comes, since only the last is sealed as the last.
    waiting: Vec<u8>,
    number: u64,
}

impl Incoming {
    pub(crate) fn new(
        folder: Folder,
        part: PathBuf,
        mut file: File,
        (blob, declared): (BlobName, Declared),
        sealer: Arc<dyn Sealer>,
    ) -> Result<Self, PutError> {
        let header = file.write_all(&HEADER);
        let layout = Layout::new(declared.size, sealer.overhead_bytes());
        let waiting =
            Vec::with_capacity(CHUNK_BYTES.min(usize::try_from(declared.size).unwrap_or(CHUNK_BYTES)));
        let part = Some(part);
        let new = Self {
            folder,
            part,
            file,
            blob,
            declared,
            layout,
            sealer,
            summing: Summing::new(),
            waiting,
            number: 0,
        };
        match header {
            Ok(()) => Ok(new),
            Err(source) => Err(new.io("write", source)),
        }
    }

    /// Takes the next bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), PutError> {
        if self.summing.size().saturating_add(bytes.len() as u64) > self.declared.size {
            return Err(PutError::Longer { declared: self.declared.size });
        }
        self.summing.update(bytes);
        while !bytes.is_empty() {
            if self.waiting.len() == CHUNK_BYTES {
                self.seal(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// How many bytes came.
    pub fn came(&self) -> u64 {
        self.summing.size()
    }

    /// That was all: the file is synced, gets its name, and the name is synced. Whoever dies before leaves a part,
    /// which [`Folder::sweep`] removes; whoever dies after, before the row was committed, leaves an orphan, which it
    /// removes too.
    pub fn finish(mut self) -> Result<Stored, PutError> {
        if self.came() != self.declared.size {
            return Err(PutError::Shorter { declared: self.declared.size, came: self.came() });
        }
        self.seal(true)?;
        let sums = std::mem::take(&mut self.summing).finish();
        if sums.digest != self.declared.digest {
            return Err(PutError::Differs { declared: self.declared.digest, came: sums.digest });
        }
        self.file.sync_all().map_err(|source| self.io("sync", source))?;
        let name = self.folder.path_of(&self.blob);
        let part = self.part.as_ref().map_or(Ok(()), |part| fs::rename(part, &name));
        part.map_err(|source| self.io("rename", source))?;
        self.part = None;
        self.folder.sync()?;
        Ok(Stored { sums, blob: self.blob, file_bytes: self.layout.file_bytes() })
    }

    fn seal(&mut self, last: bool) -> Result<(), PutError> {
        let place = position(&self.declared.digest, self.number, last);
        let sealed = self.sealer.seal(&place, &self.waiting)?;
        let (said, added) = (self.sealer.overhead_bytes(), sealed.len().saturating_sub(self.waiting.len()));
        if said != added {
            return Err(PutError::Sealer { said, added });
        }
        self.file.write_all(&sealed).map_err(|source| self.io("write", source))?;
        self.waiting.clear();
        self.number += 1;
        Ok(())
    }

    fn io(&self, what: &'static str, source: std::io::Error) -> PutError {
        let path = self.part.clone().unwrap_or_else(|| self.folder.path_of(&self.blob));
        PutError::io(what, &path, source)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            // What cannot be removed now is swept at the next start.
            let _ = fs::remove_file(part);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("declared", &self.declared)
            .field("came", &self.came())
            .finish_non_exhaustive()
    }
}
