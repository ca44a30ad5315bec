//! A chart for a terminal: braille dots, two across and four down in each cell, with axes. Where nothing was measured
//! nothing is drawn.

use std::io::{self, Write};

use super::{table::printable, time::shown_f64};

/// Room for the numbers on the left.
const MARGIN: usize = 11;
/// Dots of one cell, by column and row (Unicode: braille patterns).
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const BRAILLE: u32 = 0x2800;

/// What is seen in one window of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// When the window begins, Unix seconds.
    pub(super) from_s: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
}

/// A chart of one name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// From when to when, Unix seconds.
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    /// By time.
    pub(super) seen: Vec<Seen>,
    /// Cells across and down, without axes.
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Where to put dots.
struct Canvas {
    width: usize,
    cells: Vec<u32>,
}

impl Canvas {
    fn dot(&mut self, x: usize, y: usize) {
        let place = (y / 4).saturating_mul(self.width).saturating_add(x / 2);
        let bits = DOTS.get(x % 2).and_then(|column| column.get(y % 4));
        if x / 2 < self.width
            && let (Some(cell), Some(bits)) = (self.cells.get_mut(place), bits)
        {
            *cell |= bits;
        }
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        self.cells.chunks(self.width.max(1)).map(|row| {
            row.iter().map(|bits| char::from_u32(BRAILLE + bits).unwrap_or(' ')).collect::<String>()
        })
    }
}

impl Chart {
    /// How long a window is that fills one column of dots, in milliseconds.
    pub(super) fn window_ms(from_ms: u64, to_ms: u64, width: usize) -> u64 {
        let columns = (2 * width.max(1)) as u64;
        to_ms.saturating_sub(from_ms).div_ceil(columns).max(1)
    }

    /// Draws it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", printable(&self.title))?;
        let finite = self.seen.iter().filter(|seen| seen.min.is_finite() && seen.max.is_finite());
        let bounds = finite.fold(None, |bounds: Option<(f64, f64)>, seen| {
            let (min, max) = bounds.unwrap_or((seen.min, seen.max));
            Some((min.min(seen.min), max.max(seen.max)))
        });
        let Some((min, max)) = bounds else { return writeln!(out, "no numbers in this time") };
        let canvas = self.drawn(min, max);
        let last = self.height.saturating_sub(1);
        for (row, dots) in canvas.rows().enumerate() {
            let label = match row {
                // What never changes is in the middle, and told there.
                row if max <= min && row == last / 2 => number(max),
                _ if max <= min => String::new(),
                0 => number(max),
                row if row == last => number(min),
                row if row == last / 2 && last > 2 => {
                    // The middle of that cell.
                    number(max - (max - min) * (row as f64 + 0.5) / self.height as f64)
                }
                _ => String::new(),
            };
            let tick = if label.is_empty() { '│' } else { '┤' };
            writeln!(out, "{label:>MARGIN$} {tick}{}", dots.trim_end_matches('\u{2800}'))?;
        }
        writeln!(out, "{:>MARGIN$} └{}", "", "─".repeat(self.width))?;
        let (from, to) = (shown_f64(self.from_s), shown_f64(self.to_s));
        let room = self.width.saturating_sub(from.len() + to.len()).max(1);
        writeln!(out, "{:>MARGIN$}  {from}{:room$}{to}", "", "")
    }

    fn drawn(&self, min: f64, max: f64) -> Canvas {
        let (columns, rows) = (2 * self.width, 4 * self.height);
        let mut canvas = Canvas { width: self.width, cells: vec![0; self.width * self.height] };
        let span_s = self.to_s - self.from_s;
        // What never changes is drawn in the middle.
        let y = |value: f64| {
            let part = if max > min { (value - min) / (max - min) } else { 0.5 };
            rows.saturating_sub(1) - (part * rows.saturating_sub(1) as f64).round() as usize
        };
        let x = |time_s: f64| ((time_s - self.from_s) / span_s * columns as f64).floor().max(0.0) as usize;
        let near = self.near_s();
        let mut before: Option<(f64, usize, f64)> = None;
        for seen in &self.seen {
            let x = x(seen.from_s).min(columns.saturating_sub(1));
            for y in y(seen.max)..=y(seen.min) {
                canvas.dot(x, y);
            }
            if let Some((time_s, from, mean)) = before
                && seen.from_s - time_s <= near
            {
                for between in from..x {
                    let part = (between - from) as f64 / (x - from) as f64;
                    canvas.dot(between, y(mean + (seen.mean - mean) * part));
                }
            }
            before = Some((seen.from_s, x, seen.mean));
        }
        canvas
    }

    /// How far apart two windows may be that belong to one line, in seconds: a few times what is usual here.
    fn near_s(&self) -> f64 {
        let times = self.seen.iter().map(|seen| seen.from_s);
        let mut apart: Vec<f64> = times.clone().zip(times.skip(1)).map(|(one, next)| next - one).collect();
        apart.sort_by(f64::total_cmp);
        2.5 * apart.get(apart.len() / 2).copied().unwrap_or_default()
    }
}

/// A number in the margin.
fn number(value: f64) -> String {
    let size = value.abs();
    let text = if size != 0.0 && !(1e-3..1e7).contains(&size) {
        format!("{value:.3e}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seen: Vec<Seen>, width: usize, height: usize) -> String {
        let chart = Chart { title: "t [Cel]".to_owned(), from_s: 0.0, to_s: 20.0, seen, width, height };
        let mut out = Vec::new();
        chart.write(&mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    fn at(from_s: f64, value: f64) -> Seen {
        Seen { from_s, min: value, max: value, mean: value }
    }

    #[test]
    fn a_ramp_with_a_gap_is_drawn_with_axes_and_the_gap_is_empty() {
        let seen = (0..20).filter(|s| !(8..14).contains(s)).map(|s| at(f64::from(s), f64::from(s)));
        let text = drawn(seen.collect(), 10, 5);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "t [Cel]");
        assert_eq!(
            lines[1..6],
            [
                "         19 ┤⠀⠀⠀⠀⠀⠀⠀⠀⡠⠊",
                "            │⠀⠀⠀⠀⠀⠀⠀⠊",
                "        9.5 ┤",
                "            │⠀⠀⡠⠊",
                "          0 ┤⡠⠊",
            ]
        );
        assert_eq!(lines[6], "            └──────────");
        assert!(lines[7].contains("1970-01-01T00:00:00.000Z 1970-01-01T00:00:20.000Z"), "{}", lines[7]);
    }

    #[test]
    fn a_window_of_many_values_is_a_bar_from_the_smallest_to_the_largest() {
        let bar = Seen { from_s: 0.0, min: 0.0, max: 7.0, mean: 3.0 };
        let text = drawn(vec![bar], 1, 2);
        assert!(text.contains("          7 ┤⡇\n          0 ┤⡇\n"), "{text}");
    }

    #[test]
    fn what_never_changes_and_what_is_not_there_can_be_drawn() {
        assert!(drawn(vec![at(0.0, 5.0), at(1.0, 5.0)], 4, 3).contains("5 ┤"));
        assert!(drawn(Vec::new(), 4, 3).contains("no numbers"));
        let _ = drawn(vec![at(0.0, f64::MAX), at(1.0, f64::MIN)], 4, 3);
        let _ = drawn(vec![at(99.0, 1.0), at(-5.0, 1.0)], 1, 1);
    }

    #[test]
    fn what_never_changes_is_told_once_beside_its_line() {
        for height in [2, 3, 5, 10] {
            let text = drawn(vec![at(0.0, 5.0), at(1.0, 5.0)], 4, height);
            let told: Vec<_> = text.lines().filter(|line| line.contains('┤')).collect();
            assert_eq!(told.len(), 1, "{text}");
            assert!(
                told[0].chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)),
                "beside its line: {text}"
            );
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (-0.0001, "-1.000e-4"), (21.5, "21.5"), (1e9, "1.000e9"), (-3.0, "-3")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_window_fills_a_column_of_dots() {
        assert_eq!(Chart::window_ms(0, 3_600_000, 60), 30_000);
        assert_eq!(Chart::window_ms(5, 5, 60), 1);
    }
}
