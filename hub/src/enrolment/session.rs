//! Exchanges that wait for their second frame: a bounded table, where each is taken at most once and ends by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use muster_schemas::enrolment::RefusalCode;

use super::limits::{SESSION_REMEMBERED, SESSION_TTL};

/// What names an exchange.
pub type SessionId = [u8; 16];

/// Exchanges that wait, each with what its second frame is judged by.
#[derive(Debug)]
pub struct Sessions<T> {
    waiting: BTreeMap<SessionId, Waiting<T>>,
    /// The same exchanges, by when they end.
    by_deadline: BTreeSet<(Instant, SessionId)>,
    sessions_max: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    deadline: Instant,
    exporter: [u8; 32],
    what: T,
}

impl<T> Sessions<T> {
    /// No exchange yet, and never more than `sessions_max`.
    pub fn new(sessions_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), by_deadline: BTreeSet::new(), sessions_max }
    }

    /// Whether one more may wait. Forgets those that ended long ago; when it is full, those that ended at all.
    pub fn has_room(&mut self, now: Instant) -> bool {
        while let Some((deadline, id)) = self.by_deadline.first().copied() {
            let full = self.waiting.len() >= self.sessions_max;
            let forget_at = if full { deadline } else { deadline + SESSION_REMEMBERED };
            if now < forget_at {
                return !full;
            }
            self.by_deadline.pop_first();
            self.waiting.remove(&id);
        }
        self.sessions_max > 0
    }

    /// Lets an exchange wait for its second frame, on the connection of this exporter.
    /// Returns false, and keeps nothing, when there is no room or the name is taken.
    pub fn insert(&mut self, id: SessionId, exporter: [u8; 32], what: T, now: Instant) -> bool {
        if !self.has_room(now) || self.waiting.contains_key(&id) {
            return false;
        }
        let deadline = now + SESSION_TTL;
        self.by_deadline.insert((deadline, id));
        self.waiting.insert(id, Waiting { deadline, exporter, what });
        true
    }

    /// Takes an exchange: its second frame has come, and whatever comes of it, there is no third.
    ///
    /// # Errors
    /// There is none of that name, it has ended, or it belongs to another connection, whose it stays.
    pub fn take(&mut self, id: &SessionId, exporter: &[u8; 32], now: Instant) -> Result<T, RefusalCode> {
        let waiting = self.waiting.get(id).ok_or(RefusalCode::SessionUnknown)?;
        if waiting.exporter != *exporter {
            return Err(RefusalCode::WrongChannel);
        }
        let expired = waiting.deadline <= now;
        self.by_deadline.remove(&(waiting.deadline, *id));
        let taken = self.waiting.remove(id).ok_or(RefusalCode::SessionUnknown)?;
        if expired { Err(RefusalCode::SessionExpired) } else { Ok(taken.what) }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_actors::Clock;

    use super::*;

    const HERE: [u8; 32] = [1; 32];
    const ELSEWHERE: [u8; 32] = [2; 32];

    fn start() -> Instant {
        muster_actors::SystemClock.now()
    }

    #[test]
    fn an_exchange_is_taken_once() {
        let now = start();
        let mut sessions = Sessions::new(2);
        assert!(sessions.insert([7; 16], HERE, "story", now));
        assert_eq!(sessions.take(&[7; 16], &HERE, now), Ok("story"));
        assert_eq!(sessions.take(&[7; 16], &HERE, now), Err(RefusalCode::SessionUnknown));
    }

    #[test]
    fn another_connection_neither_takes_nor_ends_it() {
        let now = start();
        let mut sessions = Sessions::new(2);
        assert!(sessions.insert([7; 16], HERE, "story", now));
        assert_eq!(sessions.take(&[7; 16], &ELSEWHERE, now), Err(RefusalCode::WrongChannel));
        assert_eq!(sessions.take(&[7; 16], &HERE, now), Ok("story"));
    }

    #[test]
    fn a_late_answer_is_told_so_and_a_very_late_one_is_unknown() {
        let now = start();
        let mut sessions = Sessions::new(2);
        for id in [[7; 16], [8; 16]] {
            assert!(sessions.insert(id, HERE, "story", now));
        }
        let late = now + SESSION_TTL;
        assert_eq!(sessions.take(&[7; 16], &HERE, late - Duration::from_nanos(1)), Ok("story"));
        assert_eq!(sessions.take(&[8; 16], &HERE, late), Err(RefusalCode::SessionExpired));
        assert_eq!(sessions.take(&[8; 16], &HERE, late), Err(RefusalCode::SessionUnknown));
    }

    #[test]
    fn a_full_table_has_room_again_when_one_was_taken_or_has_ended() {
        let now = start();
        let mut sessions = Sessions::new(2);
        assert!(sessions.insert([1; 16], HERE, (), now));
        assert!(sessions.insert([2; 16], HERE, (), now));
        assert!(!sessions.insert([3; 16], HERE, (), now));
        assert_eq!(sessions.take(&[1; 16], &HERE, now), Ok(()));
        assert!(sessions.insert([3; 16], HERE, (), now));
        assert!(!sessions.insert([4; 16], HERE, (), now + SESSION_TTL - Duration::from_nanos(1)));
        assert!(sessions.insert([4; 16], HERE, (), now + SESSION_TTL));
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn what_ended_long_ago_is_forgotten() {
        let now = start();
        let mut sessions = Sessions::new(100);
        assert!(sessions.insert([1; 16], HERE, (), now));
        assert!(sessions.has_room(now + SESSION_TTL));
        assert_eq!(sessions.len(), 1);
        assert!(sessions.has_room(now + SESSION_TTL + SESSION_REMEMBERED));
        assert!(sessions.is_empty());
    }
}
