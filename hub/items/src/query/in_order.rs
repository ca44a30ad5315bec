//! Readings of one stream strictly by time, whatever items they lie in.
//!
//! Items of one stream overlap in time only when they differ in attributes. A scan shows them by their first times, so
//! what lies before the first time of the item that comes next is complete.

use std::ops::ControlFlow;

use muster_schemas::TenantId;

use super::{Kind, TooWide, limits::OVERLAP_ROWS_MAX};
use crate::{Chunk, Column, History, QueryRefusal, Selection, StreamId, Values, View};

/// Readings of one stream by time, of as many items as overlapped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Microseconds since 1970, ascending; each once.
    pub times_us: Vec<i64>,
    /// One for each name, unit and kind, in the order of names.
    pub columns: Vec<Column>,
}

/// What rows are shown to; it may stop the scan.
pub type Show<'a> = &'a mut dyn FnMut(&StreamId, &Rows) -> ControlFlow<()>;

/// Takes chunks as they come and gives rows in order. Holds the last item of one stream, and what overlaps with it.
#[derive(Debug, Default)]
pub struct InOrder {
    waiting: Option<(StreamId, Rows)>,
}

/// Scans, and shows every stream's rows by time.
///
/// # Errors
/// As [`History::scan`]; what could be read was shown before. Or more overlaps than can be put in order.
pub fn scan_in_order(
    history: &dyn History,
    tenant: &TenantId,
    selection: &Selection,
    view: &View,
    show: Show<'_>,
) -> Result<(), QueryRefusal> {
    let mut in_order = InOrder::default();
    let (mut stopped, mut too_wide) = (false, None);
    let outcome = history.scan(tenant, selection, view, &mut |chunk| {
        let flow = in_order.take(chunk, show);
        match flow {
            Ok(flow) => {
                stopped = flow.is_break();
                flow
            }
            Err(error) => {
                too_wide = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = too_wide {
        return Err(error.into());
    }
    if !stopped {
        let _ = in_order.end(show);
    }
    outcome
}

impl InOrder {
    /// Takes a chunk; shows what is complete by it.
    ///
    /// # Errors
    /// More rows overlap than may wait.
    pub fn take(&mut self, chunk: &Chunk<'_>, show: Show<'_>) -> Result<ControlFlow<()>, TooWide> {
        let Some(first) = chunk.times_us.first().copied() else { return Ok(ControlFlow::Continue(())) };
        let mut rest = None;
        if let Some((stream, mut rows)) = self.waiting.take() {
            if stream == chunk.item.stream {
                let later = rows.split_off(rows.times_us.partition_point(|time| *time < first));
                rest = (!later.times_us.is_empty()).then_some(later);
            }
            if !rows.times_us.is_empty() && show(&stream, &rows).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let rows = match rest {
            None => Rows { times_us: chunk.times_us.to_vec(), columns: chunk.columns.to_vec() },
            Some(rest) => rest.merged(chunk),
        };
        if rows.times_us.len() > OVERLAP_ROWS_MAX.max(chunk.times_us.len()) {
            return Err(TooWide::Overlap { max: OVERLAP_ROWS_MAX });
        }
        self.waiting = Some((chunk.item.stream.clone(), rows));
        Ok(ControlFlow::Continue(()))
    }

    /// Shows what is left.
    pub fn end(&mut self, show: Show<'_>) -> ControlFlow<()> {
        match self.waiting.take() {
            Some((stream, rows)) if !rows.times_us.is_empty() => show(&stream, &rows),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Rows {
    /// Cuts off everything from a place on.
    fn split_off(&mut self, place: usize) -> Self {
        let columns = self.columns.iter_mut().map(|column| Column {
            name: column.name.clone(),
            unit: column.unit.clone(),
            values: column.values.split_off(place),
        });
        Self { columns: columns.collect(), times_us: self.times_us.split_off(place) }
    }

    fn merged(&self, chunk: &Chunk<'_>) -> Self {
        let mut times_us: Vec<i64> = self.times_us.iter().chain(chunk.times_us).copied().collect();
        times_us.sort_unstable();
        times_us.dedup();
        let mut columns: Vec<Column> = Vec::new();
        for (times, from) in [(&self.times_us[..], &self.columns[..]), (chunk.times_us, chunk.columns)] {
            // Both are sorted, so the places in the result only grow.
            let mut place = 0;
            let places: Vec<usize> = times
                .iter()
                .map(|time| {
                    while times_us.get(place).is_some_and(|at| at < time) {
                        place += 1;
                    }
                    place
                })
                .collect();
            for column in from {
                let to = column_of(&mut columns, column, times_us.len());
                for (from_place, place) in places.iter().enumerate() {
                    to.put(*place, &column.values, from_place);
                }
            }
        }
        Self { times_us, columns }
    }
}

/// The column of the same name, unit and kind; a new one, at its place in the order, if there is none.
fn column_of<'a>(columns: &'a mut Vec<Column>, like: &Column, places: usize) -> &'a mut Values {
    let key = |column: &Column| (column.name.clone(), column.unit.clone(), Kind::of(&column.values));
    let wanted = key(like);
    let place = match columns.binary_search_by(|column| key(column).cmp(&wanted)) {
        Ok(place) => place,
        Err(place) => {
            let values = Values::nothing(Kind::of(&like.values), places);
            columns.insert(place, Column { name: like.name.clone(), unit: like.unit.clone(), values });
            place
        }
    };
    // It was found or put there.
    #[expect(clippy::indexing_slicing, reason = "the place was found or filled just now")]
    &mut columns[place].values
}
