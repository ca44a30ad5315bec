//! The page that is written: tables of what was measured, under the machine that it was measured on.

use std::{fmt::Write as _, time::Duration};

use super::machine::Machine;

/// Things that belong together, as a table.
#[derive(Debug, Clone)]
pub struct Section {
    title: &'static str,
    /// Titles of the columns after the first, which says what was measured.
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    note: Option<String>,
}

impl Section {
    /// An empty section with what was measured and what was aimed at.
    pub fn new(title: &'static str) -> Self {
        Self::with_columns(title, vec!["measured".to_owned(), "target".to_owned()])
    }

    /// An empty section with columns of its own.
    pub fn with_columns(title: &'static str, columns: Vec<String>) -> Self {
        Self { title, columns, rows: Vec::new(), note: None }
    }

    /// Adds what was measured.
    pub fn row(&mut self, what: impl Into<String>, measured: impl Into<String>) -> &mut Self {
        self.row_with_target(what, measured, "")
    }

    /// Adds what was measured and what was aimed at.
    pub fn row_with_target(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        target: &'static str,
    ) -> &mut Self {
        self.cells(what, vec![measured.into(), target.to_owned()])
    }

    /// Adds a row with a cell for each column.
    pub fn cells(&mut self, what: impl Into<String>, cells: Vec<String>) -> &mut Self {
        let row = [what.into()].into_iter().chain(cells).collect();
        self.rows.push(row);
        self
    }

    /// Says something below the table.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.note = Some(note.into());
        self
    }

    /// The rows as lines of text, for a person who waits.
    pub fn told(&self) -> String {
        let line = |row: &Vec<String>| {
            let (what, cells) = row.split_first()?;
            let known = cells.iter().filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>();
            Some(format!("  {what}: {}\n", known.join(" | ")))
        };
        format!("{}\n{}", self.title, self.rows.iter().filter_map(line).collect::<String>())
    }

    /// The section in Markdown.
    fn render(&self) -> String {
        let bar = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let lines = "---|".repeat(self.columns.len() + 1);
        let rows: String = self.rows.iter().map(|row| bar(row)).collect();
        let note = self.note.as_ref().map(|note| format!("\n{}\n", wrapped(note))).unwrap_or_default();
        let head = bar(&[vec![String::new()], self.columns.clone()].concat());
        format!("\n## {}\n\n{}|{lines}\n{rows}{note}", self.title, head.replacen("|  |", "| |", 1))
    }
}

/// A paragraph in lines that are not too long.
fn wrapped(text: &str) -> String {
    const COLUMNS: usize = 118;
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

const HEAD: &str = "\
# What was measured

One run of `make bench`, which builds the programs with optimisation, runs them as processes on loopback and replaces
this page. Nothing here is asserted, and no test depends on it.

Read it with care:

* The machine is shared: the hub, the load and whatever else runs there have the same cores. A rate is what hub and load
  reach together on them; processor time is the hub's own (user and system, from `/proc`).
* Processor time per message depends on load: it falls when more messages come at once, because batches get larger, and
  it rises when other programs fight for the same caches. Compare only numbers of one run, and programs only when they
  were measured in the same minutes.
* The load is closed: at most so many messages are on their way. With a full window the wait for an acknowledgement is
  mostly the queue that the window makes; one message at a time shows the path itself.
* Beside other brokers: peers in their best sensible configuration (`simulators/src/bench/peer.rs`), the load in one thread
  (`muster-sim load`), brokers taken in turn. Lossless: deliveries outstanding are bounded, every message is counted.
* A lone message takes as long as it takes to wake a processor. Beside other brokers it is measured with the broker and its
  load on one processor, and on two: left to itself the kernel does either, and that makes more of a difference than the
  broker.
* The devices of this page hold soft keys and stand for no TPM; only the agent's row runs on a simulated one (swtpm).
";

/// The whole page in Markdown.
pub fn render(machine: &Machine, date: Option<&str>, sections: &[Section]) -> String {
    let mut page = HEAD.to_owned();
    if cfg!(debug_assertions) {
        page.push_str("\n**Built without optimisation: these numbers tell nothing.**\n");
    }
    let Machine { cores, model, memory_mib, kernel, file_system, load } = machine;
    page.push_str("\n| machine | |\n|---|---|\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(page, "| {name} | {value} |");
    };
    line("processors", &format!("{cores} × {model}"));
    line("memory", &format!("{memory_mib} MiB"));
    line("kernel", &format!("Linux {kernel}"));
    line("file system of the hub's folder", file_system);
    line("load average before the run", load);
    line("command", "`make bench` (`muster-sim bench --write docs/benchmarks.md`)");
    line("version", env!("CARGO_PKG_VERSION"));
    if let Some(date) = date {
        line("date", date);
    }
    for section in sections {
        page.push_str(&section.render());
    }
    page
}

/// A duration in milliseconds, with as many digits as tell something.
pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

/// Kibibytes, in MiB.
pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1_024.0)
}

/// How many per second.
pub fn rate(count: usize, time: Duration) -> String {
    let rate = count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
    format!("{} /s", grouped(rate.round() as usize))
}

/// A number with its thousands apart.
pub fn grouped(number: usize) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), number % 1_000),
    }
}

/// Time per thing, in microseconds.
pub fn us_each(time: Duration, count: usize) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6 / count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_a_person_reads_them() {
        assert_eq!(
            (ms(Duration::from_micros(1_234)), ms(Duration::from_millis(153))),
            ("1.23 ms".into(), "153 ms".into())
        );
        assert_eq!(
            (rate(500, Duration::from_secs(2)), rate(2_290_014, Duration::from_secs(2))),
            ("250 /s".into(), "1,145,007 /s".into())
        );
        assert_eq!(
            (mib(28_160), us_each(Duration::from_secs(1), 80_000)),
            ("27.5 MiB".into(), "12.5 µs".into())
        );
    }

    #[test]
    fn a_page_has_the_machine_and_a_table_for_each_section() {
        let machine = Machine {
            cores: 2,
            model: "Model T".into(),
            memory_mib: 512,
            kernel: "6.1".into(),
            file_system: "ext4".into(),
            load: "0.10".into(),
        };
        let mut section = Section::new("Start");
        section.row_with_target("spawn to ready", "90 ms", "under 500 ms");
        let page = render(&machine, Some("2026-02-01"), &[section]);
        for line in [
            "| processors | 2 × Model T |",
            "| date | 2026-02-01 |",
            "## Start",
            "| spawn to ready | 90 ms | under 500 ms |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
        }
        assert!(!render(&machine, None, &[]).contains("| date |"));
    }
}
