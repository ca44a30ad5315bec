//! How long the simulators wait for things, and how much of other programs' output they keep. Unit last.

use std::time::Duration;

/// Longest wait for a state that should come within a second or two, on a machine that may be busy.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the running demo waits for one app's message before it looks at the next.
pub const FOLLOW_TIME: Duration = Duration::from_millis(250);
/// How often the running demo says how much came in.
pub const FOLLOW_REPORT_TIME: Duration = Duration::from_secs(10);
/// Longest wait for a process to end after it was asked to.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Lines of one process that may wait to be looked at; a process that writes more waits in turn.
pub const LINES_WAITING_MAX: usize = 16_384;
/// Lines kept of each process, for the report when something fails.
pub const LINES_KEPT_MAX: usize = 40_000;
/// How often it is looked whether a process has become quiet.
pub const QUIET_POLL_TIME: Duration = Duration::from_millis(250);
/// Longest wait for that.
pub const QUIET_TIME_MAX: Duration = Duration::from_secs(15);
