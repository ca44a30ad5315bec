//! How much of a tenant's log waits for a server, in pieces with their bytes and times, oldest first. Beyond its bounds the
//! oldest piece is given up, and said so. Pure: it is told what the log holds and what time it is.

use std::{collections::VecDeque, time::Duration};

use crate::limits::BACKLOG_PIECES;

/// Some records that follow one another.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: u64,
    /// The first behind it.
    end: u64,
    /// When the first and the last of them came in, in Unix milliseconds.
    from_ms: u64,
    last_ms: u64,
    bytes: u64,
}

/// What of a log is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// The first record that is still to be sent.
    pub below: u64,
    /// How many records it was.
    pub records: u64,
}

/// The part of a log that is read and not yet stored elsewhere.
#[derive(Debug)]
pub struct Backlog {
    /// About [`BACKLOG_PIECES`], of which the last may still grow.
    pieces: VecDeque<Piece>,
    bytes: u64,
    bytes_max: u64,
    age_ms_max: u64,
}

impl Backlog {
    /// An empty one with its bounds: those of the tenant's log.
    pub fn new(bytes_max: u64, age_max: Duration) -> Self {
        let age_ms_max = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        Self { pieces: VecDeque::new(), bytes: 0, bytes_max, age_ms_max }
    }

    /// A record of the log was read, after all those before it.
    pub fn add(&mut self, sequence: u64, bytes: u64, received_ms: u64) {
        let most = self.bytes_max / BACKLOG_PIECES;
        let age = self.age_ms_max / BACKLOG_PIECES;
        self.bytes += bytes;
        match self.pieces.back_mut() {
            Some(last) if last.bytes < most && received_ms.saturating_sub(last.from_ms) <= age => {
                last.end = sequence + 1;
                last.bytes += bytes;
                last.last_ms = last.last_ms.max(received_ms);
            }
            _ => {
                let (end, from_ms, last_ms) = (sequence + 1, received_ms, received_ms);
                self.pieces.push_back(Piece { first: sequence, end, from_ms, last_ms, bytes });
            }
        }
    }

    /// Everything below is stored elsewhere. A piece that it ends within counts whole.
    pub fn release(&mut self, below: u64) {
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.end <= below) {
            self.bytes -= piece.bytes.min(self.bytes);
        }
        if let Some(piece) = self.pieces.front_mut() {
            piece.first = piece.first.max(below);
        }
    }

    /// Gives up what is beyond the bounds.
    pub fn give_up(&mut self, now_ms: u64) -> Option<GivenUp> {
        let mut given_up: Option<GivenUp> = None;
        while let Some(oldest) = self.pieces.front().copied() {
            let is_old = oldest.last_ms.saturating_add(self.age_ms_max) <= now_ms;
            if self.bytes <= self.bytes_max && !is_old {
                break;
            }
            let records = given_up.map_or(0, |given_up| given_up.records) + (oldest.end - oldest.first);
            given_up = Some(GivenUp { below: oldest.end, records });
            self.release(oldest.end);
        }
        given_up
    }

    /// Bytes of the log that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records of the log that wait.
    pub fn records(&self) -> u64 {
        let (first, last) = (self.pieces.front(), self.pieces.back());
        first.zip(last).map_or(0, |(first, last)| last.end - first.first)
    }

    /// When what waits longest came in at the latest, in Unix milliseconds.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.pieces.front().map(|piece| piece.last_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1_024 * 1_024;

    #[test]
    fn beyond_its_bytes_the_oldest_are_given_up_and_counted() {
        let mut backlog = Backlog::new(MIB, Duration::from_secs(1_000));
        (1..=2_048).for_each(|sequence| backlog.add(sequence, 1_024, 0));
        assert_eq!((backlog.bytes(), backlog.records()), (2 * MIB, 2_048));
        assert_eq!(backlog.give_up(0), Some(GivenUp { below: 1_025, records: 1_024 }));
        assert_eq!((backlog.bytes(), backlog.records(), backlog.give_up(0)), (MIB, 1_024, None));
        backlog.release(2_000);
        assert_eq!(backlog.records(), 49);
        backlog.release(u64::MAX);
        assert_eq!((backlog.bytes(), backlog.records(), backlog.oldest_ms()), (0, 0, None));
    }

    #[test]
    fn an_hour_of_readings_is_no_reason_to_give_anything_up() {
        let (gib, week) = (1_024 * MIB, Duration::from_secs(7 * 24 * 3_600));
        let mut backlog = Backlog::new(gib, week);
        // A hundred messages of 256 bytes each second, for an hour.
        for sequence in 1..=360_000 {
            backlog.add(sequence, 256, sequence * 10);
            assert_eq!(backlog.give_up(sequence * 10), None);
        }
        assert_eq!(backlog.records(), 360_000);
        assert!(backlog.pieces.len() <= 200, "{}", backlog.pieces.len());
    }

    #[test]
    fn a_trickle_ages_too() {
        let mut backlog = Backlog::new(MIB, Duration::from_secs(1_024));
        (1..=5_000).for_each(|sequence| backlog.add(sequence, 1, sequence * 500));
        let given_up = backlog.give_up(2_500_000).expect("the oldest are too old");
        assert!((2_900..=2_960).contains(&given_up.records), "{given_up:?}");
    }

    #[test]
    fn beyond_their_age_they_go_too() {
        let mut backlog = Backlog::new(MIB, Duration::from_millis(10_240));
        for sequence in 1..=10 {
            backlog.add(sequence, 10, sequence * 1_000);
        }
        assert_eq!(backlog.give_up(11_239), None);
        assert_eq!(backlog.give_up(11_240), Some(GivenUp { below: 2, records: 1 }));
        backlog.release(5);
        assert_eq!(backlog.give_up(u64::MAX / 2), Some(GivenUp { below: 11, records: 6 }));
    }
}
