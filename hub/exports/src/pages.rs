//! Answers of a bounded size: a page, and where the next one begins. Each page reads from where the one before ended.

use std::{cmp::Ordering, io::Write, ops::ControlFlow};

use muster_items::{
    QueryRefusal, Selection, StreamId,
    query::{Aggregate, By, Downsample, GroupBucket, Measure, Rows, WINDOW_US_MIN, scan_in_order},
};
use muster_schemas::api::{
    Readings,
    history::{Buckets, Groups},
};
use serde::Serialize;

use crate::{
    ExportError, Question,
    cursor::{Of, Place},
    limits::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX},
    shown::{self, measure_key},
};

/// How much a page may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    entries: usize,
    bytes: usize,
}

impl PageSize {
    /// So many entries, as long as they have fewer bytes than `bytes_max`.
    ///
    /// # Errors
    /// There are none, or more than a page may have.
    pub fn new(entries: usize, bytes_max: usize) -> Result<Self, QueryRefusal> {
        if entries == 0 || entries > PAGE_ENTRIES_MAX {
            return Err(QueryRefusal::Limit { asked: entries, max: PAGE_ENTRIES_MAX });
        }
        Ok(Self { entries, bytes: bytes_max.min(PAGE_BYTES_MAX) })
    }
}

/// A page while it is filled.
struct Page<T, P> {
    size: PageSize,
    entries: Vec<T>,
    bytes: usize,
    last: Option<P>,
    more: bool,
}

impl<T: Serialize, P: Serialize> Page<T, P> {
    fn new(size: PageSize) -> Self {
        Self { size, entries: Vec::new(), bytes: 0, last: None, more: false }
    }

    /// Takes an entry, unless the page is full. The first always fits.
    fn push(&mut self, entry: T, place: P) -> ControlFlow<()> {
        if self.entries.len() >= self.size.entries || self.bytes >= self.size.bytes {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes += serde_json::to_vec(&entry).map_or(0, |json| json.len());
        self.entries.push(entry);
        self.last = Some(place);
        ControlFlow::Continue(())
    }

    fn next_cursor(&self, of: Of) -> Option<String> {
        self.last.as_ref().filter(|_| self.more).and_then(|place| of.seal(place))
    }
}

/// Takes what came of a scan apart: damage is told with the page, all else is no page.
fn damage(outcome: Result<(), QueryRefusal>) -> Result<Option<String>, QueryRefusal> {
    match outcome {
        Err(QueryRefusal::Damaged(what)) => Ok(Some(what)),
        outcome => outcome.map(|()| None),
    }
}

/// The newest reading of each name.
///
/// # Errors
/// The history cannot be read.
pub fn last(question: Question<'_>, size: PageSize) -> Result<Readings, QueryRefusal> {
    let Question { history, tenant, selection, view } = question;
    let (found, more) = history.last(tenant, selection, view, size.entries)?;
    let mut page = Page::new(size);
    for reading in found.iter().filter_map(shown::last) {
        if page.push(reading, ()).is_break() {
            break;
        }
    }
    Ok(Readings { truncated: more || page.more, readings: page.entries, ..Readings::default() })
}

/// Readings, by stream, time and name.
///
/// # Errors
/// The history cannot be read, or the cursor is none of this question.
pub fn range(question: Question<'_>, size: PageSize, cursor: Option<&str>) -> Result<Readings, QueryRefusal> {
    let of = Of::question(&format!("range {} {:?}", question.tenant, question.selection));
    let after: Option<Place> = cursor.map(|cursor| of.open(cursor)).transpose()?;
    let mut page: Page<_, Place> = Page::new(size);
    let outcome = scan_after(question, after.as_ref(), &mut |stream, rows| {
        for (place, time_us) in rows.times_us.iter().enumerate() {
            for column in &rows.columns {
                let Some(value) = column.values.value_at(place) else { continue };
                let place = Place::new(stream, *time_us, measure_key(&Measure::of(column)));
                if after.as_ref().is_some_and(|after| place <= *after) {
                    continue;
                }
                let reading = shown::reading(stream, *time_us, &column.name, column.unit.as_deref(), value);
                if page.push(reading, place).is_break() {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    });
    let damaged = damage(outcome)?;
    let next_cursor = page.next_cursor(of);
    Ok(Readings { readings: page.entries, next_cursor, damaged, ..Readings::default() })
}

/// Windows of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Their length.
    pub window_us: i64,
    /// Whether percentiles are told.
    pub percentiles: bool,
}

impl Windows {
    /// Windows of so many milliseconds; none if they would be shorter than a window may be, or longer than time is counted.
    pub fn new(window_ms: u64, percentiles: bool) -> Option<Self> {
        let window_us = i64::try_from(window_ms).ok()?.checked_mul(1_000)?;
        (window_us >= WINDOW_US_MIN).then_some(Self { window_us, percentiles })
    }
}

/// One bucket for each window and name that has values.
///
/// # Errors
/// The history cannot be read, the question needs too much, or the cursor is none of it.
pub fn downsample(
    question: Question<'_>,
    windows: Windows,
    size: PageSize,
    cursor: Option<&str>,
) -> Result<Buckets, QueryRefusal> {
    let of = Of::question(&format!("windows {windows:?} {} {:?}", question.tenant, question.selection));
    let after: Option<Place> = cursor.map(|cursor| of.open(cursor)).transpose()?;
    let mut page: Page<_, Place> = Page::new(size);
    let outcome = windows_after(question, windows, after.as_ref(), &mut |stream, bucket| {
        let place = Place::new(stream, bucket.from_us, measure_key(&bucket.measure));
        if after.as_ref().is_some_and(|after| place <= *after) {
            return ControlFlow::Continue(());
        }
        page.push(shown::bucket(stream, bucket), place)
    });
    let damaged = damage(outcome)?;
    let next_cursor = page.next_cursor(of);
    Ok(Buckets { buckets: page.entries, next_cursor, damaged })
}

/// Writes every bucket as a line of JSON.
///
/// # Errors
/// As [`downsample`], or it cannot be written; lines may have been.
pub fn downsample_lines(
    question: Question<'_>,
    windows: Windows,
    mut out: impl Write,
) -> Result<(), ExportError> {
    let mut failed = Ok(());
    let outcome = windows_after(question, windows, None, &mut |stream, bucket| {
        failed = line(&mut out, &shown::bucket(stream, bucket));
        if failed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    failed?;
    out.flush()?;
    Ok(outcome?)
}

/// What an aggregate is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    by: Vec<By>,
    names: Vec<String>,
    windows: Option<Windows>,
    percentiles: bool,
}

impl Grouping {
    /// By these, such as `district`, `attribute:device`, `device`, `stream` or `cell`; all in one group if there are none.
    /// In windows, if there are any.
    pub fn new(names: Vec<String>, windows: Option<Windows>, percentiles: bool) -> Self {
        let by = names.iter().map(|name| match name.as_str() {
            "device" => By::Device,
            "stream" => By::Stream,
            "cell" => By::Cell,
            name => By::Attribute(name.strip_prefix("attribute:").unwrap_or(name).to_owned()),
        });
        Self { by: by.collect(), names, windows, percentiles }
    }

    fn found(&self, question: Question<'_>) -> Result<(Vec<GroupBucket>, Option<String>), QueryRefusal> {
        let Question { history, tenant, selection, view } = question;
        let window_us = self.windows.map(|windows| windows.window_us);
        let mut aggregate = Aggregate::new(self.by.clone(), window_us, self.percentiles);
        let mut taken = Ok(());
        let outcome = history.scan(tenant, selection, view, &mut |chunk| {
            taken = aggregate.take(chunk);
            if taken.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        taken?;
        let damaged = damage(outcome)?;
        Ok((aggregate.end(), damaged))
    }
}

/// One bucket for each group, window and name. Each page reads all again: for many groups, ask for lines.
///
/// # Errors
/// The history cannot be read, the question needs too much, or the cursor is none of it.
pub fn aggregate(
    question: Question<'_>,
    grouping: &Grouping,
    size: PageSize,
    cursor: Option<&str>,
) -> Result<Groups, QueryRefusal> {
    type Group = (Vec<Option<String>>, Option<i64>, (String, Option<String>, u8));
    let of = Of::question(&format!("groups {grouping:?} {} {:?}", question.tenant, question.selection));
    let after: Option<Group> = cursor.map(|cursor| of.open(cursor)).transpose()?;
    let (found, damaged) = grouping.found(question)?;
    let mut page: Page<_, Group> = Page::new(size);
    for group in found {
        let place = (group.group.clone(), group.from_us, measure_key(&group.measure));
        if after.as_ref().is_some_and(|after| place <= *after) {
            continue;
        }
        if page.push(shown::group(&grouping.names, group), place).is_break() {
            break;
        }
    }
    let next_cursor = page.next_cursor(of);
    Ok(Groups { groups: page.entries, next_cursor, damaged })
}

/// Writes every group as a line of JSON.
///
/// # Errors
/// As [`aggregate`], or it cannot be written; lines may have been.
pub fn aggregate_lines(
    question: Question<'_>,
    grouping: &Grouping,
    mut out: impl Write,
) -> Result<(), ExportError> {
    let (found, damaged) = grouping.found(question)?;
    for group in found {
        line(&mut out, &shown::group(&grouping.names, group))?;
    }
    out.flush()?;
    match damaged {
        Some(what) => Err(QueryRefusal::Damaged(what).into()),
        None => Ok(()),
    }
}

fn line(out: &mut impl Write, entry: &impl Serialize) -> Result<(), ExportError> {
    serde_json::to_writer(&mut *out, entry).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

type ShowRows<'a> = &'a mut dyn FnMut(&StreamId, &Rows) -> ControlFlow<()>;

/// Scans from the stream and time of a place on. What lies before the place in its own row or window comes again.
fn scan_after(question: Question<'_>, after: Option<&Place>, show: ShowRows<'_>) -> Result<(), QueryRefusal> {
    let Question { history, tenant, selection, view } = question;
    let Some(after) = after else { return scan_in_order(history, tenant, selection, view, show) };
    let (mut stopped, mut damaged) = (false, None);
    for stream in history.streams(tenant, selection)? {
        let from_us = match after.cmp_stream(&stream) {
            Ordering::Less => continue,
            Ordering::Equal => selection.from_us.max(Some(after.time_us)),
            Ordering::Greater => selection.from_us,
        };
        let (device, name) = (Some(stream.device.clone()), Some(stream.stream.clone()));
        let selection = Selection { device, stream: name, from_us, ..selection.clone() };
        let outcome = scan_in_order(history, tenant, &selection, view, &mut |stream, rows| {
            let flow = show(stream, rows);
            stopped = flow.is_break();
            flow
        });
        match outcome {
            Err(refusal @ QueryRefusal::Damaged(_)) => damaged = Some(refusal),
            outcome => outcome?,
        }
        if stopped {
            break;
        }
    }
    damaged.map_or(Ok(()), Err)
}

fn windows_after(
    question: Question<'_>,
    windows: Windows,
    after: Option<&Place>,
    show: muster_items::query::ShowBucket<'_>,
) -> Result<(), QueryRefusal> {
    let mut downsample = Downsample::new(windows.window_us, windows.percentiles);
    let (mut taken, mut stopped) = (Ok(()), false);
    let outcome =
        scan_after(question, after, &mut |stream, rows| match downsample.take(stream, rows, show) {
            Ok(flow) => {
                stopped = flow.is_break();
                flow
            }
            Err(too_wide) => {
                taken = Err(too_wide);
                ControlFlow::Break(())
            }
        });
    taken?;
    if !stopped {
        let _ = downsample.end(show);
    }
    outcome
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
