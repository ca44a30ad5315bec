//! What became of every message: each payload says who sent it, as which of its messages, and when.

use std::collections::BTreeMap;

/// Bytes at a payload's beginning: run, publisher, number and time.
pub const STAMP_BYTES: usize = 24;
/// Gaps that are remembered of one publisher; what comes late after that counts as twice delivered.
const GAPS_MAX: usize = 65_536;

/// The beginning of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Of which run, so that two at one time on one broker do not count each other's messages.
    pub run: u32,
    /// Which publisher.
    pub publisher: u32,
    /// Which of its messages, from 0.
    pub number: u64,
    /// When, in nanoseconds of the run's clock.
    pub at_ns: u64,
}

impl Stamp {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let (run, rest) = bytes.split_at_mut(4);
        let (publisher, rest) = rest.split_at_mut(4);
        let (number, at) = rest.split_at_mut(8);
        run.copy_from_slice(&self.run.to_be_bytes());
        publisher.copy_from_slice(&self.publisher.to_be_bytes());
        number.copy_from_slice(&self.number.to_be_bytes());
        at.copy_from_slice(&self.at_ns.to_be_bytes());
        bytes
    }

    /// Reads it from a payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let at_ns = rest.first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
            at_ns: u64::from_be_bytes(*at_ns),
        })
    }
}

/// What one subscriber has got.
#[derive(Debug, Clone)]
pub struct Ledger {
    run: u32,
    first: u32,
    payload_bytes: usize,
    publishers: Vec<Arrivals>,
    /// Payloads of nobody whom it listens to.
    strange: u64,
}

/// What it has got from one publisher.
#[derive(Debug, Clone, Default)]
struct Arrivals {
    /// The number that is due.
    next: u64,
    /// Ranges of lower numbers that have not come: the first of each, and the first after it.
    gaps: BTreeMap<u64, u64>,
    unique: u64,
    twice: u64,
    late: u64,
}

/// The sum over subscribers and publishers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that came, each counted once for each subscriber.
    pub delivered: u64,
    /// Messages that were sent and did not come.
    pub lost: u64,
    /// Deliveries of what had come before.
    pub duplicated: u64,
    /// First deliveries after a later message of the same publisher.
    pub out_of_order: u64,
    /// Payloads that no publisher of this run sent here.
    pub strange: u64,
}

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It came for the first time; the stamp of when it was sent.
    New(u64),
    /// It had come before, or belongs to nobody.
    Known,
}

impl Ledger {
    /// Of a subscriber that gets what publishers `first .. first + count` of this run send.
    pub fn new(run: u32, first: u32, count: u32, payload_bytes: usize) -> Self {
        let publishers = (0..count).map(|_| Arrivals::default()).collect();
        Self { run, first, payload_bytes, publishers, strange: 0 }
    }

    /// Counts one delivery.
    pub fn enter(&mut self, payload: &[u8]) -> Arrival {
        let is_ours = |stamp: &Stamp| stamp.run == self.run && payload.len() == self.payload_bytes;
        let found = Stamp::read(payload).filter(is_ours).and_then(|stamp| {
            let place = stamp.publisher.checked_sub(self.first)?;
            Some((stamp, self.publishers.get_mut(usize::try_from(place).ok()?)?))
        });
        let Some((stamp, arrivals)) = found else {
            self.strange += 1;
            return Arrival::Known;
        };
        if arrivals.is_new(stamp.number) {
            arrivals.unique += 1;
            return Arrival::New(stamp.at_ns);
        }
        arrivals.twice += 1;
        Arrival::Known
    }

    /// What has come, when each publisher has sent as many messages as `sent` says.
    pub fn tally(&self, sent: impl Fn(u32) -> u64) -> Tally {
        let mut tally = Tally { strange: self.strange, ..Tally::default() };
        for (publisher, arrivals) in (self.first..).zip(&self.publishers) {
            tally.delivered += arrivals.unique;
            tally.lost += sent(publisher).saturating_sub(arrivals.unique);
            tally.duplicated += arrivals.twice;
            tally.out_of_order += arrivals.late;
        }
        tally
    }
}

impl Tally {
    /// Adds another subscriber's.
    pub fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.strange += other.strange;
    }
}

impl Arrivals {
    fn is_new(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number > self.next && self.gaps.len() < GAPS_MAX {
                self.gaps.insert(self.next, number);
            }
            self.next = number + 1;
            return true;
        }
        let Some((&from, &to)) = self.gaps.range(..=number).next_back() else { return false };
        if number >= to {
            return false;
        }
        self.gaps.remove(&from);
        if from < number {
            self.gaps.insert(from, number);
        }
        if number + 1 < to {
            self.gaps.insert(number + 1, to);
        }
        self.late += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 32;
    const RUN: u32 = 77;

    fn payload(publisher: u32, number: u64) -> [u8; BYTES] {
        let mut payload = [b'.'; BYTES];
        payload[..STAMP_BYTES].copy_from_slice(&Stamp { run: RUN, publisher, number, at_ns: 5 }.to_bytes());
        payload
    }

    fn after(numbers: &[u64], sent: u64) -> Tally {
        let mut ledger = Ledger::new(RUN, 3, 1, BYTES);
        for &number in numbers {
            ledger.enter(&payload(3, number));
        }
        ledger.tally(|_| sent)
    }

    fn tally(delivered: u64, lost: u64, duplicated: u64, out_of_order: u64) -> Tally {
        Tally { delivered, lost, duplicated, out_of_order, strange: 0 }
    }

    #[test]
    fn a_stamp_survives_its_payload() {
        let stamp = Stamp { run: 9, publisher: u32::MAX, number: 7 << 40, at_ns: 123_456_789_012 };
        assert_eq!(Stamp::read(&stamp.to_bytes()), Some(stamp));
        assert_eq!(Stamp::read(&[0; STAMP_BYTES - 1]), None);
    }

    #[test]
    fn messages_in_order_are_neither_lost_nor_twice_nor_late() {
        assert_eq!(after(&[0, 1, 2, 3], 4), tally(4, 0, 0, 0));
    }

    #[test]
    fn what_did_not_come_is_lost_at_the_beginning_in_the_middle_and_at_the_end() {
        assert_eq!(after(&[1, 2, 5], 8), tally(3, 5, 0, 0));
        assert_eq!(after(&[], 8), tally(0, 8, 0, 0));
    }

    #[test]
    fn what_comes_again_is_a_duplicate_once_for_each_time() {
        assert_eq!(after(&[0, 0, 1, 0, 1, 2], 3), tally(3, 0, 3, 0));
    }

    #[test]
    fn what_fills_a_gap_came_late_and_is_not_lost() {
        assert_eq!(after(&[0, 5, 2, 1, 3, 4], 6), tally(6, 0, 0, 4));
        assert_eq!(after(&[0, 5, 2, 2], 6), tally(3, 3, 1, 1));
    }

    #[test]
    fn publishers_are_told_apart_and_strangers_are_counted() {
        let mut ledger = Ledger::new(RUN, 3, 2, BYTES);
        assert_eq!(ledger.enter(&payload(3, 0)), Arrival::New(5));
        assert_eq!(ledger.enter(&payload(4, 1)), Arrival::New(5));
        for strange in [&payload(2, 0)[..], &payload(5, 0), &payload(3, 1)[..30], b"short"] {
            assert_eq!(ledger.enter(strange), Arrival::Known);
        }
        let mut of_another_run = payload(3, 1);
        of_another_run[3] += 1;
        assert_eq!(ledger.enter(&of_another_run), Arrival::Known);
        let tally = ledger.tally(|publisher| u64::from(publisher) - 2);
        assert_eq!((tally.delivered, tally.lost, tally.strange), (2, 1, 5));
    }
}
