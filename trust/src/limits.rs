//! Every bound of trust, unit last.

/// Length of a serial number that our authorities give, in bytes (RFC 5280 §4.1.2.2 allows 20).
pub const SERIAL_BYTES: usize = 16;
/// Largest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Most tenants that one server certificate may name: 128 of 63 characters are 8 KiB, half of the largest certificate.
pub const TENANTS_NAMED_MAX: usize = 128;
/// Most authorities of one role that are trusted at the same time: the present one, and those whose leaves still live.
pub const GENERATIONS_MAX: u32 = 8;
