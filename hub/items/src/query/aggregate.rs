//! Figures across devices: one bucket for each group, window and name. An item with several texts of an attribute counts
//! in the group of each; one without is in the group of none.

use std::collections::BTreeMap;

use super::{Figures, Kind, Measure, Summary, TooWide, limits::AGGREGATE_BUCKETS_MAX, window_start};
use crate::{Chunk, ItemInfo, StreamId};

/// What a group has in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// An attribute of the items: what the device's attribute was when they were captured.
    Attribute(String),
    /// The device.
    Device,
    /// The name of the stream.
    Stream,
    /// The geohash cell of the items.
    Cell,
}

/// A group's bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupBucket {
    /// One text for each thing that was grouped by; none where an item has none.
    pub group: Vec<Option<String>>,
    /// When the window begins; none if there are no windows.
    pub from_us: Option<i64>,
    /// Of what.
    pub measure: Measure,
    /// How many streams it is of.
    pub streams: u64,
    /// What it says.
    pub figures: Figures,
}

/// Takes chunks as a scan shows them. Holds all buckets until the end, up to a bound.
#[derive(Debug)]
pub struct Aggregate {
    by: Vec<By>,
    window_us: Option<i64>,
    percentiles: bool,
    groups: BTreeMap<Vec<Option<String>>, u32>,
    measures: BTreeMap<Measure, u32>,
    buckets: BTreeMap<Place, Cell>,
    stream: Option<StreamId>,
    /// The number of that stream among those that were seen.
    stream_number: u64,
    held: usize,
}

/// Number of the group, start of the window, number of the measure.
type Place = (u32, i64, u32);

#[derive(Debug)]
struct Cell {
    summary: Summary,
    streams: u64,
    /// The stream that was counted last.
    stream: u64,
}

impl Aggregate {
    /// Grouped by `by`; in windows, if their length is given, or else over all times.
    pub fn new(by: Vec<By>, window_us: Option<i64>, percentiles: bool) -> Self {
        Self {
            by,
            window_us: window_us.map(|window| window.max(1)),
            percentiles,
            groups: BTreeMap::new(),
            measures: BTreeMap::new(),
            buckets: BTreeMap::new(),
            stream: None,
            stream_number: 0,
            held: 0,
        }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// There are more buckets, or values for percentiles, than are held.
    pub fn take(&mut self, chunk: &Chunk<'_>) -> Result<(), TooWide> {
        if self.stream.as_ref() != Some(&chunk.item.stream) {
            self.stream = Some(chunk.item.stream.clone());
            self.stream_number += 1;
        }
        let groups: Vec<u32> = self.groups_of(chunk.item)?;
        let mut measures = Vec::with_capacity(chunk.columns.len());
        for column in chunk.columns {
            measures.push(number(&mut self.measures, Measure::of(column))?);
        }
        let (mut from, mut rest) = (0, chunk.times_us);
        while let Some(first) = rest.first().copied() {
            let (window, count) = match self.window_us {
                None => (i64::MIN, rest.len()),
                Some(window_us) => {
                    let window = window_start(first, window_us);
                    let end = window.saturating_add(window_us);
                    (window, rest.partition_point(|time| *time < end).max(1))
                }
            };
            let (now, later) = rest.split_at(count.min(rest.len()));
            for (column, measure) in chunk.columns.iter().zip(&measures) {
                let there = from..from + now.len();
                if !there.clone().any(|place| column.values.value_at(place).is_some()) {
                    continue;
                }
                for group in &groups {
                    let place = (*group, window, *measure);
                    if !self.buckets.contains_key(&place) && self.buckets.len() >= AGGREGATE_BUCKETS_MAX {
                        return Err(TooWide::Buckets { max: AGGREGATE_BUCKETS_MAX });
                    }
                    let (kind, percentiles) = (Kind::of(&column.values), self.percentiles);
                    let cell = self.buckets.entry(place).or_insert_with(|| Cell::new(kind, percentiles));
                    if cell.stream != self.stream_number {
                        (cell.stream, cell.streams) = (self.stream_number, cell.streams + 1);
                    }
                    cell.summary.add(now, &column.values, from, &mut self.held)?;
                }
            }
            from += now.len();
            rest = later;
        }
        Ok(())
    }

    /// Takes what another with the same question made of other streams.
    ///
    /// # Errors
    /// Together they hold too much.
    pub fn merge(&mut self, other: &Self) -> Result<(), TooWide> {
        let mut groups = BTreeMap::new();
        for (group, theirs) in &other.groups {
            groups.insert(*theirs, number(&mut self.groups, group.clone())?);
        }
        let mut measures = BTreeMap::new();
        for (measure, theirs) in &other.measures {
            measures.insert(*theirs, (number(&mut self.measures, measure.clone())?, measure.kind));
        }
        for ((group, window, measure), cell) in &other.buckets {
            let (Some(group), Some((measure, kind))) = (groups.get(group), measures.get(measure)) else {
                continue;
            };
            let place = (*group, *window, *measure);
            if !self.buckets.contains_key(&place) && self.buckets.len() >= AGGREGATE_BUCKETS_MAX {
                return Err(TooWide::Buckets { max: AGGREGATE_BUCKETS_MAX });
            }
            let percentiles = self.percentiles;
            let ours = self.buckets.entry(place).or_insert_with(|| Cell::new(*kind, percentiles));
            ours.streams += cell.streams;
            ours.summary.merge(&cell.summary, &mut self.held)?;
        }
        self.stream_number += other.stream_number;
        self.stream = None;
        Ok(())
    }

    /// All buckets, by group, window and name.
    pub fn end(mut self) -> Vec<GroupBucket> {
        let groups: BTreeMap<u32, Vec<Option<String>>> =
            self.groups.into_iter().map(|(group, number)| (number, group)).collect();
        let measures: BTreeMap<u32, Measure> =
            self.measures.into_iter().map(|(measure, number)| (number, measure)).collect();
        let mut all: Vec<GroupBucket> = Vec::with_capacity(self.buckets.len());
        for ((group, window, measure), cell) in self.buckets {
            let (Some(group), Some(measure)) = (groups.get(&group), measures.get(&measure)) else { continue };
            all.push(GroupBucket {
                group: group.clone(),
                from_us: self.window_us.map(|_| window),
                measure: measure.clone(),
                streams: cell.streams,
                figures: cell.summary.end(&mut self.held),
            });
        }
        all.sort_by(|a, b| (&a.group, a.from_us, &a.measure).cmp(&(&b.group, b.from_us, &b.measure)));
        all
    }

    fn groups_of(&mut self, item: &ItemInfo) -> Result<Vec<u32>, TooWide> {
        let mut groups: Vec<Vec<Option<String>>> = vec![Vec::new()];
        for by in &self.by {
            let mut texts: Vec<Option<String>> = match by {
                By::Attribute(name) => {
                    item.attributes.texts(name).map(|text| Some(text.to_owned())).collect()
                }
                By::Device => vec![Some(item.stream.device.as_str().to_owned())],
                By::Stream => vec![Some(item.stream.stream.clone())],
                By::Cell => vec![item.cell.clone()],
            };
            if texts.is_empty() {
                texts.push(None);
            }
            if groups.len().saturating_mul(texts.len()) > AGGREGATE_BUCKETS_MAX {
                return Err(TooWide::Buckets { max: AGGREGATE_BUCKETS_MAX });
            }
            groups = groups
                .iter()
                .flat_map(|group| texts.iter().map(|text| group.iter().chain([text]).cloned().collect()))
                .collect();
        }
        groups.into_iter().map(|group| number(&mut self.groups, group)).collect()
    }
}

impl Cell {
    fn new(kind: Kind, percentiles: bool) -> Self {
        Self { summary: Summary::new(kind, percentiles), streams: 0, stream: 0 }
    }
}

/// The number of a thing among those that were seen.
fn number<T: Ord>(known: &mut BTreeMap<T, u32>, thing: T) -> Result<u32, TooWide> {
    if let Some(number) = known.get(&thing) {
        return Ok(*number);
    }
    if known.len() >= AGGREGATE_BUCKETS_MAX {
        return Err(TooWide::Buckets { max: AGGREGATE_BUCKETS_MAX });
    }
    let next = known.len() as u32;
    known.insert(thing, next);
    Ok(next)
}
