//! Where shells get the time from. Cores take `now` as an argument and never see a clock.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time that an actor's assembly hands it.
pub trait Clock: Send + Sync {
    /// Monotonic time, for deadlines and durations.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970-01-01 UTC, for what is stored or shown. It may jump when the machine's clock is set.
    fn unix_ms(&self) -> u64;
}

/// A clock that several actors share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock. Its monotonic time is that of the tokio runtime it is asked in, so it stands still and jumps
/// with a test's paused time, and agrees with every timer of that runtime; outside of a runtime it is std's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system clock, ready to be handed around.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door through which time comes in")]
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door through which time comes in")]
    fn unix_ms(&self) -> u64 {
        // A machine whose clock is before 1970 gets 0: wrong as a date, and harmless.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::world;

    #[test]
    fn the_system_clock_works_outside_of_a_runtime() {
        let before = SystemClock.now();
        assert!(SystemClock.now() >= before);
        assert!(SystemClock.unix_ms() > 1_700_000_000_000);
    }

    #[test]
    fn the_system_clock_follows_paused_time() {
        world::run(async {
            let before = SystemClock.now();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(SystemClock.now() - before, Duration::from_secs(3600));
        });
    }
}
