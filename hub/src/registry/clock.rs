//! The latest time that the registry knew: a hub whose clock was set back goes on from there, so that what had ended
//! stays ended.

use serde::{Deserialize, Serialize};

use super::{
    core::{Effect, Registry},
    limits::{CLOCK_BEHIND_S_MAX, CLOCK_WRITTEN_S},
    row::Row,
};
use crate::registry::AlarmKind;

/// The latest time that was known, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatestTime {
    /// In seconds since 1970.
    pub at_s: u64,
}

/// The latest time that is known, and what of it is on disk.
#[derive(Debug, Default)]
pub(super) struct Latest {
    known_s: u64,
    written_s: u64,
}

impl Latest {
    pub(super) fn restore(&mut self, LatestTime { at_s }: LatestTime) {
        self.known_s = self.known_s.max(at_s);
        self.written_s = at_s;
    }
}

impl Registry {
    /// What the time is for the registry: never before the latest that it knew.
    pub fn time(&mut self, clock_s: u64) -> u64 {
        self.latest.known_s = self.latest.known_s.max(clock_s);
        self.latest.known_s
    }

    /// Writes the time down now and then, and raises an alarm while the clock is behind it.
    pub fn keep_time(&mut self, clock_s: u64, effects: &mut Vec<Effect>) {
        let now_s = self.time(clock_s);
        if now_s >= self.latest.written_s.saturating_add(CLOCK_WRITTEN_S) {
            self.put(Row::LatestTime(LatestTime { at_s: now_s }), effects);
        }
        let behind_s = now_s.saturating_sub(clock_s);
        if behind_s > CLOCK_BEHIND_S_MAX {
            let detail = format!(
                "the clock of this machine is {behind_s} s behind the time that the hub knew before; what had ended stays \
                 ended. Set the clock right. If it was ahead before and is right now: `muster serve --trust-clock`, once"
            );
            self.raise(now_s, (None, None), AlarmKind::ClockSetBack, detail, effects);
        }
    }

    /// Takes the clock for right although it is behind: for an operator who knows that it was ahead before.
    pub fn trust_clock(&mut self, clock_s: u64, effects: &mut Vec<Effect>) {
        self.put(Row::LatestTime(LatestTime { at_s: clock_s }), effects);
        // The row that was put only takes it forward.
        self.latest.known_s = clock_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_760_000_000;

    #[test]
    fn the_time_never_goes_back_over_a_restart() {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        registry.keep_time(NOW_S, &mut effects);
        let Some(Effect::Put(Row::LatestTime(written))) = effects.first().cloned() else {
            panic!("not written: {effects:?}")
        };
        let mut again = Registry::load([Row::LatestTime(written)]);
        effects.clear();
        again.keep_time(NOW_S - 7 * 86_400, &mut effects);
        assert_eq!(again.time(NOW_S - 7 * 86_400), NOW_S);
        let alarm = effects.iter().find_map(|e| if let Effect::Tell(alarm) = e { Some(alarm) } else { None });
        assert_eq!(alarm.map(|alarm| alarm.kind), Some(AlarmKind::ClockSetBack));
        again.trust_clock(NOW_S - 7 * 86_400, &mut effects);
        assert_eq!(again.time(NOW_S - 7 * 86_400), NOW_S - 7 * 86_400, "the operator knows better");
    }

    #[test]
    fn time_is_written_once_a_minute_and_a_little_drift_is_no_alarm() {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        for second in 0..120 {
            registry.keep_time(NOW_S + second, &mut effects);
        }
        registry.keep_time(NOW_S + 119 - CLOCK_BEHIND_S_MAX, &mut effects);
        assert_eq!(effects.len(), 2);
    }
}
