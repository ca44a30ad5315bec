//! How many clients torture the hub, and how long it may take for what. Unit last.

use std::time::Duration;

/// Topics of each publisher; the even ones are published to at QoS 1, the odd ones at QoS 2.
pub const TOPICS_PER_PUBLISHER: u8 = 4;
/// Devices that publish telemetry.
pub const SENSORS: usize = 3;
/// Rows of a pack, two readings each.
pub const PACK_ROWS: u64 = 16;
/// Packs of a device that are on their way at once.
pub const SENSOR_WINDOW: usize = 8;
/// Packs that a device says in one connection, so that what is kept of all can be read in the end.
pub const SENSOR_PACKS_PER_LIFE: u32 = 40;
/// Largest padding of a payload, in bytes; one in eight may have so much, so that the engine moves on from one journal to
/// the next several times in a long run.
pub const PADDING_BYTES_MAX: u64 = 30_000;
/// Messages that may be published before subscribers have seen them: the load waits above it, so that a slow machine is
/// not buried. Retention is far above it.
pub const BACKLOG_MESSAGES_MAX: u64 = 4_000;
/// How long a client waits for packets before it looks around.
pub const READ_TIME: Duration = Duration::from_millis(5);
/// Longest wait for a connection's CONNACK. Then the client tries again.
pub const CONNACK_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause before another attempt to connect.
pub const RECONNECT_TIME: Duration = Duration::from_millis(2);
/// Longest absence of a client that goes by itself.
pub const ABSENCE_TIME_MAX: Duration = Duration::from_millis(400);
/// Shortest and longest life of the hub.
pub const LIFE_TIME_MIN: Duration = Duration::from_millis(20);
/// See [`LIFE_TIME_MIN`]. One life in eight may be this much longer.
pub const LIFE_TIME_MAX: Duration = Duration::from_millis(350);
/// Longest life, so that the hub gets to what it does rarely: it writes the queues of sessions once a second.
pub const LONG_LIFE_TIME_MAX: Duration = Duration::from_millis(2_500);
/// Longest start that is cut short.
pub const STUMBLE_TIME_MAX: Duration = Duration::from_millis(60);
/// Longest time without any progress, at the end, before what is missing is held to be lost.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(15);
/// How long everything must have been over before late duplicates are no longer waited for.
pub const QUIET_TIME: Duration = Duration::from_millis(700);
/// Violations that are told; more are counted.
pub const VIOLATIONS_TOLD_MAX: usize = 40;
/// Events kept for the post mortem; the oldest go.
pub const HISTORY_EVENTS_MAX: usize = 500_000;
/// What a disk writes at once or not at all, in bytes.
pub const PAGE_BYTES: u64 = 4_096;
