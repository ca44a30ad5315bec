//! When to read what, and the time that each reading bears. Pure: time comes in by the door.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::limits::LABELS_INTERVAL;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A reading of the machine.
    System,
    /// The fixed texts.
    Labels,
}

impl Due {
    /// The stream it goes to.
    #[must_use]
    pub fn stream(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Labels => "labels",
        }
    }
}

/// The core of the sensors.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    next_system: Instant,
    /// None until the first session: labels are told to somebody.
    next_labels: Option<Instant>,
    /// The time of each stream's last reading, in milliseconds since 1970.
    last_ms: BTreeMap<&'static str, u64>,
}

impl Schedule {
    /// The first reading of the machine is due at once.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next_system: now, next_labels: None, last_ms: BTreeMap::new() }
    }

    /// A session is open: the labels are due.
    pub fn session_opened(&mut self, now: Instant) {
        self.next_labels = Some(now);
    }

    /// What is due now, with the milliseconds since 1970 that its reading bears: `unix_ms`, or the first free one after
    /// the last of its stream. So no two readings of a stream are the same to those who store them, whatever the clock does.
    pub fn take_due(&mut self, now: Instant, unix_ms: u64) -> Option<(Due, u64)> {
        let due = if self.next_labels.is_some_and(|at| at <= now) {
            self.next_labels = Some(now + LABELS_INTERVAL);
            Due::Labels
        } else if self.next_system <= now {
            // In step with the first one; what a busy machine missed is not caught up with.
            let next = self.next_system + self.interval;
            self.next_system = if next > now { next } else { now + self.interval };
            Due::System
        } else {
            return None;
        };
        let time_ms = match self.last_ms.get(due.stream()) {
            Some(last) => unix_ms.max(last.saturating_add(1)),
            None => unix_ms,
        };
        self.last_ms.insert(due.stream(), time_ms);
        Some((due, time_ms))
    }

    /// When the next thing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        Some(self.next_labels.map_or(self.next_system, |labels| labels.min(self.next_system)))
    }
}

#[cfg(test)]
mod tests {
    use muster_actors::{Clock, SystemClock};

    use super::*;

    const UNIX_MS: u64 = 1_790_000_000_000;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn readings_come_in_step_and_what_was_missed_is_not_caught_up_with() {
        let start = SystemClock.now();
        let mut schedule = Schedule::new(ms(5), start);
        assert_eq!(schedule.take_due(start, UNIX_MS), Some((Due::System, UNIX_MS)));
        assert_eq!(schedule.take_due(start, UNIX_MS), None);
        assert_eq!(schedule.take_due(start + ms(6), UNIX_MS + 6), Some((Due::System, UNIX_MS + 6)));
        assert_eq!(schedule.next_deadline(), Some(start + ms(10)));
        assert_eq!(schedule.take_due(start + ms(100), UNIX_MS + 100), Some((Due::System, UNIX_MS + 100)));
        assert_eq!(schedule.next_deadline(), Some(start + ms(105)));
    }

    #[test]
    fn times_of_a_stream_only_grow_even_when_the_clock_is_set_back() {
        let start = SystemClock.now();
        let mut schedule = Schedule::new(ms(1), start);
        let mut last = 0;
        for (tick, unix_ms) in
            [UNIX_MS, UNIX_MS, UNIX_MS - 3_600_000, UNIX_MS + 1, UNIX_MS + 9].into_iter().enumerate()
        {
            let (_, time_ms) = schedule.take_due(start + ms(tick as u64), unix_ms).expect("due");
            assert!(time_ms > last, "{time_ms} after {last}");
            last = time_ms;
        }
        assert_eq!(last, UNIX_MS + 9, "and follow the clock again as soon as they can");
    }

    #[test]
    fn labels_come_with_each_session_and_then_every_minute() {
        let start = SystemClock.now();
        let mut schedule = Schedule::new(Duration::from_secs(3_600), start);
        schedule.take_due(start, UNIX_MS);
        schedule.session_opened(start + ms(10));
        assert_eq!(schedule.take_due(start + ms(10), UNIX_MS), Some((Due::Labels, UNIX_MS)));
        assert_eq!(schedule.next_deadline(), Some(start + ms(10) + LABELS_INTERVAL));
        schedule.session_opened(start + ms(20));
        assert_eq!(schedule.take_due(start + ms(20), UNIX_MS), Some((Due::Labels, UNIX_MS + 1)));
    }
}
