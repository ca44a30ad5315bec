//! Times and durations as a person types and reads them.

use jiff::Timestamp;

/// Whole seconds from a text such as `90s`, `15m`, `24h` or `30d`.
pub(super) fn duration_s(text: &str) -> Result<u64, String> {
    let wanted = || format!("{text:?} is not a duration; write a whole number and s, m, h or d, such as 24h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wanted)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wanted)
}

/// An instant: RFC 3339, or a duration before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Milliseconds since 1970.
    At(u64),
    /// Seconds before now.
    Ago(u64),
}

impl When {
    pub(super) fn unix_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(s) => now_ms.saturating_sub(s.saturating_mul(1_000)),
        }
    }
}

impl std::str::FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = duration_s(text) {
            return Ok(Self::Ago(seconds));
        }
        let wanted =
            || format!("{text:?} is neither a time such as 2026-02-01T12:00:00Z nor a duration such as 15m");
        let instant = text.parse::<Timestamp>().map_err(|_| wanted())?;
        Ok(Self::At(u64::try_from(instant.as_millisecond()).map_err(|_| wanted())?))
    }
}

/// Unix seconds as RFC 3339, or the number when it is beyond any calendar.
pub(super) fn shown_s(unix_s: u64) -> String {
    let instant = i64::try_from(unix_s).ok().and_then(|s| Timestamp::from_second(s).ok());
    instant.map_or_else(|| unix_s.to_string(), |instant| instant.to_string())
}

/// Unix seconds with fraction as RFC 3339 with milliseconds, or the number when it is beyond any calendar.
pub(super) fn shown_f64(unix_s: f64) -> String {
    // A cast from f64 saturates; what is out of range is then refused by the calendar.
    let instant = Timestamp::from_millisecond((unix_s * 1_000.0).round() as i64).ok();
    instant
        .map_or_else(|| unix_s.to_string(), |instant| instant.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_its_unit() {
        assert_eq!(duration_s("90s"), Ok(90));
        assert_eq!(duration_s("24h"), Ok(86_400));
        assert_eq!(duration_s("30d"), Ok(2_592_000));
        for wrong in ["", "h", "24", "1.5h", "-1h", "24 h", "99999999999999999999d", "1ü"] {
            assert!(duration_s(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn an_instant_is_a_time_or_a_while_ago() {
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(When::At(1_000)));
        assert_eq!("15m".parse::<When>().map(|when| when.unix_ms(1_000_000)), Ok(100_000));
        assert!("yesterday".parse::<When>().is_err());
        assert!("1969-01-01T00:00:00Z".parse::<When>().is_err());
    }

    #[test]
    fn instants_are_shown_as_dates() {
        assert_eq!(shown_s(1_769_904_000), "2026-02-01T00:00:00Z");
        assert_eq!(shown_f64(1_769_904_000.25), "2026-02-01T00:00:00.250Z");
        assert_eq!(shown_f64(1e30), "1000000000000000000000000000000");
    }
}
