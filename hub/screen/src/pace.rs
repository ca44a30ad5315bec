//! How much a device usually says, learned, and when it says much more or nothing any more. Forty bytes for a device, and no
//! history: a rate that fades, and the longest gap that fades.

use crate::limits::{
    FLOOD_FACTOR, FLOOD_MESSAGES_MIN, FLOOD_TICKS, FLOOD_TICKS_MAX, GAP_FADES, LEARNED_TICKS_MIN, RATE_TICKS,
    SILENT_FACTOR, SILENT_MS_MIN, TICK_MS,
};

/// What was seen of a device since the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How many messages.
    pub messages: u32,
    /// When the last message of it came, also of an earlier tick, in milliseconds of a clock that only goes on.
    pub last_ms: u64,
}

/// What is odd about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Odd {
    /// It has said nothing for longer than it ever usually does.
    Silent {
        /// For how long.
        for_ms: u64,
        /// The longest that is usual.
        usual_ms: u64,
    },
    /// It says far more than usual.
    Flood {
        /// Messages in a second.
        rate: f64,
        /// What is usual.
        usual: f64,
    },
    /// It was silent, or flooding, and is as usual again.
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Usual,
    Silent,
    Flooding { ticks: u32 },
}

/// The pace of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Messages in a tick that are usual.
    rate: f64,
    /// The longest gap that is usual.
    gap_ms: u64,
    /// When it spoke last, as far as it was looked at.
    heard_ms: u64,
    /// Ticks with messages that it was watched for.
    learned: u32,
    /// Ticks in a row that speak for the other state.
    hints: u8,
    state: State,
}

impl Pace {
    /// Of a device that is heard for the first time.
    pub fn new(now_ms: u64) -> Self {
        Self { rate: 0.0, gap_ms: 0, heard_ms: now_ms, learned: 0, hints: 0, state: State::Usual }
    }

    /// One tick is over; there is one every [`TICK_MS`], whatever was seen. Tells what is odd once, when it begins and when
    /// it ends.
    pub fn tick(&mut self, now_ms: u64, seen: Seen) -> Option<Odd> {
        let messages = f64::from(seen.messages);
        if self.state == State::Silent || seen.messages == 0 {
            return self.quiet(now_ms, seen);
        }
        let gap_ms = seen.last_ms.saturating_sub(self.heard_ms);
        self.heard_ms = seen.last_ms;
        let odd = self.floods(messages);
        if matches!(self.state, State::Flooding { .. }) || self.hints > 0 {
            // What is odd is not learned, for a while.
            return odd;
        }
        self.learned = self.learned.saturating_add(1);
        // In the beginning every tick counts alike.
        let weight = f64::from(self.learned).min(RATE_TICKS);
        self.rate += (messages - self.rate) / weight;
        self.gap_ms = gap_ms.max(self.gap_ms - self.gap_ms / GAP_FADES).max(TICK_MS);
        odd
    }

    /// The hub was away, or its clock was: what is missing since then says nothing.
    pub fn resume(&mut self, now_ms: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
    }

    /// Whether it has said nothing for so long.
    pub fn is_older_than(&self, now_ms: u64, age_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) > age_ms
    }

    fn quiet(&mut self, now_ms: u64, seen: Seen) -> Option<Odd> {
        if seen.messages > 0 {
            // Twice as long as was usual is learned, so that a device that changed its ways is told of a few times.
            let gap_ms = seen.last_ms.saturating_sub(self.heard_ms);
            self.gap_ms = gap_ms.min(self.gap_ms.saturating_mul(2)).max(self.gap_ms);
            self.heard_ms = seen.last_ms;
            self.state = State::Usual;
            return Some(Odd::Back);
        }
        if let State::Flooding { .. } = self.state {
            return self.floods(0.0);
        }
        self.hints = 0;
        // A tick without a message belongs to the rate: a burst after it is not the usual.
        if self.learned > 0 && self.state == State::Usual {
            self.rate -= self.rate / f64::from(self.learned).clamp(2.0, RATE_TICKS);
        }
        let for_ms = now_ms.saturating_sub(self.heard_ms);
        let enough = self.gap_ms.saturating_mul(SILENT_FACTOR).max(SILENT_MS_MIN);
        if self.state == State::Silent || self.learned < LEARNED_TICKS_MIN || for_ms <= enough {
            return None;
        }
        self.state = State::Silent;
        Some(Odd::Silent { for_ms, usual_ms: self.gap_ms })
    }

    fn floods(&mut self, messages: f64) -> Option<Odd> {
        let much = messages > self.rate * FLOOD_FACTOR + FLOOD_MESSAGES_MIN;
        match self.state {
            State::Flooding { ticks } if ticks >= FLOOD_TICKS_MAX => {
                // It has its way for an hour: that is what is usual now.
                (self.state, self.hints, self.rate) = (State::Usual, 0, messages);
                Some(Odd::Back)
            }
            State::Flooding { ticks } => {
                self.hints = if much { 0 } else { self.hints.saturating_add(1) };
                self.state = State::Flooding { ticks: ticks + 1 };
                if self.hints < FLOOD_TICKS {
                    return None;
                }
                (self.state, self.hints) = (State::Usual, 0);
                Some(Odd::Back)
            }
            _ if !much || self.learned < LEARNED_TICKS_MIN => {
                self.hints = 0;
                None
            }
            _ => {
                self.hints = self.hints.saturating_add(1);
                if self.hints < FLOOD_TICKS {
                    return None;
                }
                (self.state, self.hints) = (State::Flooding { ticks: 0 }, 0);
                Some(Odd::Flood { rate: in_second(messages), usual: in_second(self.rate) })
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "ten thousand is exact")]
fn in_second(messages_in_tick: f64) -> f64 {
    messages_in_tick * 1_000.0 / TICK_MS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays ticks of so many messages each; tells when what was odd, by tick from 1.
    fn play(ticks: &[(usize, u32)]) -> Vec<(usize, &'static str)> {
        let mut pace = Pace::new(0);
        let (mut told, mut tick, mut last_ms) = (Vec::new(), 0, 0);
        for &(times, messages) in ticks {
            for _ in 0..times {
                tick += 1;
                let now_ms = tick as u64 * TICK_MS;
                if messages > 0 {
                    last_ms = now_ms - 1;
                }
                match pace.tick(now_ms, Seen { messages, last_ms }) {
                    Some(Odd::Silent { .. }) => told.push((tick, "silent")),
                    Some(Odd::Flood { .. }) => told.push((tick, "flood")),
                    Some(Odd::Back) => told.push((tick, "back")),
                    None => {}
                }
            }
        }
        told
    }

    #[test]
    fn odd_rates_are_told_once_when_they_begin_and_when_they_end() {
        for (story, ticks, expected) in [
            ("steady, for a day", vec![(8_640, 10)], vec![]),
            ("one that is new may say what it likes", vec![(5, 10_000), (5, 1), (20, 3)], vec![]),
            (
                "silent after 60 s, and back",
                vec![(30, 10), (20, 0), (5, 10)],
                vec![(36, "silent"), (51, "back")],
            ),
            (
                "ten times the usual is a flood",
                vec![(30, 100), (10, 1_000), (10, 100)],
                vec![(33, "flood"), (43, "back")],
            ),
            ("a burst of two ticks is none", vec![(30, 100), (2, 5_000), (30, 100)], vec![]),
            ("a hundred more of a quiet one is none", vec![(30, 1), (30, 100)], vec![]),
            (
                "a flood and then nothing",
                vec![(30, 10), (5, 1_000), (20, 0)],
                vec![(33, "flood"), (38, "back"), (41, "silent")],
            ),
            (
                "a flood for an hour is the usual",
                vec![(30, 10), (400, 1_000), (100, 1_000)],
                vec![(33, "flood"), (394, "back")],
            ),
            ("not known long enough to be missed", vec![(11, 10), (1_000, 0)], vec![]),
        ] {
            assert_eq!(play(&ticks), expected, "{story}");
        }
    }

    #[test]
    fn a_device_that_speaks_seldom_is_missed_later() {
        // Every five minutes: silent after more than twenty.
        let mut ticks = vec![];
        for _ in 0..20 {
            ticks.extend([(1, 1), (29, 0)]);
        }
        assert_eq!(play(&ticks), []);
        ticks.push((200, 0));
        assert_eq!(play(&ticks), [(691, "silent")]);
        // Bursts are the usual for one that always came in bursts.
        let bursts: Vec<_> = std::iter::repeat_n([(1, 600), (5, 0)], 100).flatten().collect();
        assert_eq!(play(&bursts), []);
    }

    #[test]
    fn time_in_which_the_hub_was_away_is_no_silence() {
        let mut pace = Pace::new(0);
        for tick in 1..=30 {
            assert_eq!(pace.tick(tick * TICK_MS, Seen { messages: 5, last_ms: tick * TICK_MS }), None);
        }
        let (seen, later) = (Seen { messages: 0, last_ms: 30 * TICK_MS }, 3_000 * TICK_MS);
        let mut away = pace.clone();
        away.resume(later);
        assert_eq!(away.tick(later + TICK_MS, seen), None);
        assert!(matches!(pace.tick(later, seen), Some(Odd::Silent { usual_ms: TICK_MS, .. })));
    }

    #[test]
    fn a_pace_is_small() {
        assert!(size_of::<Pace>() <= 48);
    }
}
