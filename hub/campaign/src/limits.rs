//! Bounds of campaigns, unit last.

/// Most devices of a campaign, those that join later among them.
pub const DEVICES_MAX: usize = 1_000_000;
/// Most devices that one record brings in: 10,000 ids of 64 bytes are far below what one commit holds.
pub const MEMBERS_PER_RECORD_MAX: usize = 10_000;
/// Most waves of a plan. A device's cell names its wave in one byte.
pub const WAVES_MAX: usize = 64;
/// Most failure thresholds of a wave, and of a campaign. Each is asked on every event.
pub const THRESHOLDS_MAX: usize = 4;
/// Most maintenance windows of a plan.
pub const WINDOWS_MAX: usize = 16;
/// Most time zones of a campaign's devices: there are about 600 names.
pub const ZONES_MAX: usize = 1_024;
/// Longest name of a campaign, of a wave, of a time zone, of a person, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most people who worked on one plan. None of them may approve it.
pub const AUTHORS_MAX: usize = 64;

/// Longest text of a selection, in bytes.
pub const QUERY_BYTES_MAX: usize = 2_048;
/// Most terms of a selection; each is asked of each device.
pub const QUERY_TERMS_MAX: usize = 64;
/// Most brackets and negations within one another in a selection.
pub const QUERY_DEPTH_MAX: usize = 16;

/// Longest deadline, soak time or backoff, in seconds: a year.
pub const DEADLINE_S_MAX: u32 = 366 * 24 * 3_600;
/// Most attempts of a device. A cell counts them in one byte.
pub const ATTEMPTS_MAX: u8 = 20;
/// Most offers in a minute.
pub const RATE_PER_MINUTE_MAX: u32 = 1_000_000;
/// Longest maintenance window, in minutes: a week.
pub const WINDOW_MIN_MAX: u16 = 7 * 24 * 60;

/// Offers that one event may bring forth; the rest follows at the next tick, which is due at once.
pub const OFFERS_PER_EVENT_MAX: usize = 1_024;
/// Devices that are looked at in one event to find those.
pub const LOOKED_AT_PER_EVENT_MAX: usize = 8_192;

/// How long the engine may hear nothing, not even a tick, in milliseconds. Of a longer gap only this much counts against
/// the deadlines of devices: the hub was away, or its clock was set, and neither is silence of theirs.
pub const GAP_MS_MAX: u64 = 300_000;
/// How often a campaign wants a tick when nothing else is due, in milliseconds.
pub const HEARTBEAT_MS: u64 = 120_000;

const _: () = assert!(HEARTBEAT_MS * 2 < GAP_MS_MAX, "a heartbeat that is late once is no gap");
const _: () = assert!(WAVES_MAX <= u8::MAX as usize, "a cell names its wave in one byte");
const _: () = assert!(ZONES_MAX <= u16::MAX as usize, "a cell names its zone in two bytes");
