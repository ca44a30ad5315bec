//! Bounds of everything this agent reads, keeps or waits for, unit last.

use std::time::Duration;

/// Longest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 * 1_024;
/// Longest file of root certificates, in bytes.
pub const ROOT_BYTES_MAX: u64 = 256 * 1_024;
/// Longest file in the state directory, in bytes: a leaf and four certificates above it, in PEM.
pub const STATE_FILE_BYTES_MAX: u64 = 32 * 1_024;
/// Longest file under `/proc` or `/sys` that is read, in bytes.
pub const SOURCE_BYTES_MAX: u64 = 256 * 1_024;

/// Most files that are measured beside the agent itself.
pub const MEASURED_FILES_MAX: usize = 24;
/// Most events that the agent keeps of its own register; then nothing more is measured until the machine restarts.
pub const MEASURED_EVENTS_MAX: usize = 48;
/// Longest log of the firmware that is read, in bytes.
pub const FIRMWARE_LOG_BYTES_MAX: u64 = 1_024 * 1_024;
/// Most events of it that are read.
pub const FIRMWARE_EVENTS_MAX: usize = 4_096;

/// Shortest pause between two readings.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longest pause between two readings.
pub const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// Most fixed texts in the stream `labels`.
pub const LABELS_COUNT_MAX: usize = 32;
/// Longest fixed text, in bytes.
pub const LABEL_TEXT_BYTES_MAX: usize = 256;
/// Longest name of a fixed text, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Pause between two publications of the fixed texts.
pub const LABELS_INTERVAL: Duration = Duration::from_secs(60);
/// Most streams whose keys to seal to are named one by one.
pub const SEALED_STREAMS_MAX: usize = 64;
/// Most thermal zones that are looked at.
pub const THERMAL_ZONES_COUNT_MAX: usize = 32;

/// Most readings kept until the hub has acknowledged them. When full, the oldest that waits is dropped and counted.
pub const SPOOL_READINGS_MAX: usize = 8_192;
/// Most bytes of payload kept likewise.
pub const SPOOL_BYTES_MAX: usize = 2 * 1_024 * 1_024;
/// Longest payload of one reading, in bytes; a longer one is dropped and counted.
pub const READING_BYTES_MAX: usize = 16 * 1_024;
/// Most readings that are sent and not acknowledged. The hub may allow fewer.
pub const IN_FLIGHT_READINGS_MAX: u16 = 64;
/// A hub that leaves a reading unacknowledged for this long is left, and tried again.
pub const ACKNOWLEDGE_TIME_MAX: Duration = Duration::from_secs(30);

/// First pause after a lost connection; it doubles, with jitter, up to the next.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest pause between two attempts to connect.
pub const RETRY_MAX: Duration = Duration::from_secs(10);
/// First pause after the hub has refused: a person has to act.
pub const REFUSED_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause after the hub has refused.
pub const REFUSED_RETRY_MAX: Duration = Duration::from_secs(60);
/// Longest pause that a hub may ask for, such as while a person decides.
pub const PENDING_RETRY_MAX: Duration = Duration::from_secs(3_600);
/// Sessions that the hub refuses in a row before the certificate is taken to be the reason.
pub const SESSION_REFUSALS_MAX: u32 = 3;

/// Longest wait for TCP and TLS.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a frame of the hub while enrolling.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest wait for CONNACK.
pub const CONNACK_TIME_MAX: Duration = Duration::from_secs(15);
/// Pause between two pings on a quiet session.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest MQTT packet that the hub may send, in bytes.
pub const INCOMING_PACKET_BYTES_MAX: u32 = 64 * 1_024;
/// Longest wait for the last words of a connection that is over.
pub const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest wait for a session to close.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest wait at the end of the program for readings to be acknowledged.
pub const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);

/// Shortest life of a certificate that is believed: a hub that says less does not make the agent renew in a loop.
pub const RENEW_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest: a clock that is wrong does not keep the agent from renewing.
pub const RENEW_AFTER_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Names tried for the folder of the relay's socket.
pub const SOCKET_FOLDER_TRIES_MAX: u32 = 100;

const _: () = assert!(
    (IN_FLIGHT_READINGS_MAX as usize) < SPOOL_READINGS_MAX
        && IN_FLIGHT_READINGS_MAX as usize * READING_BYTES_MAX < SPOOL_BYTES_MAX,
    "what is in flight never fills the spool, so there is always one that waits to be dropped"
);
const _: () = assert!(RETRY_FIRST.as_millis() <= 200, "a hub that comes back is found quickly");

const _: () = assert!(
    MEASURED_FILES_MAX + 1 < MEASURED_EVENTS_MAX,
    "everything is measured once, and there is room for updates"
);
const _: () = assert!(
    MEASURED_EVENTS_MAX <= muster_schemas::limits::ENROLMENT_EVENTS_MAX,
    "the agent's own log fits a frame"
);
/// Longest file with a firmware authority's public key, in bytes.
pub const AUTHORITY_BYTES_MAX: u64 = 4 * 1_024;
/// Longest staged approval of firmware, in bytes.
pub const APPROVAL_BYTES_MAX: u64 = 1_024;
/// Most approvals that are looked at for one signature, the newest. Two are needed: of this release, and of the next.
pub const APPROVALS_MAX: usize = 16;
/// How often the hub is asked for its trust object, give or take a fifth.
pub const TRUST_FETCH_TIME: Duration = Duration::from_secs(3_600);
/// When it is asked again after it could not be reached, give or take a fifth.
pub const TRUST_RETRY_TIME: Duration = Duration::from_secs(60);
/// Most files that are looked at in the folder of approvals.
pub const APPROVAL_FILES_MAX: usize = 1_024;

/// Most words of a command in `[firmware]`.
pub const COMMAND_ARGUMENTS_MAX: usize = 32;
/// How long a new image has to show that it is well, unless told otherwise.
pub const TRIAL_TIME: Duration = Duration::from_secs(300);
/// The longest that may be told.
pub const TRIAL_TIME_MAX: Duration = Duration::from_secs(86_400);
/// How long an image may take to arrive, unless told otherwise.
pub const DOWNLOAD_TIME: Duration = Duration::from_secs(86_400);
/// The longest that may be told.
pub const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// How long a block is that is asked for, in bytes: eight make a window.
pub const FIRMWARE_BLOCK_BYTES: u32 = 8 * 1_024;
/// Most blocks that wait for the thread that writes them. What comes beyond is dropped, and asked for again.
pub const FIRMWARE_BLOCKS_MAX: usize = 16;
/// Most acknowledgements and signs of health that wait for it. The oldest goes: it is told again at the next connection.
pub const FIRMWARE_NEWS_MAX: usize = 64;
/// Requests for blocks that may wait for the client. The next is made when blocks of the last came, or after 5 seconds
/// and more; a session on which nothing leaves is over before there are so many.
pub const FIRMWARE_REQUESTS_MAX: usize = 8;
/// Most of what is said of firmware that waits for the uplink to start.
pub const FIRMWARE_EARLY_MAX: usize = 16;
/// Longest record of roots, state and updates that the agent keeps, in bytes.
pub const FIRMWARE_RECORD_BYTES_MAX: usize = 16 * 1_024;
/// Ends that were told and not heard; with more of them the oldest is told again at the next connection.
pub const FIRMWARE_ENDS_MAX: usize = 8;
/// Accepted manifests that are remembered until one runs: the one under way, and the one that waits for it.
pub const FIRMWARE_ACCEPTED_MAX: usize = 2;
/// Longest file that says which version an image is, in bytes.
pub const VERSION_FILE_BYTES_MAX: u64 = 4 * 1_024;

const _: () = assert!(
    FIRMWARE_BLOCKS_MAX * FIRMWARE_BLOCK_BYTES as usize
        >= muster_schemas::limits::UPDATE_WINDOW_BYTES_MAX as usize,
    "a whole window may wait"
);
