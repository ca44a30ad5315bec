//! Bounds of the telemetry store, unit last. Those of items are with them.

use std::time::Duration;

use muster_broker::store::limits::COMMIT_BYTES_MAX;

/// Most messages of a tenant's log that one step takes.
pub const STEP_MESSAGES_MAX: usize = 1_024;
/// Most bytes of a tenant's log that one step takes, unless a single message is larger.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Longest name of a stream, in bytes.
pub const STREAM_BYTES_MAX: usize = 128;
/// Bytes of rows that ended after which a step takes no further message: short messages may hold long readings.
pub const STEP_ENDED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Memory for readings that are not stored yet, of all tenants, in bytes. Beyond it the largest streams are stored.
pub const OPEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of ended rows that go to the disk in one commit, unless one stream has more.
pub const FLUSH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Devices of a tenant whose last place is remembered.
pub const CELLS_MAX: usize = 65_536;
/// Between looks at what is open for long.
pub const TICK: Duration = Duration::from_secs(10);
/// Ticks after which readings are stored, however few they are: a quarter of an hour.
pub const OPEN_TICKS_MAX: u64 = 90;
/// Messages of a log that may be behind its end and still needed for readings that are not stored.
pub const BEHIND_MESSAGES_MAX: u64 = 262_144;
/// Messages that were read and left nothing open, after which the place in the log is stored.
pub const CURSOR_BEHIND_MAX: u64 = 1_024;
/// A block of fewer sealed bytes is short: it is joined with what comes after it on the same day.
pub const SHORT_BLOCK_BYTES_MAX: usize = 24 * 1024;
/// Rows of the largest block that joining makes.
pub const JOINED_ROWS_MAX: usize = 8_192;
/// How much larger than what comes a short block may be to be joined with it: so each row is written a few times at most.
pub const JOINED_TIMES_MAX: usize = 4;
/// Blocks that are joined at a time.
pub const JOINED_BLOCKS_MAX: usize = 8;
/// Rows of blocks that overlap in time and are woven together; more of them are shown in several pieces.
pub const WOVEN_ROWS_MAX: usize = 262_144;
/// Blocks of one stream that are looked through for the last readings that somebody may see.
pub const LAST_BLOCKS_MAX: usize = 512;
/// Damaged places that the answer to one question names.
pub const DAMAGE_NAMED_MAX: usize = 8;
/// Readings of a store of yesterday that are turned into blocks in one commit.
pub const CONVERTED_ROWS_MAX: usize = 16_384;
/// Messages kept out in one step that are logged one by one; of the others the log tells the number.
pub const LOGGED_REJECTIONS_MAX: usize = 8;
/// Questions and reports that wait for the telemetry actor at one time: one report for each tenant, and questions.
pub const MAILBOX_MESSAGES_MAX: usize = 16_384;
/// How long the hub waits, when it stops, for what is open to be stored. What is not is in the logs.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);
/// Rules of a tenant for how long streams are kept.
pub const KEEP_RULES_MAX: usize = 64;
/// Old blocks that one commit removes.
pub const KEEP_DELETES_MAX: usize = 512;
/// Ticks between looks at what is old: an hour.
pub const KEEP_TICKS: u64 = 360;
/// How long a tenant rests after a step that failed.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(
    STEP_ENDED_BYTES_MAX + FLUSH_BYTES_MAX + 8 * 1024 * 1024 < COMMIT_BYTES_MAX,
    "what ended fits a commit, also where nothing can be compressed"
);
const _: () = assert!(OPEN_BYTES_MAX / 4 <= 2 * FLUSH_BYTES_MAX, "room is made in few commits");
const _: () = assert!(
    MAILBOX_MESSAGES_MAX > crate::registry::limits::TENANTS_MAX,
    "a report for each tenant fits, so that none is lost"
);
const _: () = assert!(STEP_MESSAGES_MAX > 0 && STEP_BYTES_MAX > 0, "a step must be able to take something");
