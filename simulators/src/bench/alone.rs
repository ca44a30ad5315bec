//! The hub alone: start, memory, enrolment, durable telemetry, and the agent.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use muster_tpm::manufacturer::SimulatedManufacturer;
use serde_json::Value;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::{
    BenchError, NEIGHBOUR, TENANT,
    api::Access,
    fleet::{Device, Newcomer, Target, enrol_all},
    limits::{
        AGENT_READINGS, APPENDED_BYTES, DISK_WRITE_BYTES, ENROLMENTS, ENROLMENTS_AT_ONCE, LATE_STARTS,
        MEASUREMENT_TIME_MAX, PUBLISHERS, QUESTIONS, SINGLES_PER_DEVICE, STARTS, TELEMETRY_PER_DEVICE,
        WINDOW,
    },
    machine::{appended_log, bytes_below, durable_writes},
    page::{Section, grouped, mib, ms, rate, us_each},
    sample::Sample,
    telemetry::{self, Amount, Publisher},
};
use crate::{
    app::App,
    chip::Chip,
    edge::{Edge, EdgeOptions},
    gauge::{Gauge, Memory},
    hub::Hub,
    limits::QUIET_TIME_MAX,
    process::now,
};

type Measurement = fn(&mut Alone) -> Result<Section, BenchError>;

/// A hub with two tenants, and the load.
pub struct Alone {
    runtime: Runtime,
    hub: Hub,
    manufacturer: SimulatedManufacturer,
    devices: Vec<Device>,
    /// Telemetry messages that the hub has acknowledged.
    stored: usize,
    folder: PathBuf,
}

impl Alone {
    /// Prepares a hub that trusts chips of this maker.
    ///
    /// # Errors
    /// The hub refuses, or the folder cannot be written.
    pub fn prepare(
        folder: &Path,
        maker_root: &Path,
        manufacturer: SimulatedManufacturer,
    ) -> Result<Self, BenchError> {
        fs::create_dir_all(folder)?;
        let mut hub = Hub::init(&folder.join("hub"), maker_root)?;
        hub.start()?;
        for tenant in [TENANT, NEIGHBOUR] {
            hub.operate(&["tenant", "create", tenant, "--accept-simulated-tpms"])?;
        }
        // As many workers as the load needs on two cores; the hub has to share them either way.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, hub, manufacturer, devices: Vec::new(), stored: 0, folder: folder.to_owned() })
    }

    /// Measures everything, telling each section as it comes.
    ///
    /// # Errors
    /// A measurement did not take place.
    pub fn measure(mut self, out: &mut dyn Write) -> Result<Vec<Section>, BenchError> {
        let measurements: [Measurement; 4] =
            [Self::start_and_memory, Self::enrolment, Self::durable_telemetry, Self::agent];
        let mut sections = Vec::new();
        for measure in measurements {
            let section = measure(&mut self)?;
            writeln!(out, "{}", section.told())?;
            sections.push(section);
        }
        self.hub.stop();
        Ok(sections)
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
        section.row_with_target(
            format!("enrolments with soft keys over TLS, {count} devices, {ENROLMENTS_AT_ONCE} at a time"),
            rate(count, span.wall),
            "over 200 /s",
        );
        let each = ms(span.cpu / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        section.row_with_target(
            "hub processor time each: handshake, verification, certificate, registry commit",
            each,
            "under 2 ms",
        );
        Ok(section)
    }

    fn durable_telemetry(&mut self) -> Result<Section, BenchError> {
        let (target, gauge) = (self.target()?, self.gauge()?);
        let full = Amount { window: WINDOW, count: TELEMETRY_PER_DEVICE, from_ms: 0 };
        let single = Amount { window: 1, count: SINGLES_PER_DEVICE, from_ms: 1_000_000 };
        let batches = || self.hub.metric("muster_store_batches_total");
        let mut publishers =
            self.devices.iter().map(|device| device.open(&target)).collect::<Result<Vec<_>, _>>()?;
        let one = self.bounded(telemetry::measure(&mut publishers, single, &gauge, batches))?;
        let many = self.bounded(telemetry::measure(&mut publishers, full, &gauge, batches))?;
        publishers.into_iter().try_for_each(Publisher::close)?;
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
        let disk = durable_writes(&self.folder)?;
        section.row(
            format!(
                "for comparison: appending {DISK_WRITE_BYTES} bytes and `fdatasync` on that disk, p50 / p99"
            ),
            format!("{} / {}", ms(disk.median()), ms(disk.quantile(990))),
        );
        section.row("the same: such writes a second", rate(disk.count(), disk.total()));
        for (ingest, window) in [(&many, WINDOW), (&one, 1)] {
            let Some(group) = ingest.group() else { continue };
            let appended = appended_log(&self.folder, group)?;
            section.row(
                format!(
                    "a raw log, {APPENDED_BYTES} bytes a message, {group} for each `fdatasync` as the hub had with \
                     {window} on the way: rate"
                ),
                rate(appended.count, appended.time),
            );
        }
        let bytes = usize::try_from(bytes_below(self.hub.folder())?).unwrap_or(usize::MAX);
        section.row(
            "the hub's folder after that, per message of two readings: log, store and journals, not merged yet",
            format!("{} bytes", grouped(bytes / self.stored.max(1))),
        );
        section.row("resident memory of the hub after that", resident(gauge.memory()?));
        let lasts = self.lasts()?;
        section.row_with_target(
            format!(
                "the last value of one series, asked {} times over HTTPS on one connection: p50 / p99",
                lasts.count()
            ),
            format!("{} / {}", ms(lasts.median()), ms(lasts.quantile(990))),
            "p50 <= 2 ms",
        );
        Ok(section)
    }

    /// How long the hub takes to say what a device measured last, as an app sees it.
    fn lasts(&self) -> Result<Sample, BenchError> {
        let folder = self.folder.join("reader");
        App::create(&self.hub, TENANT, "reader", folder.clone())?;
        let access = Access::of(&self.hub, &folder)?;
        self.bounded(async {
            let mut api = access.connect().await?;
            let mut times = Vec::with_capacity(QUESTIONS);
            for device in self.devices.iter().cycle().take(QUESTIONS) {
                let path =
                    format!("/api/v1/tenants/{TENANT}/telemetry/last?device={}&stream=climate", device.id);
                let begun = now();
                let answer = api.get(&path).await?;
                times.push(now() - begun);
                if answer.get("readings").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    return Err(BenchError::Odd(format!("{path} was answered with nothing")));
                }
            }
            Ok(Sample::new(times))
        })
    }

    fn agent(&mut self) -> Result<Section, BenchError> {
        let folder = self.folder.join("agent");
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
