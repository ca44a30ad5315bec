//! Our telemetry store beside servers that keep telemetry and are installed: the same points in the same minutes, what
//! it costs to take them, how large they are, and how fast a day of one series is read. Ours within this process, as in
//! [`super::history`]; the others as processes, in turn, by their own bulk path (line protocol over HTTP).

mod lines;
mod server;

use std::{
    fs,
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use muster_items::{Chunk, History as _, Selection, Values, View};
use muster_schemas::senml::{Pack, Value};

use self::{
    lines::Lines,
    server::{MAKES, Make, Server, bytes_below},
};
use super::{
    BenchError,
    history::{DAY, GROUP, PLANT, Place, QUESTIONS, highest_kib, tenant},
    limits::{STORES_LINES, STORES_ROUNDS},
    page::{Section, grouped, mib, ms},
    plant::{BEGIN_S, device, look_at_machine, plant},
    sample::Sample,
};
use crate::{gauge::Span, process::now};

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// What is asked for.
const ASKED: &str = "temperature";
/// What has every digit that a double has.
const FULL: &str = "vibration";

/// Who keeps.
enum Keeper {
    Ours,
    Other(Make, PathBuf),
}

/// What was measured of one of them.
struct Column {
    keeper: Keeper,
    title: String,
    /// The plant, once for each round.
    plant: Vec<Run>,
    /// The same in requests as small as our commits.
    small: Option<Run>,
    machine: Option<Run>,
    day: Option<Day>,
    failed: Option<String>,
}

/// Points that were taken and kept.
struct Run {
    points: usize,
    /// Until all were durable.
    durable: Span,
    /// Processor time until they lay as they are kept.
    kept: Duration,
    /// Bytes of points and index.
    bytes: u64,
    index_bytes: u64,
    /// Bytes of all files right after that.
    folder_bytes: u64,
    memory: String,
}

/// What questions for a day of one series took.
struct Day {
    values: usize,
    times: Sample,
    /// How many values of full precision came back as they were sent.
    exact: usize,
}

/// Points for one run: packs for us, lines for others.
struct Load<'a> {
    amount: (usize, usize),
    pack: &'a dyn Fn(usize, usize) -> Vec<u8>,
    lines: &'a Lines,
    per_request: usize,
}

/// Measures, telling the section when it is whole.
///
/// # Errors
/// The folder cannot be written. A store that fails is told in its column.
pub fn measure(folder: &Path, out: &mut dyn Write) -> Result<Section, BenchError> {
    let mut columns = vec![Column::new(Keeper::Ours, format!("**Muster** {}", env!("CARGO_PKG_VERSION")))];
    let mut missing = String::new();
    for make in MAKES {
        match make.find() {
            Some(program) => {
                let title = format!("{} {}", make.name(), make.version());
                columns.push(Column::new(Keeper::Other(make, program), title));
            }
            None => {
                let (name, package) = (make.name(), make.package());
                missing
                    .push_str(&format!(" {name} was not measured: Debian's package {package} is missing."));
            }
        }
    }
    // Ours once, as long as no lines have taken memory.
    let none = Lines::default();
    let mut load = Load { amount: PLANT, pack: &plant, lines: &none, per_request: STORES_LINES };
    for column in &mut columns {
        if matches!(column.keeper, Keeper::Ours) {
            column.plant(folder, &load);
        }
    }
    let lines = Lines::of("climate", packs(PLANT))?;
    load.lines = &lines;
    for round in 0..STORES_ROUNDS {
        for column in &mut columns {
            if round > 0 || !matches!(column.keeper, Keeper::Ours) {
                column.plant(folder, &load);
            }
        }
    }
    load.per_request = GROUP;
    columns.iter_mut().for_each(|column| column.small(folder, &load));
    drop(lines);

    let looks = look_at_machine();
    let lines = Lines::of("machine", looks.iter().cloned())?;
    let look = |_: usize, at: usize| looks.get(at).cloned().unwrap_or_default();
    let load = Load { amount: (1, looks.len()), pack: &look, lines: &lines, per_request: STORES_LINES };
    columns.iter_mut().for_each(|column| column.machine(folder, &load));

    let lines = Lines::of("climate", packs(DAY))?;
    let load = Load { amount: DAY, pack: &plant, lines: &lines, per_request: STORES_LINES };
    columns.iter_mut().for_each(|column| column.day(folder, &load));

    let section = section(&columns, looks.len(), &missing);
    write!(out, "{}", section.told())?;
    Ok(section)
}

fn section(columns: &[Column], looks: usize, missing: &str) -> Section {
    let titles = columns.iter().map(|column| column.title.clone()).collect();
    let mut section = Section::with_columns("History beside other stores", titles);
    let mut row = |what: String, show: &dyn Fn(&Column) -> Option<String>| {
        let cell = |column: &Column| match &column.failed {
            Some(failed) => format!("failed: {failed}"),
            None => show(column).unwrap_or_else(|| "–".to_owned()),
        };
        section.cells(what, columns.iter().map(cell).collect());
    };
    let per_s =
        |points: usize, time: Duration| grouped((points as f64 / time.as_secs_f64().max(1e-9)) as usize);
    let points = grouped(
        columns.iter().filter_map(|column| column.plant.first()).map(|run| run.points).max().unwrap_or(0),
    );
    row(
        format!(
            "synthetic plant, {points} points, {} lines a request (Muster: {GROUP} messages a commit): points per second \
             of one core until all are durable",
            grouped(STORES_LINES)
        ),
        &|column| column.median(|run| run.durable.cpu).map(|(points, time)| per_s(points, time)),
    );
    row(
        "the same, until they lie as they are kept: sealed blocks; merged; compacted".to_owned(),
        &|column| column.median(|run| run.kept).map(|(points, time)| per_s(points, time)),
    );
    row(format!("the same, {GROUP} lines a request as well: until durable / as kept"), &|column| {
        let run = column.small.as_ref()?;
        Some(format!("{} / {}", per_s(run.points, run.durable.cpu), per_s(run.points, run.kept)))
    });
    row("the same by the clock, one connection, until durable".to_owned(), &|column| {
        column.median(|run| run.durable.wall).map(|(points, time)| per_s(points, time))
    });
    let each = |bytes: u64, points: usize| format!("{:.2}", bytes as f64 / points.max(1) as f64);
    row("synthetic plant: bytes per point, all but caches / of that the index alone".to_owned(), &|column| {
        let run = column.plant.last()?;
        Some(format!("{} / {}", each(run.bytes, run.points), each(run.index_bytes, run.points)))
    });
    row("the same: all files in the folder right after, for each point".to_owned(), &|column| {
        column.plant.last().map(|run| each(run.folder_bytes, run.points))
    });
    row(format!("this machine's own sensors, {} looks: bytes per point", grouped(looks)), &|column| {
        column.machine.as_ref().map(|run| each(run.bytes, run.points))
    });
    row("synthetic plant: peak resident memory".to_owned(), &|column| {
        column.plant.first().map(|run| run.memory.clone())
    });
    let values =
        columns.iter().filter_map(|column| column.day.as_ref()).map(|day| day.values).max().unwrap_or(0);
    row(
        format!(
            "a day of one series, {} points: p50 (p99); Muster in this process, others over HTTP",
            grouped(values)
        ),
        &|column| {
            let times = &column.day.as_ref()?.times;
            Some(format!("{} (p99 {})", ms(times.median()), ms(times.quantile(990))))
        },
    );
    row("a day of one series in full precision: values that come back bit for bit".to_owned(), &|column| {
        column.day.as_ref().map(|day| format!("{} of {}", grouped(day.exact), grouped(DAY.1)))
    });
    row("sealed on the disk".to_owned(), &|column| {
        Some(match column.keeper {
            Keeper::Ours => "AES-256-GCM, keys of the tenant".to_owned(),
            Keeper::Other(..) => "no".to_owned(),
        })
    });
    row("durable when acknowledged".to_owned(), &|column| {
        Some(match &column.keeper {
            Keeper::Ours => "yes: one `fdatasync` for each commit".to_owned(),
            Keeper::Other(make, _) => make.durability().to_owned(),
        })
    });
    section.note(format!(
        "Points are values; a line has the ten of a pack. Processor time is that of the server's process (user and \
         system), medians of {STORES_ROUNDS} rounds in which stores were measured in turn, each begun anew. Others parse \
         line protocol over HTTP, uncompressed; ours parses SenML, and what MQTT and TLS cost stands in the tables of the \
         hub. Until durable, VictoriaMetrics is asked to flush. \"As kept\" is after `/internal/force_merge` \
         (VictoriaMetrics) and after full compaction (influxd, which compacts here when nothing was written for 3 s \
         instead of 10 minutes and 4 hours). Our bytes are rows of the telemetry table with keys and seals; their index is \
         the keys. Our folder has besides the log and the journals of the engine, which are merged later. Our memory is \
         that of the process that measures, with all it holds besides.{missing}"
    ));
    section
}

impl Column {
    fn new(keeper: Keeper, title: String) -> Self {
        Self { keeper, title, plant: Vec::new(), small: None, machine: None, day: None, failed: None }
    }

    /// The middle one of all rounds, with its points.
    fn median(&self, of: impl Fn(&Run) -> Duration) -> Option<(usize, Duration)> {
        Some((self.plant.first()?.points, Sample::new(self.plant.iter().map(of).collect()).median()))
    }

    fn plant(&mut self, folder: &Path, load: &Load<'_>) {
        if let Some(run) = self.tried(|keeper| run(keeper, folder, load)) {
            self.plant.push(run);
        }
    }

    /// Ours was measured so.
    fn small(&mut self, folder: &Path, load: &Load<'_>) {
        if matches!(self.keeper, Keeper::Other(..)) {
            self.small = self.tried(|keeper| run(keeper, folder, load));
        }
    }

    fn machine(&mut self, folder: &Path, load: &Load<'_>) {
        self.machine = self.tried(|keeper| run(keeper, folder, load));
    }

    fn day(&mut self, folder: &Path, load: &Load<'_>) {
        self.day = self.tried(|keeper| day(keeper, folder, load));
    }

    /// What came of it; once it has failed, nothing is tried any more.
    fn tried<T>(&mut self, attempt: impl FnOnce(&Keeper) -> Result<T, BenchError>) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        attempt(&self.keeper).map_err(|error| self.failed = Some(error.to_string())).ok()
    }
}

/// Has it take points, in a folder that is empty before and gone after.
fn run(keeper: &Keeper, folder: &Path, load: &Load<'_>) -> Result<Run, BenchError> {
    let folder = tempfile::tempdir_in(folder)?;
    match keeper {
        Keeper::Ours => {
            // The peak begins anew; where that is refused, it is that of the whole run.
            let _ = fs::write("/proc/self/clear_refs", "5");
            let place = Place::new(folder.path())?;
            let lot = place.lot(load.amount, load.pack)?;
            let memory = format!("{}, all of this process", mib(highest_kib()));
            drop(place);
            Ok(Run {
                points: lot.points,
                durable: Span { wall: lot.logged_clock, cpu: lot.logged },
                kept: lot.logged + lot.stored,
                bytes: lot.bytes as u64,
                index_bytes: lot.keys_bytes as u64,
                folder_bytes: bytes_below(folder.path(), &|_| true),
                memory,
            })
        }
        Keeper::Other(make, program) => {
            let mut server = Server::start(*make, program, folder.path())?;
            let mark = server.mark()?;
            let wall = feed(&server, load)?;
            let durable = Span { wall, cpu: server.since(mark)?.cpu };
            let kept = server.order(mark)?.cpu;
            let memory = mib(server.peak_kib()?);
            let disk = server.stop();
            Ok(Run {
                points: load.lines.points,
                durable,
                kept,
                bytes: disk.all,
                index_bytes: disk.index,
                folder_bytes: bytes_below(folder.path(), &|_| true),
                memory,
            })
        }
    }
}

/// Sends all lines, and waits until they are durable. Says how long that took.
fn feed(server: &Server, load: &Load<'_>) -> Result<Duration, BenchError> {
    let begun = now();
    for request in load.lines.requests(load.per_request) {
        server.write(request)?;
    }
    server.flush()?;
    Ok(now() - begun)
}

/// Has it take points, and asks for a day of one series after the other.
fn day(keeper: &Keeper, folder: &Path, load: &Load<'_>) -> Result<Day, BenchError> {
    let folder = tempfile::tempdir_in(folder)?;
    let sent = in_full()?;
    let same = |values: &[f64]| {
        let pairs = values.iter().zip(&sent);
        pairs.filter(|(value, sent)| value.to_bits() == sent.to_bits()).count()
    };
    let mut times = Vec::with_capacity(QUESTIONS);
    let mut questions = 0..QUESTIONS;
    match keeper {
        Keeper::Ours => {
            let place = Place::new(folder.path())?;
            place.lot(load.amount, load.pack)?;
            let mut values = 0;
            for question in questions {
                let selection = selection(question % DAY.0, ASKED);
                let begun = now();
                values = place.count(&selection)?;
                times.push(now() - begun);
            }
            let exact = same(&numbers(&place, &selection(0, FULL))?);
            Ok(Day { values, times: Sample::new(times), exact })
        }
        Keeper::Other(make, program) => {
            let mut server = Server::start(*make, program, folder.path())?;
            let mark = server.mark()?;
            feed(&server, load)?;
            server.order(mark)?;
            let range = (BEGIN_S, BEGIN_S + DAY_S);
            let exact = same(&server.numbers(&server.range(device(0).as_str(), FULL, range)?));
            let mut values = 0;
            questions.try_for_each(|question| {
                let device = device(question % DAY.0);
                let begun = now();
                let answer = server.range(device.as_str(), ASKED, range)?;
                times.push(now() - begun);
                values = server.numbers(&answer).len();
                Ok::<_, BenchError>(())
            })?;
            server.stop();
            Ok(Day { values, times: Sample::new(times), exact })
        }
    }
}

/// All packs of the plant, one device after another for each time.
fn packs((devices, packs): (usize, usize)) -> impl Iterator<Item = Vec<u8>> {
    (0..devices * packs).map(move |number| plant(number % devices, number / devices))
}

/// What the first device of a day says in full precision.
fn in_full() -> Result<Vec<f64>, BenchError> {
    let mut values = Vec::with_capacity(DAY.1);
    for at in 0..DAY.1 {
        let pack = Pack::parse(&plant(0, at)).and_then(|pack| pack.resolve(0.0));
        let records = pack.map_err(|error| BenchError::Odd(error.to_string()))?;
        values.extend(records.iter().filter(|record| record.name.ends_with(FULL)).filter_map(|record| {
            match record.value {
                Some(Value::Number(value)) => Some(value),
                _ => None,
            }
        }));
    }
    Ok(values)
}

fn selection(number: usize, name: &str) -> Selection {
    let device = device(number);
    Selection {
        names: vec![format!("urn:dev:{device}:{name}")],
        device: Some(device),
        stream: Some("climate".to_owned()),
        ..Selection::default()
    }
}

fn numbers(place: &Place, selection: &Selection) -> Result<Vec<f64>, BenchError> {
    let mut numbers = Vec::with_capacity(DAY.1);
    let mut visit = |chunk: &Chunk<'_>| {
        for column in chunk.columns {
            if let Values::Numbers(values) = &column.values {
                numbers.extend(values.iter().filter(|value| !value.is_nan()));
            }
        }
        ControlFlow::Continue(())
    };
    let scanned = place.archive.scan(&tenant(), selection, &View::all(), &mut visit);
    scanned.map_err(|error| BenchError::Odd(error.to_string()))?;
    Ok(numbers)
}
