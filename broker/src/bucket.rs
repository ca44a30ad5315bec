//! A token bucket: so much per second, and so much at once. Pure: the time comes in by the door.
//!
//! It is a bucket with a debt. What is asked for is always given, and whoever asked waits until it has been refilled
//! before asking again. So a batch may be larger than the bucket, nothing that was read has to be held, and those who
//! share a bucket take turns: each has one batch in the debt at most, and the debts are paid back in their order.

use std::time::{Duration, Instant};

const NANOS_PER_S: u64 = 1_000_000_000;

/// How much may pass: steadily, and at once after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Per second, at least 1.
    pub per_s_max: u64,
    /// At once.
    pub burst_max: u64,
}

/// What is left of a rate at this moment.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// When it is full again, if nothing more is taken; none if it is.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, full_at: None }
    }

    /// Takes `amount`, and says how long to wait before the next is asked for; none if there was enough.
    pub(crate) fn take(&mut self, now: Instant, amount: u64) -> Option<Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.time_of(amount);
        self.full_at = Some(full_at);
        let debt = (full_at - now).checked_sub(self.time_of(self.rate.burst_max))?;
        (!debt.is_zero()).then_some(debt)
    }

    /// Whether nothing is missing, so that a new one would be the same.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// How long it takes to refill so much, rounded up: the rate is never exceeded.
    fn time_of(&self, amount: u64) -> Duration {
        let per_s = self.rate.per_s_max.max(1);
        let rest = (amount % per_s).saturating_mul(NANOS_PER_S).div_ceil(per_s);
        Duration::from_secs(amount / per_s) + Duration::from_nanos(rest)
    }
}

#[cfg(test)]
mod tests {
    use muster_actors::{Clock, SystemClock};
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_s_max: 10, burst_max: 5 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_waits_for_the_rate() {
        let (mut bucket, now) = (Bucket::new(RATE), SystemClock.now());
        assert_eq!(bucket.take(now, 5), None);
        assert_eq!(bucket.take(now, 1), Some(ms(100)));
        assert_eq!(bucket.take(now + ms(100), 1), Some(ms(100)));
        assert_eq!(bucket.take(now + ms(1_000), 5), None, "what was refilled meanwhile may pass");
    }

    #[test]
    fn a_batch_that_is_larger_than_the_bucket_passes_and_is_paid_for() {
        let (mut bucket, now) = (Bucket::new(RATE), SystemClock.now());
        assert_eq!(bucket.take(now, 25), Some(ms(2_000)));
        assert!(!bucket.is_full(now + ms(2_499)));
        assert!(bucket.is_full(now + ms(2_500)));
    }

    #[test]
    fn those_who_share_it_wait_in_turn() {
        let (mut bucket, now) = (Bucket::new(RATE), SystemClock.now());
        // One that floods and one that hardly says anything: after the large batch the small one waits for its own.
        assert_eq!(bucket.take(now, 15), Some(ms(1_000)));
        assert_eq!(bucket.take(now, 1), Some(ms(1_100)));
        assert_eq!(bucket.take(now + ms(1_000), 15), Some(ms(1_600)));
    }

    #[test]
    fn numbers_at_their_ends_do_not_overflow() {
        let now = SystemClock.now();
        for per_s_max in [0, 1, 1_000_000_000_000] {
            let mut bucket = Bucket::new(Rate { per_s_max, burst_max: 0 });
            assert!(bucket.take(now, 1 << 30).is_some());
        }
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_never_exceeds_the_rate_and_always_reaches_it(
            per_s_max in 1_u64..1_000_000,
            burst_max in 0_u64..10_000,
            amounts in prop::collection::vec((0_u64..5_000, 0_u64..200), 1..60),
        ) {
            let (mut bucket, began) = (Bucket::new(Rate { per_s_max, burst_max }), SystemClock.now());
            let (mut now, mut passed, mut idle) = (began, 0, Duration::ZERO);
            for (amount, pause_ms) in amounts {
                let wait = bucket.take(now, amount).unwrap_or_default();
                passed += amount;
                now += wait;
                let allowed = burst_max as f64 + per_s_max as f64 * (now - began).as_secs_f64();
                prop_assert!(passed as f64 <= allowed + 1.0, "{passed} of {allowed}");
                if !wait.is_zero() {
                    // It waited, so nothing but the time it was idle, and roundings of up to 2 ns each, are unused.
                    let busy = (now - began).saturating_sub(idle).as_secs_f64() - 200e-9;
                    prop_assert!(passed as f64 >= per_s_max as f64 * busy - 1.0, "{passed} in {busy} s");
                }
                now += ms(pause_ms);
                idle += ms(pause_ms);
            }
        }
    }
}
