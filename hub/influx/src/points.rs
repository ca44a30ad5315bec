//! What a tenant's message becomes: lines, with what is sensitive sealed before it is one.
//!
//! | SenML (RFC 8428) | line protocol |
//! |---|---|
//! | the stream, from the topic | measurement |
//! | the device; the unit | tags `device`, `unit` |
//! | number `n`, sum of `n` | fields `n`, `n#sum`, both floats |
//! | text, true or false, bytes `n` | fields `n#text`, `n#bool`, `n#bytes` (base64url) |
//! | `n` if it is sensitive | field `n#sealed`: the value as JSON, sealed |
//! | a payload that is sealed for an app | field `sealed` (base64url), at the time of receipt |
//!
//! A server keeps one type for a field and refuses the others. So the type is part of the key, and no device can take the
//! field of another by sending a text first. No SenML name has a `#` in it.

use std::{collections::BTreeMap, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use muster_items::sensitive::{Rules, Verdict};
use muster_schemas::{
    Kind,
    senml::{Pack, Record, Value as Measured},
    stored::StoredMessage,
};

use crate::{
    batch::Batch,
    courier::DeadLetter,
    limits::VERDICTS_MAX,
    line::{self, Point, Value},
};

/// How a payload begins that a device sealed for an app: the tag of `COSE_Encrypt` (RFC 9052 §2).
const COSE_ENCRYPT: [u8; 2] = [0xd8, 0x60];
/// The field of such a payload.
const SEALED_PAYLOAD: &str = "sealed";

/// Seals one field of a tenant. What it makes opens for the same stream and name only.
pub trait FieldSealer {
    /// The field, sealed, as a text. `stream` is `<device>/<stream>`, `name` is `<key>@<microseconds since 1970>`: neither
    /// can be read in two ways, since no device has a `/` in it and no key an `@`.
    ///
    /// # Errors
    /// The tenant's key is not there now: nothing leaves.
    fn seal(&self, stream: &str, name: &str, plaintext: &[u8]) -> Result<String, KeyAway>;
}

/// The tenant's key is not there: withdrawn, or not to be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("seal a sensitive field: the tenant's key is not there")]
pub struct KeyAway;

/// What became of the messages that were cut.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Readings that are in lines.
    pub readings: u64,
    /// Those of them that were sealed.
    pub sealed: u64,
    /// Readings that no line can hold.
    pub letters: Vec<DeadLetter>,
}

/// Cuts the messages of one tenant into lines.
#[derive(Debug)]
pub struct Cutter {
    rules: Arc<Rules>,
    /// What was found out about names. A part of them.
    verdicts: BTreeMap<String, Verdict>,
}

/// The values of one line, by key.
type Fields = BTreeMap<String, Owned>;

#[derive(Debug)]
enum Owned {
    Float(f64),
    Text(String),
    Bool(bool),
}

impl Cutter {
    /// By the rules of the tenant.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, verdicts: BTreeMap::new() }
    }

    /// Appends the lines of a message to the batch. One that is no telemetry of a device's own has none: the telemetry store
    /// says why.
    ///
    /// # Errors
    /// The tenant's key is not there; nothing was appended.
    pub fn take(
        &mut self,
        stored: &StoredMessage,
        sealer: &dyn FieldSealer,
        batch: &mut Batch,
        cut: &mut Cut,
    ) -> Result<(), KeyAway> {
        let Some(stream) = stream_of(stored) else { return Ok(()) };
        let device = stored.publisher.id.as_str();
        let payload = &stored.message.payload;
        if payload.starts_with(&COSE_ENCRYPT) {
            let text = BASE64URL_NOPAD.encode(payload);
            let fields = Fields::from([(SEALED_PAYLOAD.to_owned(), Owned::Text(text))]);
            let time_us = i64::try_from(stored.received_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
            append(device, stream, (time_us, None), &fields, batch, cut);
            return Ok(());
        }
        // Milliseconds of this millennium are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let received_s = stored.received_ms as f64 / 1_000.0;
        let Ok(records) = Pack::parse(payload).and_then(|pack| pack.resolve(received_s)) else {
            return Ok(());
        };
        let mut lines: BTreeMap<(i64, Option<String>), Fields> = BTreeMap::new();
        let mut sealed = 0;
        for record in records {
            let line = lines.entry((time_us(record.time_s), record.unit.clone())).or_default();
            sealed += self.fields((device, stream), &record, sealer, line)?;
        }
        cut.sealed += sealed;
        for ((time_us, unit), fields) in &lines {
            append(device, stream, (*time_us, unit.as_deref()), fields, batch, cut);
        }
        Ok(())
    }

    /// The fields of a record: its value, its sum, or both. Says how many of them are sealed.
    fn fields(
        &mut self,
        (device, stream): (&str, &str),
        record: &Record,
        sealer: &dyn FieldSealer,
        fields: &mut Fields,
    ) -> Result<u64, KeyAway> {
        let Record { name, unit, time_s, value, sum } = record;
        let verdict = self.verdict(stream, name, unit.as_deref());
        let mut sealed = 0;
        let mut add = |base: String, value: &Measured| {
            let sensitive = match (verdict, value) {
                (Verdict::Sensitive(_), _) => true,
                (Verdict::ByValue, Measured::Text(text)) => Rules::class_of_text(text).is_some(),
                (Verdict::ByValue | Verdict::Exempt, _) => false,
            };
            if sensitive {
                let (whose, which) = (format!("{device}/{stream}"), format!("{base}@{}", time_us(*time_s)));
                let text = sealer.seal(&whose, &which, &plaintext(value))?;
                fields.insert(format!("{base}#sealed"), Owned::Text(text));
                sealed += 1;
                return Ok(());
            }
            let (key, value) = match value {
                // The field of a sealed payload is a text.
                Measured::Number(number) if base == SEALED_PAYLOAD => {
                    (format!("{base}#number"), Owned::Float(*number))
                }
                Measured::Number(number) => (base, Owned::Float(*number)),
                Measured::Text(text) => (format!("{base}#text"), Owned::Text(text.clone())),
                Measured::Bool(value) => (format!("{base}#bool"), Owned::Bool(*value)),
                Measured::Data(bytes) => {
                    (format!("{base}#bytes"), Owned::Text(BASE64URL_NOPAD.encode(bytes)))
                }
            };
            fields.insert(key, value);
            Ok(())
        };
        if let Some(value) = value {
            add(name.clone(), value)?;
        }
        if let Some(sum) = sum {
            add(format!("{name}#sum"), &Measured::Number(*sum))?;
        }
        Ok(sealed)
    }

    fn verdict(&mut self, stream: &str, name: &str, unit: Option<&str>) -> Verdict {
        // None of the three holds a zero.
        let key = format!("{stream}\0{name}\0{}", unit.unwrap_or_default());
        if let Some(verdict) = self.verdicts.get(&key) {
            return *verdict;
        }
        if self.verdicts.len() >= VERDICTS_MAX {
            self.verdicts.clear();
        }
        let verdict = self.rules.verdict(stream, name, unit);
        self.verdicts.insert(key, verdict);
        verdict
    }
}

/// The stream, if a device published on its own telemetry topic, for the first time.
fn stream_of(stored: &StoredMessage) -> Option<&str> {
    let message = &stored.message;
    let mut levels = message.topic.as_str().splitn(4, '/');
    let (devices, device, telemetry, stream) =
        (levels.next()?, levels.next()?, levels.next()?, levels.next()?);
    let is_own = stored.publisher.kind == Kind::Device && stored.publisher.id.as_str() == device;
    let is_telemetry =
        devices == "devices" && telemetry == "telemetry" && !stream.is_empty() && !stream.contains('/');
    (is_own && is_telemetry && !stored.is_copy() && !message.payload.is_empty()).then_some(stream)
}

fn append(
    device: &str,
    stream: &str,
    (time_us, unit): (i64, Option<&str>),
    fields: &Fields,
    batch: &mut Batch,
    cut: &mut Cut,
) {
    let tags = [("device", device), ("unit", unit.unwrap_or_default())];
    let fields: Vec<_> = fields
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Owned::Float(number) => Value::Float(*number),
                Owned::Text(text) => Value::Text(text),
                Owned::Bool(value) => Value::Bool(*value),
            };
            (key.as_str(), value)
        })
        .collect();
    let time_ns = time_us.saturating_mul(1_000);
    let point = Point { measurement: stream, tags: &tags, fields: &fields, time_ns };
    let count = fields.len();
    let left_out = match batch.line(|out| line::encode(&point, out)) {
        Ok(left_out) => (left_out.count() > 0).then(|| {
            (left_out.count(), format!("a text is longer than {} bytes", crate::limits::TEXT_BYTES_MAX))
        }),
        Err(why) => Some((count, format!("failed to {why}"))),
    };
    let mut written = count;
    if let Some((lines, why)) = left_out {
        written -= lines.min(count);
        let series = Some(format!("{stream},device={device}"));
        cut.letters.push(DeadLetter { lines, series, why });
    }
    cut.readings += written as u64;
}

/// A value as it is sealed: JSON; bytes as `{"vd": ...}`.
fn plaintext(value: &Measured) -> Vec<u8> {
    let json = match value {
        Measured::Number(number) => serde_json::json!(number),
        Measured::Text(text) => serde_json::json!(text),
        Measured::Bool(value) => serde_json::json!(value),
        Measured::Data(bytes) => serde_json::json!({ "vd": BASE64URL_NOPAD.encode(bytes) }),
    };
    json.to_string().into_bytes()
}

/// Microseconds since 1970: the resolution at which the hub tells readings apart, so that the same reading is the same
/// point however often it comes.
fn time_us(time_s: f64) -> i64 {
    // What is out of range becomes the first or the last, which no line can hold.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    let time_us = (time_s * 1e6).round() as i64;
    time_us
}

#[cfg(test)]
#[path = "points_tests.rs"]
mod tests;
