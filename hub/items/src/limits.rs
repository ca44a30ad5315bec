//! Every bound of this crate.

/// Patterns of a tenant for sensitive fields. More are refused when they are set.
pub const SENSITIVE_PATTERNS_MAX: usize = 256;
/// Bytes of one such pattern.
pub const SENSITIVE_PATTERN_BYTES_MAX: usize = 256;
