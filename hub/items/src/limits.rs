//! Every bound of this crate.

/// Patterns of a tenant for sensitive fields. More are refused when they are set.
pub const SENSITIVE_PATTERNS_MAX: usize = 256;
/// Bytes of one such pattern.
pub const SENSITIVE_PATTERN_BYTES_MAX: usize = 256;

/// Rows of one block; a damaged head cannot ask for more.
pub const BLOCK_ROWS_MAX: usize = 65_536;
/// Columns of one block.
pub const BLOCK_COLUMNS_MAX: usize = 4_096;
/// Bytes of the texts of one column, outside its block.
pub const COLUMN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far a device's clock may run ahead before a reading is refused, in seconds.
pub const CLOCK_AHEAD_S_MAX: u64 = 24 * 3_600;
/// Rows of one day after which an item ends. A pack more may come on top.
pub const ITEM_ROWS_MAX: usize = 2_048;
/// Bytes of an open stream in memory after which its items end. A pack more may come on top.
pub const STREAM_BYTES_MAX: usize = 1024 * 1024;
/// Days of one stream that are open at a time: a device that catches up fills one after another.
pub const STREAM_DAYS_MAX: usize = 8;
/// Names of one stream within an item, units and kinds included; a reading of one more ends it.
pub const ITEM_COLUMNS_MAX: usize = 1_024;

const _: () = assert!(
    ITEM_ROWS_MAX + 2 * muster_schemas::limits::SENML_RECORDS_MAX < BLOCK_ROWS_MAX,
    "an item fits a block"
);
const _: () = assert!(
    ITEM_COLUMNS_MAX + 2 * muster_schemas::limits::SENML_RECORDS_MAX < BLOCK_COLUMNS_MAX,
    "and so do its columns"
);
