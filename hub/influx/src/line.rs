//! Line protocol: one line for the values of one series at one time. Whatever texts it is given, a line stays one line,
//! of the series that was meant.
//!
//! InfluxDB's parser finds the end of a line by other rules than the end of a tag, a backslash before a separator takes
//! its meaning away, and no escape stands for a backslash or a newline in a name. So names (measurement, keys and values
//! of tags, keys of fields) never hold a backslash of their own: what cannot be written is stood in for by `␛`, its code
//! point in hexadecimal, and `;`. A `␛` is stood in for too, so that no two names become one; [`original`] goes back.
//!
//! | in | escaped with a backslash | stood in for |
//! |---|---|---|
//! | measurement | comma, space | `\`, `␛`, what does not print; `#` and `_` at the beginning |
//! | key of a tag or field | comma, space, `=` | the same; and the key `time`, which servers refuse |
//! | value of a tag | comma, space, `=` | `\`, `␛`, what does not print |
//! | text of a field | `\`, `"` | nothing; a newline within quotes is a newline |

use std::fmt::Write as _;

use crate::limits::{SERIES_BYTES_MAX, SERIES_MARKS_BYTES, TEXT_BYTES_MAX, TIME_NS_MAX, TIME_NS_MIN};

/// Begins what stands in for a character that a name cannot hold.
const STAND_IN: char = '␛';
/// Ends it.
const STAND_IN_END: char = ';';

/// The values of one series at one time.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// What was measured.
    pub measurement: &'a str,
    /// Which series of it, in the order of keys, each once. One without a value is left out.
    pub tags: &'a [(&'a str, &'a str)],
    /// The values, each key once.
    pub fields: &'a [(&'a str, Value<'a>)],
    /// When, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// One value. A server keeps one kind for each field of a measurement and refuses the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number. One that is not finite cannot be written.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// True or false.
    Bool(bool),
}

/// The fields of a point that could not be written, while others could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Numbers that are not finite.
    pub not_finite: usize,
    /// Texts and names over their bounds, and fields without a name.
    pub too_long: usize,
}

impl LeftOut {
    /// How many there are.
    pub fn count(self) -> usize {
        self.not_finite + self.too_long
    }
}

/// Why a point cannot be written at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A measurement has a name.
    #[error("write a point without a measurement")]
    Measurement,
    /// Tags are in order, each with a key, and each once.
    #[error("write tags that are not in order, or have no key")]
    Tags,
    /// The measurement with its tags is over its bound.
    #[error("write the name of a series of more than {SERIES_BYTES_MAX} bytes")]
    TooLong,
    /// A server cannot store such a time.
    #[error("write a time that is not from 1677 to 2262")]
    Time,
    /// A point without a field is none.
    #[error("write a point of which no field can be written")]
    NoField(LeftOut),
}

/// Appends the line of a point, its newline included, and says what was left out of it. If there is no line, nothing is
/// appended.
///
/// # Errors
/// There is no line for this point.
pub fn encode(point: &Point<'_>, out: &mut String) -> Result<LeftOut, Unwritable> {
    let start = out.len();
    let encoded = append(point, out);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

fn append(point: &Point<'_>, out: &mut String) -> Result<LeftOut, Unwritable> {
    let Point { measurement, tags, fields, time_ns } = *point;
    if measurement.is_empty() {
        return Err(Unwritable::Measurement);
    }
    if !(TIME_NS_MIN..=TIME_NS_MAX).contains(&time_ns) {
        return Err(Unwritable::Time);
    }
    let start = out.len();
    name(measurement, Place::Measurement, out);
    let mut before = "";
    for (key, value) in tags {
        if *key <= before {
            return Err(Unwritable::Tags);
        }
        before = key;
        if value.is_empty() {
            continue;
        }
        out.push(',');
        name(key, Place::Key, out);
        out.push('=');
        name(value, Place::Value, out);
    }
    let series_bytes = out.len() - start;
    if series_bytes + SERIES_MARKS_BYTES > SERIES_BYTES_MAX {
        return Err(Unwritable::TooLong);
    }
    let mut left_out = LeftOut::default();
    let mut separator = ' ';
    for (key, value) in fields {
        match value {
            Value::Float(number) if !number.is_finite() => {
                left_out.not_finite += 1;
                continue;
            }
            Value::Text(text) if text.len() > TEXT_BYTES_MAX => {
                left_out.too_long += 1;
                continue;
            }
            _ => {}
        }
        let field = out.len();
        out.push(separator);
        name(key, Place::Key, out);
        if key.is_empty() || out.len() - field + series_bytes + SERIES_MARKS_BYTES > SERIES_BYTES_MAX {
            out.truncate(field);
            left_out.too_long += 1;
            continue;
        }
        out.push('=');
        put_value(*value, out);
        separator = ',';
    }
    if separator == ' ' {
        return Err(Unwritable::NoField(left_out));
    }
    // Writing to a String does not fail.
    let _ = writeln!(out, " {time_ns}");
    Ok(left_out)
}

fn put_value(value: Value<'_>, out: &mut String) {
    // Writing to a String does not fail.
    let _ = match value {
        // As few digits as say exactly this number, with an exponent where that is shorter.
        Value::Float(number) => write!(out, "{number:?}"),
        Value::Integer(number) => write!(out, "{number}i"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Text(text) => {
            out.push('"');
            let mut rest = text;
            while let Some(at) = rest.find(['\\', '"']) {
                let (plain, from) = rest.split_at(at);
                let (special, after) = from.split_at(1);
                out.extend([plain, "\\", special]);
                rest = after;
            }
            out.push_str(rest);
            out.push('"');
            Ok(())
        }
    };
}

/// Where a name stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Measurement,
    Key,
    Value,
}

fn name(text: &str, place: Place, out: &mut String) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:/".contains(&byte)) && text != "time" {
        out.push_str(text);
        return;
    }
    for (at, character) in text.char_indices() {
        let reserved = at == 0
            && match place {
                Place::Measurement => matches!(character, '#' | '_'),
                Place::Key => matches!(character, '#' | '_') || text == "time",
                Place::Value => false,
            };
        if reserved || !is_writable(character) {
            let _ = write!(out, "{STAND_IN}{:x}{STAND_IN_END}", u32::from(character));
            continue;
        }
        if matches!(character, ',' | ' ') || (character == '=' && place != Place::Measurement) {
            out.push('\\');
        }
        out.push(character);
    }
}

/// Whether a name may hold a character. Servers can be set to refuse what does not print.
fn is_writable(character: char) -> bool {
    match character {
        '\\' | STAND_IN | char::REPLACEMENT_CHARACTER => false,
        '"' | '\'' | ' ' => true,
        // What the language's own debug output escapes does not print.
        _ => !character.is_whitespace() && character.escape_debug().len() == 1,
    }
}

/// The name that a server's answer holds, with the characters that were stood in for; none if nobody here wrote it.
pub fn original(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, from)) = rest.split_once(STAND_IN) {
        let (code, after) = from.split_once(STAND_IN_END)?;
        text.push_str(plain);
        text.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
