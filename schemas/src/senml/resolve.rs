//! Records that stand alone (RFC 8428 §4.6).

use super::{
    InvalidPack, VERSION, Value,
    record::{Entry, Record},
};
use crate::limits::{SENML_NAME_BYTES_MAX, SENML_UNIT_BYTES_MAX};

/// Times below this are seconds from now, others are Unix seconds (§4.5.3).
const ABSOLUTE_TIME_S_MIN: f64 = 268_435_456.0;

/// The base fields in force, from the records so far (§4.1).
#[derive(Default)]
struct Base<'a> {
    name: &'a str,
    time: f64,
    unit: Option<&'a str>,
    value: Option<f64>,
    sum: Option<f64>,
}

pub(super) fn resolve(entries: &[Entry], now_unix_s: f64) -> Result<Vec<Record>, InvalidPack> {
    check_version(entries)?;
    let mut base = Base::default();
    let mut records = Vec::with_capacity(entries.len());
    for (record, entry) in entries.iter().enumerate() {
        base.name = entry.base_name.as_deref().unwrap_or(base.name);
        base.time = entry.base_time.unwrap_or(base.time);
        base.unit = entry.base_unit.as_deref().or(base.unit);
        base.value = entry.base_value.or(base.value);
        base.sum = entry.base_sum.or(base.sum);
        records.push(stand_alone(record, entry, &base, now_unix_s)?);
    }
    Ok(records)
}

/// The version is the same in the whole pack, and one that we read (§4.4).
fn check_version(entries: &[Entry]) -> Result<(), InvalidPack> {
    let version = entries.first().and_then(|first| first.base_version).unwrap_or(VERSION);
    let odd = |found: &u64| *found != version || !(1..=VERSION).contains(found);
    match entries.iter().filter_map(|entry| entry.base_version).find(odd) {
        Some(found) => Err(InvalidPack::Version { found }),
        None => Ok(()),
    }
}

fn stand_alone(
    record: usize,
    entry: &Entry,
    base: &Base<'_>,
    now_unix_s: f64,
) -> Result<Record, InvalidPack> {
    let own_name = entry.name.as_deref().unwrap_or_default();
    let begins_well =
        base.name.bytes().chain(own_name.bytes()).next().is_some_and(|b| b.is_ascii_alphanumeric());
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b'/' | b'_');
    if base.name.len() + own_name.len() > SENML_NAME_BYTES_MAX
        || !begins_well
        || !base.name.bytes().chain(own_name.bytes()).all(allowed)
    {
        return Err(InvalidPack::Name { record });
    }
    let unit = entry.unit.as_deref().or(base.unit).filter(|unit| !unit.is_empty());
    if unit.is_some_and(|unit| unit.len() > SENML_UNIT_BYTES_MAX || unit.chars().any(char::is_control)) {
        return Err(InvalidPack::Unit { record });
    }
    let finite =
        |number: f64| if number.is_finite() { Ok(number) } else { Err(InvalidPack::NotFinite { record }) };
    // A missing value or sum counts as zero where there is a base for it (§4.5.4).
    let value = match (&entry.value, base.value) {
        (Some(Value::Number(number)), Some(base)) => Some(Value::Number(finite(base + number)?)),
        (None, Some(base)) => Some(Value::Number(base)),
        (value, _) => value.clone(),
    };
    let sum = match (entry.sum, base.sum) {
        (Some(sum), Some(base)) => Some(finite(base + sum)?),
        (sum, base) => sum.or(base),
    };
    if value.is_none() && sum.is_none() {
        return Err(InvalidPack::NoValue { record });
    }
    let written = finite(base.time + entry.time.unwrap_or(0.0))?;
    let time_s = if written < ABSOLUTE_TIME_S_MIN { finite(now_unix_s + written)? } else { written };
    Ok(Record { name: [base.name, own_name].concat(), unit: unit.map(str::to_owned), time_s, value, sum })
}
