//! The spool: readings until their PUBACK. Bounded in count and bytes; when it is full the oldest that waits goes, and
//! is counted.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{
    limits::{READING_BYTES_MAX, SPOOL_BYTES_MAX, SPOOL_READINGS_MAX},
    sensors::Reading,
};

/// Readings that were given up, for people and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// How many in all.
    pub readings: u64,
}

/// A reading on its way, and since when.
#[derive(Debug)]
struct Sent {
    /// Its place in the order of publication.
    order: u64,
    reading: Reading,
    /// When it was handed over.
    at: Instant,
}

/// Readings in the order they came: waiting, handed to the client, in flight under a packet identifier.
#[derive(Debug)]
pub struct Spool {
    readings_max: usize,
    bytes_max: usize,
    waiting: VecDeque<Reading>,
    /// Handed to the client, which sends in this order and tells the packet identifier when it does.
    handed: VecDeque<Sent>,
    in_flight: BTreeMap<u16, Sent>,
    next_order: u64,
    bytes: usize,
    dropped: Dropped,
}

impl Default for Spool {
    fn default() -> Self {
        Self::new(SPOOL_READINGS_MAX, SPOOL_BYTES_MAX)
    }
}

impl Spool {
    /// An empty spool with these bounds.
    #[must_use]
    pub fn new(readings_max: usize, bytes_max: usize) -> Self {
        Self {
            readings_max,
            bytes_max,
            waiting: VecDeque::new(),
            handed: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_order: 0,
            bytes: 0,
            dropped: Dropped::default(),
        }
    }

    /// Keeps a reading; gives how many had to go for it. A reading that is too large is itself what goes.
    pub fn push(&mut self, reading: Reading) -> u64 {
        let before = self.dropped.readings;
        if reading.payload.len() > READING_BYTES_MAX {
            self.dropped.readings += 1;
            return 1;
        }
        self.bytes += reading.payload.len();
        self.waiting.push_back(reading);
        while self.len() > self.readings_max || self.bytes > self.bytes_max {
            // What is on its way is spared: it leaves soon, and is bounded by the window.
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.payload.len());
            self.dropped.readings += 1;
        }
        self.dropped.readings - before
    }

    /// Hands the oldest that waits to the client; gives a copy to publish.
    pub fn hand(&mut self, now: Instant) -> Option<Reading> {
        let reading = self.waiting.pop_front()?;
        let order = self.next_order;
        self.next_order += 1;
        self.handed.push_back(Sent { order, reading: reading.clone(), at: now });
        Some(reading)
    }

    /// The client has sent the first of what was handed to it, under this packet identifier.
    pub fn sent(&mut self, packet: u16) -> Option<&Reading> {
        let sent = self.handed.pop_front()?;
        // The client does not use an identifier twice at a time; if it did, the later reading would answer for it.
        if let Some(lost) = self.in_flight.insert(packet, sent) {
            self.waiting.push_front(lost.reading);
        }
        self.in_flight.get(&packet).map(|sent| &sent.reading)
    }

    /// The hub has answered for this packet identifier: the reading is no longer kept.
    pub fn settle(&mut self, packet: u16) -> Option<Reading> {
        let sent = self.in_flight.remove(&packet)?;
        self.bytes = self.bytes.saturating_sub(sent.reading.payload.len());
        Some(sent.reading)
    }

    /// The session is over: what it did not settle waits again, in the order it was published.
    pub fn take_back(&mut self) {
        let mut unsettled: Vec<Sent> = std::mem::take(&mut self.in_flight).into_values().collect();
        unsettled.extend(std::mem::take(&mut self.handed));
        unsettled.sort_by_key(|sent| sent.order);
        for sent in unsettled.into_iter().rev() {
            self.waiting.push_front(sent.reading);
        }
    }

    /// How many are on their way: handed or in flight.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.handed.len() + self.in_flight.len()
    }

    /// Since when the longest is on its way.
    #[must_use]
    pub fn under_way_since(&self) -> Option<Instant> {
        self.handed.iter().chain(self.in_flight.values()).map(|sent| sent.at).min()
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.under_way()
    }

    /// Whether everything was acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of payload kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was given up so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use muster_actors::{Clock, SystemClock};

    use super::*;

    fn reading(time_ms: u64, bytes: usize) -> Reading {
        Reading { stream: "system", time_ms, records: 1, payload: Bytes::from(vec![b'x'; bytes]) }
    }

    fn times(spool: &mut Spool) -> Vec<u64> {
        let now = SystemClock.now();
        std::iter::from_fn(|| spool.hand(now)).map(|reading| reading.time_ms).collect()
    }

    #[test]
    fn a_full_spool_drops_the_oldest_that_waits_and_counts_it() {
        let mut spool = Spool::new(3, 1_000);
        for time_ms in 1..=3 {
            assert_eq!(spool.push(reading(time_ms, 10)), 0);
        }
        spool.hand(SystemClock.now());
        assert_eq!(spool.push(reading(4, 10)), 1);
        assert_eq!((spool.len(), spool.bytes(), spool.dropped().readings), (3, 30, 1));
        spool.take_back();
        assert_eq!(times(&mut spool), [1, 3, 4], "the one under way was spared");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut spool = Spool::new(100, 100);
        for time_ms in 1..=4 {
            spool.push(reading(time_ms, 30));
        }
        assert_eq!(spool.bytes(), 90);
        assert_eq!(spool.push(reading(5, 100)), 3, "a large one takes the place of several");
        assert_eq!(times(&mut spool), [5]);
        assert_eq!(spool.push(reading(6, READING_BYTES_MAX + 1)), 1, "one that is too large takes none");
    }

    #[test]
    fn each_acknowledgement_settles_its_own_reading() {
        let mut spool = Spool::default();
        let now = SystemClock.now();
        for time_ms in 1..=3 {
            spool.push(reading(time_ms, 10));
            spool.hand(now);
        }
        assert_eq!(spool.sent(1).map(|reading| reading.time_ms), Some(1));
        assert_eq!(spool.sent(2).map(|reading| reading.time_ms), Some(2));
        assert_eq!(spool.settle(2).map(|reading| reading.time_ms), Some(2));
        assert_eq!(spool.settle(2), None);
        assert_eq!(spool.settle(3), None, "it was not sent yet");
        // The identifier is free again.
        assert_eq!(spool.sent(2).map(|reading| reading.time_ms), Some(3));
        assert_eq!(spool.settle(1).map(|reading| reading.time_ms), Some(1));
        assert_eq!(spool.settle(2).map(|reading| reading.time_ms), Some(3));
        assert!(spool.is_empty());
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn what_a_session_did_not_settle_waits_again_in_order() {
        let mut spool = Spool::default();
        let now = SystemClock.now();
        for time_ms in 1..=5 {
            spool.push(reading(time_ms, 10));
        }
        for _ in 0..4 {
            spool.hand(now);
        }
        // Identifiers that run backwards do not change the order.
        spool.sent(9);
        spool.sent(8);
        spool.sent(7);
        spool.settle(8);
        assert_eq!(spool.under_way_since(), Some(now));
        spool.take_back();
        assert_eq!(spool.under_way(), 0);
        assert_eq!(times(&mut spool), [1, 3, 4, 5]);
    }
}
