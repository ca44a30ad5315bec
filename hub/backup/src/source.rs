//! What is backed up, and what takes what was restored: a store's tables at one instant, and the files beside it. The hub
//! implements both; this crate knows tables, rows and owners, and nothing that is in them.

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);
/// What a tenant's rows begin with in the store.
pub type Handle = [u8; 16];
/// Rows in the order of their keys.
pub type RowIter<'a> = Box<dyn Iterator<Item = Result<Row, String>> + 'a>;

/// The table under which files of the hub's directory are kept: the key is the path, the value the mode, 4 bytes, and
/// what is in the file. No table of a store can have this name.
pub const FILES: &str = "/files";
/// The table of wrapped keys, whatever it is called in the store. Its rows lie apart from all others, tenant by tenant, so
/// that those of one tenant can be taken away.
pub const KEYS: &str = "/keys";

/// A hub as it was at one instant.
pub trait Source {
    /// The tables, without that of the wrapped keys.
    fn tables(&self) -> Vec<String>;

    /// The rows of one table, or of [`KEYS`].
    fn rows(&self, table: &str) -> RowIter<'_>;

    /// Whose row it is; nobody's if it is the platform's.
    fn owner(&self, table: &str, key: &[u8]) -> Option<Handle>;

    /// The files: path below the hub's directory, mode, content. In the order of their paths.
    fn files(&self) -> Vec<(String, u32, Vec<u8>)>;

    /// The tenants that there are, with their names.
    fn tenants(&self) -> Vec<(Handle, String)>;

    /// The last commit in it.
    fn commit(&self) -> u64;
}

/// Takes what is restored.
pub trait Sink {
    /// A file of the hub's directory.
    ///
    /// # Errors
    /// It could not be written.
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), String>;

    /// A row of a table, or of [`KEYS`].
    ///
    /// # Errors
    /// It could not be written.
    fn row(&mut self, table: &str, key: Vec<u8>, value: Vec<u8>) -> Result<(), String>;
}

/// A sink that looks and keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn file(&mut self, _: &str, _: u32, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn row(&mut self, _: &str, _: Vec<u8>, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}
