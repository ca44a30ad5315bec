//! Bounds of one export, unit last.

/// Most columns of a wide file.
pub const COLUMNS_MAX: usize = 1_024;
/// Places of a table that are gathered before they are written: half a mebibyte of numbers.
pub const BATCH_CELLS_MAX: usize = 65_536;
/// Bytes of texts that are gathered before they are written.
pub const BATCH_TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one row group of a Parquet file: it is held in memory until it is whole.
pub const ROW_GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Row groups times columns of a Parquet file: its foot tells about each, and is held in memory until the end.
pub const COLUMN_CHUNKS_MAX: usize = 131_072;

const _: () = assert!(BATCH_CELLS_MAX > COLUMNS_MAX, "a batch has at least one row");

/// Most entries of a page.
pub const PAGE_ENTRIES_MAX: usize = 10_000;
/// Bytes of JSON after which a page takes no further entry.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest cursor that is looked at, in bytes.
pub const CURSOR_BYTES_MAX: usize = 4_096;
