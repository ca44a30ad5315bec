//! Bounds of the telemetry store, unit last.

use std::time::Duration;

use muster_broker::store::limits::COMMIT_BYTES_MAX;

/// Most messages of a tenant's log that one step takes.
pub const STEP_MESSAGES_MAX: usize = 1_024;
/// Most bytes of a tenant's log that one step takes, unless a single message is larger.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Most streams of one device; a message on one more is kept out.
pub const STREAMS_PER_DEVICE_MAX: usize = 256;
/// Longest name of a stream, in bytes.
pub const STREAM_BYTES_MAX: usize = 128;
/// Bytes of readings after which a step takes no further message: short messages may hold long readings.
pub const STEP_READINGS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most last readings whose times are remembered in memory, per tenant.
pub const LAST_TIMES_MAX: usize = 65_536;
/// Most names of streams whose places in keys are remembered in memory, per tenant.
pub const BLINDS_MAX: usize = 16_384;
/// Most readings in one page of a range.
pub const RANGE_READINGS_MAX: usize = 1_000;
/// Most readings in one answer to a question for the last ones.
pub const LAST_READINGS_MAX: usize = 10_000;
/// How far a device's clock may run ahead before its readings are no longer taken for the last ones, in seconds.
pub const CLOCK_AHEAD_S_MAX: u64 = 24 * 3_600;
/// Messages kept out in one step that are logged one by one; of the others the log tells the number.
pub const LOGGED_REJECTIONS_MAX: usize = 8;
/// Questions and reports that wait for the telemetry actor at one time: one report for each tenant, and questions.
pub const MAILBOX_MESSAGES_MAX: usize = 16_384;
/// How long a tenant rests after a step that failed.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(
    2 * STEP_READINGS_BYTES_MAX + 8 * 1024 * 1024 < COMMIT_BYTES_MAX,
    "readings, their copies as last ones, and one more message fit a commit"
);
const _: () = assert!(
    MAILBOX_MESSAGES_MAX > crate::registry::limits::TENANTS_MAX,
    "a report for each tenant fits, so that none is lost"
);
const _: () = assert!(STEP_MESSAGES_MAX > 0 && STEP_BYTES_MAX > 0, "a step must be able to take something");
