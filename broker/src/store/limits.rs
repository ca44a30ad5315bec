//! Every bound of the store, in one place: queues, groups, rows, memory, disk and keys.

/// Commits that may wait for the committer. Credit on the senders' side stays below this, so that a full channel
/// means a sender without credit; such a commit is refused as busy and nothing blocks.
pub const COMMITS_WAITING_MAX: usize = 8_192;
/// Commits that share one fdatasync at most.
pub const GROUP_COMMITS_MAX: usize = 1_024;
/// Bytes after which a group takes no further commit.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one commit, keys and values together.
pub const COMMIT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of a key. The engine keeps 16 bits of a key's length and cuts the rest off without a word.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Bytes of a value.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the name of a table.
pub const TABLE_NAME_BYTES_MAX: usize = 64;

/// Block cache of the engine, in bytes, shared by all tables. It is filled by reads only.
pub const CACHE_BYTES_MAX: u64 = 6 * 1024 * 1024;
/// Newest rows of one table held in memory before they go to a file, in bytes.
pub const MEMTABLE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Closed journal files that wait for their last table to be flushed, in bytes. The engine's own floor.
pub const JOURNALS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Table files that the engine keeps open.
pub const OPEN_FILES_MAX: usize = 128;
/// Threads that flush and compact. With more than one, the engine keeps one of them free for flushes by having it ask for
/// its next task without a pause as long as a compaction waits: a quarter of the hub's processor time under load. A
/// compaction that holds up a flush holds up no commit, because nobody closes a table in memory meanwhile: that grows by
/// what is written until then.
pub const WORKER_THREADS: usize = 1;

/// Bytes of a journal that are read at a time when it is examined before a start.
pub const JOURNAL_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that one batch that was not written to its end can have left: a group, its last commit, and room for heads, keys
/// and marks. More than that is not one batch, and is not cut off.
pub const TORN_BATCH_BYTES_MAX: u64 = 2 * (GROUP_BYTES_MAX + COMMIT_BYTES_MAX) as u64;
/// How much two batches that follow on one another may differ in the number by which the engine orders them.
pub const SEQNO_STEP_MAX: u64 = 1 << 32;
/// Cut-off batches that are kept beside the journal. The oldest goes.
pub const CUTS_KEPT_MAX: usize = 4;

/// Free bytes on the disk below which nothing is written, unless configured otherwise. It leaves room for the
/// flushes and compactions of what was already acknowledged: the engine does not survive a full disk there.
pub const DISK_FREE_BYTES_MIN_DEFAULT: u64 = 256 * 1024 * 1024;

/// Records sealed under one data key, after which the next epoch begins.
pub const EPOCH_RECORDS_MAX: u64 = 1 << 30;
/// Older data keys held ready per tenant and purpose.
pub const EPOCHS_OPEN_MAX: usize = 64;

/// Bytes of one write that makes a journal long enough to be replaced, and how many of them make it so whatever it held.
pub const FILLER_BYTES: usize = 8 * 1024 * 1024;
/// See [`FILLER_BYTES`].
pub const FILLER_WRITES: usize = 9;
/// How often all tables are flushed until the engine has removed its old journals, and how long it is given in between.
pub const FLUSHES_MAX: usize = 50;
/// See [`FLUSHES_MAX`].
pub const FLUSH_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// How often the engine is asked to remove files that nobody reads any more, with the same pause in between.
pub const RELEASES_MAX: usize = 10;
/// Bytes that are read at a time when files are searched.
pub const SEARCH_BUFFER_BYTES: usize = 1024 * 1024;
/// Rows of a tenant that one commit removes when the tenant is shredded.
pub const SHRED_ROWS_MAX: usize = 4_096;

/// Records of a log that are one row at most: they are sealed, read and lost together.
pub const BUNDLE_RECORDS_MAX: u32 = 256;
/// Bytes of records after which such a row takes no further one.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// Rows that one trim of a log removes.
pub const LOG_TRIM_ROWS_MAX: usize = 512;

/// Bytes of rows of a backup that are put into a store with one fsync.
pub const RESTORED_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () =
    assert!(RESTORED_BYTES_MAX + KEY_BYTES_MAX + VALUE_BYTES_MAX <= COMMIT_BYTES_MAX, "one more row fits");
const _: () = assert!(
    FILLER_WRITES * FILLER_BYTES > 64_000_000,
    "what is written has to make the engine replace its journal"
);
const _: () = assert!(GROUP_COMMITS_MAX <= COMMITS_WAITING_MAX, "a full group must fit the channel");
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize, "the engine cuts longer keys off");
const _: () =
    assert!(2 * BUNDLE_BYTES_MAX <= GROUP_BYTES_MAX, "a group of commits holds several rows of a log");
const _: () = assert!(VALUE_BYTES_MAX <= COMMIT_BYTES_MAX, "a permitted value must fit a commit");
const _: () = assert!(COMMIT_BYTES_MAX as u64 <= JOURNALS_BYTES_MAX, "one commit must fit a journal");
const _: () = assert!(JOURNALS_BYTES_MAX >= 64 * 1024 * 1024, "the engine refuses less");
const _: () =
    assert!(DISK_FREE_BYTES_MIN_DEFAULT >= 2 * JOURNALS_BYTES_MAX, "room for a journal and its flush");
