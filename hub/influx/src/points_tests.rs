use std::cell::Cell;

use muster_items::sensitive::{Class, Pattern, Says};
use muster_schemas::{Message, Publisher, Qos};

use super::*;
use crate::strict::{self, Read, ReadValue};

/// Shows what it was given, back to front, and can be without a key.
#[derive(Default)]
struct Mirror {
    away_after: Cell<Option<u32>>,
}

impl FieldSealer for Mirror {
    fn seal(&self, stream: &str, name: &str, plaintext: &[u8]) -> Result<String, Unsealed> {
        if let Some(left) = self.away_after.get() {
            self.away_after.set(Some(left.checked_sub(1).ok_or(Unsealed::KeyAway)?));
        }
        let text = str::from_utf8(plaintext).expect("JSON");
        Ok(format!("{stream} {name} {}", text.chars().rev().collect::<String>()))
    }
}

fn message(kind: Kind, id: &str, topic: &str, payload: &[u8]) -> StoredMessage {
    let message = Message {
        topic: topic.parse().expect("topic"),
        qos: Qos::AtLeastOnce,
        retain: false,
        payload: payload.to_vec().into(),
        properties: None,
    };
    let publisher = Publisher { kind, id: id.parse().expect("id") };
    StoredMessage { received_ms: 1_760_000_000_123, publisher, session: None, message }
}

fn climate(payload: &[u8]) -> StoredMessage {
    message(Kind::Device, "pump-7", "devices/pump-7/telemetry/climate", payload)
}

fn cut(rules: Rules, messages: &[StoredMessage]) -> (String, Cut) {
    let (mut batch, mut cut) = (Batch::default(), Cut::default());
    let mut cutter = Cutter::new(Arc::new(rules));
    for message in messages {
        cutter.take(message, &Mirror::default(), &mut batch, &mut cut).expect("the key is there");
    }
    (batch.text(&(0..batch.len())).to_owned(), cut)
}

fn only(text: &str) -> Read {
    let mut read = strict::read(text).expect("every line is one");
    assert_eq!(read.len(), 1, "{text}");
    read.remove(0)
}

#[test]
fn readings_of_one_time_and_unit_are_one_line_with_a_key_for_each_kind() {
    let pack =
        br#"[{"bn":"m:","bt":1760000000,"n":"t","u":"Cel","v":21.5},{"n":"s","vs":"on"},{"n":"b","vb":true},
        {"n":"d","vd":"AQI"},{"n":"e","v":1,"s":7},{"n":"e","t":1,"v":2}]"#;
    let (text, cut) = cut(Rules::default(), &[climate(pack)]);
    assert_eq!(
        text,
        "climate,device=pump-7 m:b#bool=true,m:d#bytes=\"AQI\",m:e=1.0,m:e#sum=7.0,m:s#text=\"on\" 1760000000000000000\n\
         climate,device=pump-7,unit=Cel m:t=21.5 1760000000000000000\n\
         climate,device=pump-7 m:e=2.0 1760000001000000000\n"
    );
    assert_eq!(cut, Cut { readings: 7, sealed: 0, letters: Vec::new() });
}

#[test]
fn what_is_sensitive_leaves_only_sealed_and_bound_to_its_place() {
    let rules =
        Rules::new(vec![Pattern::parse("climate/m:plan", Says::Add(Class::Person)).expect("pattern")]);
    let pack = br#"[{"bn":"m:","bt":1760000000,"n":"lat","u":"lat","v":52.123},{"n":"note","vs":"call ann@acme.example"},
        {"n":"plan","vs":"CANARY"},{"n":"password","vb":true,"s":3},{"n":"t","v":1}]"#;
    let (text, cut) = cut(rules, &[climate(pack)]);
    for secret in ["52.123", "ann", "CANARY", "true", "=3"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!((cut.readings, cut.sealed), (6, 5));
    let read = strict::read(&text).expect("lines");
    for (key, backwards) in [
        ("m:lat", "321.25"),
        ("m:note", "\"elpmaxe.emca@nna llac\""),
        ("m:plan", "\"YRANAC\""),
        ("m:password", "eurt"),
        ("m:password#sum", "0.3"),
    ] {
        let value = read.iter().find_map(|line| line.fields.get(&format!("{key}#sealed")));
        let wanted = format!("pump-7/climate {key}@1760000000000000 {backwards}");
        assert_eq!(value, Some(&ReadValue::Text(wanted)), "{key}");
    }
}

#[test]
fn other_rules_hold_from_the_next_message_on() {
    let pack = br#"[{"n":"plan","t":1760000000,"vs":"CANARY"}]"#;
    let (mut batch, mut cut) = (Batch::default(), Cut::default());
    let mut cutter = Cutter::new(Arc::default());
    let add = Pattern::parse("climate/plan", Says::Add(Class::Person)).expect("pattern");
    for (rules, sealed) in
        [(Rules::default(), 0), (Rules::new(vec![add.clone()]), 1), (Rules::new(vec![add]), 2)]
    {
        cutter.follow(Arc::new(rules));
        cutter.take(&climate(pack), &Mirror::default(), &mut batch, &mut cut).expect("the key is there");
        assert_eq!(cut.sealed, sealed);
    }
}

#[test]
fn without_the_key_nothing_of_the_message_leaves() {
    let sealer = Mirror { away_after: Cell::new(Some(1)) };
    let pack = br#"[{"bt":1760000000,"n":"t","v":1},{"n":"lat","v":2},{"n":"lon","v":3}]"#;
    let (mut batch, mut cut) = (Batch::default(), Cut::default());
    let mut cutter = Cutter::new(Arc::default());
    assert_eq!(cutter.take(&climate(pack), &sealer, &mut batch, &mut cut), Err(Unsealed::KeyAway));
    assert_eq!((batch.len(), cut), (0, Cut::default()));
}

#[test]
fn a_payload_that_is_sealed_for_an_app_goes_as_it_is_and_takes_no_name_away() {
    let sealed = [0xd8, 0x60, 0x84, 0x01, 0xff];
    let number = br#"[{"n":"sealed","t":1760000000,"v":1}]"#;
    let (text, cut) = cut(Rules::default(), &[climate(&sealed), climate(number)]);
    assert_eq!(
        text,
        "climate,device=pump-7 sealed=\"2GCEAf8\" 1760000000123000000\n\
         climate,device=pump-7 sealed#number=1.0 1760000000000000000\n"
    );
    assert_eq!(cut.readings, 2);
}

#[test]
fn what_is_no_telemetry_of_a_device_s_own_is_passed_by() {
    let pack = br#"[{"n":"t","t":1760000000,"v":1}]"#;
    let mut copy = climate(pack);
    copy.session = Some(muster_schemas::stored::COPY);
    let messages = [
        message(Kind::App, "pump-7", "devices/pump-7/telemetry/climate", pack),
        message(Kind::Device, "pump-8", "devices/pump-7/telemetry/climate", pack),
        message(Kind::Device, "pump-7", "devices/pump-7/telemetry/climate/more", pack),
        message(Kind::Device, "pump-7", "devices/pump-7/events/climate", pack),
        climate(b"no SenML"),
        climate(b""),
        copy,
    ];
    assert_eq!(cut(Rules::default(), &messages), (String::new(), Cut::default()));
}

#[test]
fn what_a_device_sends_makes_no_other_point() {
    let evil = "hello\\\"\nenv,tenant=VICTIM,device=x temp=666\n#";
    let pack = format!(r#"[{{"n":"note","t":1760000000,"vs":{}}}]"#, serde_json::json!(evil));
    let stream = "a, =\\x\u{202e}";
    let topic = format!("devices/pump-7/telemetry/{stream}");
    let (text, _) = cut(Rules::default(), &[message(Kind::Device, "pump-7", &topic, pack.as_bytes())]);
    let read = only(&text);
    assert_eq!(line::original(&read.measurement).as_deref(), Some(stream));
    assert_eq!(read.tags, BTreeMap::from([("device".to_owned(), "pump-7".to_owned())]));
    assert_eq!(read.fields, BTreeMap::from([("note#text".to_owned(), ReadValue::Text(evil.to_owned()))]));
}

#[test]
fn what_no_line_can_hold_is_told() {
    let long = "x".repeat(crate::limits::TEXT_BYTES_MAX + 1);
    let pack = format!(
        r#"[{{"n":"s","t":1760000000,"vs":"{long}"}},{{"n":"t","t":1760000000,"v":1}},{{"n":"t","t":-1e12,"v":1}}]"#
    );
    let (text, cut) = cut(Rules::default(), &[climate(pack.as_bytes())]);
    assert_eq!(text, "climate,device=pump-7 t=1.0 1760000000000000000\n");
    assert_eq!((cut.readings, cut.letters.len()), (1, 2));
    assert!(cut.letters.iter().all(|letter| letter.series.as_deref() == Some("climate,device=pump-7")));
}

#[test]
fn the_name_of_the_device_is_a_tag_and_no_part_of_a_field() {
    let pack = br#"[{"bn":"pump-7:","bt":1760000000,"n":"t","v":1},{"n":"driver-name","vs":"ann"},
        {"bn":"pump-77:","n":"t","v":2},{"bn":"","n":"pump-7:","v":3}]"#;
    let (text, cut) = cut(Rules::default(), &[climate(pack)]);
    let read = only(&text);
    let keys: Vec<_> = read.fields.keys().map(String::as_str).collect();
    assert_eq!((keys, cut.sealed), (vec!["driver-name#sealed", "pump-77:t", "pump-7:", "t"], 1));
}

#[test]
fn what_the_hub_s_own_store_refuses_is_not_sent_either() {
    let pack = br#"[{"bt":1760000000,"n":"a","v":1},{"n":"?","v":3},{"n":"c","t":90000,"v":4}]"#;
    let (text, _) = cut(Rules::default(), &[climate(pack)]);
    assert_eq!(text, "climate,device=pump-7 a=1.0 1760000000000000000\n");
}

#[test]
fn the_same_reading_is_the_same_point_however_often_it_comes() {
    let pack = br#"[{"n":"t","t":1760000000.1234567,"v":1}]"#;
    let (text, _) = cut(Rules::default(), &[climate(pack), climate(pack)]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines, ["climate,device=pump-7 t=1.0 1760000000123457000"; 2]);
}
