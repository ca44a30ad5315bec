//! Every bound of the device interface, in one place.

/// Bytes of a body. A longer one is refused, 413.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a path, with its query. A longer one is no path of ours, 404.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Bytes of a header that is read here. A longer one is treated as absent.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Lines of a report that are kept: swupdate sends up to 48 of its log. Those that follow are counted.
pub const DETAILS_MAX: usize = 64;
/// Bytes of one line; the rest is cut.
pub const DETAIL_BYTES_MAX: usize = 512;
/// Attributes of one message: those that follow are counted and left out.
pub const ATTRIBUTES_MAX: usize = 100;
/// Characters of the name of an attribute, and of its value: longer ones are counted and left out.
pub const ATTRIBUTE_CHARS_MAX: usize = 128;
/// Characters of a version that a device states.
pub const VERSION_CHARS_MAX: usize = 64;
/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 128;
/// Characters of a token of a device that the hub makes.
pub const TARGET_TOKEN_CHARS: usize = 32;
/// Seconds between two polls: hawkBit's format ends there.
pub const SLEEP_S_MAX: u32 = 86_399;
/// Seconds between two polls at least, if nothing else was set.
pub const SLEEP_S_MIN: u32 = 30;
/// Polls between now and the begin of a window.
pub const POLLS_BEFORE_WINDOW: u32 = 3;
/// Messages of an action's history in one answer.
pub const HISTORY_MAX: usize = 50;
/// Chunks of an action, artifacts of a chunk.
pub const CHUNKS_MAX: usize = 16;
