//! What devices say, read leniently: fields that we do not know are skipped, an id may be a number, a text or
//! nothing, and what is too long is cut and counted. What clients put there are lines of their logs, so no text of
//! them is trusted.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    codec::Format,
    limits::{ATTRIBUTE_CHARS_MAX, ATTRIBUTES_MAX, DETAIL_BYTES_MAX, DETAILS_MAX, VERSION_CHARS_MAX},
    problem::Problem,
};

/// How a client says that it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// It is over.
    Closed,
    /// It goes on.
    Proceeding,
    /// It was stopped, as it was told.
    Canceled,
    /// It will be done.
    Scheduled,
    /// It will not be done.
    Rejected,
    /// It goes on again.
    Resumed,
    /// Bytes are coming.
    Download,
    /// All bytes are here.
    Downloaded,
}

/// What it says of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finished {
    /// Well.
    Success,
    /// Not well.
    Failure,
    /// Nothing yet.
    #[default]
    None,
}

/// A report about an action, whether it is to be done or to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// How it goes.
    pub execution: Execution,
    /// How it went.
    pub finished: Finished,
    /// How far it is: so many of so many.
    pub progress: Option<(u64, u64)>,
    /// A number that means something to the client.
    pub code: Option<i64>,
    /// Lines of its log.
    pub details: Vec<String>,
    /// How many lines there were beyond those.
    pub details_left_out: usize,
}

/// What is to become of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// These too. It is also what is meant if nothing is said.
    #[default]
    Merge,
    /// These and no others.
    Replace,
    /// Not these any more.
    Remove,
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigData {
    /// What is to become of them.
    pub mode: Mode,
    /// The attributes; one without a value is to go.
    pub attributes: BTreeMap<String, Option<String>>,
    /// How many there were that are too long or too many.
    pub left_out: usize,
}

/// What a person at the device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Yes, or no.
    pub yes: bool,
    /// Why.
    pub details: Vec<String>,
}

/// Which version a device says that it runs (`PUT /installedBase`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateVersion {
    /// Of what.
    pub name: String,
    /// Which.
    pub version: String,
}

/// Reads a report. Time and id in it are not looked at: the clock of a device is none, and the path says which
/// action.
pub fn read_feedback(format: Format, body: &[u8]) -> Result<Feedback, Problem> {
    let Outer { status } = format.read(body)?;
    let result = status.result.unwrap_or_default();
    let (details, details_left_out) =
        status.details.map_or_else(Default::default, |lines| (lines.kept, lines.left_out));
    let progress = result.progress.and_then(|progress| Some((progress.cnt?.0?, progress.of?.0?)));
    Ok(Feedback {
        execution: status.execution,
        finished: result.finished.unwrap_or_default(),
        progress,
        code: status.code.and_then(|Number(code)| code).and_then(|code: i128| i64::try_from(code).ok()),
        details,
        details_left_out,
    })
}

/// Reads attributes.
pub fn read_config_data(format: Format, body: &[u8]) -> Result<ConfigData, Problem> {
    #[derive(Deserialize)]
    struct Body {
        mode: Option<Mode>,
        data: Attributes,
    }
    let Body { mode, data } = format.read(body)?;
    Ok(ConfigData { mode: mode.unwrap_or_default(), attributes: data.kept, left_out: data.left_out })
}

/// Reads what a person said.
pub fn read_confirmation(format: Format, body: &[u8]) -> Result<Confirmed, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Answer {
        Confirmed,
        Denied,
    }
    #[derive(Deserialize)]
    struct Body {
        confirmation: Answer,
        details: Option<Lines>,
    }
    let Body { confirmation, details } = format.read(body)?;
    let details = details.map(|lines| lines.kept).unwrap_or_default();
    Ok(Confirmed { yes: matches!(confirmation, Answer::Confirmed), details })
}

/// Reads which version a device says that it runs.
pub fn read_state_version(format: Format, body: &[u8]) -> Result<StateVersion, Problem> {
    #[derive(Deserialize)]
    struct Body {
        name: Scalar,
        version: Scalar,
    }
    let Body { name, version } = format.read(body)?;
    match (name.0, version.0) {
        (Some(name), Some(version))
            if fits(&name, VERSION_CHARS_MAX) && fits(&version, VERSION_CHARS_MAX) =>
        {
            Ok(StateVersion { name, version })
        }
        _ => Err(Problem::Body(format!("name and version have 1 to {VERSION_CHARS_MAX} characters"))),
    }
}

fn fits(text: &str, chars_max: usize) -> bool {
    !text.is_empty() && text.chars().take(chars_max + 1).count() <= chars_max
}

#[derive(Deserialize)]
struct Outer {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    execution: Execution,
    result: Option<Outcome>,
    code: Option<Number<i128>>,
    details: Option<Lines>,
}

#[derive(Default, Deserialize)]
struct Outcome {
    finished: Option<Finished>,
    progress: Option<Progress>,
}

/// May have nothing in it: `{}`.
#[derive(Deserialize)]
struct Progress {
    cnt: Option<Number<u64>>,
    of: Option<Number<u64>>,
}

/// A number, also if it is written as a text; anything else is none.
struct Number<T>(Option<T>);

impl<'de, T: TryFrom<i128> + std::str::FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        Ok(Self(
            text.and_then(|text| text.trim().parse::<i128>().ok())
                .and_then(|number| T::try_from(number).ok()),
        ))
    }
}

/// Whatever is no list and no map, as text; nothing if it is null, a list or a map.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Lines, as many and as long as they may be, without what a terminal would obey.
#[derive(Default)]
struct Lines {
    kept: Vec<String>,
    left_out: usize,
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LinesVisitor(PhantomData))
    }
}

struct LinesVisitor(PhantomData<()>);

impl<'de> Visitor<'de> for LinesVisitor {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Lines, E> {
        Ok(Lines { kept: vec![plain(text)], left_out: 0 })
    }

    fn visit_unit<E: Error>(self) -> Result<Lines, E> {
        Ok(Lines::default())
    }

    fn visit_none<E: Error>(self) -> Result<Lines, E> {
        Ok(Lines::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Lines, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
        let mut lines = Lines::default();
        while let Some(Scalar(line)) = list.next_element()? {
            match line {
                Some(line) if lines.kept.len() < DETAILS_MAX => lines.kept.push(plain(&line)),
                _ => lines.left_out += 1,
            }
        }
        Ok(lines)
    }
}

/// Cut to its bound, and control characters as blanks.
fn plain(line: &str) -> String {
    let end = line.floor_char_boundary(DETAIL_BYTES_MAX);
    let line = line.get(..end).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Default)]
struct Attributes {
    kept: BTreeMap<String, Option<String>>,
    left_out: usize,
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut found = Attributes::default();
        while let Some((name, Scalar(value))) = map.next_entry::<String, Scalar>()? {
            let (name, value) = (plain(&name), value.map(|value| plain(&value)));
            let short = fits(&name, ATTRIBUTE_CHARS_MAX)
                && value.as_ref().is_none_or(|value| value.chars().count() <= ATTRIBUTE_CHARS_MAX);
            match short && (found.kept.len() < ATTRIBUTES_MAX || found.kept.contains_key(&name)) {
                true => {
                    found.kept.insert(name, value);
                }
                false => found.left_out += 1,
            }
        }
        Ok(found)
    }
}
