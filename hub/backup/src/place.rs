//! Where backups lie: named objects, written whole or not at all. A directory or an S3-style store; nothing else of this
//! crate knows which.

use crate::error::PlaceError;

/// A place for objects. Names are parts of `a-z`, `0-9`, `-` and `.` with slashes between them.
pub trait Place: Send + Sync {
    /// Writes an object, in the place of one of the same name.
    ///
    /// # Errors
    /// It could not be written; then there is none of it, or the old one.
    fn put(&self, name: &str, object: &[u8]) -> Result<(), PlaceError>;

    /// Sees to it that all that was written survives a power cut.
    ///
    /// # Errors
    /// It cannot say so.
    fn settle(&self) -> Result<(), PlaceError>;

    /// Reads an object; none if there is none.
    ///
    /// # Errors
    /// It could not be read, or has more than `bytes_max` bytes.
    fn get(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, PlaceError>;

    /// Tells the name and size of every object whose name begins with `prefix`, a directory with its slash. In no order.
    ///
    /// # Errors
    /// They could not be listed.
    fn list(&self, prefix: &str, found: &mut dyn FnMut(&str, u64)) -> Result<(), PlaceError>;

    /// Removes an object, if there is one.
    ///
    /// # Errors
    /// It could not be removed.
    fn remove(&self, name: &str) -> Result<(), PlaceError>;

    /// The address, for people; without anything secret.
    fn shown(&self) -> String;
}
