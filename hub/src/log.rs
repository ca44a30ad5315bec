//! The program's own log, on standard error: for a person on a terminal, JSON otherwise. Not for what a tenant is refused,
//! which is in its audit trail.
//!
//! A thread of its own writes the lines. Whoever reads them may stop reading, and a pipe is full after 64 KiB: the hub goes
//! on, keeps the lines up to a bound, and counts those beyond it.

use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::limits::LOG_LINES_WAITING_MAX;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes the log from here on, for as long as what this returns is kept; then the lines that wait are written.
/// `MUSTER_LOG` or `RUST_LOG` says what is logged; without them, what an operator wants to know.
#[must_use = "the log ends when it is dropped"]
pub fn to_stderr() -> WorkerGuard {
    let filter = EnvFilter::try_from_env("MUSTER_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        // The engine tells every file that it makes, and the HTTP library calls a caller's mistakes errors of ours.
        .unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn,actix_http=off"));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    DROPPED.get_or_init(|| writer.error_counter());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    if io::stderr().is_terminal() {
        log.init()
    } else {
        log.json().init()
    }
    guard
}

/// Lines that were dropped because nobody read those before them.
pub fn lines_dropped() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
