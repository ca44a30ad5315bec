//! What the programs cost on this machine, and the hub beside other brokers: the real programs as processes, measured
//! from outside. Not a test: nothing here holds or fails by a number.
//!
//! ```text
//!   load ── publish, subscribe, come and go ──▶ hub, FlashMQ, rumqttd, ... in turn ◀──┐
//!   fleet (soft keys) ── enrol, publish ──────▶ hub ◀────────────────────────────────┼── gauge (/proc) ──▶ page
//!   muster-edge with swtpm ───────────────────▶ hub ◀────────────────────────────────┘
//! ```

mod alone;
mod api;
mod authority;
mod crowd;
pub mod fleet;
mod history;
pub mod limits;
mod machine;
mod page;
mod peer;
mod pin;
mod plant;
mod revocation;
mod sample;
mod stores;
mod telemetry;
mod versus;

use std::{fs, io, io::Write, path::PathBuf};

use muster_edge::{enrolment::ExchangeError, tls::TlsError};
use muster_tpm::{keys::KeyError, manufacturer::SimulatedManufacturer};
use tokio::task::JoinError;

use self::{
    alone::Alone,
    limits::{ANSWER_TIME_MAX, MEASUREMENT_TIME_MAX},
    machine::Machine,
    revocation::Revocations,
    versus::Versus,
};
use crate::{
    chip::{ChipError, publish_root},
    hub::HubError,
    limits::QUIET_TIME_MAX,
    load::LoadError,
    process::ProcessError,
};

/// The tenant that everything is measured in.
const TENANT: &str = "acme";
/// A second one, because a hub with one tenant is no hub.
const NEIGHBOUR: &str = "globex";

/// Why a measurement did not take place.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The hub or its command line.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A peer.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The hub said nothing where something was due.
    #[error("the hub gave no {0} within {limit_s} s", limit_s = ANSWER_TIME_MAX.as_secs())]
    Silent(&'static str),
    /// A simulated chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// Soft keys.
    #[error("failed to make soft keys: {0}")]
    Key(#[from] KeyError),
    /// An enrolment.
    #[error("failed to {0}")]
    Exchange(#[from] ExchangeError),
    /// TLS of a client.
    #[error("failed to {0}")]
    Tls(#[from] TlsError),
    /// TLS of a client, said by the library.
    #[error("failed to use TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The operating system.
    #[error("failed to use the system: {0}")]
    System(#[from] io::Error),
    /// A task of the load ended by a panic.
    #[error("a task of the load failed: {0}")]
    Task(#[from] JoinError),
    /// It took too long.
    #[error("given up: it took more than {} s", MEASUREMENT_TIME_MAX.as_secs() + QUIET_TIME_MAX.as_secs())]
    TooSlow,
    /// Something else that should not be.
    #[error("{0}")]
    Odd(String),
}

/// A part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The hub beside other brokers.
    Versus,
    /// What is of the hub alone.
    Alone,
    /// Telemetry from SenML to sealed blocks and back.
    History,
    /// Revocation with thousands of live sessions, and the long list.
    Revocation,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Where to write the page; without it, it is printed.
    pub write: Option<PathBuf>,
    /// The date that the page says, if any.
    pub date: Option<String>,
    /// How often each broker is measured on each line.
    pub rounds: usize,
    /// How long each time, in seconds.
    pub seconds: f64,
    /// One part of the page instead of both.
    pub only: Option<Part>,
}

/// Measures everything and writes the page, telling each section as it comes.
///
/// # Errors
/// A program is missing, or a measurement did not take place: then no page is written.
pub fn run(options: &BenchOptions, out: &mut dyn Write) -> Result<(), BenchError> {
    let folder = tempfile::Builder::new().prefix("muster-bench-").tempdir()?;
    let machine = Machine::look(folder.path());
    let manufacturer = SimulatedManufacturer::well_known()?;
    let root = publish_root(&manufacturer, folder.path())?;
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut sections = Vec::new();
    if wants(Part::Versus) {
        let mut versus = Versus::prepare(folder.path(), &root, options.rounds, options.seconds)?;
        sections.push(versus.measure(out)?);
    }
    if wants(Part::History) {
        sections.extend(history::measure(&folder.path().join("history"), out)?);
        sections.push(stores::measure(&folder.path().join("history"), out)?);
    }
    if wants(Part::Revocation) {
        let revocations = Revocations::prepare(&folder.path().join("revocation"), &root, &manufacturer)?;
        sections.extend(revocations.measure(out)?);
    }
    if wants(Part::Alone) {
        let alone = Alone::prepare(&folder.path().join("alone"), &root, manufacturer)?;
        sections.extend(alone.measure(out)?);
    }
    let page = page::render(&machine, options.date.as_deref(), &sections);
    match &options.write {
        Some(path) => {
            fs::write(path, page)?;
            writeln!(out, "written to {}", path.display())?;
        }
        None => write!(out, "{page}")?,
    }
    Ok(())
}
