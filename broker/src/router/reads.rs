//! What durable sessions want of the log, until it is read: one wish of each session, and sessions in turn.

use std::collections::{HashMap, VecDeque};

use muster_routing::Wanted;

/// One wish of a durable session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) session: u64,
    pub(super) epoch: u64,
    pub(super) wanted: Wanted,
}

/// The line. A session stands in it once, however often its client comes back: a new wish takes the place of the one
/// before, which nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Reads {
    line: VecDeque<u64>,
    /// By session. Only ever asked for one.
    wishes: HashMap<u64, (u64, Wanted)>,
}

impl Reads {
    pub(super) fn ask(&mut self, Read { session, epoch, wanted }: Read) {
        if self.wishes.insert(session, (epoch, wanted)).is_none() {
            self.line.push_back(session);
        }
    }

    /// Takes the wish of the session whose turn it is.
    pub(super) fn next(&mut self) -> Option<Read> {
        let session = self.line.pop_front()?;
        let (epoch, wanted) = self.wishes.remove(&session)?;
        Some(Read { session, epoch, wanted })
    }

    /// Leaves out those who do not wait any more.
    pub(super) fn keep(&mut self, mut waits: impl FnMut(u64, u64) -> bool) {
        self.wishes.retain(|session, (epoch, _)| waits(*session, *epoch));
        self.line.retain(|session| self.wishes.contains_key(session));
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(session: u64, epoch: u64) -> Read {
        Read { session, epoch, wanted: Wanted::From(epoch) }
    }

    #[test]
    fn a_session_that_comes_back_again_and_again_waits_for_one_read() {
        let mut reads = Reads::default();
        reads.ask(read(1, 1));
        reads.ask(read(2, 1));
        (2..100).for_each(|epoch| reads.ask(read(1, epoch)));
        assert_eq!((reads.len(), reads.wishes.len()), (2, 2));
        assert_eq!(reads.next(), Some(read(1, 99)), "in its first place, with its last wish");
        reads.ask(read(1, 100));
        assert_eq!((reads.next(), reads.next()), (Some(read(2, 1)), Some(read(1, 100))));
        assert_eq!(reads.next(), None);
    }

    #[test]
    fn who_is_gone_does_not_wait() {
        let mut reads = Reads::default();
        (1..=4).for_each(|session| reads.ask(read(session, session)));
        reads.keep(|session, epoch| session == epoch && session % 2 == 0);
        assert_eq!((reads.next(), reads.next(), reads.next()), (Some(read(2, 2)), Some(read(4, 4)), None));
    }
}
