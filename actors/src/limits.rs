//! Bounds of this crate, unit last in the name.

use std::time::Duration;

/// How much of a panic's text is kept in an exit. A panic may format a whole packet; a log line must not.
pub const PANIC_TEXT_BYTES_MAX: usize = 1024;

/// Delay before the first restart of [`Plan::default`](crate::policy::Plan).
pub const RESTART_DELAY_FIRST: Duration = Duration::from_millis(100);

/// Longest delay before a restart of [`Plan::default`](crate::policy::Plan).
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);

/// Restarts that [`Plan::default`](crate::policy::Plan) allows within [`RESTART_WINDOW`].
pub const RESTARTS_MAX: u32 = 5;

/// The window in which [`Plan::default`](crate::policy::Plan) counts restarts.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);
