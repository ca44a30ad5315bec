//! Bounds of enrolment, unit last.

use std::time::Duration;

/// Most exchanges that wait for their second frame, first enrolments and renewals each; one takes about two kilobytes.
pub const SESSIONS_MAX: usize = 4_096;
/// How long an exchange waits for its second frame.
pub const SESSION_TTL: Duration = Duration::from_secs(60);
/// How long an exchange is remembered after that, so that a late answer is told that it is late.
pub const SESSION_REMEMBERED: Duration = Duration::from_secs(60);
/// How long a connection waits for a frame, and for the peer to take one.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection waits for the actor's answer.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a connection waits for the peer to close after the last frame.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Most frames that a peer may send on one connection: two round trips, and one for a second try.
pub const FRAMES_PER_CONNECTION_MAX: usize = 4;
/// Connections that enrol at one time.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Frames that wait for the actor at one time.
pub const MAILBOX_MESSAGES_MAX: usize = CONNECTIONS_MAX;

/// First enrolments that may begin at once, hub-wide.
pub const BEGINS_BURST: u32 = 400;
/// First enrolments that may begin, hub-wide, per second.
pub const BEGINS_PER_S: u32 = 200;
/// First enrolments that may begin at once from one source address: a factory or a site behind one router.
pub const SOURCE_BEGINS_BURST: u32 = 100;
/// First enrolments that may begin from one source address, per second.
pub const SOURCE_BEGINS_PER_S: u32 = 20;
/// Renewals that may begin at once, hub-wide. They have their own share, which strangers cannot use up.
pub const RENEWALS_BURST: u32 = 800;
/// Renewals that may begin, hub-wide, per second.
pub const RENEWALS_PER_S: u32 = 300;
/// Most source addresses that are watched one by one; those beyond share one allowance.
pub const SOURCES_MAX: usize = 8_192;

/// Renewal begins at half the life of a certificate, give or take this share of it, in per cent.
pub const RENEWAL_JITTER_PERCENT: u64 = 10;
/// Longest detail of a refusal, in bytes.
pub const DETAIL_BYTES_MAX: usize = 512;

const _: () = assert!(SOURCE_BEGINS_BURST < BEGINS_BURST, "one source must not use up what is for all");

/// After how many seconds a device in quarantine asks again.
pub const RECOVER_AGAIN_S: u32 = 60;
