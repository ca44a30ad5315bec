//! A message as it is printed: for a person its topic and what the payload says, for a program one line of JSON.

use std::io::{self, Write};

use data_encoding::HEXLOWER;
use muster_schemas::{Message, MessageProperties, senml};
use serde::Serialize;

use crate::cli::{
    table::printable,
    time::{shown_f64, shown_s},
};

/// A message for a program.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dup: bool,
    /// The payload if it is text, else it is in `payload_hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: Properties<'a>,
}

#[derive(Serialize, Default, PartialEq)]
struct Properties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_hex: Option<String>,
    /// A list of pairs, since a name may come more than once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user: Vec<(&'a str, &'a str)>,
}

impl Properties<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<'a> From<&'a MessageProperties> for Properties<'a> {
    fn from(properties: &'a MessageProperties) -> Self {
        Self {
            content_type: properties.content_type.as_deref(),
            expiry_s: properties.expiry_interval_s,
            response_topic: properties.response_topic.as_ref().map(|topic| topic.as_str()),
            correlation_hex: properties.correlation_data.as_ref().map(|bytes| HEXLOWER.encode(bytes)),
            user: properties.user_properties.iter().map(|(name, value)| (&**name, &**value)).collect(),
        }
    }
}

/// Writes a message as one line of JSON.
pub(in crate::cli) fn json(out: &mut dyn Write, message: &Message, dup: bool) -> io::Result<()> {
    let payload = std::str::from_utf8(&message.payload).ok();
    let line = Line {
        topic: message.topic.as_str(),
        qos: message.qos as u8,
        retain: message.retain,
        dup,
        payload,
        payload_hex: payload.is_none().then(|| HEXLOWER.encode(&message.payload)),
        properties: message.properties.as_deref().map(Properties::from).unwrap_or_default(),
    };
    writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::other)?)
}

/// Writes a message for a person: SenML reading by reading, other text as it is, the rest in hexadecimal digits.
pub(in crate::cli) fn text(
    out: &mut dyn Write,
    message: &Message,
    now_ms: u64,
    verbose: bool,
) -> io::Result<()> {
    let topic = printable(message.topic.as_str());
    if let Some(records) = readings(message, now_ms) {
        writeln!(out, "{topic}")?;
        for record in &records {
            writeln!(out, "  {}", reading(record))?;
        }
    } else {
        match std::str::from_utf8(&message.payload) {
            // Lines after the first stand in, so that a topic begins each that does not.
            Ok(text) => writeln!(
                out,
                "{topic} {}",
                text.trim_end_matches('\n').split('\n').map(printable).collect::<Vec<_>>().join("\n  ")
            )?,
            Err(_) => writeln!(out, "{topic} {}", HEXLOWER.encode(&message.payload))?,
        }
    }
    if verbose {
        let retained = if message.retain { ", retained" } else { "" };
        write!(out, "  (QoS {}{retained}, {} bytes", message.qos as u8, message.payload.len())?;
        let properties = message.properties.as_deref().map(Properties::from).unwrap_or_default();
        if !properties.is_empty() {
            let text = serde_json::to_string(&properties).map_err(io::Error::other)?;
            write!(out, ", {}", printable(&text))?;
        }
        writeln!(out, ")")?;
    }
    Ok(())
}

/// The readings of a message that is SenML by its content type, or by its topic where it names none.
fn readings(message: &Message, now_ms: u64) -> Option<Vec<senml::Record>> {
    let content_type = message.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
    let is_senml = match content_type {
        Some(content_type) => content_type.starts_with("application/senml"),
        None => {
            let mut levels = message.topic.levels();
            levels.next() == Some("devices") && levels.nth(1) == Some("telemetry")
        }
    };
    let now_s = now_ms as f64 / 1_000.0;
    is_senml.then(|| senml::Pack::parse(&message.payload).ok()?.resolve(now_s).ok()).flatten()
}

fn reading(record: &senml::Record) -> String {
    let value = match &record.value {
        Some(senml::Value::Number(number)) => number.to_string(),
        Some(senml::Value::Text(text)) => printable(text),
        Some(senml::Value::Bool(truth)) => truth.to_string(),
        Some(senml::Value::Data(bytes)) => HEXLOWER.encode(bytes),
        None => String::new(),
    };
    let unit = record.unit.as_deref().unwrap_or_default();
    let sum = record.sum.map(|sum| format!(" sum {sum}")).unwrap_or_default();
    // Whole seconds where that is all there is.
    let time = if record.time_s.fract() == 0.0 && record.time_s >= 0.0 {
        shown_s(record.time_s as u64)
    } else {
        shown_f64(record.time_s)
    };
    printable(&format!("{time}  {} {value} {unit}{sum}", record.name)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use muster_schemas::Qos;

    use super::*;

    const NOW_MS: u64 = 1_769_904_000_000;

    fn message(topic: &str, payload: &'static [u8], properties: Option<MessageProperties>) -> Message {
        Message {
            topic: topic.parse().expect("topic"),
            qos: Qos::AtLeastOnce,
            retain: true,
            payload: Bytes::from_static(payload),
            properties: properties.map(Box::new),
        }
    }

    fn shown(message: &Message, verbose: bool) -> String {
        let mut out = Vec::new();
        text(&mut out, message, NOW_MS, verbose).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn senml_is_shown_reading_by_reading_and_what_only_looks_like_it_as_text() {
        let pack = br#"[{"bn":"pump-7:","bt":1769904000,"n":"temperature","u":"Cel","v":21.5},{"n":"on","vb":true}]"#;
        assert_eq!(
            shown(&message("devices/pump-7/telemetry/climate", pack, None), false),
            "devices/pump-7/telemetry/climate\n  2026-02-01T00:00:00Z  pump-7:temperature 21.5 Cel\n  \
             2026-02-01T00:00:00Z  pump-7:on true\n"
        );
        assert_eq!(
            shown(&message("devices/pump-7/telemetry/climate", b"warm", None), false),
            "devices/pump-7/telemetry/climate warm\n"
        );
    }

    #[test]
    fn text_cannot_command_the_terminal_and_bytes_are_hexadecimal() {
        assert_eq!(shown(&message("a", b"\x1b[2J\nsecond", None), false), "a \u{fffd}[2J\n  second\n");
        assert_eq!(shown(&message("a", b"\xff\x00", None), false), "a ff00\n");
        let properties =
            MessageProperties { content_type: Some("text/plain".into()), ..MessageProperties::default() };
        assert_eq!(
            shown(&message("a", b"x", Some(properties)), true),
            "a x\n  (QoS 1, retained, 1 bytes, {\"content_type\":\"text/plain\"})\n"
        );
    }

    #[test]
    fn a_program_gets_one_line_with_everything() {
        let properties = MessageProperties {
            expiry_interval_s: Some(60),
            correlation_data: Some(Bytes::from_static(&[1, 2])),
            user_properties: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            ..MessageProperties::default()
        };
        let mut out = Vec::new();
        json(&mut out, &message("a", b"\xff", Some(properties)), true).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "{\"topic\":\"a\",\"qos\":1,\"retain\":true,\"dup\":true,\"payload_hex\":\"ff\",\"properties\":\
             {\"expiry_s\":60,\"correlation_hex\":\"0102\",\"user\":[[\"a\",\"1\"],[\"a\",\"2\"]]}}\n"
        );
    }
}
