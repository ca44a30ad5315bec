use muster_items::Values;
use muster_schemas::{
    Message, Publisher, Qos,
    senml::{self, Pack},
};

use super::*;

const NOW_MS: u64 = 1_760_000_000_000;
const NOW_S: f64 = 1.76e9;
const STREAMS_MAX: usize = 9;

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

/// What became of messages: all that is open is ended, for a look at it.
fn take(messages: &[StoredMessage]) -> Harvest {
    let (mut filling, mut harvest) = (Filling::load([], 0, STREAMS_MAX), Harvest::default());
    for (sequence, message) in (1..).zip(messages) {
        filling.take(sequence, message, 0, &|_| Arc::default(), &mut harvest);
    }
    filling.end(|_| true, &mut harvest);
    assert_eq!((filling.bytes(), filling.open_streams()), (0, 0));
    harvest
}

/// Name, time and value of every reading.
fn readings(harvest: &Harvest) -> Vec<(String, i64, Values)> {
    let mut all = Vec::new();
    for rows in harvest.ended.iter().flat_map(|ended| ended.days.iter()) {
        for column in &rows.columns {
            let there = (0..rows.times_us.len()).filter(|place| column.values.is_there(*place));
            all.extend(
                there.map(|place| (column.name.clone(), rows.times_us[place], column.values.only(place))),
            );
        }
    }
    all
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
    assert_eq!((harvest.messages, harvest.readings), (1, 1));
}

#[test]
fn a_pack_in_either_encoding_becomes_readings() {
    let mut pack = Pack::new("urn:dev:pump-7:", NOW_S);
    pack.number("temperature", Some("Cel"), 21.5).text("mode", "auto").boolean("on", true);
    pack.value("raw", None, senml::Value::Data(vec![0xfb, 0xff]));
    for payload in [pack.encode_json(), pack.encode_cbor()] {
        let harvest = take(&[of_device("devices/pump-7/telemetry/climate", &payload)]);
        assert_eq!(reasons(&harvest), [""; 0]);
        assert_eq!(harvest.ended[0].stream, climate());
        let values: Vec<_> = readings(&harvest).into_iter().map(|(_, _, values)| values).collect();
        assert_eq!(
            values,
            [
                Values::Texts(vec![Some("auto".to_owned())]),
                Values::Bools(vec![Some(true)]),
                Values::Bytes(vec![Some(vec![0xfb, 0xff])]),
                Values::Numbers(vec![21.5]),
            ]
        );
        let first = &harvest.ended[0].days[0].columns[3];
        assert_eq!((first.name.as_str(), first.unit.as_deref()), ("urn:dev:pump-7:temperature", Some("Cel")));
        assert_eq!(harvest.ended[0].days[0].times_us, [1_760_000_000_000_000]);
    }
}

#[test]
fn a_time_relative_to_now_is_relative_to_when_the_hub_took_the_message() {
    let payload = br#"[{"n":"load","v":1,"t":-2}]"#;
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", payload)]);
    assert_eq!(readings(&harvest)[0].1, 1_759_999_998_000_000);
}

#[test]
fn a_sum_is_a_reading_beside_its_value() {
    let payload = br#"[{"n":"flow","u":"m3/s","v":1,"s":500},{"n":"energy","s":7}]"#;
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", payload)]);
    let names: Vec<_> = readings(&harvest).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["energy#sum", "flow", "flow#sum"]);
}

#[test]
fn only_a_device_itself_fills_its_streams() {
    let payload = br#"[{"n":"load","v":1}]"#;
    let topic = "devices/pump-7/telemetry/climate";
    let harvest =
        take(&[stored(Kind::Device, "pump-8", topic, payload), stored(Kind::App, "pump-7", topic, payload)]);
    assert_eq!(reasons(&harvest), ["publisher", "publisher"]);
    assert_eq!(harvest.rejected[0].device, "pump-7");
    assert!(harvest.readings == 0 && harvest.ended.is_empty());
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
    assert_eq!(reasons(&harvest), ["not_senml", "not_senml", "no_value", "stream", "stream", "stream"]);
    assert_eq!(harvest.readings, 1);
}

#[test]
fn clearing_a_retained_message_is_no_reading_and_no_fault() {
    let mut clear = of_device("devices/pump-7/telemetry/climate", b"");
    clear.message.retain = true;
    let harvest = take(&[clear]);
    assert_eq!(reasons(&harvest), [""; 0]);
    assert_eq!(harvest.readings, 0);
}

#[test]
fn a_reading_of_the_future_is_kept_out_and_costs_no_other() {
    let ahead = format!(r#"[{{"n":"load","v":1,"t":{}}},{{"n":"load","v":2}}]"#, NOW_S + 100.0 * 86_400.0);
    let harvest = take(&[of_device("devices/pump-7/telemetry/climate", ahead.as_bytes())]);
    assert_eq!((harvest.readings, reasons(&harvest)), (1, vec!["future"]));
}

#[test]
fn a_device_has_a_bounded_number_of_streams() {
    let payload = br#"[{"n":"load","v":1}]"#;
    let streams: Vec<_> =
        (0..=STREAMS_MAX).map(|n| of_device(&format!("devices/pump-7/telemetry/s{n}"), payload)).collect();
    let harvest = take(&streams);
    assert_eq!(harvest.ended.len(), STREAMS_MAX);
    assert_eq!(reasons(&harvest), ["too_many_streams"]);
}

#[test]
fn what_is_stored_is_passed_over_when_the_log_is_read_again() {
    let topic = "devices/pump-7/telemetry/climate";
    let pack =
        |value: i32| of_device(topic, format!(r#"[{{"n":"load","v":{value},"t":-{value}}}]"#).as_bytes());
    let district =
        |name: &str| Arc::new(Attributes([("district".to_owned(), [name.to_owned()].into())].into()));
    let origin = Origin { attributes: district("d7"), ..Origin::default() };
    let known = Known { flushed_to: 2, origin: origin.clone() };
    let mut filling = Filling::load([(climate(), known)], 3, STREAMS_MAX);
    let mut harvest = Harvest::default();
    // The device was assigned elsewhere while the hub was down: the third message is from before.
    for sequence in 1..=4 {
        let value = i32::try_from(sequence).expect("small");
        filling.take(sequence, &pack(value), 0, &|_| district("d8"), &mut harvest);
    }
    assert_eq!((harvest.readings, harvest.ended.len()), (2, 1));
    filling.end(|_| true, &mut harvest);
    let [before, after] = &harvest.ended[..] else { panic!("{harvest:?}") };
    assert_eq!((&before.origin, &before.next.attributes), (&origin, &district("d8")));
    assert_eq!((before.first_sequence, before.last_sequence), (3, 3));
    assert_eq!((&after.origin.attributes, after.last_sequence), (&district("d8"), 4));
}

#[test]
fn a_new_place_begins_a_new_item() {
    let topic = "devices/pump-7/telemetry/climate";
    let at = |latitude: f64, second: i32| {
        let json = format!(
            r#"[{{"n":"lat","u":"lat","v":{latitude},"t":-{second}}},{{"n":"lon","u":"lon","v":10.4}}]"#
        );
        of_device(topic, json.as_bytes())
    };
    let harvest = take(&[at(57.6, 9), at(57.6, 8), at(48.0, 7), at(48.0, 6)]);
    let cells: Vec<_> = harvest.ended.iter().map(|ended| ended.origin.cell.as_deref()).collect();
    assert_eq!(harvest.ended.len(), 2);
    assert!(cells[0].is_some() && cells[0] != cells[1]);
}

#[test]
fn memory_is_bounded_whatever_the_number_of_streams() {
    let note = "n".repeat(40_000);
    let (mut filling, mut harvest) = (Filling::load([], 0, STREAMS_MAX), Harvest::default());
    let mut most = 0;
    for sequence in 1..4_000_u64 {
        let payload = format!(r#"[{{"n":"note","vs":"{note}","t":-{}}}]"#, sequence % 7);
        let device = format!("pump-{}", sequence % 400);
        let topic = format!("devices/{device}/telemetry/climate");
        let message = stored(Kind::Device, &device, &topic, payload.as_bytes());
        filling.take(sequence, &message, 0, &|_| Arc::default(), &mut harvest);
        filling.make_room(0, &mut harvest);
        most = most.max(filling.bytes());
    }
    assert!((OPEN_BYTES_MAX / 2..=OPEN_BYTES_MAX).contains(&most), "{most}");
    assert!(!harvest.ended.is_empty());
}

#[test]
fn streams_are_found_by_device_and_by_name() {
    let id = |device: &str, stream: &str| StreamId {
        device: device.parse().expect("id"),
        stream: stream.to_owned(),
    };
    let all = [id("a", "climate"), id("a", "power"), id("b", "climate")];
    let known = Known { flushed_to: 0, origin: Origin::default() };
    let streams = Filling::load(all.clone().map(|stream| (stream, known.clone())), 0, STREAMS_MAX);
    let found = |device: Option<&str>, stream| {
        let device = device.map(|text| text.parse().expect("id"));
        streams.matching(device.as_ref(), stream).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None), all);
    assert_eq!(found(Some("a"), None), all[..2]);
    assert_eq!(found(None, Some("climate")), [all[0].clone(), all[2].clone()]);
    assert_eq!(found(Some("b"), Some("power")), []);
}
