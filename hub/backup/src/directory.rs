//! Backups in a directory: a disk, or what is mounted there.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{error::PlaceError, place::Place};

/// What a file is called while it is written.
const PART: &str = ".part";

/// A directory with backups.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Directories in which names have changed since they were synced last.
    touched: Mutex<BTreeSet<PathBuf>>,
}

impl Directory {
    /// Takes a directory; it is made when the first object is written.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), touched: Mutex::default() }
    }

    fn write(&self, path: &Path, object: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        if !parent.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            // The names of new directories lie in those above them.
            let above = parent.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.extend(above.map(Path::to_owned));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(PART);
        let part = PathBuf::from(part);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(object)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(parent.to_owned());
        Ok(())
    }

    fn walk(&self, dir: &Path, found: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                self.walk(&path, found)?;
            } else if let Some(name) = path.strip_prefix(&self.root).ok().and_then(Path::to_str)
                && kind.is_file()
                && !name.ends_with(PART)
            {
                found(name, entry.metadata()?.len());
            }
        }
        Ok(())
    }
}

impl Place for Directory {
    fn put(&self, name: &str, object: &[u8]) -> Result<(), PlaceError> {
        let path = self.root.join(name);
        self.write(&path, object).map_err(|source| PlaceError::Io { what: "write", path, source })
    }

    fn settle(&self) -> Result<(), PlaceError> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        for path in touched {
            let synced = File::open(&path).and_then(|dir| dir.sync_all());
            synced.map_err(|source| PlaceError::Io { what: "sync", path, source })?;
        }
        Ok(())
    }

    fn get(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, PlaceError> {
        let path = self.root.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|source| PlaceError::Io { what: "read", path: path.clone(), source })?,
        };
        let mut object = Vec::new();
        let read = file.take(bytes_max as u64 + 1).read_to_end(&mut object);
        read.map_err(|source| PlaceError::Io { what: "read", path, source })?;
        match object.len() > bytes_max {
            true => Err(PlaceError::TooLarge { name: name.to_owned(), bytes_max }),
            false => Ok(Some(object)),
        }
    }

    fn list(&self, prefix: &str, found: &mut dyn FnMut(&str, u64)) -> Result<(), PlaceError> {
        let path = self.root.join(prefix);
        self.walk(&path, found).map_err(|source| PlaceError::Io { what: "list", path, source })
    }

    fn remove(&self, name: &str) -> Result<(), PlaceError> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(PlaceError::Io { what: "remove", path, source }),
            Ok(()) => {
                let parent = path.parent().unwrap_or(&self.root).to_owned();
                self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(parent);
                Ok(())
            }
        }
    }

    fn shown(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_there_whole_under_its_name_and_a_half_written_one_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::new(&dir.path().join("deep/er"));
        assert_eq!(place.get("a/b", 9).unwrap(), None);
        place.put("a/b", b"one").unwrap();
        place.put("a/b", b"three").unwrap();
        place.settle().unwrap();
        fs::write(dir.path().join("deep/er/a/c.part"), b"half").unwrap();
        assert_eq!(place.get("a/b", 9).unwrap().unwrap(), b"three");
        assert!(matches!(place.get("a/b", 4), Err(PlaceError::TooLarge { .. })));
        let mut found = Vec::new();
        place.list("a/", &mut |name, bytes| found.push((name.to_owned(), bytes))).unwrap();
        assert_eq!(found, [("a/b".to_owned(), 5)]);
        place.remove("a/b").unwrap();
        place.remove("a/b").unwrap();
        assert_eq!(place.get("a/b", 9).unwrap(), None);
    }
}
