//! SenML in CBOR (RFC 8428 §6): integer labels for what the standard knows, text labels for extensions.

use super::{
    InvalidPack, Value,
    record::{Entry, Field, Label, fill},
};
use crate::{
    cbor::{InvalidCbor, Major, Reader, Writer},
    limits::{SENML_LABELS_MAX, SENML_PAYLOAD_BYTES_MAX, SENML_RECORDS_MAX},
};

pub(super) fn parse(payload: &[u8]) -> Result<Vec<Entry>, InvalidPack> {
    // Devices write their CBOR with libraries that we do not choose: longer heads and indefinite lengths are theirs.
    let mut reader = Reader::tolerant(payload);
    let mut records = reader.array(SENML_RECORDS_MAX).map_err(too_many)?;
    let mut entries = Vec::with_capacity(records.announced().unwrap_or_default().min(payload.len() / 2));
    while reader.more(&mut records).map_err(too_many)? {
        entries.push(record(&mut reader)?);
    }
    reader.finish()?;
    Ok(entries)
}

fn too_many(cause: InvalidCbor) -> InvalidPack {
    match cause {
        InvalidCbor::TooMany { .. } => InvalidPack::TooManyRecords,
        other => other.into(),
    }
}

fn record(reader: &mut Reader<'_>) -> Result<Entry, InvalidPack> {
    let mut entry = Entry::default();
    let mut unknown = Vec::new();
    let mut pairs = reader.map(SENML_LABELS_MAX)?;
    while reader.more(&mut pairs)? {
        let label = if reader.peek()? == Major::Text {
            extension(reader.text(SENML_PAYLOAD_BYTES_MAX)?)?
        } else {
            let number = reader.integer()?;
            match Label::from_number(number) {
                Some(label) => {
                    field(reader, &mut entry, label)?;
                    continue;
                }
                None => number.to_string(),
            }
        };
        if unknown.contains(&label) {
            return Err(InvalidPack::Duplicate(label));
        }
        unknown.push(label);
        reader.skip()?;
    }
    Ok(entry)
}

/// A label that is not of the standard: ours to ignore, unless it ends in `_` (§4.4).
fn extension(label: &str) -> Result<String, InvalidPack> {
    if label.ends_with('_') {
        return Err(InvalidPack::MustUnderstand(label.to_owned()));
    }
    Ok(label.to_owned())
}

fn field(reader: &mut Reader<'_>, entry: &mut Entry, label: Label) -> Result<(), InvalidPack> {
    let max = SENML_PAYLOAD_BYTES_MAX;
    match label {
        Label::BaseVersion => fill(&mut entry.base_version, label, reader.unsigned(u64::MAX)?),
        Label::BaseName => fill(&mut entry.base_name, label, reader.text(max)?.to_owned()),
        Label::BaseTime => fill(&mut entry.base_time, label, reader.number()?),
        Label::BaseUnit => fill(&mut entry.base_unit, label, reader.text(max)?.to_owned()),
        Label::BaseValue => fill(&mut entry.base_value, label, reader.number()?),
        Label::BaseSum => fill(&mut entry.base_sum, label, reader.number()?),
        Label::Name => fill(&mut entry.name, label, reader.text(max)?.to_owned()),
        Label::Unit => fill(&mut entry.unit, label, reader.text(max)?.to_owned()),
        Label::Value => entry.set_value(label, Value::Number(reader.number()?)),
        Label::StringValue => entry.set_value(label, Value::Text(reader.text(max)?.to_owned())),
        Label::BooleanValue => entry.set_value(label, Value::Bool(reader.boolean()?)),
        Label::DataValue => entry.set_value(label, Value::Data(reader.bytes(max)?.to_vec())),
        Label::Sum => fill(&mut entry.sum, label, reader.number()?),
        Label::Time => fill(&mut entry.time, label, reader.number()?),
        Label::UpdateTime => fill(&mut entry.update_time, label, reader.number()?),
    }
}

pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(entries.len());
    for entry in entries {
        writer.map(entry.fields().count());
        for (label, field) in entry.fields() {
            writer.integer(label.number());
            match field {
                Field::Version(version) => writer.unsigned(version),
                Field::Number(number) => writer.number(number),
                Field::Text(text) => writer.text(text),
                Field::Bool(boolean) => writer.boolean(boolean),
                Field::Data(data) => writer.bytes(data),
            };
        }
    }
    writer.into_bytes()
}
