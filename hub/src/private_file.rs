//! Files that nobody but their owner may read. Not for what is public: certificates are ordinary files.

use std::{
    fs::{DirBuilder, File, OpenOptions, rename},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Permission bits that group and others must not have.
const OTHERS: u32 = 0o077;

/// Why a private file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file system said no.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Others than the owner could have read or changed it.
    #[error(
        "trust {path}: its mode is {mode:03o}, so others than its owner may use it; run: chmod 600 {path}"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Larger than anything it could rightly hold.
    #[error("read {path}: it is larger than {bytes_max} bytes, so it is not what it should be")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound, in bytes.
        bytes_max: usize,
    },
}

/// Creates a file with mode 0600 that did not exist before, and waits until it is on the disk.
pub fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_new(path, contents, 0o600)
}

/// Creates a file with mode 0644 that did not exist before: certificates and configuration.
pub fn create_public(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_new(path, contents, 0o644)
}

/// Replaces a file in one step, so that a crash leaves the old or the new one. `private` decides between 0600 and 0644.
pub fn replace(path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&beside, contents, if private { 0o600 } else { 0o644 })?;
    rename(&beside, path)?;
    sync_parent(path)
}

/// Creates a directory, and those above it, that only the owner may enter. One that exists is left as it is.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a file that only its owner may read: refuses one that group or others could have used.
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let failed = |source| PrivateFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::Exposed { path: path.to_owned(), mode });
    }
    // The capacity is the bound plus one, so that no reallocation leaves a copy behind.
    let mut contents = Zeroizing::new(Vec::with_capacity(bytes_max.saturating_add(1)));
    file.take(bytes_max as u64 + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() > bytes_max {
        return Err(PrivateFileError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(contents)
}

/// Reads a public file of at most `bytes_max` bytes.
pub fn read_public(path: &Path, bytes_max: usize) -> Result<Vec<u8>, PrivateFileError> {
    let failed = |source| PrivateFileError::Read { path: path.to_owned(), source };
    let mut contents = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() > bytes_max {
        return Err(PrivateFileError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(contents)
}

fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    sync_parent(path)
}

/// A name is on the disk when its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_readable_by_its_owner_only_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("secret");
        create(&path, b"one").expect("create");
        assert_eq!(std::fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
        assert_eq!(create(&path, b"two").expect_err("exists").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 16).expect("read").as_slice(), b"one");
        replace(&path, b"three", true).expect("replace");
        assert_eq!(read(&path, 16).expect("read").as_slice(), b"three");
        assert_eq!(std::fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("secret");
        create(&path, b"one").expect("create");
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let refused = read(&path, 16).expect_err("exposed").to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_file_larger_than_its_bound_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("secret");
        create(&path, &[7; 17]).expect("create");
        assert!(matches!(read(&path, 16), Err(PrivateFileError::TooLarge { .. })));
        assert!(matches!(read_public(&path, 16), Err(PrivateFileError::TooLarge { .. })));
    }
}
