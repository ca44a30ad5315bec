//! Bounds of those who ask, unit last.

use std::time::Duration;

/// Questions that are answered at one time.
pub const QUESTIONS_MAX: usize = 8;
/// Those of one tenant. The next waits, and leaves room for another tenant's.
pub const QUESTIONS_TENANT_AT_ONCE_MAX: usize = 4;
/// Questions of one tenant that are answered or wait. One more is refused as busy.
pub const QUESTIONS_TENANT_MAX: usize = 32;
/// Exports and lines that are written at one time.
pub const EXPORTS_MAX: usize = 8;
/// Those of one tenant. One more is refused as busy.
pub const EXPORTS_TENANT_MAX: usize = 4;
/// Bytes of one piece of an export.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Pieces that wait for whoever reads. Then writing waits.
pub const PIECES_WAITING_MAX: usize = 4;
/// How long writing waits for a reader that does not read. Then the export is given up.
pub const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// Readings, windows and groups of a page, if nothing is said.
pub const PAGE_ENTRIES: usize = 1_000;
/// Bytes of JSON after which an answer over HTTPS takes no further entry.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of JSON after which an answer over MQTT takes no further entry: most clients take as much.
pub const MQTT_PAGE_BYTES_MAX: usize = 128 * 1024;

const _: () = assert!(
    MQTT_PAGE_BYTES_MAX < muster_broker::limits::OUTBOX_DELIVERIES_BYTES_MAX,
    "an answer fits what a session has unwritten, or it would be dropped"
);
const _: () = assert!(QUESTIONS_TENANT_AT_ONCE_MAX < QUESTIONS_MAX, "one tenant leaves room for another");
const _: () = assert!(EXPORTS_TENANT_MAX < EXPORTS_MAX, "one tenant leaves room for another");
