//! How much of the log durable sessions keep, and for how long: segments of it with their bytes and times, oldest first.
//! Beyond its bounds the oldest segment is given up, whoever still wants it. Pure: it is told what is appended and what
//! time it is.

use std::{collections::VecDeque, time::Duration};

use crate::limits::{LOG_AGE_SEGMENTS, LOG_SEGMENT_BYTES_MAX, LOG_SEGMENT_BYTES_MIN, LOG_SEGMENTS};

/// Some records that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// The first behind it.
    pub(super) end: u64,
    /// When the first and the last came, in Unix milliseconds.
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) bytes: u64,
}

impl Segment {
    fn empty(first: u64) -> Self {
        Self { first, end: first, from_ms: 0, to_ms: 0, bytes: 0 }
    }

    /// As a row.
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.end, self.from_ms, self.to_ms, self.bytes].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// The opposite.
    pub(super) fn decode(first: u64, row: &[u8]) -> Option<Self> {
        let mut numbers = row.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let (end, from_ms, to_ms) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Self { first, end, from_ms, to_ms, bytes: numbers.next()? })
    }
}

/// The log as durable sessions hold it. What nobody holds any more is not counted.
#[derive(Debug)]
pub(super) struct Retention {
    /// Closed ones, whose rows are on their way to the disk. About [`LOG_SEGMENTS`] for each bound.
    held: VecDeque<Segment>,
    open: Segment,
    bytes: u64,
    /// Everything below is given up.
    floor: u64,
    /// Closed segments that are no more, whose rows are still there.
    gone: Vec<u64>,
    bytes_max: u64,
    age_ms_max: u64,
}

impl Retention {
    /// A log from `low` up to but without `next`, with the segments that its rows tell, in order. What lies between these
    /// is as large and as old as `measure` says of its first record and end.
    pub(super) fn new(
        (bytes_max, age_max): (u64, Duration),
        (low, next): (u64, u64),
        rows: Vec<Segment>,
        measure: impl FnOnce(u64, u64) -> Option<Segment>,
    ) -> Self {
        let age_ms_max = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        let mut retention = Self {
            held: VecDeque::new(),
            open: Segment::empty(next),
            bytes: 0,
            floor: low,
            gone: Vec::new(),
            bytes_max,
            age_ms_max,
        };
        let mut end = low;
        for row in rows {
            if row.end <= low || row.end > next || row.first < end.min(row.first) {
                retention.gone.push(row.first);
            } else {
                end = row.end;
                retention.bytes += row.bytes;
                retention.held.push_back(row);
            }
        }
        if end < next
            && let Some(rest) = measure(end, next)
        {
            retention.bytes += rest.bytes;
            retention.open = Segment { end: next, ..rest };
        }
        retention
    }

    /// A record is on its way to the log. Returns the segment that it completes.
    pub(super) fn appended(&mut self, sequence: u64, bytes: u64, now_ms: u64) -> Option<Segment> {
        let open = &mut self.open;
        if open.end != sequence || open.first == open.end {
            *open = Segment { from_ms: now_ms, ..Segment::empty(sequence) };
        }
        (open.end, open.to_ms) = (sequence + 1, now_ms);
        open.bytes += bytes;
        self.bytes += bytes;
        let most = (self.bytes_max / LOG_SEGMENTS).clamp(LOG_SEGMENT_BYTES_MIN, LOG_SEGMENT_BYTES_MAX);
        let is_old = now_ms.saturating_sub(open.from_ms) >= self.age_ms_max / LOG_AGE_SEGMENTS;
        if open.bytes < most && !is_old {
            return None;
        }
        let closed = *open;
        self.held.push_back(closed);
        *open = Segment::empty(closed.end);
        Some(closed)
    }

    /// Nobody holds what is below.
    pub(super) fn release(&mut self, below: u64) {
        while let Some(first) = self.held.pop_front_if(|segment| segment.end <= below) {
            self.bytes -= first.bytes.min(self.bytes);
            self.gone.push(first.first);
        }
        if self.open.end <= below {
            self.bytes -= self.open.bytes.min(self.bytes);
            self.open = Segment::empty(self.open.end);
        }
    }

    /// Gives up what is beyond the bounds, of what is on disk up to `committed`. Returns the first that is kept, if that
    /// has changed.
    pub(super) fn give_up(&mut self, now_ms: u64, committed: u64) -> Option<u64> {
        let before = self.floor;
        while let Some(oldest) = self.oldest().copied().filter(|oldest| oldest.end <= committed + 1) {
            let is_old = oldest.to_ms.saturating_add(self.age_ms_max) <= now_ms;
            if self.bytes <= self.bytes_max && !is_old {
                break;
            }
            self.floor = self.floor.max(oldest.end);
            self.release(oldest.end);
        }
        (self.floor > before).then_some(self.floor)
    }

    /// Nothing from this record on is or will be on disk.
    pub(super) fn failed(&mut self, from: u64) {
        while let Some(lost) = self.held.pop_back_if(|segment| segment.end > from) {
            self.bytes -= lost.bytes.min(self.bytes);
        }
        if self.open.end > from {
            self.bytes -= self.open.bytes.min(self.bytes);
            self.open = Segment::empty(from);
        }
    }

    /// When something that is on disk becomes too old, in Unix milliseconds.
    pub(super) fn next_deadline(&self, committed: u64) -> Option<u64> {
        let oldest = self.oldest().filter(|oldest| oldest.end <= committed + 1)?;
        Some(oldest.to_ms.saturating_add(self.age_ms_max))
    }

    /// The first record that is not given up.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First records of segments whose rows are to be removed.
    pub(super) fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    fn oldest(&self) -> Option<&Segment> {
        self.held.front().or(Some(&self.open).filter(|open| open.end > open.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1_024 * 1_024;
    const AGE: Duration = Duration::from_secs(1_000);

    fn retention() -> Retention {
        Retention::new((MIB, AGE), (1, 1), Vec::new(), |_, _| None)
    }

    #[test]
    fn beyond_its_bytes_the_oldest_go() {
        let mut retention = retention();
        let closed: Vec<_> = (1..=2_048).filter_map(|n| retention.appended(n, 1_024, 0)).collect();
        assert_eq!(closed.len(), 32);
        assert_eq!(retention.give_up(0, 0), None, "what is not on disk stays");
        assert_eq!(retention.give_up(0, 2_048), Some(1_025));
        assert_eq!((retention.bytes(), retention.take_gone().len()), (MIB, 16));
        assert_eq!(retention.give_up(0, 2_048), None);
        retention.release(u64::MAX);
        assert_eq!((retention.bytes(), retention.next_deadline(2_048)), (0, None));
    }

    #[test]
    fn beyond_their_age_all_go_also_the_last() {
        let mut retention = retention();
        assert!((1..=10).all(|n| retention.appended(n, 10, n).is_none()));
        assert_eq!((retention.next_deadline(9), retention.next_deadline(10)), (None, Some(1_000_010)));
        assert_eq!(retention.give_up(1_000_009, 10), None);
        assert_eq!(retention.give_up(1_000_010, 10), Some(11));
        assert_eq!(retention.bytes(), 0);
    }

    #[test]
    fn rows_bring_it_back_and_what_they_do_not_tell_is_measured() {
        let mut before = retention();
        let rows: Vec<_> = (1..=200).filter_map(|n| before.appended(n, 1_024, n)).collect();
        let rows: Vec<_> = rows.iter().filter_map(|row| Segment::decode(row.first, &row.encode())).collect();
        let measured = |first, end| {
            let bytes = (end - first) * 1_024;
            Some(Segment { first, end, from_ms: first, to_ms: end - 1, bytes })
        };
        let after = Retention::new((MIB, AGE), (70, 201), rows, measured);
        assert_eq!(after.bytes(), 136 * 1_024, "the first segment is below the log's first record");
        assert_eq!((after.gone.clone(), after.open), (vec![1], before.open));
        assert_eq!(after.next_deadline(200), Some(1_000_128));
    }

    #[test]
    fn what_failed_is_not_held() {
        let mut retention = retention();
        assert_eq!((1..=100).filter_map(|n| retention.appended(n, 1_024, 0)).count(), 1);
        retention.failed(50);
        assert_eq!(retention.bytes(), 0);
        assert!(retention.appended(50, 10, 0).is_none());
        assert_eq!(retention.bytes(), 10);
    }
}
