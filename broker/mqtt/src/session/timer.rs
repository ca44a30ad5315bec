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

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_reached(&self, timer: Timer, now: Instant) -> bool {
        let deadline = match timer {
            Timer::Connect => self.connect,
            Timer::KeepAlive => self.keep_alive,
            Timer::Authentication => self.authentication,
        };
        deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.connect, self.keep_alive, self.authentication].into_iter().flatten().min()
    }
}
