//! How fast devices are offered an image: a bucket of tokens that fills evenly, and wider with success if the plan says so.

use crate::plan::Rate;

/// What an offer costs: the rate per minute, times milliseconds, adds up to it.
const OFFER: u64 = 60_000;

/// The bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub credit: u64,
    pub per_minute: u32,
    /// How often the rate has grown.
    pub steps: u32,
}

impl Pace {
    pub fn new(rate: &Rate) -> Self {
        let per_minute = match *rate {
            Rate::Constant { per_minute } => per_minute,
            Rate::Exponential { base_per_minute, .. } => base_per_minute,
        };
        let mut pace = Self { credit: 0, per_minute, steps: 0 };
        pace.credit = pace.batch();
        pace
    }

    /// What is offered at once: a second's worth, or one. No more than this and one offer is saved up.
    fn batch(self) -> u64 {
        (u64::from(self.per_minute) * 1_000).max(OFFER)
    }

    /// Time passed.
    pub fn fill(&mut self, ms: u64) {
        let more = ms.saturating_mul(self.per_minute.into());
        self.credit = self.credit.saturating_add(more).min(self.batch() + OFFER);
    }

    /// So many devices have succeeded in all.
    pub fn grow(&mut self, rate: &Rate, succeeded: u32) {
        let Rate::Exponential { factor_permille, every, max_per_minute, .. } = *rate else { return };
        while self.per_minute < max_per_minute && succeeded / every > self.steps {
            self.steps += 1;
            let grown = (u64::from(self.per_minute) * u64::from(factor_permille)).div_ceil(1_000);
            self.per_minute = u32::try_from(grown).unwrap_or(u32::MAX).min(max_per_minute);
        }
    }

    /// Takes what an offer costs, if it is there.
    pub fn take(&mut self) -> bool {
        let left = self.credit.checked_sub(OFFER);
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }

    /// How long until there is a batch again, in milliseconds.
    pub fn wait_ms(self) -> u64 {
        self.batch().saturating_sub(self.credit).div_ceil(self.per_minute.max(1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers_in(pace: &mut Pace, seconds: u64) -> u32 {
        (0..seconds)
            .map(|_| {
                pace.fill(1_000);
                (0..).take_while(|_| pace.take()).count() as u32
            })
            .sum()
    }

    #[test]
    fn offers_keep_to_the_rate_whatever_was_saved_up() {
        for per_minute in [1, 7, 60, 1_000, 100_000] {
            let mut pace = Pace::new(&Rate::Constant { per_minute });
            let first = (0..).take_while(|_| pace.take()).count() as u32;
            assert!(first <= (per_minute / 60).max(1), "{first} at once at {per_minute}");
            let offers = offers_in(&mut pace, 600);
            assert!(
                (per_minute * 10 - 1..=per_minute * 10 + 1).contains(&offers),
                "{offers} at {per_minute}"
            );
            pace.fill(3_600_000);
            let after = (0..).take_while(|_| pace.take()).count() as u32;
            assert!(after <= (per_minute / 60).max(1) + 1, "an hour of nothing");
        }
    }

    #[test]
    fn success_makes_it_faster_up_to_its_bound() {
        let rate =
            Rate::Exponential { base_per_minute: 10, factor_permille: 2_000, every: 5, max_per_minute: 70 };
        let mut pace = Pace::new(&rate);
        let grown: Vec<u32> =
            [0, 4, 5, 9, 10, 11, 100].map(|n| (pace.grow(&rate, n), pace.per_minute).1).to_vec();
        assert_eq!(grown, [10, 10, 20, 20, 40, 40, 70]);
    }

    #[test]
    fn a_wait_ends_with_a_batch() {
        let mut pace = Pace::new(&Rate::Constant { per_minute: 6_000 });
        while pace.take() {}
        let wait = pace.wait_ms();
        assert_eq!(wait, 1_000);
        pace.fill(wait);
        assert_eq!((0..).take_while(|_| pace.take()).count(), 100);
    }
}
