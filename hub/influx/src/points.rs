//! What a tenant's message becomes: lines, with what is sensitive sealed before it is one.
//!
//! | SenML (RFC 8428) | line protocol |
//! |---|---|
//! | the stream, from the topic | measurement |
//! | the device; the unit | tags `device`, `unit` |
//! | names `n` and `<device>:n` | `n` |
//! | number `n`, sum of `n` | fields `n`, `n#sum`, both floats |
//! | text, true or false, bytes `n` | fields `n#text`, `n#bool`, `n#bytes` (base64url) |
//! | `n` if it is sensitive | field `n#sealed`: the value as JSON, sealed |
//! | a payload that is sealed for an app | field `sealed` (base64url), at the time of receipt |
//!
//! A server keeps one type for a field and refuses the others. So the type is part of the key, and no device can take the
//! field of another by sending a text first. No SenML name has a `#` in it.

use std::{collections::BTreeMap, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use muster_items::{
    Scalar,
    judge::{Reading, SEALED_NAME, judge},
    sensitive::{Rules, Verdict},
};
use muster_schemas::{Kind, stored::StoredMessage};

use crate::{
    answer::Trouble,
    batch::Batch,
    courier::DeadLetter,
    limits::VERDICTS_MAX,
    line::{self, Point, Value},
};

/// How a payload begins that a device sealed for an app: the tag of `COSE_Encrypt` (RFC 9052 §2).
const COSE_ENCRYPT: [u8; 2] = [0xd8, 0x60];
/// What the name of a sum ends with.
const SUM: &str = "#sum";

/// Seals one field of a tenant. What it makes opens for the same stream and name only.
pub trait FieldSealer {
    /// The field, sealed, as a text. `stream` is `<device>/<stream>`, `name` is `<key>@<microseconds since 1970>`: neither
    /// can be read in two ways, since no device has a `/` in it and no key an `@`.
    ///
    /// # Errors
    /// It cannot be sealed now: nothing leaves.
    fn seal(&self, stream: &str, name: &str, plaintext: &[u8]) -> Result<String, Unsealed>;
}

/// Why a field is not sealed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// The tenant has withdrawn its key.
    #[error("seal a sensitive field: the tenant's key is withdrawn")]
    KeyAway,
    /// A key for it could not be read or stored: the disk is full, for example.
    #[error("seal a sensitive field: {0}")]
    Store(String),
}

impl From<Unsealed> for Trouble {
    fn from(why: Unsealed) -> Self {
        match why {
            Unsealed::KeyAway => Self::KeyAway,
            Unsealed::Store(why) => Self::Store(why),
        }
    }
}

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

    /// Goes by these rules from now on.
    pub fn follow(&mut self, rules: Arc<Rules>) {
        if *self.rules != *rules {
            self.verdicts.clear();
            self.rules = rules;
        }
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
    ) -> Result<(), Unsealed> {
        let Some(stream) = stream_of(stored) else { return Ok(()) };
        let device = stored.publisher.id.as_str();
        let payload = &stored.message.payload;
        if payload.starts_with(&COSE_ENCRYPT) {
            let text = BASE64URL_NOPAD.encode(payload);
            let fields = Fields::from([(SEALED_NAME.to_owned(), Owned::Text(text))]);
            let time_us = i64::try_from(stored.received_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
            append(device, stream, (time_us, None), &fields, batch, cut);
            return Ok(());
        }
        // Milliseconds of this millennium are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let received_s = stored.received_ms as f64 / 1_000.0;
        let mut lines: BTreeMap<(i64, Option<String>), Fields> = BTreeMap::new();
        let (mut sealed, mut unsealed) = (0, None);
        let judged = judge(payload, received_s, |_, reading| {
            // What is refused is told by the telemetry store.
            let (Ok(reading), None) = (reading, &unsealed) else { return };
            let line = lines.entry((reading.time_us, reading.unit.map(str::to_owned))).or_default();
            match self.field((device, stream), &reading, sealer, line) {
                Ok(is_sealed) => sealed += u64::from(is_sealed),
                Err(why) => unsealed = Some(why),
            }
        });
        if let Some(why) = unsealed {
            return Err(why);
        }
        if judged.is_err() {
            return Ok(());
        }
        cut.sealed += sealed;
        for ((time_us, unit), fields) in &lines {
            append(device, stream, (*time_us, unit.as_deref()), fields, batch, cut);
        }
        Ok(())
    }

    /// The field of a reading, and whether it is sealed.
    fn field(
        &mut self,
        (device, stream): (&str, &str),
        reading: &Reading<'_>,
        sealer: &dyn FieldSealer,
        fields: &mut Fields,
    ) -> Result<bool, Unsealed> {
        let name = local(device, reading.name.joined());
        // The sum of a name is as sensitive as the name.
        let ruled = name.strip_suffix(SUM).unwrap_or(&name);
        let sensitive = match (self.verdict(stream, ruled, reading.unit), reading.value) {
            (Verdict::Sensitive(_), _) => true,
            (Verdict::ByValue, Scalar::Text(text)) => Rules::class_of_text(text).is_some(),
            (Verdict::ByValue | Verdict::Exempt, _) => false,
        };
        if sensitive {
            let (whose, which) = (format!("{device}/{stream}"), format!("{name}@{}", reading.time_us));
            let text = sealer.seal(&whose, &which, &plaintext(reading.value))?;
            fields.insert(format!("{name}#sealed"), Owned::Text(text));
            return Ok(true);
        }
        let (key, value) = match reading.value {
            // The field of a sealed payload is a text.
            Scalar::Number(number) if name == SEALED_NAME => (format!("{name}#number"), Owned::Float(number)),
            Scalar::Number(number) => (name, Owned::Float(number)),
            Scalar::Text(text) => (format!("{name}#text"), Owned::Text(text.to_owned())),
            Scalar::Bool(value) => (format!("{name}#bool"), Owned::Bool(value)),
            Scalar::Bytes(bytes) => (format!("{name}#bytes"), Owned::Text(BASE64URL_NOPAD.encode(bytes))),
        };
        fields.insert(key, value);
        Ok(false)
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

/// A name without the `<device>:` that makes it unique (RFC 8428 §4.5.1): the device is a tag, and the same field of all
/// devices is one field.
fn local(device: &str, name: String) -> String {
    let rest =
        name.strip_prefix(device).and_then(|rest| rest.strip_prefix(':')).filter(|rest| !rest.is_empty());
    rest.map_or_else(|| name.clone(), str::to_owned)
}

/// A value as it is sealed: JSON; bytes as `{"vd": ...}`.
fn plaintext(value: Scalar<'_>) -> Vec<u8> {
    let json = match value {
        Scalar::Number(number) => serde_json::json!(number),
        Scalar::Text(text) => serde_json::json!(text),
        Scalar::Bool(value) => serde_json::json!(value),
        Scalar::Bytes(bytes) => serde_json::json!({ "vd": BASE64URL_NOPAD.encode(bytes) }),
    };
    json.to_string().into_bytes()
}

#[cfg(test)]
#[path = "points_tests.rs"]
mod tests;
