use proptest::prelude::*;

use super::*;

const NOW_S: f64 = 1_790_000_000.0;

fn resolve(payload: &[u8]) -> Result<Vec<Record>, InvalidPack> {
    Pack::parse(payload)?.resolve(NOW_S)
}

fn record(name: &str, unit: &str, time_s: f64, value: f64) -> Record {
    let unit = (!unit.is_empty()).then(|| unit.to_owned());
    Record { name: name.to_owned(), unit, time_s, value: Some(Value::Number(value)), sum: None }
}

fn current(offset_s: f64, value: f64) -> Record {
    record("urn:dev:ow:10e2073a0108006:current", "A", 1.276_020_076_001e9 + offset_s, value)
}

fn voltage_and_current() -> Vec<Record> {
    vec![
        record("urn:dev:ow:10e2073a0108006:voltage", "V", 1.276_020_076_001e9, 120.1),
        current(-5.0, 1.2),
        current(-4.0, 1.3),
        current(-3.0, 1.4),
        current(-2.0, 1.5),
        current(-1.0, 1.6),
        current(0.0, 1.7),
    ]
}

#[test]
fn the_single_datapoint_of_section_5_1_1_is_read() {
    let records = resolve(br#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#);
    assert_eq!(records, Ok(vec![record("urn:dev:ow:10e2073a01080063", "Cel", NOW_S, 23.1)]));
}

#[test]
fn the_multiple_datapoints_of_section_5_1_2_are_read() {
    let records = resolve(
        br#"[
          {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,
           "bu":"A","bver":5,
           "n":"voltage","u":"V","v":120.1},
          {"n":"current","t":-5,"v":1.2},
          {"n":"current","t":-4,"v":1.3},
          {"n":"current","t":-3,"v":1.4},
          {"n":"current","t":-2,"v":1.5},
          {"n":"current","t":-1,"v":1.6},
          {"n":"current","v":1.7}
        ]"#,
    );
    assert_eq!(records, Ok(voltage_and_current()));
}

#[test]
fn the_values_of_section_5_1_4_have_their_types() {
    let records = resolve(
        br#"[
          {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
          {"n":"label","vs":"Machine Room"},
          {"n":"open","vb":false},
          {"n":"nfc-reader","vd":"aGkgCg"}
        ]"#,
    );
    let values: Vec<Option<Value>> =
        records.expect("a pack").into_iter().map(|record| record.value).collect();
    assert_eq!(
        values,
        [
            Some(Value::Number(23.1)),
            Some(Value::Text("Machine Room".into())),
            Some(Value::Bool(false)),
            Some(Value::Data(b"hi \n".to_vec())),
        ]
    );
}

/// The pack of §6, as its hex dump has it: labels in the order of the JSON, floats of 64 bits, a version of 5.
fn section_6() -> Vec<u8> {
    let mut bytes = vec![0x87, 0xa7, 0x21, 0x78, 0x1b];
    bytes.extend_from_slice(b"urn:dev:ow:10e2073a0108006:");
    bytes.extend_from_slice(&[0x22, 0xfb, 0x41, 0xd3, 0x03, 0xa1, 0x5b, 0x00, 0x10, 0x62]);
    bytes.extend_from_slice(&[0x23, 0x61, b'A', 0x20, 0x05, 0x00, 0x67]);
    bytes.extend_from_slice(b"voltage");
    bytes.extend_from_slice(&[0x01, 0x61, b'V', 0x02, 0xfb, 0x40, 0x5e, 0x06, 0x66, 0x66, 0x66, 0x66, 0x66]);
    for (time, value) in [(0x24, 1.2_f64), (0x23, 1.3), (0x22, 1.4), (0x21, 1.5), (0x20, 1.6), (0x00, 1.7)] {
        bytes.extend_from_slice(&[0xa3, 0x00, 0x67]);
        bytes.extend_from_slice(b"current");
        bytes.extend_from_slice(&[0x06, time, 0x02, 0xfb]);
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes
}

#[test]
fn the_cbor_of_section_6_is_read() {
    let mut expected = voltage_and_current();
    for record in &mut expected {
        // The dump has the base time without its last bits.
        record.time_s +=
            f64::from_be_bytes([0x41, 0xd3, 0x03, 0xa1, 0x5b, 0x00, 0x10, 0x62]) - 1.276_020_076_001e9;
    }
    let records = resolve(&section_6()).expect("a pack");
    assert_eq!(records.len(), expected.len());
    for (record, expected) in records.iter().zip(&expected) {
        assert_eq!(
            (&record.name, &record.unit, &record.value),
            (&expected.name, &expected.unit, &expected.value)
        );
        assert!((record.time_s - expected.time_s).abs() < 1e-5);
    }
}

#[test]
fn cbor_of_other_libraries_is_read() {
    // Indefinite array and map, a length in two bytes, an extension, a decimal fraction.
    let bytes = [
        0x9f, 0xbf, 0x00, 0x79, 0x00, 0x01, b'a', 0x63, b'f', b'o', b'o', 0x81, 0xf6, 0x02, 0xc4, 0x82, 0x20,
        0x18, 0x7b, 0xff, 0xff,
    ];
    assert_eq!(resolve(&bytes), Ok(vec![record("a", "", NOW_S, 12.3)]));
}

#[test]
fn base_fields_hold_until_they_change() {
    let records = resolve(
        br#"[
          {"bn":"a/","bt":1700000000,"bu":"W","bv":100,"bs":10,"n":"x","v":1,"s":2},
          {"n":"y","u":"V","v":-1},
          {"bn":"b/","bv":0,"n":"z"},
          {"n":"t","vs":"on"}
        ]"#,
    )
    .expect("a pack");
    let told: Vec<_> =
        records.iter().map(|r| (r.name.as_str(), r.unit.as_deref(), r.value.clone(), r.sum)).collect();
    assert_eq!(
        told,
        [
            ("a/x", Some("W"), Some(Value::Number(101.0)), Some(12.0)),
            ("a/y", Some("V"), Some(Value::Number(99.0)), Some(10.0)),
            ("b/z", Some("W"), Some(Value::Number(0.0)), Some(10.0)),
            ("b/t", Some("W"), Some(Value::Text("on".into())), Some(10.0)),
        ]
    );
    assert!(records.iter().all(|record| record.time_s == 1_700_000_000.0));
}

#[test]
fn a_sum_alone_is_a_record() {
    let records = resolve(br#"[{"n":"energy","u":"J","s":5}]"#).expect("a pack");
    assert_eq!((&records[0].value, records[0].sum), (&None, Some(5.0)));
    assert_eq!(resolve(br#"[{"n":"a","v":1},{"n":"energy"}]"#), Err(InvalidPack::NoValue { record: 1 }));
}

#[test]
fn small_times_are_relative_to_now() {
    let time =
        |time: &str| resolve(format!(r#"[{{"n":"a","v":1,"t":{time}}}]"#).as_bytes()).map(|r| r[0].time_s);
    assert_eq!(time("-60"), Ok(NOW_S - 60.0));
    assert_eq!(time("268435455"), Ok(NOW_S + 268_435_455.0));
    assert_eq!(time("268435456"), Ok(268_435_456.0));
    assert_eq!(time("1700000000.5"), Ok(1_700_000_000.5));
}

#[test]
fn names_are_of_their_alphabet() {
    for name in ["a", "0", "urn:dev:mac:0024befffe804ff1_x", "a-b.c/d"] {
        assert!(resolve(format!(r#"[{{"n":"{name}","v":1}}]"#).as_bytes()).is_ok(), "{name}");
    }
    let long = "a".repeat(SENML_NAME_BYTES_MAX + 1);
    for name in ["", "-a", ":a", "a b", "ä", "a\\u0000", "a+", long.as_str()] {
        let refused = resolve(format!(r#"[{{"n":"{name}","v":1}}]"#).as_bytes());
        assert_eq!(refused, Err(InvalidPack::Name { record: 0 }), "{name}");
    }
    assert!(resolve(br#"[{"bn":"a","v":1}]"#).is_ok(), "the base name alone is a name");
    assert!(resolve(br#"[{"bn":"a","n":"-b","v":1}]"#).is_ok(), "only the whole name has to begin well");
}

#[test]
fn one_version_holds_for_a_pack() {
    assert!(resolve(br#"[{"bver":10,"n":"a","v":1},{"bver":10,"n":"a","v":1}]"#).is_ok());
    assert!(resolve(br#"[{"n":"a","v":1},{"bver":10,"n":"a","v":1}]"#).is_ok());
    for (pack, found) in [
        (&br#"[{"bver":11,"n":"a","v":1}]"#[..], 11),
        (br#"[{"bver":0,"n":"a","v":1}]"#, 0),
        (br#"[{"n":"a","v":1},{"bver":5,"n":"a","v":1}]"#, 5),
        (br#"[{"bver":5,"n":"a","v":1},{"bver":10,"n":"a","v":1}]"#, 10),
    ] {
        assert_eq!(resolve(pack), Err(InvalidPack::Version { found }), "{}", String::from_utf8_lossy(pack));
    }
}

#[test]
fn unknown_labels_are_ignored_unless_they_must_be_understood() {
    let nest =
        |depth: usize| format!(r#"[{{"n":"a","v":1,"x":{}1{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    assert!(resolve(br#"[{"n":"a","v":1,"x":{"y":[null,true,-1,1.5,"z"]}}]"#).is_ok());
    assert!(resolve(nest(CBOR_DEPTH_MAX - 1).as_bytes()).is_ok());
    assert_eq!(resolve(nest(CBOR_DEPTH_MAX).as_bytes()), Err(InvalidPack::TooDeep));
    assert_eq!(resolve(nest(100_000).as_bytes()), Err(InvalidPack::TooDeep));
    assert_eq!(resolve(br#"[{"n":"a","v":1,"x_":1}]"#), Err(InvalidPack::MustUnderstand("x_".into())));
    assert_eq!(
        resolve(&[0x81, 0xa3, 0, 0x61, b'a', 2, 1, 0x62, b'x', b'_', 1]),
        Err(InvalidPack::MustUnderstand("x_".into()))
    );
    assert!(resolve(&[0x81, 0xa3, 0, 0x61, b'a', 2, 1, 0x18, 99, 1]).is_ok());
}

#[test]
fn what_is_written_twice_is_refused() {
    for (pack, label) in [
        (&br#"[{"n":"a","n":"b","v":1}]"#[..], "n"),
        (br#"[{"n":"a","v":1,"v":1}]"#, "v"),
        (br#"[{"n":"a","v":1,"x":1,"x":1}]"#, "x"),
        (&[0x81, 0xa3, 0, 0x61, b'a', 2, 1, 2, 1], "v"),
        (&[0x81, 0xa4, 0, 0x61, b'a', 2, 1, 0x61, b'x', 1, 0x61, b'x', 1], "x"),
        (&[0x81, 0xa4, 0, 0x61, b'a', 2, 1, 0x18, 99, 1, 0x18, 99, 1], "99"),
    ] {
        assert_eq!(
            resolve(pack),
            Err(InvalidPack::Duplicate(label.into())),
            "{}",
            String::from_utf8_lossy(pack)
        );
    }
    assert_eq!(resolve(br#"[{"n":"a","v":1,"vs":"b"}]"#), Err(InvalidPack::SeveralValues));
    assert_eq!(resolve(&[0x81, 0xa3, 0, 0x61, b'a', 2, 1, 4, 0xf5]), Err(InvalidPack::SeveralValues));
}

#[test]
fn what_is_not_a_pack_is_refused() {
    assert_eq!(resolve(b""), Err(InvalidPack::Encoding));
    assert_eq!(resolve(b"hello"), Err(InvalidPack::Encoding));
    assert_eq!(resolve(b"[]"), Err(InvalidPack::Empty));
    assert_eq!(resolve(&[0x80]), Err(InvalidPack::Empty));
    assert_eq!(
        resolve(&[0x81, 0xa2, 0, 0x61, b'a', 2, 1, 0]),
        Err(InvalidPack::Cbor(InvalidCbor::Trailing { bytes: 1 }))
    );
    assert_eq!(
        resolve(&[0x81, 0xa2, 0, 0x61, b'a', 2, 0xf9, 0x7e, 0]),
        Err(InvalidPack::Cbor(InvalidCbor::NotFinite))
    );
    assert_eq!(resolve(br#"[{"n":"a","vd":"aGkgCg=="}]"#), Err(InvalidPack::Data));
    for pack in [
        &br#"[{"n":"a","v":1}] x"#[..],
        br#"[{"n":"a","v":1},]"#,
        br#"[{"n":"a","v":NaN}]"#,
        br#"[{"n":"a","v":1e999}]"#,
        br#"[{"n":"a","v":"1"}]"#,
        br#"[{"n":"a","v":null}]"#,
        br#"[{"n":"a","vb":1}]"#,
        br#"[1]"#,
        br#"[{"bver":10.5,"n":"a","v":1}]"#,
    ] {
        assert!(matches!(resolve(pack), Err(InvalidPack::Json(_))), "{}", String::from_utf8_lossy(pack));
    }
    let over = br#"[{"bv":1.7e308,"n":"a","v":1.7e308}]"#;
    assert_eq!(resolve(over), Err(InvalidPack::NotFinite { record: 0 }));
    assert_eq!(resolve(br#"[{"n":"a","u":"\u001b","v":1}]"#), Err(InvalidPack::Unit { record: 0 }));
    assert_eq!(resolve(&vec![b'['; SENML_PAYLOAD_BYTES_MAX + 1]), Err(InvalidPack::TooLong));
}

#[test]
fn records_are_bounded_in_number() {
    let pack = |count: usize| {
        let mut pack = Pack::new("a", NOW_S);
        for _ in 0..count {
            pack.number("", None, 1.0);
        }
        pack
    };
    for count in [1, SENML_RECORDS_MAX] {
        assert_eq!(resolve(&pack(count).encode_json()).map(|r| r.len()), Ok(count));
        assert_eq!(resolve(&pack(count).encode_cbor()).map(|r| r.len()), Ok(count));
    }
    assert_eq!(resolve(&pack(SENML_RECORDS_MAX + 1).encode_json()), Err(InvalidPack::TooManyRecords));
    assert_eq!(resolve(&pack(SENML_RECORDS_MAX + 1).encode_cbor()), Err(InvalidPack::TooManyRecords));
}

#[test]
fn one_record_that_is_none_costs_no_other() {
    let mut pack = Pack::new("dev:", 1.3e9);
    pack.number("a", None, 1.0).number("b", None, 0.1).number("!", None, 3.0).number("d", None, 4.0);
    let mut payload = pack.encode_cbor();
    let tenth = payload.windows(2).position(|bytes| bytes == [0x02, 0xfb]).expect("0.1 as a double");
    payload[tenth + 2..tenth + 10].copy_from_slice(&f64::NAN.to_be_bytes());
    let mut seen = Vec::new();
    read(&payload, 1e9, |place, record| seen.push((place, record.map(|record| record.name.to_owned()))))
        .expect("is a pack");
    assert_eq!(
        seen,
        [
            (0, Ok("a".to_owned())),
            (1, Err(InvalidPack::NotFinite { record: 1 })),
            (2, Err(InvalidPack::Name { record: 2 })),
            (3, Ok("d".to_owned())),
        ]
    );
    assert_eq!(Pack::parse(&payload), Err(InvalidPack::Cbor(InvalidCbor::NotFinite)));
}

#[test]
fn what_is_no_number_is_no_reading() {
    let mut pack = Pack::new("a", 0.0);
    assert!(pack.number("x", None, f64::NAN).is_empty());
    assert_eq!(pack.number("x", None, 1.0).len(), 1);
    assert_eq!(resolve(&pack.encode_json()), Ok(vec![record("ax", "", NOW_S, 1.0)]));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::Number),
        (-1_000_i32..1_000).prop_map(|whole| Value::Number(whole.into())),
        any::<String>().prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Data),
    ]
}

proptest! {
    #[test]
    fn a_pack_means_the_same_in_both_encodings(
        base_name in "[a-z0-9][a-z0-9:/._-]{0,40}",
        base_time_s in prop_oneof![Just(0.0), 3e8_f64..3e9],
        readings in proptest::collection::vec(
            ("[A-Za-z0-9:/._-]{0,20}", proptest::option::of("[A-Za-z%/0-9]{1,8}"), any_value()), 1..20),
    ) {
        let mut pack = Pack::new(&base_name, base_time_s);
        for (name, unit, value) in &readings {
            pack.value(name, unit.as_deref(), value.clone());
        }
        let json = Pack::parse(&pack.encode_json());
        let cbor = Pack::parse(&pack.encode_cbor());
        prop_assert_eq!(json.as_ref(), Ok(&pack));
        prop_assert_eq!(cbor.as_ref(), Ok(&pack));

        let records = pack.resolve(NOW_S).expect("a valid pack");
        prop_assert_eq!(records.len(), readings.len());
        for (record, (name, unit, value)) in records.into_iter().zip(readings) {
            let time_s = if base_time_s == 0.0 { NOW_S } else { base_time_s };
            let expected = Record { name: base_name.clone() + &name, unit, time_s, value: Some(value), sum: None };
            prop_assert_eq!(record, expected);
        }
    }

    #[test]
    fn what_is_read_in_place_is_what_is_parsed_and_resolved(
        bytes in proptest::collection::vec(any::<u8>(), 1..64),
        records in proptest::collection::vec(("[a-c ]{0,3}", proptest::option::of("[a-z]{1,2}"), any_value()), 1..6),
        place in any::<proptest::sample::Index>(), byte in any::<u8>(), json in any::<bool>(),
    ) {
        let mut pack = Pack::new("dev:", 1.3e9);
        for (name, unit, value) in records {
            pack.value(&name, unit.as_deref(), value);
        }
        let mut changed = if json { pack.encode_json() } else { pack.encode_cbor() };
        let whole = changed.clone();
        let at = place.index(changed.len());
        changed[at] = byte;
        for payload in [whole, changed, bytes] {
            let resolved = resolve(&payload);
            let mut read = Vec::new();
            let outcome = super::read(&payload, NOW_S, |_, record| read.push(record.map(Record::from)));
            let read = outcome.and_then(|()| read.into_iter().collect::<Result<Vec<_>, _>>());
            match (resolved, read) {
                (Ok(resolved), read) => prop_assert_eq!(Ok(resolved), read),
                // Of two faults of a pack one or the other is named.
                (Err(_), read) => prop_assert!(read.is_err()),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..256), json in any::<bool>()) {
        bytes[0] = if json { b'[' } else { 0x80 | (bytes[0] & 0x1f) };
        let _ = resolve(&bytes);
    }

    #[test]
    fn a_mutated_pack_never_panics(place in any::<proptest::sample::Index>(), byte in any::<u8>(), json in any::<bool>()) {
        let pack = Pack::parse(&section_6()).expect("a pack");
        let mut bytes = if json { pack.encode_json() } else { section_6() };
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(records) = resolve(&bytes) {
            prop_assert!(records.iter().all(|record| record.time_s.is_finite() && !record.name.is_empty()));
        }
    }
}
