//! What this crate asks of a file system, so that tests can stand in one that loses power between any two calls.

mod disk;
mod memory;
#[cfg(test)]
pub(crate) mod recorder;

use std::{io, path::Path};

pub use disk::Disk;
pub(crate) use memory::Memory;

/// A file system that keeps only what was synced. Nothing else in this crate touches files of slots or records.
///
/// * What [`write_at`](Self::write_at) and [`truncate`](Self::truncate) did may be lost, whole or in part, until
///   [`sync`](Self::sync) of that file has returned.
/// * That a file has a name, a new name or none any more may be lost, in any order, until
///   [`sync_folder`](Self::sync_folder) of its folder has returned.
pub trait Fs {
    /// Fills `into` from `offset` on; less is returned only at the end of the file.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// How long the file is, or the block device; none if there is none.
    ///
    /// # Errors
    /// It cannot be asked.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Writes all of `bytes`, and makes the file if there is none.
    ///
    /// # Errors
    /// It cannot be written, or there is no space.
    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file that long. Nobody asks it of a block device.
    ///
    /// # Errors
    /// There is no such file, or it cannot be written.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Waits until what the file holds is on the medium.
    ///
    /// # Errors
    /// It is not, and may never be: whoever asked must not go on as if it were.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name in the same folder, in place of whatever had it.
    ///
    /// # Errors
    /// It has not got it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file away; it is no error if there is none.
    ///
    /// # Errors
    /// It is still there.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Waits until the names in a folder are on the medium.
    ///
    /// # Errors
    /// They are not.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// How many bytes may still be written below this folder.
    ///
    /// # Errors
    /// It cannot be asked.
    fn space(&self, folder: &Path) -> io::Result<u64>;
}
