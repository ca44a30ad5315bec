//! What one quote of a chip says after another: that it runs on, that it was started again, or that something is wrong.
//! A TPM counts its resets and keeps a clock that runs while it has power and never goes back; both are in each quote,
//! signed by the chip. Pure: rows and alarms are the registry's matter.

use super::limits::{CLEARED_RESETS_MAX, CLOCK_LOST_MS_MAX, CLOCK_SLACK_MS};

/// When a chip made a quote, by its own counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// Resets since the chip was last cleared: one more for each start.
    pub reset_count: u32,
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// Its clock, in milliseconds of power.
    pub clock_ms: u64,
}

/// A quote, and the hub's time when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What the quote says.
    pub boot: Boot,
    /// The hub's time, in seconds since 1970.
    pub at_s: u64,
}

/// What a quote means after the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The chip runs on.
    SameBoot,
    /// It was started again.
    Reboot,
    /// It was started again more often than its device has connected since: somebody starts it apart from us, or it does
    /// not come as far as connecting.
    SilentReboots {
        /// How often it was started.
        resets: u32,
        /// How often its device has connected.
        connections: u32,
    },
    /// It was cleared: its counters began anew, with a new identity key.
    Cleared,
    /// Its counters went back under the same keys: its state was put back, or another copy of it was seen before.
    Rollback,
    /// The clock of one boot went back, or ran faster than time: two copies of the chip run.
    Clone,
}

/// Judges a quote by the one before it. `connections` is how often the device has connected between the two, if that is
/// known; `key_replaced` says that it came with another identity key without having renewed.
pub fn judge(before: Seen, now: Seen, connections: Option<u32>, key_replaced: bool) -> Judgement {
    let (was, is) = (before.boot, now.boot);
    // The clock of a TPM may be a sixth off by its specification, and more where its owner adjusts it.
    let elapsed_ms = now.at_s.saturating_sub(before.at_s).saturating_mul(1_000);
    let possible_ms = elapsed_ms.saturating_add(elapsed_ms / 3).saturating_add(CLOCK_SLACK_MS);
    let went_back = (is.reset_count, is.clock_ms) < (was.reset_count, was.clock_ms);
    // A cleared chip has no counters from before: all that they say has happened since.
    if key_replaced && went_back && is.reset_count <= CLEARED_RESETS_MAX && is.clock_ms <= possible_ms {
        return Judgement::Cleared;
    }
    if (is.reset_count, is.restart_count) < (was.reset_count, was.restart_count) {
        return Judgement::Rollback;
    }
    if is.clock_ms.saturating_sub(was.clock_ms) > possible_ms {
        return Judgement::Clone;
    }
    if is.reset_count == was.reset_count {
        return if is.clock_ms < was.clock_ms { Judgement::Clone } else { Judgement::SameBoot };
    }
    // A power cut loses what the clock has not written yet, and no more.
    if is.clock_ms.saturating_add(CLOCK_LOST_MS_MAX) < was.clock_ms {
        return Judgement::Rollback;
    }
    let resets = is.reset_count - was.reset_count;
    match connections {
        Some(connections) if resets > connections => Judgement::SilentReboots { resets, connections },
        _ => Judgement::Reboot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: u64 = 3_600;

    fn seen(resets: u32, restarts: u32, clock_s: u64, at_s: u64) -> Seen {
        let boot = Boot { reset_count: resets, restart_count: restarts, clock_ms: clock_s * 1_000 };
        Seen { boot, at_s }
    }

    fn after(now: Seen) -> Judgement {
        judge(seen(5, 2, 10_000, HOUR_S), now, Some(1), false)
    }

    #[test]
    fn a_chip_that_runs_on_counts_its_clock_on() {
        assert_eq!(after(seen(5, 2, 13_600, 2 * HOUR_S)), Judgement::SameBoot);
        assert_eq!(after(seen(5, 3, 10_001, 2 * HOUR_S)), Judgement::SameBoot, "it slept meanwhile");
        assert_eq!(after(seen(5, 2, 10_000, HOUR_S)), Judgement::SameBoot, "two quotes of one moment");
    }

    #[test]
    fn a_reboot_is_announced_by_a_connection() {
        assert_eq!(after(seen(6, 0, 10_100, 2 * HOUR_S)), Judgement::Reboot);
        let silent = Judgement::SilentReboots { resets: 2, connections: 1 };
        assert_eq!(after(seen(7, 0, 10_100, 2 * HOUR_S)), silent);
        let unknown = judge(seen(5, 2, 10_000, 0), seen(9, 0, 10_100, HOUR_S), None, false);
        assert_eq!(unknown, Judgement::Reboot, "a hub that has just started does not guess");
    }

    #[test]
    fn a_power_cut_loses_a_little_of_the_clock() {
        assert_eq!(after(seen(6, 0, 9_990, 2 * HOUR_S)), Judgement::Reboot);
        assert_eq!(
            after(seen(6, 0, 1_000, 2 * HOUR_S)),
            Judgement::Rollback,
            "that is more than a power cut"
        );
    }

    #[test]
    fn counters_that_go_back_are_a_rollback() {
        assert_eq!(after(seen(4, 9, 99_999, 9 * HOUR_S)), Judgement::Rollback);
        assert_eq!(after(seen(5, 1, 13_000, 2 * HOUR_S)), Judgement::Rollback);
    }

    #[test]
    fn two_clocks_in_one_boot_are_two_chips() {
        assert_eq!(after(seen(5, 2, 9_999, 2 * HOUR_S)), Judgement::Clone);
        assert_eq!(after(seen(5, 2, 20_000, 2 * HOUR_S)), Judgement::Clone, "nothing runs faster than time");
        assert_eq!(after(seen(6, 0, 20_000, 2 * HOUR_S)), Judgement::Clone);
    }

    #[test]
    fn a_cleared_chip_begins_anew_and_one_that_was_put_back_does_not_pass_for_it() {
        let was = seen(5, 2, 10_000, HOUR_S);
        assert_eq!(judge(was, seen(0, 0, 30, 2 * HOUR_S), Some(1), true), Judgement::Cleared);
        assert_eq!(
            judge(was, seen(0, 0, 30, 2 * HOUR_S), Some(1), false),
            Judgement::Rollback,
            "the key is the old"
        );
        assert_eq!(judge(was, seen(4, 0, 9_000, 2 * HOUR_S), Some(1), true), Judgement::Rollback);
        assert_eq!(
            judge(was, seen(6, 0, 10_100, 2 * HOUR_S), Some(1), true),
            Judgement::Reboot,
            "set up anew"
        );
    }
}
