//! Every bound on the way to a server, unit last.

use std::time::Duration;

/// Longest measurement with its tags and one field's key, in bytes as written: a server keeps 16 bits for its length.
pub const SERIES_BYTES_MAX: usize = 65_535;
/// Room that a server takes of that for its own marks, in bytes.
pub const SERIES_MARKS_BYTES: usize = 16;
/// Longest text in a field, in bytes: what InfluxDB documents as its limit.
pub const TEXT_BYTES_MAX: usize = 65_535;
/// First instant that a server can store, in nanoseconds since 1970 (year 1677); below it are numbers of its own.
pub const TIME_NS_MIN: i64 = i64::MIN + 2;
/// Last instant that a server can store, in nanoseconds since 1970 (year 2262).
pub const TIME_NS_MAX: i64 = i64::MAX - 1;

/// Most lines in one request: what InfluxDB's authors found best.
pub const REQUEST_LINES_MAX: usize = 5_000;
/// Bytes of lines after which a request takes no further line.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Requests that have to go well before one may be twice as large again, after one was too large.
pub const GROWTH_REQUESTS: u32 = 64;
/// Requests about one batch by which lines that a server did not take are looked for; then the rest of what it counted is
/// given up unnamed. The others of such a request are stored, so none of these is sent in vain.
pub const SEARCH_REQUESTS_MAX: u32 = 256;

/// Longest time until a connection stands.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time for a whole request, the answer included.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long an idle connection is kept.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Most of an answer that is read, in bytes; of a longer one the rest is left and the connection closed.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most of what a server says that is kept, in characters.
pub const SAID_CHARS_MAX: usize = 300;
/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Longest name of an organisation or a bucket, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// First wait after a request that failed; each further one is twice as long.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a request that failed.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Longest time for which a server is left alone because it says so; one that asks for more is tried all the same.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// First wait after a server said that it will not have this tenant; each further one is twice as long.
pub const STOPPED_MIN: Duration = Duration::from_secs(15);
/// Longest wait after a server said that it will not have this tenant.
pub const STOPPED_MAX: Duration = Duration::from_secs(300);

/// Names of which a tenant's cutter remembers whether they are sensitive.
pub const VERDICTS_MAX: usize = 16_384;
/// Pieces that the backlog of a tenant is counted in.
pub const BACKLOG_PIECES: u64 = 1_024;

const _: () = assert!(ANSWER_BYTES_MAX > 4 * SAID_CHARS_MAX, "what is kept of an answer was read");
const _: () =
    assert!(REQUEST_LINES_MAX > 0 && REQUEST_BYTES_MAX > 0, "a request must be able to take something");
