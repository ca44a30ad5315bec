//! Maintenance windows: when a device may be changed, in its own time. `mon-fri 02:30 +90` begins at half past two on five
//! days and lasts ninety minutes. Where clocks go forward over its begin, it begins at the first time after the gap; where
//! they go back, at the earlier of the two. It lasts as long as it says, whatever clocks do meanwhile.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, ToSpan,
    civil::Weekday,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, WINDOW_MIN_MAX};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const MINUTES_PER_DAY: u16 = 24 * 60;

/// Why a text is no window, or no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// Not of that form.
    #[error("{text:?} is not of the form `mon-fri 02:30 +90`: days (or `daily`), begin, minutes")]
    Form {
        /// What was read.
        text: String,
    },
    /// A day that there is not.
    #[error("{text:?} is no day: mon, tue, wed, thu, fri, sat, sun")]
    Day {
        /// What was read.
        text: String,
    },
    /// A length that is none.
    #[error("a window lasts 1 to {WINDOW_MIN_MAX} minutes, not {minutes}")]
    Length {
        /// What was read.
        minutes: u16,
    },
    /// A zone that nobody knows.
    #[error("{name:?} is no time zone of the IANA database, such as Europe/Berlin")]
    Zone {
        /// What was read.
        name: String,
    },
}

/// A window that comes again every week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Weekly {
    /// On which days it begins: Monday is the lowest bit.
    days: u8,
    /// When on those days, in minutes of the clock on the wall.
    at_min: u16,
    /// How long it lasts, in minutes.
    minutes: u16,
}

impl Weekly {
    /// # Errors
    /// No day, no time of day, or a length that is none.
    pub fn new(days: u8, at_min: u16, minutes: u16) -> Result<Self, InvalidWindow> {
        if days == 0 || days > 0x7f || at_min >= MINUTES_PER_DAY {
            return Err(InvalidWindow::Form { text: format!("{days:#x} {at_min} +{minutes}") });
        }
        if minutes == 0 || minutes > WINDOW_MIN_MAX {
            return Err(InvalidWindow::Length { minutes });
        }
        Ok(Self { days, at_min, minutes })
    }

    /// Days as bits, begin, minutes.
    pub fn parts(self) -> (u8, u16, u16) {
        (self.days, self.at_min, self.minutes)
    }

    fn on(self, weekday: Weekday) -> bool {
        DAYS.iter().enumerate().any(|(bit, (_, day))| *day == weekday && self.days >> bit & 1 == 1)
    }
}

fn days(text: &str) -> Result<u8, InvalidWindow> {
    let place = |name: &str| {
        let found = DAYS.iter().position(|(day, _)| *day == name);
        found.ok_or_else(|| InvalidWindow::Day { text: name.to_owned() })
    };
    if text == "daily" {
        return Ok(0x7f);
    }
    let mut bits = 0_u8;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (place(first)?, place(last)?);
        // `sat-mon` goes over the end of the week.
        loop {
            bits |= 1 << day;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Ok(bits)
}

impl FromStr for Weekly {
    type Err = InvalidWindow;
    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let form = || InvalidWindow::Form { text: text.to_owned() };
        let mut parts = text.split_ascii_whitespace();
        let (Some(on), Some(at), Some(minutes), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        let digits = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| form()),
            false => Err(form()),
        };
        let (hour, minute) = at.split_once(':').ok_or_else(form)?;
        if hour.len() != 2 || minute.len() != 2 {
            return Err(form());
        }
        let (hour, minute) = (digits(hour)?, digits(minute)?);
        if hour > 23 || minute > 59 {
            return Err(form());
        }
        let minutes = digits(minutes.strip_prefix('+').ok_or_else(form)?)?;
        Self::new(days(on)?, hour * 60 + minute, minutes)
    }
}

impl fmt::Display for Weekly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == 0x7f {
            f.write_str("daily")?;
        } else {
            let on = DAYS.iter().enumerate().filter(|(bit, _)| self.days >> bit & 1 == 1);
            f.write_str(&on.map(|(_, (name, _))| *name).collect::<Vec<_>>().join(","))?;
        }
        write!(f, " {:02}:{:02} +{}", self.at_min / 60, self.at_min % 60, self.minutes)
    }
}

impl TryFrom<String> for Weekly {
    type Error = InvalidWindow;
    fn try_from(text: String) -> Result<Self, InvalidWindow> {
        text.parse()
    }
}

impl From<Weekly> for String {
    fn from(window: Weekly) -> Self {
        window.to_string()
    }
}

/// A time zone's name, of which the database of this build knows the rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl Zone {
    /// The time of Greenwich, without summer.
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that was looked up when it was written. That a database of another year knows it is not asked again.
    pub(crate) fn stored(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        (is_name && name.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(name.to_owned()))
    }

    fn rules(&self) -> Option<TimeZone> {
        TimeZoneDatabase::bundled().get(&self.0).ok()
    }
}

impl FromStr for Zone {
    type Err = InvalidWindow;
    fn from_str(name: &str) -> Result<Self, InvalidWindow> {
        let zone = (name.len() <= NAME_BYTES_MAX).then(|| Self(name.to_owned()));
        zone.filter(|zone| zone.rules().is_some())
            .ok_or_else(|| InvalidWindow::Zone { name: name.to_owned() })
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidWindow;
    fn try_from(name: String) -> Result<Self, InvalidWindow> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

/// A time during which devices may be changed, in milliseconds since 1970: from, and up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub from_ms: u64,
    /// The first instant after it.
    pub to_ms: u64,
}

impl Span {
    /// No end.
    pub const ALWAYS: Self = Self { from_ms: 0, to_ms: u64::MAX };

    /// Whether it is open.
    pub fn is_open(self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.to_ms
    }
}

/// The span that is open in that zone, or else the next one. Windows that touch are one.
pub fn span_at(windows: &[Weekly], zone: &Zone, now_ms: u64) -> Option<Span> {
    let rules = zone.rules()?;
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let today = now.to_zoned(rules.clone()).date();
    let mut spans = Vec::new();
    // A window that began eight days ago has ended, and each window comes again within eight days.
    for day in -8..=8_i32 {
        let Ok(date) = today.checked_add(day.days()) else { continue };
        for window in windows.iter().filter(|window| window.on(date.weekday())) {
            let (hour, minute) = (window.at_min / 60, window.at_min % 60);
            let hour = i8::try_from(hour).ok()?;
            let begin = date.at(hour, i8::try_from(minute).ok()?, 0, 0);
            // Compatible, as RFC 5545 §3.3.5 has it: behind a gap, and the first of two.
            let Ok(begin) = rules.to_ambiguous_zoned(begin).compatible() else { continue };
            let Ok(from_ms) = u64::try_from(begin.timestamp().as_millisecond()) else { continue };
            spans.push(Span { from_ms, to_ms: from_ms + u64::from(window.minutes) * 60_000 });
        }
    }
    spans.sort_by_key(|span| (span.from_ms, span.to_ms));
    let mut merged: Option<Span> = None;
    for span in spans {
        match &mut merged {
            Some(open) if span.from_ms <= open.to_ms => open.to_ms = open.to_ms.max(span.to_ms),
            Some(open) if open.to_ms > now_ms => break,
            _ => merged = Some(span),
        }
    }
    merged.filter(|span| span.to_ms > now_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().expect(text).as_millisecond().unsigned_abs()
    }

    fn span(windows: &[&str], zone: &str, now: &str) -> (String, String) {
        let windows: Vec<Weekly> = windows.iter().map(|text| text.parse().expect(text)).collect();
        let span = span_at(&windows, &zone.parse().expect(zone), ms(now)).expect("a span");
        let shown = |ms: u64| Timestamp::from_millisecond(ms.cast_signed()).expect("a time").to_string();
        (shown(span.from_ms), shown(span.to_ms))
    }

    fn is(span: (String, String), from: &str, to: &str) {
        assert_eq!((span.0.as_str(), span.1.as_str()), (from, to));
    }

    #[test]
    fn a_window_is_in_the_time_of_the_device() {
        let now = "2026-11-23T00:00:00Z"; // A Monday.
        is(span(&["mon-fri 02:30 +90"], "UTC", now), "2026-11-23T02:30:00Z", "2026-11-23T04:00:00Z");
        is(
            span(&["mon-fri 02:30 +90"], "Europe/Berlin", now),
            "2026-11-23T01:30:00Z",
            "2026-11-23T03:00:00Z",
        );
        // In New York it is still Sunday.
        is(
            span(&["mon-fri 02:30 +90"], "America/New_York", now),
            "2026-11-23T07:30:00Z",
            "2026-11-23T09:00:00Z",
        );
        is(
            span(&["sun 18:00 +120"], "America/New_York", now),
            "2026-11-22T23:00:00Z",
            "2026-11-23T01:00:00Z",
        );
    }

    #[test]
    fn a_window_that_is_open_is_told_and_one_that_ended_is_not() {
        is(
            span(&["daily 02:00 +60"], "UTC", "2026-11-23T02:59:59Z"),
            "2026-11-23T02:00:00Z",
            "2026-11-23T03:00:00Z",
        );
        is(
            span(&["daily 02:00 +60"], "UTC", "2026-11-23T03:00:00Z"),
            "2026-11-24T02:00:00Z",
            "2026-11-24T03:00:00Z",
        );
        is(
            span(&["mon 02:00 +60"], "UTC", "2026-11-23T03:00:00Z"),
            "2026-11-30T02:00:00Z",
            "2026-11-30T03:00:00Z",
        );
        // It began the day before.
        is(
            span(&["sun 23:00 +180"], "UTC", "2026-11-23T01:00:00Z"),
            "2026-11-22T23:00:00Z",
            "2026-11-23T02:00:00Z",
        );
        // A week long, and it began six days ago.
        let always = span(&["tue 00:00 +10080"], "UTC", "2026-11-23T01:00:00Z");
        is(always, "2026-11-17T00:00:00Z", "2026-12-08T00:00:00Z");
    }

    #[test]
    fn windows_that_touch_are_one() {
        let windows = ["daily 01:00 +60", "daily 02:00 +30", "daily 02:15 +60", "daily 04:00 +10"];
        is(span(&windows, "UTC", "2026-11-23T01:30:00Z"), "2026-11-23T01:00:00Z", "2026-11-23T03:15:00Z");
    }

    #[test]
    fn a_window_begins_behind_a_gap_of_the_clock_and_at_the_first_of_two_times() {
        // Berlin, 2026-03-29: 02:00 is 03:00. The window lasts as long as ever.
        is(
            span(&["sun 02:30 +60"], "Europe/Berlin", "2026-03-29T00:00:00Z"),
            "2026-03-29T01:30:00Z",
            "2026-03-29T02:30:00Z",
        );
        // Berlin, 2026-10-25: 02:30 comes twice, the first time at 00:30 of Greenwich.
        is(
            span(&["sun 02:30 +60"], "Europe/Berlin", "2026-10-25T00:00:00Z"),
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
        );
        // Lord Howe Island moves its clocks by half an hour.
        is(
            span(&["sun 02:15 +60"], "Australia/Lord_Howe", "2026-10-03T12:00:00Z"),
            "2026-10-03T15:45:00Z",
            "2026-10-03T16:45:00Z",
        );
    }

    #[test]
    fn what_is_no_window_is_refused_in_words() {
        for text in [
            "",
            "mon",
            "mon 2:30 +60",
            "mon 24:00 +60",
            "mon 02:30 60",
            "mon 02:30 +60 x",
            "mon 02:60 +1",
            "mon +2:30 +1",
        ] {
            assert!(matches!(text.parse::<Weekly>(), Err(InvalidWindow::Form { .. })), "{text}");
        }
        assert!(matches!("mo 02:30 +60".parse::<Weekly>(), Err(InvalidWindow::Day { .. })));
        assert!(matches!("mon 02:30 +0".parse::<Weekly>(), Err(InvalidWindow::Length { .. })));
        assert!(matches!("mon 02:30 +10081".parse::<Weekly>(), Err(InvalidWindow::Length { .. })));
        assert!(matches!("Europe/Atlantis".parse::<Zone>(), Err(InvalidWindow::Zone { .. })));
        assert_eq!(
            "sat-mon 02:30 +60".parse::<Weekly>().expect("a window").to_string(),
            "mon,sat,sun 02:30 +60"
        );
    }

    proptest! {
        #[test]
        fn a_span_is_open_or_ahead_and_the_next_begins_after_it(
            days in 1..0x80_u8, at in 0..1440_u16, minutes in 1..=10_080_u16, now_s in 1_000_000_000..2_000_000_000_u64,
            zone in prop_oneof![Just("Europe/Berlin"), Just("UTC"), Just("America/St_Johns"), Just("Pacific/Apia")],
        ) {
            let window = Weekly::new(days, at, minutes).expect("a window");
            prop_assert_eq!(window.to_string().parse::<Weekly>(), Ok(window));
            let zone: Zone = zone.parse().expect("a zone");
            let first = span_at(&[window], &zone, now_s * 1000).expect("a span");
            prop_assert!(first.from_ms < first.to_ms && first.to_ms > now_s * 1000);
            prop_assert!(first.from_ms < now_s * 1000 + 9 * 86_400_000);
            let next = span_at(&[window], &zone, first.to_ms).expect("a span");
            prop_assert!(next.to_ms > first.to_ms);
        }
    }
}
