//! Bounds of screening, unit last.

use std::time::Duration;

/// Most devices whose series and pace are known, of the hub. Of one more, each session begins anew, and its pace is not
/// learned.
pub const DEVICES_MAX: usize = 200_000;
/// How long a device that has no session and says nothing is known, in milliseconds.
pub const FORGET_MS: u64 = 24 * 3_600 * 1_000;
/// Dead letters about one device in one window; the others are counted by their number.
pub const LETTERS_PER_WINDOW_MAX: u32 = 10;
/// The window, in milliseconds.
pub const LETTER_WINDOW_MS: u64 = 10_000;
/// How much of a payload a dead letter repeats, in bytes.
pub const LETTER_PAYLOAD_BYTES_MAX: usize = 1_024;
/// Devices of a tenant that begin to be odd in the same way in one tick and have an alarm each; if there are more, one
/// alarm of the tenant counts them.
pub const ALARMS_PER_TICK_MAX: usize = 16;
/// How many of these that one alarm names.
pub const NAMED_IN_ALARM_MAX: usize = 3;
/// How often the pace of devices is looked at.
pub const TICK: Duration = Duration::from_millis(muster_screen::limits::TICK_MS);
/// Devices that are looked at in one go, while sessions that open wait.
pub const TICK_SLICE_DEVICES: usize = 4_096;

const _: () = assert!(NAMED_IN_ALARM_MAX < ALARMS_PER_TICK_MAX, "one alarm says less than one for each");
