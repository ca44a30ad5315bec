//! Chance with a seed: the same seed gives the same choices.

use std::time::Duration;

/// A generator (splitmix64). Not for keys.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A generator for one purpose: `of` tells the purposes of one seed apart.
    pub fn new(seed: u64, of: u64) -> Self {
        let mut chance = Self(seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        chance.draw();
        chance
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A time from `least` to just below `most`.
    pub fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.below(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_purposes_differ() {
        let (mut one, mut same, mut other) = (Chance::new(7, 1), Chance::new(7, 1), Chance::new(7, 2));
        let first: Vec<u64> = (0..4).map(|_| one.below(1_000)).collect();
        assert_eq!(first, (0..4).map(|_| same.below(1_000)).collect::<Vec<_>>());
        assert_ne!(first, (0..4).map(|_| other.below(1_000)).collect::<Vec<_>>());
        assert_eq!(one.below(0), 0);
    }
}
