//! What policies can see of an item, so that two items that look alike to them are decided once; and at which instants what
//! they say may change.
//!
//! A comparison of times is a line in two variables: `context.now.durationSince(resource.captured) > duration("30d")` is
//! `now - captured - 30 days > 0`. Its boundary is one instant of `captured` for each `now`. What is not such a line makes
//! every instant its own.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    est::{attribute, conditions, kind, sides, walk},
    limits::VIEW_BOUNDARIES_MAX,
};

/// What a set of policies can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Its device or stream, or the item itself.
    pub(crate) stream: bool,
    pub(crate) cell: bool,
    /// Its attributes, by name.
    pub(crate) attributes: BTreeSet<String>,
    /// When it was captured.
    pub(crate) captured: bool,
    /// What `captured` is compared with.
    pub(crate) lines: BTreeSet<Line>,
    /// `captured` is used in a way that is not understood.
    pub(crate) every_instant: bool,
    /// `context.now` is used in a way that is not understood.
    pub(crate) every_moment: bool,
}

/// `captured * c + now * n + k = 0`, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    c: i64,
    n: i64,
    k: i64,
}

impl Line {
    fn plus(self, other: Self, sign: i64) -> Option<Self> {
        Some(Self {
            c: self.c.checked_add(other.c.checked_mul(sign)?)?,
            n: self.n.checked_add(other.n.checked_mul(sign)?)?,
            k: self.k.checked_add(other.k.checked_mul(sign)?)?,
        })
    }
}

impl Sight {
    /// What these policies see together, each as JSON.
    pub(crate) fn of<'a>(policies: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut sight = Self::default();
        for policy in policies {
            let scope = policy.get("resource");
            // Whatever names a resource in its scope asks who it is.
            sight.stream |= scope.and_then(|scope| scope.get("op")).and_then(Value::as_str) != Some("All");
            for body in conditions(policy) {
                walk(body, &mut |expression| sight.see(expression));
            }
        }
        sight.every_instant |= sight.lines.len() > VIEW_BOUNDARIES_MAX;
        sight
    }

    /// Takes an expression in; whether what is within it is to be looked at too.
    fn see(&mut self, expression: &Value) -> bool {
        if let Some(lines) = compared(expression) {
            let understood = |line: &Line| line.c.abs() <= 1 && line.c.saturating_add(line.n).abs() <= 1;
            if lines.iter().all(understood) {
                self.captured = true;
                self.lines.extend(lines.into_iter().filter(|line| line.c != 0 || line.n != 0));
                return false;
            }
        }
        if let Some((variable, name)) = attribute(expression) {
            match (variable, name) {
                ("resource", "captured") => (self.captured, self.every_instant) = (true, true),
                ("resource", "device" | "stream") => self.stream = true,
                ("resource", "cell") => self.cell = true,
                // The same for all items of one question.
                ("resource", "tenant" | "shared_with") => {}
                ("resource", name) => {
                    self.attributes.insert(name.to_owned());
                }
                ("context", _) => self.every_moment = true,
                _ => {}
            }
            return false;
        }
        match kind(expression) {
            Some(("Var", variable)) => {
                self.stream |= variable == "resource";
                self.every_moment |= variable == "context";
                false
            }
            _ => true,
        }
    }

    /// The instants of `captured` before, at and after which the policies may say something else, ascending.
    pub(crate) fn boundaries(&self, now_ms: i64) -> Vec<i64> {
        let lines = self.lines.iter().filter(|line| line.c != 0);
        let at = lines.filter_map(|line| {
            let rest = line.n.checked_mul(now_ms)?.checked_add(line.k)?;
            rest.checked_mul(line.c.checked_neg()?)
        });
        at.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The instants after `now_ms` at which the policies may say something else of what was captured then, ascending.
    pub(crate) fn moments(&self, captured_ms: i64, now_ms: i64) -> Vec<i64> {
        let lines = self.lines.iter().filter(|line| line.n.abs() == 1);
        let at = lines.filter_map(|line| {
            let rest = line.c.checked_mul(captured_ms)?.checked_add(line.k)?;
            rest.checked_mul(line.n.checked_neg()?)
        });
        let around = at.flat_map(|at| [Some(at), at.checked_add(1)]).flatten().filter(|at| *at > now_ms);
        around.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Until when a decision on what is captured at this very moment holds, as far as time is concerned: before the first
    /// moment that lies after `now_ms` and at which the policies may say something else. None if it is not known.
    pub(crate) fn holds_until(&self, now_ms: i64) -> Option<i64> {
        if self.every_instant || self.every_moment {
            return None;
        }
        let flips = self.lines.iter().filter_map(|line| match line.c.checked_add(line.n)? {
            0 => None,
            slope => line.k.checked_mul(slope.checked_neg()?),
        });
        // At the boundary itself and right after it.
        let next =
            flips.flat_map(|flip| [Some(flip), flip.checked_add(1)]).flatten().filter(|flip| *flip > now_ms);
        Some(next.min().unwrap_or(i64::MAX))
    }
}

/// The lines on which a comparison changes what it says, if it is one of times or durations.
fn compared(expression: &Value) -> Option<Vec<Line>> {
    let (operator, inner) = kind(expression)?;
    if !matches!(operator, "==" | "!=" | "<" | "<=" | ">" | ">=") {
        return None;
    }
    let (left, right) = sides(inner)?;
    if let (Some(left), Some(right)) = (line(left), line(right)) {
        return Some(vec![left.plus(right, -1)?]);
    }
    // A duration in whole units, rounded towards zero, and a number.
    let ((counted, unit), number) = match (units(left), units(right)) {
        (Some(counted), None) => (counted, number(right)?),
        (None, Some(counted)) => (counted, number(left)?),
        _ => return None,
    };
    let line = line(counted)?;
    let steps = [number.checked_sub(1)?, number, number.checked_add(1)?];
    steps.into_iter().map(|step| line.plus(Line { c: 0, n: 0, k: step.checked_mul(unit)? }, -1)).collect()
}

fn units(expression: &Value) -> Option<(&Value, i64)> {
    let (call, arguments) = kind(expression)?;
    let unit = match call {
        "toMilliseconds" => 1,
        "toSeconds" => 1_000,
        "toMinutes" => 60_000,
        "toHours" => 3_600_000,
        "toDays" => 86_400_000,
        _ => return None,
    };
    Some((arguments.as_array()?.first()?, unit))
}

fn number(expression: &Value) -> Option<i64> {
    match kind(expression)? {
        ("Value", value) => value.as_i64(),
        ("neg", inner) => number(inner.get("arg")?)?.checked_neg(),
        _ => None,
    }
}

/// A time or a duration as a line, if it is one.
fn line(expression: &Value) -> Option<Line> {
    match attribute(expression) {
        Some(("resource", "captured")) => return Some(Line { c: 1, n: 0, k: 0 }),
        Some(("context", "now")) => return Some(Line { c: 0, n: 1, k: 0 }),
        Some(_) => return None,
        None => {}
    }
    let (call, arguments) = kind(expression)?;
    let arguments = arguments.as_array()?;
    let text = || arguments.first().and_then(kind).filter(|(kind, _)| *kind == "Value")?.1.as_str();
    let literal = |k| Line { c: 0, n: 0, k };
    match (call, arguments.as_slice()) {
        ("offset", [time, by]) => line(time)?.plus(line(by)?, 1),
        ("durationSince", [time, since]) => line(time)?.plus(line(since)?, -1),
        ("duration", [_]) => duration_ms(text()?).map(literal),
        ("datetime", [_]) => datetime_ms(text()?).map(literal),
        _ => None,
    }
}

/// `-1d2h3m4s5ms`.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let unit = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = tail;
    }
    total.checked_mul(sign)
}

/// `2026-11-22`, or with a time of day and its zone behind it.
fn datetime_ms(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let part = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days(part(date, 0, 4)?, part(date, 5, 7)?, part(date, 8, 10)?);
    let mut ms = days * 86_400_000;
    ms += part(time, 0, 2)? * 3_600_000 + part(time, 3, 5)? * 60_000 + part(time, 6, 8)? * 1_000;
    let mut zone = time.get(8..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        ms += part(fraction, 0, 3)?;
        zone = fraction.get(3..)?;
    }
    let offset = |zone: &str| Some((part(zone, 0, 2)? * 60 + part(zone, 2, 4)?) * 60_000);
    match zone.split_at_checked(1)? {
        ("Z", "") => Some(ms),
        ("+", zone) => Some(ms - offset(zone)?),
        ("-", zone) => Some(ms + offset(zone)?),
        _ => None,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the day that some have ends them.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn sight(condition: &str) -> Sight {
        let text =
            format!("permit (principal, action == Action::\"view\", resource) when {{ {condition} }};");
        let policy = Policy::parse(None, text).unwrap().to_json().unwrap();
        Sight::of([&policy])
    }

    #[test]
    fn times_are_read_as_the_language_reads_them() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("2026-11-22T23:12:46Z", 1_795_389_166_000),
            ("2026-11-22T23:12:46.007Z", 1_795_389_166_007),
            ("2026-11-23T00:12:46+0100", 1_795_389_166_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29", 951_782_400_000),
        ] {
            assert_eq!(datetime_ms(text), Some(ms), "{text}");
        }
        assert_eq!(duration_ms("1d2h3m4s5ms"), Some(93_784_005));
        assert_eq!(duration_ms("-30d"), Some(-2_592_000_000));
        assert_eq!(duration_ms("3x"), None);
    }

    #[test]
    fn an_age_is_one_boundary_and_never_changes_for_what_is_new() {
        let sight = sight("context.now.durationSince(resource.captured) > duration(\"30d\")");
        assert_eq!(sight.boundaries(2_592_000_100), [100]);
        assert_eq!(sight.holds_until(5), Some(i64::MAX));
        assert!(!sight.every_instant && !sight.stream && sight.attributes.is_empty());
    }

    #[test]
    fn a_date_is_a_boundary_for_both() {
        let sight =
            sight("resource.captured < datetime(\"1970-01-02\") && context.now >= datetime(\"1970-01-03\")");
        assert_eq!(sight.boundaries(0), [86_400_000]);
        assert_eq!(sight.holds_until(0), Some(86_400_000));
        assert_eq!(sight.holds_until(86_400_000), Some(86_400_001));
        assert_eq!(sight.holds_until(86_400_001), Some(172_800_000));
        assert_eq!(sight.holds_until(172_800_001), Some(i64::MAX));
    }

    #[test]
    fn whole_days_have_the_boundaries_around_them() {
        let sight = sight("context.now.durationSince(resource.captured).toDays() >= 2");
        let day = 86_400_000;
        assert_eq!(sight.boundaries(10 * day), [7 * day, 8 * day, 9 * day]);
        assert!(!sight.every_instant);
    }

    #[test]
    fn what_is_not_understood_makes_every_instant_its_own() {
        assert!(sight("resource.captured.toTime() < duration(\"6h\")").every_instant);
        let now = sight("context.now.toTime() < duration(\"6h\")");
        assert!(!now.every_instant && now.every_moment);
        assert_eq!(now.holds_until(0), None);
        let twice = "resource.captured.offset(resource.captured.durationSince(context.now)) > context.now";
        assert!(sight(twice).every_instant);
    }

    #[test]
    fn only_what_is_named_is_seen() {
        let sight = sight("principal.district.containsAny(resource.district) && resource.cell like \"u0*\"");
        assert_eq!(sight.attributes, ["district".to_owned()].into());
        assert!(sight.cell && !sight.stream);
        assert!(tests::sight("resource.stream == \"gate\"").stream);
        assert!(tests::sight("resource in Device::\"a\"").stream);
    }
}
