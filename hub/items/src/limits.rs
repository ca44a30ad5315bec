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
