//! Load for any MQTT broker: messages as fast as it delivers them or at a fixed rate, and connections.
//!
//! One thread does it all, with readiness and large reads and writes, so that on a small machine the broker is what is
//! measured. Every payload says who sent it and as which message, so that what is lost, doubled or out of order is
//! counted. The broker is looked at from outside, by its process id.

pub mod cost;
pub mod dial;
pub mod ledger;
pub mod link;
pub mod opening;
pub mod options;
pub mod poll;
pub mod publisher;
pub mod report;
pub mod storm;
pub mod subscriber;
pub mod traffic;
pub mod wire;

use std::io;

use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use self::{
    options::{LoadOptions, Protocol, Scenario},
    report::{Quantiles, Report},
};

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A connection or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The broker does not speak MQTT.
    #[error(transparent)]
    Malformed(#[from] wire::Malformed),
    /// The broker refused something.
    #[error("the broker refused {what} with code 0x{code:02x}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its code.
        code: u8,
    },
    /// A packet that has no place here.
    #[error("the broker sent a packet of type {0} that has no place here")]
    Unexpected(u8),
    /// Nothing came in time.
    #[error("the broker gave no {0} in {limit} s", limit = opening::OPEN_TIME_MAX.as_secs())]
    Silent(&'static str),
    /// The histogram's bounds make no sense.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Runs one load.
///
/// # Errors
/// A connection failed, or the broker refused something.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    allow_files();
    match options.scenario {
        Scenario::FanIn | Scenario::FanOut | Scenario::Pairs | Scenario::Latency => traffic::run(options),
        Scenario::Storm | Scenario::Idle => storm::run(options),
    }
}

/// Times in nanoseconds, up to a minute, with three digits.
fn histogram() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    const MINUTE_NS: u64 = 60_000_000_000;
    Histogram::new_with_bounds(1, MINUTE_NS, 3)
}

/// Lets this process, and what it starts, open as many files as the system allows it.
pub fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If it is refused, so will be the connection that is one too many, which says so.
    let _ = setrlimit(Resource::Nofile, raised);
}
