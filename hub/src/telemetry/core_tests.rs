use muster_schemas::{Message, Publisher, Qos};

use super::*;

const NOW_MS: u64 = 1_760_000_000_000;
const NOW_S: f64 = 1.76e9;

fn stored(kind: Kind, publisher: &str, topic: &str, payload: &[u8]) -> StoredMessage {
    StoredMessage {
        session: None,
        received_ms: NOW_MS,
        publisher: Publisher { kind, id: publisher.parse().expect("id") },
        message: Message {
            topic: topic.parse().expect("topic"),
            qos: Qos::AtLeastOnce,
            retain: false,
            payload: payload.to_vec().into(),
            properties: None,
        },
    }
}

fn of_device(topic: &str, payload: &[u8]) -> StoredMessage {
    stored(Kind::Device, "pump-7", topic, payload)
}

fn take(messages: &[StoredMessage]) -> Harvest {
    let (mut streams, mut harvest) = (Streams::default(), Harvest::default());
    messages.iter().for_each(|message| streams.take(message, &mut harvest));
    harvest
}

fn reasons(harvest: &Harvest) -> Vec<&'static str> {
    harvest.rejected.iter().map(|rejected| rejected.why.as_str()).collect()
}

fn climate() -> StreamId {
    StreamId { device: "pump-7".parse().expect("id"), stream: "climate".to_owned() }
}

#[test]
fn a_copy_that_a_member_of_a_share_gets_is_not_stored_again() {
    let mut pack = Pack::new("urn:dev:pump-7:", NOW_S);
    pack.number("temperature", Some("Cel"), 21.5);
    let first = of_device("devices/pump-7/telemetry/climate", &pack.encode_json());
    let copy = StoredMessage { session: Some(muster_schemas::stored::COPY), ..first.clone() };
    let harvest = take(&[first, copy]);
    assert_eq!((harvest.messages, harvest.readings.len()), (1, 1));
}

#[test]
fn a_pack_in_either_encoding_becomes_readings() {
    let mut pack = Pack::new("urn:dev:pump-7:", NOW_S);
    pack.number("temperature", Some("Cel"), 21.5).text("mode", "auto").boolean("on", true);
    pack.value("raw", None, senml::Value::Data(vec![0xfb, 0xff]));
    for payload in [pack.encode_json(), pack.encode_cbor()] {
        let harvest = take(&[of_device("devices/pump-7/telemetry/climate", &payload)]);
        assert_eq!(reasons(&harvest), [""; 0]);
        assert_eq!(harvest.new_streams, [climate()]);
        let values: Vec<_> = harvest.readings.iter().map(|(_, reading)| reading.value.clone()).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(values, [Value::Number(21.5), text("auto"), Value::Bool(true), text("-_8")]);
        let (stream, first) = &harvest.readings[0];
        assert_eq!(*stream, climate());
        assert_eq!(first.name, "urn:dev:pump-7:temperature");
        assert_eq!(first.unit.as_deref(), Some("Cel"));
        assert_eq!(first.time_us(), 1_760_000_000_000_000);
    }
}

#[test]
fn a_time_relative_to_now_is_relative_to_when_the_hub_took_the_message() {
    let payload = br#"[{"n":"load","v":1,"t":-2}]"#;
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", payload)]);
    assert_eq!(harvest.readings[0].1.time_us(), 1_759_999_998_000_000);
}

#[test]
fn a_sum_is_a_reading_beside_its_value() {
    let payload = br#"[{"n":"flow","u":"m3/s","v":1,"s":500},{"n":"energy","s":7}]"#;
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", payload)]);
    let names: Vec<_> = harvest.readings.iter().map(|(_, reading)| reading.name.as_str()).collect();
    assert_eq!(names, ["flow", "flow#sum", "energy#sum"]);
}

#[test]
fn only_a_device_itself_fills_its_streams() {
    let payload = br#"[{"n":"load","v":1}]"#;
    let topic = "devices/pump-7/telemetry/climate";
    let harvest =
        take(&[stored(Kind::Device, "pump-8", topic, payload), stored(Kind::App, "pump-7", topic, payload)]);
    assert_eq!(reasons(&harvest), ["publisher", "publisher"]);
    assert_eq!(harvest.rejected[0].device, "pump-7");
    assert!(harvest.readings.is_empty() && harvest.new_streams.is_empty());
}

#[test]
fn other_topics_are_none_of_ours() {
    let messages: Vec<_> =
        ["devices/pump-7/events/door", "devices/pump-7", "site/telemetry", "devices/pump-7/telemetry"]
            .iter()
            .map(|topic| of_device(topic, b"anything"))
            .collect();
    let harvest = take(&messages);
    assert_eq!(harvest.messages, 4);
    assert_eq!(reasons(&harvest), [""; 0]);
}

#[test]
fn what_is_not_senml_is_kept_out_and_the_rest_goes_on() {
    let good = br#"[{"n":"load","v":1}]"#;
    let topic = "devices/pump-7/telemetry/climate";
    let harvest = take(&[
        of_device(topic, b"21.5"),
        of_device(topic, b"[]"),
        of_device(topic, b"[{\"n\":\"load\"}]"),
        of_device("devices/pump-7/telemetry/a/b", good),
        of_device("devices/pump-7/telemetry/", good),
        of_device(&format!("devices/pump-7/telemetry/{}", "x".repeat(129)), good),
        of_device(topic, good),
    ]);
    assert_eq!(reasons(&harvest), ["not_senml", "not_senml", "not_senml", "stream", "stream", "stream"]);
    assert_eq!(harvest.readings.len(), 1);
}

#[test]
fn clearing_a_retained_message_is_no_reading_and_no_fault() {
    let mut clear = of_device("devices/pump-7/telemetry/climate", b"");
    clear.message.retain = true;
    let harvest = take(&[clear]);
    assert_eq!(reasons(&harvest), [""; 0]);
    assert!(harvest.readings.is_empty());
}

#[test]
fn the_last_reading_is_the_newest_and_not_the_latest_to_arrive() {
    let topic = "devices/pump-7/telemetry/climate";
    let harvest = take(&[
        of_device(topic, br#"[{"n":"load","v":1,"t":-20},{"n":"load","v":2,"t":-10}]"#),
        of_device(topic, br#"[{"n":"load","v":3,"t":-15}]"#),
    ]);
    let place = harvest.lasts[&(climate(), "load".to_owned())];
    assert_eq!(harvest.readings[place].1.value, Value::Number(2.0));
    assert_eq!(harvest.lasts.len(), 1);
}

#[test]
fn a_clock_far_ahead_names_no_last_reading() {
    let ahead = format!(r#"[{{"n":"load","v":1,"t":{}}}]"#, NOW_S + 100.0 * 86_400.0);
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", ahead.as_bytes())]);
    assert_eq!(harvest.readings.len(), 1, "it is kept all the same");
    assert!(harvest.lasts.is_empty());
}

#[test]
fn a_device_has_a_bounded_number_of_streams() {
    let payload = br#"[{"n":"load","v":1}]"#;
    let streams: Vec<_> = (0..=STREAMS_PER_DEVICE_MAX)
        .map(|n| of_device(&format!("devices/pump-7/telemetry/s{n}"), payload))
        .collect();
    let harvest = take(&streams);
    assert_eq!(harvest.new_streams.len(), STREAMS_PER_DEVICE_MAX);
    assert_eq!(reasons(&harvest), ["too_many_streams"]);
}

#[test]
fn a_step_is_full_when_its_readings_are_many_bytes() {
    let name = "n".repeat(200);
    let records: Vec<_> = (0..1_000).map(|n| format!(r#"{{"n":"{n}","v":1}}"#)).collect();
    let payload = format!(r#"[{{"bn":"{name}","n":"a","v":1}},{}]"#, records.join(","));
    let message = of_device("devices/pump-7/telemetry/climate", payload.as_bytes());
    let (mut streams, mut harvest) = (Streams::default(), Harvest::default());
    let mut taken = 0;
    while !harvest.is_full() {
        streams.take(&message, &mut harvest);
        taken += 1;
    }
    assert!((2..100).contains(&taken), "{taken}");
}

#[test]
fn streams_are_found_by_device_and_by_name() {
    let id = |device: &str, stream: &str| StreamId {
        device: device.parse().expect("id"),
        stream: stream.to_owned(),
    };
    let all = [id("a", "climate"), id("a", "power"), id("b", "climate")];
    let streams = Streams::load(all.clone());
    let found = |device: Option<&str>, stream| {
        let device = device.map(|text| text.parse().expect("id"));
        streams.matching(device.as_ref(), stream).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None), all);
    assert_eq!(found(Some("a"), None), all[..2]);
    assert_eq!(found(None, Some("climate")), [all[0].clone(), all[2].clone()]);
    assert_eq!(found(Some("b"), Some("power")), []);
}
