//! Every bound of backups, in one place: pieces, lists, files and what is read of them.

/// Bytes of rows after which a chunk may end, where the hash of a row's key says so.
pub const CHUNK_BYTES_MIN: usize = 64 * 1024;
/// Bytes of rows between two ends, on average, beyond the least.
pub const CHUNK_BYTES_MEAN: usize = 192 * 1024;
/// Bytes of rows after which a chunk ends in any case. One row may be larger: it is a chunk of its own.
pub const CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one row: a value of the store, its key, and a file of the hub's directory.
pub const ROW_BYTES_MAX: usize = 17 * 1024 * 1024;
/// Bytes of any object that is read from a repository.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries of one piece of the index, at most.
pub const INDEX_ENTRIES_MAX: usize = 8_192;
/// Entries of one piece of the index, on average.
pub const INDEX_ENTRIES_MEAN: u64 = 1_024;
/// Bytes of the name of a table.
pub const TABLE_NAME_BYTES_MAX: usize = 255;
/// Pieces of one kind that one repository may hold: about 100 bytes of memory each while a backup is made. Enough
/// for a terabyte.
pub const PIECES_MAX: usize = 4_000_000;
/// Backups that one repository may hold.
pub const BACKUPS_MAX: usize = 100_000;
/// Bytes of a sealed key, of the mark of a run, of what names a repository.
pub const SMALL_OBJECT_BYTES_MAX: usize = 256 * 1024;
/// Damages that one report names; the rest is counted.
pub const DAMAGES_TOLD_MAX: usize = 1_000;
/// Milliseconds after which the mark of a run that did not end is taken for that of a dead one.
pub const BUSY_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// Tries of one request to an object store.
pub const S3_TRIES_MAX: u32 = 5;
/// Milliseconds before the second try; doubled for each that follows.
pub const S3_PAUSE_MS: u64 = if cfg!(test) { 1 } else { 200 };
/// Bytes of one page of a listing: 1,000 names.
pub const S3_LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Seconds for one request to an object store.
pub const S3_REQUEST_S_MAX: u64 = 120;
/// Seconds to connect to an object store.
pub const S3_CONNECT_S_MAX: u64 = 10;

const _: () = assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_MAX, "a chunk can end between its bounds");
const _: () = assert!(CHUNK_BYTES_MAX + ROW_BYTES_MAX < OBJECT_BYTES_MAX, "every chunk can be read again");
