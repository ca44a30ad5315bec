//! SenML in CBOR (RFC 8428 §6): integer labels for what the standard knows, text labels for extensions.

use super::{
    InvalidPack,
    record::{Entry, EntryRef, Field, Label, ValueRef, fill},
};
use crate::{
    cbor::{InvalidCbor, Major, Reader, Writer},
    limits::{SENML_LABELS_MAX, SENML_PAYLOAD_BYTES_MAX, SENML_RECORDS_MAX},
};

pub(super) fn parse(payload: &[u8]) -> Result<Vec<Entry>, InvalidPack> {
    let entries = borrow(payload)?;
    if entries.iter().all(EntryRef::is_finite) {
        Ok(entries.into_iter().map(EntryRef::into_entry).collect())
    } else {
        Err(InvalidPack::Cbor(InvalidCbor::NotFinite))
    }
}

/// The records as they lie in the payload, with numbers that may be none.
pub(super) fn borrow(payload: &[u8]) -> Result<Vec<EntryRef<'_>>, InvalidPack> {
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

fn record<'a>(reader: &mut Reader<'a>) -> Result<EntryRef<'a>, InvalidPack> {
    let mut entry = EntryRef::default();
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

fn field<'a>(reader: &mut Reader<'a>, entry: &mut EntryRef<'a>, label: Label) -> Result<(), InvalidPack> {
    let max = SENML_PAYLOAD_BYTES_MAX;
    match label {
        Label::BaseVersion => fill(&mut entry.base_version, label, reader.unsigned(u64::MAX)?),
        Label::BaseName => fill(&mut entry.base_name, label, reader.text(max)?),
        Label::BaseTime => fill(&mut entry.base_time, label, reader.any_number()?),
        Label::BaseUnit => fill(&mut entry.base_unit, label, reader.text(max)?),
        Label::BaseValue => fill(&mut entry.base_value, label, reader.any_number()?),
        Label::BaseSum => fill(&mut entry.base_sum, label, reader.any_number()?),
        Label::Name => fill(&mut entry.name, label, reader.text(max)?),
        Label::Unit => fill(&mut entry.unit, label, reader.text(max)?),
        Label::Value => entry.set_value(label, ValueRef::Number(reader.any_number()?)),
        Label::StringValue => entry.set_value(label, ValueRef::Text(reader.text(max)?)),
        Label::BooleanValue => entry.set_value(label, ValueRef::Bool(reader.boolean()?)),
        Label::DataValue => entry.set_value(label, ValueRef::Data(reader.bytes(max)?)),
        Label::Sum => fill(&mut entry.sum, label, reader.any_number()?),
        Label::Time => fill(&mut entry.time, label, reader.any_number()?),
        Label::UpdateTime => fill(&mut entry.update_time, label, reader.any_number()?),
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
