//! Three files in memory, for unpacking where there are no slots: the hub tries a patch before it offers it, and a
//! fuzz target tries anything.

use std::{cell::RefCell, io, path::Path};

use super::Fs;

/// Files by their whole name. Not for keeping anything: sync does nothing.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) RefCell<Vec<(&'static str, Vec<u8>)>>);

impl Memory {
    fn with<T>(&self, path: &Path, does: impl FnOnce(&mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        let mut files = self.0.borrow_mut();
        let file = files.iter_mut().find(|(name, _)| Path::new(name) == path);
        does(&mut file.ok_or(io::ErrorKind::NotFound)?.1)
    }
}

impl Fs for Memory {
    fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(path, |file| {
            let rest = usize::try_from(offset).ok().and_then(|from| file.get(from..)).unwrap_or_default();
            let read = rest.len().min(into.len());
            if let (Some(into), Some(rest)) = (into.get_mut(..read), rest.get(..read)) {
                into.copy_from_slice(rest);
            }
            Ok(read)
        })
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.with(path, |file| Ok(file.len() as u64)).ok())
    }

    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(path, |file| {
            let from = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            let end = from.checked_add(bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
            if file.len() < end {
                file.resize(end, 0);
            }
            if let Some(into) = file.get_mut(from..end) {
                into.copy_from_slice(bytes);
            }
            Ok(())
        })
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.with(path, |file| {
            file.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            Ok(())
        })
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlink(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _folder: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
