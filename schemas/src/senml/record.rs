//! A record: as written, and resolved.

use super::InvalidPack;

/// What was measured (RFC 8428 §4.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number (`v`).
    Number(f64),
    /// Text (`vs`).
    Text(String),
    /// True or false (`vb`).
    Bool(bool),
    /// Bytes (`vd`).
    Data(Vec<u8>),
}

/// A record that stands alone (RFC 8428 §4.6). It has a value, a sum, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Base name and name, 1 to 256 characters of `A-Za-z0-9-:./_`.
    pub name: String,
    /// The unit, as registered for SenML, or none.
    pub unit: Option<String>,
    /// When it was measured, Unix seconds.
    pub time_s: f64,
    /// What was measured; none when the record has only a sum.
    pub value: Option<Value>,
    /// The value added up over time.
    pub sum: Option<f64>,
}

/// What was measured, borrowed from the payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// A finite number (`v`).
    Number(f64),
    /// Text (`vs`).
    Text(&'a str),
    /// True or false (`vb`).
    Bool(bool),
    /// Bytes (`vd`).
    Data(&'a [u8]),
}

/// A record that stands alone, borrowed from the payload. It has a value, a sum, or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordRef<'a> {
    /// The base name, with which the name begins; often the same as that of the record before.
    pub base: &'a str,
    /// The rest of the name.
    pub name: &'a str,
    /// The unit, as registered for SenML, or none.
    pub unit: Option<&'a str>,
    /// When it was measured, Unix seconds.
    pub time_s: f64,
    /// What was measured; none when the record has only a sum.
    pub value: Option<ValueRef<'a>>,
    /// The value added up over time.
    pub sum: Option<f64>,
}

impl From<RecordRef<'_>> for Record {
    fn from(record: RecordRef<'_>) -> Self {
        let RecordRef { base, name, unit, time_s, value, sum } = record;
        let value = value.map(Value::from);
        Self { name: [base, name].concat(), unit: unit.map(str::to_owned), time_s, value, sum }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Number(number) => Self::Number(number),
            ValueRef::Text(text) => Self::Text(text.to_owned()),
            ValueRef::Bool(boolean) => Self::Bool(boolean),
            ValueRef::Data(data) => Self::Data(data.to_vec()),
        }
    }
}

impl Value {
    fn lend(&self) -> ValueRef<'_> {
        match self {
            Self::Number(number) => ValueRef::Number(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bool(boolean) => ValueRef::Bool(*boolean),
            Self::Data(data) => ValueRef::Data(data),
        }
    }
}

/// A record as it is written, borrowed from the payload. Numbers may be infinite or none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct EntryRef<'a> {
    pub base_name: Option<&'a str>,
    pub base_time: Option<f64>,
    pub base_unit: Option<&'a str>,
    pub base_value: Option<f64>,
    pub base_sum: Option<f64>,
    pub base_version: Option<u64>,
    pub name: Option<&'a str>,
    pub unit: Option<&'a str>,
    pub value: Option<ValueRef<'a>>,
    pub sum: Option<f64>,
    pub time: Option<f64>,
    pub update_time: Option<f64>,
}

impl<'a> EntryRef<'a> {
    /// Takes one of the four kinds of value, once.
    pub fn set_value(&mut self, label: Label, value: ValueRef<'a>) -> Result<(), InvalidPack> {
        match self.value.replace(value) {
            None => Ok(()),
            Some(held) if std::mem::discriminant(&held) == std::mem::discriminant(&value) => {
                Err(InvalidPack::Duplicate(label.text().to_owned()))
            }
            Some(_) => Err(InvalidPack::SeveralValues),
        }
    }

    /// Whether there is no number that is none.
    pub fn is_finite(&self) -> bool {
        let value = if let Some(ValueRef::Number(number)) = self.value { Some(number) } else { None };
        let numbers =
            [self.base_time, self.base_value, self.base_sum, self.sum, self.time, self.update_time, value];
        numbers.into_iter().flatten().all(f64::is_finite)
    }

    pub fn into_entry(self) -> Entry {
        Entry {
            base_name: self.base_name.map(str::to_owned),
            base_time: self.base_time,
            base_unit: self.base_unit.map(str::to_owned),
            base_value: self.base_value,
            base_sum: self.base_sum,
            base_version: self.base_version,
            name: self.name.map(str::to_owned),
            unit: self.unit.map(str::to_owned),
            value: self.value.map(Value::from),
            sum: self.sum,
            time: self.time,
            update_time: self.update_time,
        }
    }
}

/// A record as it is written (RFC 8428 §4.1, §4.2). Numbers are finite.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Entry {
    pub base_name: Option<String>,
    pub base_time: Option<f64>,
    pub base_unit: Option<String>,
    pub base_value: Option<f64>,
    pub base_sum: Option<f64>,
    pub base_version: Option<u64>,
    pub name: Option<String>,
    pub unit: Option<String>,
    pub value: Option<Value>,
    pub sum: Option<f64>,
    pub time: Option<f64>,
    pub update_time: Option<f64>,
}

/// The labels of the standard (RFC 8428 §12.2): text in JSON, integers in CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    BaseVersion,
    BaseName,
    BaseTime,
    BaseUnit,
    BaseValue,
    BaseSum,
    Name,
    Unit,
    Value,
    StringValue,
    BooleanValue,
    Sum,
    Time,
    UpdateTime,
    DataValue,
}

impl Label {
    const ALL: [(Self, &'static str, i64); 15] = [
        (Self::BaseVersion, "bver", -1),
        (Self::BaseName, "bn", -2),
        (Self::BaseTime, "bt", -3),
        (Self::BaseUnit, "bu", -4),
        (Self::BaseValue, "bv", -5),
        (Self::BaseSum, "bs", -6),
        (Self::Name, "n", 0),
        (Self::Unit, "u", 1),
        (Self::Value, "v", 2),
        (Self::StringValue, "vs", 3),
        (Self::BooleanValue, "vb", 4),
        (Self::Sum, "s", 5),
        (Self::Time, "t", 6),
        (Self::UpdateTime, "ut", 7),
        (Self::DataValue, "vd", 8),
    ];

    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name, _)| *name == text).map(|(label, ..)| label)
    }

    pub fn from_number(number: i128) -> Option<Self> {
        // On the path of every reading: the table is not searched.
        Some(match number {
            -1 => Self::BaseVersion,
            -2 => Self::BaseName,
            -3 => Self::BaseTime,
            -4 => Self::BaseUnit,
            -5 => Self::BaseValue,
            -6 => Self::BaseSum,
            0 => Self::Name,
            1 => Self::Unit,
            2 => Self::Value,
            3 => Self::StringValue,
            4 => Self::BooleanValue,
            5 => Self::Sum,
            6 => Self::Time,
            7 => Self::UpdateTime,
            8 => Self::DataValue,
            _ => return None,
        })
    }

    pub fn text(self) -> &'static str {
        Self::ALL.into_iter().find(|(label, ..)| *label == self).map_or("", |(_, name, _)| name)
    }

    pub fn number(self) -> i64 {
        Self::ALL.into_iter().find(|(label, ..)| *label == self).map_or(0, |(.., number)| number)
    }
}

/// What a record says under a label, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Version(u64),
    Number(f64),
    Text(&'a str),
    Bool(bool),
    Data(&'a [u8]),
}

impl Entry {
    pub fn lend(&self) -> EntryRef<'_> {
        EntryRef {
            base_name: self.base_name.as_deref(),
            base_time: self.base_time,
            base_unit: self.base_unit.as_deref(),
            base_value: self.base_value,
            base_sum: self.base_sum,
            base_version: self.base_version,
            name: self.name.as_deref(),
            unit: self.unit.as_deref(),
            value: self.value.as_ref().map(Value::lend),
            sum: self.sum,
            time: self.time,
            update_time: self.update_time,
        }
    }

    /// What the record says, base fields first.
    pub fn fields(&self) -> impl Iterator<Item = (Label, Field<'_>)> {
        let value = self.value.as_ref().map(|value| match value {
            Value::Number(number) => (Label::Value, Field::Number(*number)),
            Value::Text(text) => (Label::StringValue, Field::Text(text)),
            Value::Bool(boolean) => (Label::BooleanValue, Field::Bool(*boolean)),
            Value::Data(data) => (Label::DataValue, Field::Data(data)),
        });
        let number = |label, number: Option<f64>| number.map(|number| (label, Field::Number(number)));
        [
            self.base_version.map(|version| (Label::BaseVersion, Field::Version(version))),
            self.base_name.as_deref().map(|text| (Label::BaseName, Field::Text(text))),
            number(Label::BaseTime, self.base_time),
            self.base_unit.as_deref().map(|text| (Label::BaseUnit, Field::Text(text))),
            number(Label::BaseValue, self.base_value),
            number(Label::BaseSum, self.base_sum),
            self.name.as_deref().map(|text| (Label::Name, Field::Text(text))),
            self.unit.as_deref().map(|text| (Label::Unit, Field::Text(text))),
            value,
            number(Label::Sum, self.sum),
            number(Label::Time, self.time),
            number(Label::UpdateTime, self.update_time),
        ]
        .into_iter()
        .flatten()
    }

    /// Takes one of the four kinds of value, once.
    pub fn set_value(&mut self, label: Label, value: Value) -> Result<(), InvalidPack> {
        match &self.value {
            None => {
                self.value = Some(value);
                Ok(())
            }
            Some(held) if std::mem::discriminant(held) == std::mem::discriminant(&value) => {
                Err(InvalidPack::Duplicate(label.text().to_owned()))
            }
            Some(_) => Err(InvalidPack::SeveralValues),
        }
    }
}

/// Fills a field once.
pub(super) fn fill<T>(field: &mut Option<T>, label: Label, value: T) -> Result<(), InvalidPack> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidPack::Duplicate(label.text().to_owned())),
    }
}
