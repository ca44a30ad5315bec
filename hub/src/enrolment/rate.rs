//! How many enrolments may begin: token buckets, one for all and one per source address, in a bounded table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// An allowance that refills with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most that may happen at once.
    pub burst: u32,
    /// How many more may happen every second.
    pub per_s: u32,
}

/// Millionths of one thing: what a bucket counts in.
const UNIT: u64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    filled: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { left: u64::from(rate.burst) * UNIT, filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let gone = u64::try_from(now.saturating_duration_since(self.filled).as_micros()).unwrap_or(u64::MAX);
        // A rate per second is as many millionths per microsecond.
        let more = gone.saturating_mul(u64::from(rate.per_s));
        self.left = self.left.saturating_add(more).min(u64::from(rate.burst) * UNIT);
        self.filled = self.filled.max(now);
    }

    fn is_full(&self, rate: Rate) -> bool {
        self.left >= u64::from(rate.burst) * UNIT
    }

    /// How long until one more may happen; nothing when it may now.
    fn wait(&self, rate: Rate) -> Duration {
        let missing = UNIT.saturating_sub(self.left);
        Duration::from_micros(missing.div_ceil(u64::from(rate.per_s.max(1))))
    }
}

/// One allowance.
#[derive(Debug)]
pub struct Allowance {
    rate: Rate,
    bucket: Bucket,
}

impl Allowance {
    /// A full allowance.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, bucket: Bucket::full(rate, now) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// None is left; how long until there is.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.bucket.fill(self.rate, now);
        let wait = self.bucket.wait(self.rate);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.bucket.left -= UNIT;
        Ok(())
    }

    /// Gives one back that was taken for nothing.
    pub fn give_back(&mut self) {
        self.bucket.left = self.bucket.left.saturating_add(UNIT).min(u64::from(self.rate.burst) * UNIT);
    }

    /// Whether all of it is there, so that it is as good as a new one.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.bucket.fill(self.rate, now);
        self.bucket.is_full(self.rate)
    }
}

/// An allowance for all and one for each source address.
#[derive(Debug)]
pub struct SourceAllowances {
    all: Allowance,
    rate: Rate,
    sources: BTreeMap<IpAddr, Bucket>,
    sources_max: usize,
    /// What sources share that found the table full.
    others: Bucket,
}

impl SourceAllowances {
    /// Full allowances; at most `sources_max` sources are watched one by one.
    pub fn new(all: Rate, source: Rate, sources_max: usize, now: Instant) -> Self {
        let others = Bucket::full(source, now);
        Self { all: Allowance::new(all, now), rate: source, sources: BTreeMap::new(), sources_max, others }
    }

    /// Takes one for `source`.
    ///
    /// # Errors
    /// None is left, for that source or for all; how long until there is.
    pub fn take(&mut self, source: IpAddr, now: Instant) -> Result<(), Duration> {
        let source = network(source);
        if !self.sources.contains_key(&source) && self.sources.len() >= self.sources_max {
            self.forget_idle(now);
        }
        let known = self.sources.contains_key(&source) || self.sources.len() < self.sources_max;
        let (rate, all) = (self.rate, &mut self.all);
        let bucket = if known {
            self.sources.entry(source).or_insert_with(|| Bucket::full(rate, now))
        } else {
            &mut self.others
        };
        bucket.fill(rate, now);
        let wait = bucket.wait(rate);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        all.take(now)?;
        bucket.left -= UNIT;
        Ok(())
    }

    /// A source whose bucket is full again is as one never seen.
    fn forget_idle(&mut self, now: Instant) {
        let rate = self.rate;
        self.sources.retain(|_, bucket| {
            bucket.fill(rate, now);
            !bucket.is_full(rate)
        });
    }
}

/// What counts as one source: an IPv4 address, or the /64 network that an IPv6 host picks its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rate = Rate { burst: 10, per_s: 5 };
    const SOURCE: Rate = Rate { burst: 2, per_s: 1 };

    fn start() -> Instant {
        use muster_actors::Clock;
        muster_actors::SystemClock.now()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_source_that_used_up_its_burst_waits_for_the_next_token() {
        let now = start();
        let mut rates = SourceAllowances::new(ALL, SOURCE, 8, now);
        let source = address("192.0.2.1");
        assert_eq!(rates.take(source, now), Ok(()));
        assert_eq!(rates.take(source, now), Ok(()));
        assert_eq!(rates.take(source, now), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(address("192.0.2.2"), now), Ok(()), "another source is not held up");
        assert_eq!(rates.take(source, now + Duration::from_secs(1)), Ok(()));
        assert!(rates.take(source, now + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn all_sources_together_stay_within_the_common_allowance() {
        let now = start();
        let mut rates = SourceAllowances::new(ALL, SOURCE, 100, now);
        let taken = (0..50).filter(|n| rates.take(address(&format!("192.0.2.{n}")), now).is_ok()).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn an_ipv6_host_is_one_source_whatever_address_it_picks() {
        let now = start();
        let mut rates = SourceAllowances::new(ALL, SOURCE, 8, now);
        let taken = (0..9).filter(|n| rates.take(address(&format!("2001:db8::{n}")), now).is_ok()).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn the_table_of_sources_does_not_grow_beyond_its_bound() {
        let now = start();
        let plenty = Rate { burst: 1_000, per_s: 1_000 };
        let mut rates = SourceAllowances::new(plenty, SOURCE, 4, now);
        let taken = (0..20).filter(|n| rates.take(address(&format!("192.0.2.{n}")), now).is_ok()).count();
        assert_eq!(rates.sources.len(), 4);
        assert_eq!(taken, 4 + 2, "those beyond share one allowance");
        // Later the four have rested and make room.
        let later = now + Duration::from_secs(60);
        assert_eq!(rates.take(address("198.51.100.1"), later), Ok(()));
        assert_eq!(rates.sources.len(), 1);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let now = start() + Duration::from_secs(10);
        let mut allowance = Allowance::new(Rate { burst: 1, per_s: 1 }, now);
        assert_eq!(allowance.take(now), Ok(()));
        assert!(allowance.take(now - Duration::from_secs(5)).is_err());
        assert!(allowance.take(now + Duration::from_millis(999)).is_err());
        assert_eq!(allowance.take(now + Duration::from_secs(1)), Ok(()));
    }
}
