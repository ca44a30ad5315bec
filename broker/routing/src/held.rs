//! How much of the log each principal's messages take up that durable sessions have yet to get: bytes that it published,
//! at or behind the oldest record which one of them still needs.
//!
//! Counted in pieces of the log, and what is no longer needed is taken off when somebody reaches its quota. What was
//! published before the router started is not counted.

use std::collections::{HashMap, VecDeque};

use muster_schemas::Publisher;

use crate::limits::{HELD_LOOK_MS, HELD_PIECES_MAX, HELD_PRINCIPALS_SWEEP_MIN};

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    principals: HashMap<Publisher, Part>,
    /// When it was asked last what the sessions need, in Unix milliseconds. It has to look at each of them.
    looked_ms: u64,
    /// What the answer was.
    needed_from: u64,
    /// So many principals make it look for those that hold nothing any more.
    sweep_at: usize,
}

/// What one of them has in the log.
#[derive(Debug, Default)]
struct Part {
    bytes: u64,
    /// At most [`HELD_PIECES_MAX`] and one, the oldest first.
    closed: VecDeque<Piece>,
    open: Piece,
}

/// Records of one principal, from the first to the last.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    first: u64,
    last: u64,
    bytes: u64,
}

impl Held {
    /// Whether the principal may have so many bytes more, of at most `max`. `needed_from` finds the lowest sequence that
    /// durable sessions need, and is asked at most once in [`HELD_LOOK_MS`].
    pub(crate) fn has_room(
        &mut self,
        (publisher, bytes, max): (&Publisher, u64, u64),
        now_ms: u64,
        needed_from: impl FnOnce() -> u64,
    ) -> bool {
        let Some(part) = self.principals.get(publisher) else { return bytes <= max };
        if part.bytes + bytes <= max {
            return true;
        }
        self.look(now_ms, needed_from);
        let Some(part) = self.principals.get_mut(publisher) else { return bytes <= max };
        part.release(self.needed_from);
        part.bytes + bytes <= max
    }

    /// A record of so many bytes is on its way to the log.
    pub(crate) fn add(
        &mut self,
        (publisher, bytes, max): (&Publisher, u64, u64),
        sequence: u64,
        now_ms: u64,
        needed_from: impl FnOnce() -> u64,
    ) {
        if let Some(part) = self.principals.get_mut(publisher) {
            return part.add(sequence, bytes, max);
        }
        if self.principals.len() >= self.sweep_at.max(HELD_PRINCIPALS_SWEEP_MIN) {
            self.look(now_ms, needed_from);
            let needed_from = self.needed_from;
            self.principals.retain(|_, part| {
                part.release(needed_from);
                part.bytes > 0
            });
            self.sweep_at = self.principals.len() * 2;
        }
        self.principals.entry(publisher.clone()).or_default().add(sequence, bytes, max);
    }

    /// Nothing from this sequence on is or will be on disk.
    pub(crate) fn failed(&mut self, from: u64) {
        self.principals.retain(|_, part| {
            part.fail(from);
            part.bytes > 0
        });
    }

    fn look(&mut self, now_ms: u64, needed_from: impl FnOnce() -> u64) {
        if now_ms.abs_diff(self.looked_ms) >= HELD_LOOK_MS {
            (self.looked_ms, self.needed_from) = (now_ms, needed_from());
        }
    }
}

impl Part {
    fn add(&mut self, sequence: u64, bytes: u64, max: u64) {
        self.bytes += bytes;
        if self.open.bytes == 0 {
            self.open.first = sequence;
        }
        self.open.last = sequence;
        self.open.bytes += bytes;
        if self.open.bytes >= max / HELD_PIECES_MAX as u64 {
            // Small quotas, or large messages: two pieces become one, so that there are not more of them.
            if self.closed.len() >= HELD_PIECES_MAX
                && let Some(last) = self.closed.back_mut()
            {
                (last.last, last.bytes) = (self.open.last, last.bytes + self.open.bytes);
            } else {
                self.closed.push_back(self.open);
            }
            self.open = Piece::default();
        }
    }

    /// Takes off what lies below.
    fn release(&mut self, below: u64) {
        while let Some(piece) = self.closed.pop_front_if(|piece| piece.last < below) {
            self.bytes -= piece.bytes;
        }
        if self.open.last < below {
            self.bytes -= self.open.bytes;
            self.open = Piece::default();
        }
        if self.closed.is_empty() {
            self.closed = VecDeque::new();
        }
    }

    /// A piece of which only the end failed counts until its beginning is no longer needed.
    fn fail(&mut self, from: u64) {
        while let Some(piece) = self.closed.pop_back_if(|piece| piece.first >= from) {
            self.bytes -= piece.bytes;
        }
        if self.open.bytes > 0 && self.open.first >= from {
            self.bytes -= self.open.bytes;
            self.open = Piece::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_schemas::Kind;

    use super::*;

    fn pump(number: usize) -> Publisher {
        Publisher { kind: Kind::Device, id: format!("pump-{number}").parse().expect("id") }
    }

    #[test]
    fn what_is_no_longer_needed_is_taken_off_a_piece_at_a_time() {
        let (mut held, pump) = (Held::default(), pump(1));
        for sequence in 1..=1_000 {
            assert!(held.has_room((&pump, 10, 10_000), 1, || 0), "{sequence}");
            held.add((&pump, 10, 10_000), sequence, 1, || 0);
        }
        assert!(!held.has_room((&pump, 10, 10_000), 1_000, || 0));
        assert!(!held.has_room((&pump, 10, 10_000), 1_001, || 500), "it asks only so often");
        assert!(held.has_room((&pump, 4_400, 10_000), 2_000, || 500));
        assert!(!held.has_room((&pump, 5_000, 10_000), 3_000, || 500));
        assert!(held.has_room((&pump, 10_000, 10_000), 4_000, || u64::MAX));
        let part = &held.principals[&pump];
        assert_eq!((part.bytes, part.closed.capacity()), (0, 0));
    }

    #[test]
    fn a_message_larger_than_the_quota_never_has_room() {
        let mut held = Held::default();
        assert!(!held.has_room((&pump(1), 11, 10), 1, || 0));
        held.add((&pump(1), 5, 10), 1, 1, || 0);
        assert!(!held.has_room((&pump(1), 11, 10), 1_000, || u64::MAX));
    }

    #[test]
    fn pieces_are_few_however_large_the_messages() {
        let mut held = Held::default();
        for sequence in 1..=100 {
            held.add((&pump(1), 1_000, 2_000), sequence, 1, || 0);
        }
        let part = &held.principals[&pump(1)];
        assert_eq!((part.bytes, part.closed.len()), (100_000, HELD_PIECES_MAX));
        assert!(held.has_room((&pump(1), 1, 2_000), 1_000, || 101));
    }

    #[test]
    fn what_failed_is_not_held() {
        let mut held = Held::default();
        for sequence in 1..=10 {
            held.add((&pump(1), 10, 160), sequence, 1, || 0);
            held.add((&pump(2), 10, 10_000), sequence, 1, || 0);
        }
        held.failed(6);
        assert_eq!((held.principals[&pump(1)].bytes, held.principals[&pump(2)].bytes), (50, 100));
        held.failed(1);
        assert!(held.principals.is_empty());
    }

    #[test]
    fn whoever_holds_nothing_is_forgotten_before_there_are_too_many() {
        let mut held = Held::default();
        for number in 0..10 * HELD_PRINCIPALS_SWEEP_MIN {
            let now_ms = 1_000 * number as u64;
            held.add((&pump(number), 10, 10_000), number as u64, now_ms, || number as u64);
            assert!(held.principals.len() <= HELD_PRINCIPALS_SWEEP_MIN);
        }
    }
}
