//! How much each measurement does at most, and for how long. The hub alone takes less than three minutes, and revocation
//! as much again; beside other brokers it takes about five seconds for each line, broker and round.

use std::time::Duration;

/// Starts of the hub whose time is taken.
pub const STARTS: usize = 10;
/// Starts of the hub at the end, with what the run has stored.
pub const LATE_STARTS: usize = 3;
/// Devices that enrol.
pub const ENROLMENTS: usize = 380;
/// Of these at one time. Each such worker has a loopback address of its own, because the hub bounds what one address may
/// ask for.
pub const ENROLMENTS_AT_ONCE: usize = 8;
/// Devices that publish.
pub const PUBLISHERS: usize = 50;
/// Messages of one publisher that may be on their way.
pub const WINDOW: usize = 32;
/// Telemetry messages of one device, in the measurement with a full window.
pub const TELEMETRY_PER_DEVICE: usize = 8_000;
/// Likewise with one message at a time.
pub const SINGLES_PER_DEVICE: usize = 1_000;
/// Questions of each kind about history.
pub const QUESTIONS: usize = 200;
/// Sessions that are live while somebody is revoked.
pub const LIVE_SESSIONS: usize = 10_000;
/// Devices that are revoked one after another, besides the first one.
pub const REVOKED_DEVICES: usize = 100;
/// Certificates that are issued and revoked for the long list.
pub const LISTED: usize = 100_000;
/// Callers that do so at one time.
pub const LISTED_AT_ONCE: usize = 16;
/// Messages a second while lists are published, and not.
pub const LISTED_RATE: u32 = 5_000;
/// How often each of both is measured, in turn.
pub const LISTED_ROUNDS: usize = 2;
/// How long each time, in seconds.
pub const LISTED_ROUND_S: u32 = 10;
/// While lists are published, another certificate is revoked so often.
pub const LISTED_GAP: Duration = Duration::from_millis(500);
/// How long after a round what was revoked in it may still be published.
pub const LISTED_SETTLE_TIME: Duration = Duration::from_secs(3);
/// Longest answer of the API that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Plain connections that are held at one time.
pub const IDLE_PLAIN: u32 = 9_900;
/// Connections with mutual TLS that are held at one time.
pub const IDLE_TLS: u32 = 10_000;
/// Connections with mutual TLS that are opened and closed.
pub const STORM_TLS: u32 = 2_000;
/// From this share of a processor on, the generator may be what bounds a rate.
pub const GENERATOR_BUSY_PERCENT: f64 = 85.0;
/// Readings that the agent has acknowledged when its memory is looked at.
pub const AGENT_READINGS: usize = 10;
/// Synchronised writes that show what the disk can do.
pub const DISK_WRITES: usize = 200;
/// Size of each, in bytes.
pub const DISK_WRITE_BYTES: usize = 4_096;
/// Bytes of a record of the raw log that is measured for comparison: a message of two readings.
pub const APPENDED_BYTES: usize = 160;
/// How long it is appended to.
pub const APPENDING_TIME: Duration = Duration::from_secs(1);

/// Lines of one request to a store of telemetry.
pub const STORES_LINES: usize = 10_000;
/// How often each store is measured, in turn.
pub const STORES_ROUNDS: usize = 3;

/// Longest wait for a peer to listen.
pub const PEER_START_TIME_MAX: Duration = Duration::from_secs(10);
/// After this time a measurement sends no more; what it has sent is still waited for.
pub const SENDING_TIME_MAX: Duration = Duration::from_secs(12);
/// Longest that a measurement may take; then it is given up.
pub const MEASUREMENT_TIME_MAX: Duration = Duration::from_secs(25);
/// Longest that it may take to make the long list.
pub const LISTING_TIME_MAX: Duration = Duration::from_secs(300);
/// Longest wait for one answer while things are prepared.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(PUBLISHERS <= ENROLMENTS, "who publishes has enrolled");
const _: () = assert!(
    ENROLMENTS.div_ceil(ENROLMENTS_AT_ONCE) < 100 && ENROLMENTS < 400,
    "the hub's allowances for one address and for all are not what is measured"
);
const _: () = assert!(REVOKED_DEVICES < ENROLMENTS, "the hub allows as many to enrol at once");
const _: () = assert!(
    TELEMETRY_PER_DEVICE < 1_000_000 && SINGLES_PER_DEVICE < 1_000_000,
    "readings of two measurements never have the same time"
);
