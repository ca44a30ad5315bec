//! The kill test: a hub under QoS 1 and 2 load from clients with persistent sessions is killed at random moments and
//! started again, and nothing acknowledged may be lost, doubled at QoS 2, or out of order. Devices publish telemetry
//! meanwhile, and what was acknowledged of it must be in their history once. Not for speed.
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
pub mod cut;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod publisher;
pub mod report;
pub mod sensor;
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
    cut::Cuts,
    ledger::{Event, Ledger},
    limits::{
        LIFE_TIME_MAX, LIFE_TIME_MIN, LONG_LIFE_TIME_MAX, QUIET_TIME, READ_TIME, SENSORS, SETTLE_TIME_MAX,
        STUMBLE_TIME_MAX,
    },
    sensor::{Sensor, Sensors},
};
use crate::{
    bench::BenchError,
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
    /// How often the power is cut: the hub is killed, and what it had not synced is lost. Needs a C compiler.
    #[arg(long, default_value_t = 200)]
    pub cuts: u32,
    /// At a power cut even what was synced is lost: a test of this test, which then has to fail.
    #[arg(long)]
    pub disk_lies: bool,
    /// Decides moments and workload. The interleaving of processes it cannot decide.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A folder on the file system of temporary files, where the hub's own and its log are kept if something is wrong.
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
    /// No device could be enrolled.
    #[error(transparent)]
    Device(Box<BenchError>),
    /// A client of ours panicked.
    #[error("a client panicked")]
    Client,
}

impl From<BenchError> for TortureError {
    fn from(error: BenchError) -> Self {
        Self::Device(Box::new(error))
    }
}

const TENANT: &str = "torture";
/// What the hub says when it cuts off a batch that was not written to its end.
const TORN: &str = "the last batch was not written to its end";

/// Runs it, telling each round.
///
/// # Errors
/// The hub did not come back, or the folder cannot be written.
pub fn run(options: &TortureOptions, out: &mut dyn Write) -> Result<Report, TortureError> {
    writeln!(out, "torture: seed {}, {} kills, {} power cuts", options.seed, options.kills, options.cuts)?;
    let folder = tempfile::Builder::new().prefix("muster-torture-").tempdir()?;
    let mut torture = Torture::prepare(options, &folder)?;
    let outcome = torture.run(out);
    torture.hub.kill();
    if !matches!(&outcome, Ok(report) if report.is_well()) {
        let place = torture.keep(folder)?;
        writeln!(out, "torture: the hub's folder, its log and the history are kept in {}", place.display())?;
    }
    outcome
}

struct Torture<'a> {
    options: &'a TortureOptions,
    hub: Hub,
    /// None if the power is never cut.
    cuts: Option<Cuts>,
    chance: Chance,
    log: Vec<String>,
    history: Vec<String>,
    /// The devices, until they run.
    cast: Vec<Sensor>,
    sensors: Sensors,
    restarts: Vec<Duration>,
    /// Torn batches that the hub cut off its journal.
    torn: u64,
}

impl<'a> Torture<'a> {
    fn prepare(options: &'a TortureOptions, folder: &TempDir) -> Result<Self, TortureError> {
        let manufacturer = SimulatedManufacturer::well_known()?;
        let root = publish_root(&manufacturer, folder.path())?;
        let mut hub = Hub::init(&folder.path().join("hub"), &root)?;
        hub.start()?;
        hub.operate(&["tenant", "create", TENANT, "--accept-simulated-tpms"])?;
        let (sensors, cast) =
            Sensors::enrol(SENSORS, cast::CLIENTS, options.seed, &hub, folder.path(), &manufacturer)?;
        hub.stop();
        hub.open_plain(TENANT);
        let chance = Chance::new(options.seed, 1);
        let cuts = (options.cuts > 0)
            .then(|| Cuts::prepare(hub.folder(), folder.path(), options.disk_lies))
            .transpose()?;
        let (log, history, restarts) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { options, hub, cuts, chance, log, history, cast, sensors, restarts, torn: 0 })
    }

    fn run(&mut self, out: &mut dyn Write) -> Result<Report, TortureError> {
        let rounds = self.options.kills + self.options.cuts;
        let mut first = Ledger::default();
        let clients = cast::cast(self.options.seed, rounds, &mut first);
        let field = Field::new(clients.len() + self.cast.len());
        let sensors = std::mem::take(&mut self.cast);
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
            let sensing: Vec<_> = sensors
                .into_iter()
                .map(|sensor| {
                    let field = &field;
                    scope.spawn(move || sensor.run(field))
                })
                .collect();
            let outcome = self.rounds(rounds, &field, out);
            field.enter(Phase::Over);
            let ended: Option<Vec<Client>> = running.into_iter().map(|thread| thread.join().ok()).collect();
            let sensed: Option<Vec<Sensor>> = sensing.into_iter().map(|thread| thread.join().ok()).collect();
            outcome.and_then(|()| ended.zip(sensed).ok_or(TortureError::Client))
        });
        let mut ledger = field.ledger();
        self.history = ledger.history().collect();
        let (clients, sensors) = outcome?;
        for sensor in sensors {
            if sensor.unfinished() > 0 {
                let (id, count) = (sensor.id(), sensor.unfinished());
                ledger.violated(format!("{id} never came to the end of {count} packs"));
            }
            ledger.numbers.readings += self.sensors.judge(&sensor, &self.hub, &mut ledger)?;
        }
        for client in clients {
            let unfinished = client.unfinished();
            if !unfinished.is_empty() {
                ledger.violated(format!("{} never came to the end of {unfinished:?}", client.name));
            }
        }
        ledger.judge();
        let unsynced = self.cuts.as_ref().map_or((0, 0), |cuts| cuts.unsynced);
        Ok(Report::new(self.options, &ledger, &self.restarts, unsynced, self.torn))
    }

    fn rounds(&mut self, rounds: u32, field: &Field, out: &mut dyn Write) -> Result<(), TortureError> {
        let mut cuts_left = u64::from(self.options.cuts);
        for round in 1..=rounds {
            let life = match self.chance.once_in(8) {
                true => self.chance.time(LIFE_TIME_MAX, LONG_LIFE_TIME_MAX),
                false => self.chance.time(LIFE_TIME_MIN, LIFE_TIME_MAX),
            };
            wait(life);
            self.kill(field);
            if self.chance.once_in(8) {
                let after = self.chance.time(Duration::ZERO, STUMBLE_TIME_MAX);
                self.watch();
                self.hub.stumble(after)?;
            }
            let is_cut = self.chance.below(u64::from(rounds - round) + 1) < cuts_left;
            if let Some(cuts) = self.cuts.as_mut().filter(|_| is_cut) {
                cuts_left -= 1;
                field.ledger().note(Event::Hub("power cut".to_owned()));
                cuts.cut(&mut self.chance)?;
            }
            self.start(field)?;
            let violations = field.ledger().numbers.violations;
            if round % 20 == 0 || round == rounds {
                let delivered = field.ledger().numbers.delivered;
                writeln!(out, "  round {round}: {delivered} delivered, {violations} violations")?;
            }
            // A few more kills would only bury what was found.
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
        field.ledger().note(Event::Hub("killed".to_owned()));
        field.set_hub(None);
        if let Some(process) = self.hub.process() {
            process.kill();
            let lines = process.all_lines();
            for line in lines.iter().filter(|line| line.contains("panicked at")) {
                field.ledger().violated(format!("the hub panicked: {line}"));
            }
            self.torn += lines.iter().filter(|line| line.contains(TORN)).count() as u64;
            self.log.extend(lines.iter().cloned());
        }
        self.hub.kill();
    }

    /// Keeps all that a post mortem needs; says where.
    fn keep(&self, folder: TempDir) -> io::Result<PathBuf> {
        let place = match &self.options.keep {
            Some(place) => {
                fs::create_dir_all(place)?;
                fs::rename(self.hub.folder(), place.join("hub"))?;
                place.clone()
            }
            None => folder.keep(),
        };
        fs::write(place.join("hub.log"), self.log.join("\n"))?;
        fs::write(place.join("history"), self.history.concat())?;
        Ok(place)
    }

    fn watch(&mut self) {
        if let Some(cuts) = &mut self.cuts {
            cuts.watch(&mut self.hub);
        }
    }

    fn start(&mut self, field: &Field) -> Result<(), TortureError> {
        self.watch();
        let took = self.hub.start().inspect_err(|error| self.log.push(error.to_string()))?;
        self.restarts.push(took);
        field.ledger().note(Event::Hub(format!("ready after {took:.0?}")));
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
