//! What a tenant says its readings are, made ready to be asked for every one of them.

use std::hash::{BuildHasher as _, RandomState};

use muster_items::units::is_registered;
use muster_schemas::{
    api::{ReadingKind, ReadingRule, TelemetrySchema},
    senml::{RecordRef, ValueRef},
};

use crate::{
    Fault,
    limits::{AHEAD_S_MAX, OWN_UNITS_MAX, RULE_TEXT_BYTES_MAX, RULES_MAX},
};

/// Why a schema is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// Too many rules.
    #[error("has {found} rules, and {RULES_MAX} may be")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Too many units.
    #[error("names {found} units of its own, and {OWN_UNITS_MAX} may be")]
    TooManyUnits {
        /// How many.
        found: usize,
    },
    /// A text that is empty or too long.
    #[error(
        "has a rule (number {rule}, from 0) with a text that is empty, or longer than {RULE_TEXT_BYTES_MAX} bytes"
    )]
    Text {
        /// Its place.
        rule: usize,
    },
    /// More than one `*`.
    #[error("has a rule (number {rule}, from 0) whose name has more than one '*'")]
    Wildcard {
        /// Its place.
        rule: usize,
    },
    /// Bounds that nothing is within.
    #[error("has a rule (number {rule}, from 0) whose min and max are no numbers with the least first")]
    Bounds {
        /// Its place.
        rule: usize,
    },
    /// Farther than may be.
    #[error("takes readings {found} s ahead, and {AHEAD_S_MAX} s may be")]
    Ahead {
        /// How far.
        found: u32,
    },
}

/// The rules of one tenant.
#[derive(Debug)]
pub struct Rules {
    /// Which rules these are; none have the same number as others.
    pub(crate) number: u64,
    pub(crate) keys: RandomState,
    ahead_s: u64,
    carry_other: bool,
    closed: bool,
    any_unit: bool,
    units: Vec<String>,
    readings: Vec<ReadingRule>,
}

impl Rules {
    /// Makes a schema ready. The number tells these rules from all others of the process.
    pub fn new(schema: TelemetrySchema, number: u64) -> Result<Self, InvalidRules> {
        let TelemetrySchema { carry_other, closed, mut units, ahead_s, readings } = schema;
        if readings.len() > RULES_MAX {
            return Err(InvalidRules::TooMany { found: readings.len() });
        }
        if units.len() > OWN_UNITS_MAX || units.iter().any(|unit| unit.len() > RULE_TEXT_BYTES_MAX) {
            return Err(InvalidRules::TooManyUnits { found: units.len() });
        }
        if let Some(found) = ahead_s.filter(|ahead| u64::from(*ahead) > AHEAD_S_MAX) {
            return Err(InvalidRules::Ahead { found });
        }
        for (rule, reading) in readings.iter().enumerate() {
            let is_text = |text: &String| (1..=RULE_TEXT_BYTES_MAX).contains(&text.len());
            if !is_text(&reading.name)
                || !reading.stream.iter().all(is_text)
                || reading.unit.as_ref().is_some_and(|unit| unit.len() > RULE_TEXT_BYTES_MAX)
            {
                return Err(InvalidRules::Text { rule });
            }
            if reading.name.matches('*').count() > 1 {
                return Err(InvalidRules::Wildcard { rule });
            }
            let bounds = [reading.min.unwrap_or(f64::MIN), reading.max.unwrap_or(f64::MAX)];
            if bounds.iter().any(|bound| !bound.is_finite()) || bounds[0] > bounds[1] {
                return Err(InvalidRules::Bounds { rule });
            }
        }
        units.sort();
        let any_unit = units.iter().any(|unit| unit == "*");
        let ahead_s = ahead_s.map_or(AHEAD_S_MAX, u64::from);
        Ok(Self { number, keys: RandomState::new(), ahead_s, carry_other, closed, any_unit, units, readings })
    }

    /// Whether what is no SenML is carried all the same.
    pub fn carries_other(&self) -> bool {
        self.carry_other
    }

    /// What a series is known by.
    pub(crate) fn hash(&self, stream: &str, record: &RecordRef<'_>) -> u64 {
        // The base name may end anywhere: only all of it is a name.
        let name = (stream, NameOf(record));
        self.keys.hash_one(name)
    }

    /// The first rule that names it.
    pub(crate) fn find(&self, stream: &str, record: &RecordRef<'_>) -> Option<u16> {
        let names = |rule: &ReadingRule| {
            rule.stream.as_deref().is_none_or(|wanted| wanted == stream) && is_named(&rule.name, record)
        };
        self.readings.iter().position(names).and_then(|place| u16::try_from(place).ok())
    }

    /// Judges a record that its rule is known of.
    pub(crate) fn judge(
        &self,
        rule: Option<u16>,
        record: &RecordRef<'_>,
        received_s: f64,
    ) -> Result<(), Fault> {
        #[expect(clippy::cast_precision_loss, reason = "a day in seconds is exact")]
        if record.time_s > received_s + self.ahead_s as f64 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is positive, and saturates"
            )]
            let ahead_s = (record.time_s - received_s) as u64;
            return Err(Fault::Ahead { ahead_s, max_s: self.ahead_s });
        }
        let rule = rule.and_then(|place| self.readings.get(usize::from(place)));
        match (rule, record.unit) {
            (Some(ReadingRule { unit: Some(expected), .. }), found) => {
                let found = found.unwrap_or_default();
                if found != expected {
                    return Err(Fault::Unit { found: found.to_owned(), expected: expected.clone() });
                }
            }
            (_, Some(unit)) => {
                let is_own = || self.units.binary_search_by(|own| own.as_str().cmp(unit)).is_ok();
                if !is_registered(unit) && !self.any_unit && !is_own() {
                    return Err(Fault::UnknownUnit { unit: unit.to_owned() });
                }
            }
            (_, None) => {}
        }
        match rule {
            Some(rule) => within(rule, record),
            None if self.closed => Err(Fault::NotNamed),
            None => Ok(()),
        }
    }
}

fn within(rule: &ReadingRule, record: &RecordRef<'_>) -> Result<(), Fault> {
    if let Some(expected) = rule.kind {
        let found = match record.value {
            Some(ValueRef::Number(_)) | None => ReadingKind::Number,
            Some(ValueRef::Text(_)) => ReadingKind::Text,
            Some(ValueRef::Bool(_)) => ReadingKind::Boolean,
            Some(ValueRef::Data(_)) => ReadingKind::Bytes,
        };
        if found != expected {
            return Err(Fault::Kind { found: in_words(found), expected: in_words(expected) });
        }
    }
    if let Some(ValueRef::Number(found)) = record.value {
        let (min, max) = (rule.min.unwrap_or(f64::MIN), rule.max.unwrap_or(f64::MAX));
        if !(min..=max).contains(&found) {
            return Err(Fault::Range { found, min, max });
        }
    }
    Ok(())
}

fn in_words(kind: ReadingKind) -> &'static str {
    match kind {
        ReadingKind::Number => "a number",
        ReadingKind::Text => "a text",
        ReadingKind::Boolean => "true or false",
        ReadingKind::Bytes => "bytes",
    }
}

/// Whether the pattern is of the record's name, base name and all.
fn is_named(pattern: &str, record: &RecordRef<'_>) -> bool {
    let bytes = || record.base.bytes().chain(record.name.bytes());
    match pattern.split_once('*') {
        None => bytes().eq(pattern.bytes()),
        Some((begins, ends)) => {
            record.base.len() + record.name.len() >= begins.len() + ends.len()
                && bytes().take(begins.len()).eq(begins.bytes())
                && bytes().rev().take(ends.len()).eq(ends.bytes().rev())
        }
    }
}

/// A record's name, hashed as one text.
struct NameOf<'a, 'b>(&'a RecordRef<'b>);

impl std::hash::Hash for NameOf<'_, '_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.0.base.as_bytes());
        state.write(self.0.name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(base: &'a str, name: &'a str) -> RecordRef<'a> {
        RecordRef { base, name, unit: None, time_s: 0.0, value: Some(ValueRef::Number(1.0)), sum: None }
    }

    fn rule(name: &str) -> ReadingRule {
        ReadingRule { stream: None, name: name.to_owned(), unit: None, kind: None, min: None, max: None }
    }

    #[test]
    fn a_pattern_is_of_the_whole_name_wherever_its_base_ends() {
        for (pattern, base, name, expected) in [
            ("pump:t", "pump:", "t", true),
            ("pump:t", "", "pump:t", true),
            ("pump:t", "pump:t", "", true),
            ("pump:t", "pump:", "tt", false),
            ("*:t", "urn:dev:7:", "t", true),
            ("*:t", "urn:dev:7:", "at", false),
            ("pump*", "pu", "mp7:t", true),
            ("pump*:t", "pump7:", "t", true),
            ("*", "a", "b", true),
            ("aba*aba", "ab", "a", false),
        ] {
            assert_eq!(is_named(pattern, &record(base, name)), expected, "{pattern} of {base}{name}");
        }
        let rules = Rules::new(TelemetrySchema::default(), 1).expect("rules");
        assert_eq!(rules.hash("s", &record("a", "bc")), rules.hash("s", &record("ab", "c")));
        assert_ne!(rules.hash("s", &record("a", "bc")), rules.hash("sa", &record("", "bc")));
    }

    #[test]
    fn a_schema_that_makes_no_sense_is_refused_with_its_place() {
        let with =
            |readings| Rules::new(TelemetrySchema { readings, ..TelemetrySchema::default() }, 1).map(drop);
        assert_eq!(with(vec![rule("a"), rule("")]), Err(InvalidRules::Text { rule: 1 }));
        assert_eq!(with(vec![rule("*a*")]), Err(InvalidRules::Wildcard { rule: 0 }));
        let bounds = |min, max| ReadingRule { min: Some(min), max: Some(max), ..rule("a") };
        assert_eq!(with(vec![bounds(2.0, 1.0)]), Err(InvalidRules::Bounds { rule: 0 }));
        assert_eq!(with(vec![bounds(f64::NAN, 1.0)]), Err(InvalidRules::Bounds { rule: 0 }));
        assert_eq!(with(vec![rule("a"); RULES_MAX + 1]), Err(InvalidRules::TooMany { found: RULES_MAX + 1 }));
        let long = || "m".repeat(RULE_TEXT_BYTES_MAX + 1);
        for stream in [String::new(), long()] {
            let of = ReadingRule { stream: Some(stream), ..rule("a") };
            assert_eq!(with(vec![of]), Err(InvalidRules::Text { rule: 0 }));
        }
        let in_unit = ReadingRule { unit: Some(long()), ..rule("a") };
        assert_eq!(with(vec![in_unit]), Err(InvalidRules::Text { rule: 0 }));
        for units in [vec!["m".to_owned(); OWN_UNITS_MAX + 1], vec![long()]] {
            let found = units.len();
            let own = TelemetrySchema { units, ..TelemetrySchema::default() };
            assert_eq!(Rules::new(own, 1).map(drop), Err(InvalidRules::TooManyUnits { found }));
        }
        let ahead = TelemetrySchema { ahead_s: Some(86_401), ..TelemetrySchema::default() };
        assert_eq!(Rules::new(ahead, 1).map(drop), Err(InvalidRules::Ahead { found: 86_401 }));
    }
}
