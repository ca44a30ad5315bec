//! Windows of one stream after another: one bucket for each window and name that has values. A window without any has no
//! bucket, so that gaps stay gaps.

use std::ops::ControlFlow;

use super::{Figures, Measure, Rows, Summary, TooWide, window_start};
use crate::StreamId;

/// A window of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// When the window begins, in microseconds since 1970.
    pub from_us: i64,
    /// Of what.
    pub measure: Measure,
    /// What it says.
    pub figures: Figures,
}

/// What buckets are shown to, by stream, window and name; it may stop the scan.
pub type ShowBucket<'a> = &'a mut dyn FnMut(&StreamId, Bucket) -> ControlFlow<()>;

/// Takes rows as [`super::InOrder`] shows them. Holds one window of one stream.
#[derive(Debug)]
pub struct Downsample {
    window_us: i64,
    percentiles: bool,
    stream: Option<StreamId>,
    from_us: i64,
    /// By measure.
    open: Vec<(Measure, Summary)>,
    held: usize,
}

impl Downsample {
    /// Windows of this length.
    pub fn new(window_us: i64, percentiles: bool) -> Self {
        let window_us = window_us.max(1);
        Self { window_us, percentiles, stream: None, from_us: i64::MIN, open: Vec::new(), held: 0 }
    }

    /// Takes rows; shows the buckets that are complete by them.
    ///
    /// # Errors
    /// One window has more values than are held for percentiles.
    pub fn take(
        &mut self,
        stream: &StreamId,
        rows: &Rows,
        show: ShowBucket<'_>,
    ) -> Result<ControlFlow<()>, TooWide> {
        if self.stream.as_ref() != Some(stream) {
            if self.close(show).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.open.clear();
            self.stream = Some(stream.clone());
        }
        let places: Vec<usize> = rows.columns.iter().map(|column| self.place(column)).collect();
        let (mut from, mut rest) = (0, &rows.times_us[..]);
        while let Some(first) = rest.first().copied() {
            let window = window_start(first, self.window_us);
            if window != self.from_us {
                if self.close(show).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.from_us = window;
            }
            let end = window.saturating_add(self.window_us);
            let count = match rest.get(1) {
                // Windows of one reading are frequent, and a search is dear.
                Some(second) if *second >= end => 1,
                _ => rest.partition_point(|time| *time < end).max(1),
            };
            let (now, later) = rest.split_at(count.min(rest.len()));
            for (column, place) in rows.columns.iter().zip(&places) {
                if let Some((_, summary)) = self.open.get_mut(*place) {
                    summary.add(now, &column.values, from, &mut self.held)?;
                }
            }
            from += now.len();
            rest = later;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows what is left.
    pub fn end(mut self, show: ShowBucket<'_>) -> ControlFlow<()> {
        self.close(show)
    }

    /// Where a column's measure stands; the order of the others stays as it is until the window is closed.
    fn place(&mut self, column: &crate::Column) -> usize {
        let measure = Measure::of(column);
        if let Some(place) = self.open.iter().position(|(known, _)| *known == measure) {
            return place;
        }
        let summary = Summary::new(measure.kind, self.percentiles);
        self.open.push((measure, summary));
        self.open.len() - 1
    }

    fn close(&mut self, show: ShowBucket<'_>) -> ControlFlow<()> {
        let Some(stream) = &self.stream else { return ControlFlow::Continue(()) };
        let mut buckets = Vec::with_capacity(self.open.len());
        for (measure, summary) in &mut self.open {
            if summary.is_empty() {
                continue;
            }
            let full = std::mem::replace(summary, Summary::new(measure.kind, self.percentiles));
            let figures = full.end(&mut self.held);
            buckets.push(Bucket { from_us: self.from_us, measure: measure.clone(), figures });
        }
        buckets.sort_unstable_by(|a, b| a.measure.cmp(&b.measure));
        buckets.into_iter().try_for_each(|bucket| show(stream, bucket))
    }
}
