//! Pauses between attempts: they double up to a bound, each with jitter, so that a fleet does not come back at once.

use std::time::Duration;

/// The pauses of one kind of attempt.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    /// Attempts since the last success.
    attempts: u32,
    /// State of the generator of jitter (splitmix64).
    chance: u64,
}

impl Backoff {
    /// Pauses from `first` up to `max`; the jitter follows from `seed`.
    #[must_use]
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, attempts: 0, chance: seed }
    }

    /// The next pause: between a half and the whole of the doubled one.
    pub fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let whole = self.first.saturating_mul(factor).min(self.max);
        let half = whole / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_micros(self.draw() % spread)
    }

    /// It went well: the next pause is the first again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_double_up_to_their_bound_with_jitter_below() {
        let mut backoff = Backoff::new(FIRST, MAX, 7);
        for attempt in 0..40 {
            let whole = FIRST.saturating_mul(1 << attempt.min(20)).min(MAX);
            let pause = backoff.next_pause();
            assert!(pause >= whole / 2 && pause <= whole, "attempt {attempt}: {pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }

    #[test]
    fn a_seed_repeats_its_pauses_and_another_does_not() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(FIRST, MAX, seed);
            (0..8).map(|_| backoff.next_pause()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
