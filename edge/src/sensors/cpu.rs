//! Load of the processors, from the first line of `/proc/stat`.

/// Time of all processors since boot, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTime {
    busy: u64,
    total: u64,
}

impl CpuTime {
    /// Reads `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What follows is counted in these.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = ticks.get(3)?.checked_add(ticks.get(4).copied().unwrap_or(0))?;
        let total = ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks))?;
        Some(Self { busy: total.checked_sub(idle)?, total })
    }

    /// Percentage of time that the processors were busy since `earlier`; none when no tick has passed.
    pub(super) fn load_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy).min(total);
        Some(percent(busy, total))
    }

    /// The same since boot.
    pub(super) fn load_since_boot(self) -> Option<f64> {
        self.load_since(Self { busy: 0, total: 0 })
    }
}

/// A share as a percentage with one decimal.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 1_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  4705 356 584 3699 23 23 0 0 0 0\ncpu0 1393 169 318 1800 16 15 0 0 0 0\nintr 114930548\n";
    const LATER: &str = "cpu  4805 356 584 3999 23 23 0 0 0 0\n";

    #[test]
    fn load_is_the_busy_share_of_the_time_between() {
        let (earlier, later) = (CpuTime::parse(STAT).unwrap(), CpuTime::parse(LATER).unwrap());
        assert_eq!(later.load_since(earlier), Some(25.0));
        assert_eq!(earlier.load_since_boot(), Some(60.4));
        assert_eq!(earlier.load_since(earlier), None);
        assert_eq!(earlier.load_since(later), None, "counters that run backwards are no load");
    }

    #[test]
    fn what_is_no_stat_file_gives_nothing() {
        for text in ["", "cpu\n", "cpu  1 2\n", "cpu0 1 2 3 4\n", "cpu  18446744073709551615 1 2 3 4\n"] {
            assert_eq!(CpuTime::parse(text), None, "{text:?}");
        }
    }
}
