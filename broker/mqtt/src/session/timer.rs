//! The session's timers: one entry per kind, and the earliest of them.

use std::time::Instant;

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// CONNECT and the decision on it.
    Connect,
    /// A sign of life.
    KeepAlive,
    /// The end of an authentication that a connected client has begun again.
    Authentication,
}

/// At most one deadline per kind.
#[derive(Debug, Default)]
pub(super) struct Timers {
    connect: Option<Instant>,
    keep_alive: Option<Instant>,
    authentication: Option<Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Option<Instant>) {
        match timer {
            Timer::Connect => self.connect = deadline,
            Timer::KeepAlive => self.keep_alive = deadline,
            Timer::Authentication => self.authentication = deadline,
        }
    }

    /// Puts a deadline off, if it is set and would be earlier.
    pub(super) fn extend(&mut self, timer: Timer, deadline: Instant) {
        if self.deadline(timer).is_some_and(|earlier| earlier < deadline) {
            self.set(timer, Some(deadline));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_reached(&self, timer: Timer, now: Instant) -> bool {
        self.deadline(timer).is_some_and(|deadline| deadline <= now)
    }

    fn deadline(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Connect => self.connect,
            Timer::KeepAlive => self.keep_alive,
            Timer::Authentication => self.authentication,
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.connect, self.keep_alive, self.authentication].into_iter().flatten().min()
    }
}
