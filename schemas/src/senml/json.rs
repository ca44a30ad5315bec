//! SenML in JSON (RFC 8428 §5).

use std::{fmt, io::Write};

use data_encoding::BASE64URL_NOPAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    InvalidPack, Value,
    record::{Entry, Field, Label, fill},
};
use crate::limits::{CBOR_DEPTH_MAX, SENML_LABELS_MAX, SENML_RECORDS_MAX};

/// Why a visitor stopped, said before serde_json turns it into text.
type Fault = Option<InvalidPack>;

pub(super) fn parse(payload: &[u8]) -> Result<Vec<Entry>, InvalidPack> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_slice(payload);
    let entries = Records(&mut fault).deserialize(&mut json).and_then(|entries| {
        json.end()?;
        Ok(entries)
    });
    entries.map_err(|error| fault.unwrap_or_else(|| InvalidPack::Json(error.to_string())))
}

/// Keeps the reason, and stops the parser.
fn stop<E: serde::de::Error>(fault: &mut Fault, reason: InvalidPack) -> E {
    *fault = Some(reason);
    E::custom("stopped")
}

struct Records<'f>(&'f mut Fault);

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = Vec<Entry>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element_seed(OneRecord(self.0))? {
            if entries.len() == SENML_RECORDS_MAX {
                return Err(stop(self.0, InvalidPack::TooManyRecords));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct OneRecord<'f>(&'f mut Fault);

impl<'de> DeserializeSeed<'de> for OneRecord<'_> {
    type Value = Entry;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRecord<'_> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = Entry::default();
        let mut unknown: Vec<String> = Vec::new();
        let mut labels = 0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            labels += 1;
            if labels > SENML_LABELS_MAX {
                return Err(A::Error::custom("more labels in a record than allowed"));
            }
            let taken = match key {
                Key::Known(label) => field(&mut map, &mut entry, label)?,
                Key::Unknown(text) if text.ends_with('_') => Err(InvalidPack::MustUnderstand(text)),
                Key::Unknown(text) if unknown.contains(&text) => Err(InvalidPack::Duplicate(text)),
                Key::Unknown(text) => {
                    unknown.push(text);
                    map.next_value_seed(Ignored { fault: self.0, depth: CBOR_DEPTH_MAX })?;
                    Ok(())
                }
            };
            taken.map_err(|reason| stop(self.0, reason))?;
        }
        Ok(entry)
    }
}

/// A label, without an allocation when we know it.
enum Key {
    Known(Label),
    Unknown(String),
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a label")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(Label::from_text(text).map_or_else(|| Key::Unknown(text.to_owned()), Key::Known))
    }
}

/// Reads the value of a label: outside is a fault of the JSON, inside one of the record.
fn field<'de, A: MapAccess<'de>>(
    map: &mut A,
    entry: &mut Entry,
    label: Label,
) -> Result<Result<(), InvalidPack>, A::Error> {
    Ok(match label {
        Label::BaseVersion => fill(&mut entry.base_version, label, map.next_value()?),
        Label::BaseName => fill(&mut entry.base_name, label, map.next_value()?),
        Label::BaseTime => fill(&mut entry.base_time, label, map.next_value()?),
        Label::BaseUnit => fill(&mut entry.base_unit, label, map.next_value()?),
        Label::BaseValue => fill(&mut entry.base_value, label, map.next_value()?),
        Label::BaseSum => fill(&mut entry.base_sum, label, map.next_value()?),
        Label::Name => fill(&mut entry.name, label, map.next_value()?),
        Label::Unit => fill(&mut entry.unit, label, map.next_value()?),
        Label::Value => entry.set_value(label, Value::Number(map.next_value()?)),
        Label::StringValue => entry.set_value(label, Value::Text(map.next_value()?)),
        Label::BooleanValue => entry.set_value(label, Value::Bool(map.next_value()?)),
        Label::DataValue => match BASE64URL_NOPAD.decode(map.next_value::<String>()?.as_bytes()) {
            Ok(data) => entry.set_value(label, Value::Data(data)),
            Err(_) => Err(InvalidPack::Data),
        },
        Label::Sum => fill(&mut entry.sum, label, map.next_value()?),
        Label::Time => fill(&mut entry.time, label, map.next_value()?),
        Label::UpdateTime => fill(&mut entry.update_time, label, map.next_value()?),
    })
}

/// A value of an extension that we do not know: read, bounded in depth, and forgotten.
struct Ignored<'f> {
    fault: &'f mut Fault,
    depth: usize,
}

impl Ignored<'_> {
    /// For what is within.
    fn deeper<E: serde::de::Error>(&mut self) -> Result<Ignored<'_>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) if depth > 0 => Ok(Ignored { fault: self.fault, depth }),
            _ => Err(stop(self.fault, InvalidPack::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Ignored<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ignored<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<String>()?.is_some() {
            map.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (place, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{" } else { b",{" });
        for (place, (label, field)) in entry.fields().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let written = write!(out, "{comma}\"{}\":", label.text())
                .map_err(serde_json::Error::io)
                .and_then(|()| match field {
                    Field::Version(version) => serde_json::to_writer(&mut out, &version),
                    Field::Number(number) => serde_json::to_writer(&mut out, &number),
                    Field::Text(text) => serde_json::to_writer(&mut out, text),
                    Field::Bool(boolean) => serde_json::to_writer(&mut out, &boolean),
                    Field::Data(data) => serde_json::to_writer(&mut out, &BASE64URL_NOPAD.encode(data)),
                });
            if written.is_err() {
                unreachable!("a vector takes every byte, and the field is a number, text or boolean");
            }
        }
        out.push(b'}');
    }
    out.push(b']');
    out
}
