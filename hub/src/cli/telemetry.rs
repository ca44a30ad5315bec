//! Reading a tenant's telemetry, as an app or a user of that tenant. An operator is refused by the hub.

use std::{
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::{Serialize, de::DeserializeOwned};

use muster_schemas::api::{
    Reading, ReadingValue, Readings,
    history::{Bucket, Buckets, Figures, Group, Groups},
};

use super::{
    Call, Common, Complaint, Exit, OfTenant, Output, Selection, World, mqtt,
    plot::{Chart, Seen},
    retention, table,
    time::{When, duration_s, shown_f64},
};

/// Most entries that are asked for in one call.
const PAGE_ENTRIES_MAX: usize = 1_000;
/// Most charts that are drawn.
const CHARTS_MAX: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum Telemetry {
    /// The newest reading of each name.
    Last {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        names: Names,
    },
    /// The readings within a time, oldest first.
    Range(Range),
    /// Windows: how many, the smallest, the largest and the mean of each. Where nothing was measured there is none.
    Downsample {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        names: Names,
        #[command(flatten)]
        time: Time,
        /// How long a window is, such as 15m or 1h. Windows begin at whole multiples of it since 1970, UTC.
        #[arg(long, default_value = "1h", value_parser = duration_s)]
        window: u64,
        /// Tell percentiles as well.
        #[arg(long)]
        percentiles: bool,
        /// Most windows to print.
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
        /// Draw them.
        #[arg(long)]
        plot: bool,
        #[command(flatten)]
        size: Size,
    },
    /// Figures across devices, by what they have in common.
    Aggregate {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        names: Names,
        #[command(flatten)]
        time: Time,
        /// What a group has in common, with commas: an attribute such as `district`, or `device`, `stream` or `cell`.
        #[arg(long)]
        by: Option<String>,
        /// How long a window is, such as 1h; all the time is one if there is none.
        #[arg(long, value_parser = duration_s)]
        window: Option<u64>,
        /// Tell percentiles as well.
        #[arg(long)]
        percentiles: bool,
        /// Most groups to print.
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
    },
    /// Write a file for other programs.
    Export {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        names: Names,
        #[command(flatten)]
        time: Time,
        /// csv, ndjson, arrow, parquet or npy.
        #[arg(long, default_value = "csv")]
        format: String,
        /// `wide`, a column for each name of one stream, or `long`, a row for each reading [default: wide for one stream].
        #[arg(long)]
        layout: Option<String>,
        /// The file to write; `-` for standard output.
        #[arg(long, default_value = "-")]
        out: PathBuf,
    },
    /// Say how long it is kept, and what of it when it is old.
    #[command(subcommand)]
    Retention(retention::Retained),
}

#[derive(Debug, Args)]
pub(super) struct Range {
    #[command(flatten)]
    of: OfTenant,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    time: Time,
    /// Most readings to print.
    #[arg(long, default_value = "1000")]
    limit: NonZeroUsize,
    /// Draw the numbers instead of printing readings.
    #[arg(long)]
    plot: bool,
    #[command(flatten)]
    size: Size,
    /// Then print what comes, until it is told to stop.
    #[arg(long, conflicts_with_all = ["plot", "to"])]
    follow: bool,
    /// End after so many that came.
    #[arg(long, requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    place: mqtt::Place,
}

/// Makes a line of figures of an entry.
type Line<T> = fn(T) -> [String; 11];

/// Which names a command is about.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// Only these SenML names, with commas between them.
    #[arg(long)]
    names: Option<String>,
    /// Only this data set.
    #[arg(long)]
    dataset: Option<String>,
}

/// Which time a command is about.
#[derive(Debug, Args)]
pub(super) struct Time {
    /// The first instant: RFC 3339, or a while ago, such as 15m.
    #[arg(long, default_value = "1h")]
    from: When,
    /// The instant before which the readings lie: RFC 3339, or a while ago [default: no end].
    #[arg(long)]
    to: Option<When>,
}

/// How large a chart is.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// Cells of a chart across.
    #[arg(long, default_value = "72", value_parser = clap::value_parser!(u16).range(8..=500))]
    width: u16,
    /// Cells of a chart down.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u16).range(2..=100))]
    height: u16,
}

/// A question while its parameters are gathered.
struct Asked {
    what: String,
    path: String,
    query: Vec<(&'static str, String)>,
}

pub(super) fn telemetry(
    command: Telemetry,
    common: &Common,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let call = &mut Call::new(common, world)?;
    match command {
        Telemetry::Last { of, selection, names } => {
            let asked = call.asks(of, "last", &selection, &names, None)?;
            let answer: Readings = call.hub.get(&asked.what, &asked.path, &asked.query)?;
            call.readings(answer)
        }
        Telemetry::Range(range) => self::range(range, common, world),
        Telemetry::Downsample { of, selection, names, time, window, percentiles, limit, plot, size } => {
            if plot {
                return call.plots((of, &selection, &names, &time), &size);
            }
            let mut asked = call.asks(of, "downsample", &selection, &names, Some(&time))?;
            asked.query.push(("window_ms", window.saturating_mul(1_000).to_string()));
            asked.query.push(("percentiles", percentiles.to_string()));
            let table = (["FROM", "DEVICE", "STREAM", "NAME"], bucket_row as fn(Bucket) -> _);
            call.figures(
                (&asked, limit),
                |page: Buckets| (page.buckets, page.next_cursor, page.damaged),
                |buckets, next_cursor, damaged| Buckets { buckets, next_cursor, damaged },
                table,
            )
        }
        Telemetry::Aggregate { of, selection, names, time, by, window, percentiles, limit } => {
            let mut asked = call.asks(of, "aggregate", &selection, &names, Some(&time))?;
            asked.query.extend(by.map(|by| ("by", by)));
            asked.query.extend(window.map(|s| ("window_ms", s.saturating_mul(1_000).to_string())));
            asked.query.push(("percentiles", percentiles.to_string()));
            let table = (["GROUP", "FROM", "NAME", "STREAMS"], group_row as fn(Group) -> _);
            call.figures(
                (&asked, limit),
                |page: Groups| (page.groups, page.next_cursor, page.damaged),
                |groups, next_cursor, damaged| Groups { groups, next_cursor, damaged },
                table,
            )
        }
        Telemetry::Export { of, selection, names, time, format, layout, out } => {
            let mut asked = call.asks(of, "export", &selection, &names, Some(&time))?;
            asked.query.push(("format", format));
            asked.query.extend(layout.map(|layout| ("layout", layout)));
            call.export(&asked, &out)
        }
        Telemetry::Retention(command) => retention::retention(command, call),
    }
}

fn range(range: Range, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let Range { of, selection, names, time, limit, plot, size, follow, count, place } = range;
    let call = &mut Call::new(common, world)?;
    if plot {
        return call.plots((of, &selection, &names, &time), &size);
    }
    let asked = call.asks(of, "range", &selection, &names, Some(&time))?;
    let (readings, more): (Vec<Reading>, _) =
        call.paged(&asked, limit.get(), |page: Readings| (page.readings, page.next_cursor, page.damaged))?;
    let (next_cursor, damaged) = (more.cursor, more.damaged);
    call.readings(Readings { readings, next_cursor, damaged, ..Readings::default() })?;
    if !follow {
        return Ok(Exit::Ok);
    }
    let Selection { device, stream } = selection;
    let names = names.names.as_deref().unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let names = names.map(str::to_owned).collect();
    mqtt::follow(&mqtt::Follow { device, stream, names, count, place }, common, world)
}

impl Selection {
    fn query(&self) -> Vec<(&'static str, String)> {
        let device = self.device.iter().map(|device| ("device", device.to_string()));
        let stream = self.stream.iter().map(|stream| ("stream", stream.clone()));
        device.chain(stream).collect()
    }
}

/// Of a page: its entries, the cursor of the next one, and what is damaged.
type Parts<T> = (Vec<T>, Option<String>, Option<String>);

/// What a page does not have.
struct More {
    cursor: Option<String>,
    damaged: Option<String>,
}

impl More {
    fn tell(self, call: &mut Call<'_>) -> Result<Exit, Complaint> {
        if self.cursor.is_some() {
            writeln!(call.out, "... and more: raise --limit, or begin later with --from")?;
        }
        call.damaged(self.damaged.as_deref())
    }
}

impl Call<'_> {
    fn asks(
        &self,
        of: OfTenant,
        verb: &str,
        selection: &Selection,
        names: &Names,
        time: Option<&Time>,
    ) -> Result<Asked, Complaint> {
        let tenant = self.tenant(of.tenant)?;
        let mut query = selection.query();
        query.extend(names.names.iter().map(|names| ("names", names.clone())));
        query.extend(names.dataset.iter().map(|name| ("dataset", name.clone())));
        if let Some(Time { from, to }) = time {
            query.push(("from_ms", from.unix_ms(self.now_ms).to_string()));
            query.extend(to.map(|to| ("to_ms", to.unix_ms(self.now_ms).to_string())));
        }
        let what = match verb {
            "last" => format!("read the last telemetry of {tenant}"),
            "export" => format!("export the telemetry of {tenant}"),
            _ => format!("read the telemetry of {tenant}"),
        };
        Ok(Asked { what, path: format!("/api/v1/tenants/{tenant}/telemetry/{verb}"), query })
    }

    /// Page after page, until there are enough.
    fn paged<P: DeserializeOwned, T>(
        &self,
        asked: &Asked,
        limit: usize,
        parts: impl Fn(P) -> Parts<T>,
    ) -> Result<(Vec<T>, More), Complaint> {
        let mut all: Vec<T> = Vec::new();
        let mut more = More { cursor: None, damaged: None };
        loop {
            let mut query = asked.query.clone();
            let left = limit.saturating_sub(all.len());
            query.push(("limit", left.min(PAGE_ENTRIES_MAX).to_string()));
            query.extend(more.cursor.take().map(|cursor| ("cursor", cursor)));
            let (entries, cursor, damaged) = parts(self.hub.get(&asked.what, &asked.path, &query)?);
            let empty = entries.is_empty();
            all.extend(entries);
            more = More { cursor, damaged: damaged.or(more.damaged) };
            // An empty page that promises more would have us ask for ever.
            if more.cursor.is_none() || empty || all.len() >= limit {
                break;
            }
        }
        all.truncate(limit);
        Ok((all, more))
    }

    /// Prints entries of which each has figures: page after page, as a table or as one page.
    fn figures<P: DeserializeOwned + Serialize, T>(
        &mut self,
        (asked, limit): (&Asked, NonZeroUsize),
        parts: impl Fn(P) -> Parts<T>,
        page: impl Fn(Vec<T>, Option<String>, Option<String>) -> P,
        (of, row): ([&'static str; 4], Line<T>),
    ) -> Result<Exit, Complaint> {
        let (entries, more) = self.paged(asked, limit.get(), parts)?;
        if self.output == Output::Json {
            return self.json(&page(entries, more.cursor, more.damaged));
        }
        let rows: Vec<_> = entries.into_iter().map(row).collect();
        let [one, two, three, four] = of;
        let head = [one, two, three, four, "COUNT", "MIN", "MEAN", "MAX", "P50", "P99", "UNIT"];
        table::write(self.out, head, &rows, "no readings in this time")?;
        more.tell(self)
    }

    /// Draws what a time has, a chart for each name of each stream.
    fn plots(
        &mut self,
        (of, selection, names, time): (OfTenant, &Selection, &Names, &Time),
        size: &Size,
    ) -> Result<Exit, Complaint> {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let to = time.to.unwrap_or(When::Ago(0));
        let (from_ms, to_ms) = (time.from.unix_ms(self.now_ms), to.unix_ms(self.now_ms));
        let time = Time { from: When::At(from_ms), to: Some(When::At(to_ms)) };
        let mut asked = self.asks(of, "downsample", selection, names, Some(&time))?;
        asked.query.push(("window_ms", Chart::window_ms(from_ms, to_ms, width).to_string()));
        // A window more than there are columns, since windows do not begin where the chart does.
        let limit = CHARTS_MAX * (2 * width + 2);
        let (buckets, more): (Vec<Bucket>, _) =
            self.paged(&asked, limit, |page: Buckets| (page.buckets, page.next_cursor, page.damaged))?;
        let mut charts: Vec<(Vec<String>, Chart)> = Vec::new();
        for bucket in buckets {
            let Figures { min: Some(min), max: Some(max), mean: Some(mean), .. } = bucket.figures else {
                continue;
            };
            let unit = bucket.unit.as_deref().map(|unit| format!(" [{unit}]")).unwrap_or_default();
            let key =
                vec![bucket.device.to_string(), bucket.stream.clone(), format!("{}{unit}", bucket.name)];
            let place = charts.iter().position(|(known, _)| *known == key);
            if place.is_none() && charts.len() >= CHARTS_MAX {
                continue;
            }
            let seen = Seen { from_s: bucket.from_s, min, max, mean };
            match place.and_then(|place| charts.get_mut(place)) {
                Some((_, chart)) => chart.seen.push(seen),
                None => {
                    let (title, seen) = (key.join("  "), vec![seen]);
                    let (from_s, to_s) = (from_ms as f64 / 1e3, to_ms as f64 / 1e3);
                    charts.push((key, Chart { title, from_s, to_s, seen, width, height }));
                }
            }
        }
        if charts.is_empty() {
            writeln!(self.out, "no numbers in this time")?;
        }
        for (_, chart) in &charts {
            chart.write(self.out)?;
        }
        if more.cursor.is_some() {
            writeln!(self.out, "... and more: name --device, --stream or --names")?;
        }
        self.damaged(more.damaged.as_deref())
    }

    /// Writes a file, and gives it its name when it is whole.
    fn export(&mut self, asked: &Asked, out: &Path) -> Result<Exit, Complaint> {
        if out == Path::new("-") {
            let told = self.hub.download(&asked.what, &asked.path, &asked.query, self.out)?;
            self.out.flush()?;
            return self.told_of_damage(told);
        }
        let mut part = out.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let wrong = |error: std::io::Error| {
            let why = format!("{}: {error}", part.display());
            Complaint::new(Exit::Failure, asked.what.clone(), why, "name another file: --out <file>")
        };
        let mut file = std::io::BufWriter::new(std::fs::File::create(&part).map_err(wrong)?);
        let outcome = self.hub.download(&asked.what, &asked.path, &asked.query, &mut file);
        let outcome = outcome.and_then(|told| file.flush().map(|()| told).map_err(wrong));
        match outcome {
            Ok(told) => {
                std::fs::rename(&part, out).map_err(wrong)?;
                self.told_of_damage(told)
            }
            Err(complaint) => {
                // A half is no file.
                let _ = std::fs::remove_file(&part);
                Err(complaint)
            }
        }
    }

    fn told_of_damage(&mut self, damaged: Option<String>) -> Result<Exit, Complaint> {
        match damaged {
            None => Ok(Exit::Ok),
            Some(what) => {
                let why = format!("the file is whole but for what is damaged: {what}");
                Err(Complaint::new(Exit::Failure, "export all of it", why, "restore that part from a backup"))
            }
        }
    }

    fn readings(&mut self, answer: Readings) -> Result<Exit, Complaint> {
        if self.output == Output::Json {
            return self.json(&answer);
        }
        let more = answer.next_cursor.is_some();
        let truncated = answer.truncated;
        let rows: Vec<_> = answer.readings.into_iter().map(row).collect();
        let head = ["TIME", "DEVICE", "STREAM", "NAME", "VALUE", "UNIT"];
        table::write(self.out, head, &rows, "no readings")?;
        if more {
            writeln!(self.out, "... and more: raise --limit, or begin later with --from")?;
        }
        if truncated {
            writeln!(self.out, "... and more: name one device with --device")?;
        }
        self.damaged(answer.damaged.as_deref())
    }

    fn damaged(&mut self, damaged: Option<&str>) -> Result<Exit, Complaint> {
        if let Some(what) = damaged {
            writeln!(self.out, "... damaged and left out: {}", table::printable(what))?;
        }
        Ok(Exit::Ok)
    }
}

/// A reading as the cells of a row.
pub(super) fn row(reading: Reading) -> [String; 6] {
    let time = shown_f64(reading.time_s);
    let unit = reading.unit.unwrap_or_default();
    [time, reading.device.to_string(), reading.stream, reading.name, shown(reading.value), unit]
}

fn shown(value: ReadingValue) -> String {
    match value {
        ReadingValue::Bool(value) => value.to_string(),
        ReadingValue::Number(value) => value.to_string(),
        ReadingValue::Text(value) => value,
    }
}

fn bucket_row(bucket: Bucket) -> [String; 11] {
    let Bucket { device, stream, name, unit, from_s, figures } = bucket;
    let [count, min, mean, max, p50, p99] = figures_cells(figures);
    let unit = unit.unwrap_or_default();
    [shown_f64(from_s), device.to_string(), stream, name, count, min, mean, max, p50, p99, unit]
}

fn group_row(group: Group) -> [String; 11] {
    let Group { group, name, unit, from_s, streams, figures } = group;
    let [count, min, mean, max, p50, p99] = figures_cells(figures);
    let named = group.into_iter().map(|(by, text)| format!("{by}={}", text.as_deref().unwrap_or("-")));
    let (named, from) = (named.collect::<Vec<_>>().join(","), from_s.map(shown_f64).unwrap_or_default());
    [named, from, name, streams.to_string(), count, min, mean, max, p50, p99, unit.unwrap_or_default()]
}

fn figures_cells(figures: Figures) -> [String; 6] {
    let cell = |number: Option<f64>| number.map(|number| format!("{number:.6}")).unwrap_or_default();
    let short = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    let Figures { count, min, mean, max, p50, p99, .. } = figures;
    let cells = [min, mean, max, p50, p99].map(|number| short(cell(number)));
    let [min, mean, max, p50, p99] = cells;
    [count.to_string(), min, mean, max, p50, p99]
}
