//! Bounds of the witness, unit last.

/// Most devices whose refusals are remembered, of those that showed a certificate of ours, and again of those that
/// only gave a name: strangers cannot push out what the fleet is told.
pub const DEVICES_MAX: usize = 4_096;
/// Most refusals remembered of one device; equal ones, one after the other, are one with a count.
pub const REFUSALS_MAX: usize = 8;
/// Longest text that is kept of a refusal, in bytes.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 512;
/// Most refusals in one answer, those of the bus included.
pub const REFUSALS_SHOWN_MAX: usize = 20;
