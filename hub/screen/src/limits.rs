//! Bounds of what is screened, unit last.

/// Most series of a device, unless its tenant's quotas say otherwise: pairs of a stream and a name in it. A reading of one
/// more is refused.
pub const SERIES_PER_DEVICE_MAX: usize = 4_096;
/// Most series that quotas may give a device: they are found by halves, and a new one moves those behind it.
pub const SERIES_PER_DEVICE_MAX_MAX: usize = 65_536;
/// Most streams of a device, unless its tenant's quotas say otherwise. A message of one more is refused, and the telemetry
/// store keeps out what comes past the door.
pub const STREAMS_PER_DEVICE_MAX: usize = 256;
/// Most streams that quotas may give a device.
pub const STREAMS_PER_DEVICE_MAX_MAX: usize = 4_096;
/// Most series of all devices of a tenant together, unless its quotas say otherwise.
pub const SERIES_PER_TENANT_MAX: u64 = 1_000_000;
/// How far ahead of its receipt a reading may be, in seconds. The telemetry store has the same bound.
pub const AHEAD_S_MAX: u64 = 24 * 3_600;
/// Refused readings of a message that are told one by one; the others are counted.
pub const TOLD_REFUSALS_MAX: usize = 8;
/// Most rules of a tenant's schema.
pub const RULES_MAX: usize = 512;
/// Most units that a tenant adds to those that are registered.
pub const OWN_UNITS_MAX: usize = 64;
/// Longest text of a rule, in bytes.
pub const RULE_TEXT_BYTES_MAX: usize = 256;

/// How often a device's pace is looked at, in milliseconds.
pub const TICK_MS: u64 = 10_000;
/// Ticks with messages that a device is watched before a rate of it is odd.
pub const LEARNED_TICKS_MIN: u32 = 12;
/// How many ticks the expected rate goes back: each new one counts for one of so many.
pub const RATE_TICKS: f64 = 32.0;
/// How many times the usual rate is a flood.
pub const FLOOD_FACTOR: f64 = 8.0;
/// Messages in a tick that are no flood, whatever is usual.
pub const FLOOD_MESSAGES_MIN: f64 = 100.0;
/// Ticks in a row that make a flood, and that end one.
pub const FLOOD_TICKS: u8 = 3;
/// Ticks after which a flood is what is usual: an hour.
pub const FLOOD_TICKS_MAX: u32 = 360;
/// How many times the longest usual gap is silence.
pub const SILENT_FACTOR: u64 = 4;
/// The shortest silence, in milliseconds.
pub const SILENT_MS_MIN: u64 = 60_000;
/// Of how many parts of it the longest usual gap loses one with each that is shorter.
pub const GAP_FADES: u64 = 64;

const _: () = assert!(SERIES_PER_DEVICE_MAX <= SERIES_PER_DEVICE_MAX_MAX, "what is usual may be said");
const _: () = assert!(STREAMS_PER_DEVICE_MAX <= STREAMS_PER_DEVICE_MAX_MAX, "what is usual may be said");
const _: () = assert!(SILENT_MS_MIN >= 3 * TICK_MS, "a silence is longer than what a tick cannot tell apart");
const _: () = assert!(RULES_MAX < u16::MAX as usize, "a series remembers its rule in two bytes");
