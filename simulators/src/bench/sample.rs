//! Durations of many like things, and what is said about them.

use std::time::Duration;

/// A sorted sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Of these durations, in any order.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The smallest one that at least `per_mille` thousandths of the sample do not exceed (nearest rank); zero of nothing.
    pub fn quantile(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille).div_ceil(1_000).clamp(1, self.0.len().max(1));
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.quantile(0)
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.quantile(500)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.quantile(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members_of_the_sample() {
        let sample = Sample::new((1..=10).rev().map(Duration::from_millis).collect());
        let ms = |per_mille| sample.quantile(per_mille).as_millis();
        assert_eq!((ms(0), ms(500), ms(501), ms(990), ms(1_000)), (1, 5, 6, 10, 10));
        assert_eq!((sample.min(), sample.max()), (Duration::from_millis(1), Duration::from_millis(10)));
    }

    #[test]
    fn nothing_has_the_quantile_zero() {
        assert_eq!(Sample::new(Vec::new()).median(), Duration::ZERO);
    }
}
