//! Records that stand alone (RFC 8428 §4.6).

use super::{
    InvalidPack, VERSION,
    record::{EntryRef, RecordRef, ValueRef},
};
use crate::limits::{SENML_NAME_BYTES_MAX, SENML_UNIT_BYTES_MAX};

/// Times below this are seconds from now, others are Unix seconds (§4.5.3).
const ABSOLUTE_TIME_S_MIN: f64 = 268_435_456.0;

/// The base fields in force, from the records so far (§4.1).
#[derive(Default)]
struct Base<'a> {
    name: &'a str,
    /// Whether the name has only what names may have.
    named_well: bool,
    time: f64,
    unit: Option<&'a str>,
    value: Option<f64>,
    sum: Option<f64>,
}

/// Hands out every record with its place in the pack, or why it is none. The pack stands whatever becomes of one.
pub(super) fn resolve<'a>(
    entries: impl Iterator<Item = EntryRef<'a>>,
    now_unix_s: f64,
    mut each: impl FnMut(usize, Result<RecordRef<'a>, InvalidPack>),
) {
    let mut base = Base { named_well: true, ..Base::default() };
    for (record, entry) in entries.enumerate() {
        if let Some(name) = entry.base_name {
            base.name = name;
            base.named_well = name.bytes().all(is_allowed);
        }
        base.time = entry.base_time.unwrap_or(base.time);
        base.unit = entry.base_unit.or(base.unit);
        base.value = entry.base_value.or(base.value);
        base.sum = entry.base_sum.or(base.sum);
        each(record, stand_alone(record, &entry, &base, now_unix_s));
    }
}

/// The version is the same in the whole pack, and one that we read (§4.4).
pub(super) fn check_version<'a>(
    mut entries: impl Iterator<Item = EntryRef<'a>> + Clone,
) -> Result<(), InvalidPack> {
    let version = entries.clone().next().and_then(|first| first.base_version).unwrap_or(VERSION);
    let odd = |found: &u64| *found != version || !(1..=VERSION).contains(found);
    match entries.find_map(|entry| entry.base_version.filter(odd)) {
        Some(found) => Err(InvalidPack::Version { found }),
        None => Ok(()),
    }
}

/// What a name is made of (§4.5.1).
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'/' | b'_')
}

fn stand_alone<'a>(
    record: usize,
    entry: &EntryRef<'a>,
    base: &Base<'a>,
    now_unix_s: f64,
) -> Result<RecordRef<'a>, InvalidPack> {
    let name = entry.name.unwrap_or_default();
    let begins_well =
        base.name.bytes().chain(name.bytes()).next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if base.name.len() + name.len() > SENML_NAME_BYTES_MAX
        || !begins_well
        || !base.named_well
        || !name.bytes().all(is_allowed)
    {
        return Err(InvalidPack::Name { record });
    }
    let unit = entry.unit.or(base.unit).filter(|unit| !unit.is_empty());
    if unit.is_some_and(|unit| unit.len() > SENML_UNIT_BYTES_MAX || unit.chars().any(char::is_control)) {
        return Err(InvalidPack::Unit { record });
    }
    let finite =
        |number: f64| if number.is_finite() { Ok(number) } else { Err(InvalidPack::NotFinite { record }) };
    // A missing value or sum counts as zero where there is a base for it (§4.5.4).
    let value = match (entry.value, base.value) {
        (Some(ValueRef::Number(number)), base) => {
            Some(ValueRef::Number(finite(base.map_or(number, |base| base + number))?))
        }
        (None, Some(base)) => Some(ValueRef::Number(finite(base)?)),
        (value, _) => value,
    };
    let sum = match (entry.sum, base.sum) {
        (Some(sum), Some(base)) => Some(finite(base + sum)?),
        (sum, base) => sum.or(base).map(finite).transpose()?,
    };
    if value.is_none() && sum.is_none() {
        return Err(InvalidPack::NoValue { record });
    }
    let written = finite(base.time + entry.time.unwrap_or(0.0))?;
    let time_s = if written < ABSOLUTE_TIME_S_MIN { finite(now_unix_s + written)? } else { written };
    Ok(RecordRef { base: base.name, name, unit, time_s, value, sum })
}
