//! The kill test: a hub under QoS 1 and 2 load from clients with persistent sessions is killed at random moments and
//! started again, and nothing acknowledged may be lost, doubled at QoS 2, or out of order. Not for speed.
//!
//! ```text
//!   publishers ──▶ hub ──▶ subscribers      each with the state that a client keeps over connections
//!        │          ▲           │
//!        └──────▶ ledger ◀──────┘ ──▶ judge
//!                   │ kill -9, power cut, start
//! ```

pub mod cast;
pub mod chance;
pub mod client;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod publisher;
pub mod report;
pub mod subscriber;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use clap::Args;
use muster_tpm::{keys::KeyError, manufacturer::SimulatedManufacturer};
use tempfile::TempDir;

pub use self::report::Report;
use self::{
    chance::Chance,
    client::{Client, Field, Phase, wait},
    limits::{
        LIFE_TIME_MAX, LIFE_TIME_MIN, LONG_LIFE_TIME_MAX, QUIET_TIME, READ_TIME, SETTLE_TIME_MAX,
        STUMBLE_TIME_MAX,
    },
};
use crate::{
    chip::publish_root,
    hub::{Hub, HubError},
    process::now,
};

/// How to torture the hub.
#[derive(Debug, Clone, Args)]
pub struct TortureOptions {
    /// How often the hub is killed with SIGKILL.
    #[arg(long, default_value_t = 200)]
    pub kills: u32,
    /// Decides moments and workload. The interleaving of processes it cannot decide.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the hub's folder and log are kept if something is wrong; a temporary folder otherwise.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Nobody vouches for simulated chips.
    #[error("failed to make a manufacturer of simulated chips: {0}")]
    Manufacturer(#[from] KeyError),
    /// A folder, or the output.
    #[error("failed to write: {0}")]
    Io(#[from] io::Error),
    /// The hub listens nowhere.
    #[error("the hub listens on {0:?}")]
    Address(String),
    /// A client of ours panicked.
    #[error("a client panicked")]
    Client,
}

const TENANT: &str = "torture";

/// Runs it, telling each round.
///
/// # Errors
/// The hub did not come back, or the folder cannot be written.
pub fn run(options: &TortureOptions, out: &mut dyn Write) -> Result<Report, TortureError> {
    writeln!(out, "torture: seed {}, {} kills", options.seed, options.kills)?;
    let folder = tempfile::Builder::new().prefix("muster-torture-").tempdir()?;
    let mut torture = Torture::prepare(options, &folder)?;
    let outcome = torture.run(out);
    torture.hub.kill();
    if !matches!(&outcome, Ok(report) if report.is_well()) {
        let place = options.keep.clone().unwrap_or_else(|| folder.keep());
        if let Some(from) = options.keep.is_some().then(|| torture.hub.folder().to_owned()) {
            let _ = fs::rename(&from, place.join("hub"));
        }
        fs::write(place.join("hub.log"), torture.log.join("\n"))?;
        writeln!(out, "torture: the hub's folder and log are kept in {}", place.display())?;
    }
    outcome
}

struct Torture<'a> {
    options: &'a TortureOptions,
    hub: Hub,
    chance: Chance,
    log: Vec<String>,
    restarts: Vec<Duration>,
}

impl<'a> Torture<'a> {
    fn prepare(options: &'a TortureOptions, folder: &TempDir) -> Result<Self, TortureError> {
        let root = publish_root(&SimulatedManufacturer::well_known()?, folder.path())?;
        let mut hub = Hub::init(&folder.path().join("hub"), &root)?;
        hub.start()?;
        hub.operate(&["tenant", "create", TENANT, "--accept-simulated-tpms"])?;
        hub.stop();
        hub.open_plain(TENANT);
        let chance = Chance::new(options.seed, 1);
        Ok(Self { options, hub, chance, log: Vec::new(), restarts: Vec::new() })
    }

    fn run(&mut self, out: &mut dyn Write) -> Result<Report, TortureError> {
        let rounds = self.options.kills;
        let mut first = ledger::Ledger::default();
        let clients = cast::cast(self.options.seed, rounds, &mut first);
        let field = Field::new(clients.len());
        *field.ledger() = first;
        self.start(&field)?;
        self.restarts.clear();
        let outcome = thread::scope(|scope| {
            let running: Vec<_> = clients
                .into_iter()
                .map(|client| {
                    let field = &field;
                    scope.spawn(move || client.run(field))
                })
                .collect();
            let outcome = self.rounds(rounds, &field, out);
            field.enter(Phase::Over);
            let ended: Option<Vec<Client>> = running.into_iter().map(|thread| thread.join().ok()).collect();
            outcome.and_then(|()| ended.ok_or(TortureError::Client))
        });
        let mut ledger = field.ledger();
        for client in outcome? {
            let unfinished = client.unfinished();
            if !unfinished.is_empty() {
                ledger.violated(format!("{} never came to the end of {unfinished:?}", client.name));
            }
        }
        ledger.judge();
        Ok(Report::new(self.options, &ledger, &self.restarts))
    }

    fn rounds(&mut self, rounds: u32, field: &Field, out: &mut dyn Write) -> Result<(), TortureError> {
        for round in 1..=rounds {
            let life = match self.chance.once_in(8) {
                true => self.chance.time(LIFE_TIME_MAX, LONG_LIFE_TIME_MAX),
                false => self.chance.time(LIFE_TIME_MIN, LIFE_TIME_MAX),
            };
            wait(life);
            self.kill(field);
            if self.chance.once_in(8) {
                let after = self.chance.time(Duration::ZERO, STUMBLE_TIME_MAX);
                self.hub.stumble(after)?;
            }
            self.start(field)?;
            let violations = field.ledger().numbers.violations;
            if round % 20 == 0 || round == rounds {
                let delivered = field.ledger().numbers.delivered;
                writeln!(out, "  round {round}: {delivered} delivered, {violations} violations")?;
            }
            if violations > 0 {
                writeln!(out, "  round {round}: ending early, something is wrong")?;
                break;
            }
        }
        field.enter(Phase::Settle);
        settle(field);
        // What the hub believes to be unfinished comes again now.
        self.kill(field);
        self.start(field)?;
        settle(field);
        wait(QUIET_TIME);
        Ok(())
    }

    fn kill(&mut self, field: &Field) {
        field.set_hub(None);
        if let Some(process) = self.hub.process() {
            process.kill();
            self.log.extend(process.all_lines().iter().cloned());
        }
        self.hub.kill();
    }

    fn start(&mut self, field: &Field) -> Result<(), TortureError> {
        let took = self.hub.start().inspect_err(|error| self.log.push(error.to_string()))?;
        self.restarts.push(took);
        let plain = self.hub.plain();
        let address = plain.parse().map_err(|_| TortureError::Address(plain.to_owned()))?;
        field.set_hub(Some(address));
        Ok(())
    }
}

/// Waits until nothing is on its way, or nothing moves any more.
fn settle(field: &Field) {
    let (mut progress, mut moved) = (field.ledger().progress, now());
    while !field.is_settled() && now() - moved < SETTLE_TIME_MAX {
        wait(READ_TIME);
        let reached = field.ledger().progress;
        if reached != progress {
            (progress, moved) = (reached, now());
        }
    }
}
