//! Sensor Measurement Lists (RFC 8428) in JSON and CBOR: what devices publish as telemetry.
//!
//! A [`Pack`] is read as it was written, its records leaning on base fields of earlier ones; [`Pack::resolve`] makes
//! each [`Record`] stand alone (§4.6). Not for XML, EXI or endless streams (SensML).
//!
//! ```
//! use muster_schemas::senml::{Pack, Value};
//!
//! let mut pack = Pack::new("urn:dev:pump-7:", 1_790_000_000.0);
//! pack.number("temperature", Some("Cel"), 21.5).number("load", Some("/"), 0.25);
//! let records = Pack::parse(&pack.encode_cbor())?.resolve(1_790_000_003.0)?;
//! assert_eq!(records[0].name, "urn:dev:pump-7:temperature");
//! assert_eq!(records[0].value, Some(Value::Number(21.5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cbor;
mod json;
mod record;
mod resolve;

use crate::{
    cbor::InvalidCbor,
    limits::{
        CBOR_DEPTH_MAX, SENML_NAME_BYTES_MAX, SENML_PAYLOAD_BYTES_MAX, SENML_RECORDS_MAX,
        SENML_UNIT_BYTES_MAX,
    },
};
use record::Entry;
pub use record::{Record, RecordRef, Value, ValueRef};

/// The newest version of the format that we read (§4.4); a pack that says nothing has it.
pub const VERSION: u64 = 10;

/// How a pack is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/senml+json` (§5).
    Json,
    /// `application/senml+cbor` (§6).
    Cbor,
}

impl Encoding {
    /// The media type, for an MQTT content type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/senml+json",
            Self::Cbor => "application/senml+cbor",
        }
    }

    /// Told by the first byte: a JSON array begins with `[` or white space, a CBOR array with 0x80 to 0x9f.
    pub fn of(payload: &[u8]) -> Option<Self> {
        match payload.first()? {
            b'[' | b' ' | b'\t' | b'\r' | b'\n' => Some(Self::Json),
            0x80..=0x9f => Some(Self::Cbor),
            _ => None,
        }
    }
}

/// Why a payload is not a pack, or a pack does not resolve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidPack {
    /// Neither a JSON nor a CBOR array.
    #[error("is neither a JSON nor a CBOR array")]
    Encoding,
    /// Longer than our bound.
    #[error("is longer than {SENML_PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
    /// Not the JSON of a pack.
    #[error("is not SenML in JSON: {0}")]
    Json(String),
    /// Not the CBOR of a pack.
    #[error("is not SenML in CBOR: it {0}")]
    Cbor(InvalidCbor),
    /// No record at all.
    #[error("has no record")]
    Empty,
    /// More records than our bound.
    #[error("has more than {SENML_RECORDS_MAX} records")]
    TooManyRecords,
    /// A value that we do not know is nested deeper than our bound.
    #[error("is nested deeper than {CBOR_DEPTH_MAX}")]
    TooDeep,
    /// A label twice in a record.
    #[error("has the label {0:?} twice in a record")]
    Duplicate(String),
    /// A label that must be understood (§4.4) and is not.
    #[error("has the label {0:?}, which a reader must understand, and we do not")]
    MustUnderstand(String),
    /// More than one of value, string, boolean and data (§4.2).
    #[error("has a record with more than one value")]
    SeveralValues,
    /// Data that is not base64url without padding (§5).
    #[error("has data that is not base64url without padding")]
    Data,
    /// A version that we do not read, or one that changes within the pack (§4.4).
    #[error("has the version {found}, where versions up to {VERSION}, one in a pack, are known")]
    Version {
        /// The version.
        found: u64,
    },
    /// Neither a value nor a sum (§4.2).
    #[error("has a record (number {record}, from 0) without value and sum")]
    NoValue {
        /// Its place in the pack, from 0.
        record: usize,
    },
    /// Not the name of anything (§4.5.1).
    #[error(
        "has a record (number {record}, from 0) whose name, base included, is not 1 to {SENML_NAME_BYTES_MAX} \
         characters of A-Z a-z 0-9 - : . / _ that begin with a letter or digit"
    )]
    Name {
        /// Its place in the pack, from 0.
        record: usize,
    },
    /// A unit that is longer than our bound, or has a control character.
    #[error(
        "has a record (number {record}, from 0) whose unit has over {SENML_UNIT_BYTES_MAX} bytes or a control"
    )]
    Unit {
        /// Its place in the pack, from 0.
        record: usize,
    },
    /// A number that is infinite once its base is added.
    #[error("has a record (number {record}, from 0) with a number that is not finite")]
    NotFinite {
        /// Its place in the pack, from 0.
        record: usize,
    },
}

impl From<InvalidCbor> for InvalidPack {
    fn from(cause: InvalidCbor) -> Self {
        match cause {
            InvalidCbor::TooDeep => Self::TooDeep,
            other => Self::Cbor(other),
        }
    }
}

/// Records as they are written: each leans on the base fields of those before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pack {
    /// Base fields that the next record is going to carry.
    base: Entry,
    entries: Vec<Entry>,
}

impl Pack {
    /// A pack to fill, whose records are named `base_name` and their own name, and measured at `base_time_s` (Unix
    /// seconds; 0 is whenever the pack is read).
    pub fn new(base_name: &str, base_time_s: f64) -> Self {
        let base = Entry {
            base_name: (!base_name.is_empty()).then(|| base_name.to_owned()),
            base_time: (base_time_s != 0.0).then_some(base_time_s),
            ..Entry::default()
        };
        Self { base, entries: Vec::new() }
    }

    /// A pack of records that stand alone.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Self {
        let entries = records.into_iter().map(|record| Entry {
            name: Some(record.name),
            unit: record.unit,
            time: Some(record.time_s),
            value: record.value,
            sum: record.sum,
            ..Entry::default()
        });
        Self { base: Entry::default(), entries: entries.collect() }
    }

    /// Reads a pack, telling its encoding by its first byte.
    pub fn parse(payload: &[u8]) -> Result<Self, InvalidPack> {
        Self::parse_as(Encoding::of(payload).ok_or(InvalidPack::Encoding)?, payload)
    }

    /// Reads a pack of that encoding.
    pub fn parse_as(encoding: Encoding, payload: &[u8]) -> Result<Self, InvalidPack> {
        if payload.len() > SENML_PAYLOAD_BYTES_MAX {
            return Err(InvalidPack::TooLong);
        }
        let entries = match encoding {
            Encoding::Json => json::parse(payload)?,
            Encoding::Cbor => cbor::parse(payload)?,
        };
        if entries.is_empty() {
            return Err(InvalidPack::Empty);
        }
        Ok(Self { base: Entry::default(), entries })
    }

    /// Adds a number. One that is not finite is not a reading and is left out.
    pub fn number(&mut self, name: &str, unit: Option<&str>, value: f64) -> &mut Self {
        if value.is_finite() { self.value(name, unit, Value::Number(value)) } else { self }
    }

    /// Adds text.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.value(name, None, Value::Text(value.to_owned()))
    }

    /// Adds true or false.
    pub fn boolean(&mut self, name: &str, value: bool) -> &mut Self {
        self.value(name, None, Value::Bool(value))
    }

    /// Adds a value.
    pub fn value(&mut self, name: &str, unit: Option<&str>, value: Value) -> &mut Self {
        let base = std::mem::take(&mut self.base);
        self.entries.push(Entry {
            name: (!name.is_empty()).then(|| name.to_owned()),
            unit: unit.map(str::to_owned),
            value: Some(value),
            ..base
        });
        self
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record yet. Such a pack is not valid on the wire.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pack as `application/senml+json`.
    pub fn encode_json(&self) -> Vec<u8> {
        json::encode(&self.entries)
    }

    /// The pack as `application/senml+cbor`.
    pub fn encode_cbor(&self) -> Vec<u8> {
        cbor::encode(&self.entries)
    }

    /// The records, each standing alone (§4.6). `now_unix_s` is what times below 2^28 are relative to.
    pub fn resolve(&self, now_unix_s: f64) -> Result<Vec<Record>, InvalidPack> {
        let entries = self.entries.iter().map(Entry::lend);
        resolve::check_version(entries.clone())?;
        let mut records = Vec::with_capacity(self.entries.len());
        let mut fault = None;
        resolve::resolve(entries, now_unix_s, |_, record| match record {
            Ok(record) => records.push(record.into()),
            Err(error) => fault = fault.take().or(Some(error)),
        });
        fault.map_or(Ok(records), Err)
    }
}

/// Reads and resolves a pack without a copy of it, and hands out each record with its place in the pack, or why that one
/// is none: a number that is not finite, or a name that is not one, costs no other reading. In CBOR nothing is allocated
/// for a record.
///
/// # Errors
/// The payload is no pack; nothing was handed out.
pub fn read(
    payload: &[u8],
    now_unix_s: f64,
    each: impl FnMut(usize, Result<RecordRef<'_>, InvalidPack>),
) -> Result<(), InvalidPack> {
    match Encoding::of(payload).ok_or(InvalidPack::Encoding)? {
        Encoding::Json => {
            let pack = Pack::parse_as(Encoding::Json, payload)?;
            let entries = pack.entries.iter().map(Entry::lend);
            resolve::check_version(entries.clone())?;
            resolve::resolve(entries, now_unix_s, each);
        }
        Encoding::Cbor if payload.len() > SENML_PAYLOAD_BYTES_MAX => return Err(InvalidPack::TooLong),
        Encoding::Cbor => {
            let entries = cbor::borrow(payload)?;
            if entries.is_empty() {
                return Err(InvalidPack::Empty);
            }
            resolve::check_version(entries.iter().copied())?;
            resolve::resolve(entries.iter().copied(), now_unix_s, each);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
