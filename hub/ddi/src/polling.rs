//! How long a device sleeps between two polls.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::limits::{POLLS_BEFORE_WINDOW, SLEEP_S_MAX};

/// A time between two polls, as hawkBit writes it: `HH:MM:SS`, at most 23:59:59.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sleep {
    seconds: u32,
}

/// How often devices of a tenant are to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Usually.
    pub usual_s: u32,
    /// At least, before a window.
    pub least_s: u32,
}

impl Sleep {
    /// Within the bounds of the format: at least a second.
    pub fn of_seconds(seconds: u64) -> Self {
        let seconds = u32::try_from(seconds).unwrap_or(SLEEP_S_MAX);
        Self { seconds: seconds.clamp(1, SLEEP_S_MAX) }
    }

    /// How long.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// The usual time; before the window of a waiting action less, so that the device polls some three times until it
    /// opens and does not sleep over it.
    pub fn until_window(pace: Pace, now_s: u64, window_opens_s: Option<u64>) -> Self {
        let usual = u64::from(pace.usual_s);
        let least = u64::from(pace.least_s).min(usual);
        let seconds = match window_opens_s.and_then(|opens| opens.checked_sub(now_s)) {
            Some(left) => (left / u64::from(POLLS_BEFORE_WINDOW)).clamp(least, usual),
            None => usual,
        };
        Self::of_seconds(seconds)
    }
}

impl fmt::Display for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        write!(f, "{:02}:{:02}:{seconds:02}", minutes / 60, minutes % 60)
    }
}

impl Serialize for Sleep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_written_as_hours_minutes_and_seconds_below_a_day() {
        for (seconds, text) in
            [(300, "00:05:00"), (0, "00:00:01"), (3_661, "01:01:01"), (1 << 40, "23:59:59")]
        {
            assert_eq!(Sleep::of_seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn devices_poll_more_often_before_a_window_and_never_too_often() {
        let pace = Pace { usual_s: 300, least_s: 30 };
        let sleep = |now, opens| Sleep::until_window(pace, now, opens).seconds();
        assert_eq!(sleep(1_000, None), 300);
        assert_eq!(sleep(1_000, Some(10_000)), 300);
        assert_eq!(sleep(1_000, Some(1_600)), 200);
        assert_eq!(sleep(1_000, Some(1_030)), 30);
        assert_eq!(sleep(1_000, Some(1_000)), 30);
        assert_eq!(sleep(1_000, Some(900)), 300, "a window that is open needs no hurry");
        let odd = Pace { usual_s: 10, least_s: 60 };
        assert_eq!(Sleep::until_window(odd, 0, Some(5)).seconds(), 10);
    }
}
