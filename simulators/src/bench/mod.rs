//! What the programs cost on this machine: start, memory, durable telemetry, routing, enrolment, handshakes, the agent.
//! Measures the real programs as processes, from outside. Not a test: nothing here holds or fails by a number.
//!
//! ```text
//!   fleet (soft keys) ── enrol, publish ──┐
//!   app ── subscribe, come and go ────────┼── TLS on loopback ──▶ muster ◀── gauge (/proc) ──▶ page
//!   muster-edge with swtpm ───────────────┘
//! ```

mod client;
mod fanin;
mod fleet;
mod handshakes;
pub mod limits;
mod machine;
mod page;
mod sample;
mod telemetry;

use std::{fs, io, io::Write, path::PathBuf, sync::Arc};

use muster_edge::{enrolment::ExchangeError, tls::TlsError};
use muster_tpm::{keys::KeyError, manufacturer::SimulatedManufacturer};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinError,
    time::timeout,
};

use self::{
    client::{Client, ClientError, connect_tls},
    fleet::{Device, Newcomer, Target, app_config, enrol_all},
    limits::{
        AGENT_READINGS, DISK_WRITE_BYTES, ENROLMENTS, ENROLMENTS_AT_ONCE, FANIN_PAYLOAD_BYTES,
        HANDSHAKES_AT_ONCE, LATE_STARTS, MEASUREMENT_TIME_MAX, PUBLISHERS,
        SINGLES_PER_DEVICE, STARTS, TELEMETRY_PER_DEVICE, WINDOW,
    },
    machine::{Machine, bytes_below, durable_writes},
    page::{Section, grouped, mib, ms, rate, us_each},
    sample::Sample,
    telemetry::{Amount, Publisher},
};
use crate::{
    app::App,
    chip::{Chip, ChipError, publish_root},
    edge::{Edge, EdgeOptions},
    gauge::{Gauge, Memory},
    hub::{Hub, HubError},
    limits::QUIET_TIME_MAX,
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
    /// A client of the load.
    #[error(transparent)]
    Client(#[from] ClientError),
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

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// Where to write the page; without it, it is printed.
    pub write: Option<PathBuf>,
    /// The date that the page says, if any.
    pub date: Option<String>,
}

type Measurement = fn(&mut Bench) -> Result<Section, BenchError>;

/// Measures everything and writes the page, telling each section as it comes.
///
/// # Errors
/// A program is missing, or a measurement did not take place: then no page is written.
pub fn run(options: &BenchOptions, out: &mut dyn Write) -> Result<(), BenchError> {
    let folder = tempfile::Builder::new().prefix("muster-bench-").tempdir()?;
    let machine = Machine::look(folder.path());
    let mut bench = Bench::prepare(folder)?;
    let mut sections = Vec::new();
    let measurements: [Measurement; 6] = [
        Bench::start_and_memory,
        Bench::enrolment,
        Bench::durable_telemetry,
        Bench::routing,
        Bench::connections,
        Bench::agent,
    ];
    for measure in measurements {
        let section = measure(&mut bench)?;
        writeln!(out, "{}", section.told())?;
        sections.push(section);
    }
    bench.hub.stop();
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

/// A hub with two tenants, and the load.
struct Bench {
    runtime: Runtime,
    hub: Hub,
    app: App,
    manufacturer: SimulatedManufacturer,
    devices: Vec<Device>,
    /// Telemetry messages that the hub has acknowledged.
    stored: usize,
    /// Goes last.
    folder: TempDir,
}

impl Bench {
    fn prepare(folder: TempDir) -> Result<Self, BenchError> {
        let manufacturer = SimulatedManufacturer::well_known()?;
        let root = publish_root(&manufacturer, folder.path())?;
        let mut hub = Hub::init(&folder.path().join("hub"), &root)?;
        hub.start()?;
        for tenant in [TENANT, NEIGHBOUR] {
            hub.operate(&["tenant", "create", tenant, "--accept-simulated-tpms"])?;
        }
        let app = App::create(&hub, TENANT, "bench", folder.path().join("app"))?;
        // As many workers as the load needs on two cores; the hub has to share them either way.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, hub, app, manufacturer, devices: Vec::new(), stored: 0, folder })
    }

    fn gauge(&mut self) -> Result<Gauge, BenchError> {
        // What it has written is taken, so that it never waits for us to read it.
        let process = self.hub.process().ok_or_else(|| BenchError::Odd("the hub does not run".to_owned()))?;
        process.take_lines();
        Ok(Gauge::new(process.id()))
    }

    fn target(&self) -> Result<Target, BenchError> {
        Target::new(self.hub.mqtt(), &self.hub.root())
    }

    fn app_config(&self) -> Result<Arc<ClientConfig>, BenchError> {
        app_config(&self.target()?, &self.app.folder)
    }

    /// Runs a measurement, but not for ever.
    fn bounded<T>(&self, measurement: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
        let limit = MEASUREMENT_TIME_MAX + QUIET_TIME_MAX;
        self.runtime.block_on(async { timeout(limit, measurement).await.map_err(|_| BenchError::TooSlow)? })
    }

    fn starts(&mut self, count: usize) -> Result<Sample, BenchError> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            self.hub.stop();
            times.push(self.hub.start()?);
        }
        Ok(Sample::new(times))
    }

    fn start_and_memory(&mut self) -> Result<Section, BenchError> {
        let mut section = Section::new("The hub's start and memory");
        let starts = self.starts(STARTS)?;
        let [min, median, max] = [starts.min(), starts.median(), starts.max()].map(ms);
        section.row_with_target(
            format!("`muster serve`, from spawn to `ready`, two tenants, {STARTS} starts: shortest, median, longest"),
            format!("{min}, {median}, {max}"),
            "under 500 ms",
        );
        let gauge = self.gauge()?;
        self.bounded(async { Ok(gauge.quiet().await?) })?;
        let memory = gauge.memory()?;
        section.row_with_target("resident memory after that, idle", resident(memory), "under 40 MB");
        section.row("its peak, while the keys are unsealed (Argon2id, 19 MiB)", mib(memory.peak_kib));
        Ok(section)
    }

    fn enrolment(&mut self) -> Result<Section, BenchError> {
        let mut newcomers = Vec::with_capacity(ENROLMENTS);
        for number in (0..).take(ENROLMENTS) {
            newcomers.push(Newcomer::new(number, self.claim()?, &self.manufacturer)?);
        }
        let (target, gauge) = (self.target()?, self.gauge()?);
        let (span, enrolled) = self.bounded(async {
            gauge.quiet().await?;
            let mark = gauge.mark()?;
            let enrolled = enrol_all(&target, newcomers).await?;
            Ok((gauge.since(mark)?, enrolled))
        })?;
        let count = enrolled.len();
        let first = enrolled.into_iter().take(PUBLISHERS);
        self.devices = first.map(|enrolled| enrolled.ready(&target)).collect::<Result<_, _>>()?;
        let mut section = Section::new("Enrolment");
        section.row(
            format!("enrolments with soft keys over TLS, {count} devices, {ENROLMENTS_AT_ONCE} at a time"),
            rate(count, span.wall),
        );
        let each = ms(span.cpu / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        section.row("hub processor time each: handshake, verification, certificate, registry commit", each);
        Ok(section)
    }

    fn durable_telemetry(&mut self) -> Result<Section, BenchError> {
        let (target, gauge) = (self.target()?, self.gauge()?);
        let full = Amount { window: WINDOW, count: TELEMETRY_PER_DEVICE, from_ms: 0 };
        let single = Amount { window: 1, count: SINGLES_PER_DEVICE, from_ms: 1_000_000 };
        let publishers = self.bounded(open_all(&self.devices, &target))?;
        let (publishers, one) = self.bounded(telemetry::measure(publishers, single, &gauge))?;
        let (publishers, many) = self.bounded(telemetry::measure(publishers, full, &gauge))?;
        self.bounded(close_all(publishers))?;
        self.stored += one.waits.count() + many.waits.count();

        let mut section =
            Section::new("Durable telemetry (QoS 1, SenML in CBOR, synchronised before each PUBACK)");
        for (ingest, window) in [(&many, WINDOW), (&one, 1)] {
            let count = ingest.waits.count();
            section.row(
                format!(
                    "{PUBLISHERS} devices, {window} on the way from each, {} messages: rate",
                    grouped(count)
                ),
                rate(count, ingest.acknowledged.wall),
            );
            section.row(
                "the same: hub processor time per message, until acknowledged / until in the telemetry store",
                format!(
                    "{} / {}",
                    us_each(ingest.acknowledged.cpu, count),
                    us_each(ingest.settled.cpu, count)
                ),
            );
            let [p50, p99, longest] =
                [ingest.waits.median(), ingest.waits.quantile(990), ingest.waits.max()].map(ms);
            section.row(
                "the same: PUBLISH to PUBACK, p50 / p99 / longest",
                format!("{p50} / {p99} / {longest}"),
            );
        }
        let disk = durable_writes(self.folder.path())?;
        section.row(
            format!(
                "for comparison: appending {DISK_WRITE_BYTES} bytes and `fdatasync` on that disk, p50 / p99"
            ),
            format!("{} / {}", ms(disk.median()), ms(disk.quantile(990))),
        );
        let bytes = usize::try_from(bytes_below(self.hub.folder())?).unwrap_or(usize::MAX);
        section.row(
            "the hub's folder after that, per message of two readings: log, store and journals, not merged yet",
            format!("{} bytes", grouped(bytes / self.stored.max(1))),
        );
        section.row("resident memory of the hub after that", resident(gauge.memory()?));
        Ok(section)
    }

    fn routing(&mut self) -> Result<Section, BenchError> {
        let (target, gauge, config) = (self.target()?, self.gauge()?, self.app_config()?);
        let seen = self.bounded(async {
            let publishers = open_all(&self.devices, &target).await?;
            let app = Client::open(connect_tls(target.address, None, config).await?, "bench").await?;
            gauge.quiet().await?;
            let (publishers, seen) = fanin::measure(publishers, app, &gauge).await?;
            close_all(publishers).await?;
            Ok(seen)
        })?;
        let mut section = Section::new("Routing (QoS 0)");
        let what = format!(
            "{PUBLISHERS} devices to one app, {FANIN_PAYLOAD_BYTES} B, {} on the way in all",
            PUBLISHERS * WINDOW
        );
        section.row(
            format!("{what}: sent, delivered, out of order or twice"),
            format!("{}, {}, {}", grouped(seen.sent), grouped(seen.delivered), grouped(seen.disordered)),
        );
        section.row(format!("{what}: rate"), rate(seen.delivered, seen.span.wall));
        section.row("hub processor time per delivered message", us_each(seen.span.cpu, seen.delivered));
        Ok(section)
    }

    fn connections(&mut self) -> Result<Section, BenchError> {
        let (target, gauge, config) = (self.target()?, self.gauge()?, self.app_config()?);
        let seen = self.bounded(async {
            gauge.quiet().await?;
            handshakes::measure(target.address, config, &gauge).await
        })?;
        let mut section = Section::new("Connections (TLS 1.3, mutual, P-256, no resumption)");
        let what = format!(
            "connect, CONNECT, CONNACK, close: {} sessions, {HANDSHAKES_AT_ONCE} at a time",
            seen.count
        );
        section.row(what, rate(seen.count, seen.span.wall));
        section.row("such sessions per second of hub processor time", rate(seen.count, seen.span.cpu));
        Ok(section)
    }

    fn agent(&mut self) -> Result<Section, BenchError> {
        let folder = self.folder.path().join("agent");
        let state = folder.join("tpm");
        fs::create_dir_all(&state)?;
        let chip = Chip::manufacture(&self.manufacturer, &state)?;
        let claim = self.claim()?;
        let options = EdgeOptions {
            tcti: &chip.tcti(),
            claim: Some(&claim),
            folder: &folder,
            interval_s: 0.2,
            labels: &[],
        };
        let mut edge = Edge::start(&self.hub, &options)?;
        for _ in 0..AGENT_READINGS {
            edge.wait_acknowledged()?;
        }
        let memory = Gauge::new(edge.process().id()).memory()?;
        drop(edge);
        let mut section = Section::new("The agent, and a start with history");
        section.row_with_target(
            format!("`muster-edge` with swtpm: resident memory after {AGENT_READINGS} acknowledged readings"),
            resident(memory),
            "under 12 MB",
        );
        section.row("its peak", mib(memory.peak_kib));
        let starts = self.starts(LATE_STARTS)?;
        let [min, median, max] = [starts.min(), starts.median(), starts.max()].map(ms);
        section.row(
            format!(
                "`muster serve`, from spawn to `ready`, with {} messages stored, {LATE_STARTS} starts: shortest, \
                 median, longest",
                grouped(self.stored)
            ),
            format!("{min}, {median}, {max}"),
        );
        Ok(section)
    }

    fn claim(&self) -> Result<String, BenchError> {
        let claim = self.hub.operate(&["claim", "create", "--tenant", TENANT])?;
        Ok(claim.get("code").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

fn resident(memory: Memory) -> String {
    format!("{}, {} of it its own", mib(memory.resident_kib), mib(memory.own_kib))
}

async fn open_all(devices: &[Device], target: &Target) -> Result<Vec<Publisher>, BenchError> {
    let mut publishers = Vec::with_capacity(devices.len());
    for device in devices {
        publishers.push(Publisher { id: device.id.clone(), client: device.open(target).await? });
    }
    Ok(publishers)
}

async fn close_all(publishers: Vec<Publisher>) -> Result<(), BenchError> {
    for publisher in publishers {
        publisher.client.close().await?;
    }
    Ok(())
}
