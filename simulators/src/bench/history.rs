//! Telemetry as it is kept: what it takes from SenML on the log to sealed blocks on the disk, how large these are, and how
//! fast they answer. The store of the hub within this process, so that nothing else is measured.

use std::{fs, io::Write, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use muster_broker::store::{
    Bundle, Purpose, RootKey, Store, StoreOptions, TenantStore, limits::BUNDLE_RECORDS_MAX,
};
use muster_hub::telemetry::{self, Announcements, Archive, Counters, TelemetryOptions};
use muster_items::{History as _, Selection, View};
use muster_schemas::{
    DeviceId, Kind, Message, Publisher, Qos, TenantId, TopicName, senml::Pack, stored::StoredMessage,
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    BenchError,
    limits::QUESTIONS,
    page::{Section, grouped, mib, ms},
    plant::{BEGIN_S, INTERVAL_S, device, look_at_machine, plant},
    sample::Sample,
};
use crate::process::now;

/// Devices of the plant, and how many packs each of them sends.
pub(super) const PLANT: (usize, usize) = (200, 2_160);
/// The same where a day is asked for.
pub(super) const DAY: (usize, usize) = (16, 8_640);
/// Devices with ten names each whose memory is looked at, and how many packs each of them sends.
const MANY: (usize, usize) = (10_000, 3);
/// Names of a device.
const NAMES: usize = 10;
/// Messages that share one commit of the log.
pub(super) const GROUP: usize = 100;

/// What was measured of one lot of telemetry.
pub(super) struct Lot {
    pub(super) points: usize,
    /// Processor time from the message to the log on the disk.
    pub(super) logged: Duration,
    /// The same by the clock.
    pub(super) logged_clock: Duration,
    /// Processor time from there to blocks.
    pub(super) stored: Duration,
    /// Bytes of all rows of the telemetry table, keys and seals included.
    pub(super) bytes: usize,
    /// Of that the keys of the rows.
    pub(super) keys_bytes: usize,
    /// Processor time of sealing as much as was sealed, once more.
    sealing: Duration,
}

/// Measures everything, telling each section as it comes.
///
/// # Errors
/// The store refuses.
pub fn measure(folder: &Path, out: &mut dyn Write) -> Result<Vec<Section>, BenchError> {
    let mut section = Section::new("History");
    // First, as long as nothing else has taken memory.
    let many = Place::new(&folder.join("many"))?;
    let before = resident_kib();
    many.fill(MANY, plant)?;
    let without = resident_kib();
    many.settle();
    section.row(
        format!(
            "memory of a process that takes in {} series, {} packs of each device, the engine's part included",
            grouped(MANY.0 * NAMES),
            MANY.1
        ),
        format!(
            "{} more at most, of which {} was the log alone",
            mib(highest_kib().saturating_sub(before)),
            mib(without.saturating_sub(before))
        ),
    );
    drop(many);

    let place = Place::new(&folder.join("plant"))?;
    let lot = place.lot(PLANT, plant)?;
    tell(&mut section, "synthetic plant", &lot);
    drop(place);

    let looks = look_at_machine();
    let place = Place::new(&folder.join("machine"))?;
    let lot = place.lot((1, looks.len()), |_, at| looks.get(at).cloned().unwrap_or_default())?;
    section.row_with_target(
        format!("bytes per point of this machine's own sensors, {} looks", grouped(looks.len())),
        format!("{:.2}", lot.bytes as f64 / lot.points.max(1) as f64),
        "<= 1.4",
    );
    drop(place);

    let place = Place::new(&folder.join("day"))?;
    place.lot(DAY, plant)?;
    questions(&place, &mut section)?;
    section.note(
        "Processor time of all threads of the process, the engine's own included, so that other work on the machine does \
         not count; times of questions are by the clock. Points are values; a pack of the plant has ten, of which one is \
         noise in full precision and half of the devices have jittered times.",
    );
    write!(out, "{}", section.told())?;
    Ok(vec![section])
}

fn tell(section: &mut Section, what: &str, lot: &Lot) {
    let all = (lot.logged + lot.stored).as_secs_f64();
    let per_s = |time: f64| grouped((lot.points as f64 / time.max(1e-9)) as usize);
    section
        .row_with_target(
            format!(
                "{what}: {} points from SenML to sealed blocks, points per second of one core",
                grouped(lot.points)
            ),
            per_s(all),
            ">= 1,500,000",
        )
        .row(
            format!("{what}: of that to the log alone, {GROUP} messages a commit"),
            per_s(lot.logged.as_secs_f64()),
        )
        .row(format!("{what}: of that from the log to blocks"), per_s(lot.stored.as_secs_f64()))
        .row_with_target(
            format!("{what}: bytes per point, keys and seals included"),
            format!("{:.2}", lot.bytes as f64 / lot.points.max(1) as f64),
            "<= 1.4",
        )
        .row_with_target(
            format!("{what}: sealing, of the processor time"),
            format!("{:.1} %", 100.0 * lot.sealing.as_secs_f64() / all.max(1e-9)),
            "<= 10 %",
        );
}

fn questions(place: &Place, section: &mut Section) -> Result<(), BenchError> {
    let mut days = Vec::new();
    let mut lasts = Vec::new();
    let mut points = 0;
    for question in 0..QUESTIONS {
        let device = device(question % DAY.0);
        let selection = Selection {
            device: Some(device.clone()),
            stream: Some("climate".to_owned()),
            names: vec![format!("urn:dev:{device}:temperature")],
            ..Selection::default()
        };
        let begun = now();
        points += place.count(&selection)?;
        days.push(now() - begun);
        let begun = now();
        let last = place.archive.last(&tenant(), &selection, &View::all(), 10);
        lasts.push(now() - begun);
        if last.map_or(0, |(last, _)| last.len()) != 1 {
            return Err(BenchError::Odd("a question for one last value has another answer".to_owned()));
        }
    }
    let begun = now();
    let all = place.count(&Selection::default())?;
    let whole = now() - begun;
    let (days, lasts) = (Sample::new(days), Sample::new(lasts));
    let shown = |sample: &Sample| format!("{} (p99 {})", ms(sample.median()), ms(sample.quantile(990)));
    section
        .row_with_target(
            format!("a day of one series, {} points, p50", grouped(points / QUESTIONS)),
            shown(&days),
            "<= 1 ms",
        )
        .row_with_target("the last value of one series, p50", shown(&lasts), "<= 2 ms")
        .row_with_target(
            format!("{} points scanned, each a million", grouped(all)),
            ms(whole.div_f64(all.max(1) as f64 / 1e6)),
            "<= 100 ms",
        );
    Ok(())
}

/// A store with one tenant, and its telemetry.
pub(super) struct Place {
    store: Store,
    keys: TenantStore,
    pub(super) archive: Archive,
}

impl Place {
    pub(super) fn new(folder: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(folder)?;
        let store =
            Store::open(folder, RootKey::from_bytes([7; 32]), StoreOptions::default()).map_err(odd)?;
        let keys = store.create_tenant(&tenant()).map_err(odd)?;
        Ok(Self { archive: Archive::new(store.clone()), store, keys })
    }

    /// Has devices send packs, one after another, and stores what they say.
    pub(super) fn lot(
        &self,
        amount: (usize, usize),
        pack: impl Fn(usize, usize) -> Vec<u8>,
    ) -> Result<Lot, BenchError> {
        let (points, (logged, logged_clock), log_bytes) = self.fill(amount, pack)?;
        let begun = processor_time();
        self.settle();
        let stored = processor_time() - begun;
        let shown = self.count(&Selection::default())?;
        if shown != points {
            return Err(BenchError::Odd(format!("{points} points were sent and {shown} are there")));
        }
        let table = self.store.table("telemetry").map_err(odd)?;
        let rows = table.prefix(&self.keys.handle()).collect::<Result<Vec<_>, _>>().map_err(odd)?;
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        let keys_bytes = rows.iter().map(|(key, _)| key.len()).sum();
        let sealer = self.keys.sealer(Purpose::Telemetry);
        let bundle = vec![0x5a; log_bytes / (amount.0 * amount.1).div_ceil(GROUP).max(1)];
        let begun = processor_time();
        let mut sealed = 0;
        for (key, value) in &rows {
            sealed += sealer.seal(key, value).len();
        }
        for _ in 0..(amount.0 * amount.1).div_ceil(GROUP) {
            sealed += sealer.seal(b"a row of the log", &bundle).len();
        }
        let sealing = processor_time() - begun;
        if sealed < bytes {
            return Err(BenchError::Odd("less was sealed than there is".to_owned()));
        }
        Ok(Lot { points, logged, logged_clock, stored, bytes, keys_bytes, sealing })
    }

    /// Appends packs to the log, as a router does. Says how many points they have, what processor time it took without the
    /// making of packs, the same by the clock, and how many bytes were logged.
    fn fill(
        &self,
        (devices, packs): (usize, usize),
        pack: impl Fn(usize, usize) -> Vec<u8>,
    ) -> Result<(usize, (Duration, Duration), usize), BenchError> {
        let mut log = self.keys.log().map_err(odd)?;
        let (mut points, mut bytes, mut spent, mut passed) = (0, 0, Duration::ZERO, Duration::ZERO);
        let mut group: Vec<(DeviceId, Vec<u8>)> = Vec::with_capacity(GROUP);
        let of: Vec<(DeviceId, TopicName)> = (0..devices)
            .map(|number| {
                let id = device(number);
                let topic = format!("devices/{id}/telemetry/climate").parse();
                topic.map(|topic| (id, topic)).map_err(odd)
            })
            .collect::<Result<_, _>>()?;
        let all = packs * devices;
        for number in 0..all {
            let payload = pack(number % devices, number / devices);
            points += Pack::parse(&payload).map_or(0, |pack| pack.len());
            let Some((id, _)) = of.get(number % devices) else { continue };
            group.push((id.clone(), payload));
            if group.len() < GROUP && number + 1 < all {
                continue;
            }
            let (begun, clock) = (processor_time(), now());
            let mut bundle = Bundle::default();
            let mut writes = Vec::new();
            let first = number + 1 - group.len();
            for (place, (id, payload)) in group.drain(..).enumerate() {
                let Some((_, topic)) = of.get((first + place) % devices) else { continue };
                let message = Message {
                    topic: topic.clone(),
                    qos: Qos::AtLeastOnce,
                    retain: false,
                    payload: payload.into(),
                    properties: None,
                };
                let publisher = Publisher { kind: Kind::Device, id };
                let received_ms = ((BEGIN_S + INTERVAL_S * 100_000.0) * 1_000.0) as u64;
                let stored = StoredMessage { received_ms, publisher, session: None, message };
                bytes += bundle.add(|out| stored.encode(out));
                if bundle.len() >= BUNDLE_RECORDS_MAX {
                    writes.push(log.append_bundle(log.next_sequence(), &std::mem::take(&mut bundle)));
                }
            }
            if !bundle.is_empty() {
                writes.push(log.append_bundle(log.next_sequence(), &bundle));
            }
            self.store.commit_blocking(writes).map_err(odd)?;
            spent += processor_time() - begun;
            passed += now() - clock;
        }
        Ok((points, (spent, passed), bytes))
    }

    fn settle(&self) {
        telemetry::settle(TelemetryOptions {
            store: self.store.clone(),
            tenants: Arc::new(|| vec![tenant()]),
            needed_from: Arc::new(|_| u64::MAX),
            archive: self.archive.clone(),
            attributes: Arc::new(|_, _| Arc::default()),
            today: Arc::new(|| 0),
            announcements: Announcements::default(),
            counters: Counters::default(),
        });
    }

    /// How many values a selection has.
    pub(super) fn count(&self, selection: &Selection) -> Result<usize, BenchError> {
        let mut points = 0;
        let mut visit = |chunk: &muster_items::Chunk<'_>| {
            for column in chunk.columns {
                points += (0..chunk.times_us.len()).filter(|place| column.values.is_there(*place)).count();
            }
            ControlFlow::Continue(())
        };
        self.archive.scan(&tenant(), selection, &View::all(), &mut visit).map_err(odd)?;
        Ok(points)
    }
}

pub(super) fn tenant() -> TenantId {
    super::TENANT.parse().unwrap_or_else(|_| unreachable!("the constant is an id"))
}

fn odd(error: impl std::fmt::Display) -> BenchError {
    BenchError::Odd(format!("failed to {error}"))
}

/// Processor time of this process so far, all threads together.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The most memory that this process ever had.
pub(super) fn highest_kib() -> u64 {
    status_kib("VmHWM:")
}

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
