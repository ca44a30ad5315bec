use muster_schemas::api::{ReadingKind, ReadingRule, TelemetrySchema};

use super::*;
use crate::limits::{SERIES_PER_DEVICE_MAX, STREAMS_PER_DEVICE_MAX};

const NOW_S: f64 = 1_790_000_000.0;

fn rules(schema: TelemetrySchema) -> Rules {
    Rules::new(schema, 1).expect("rules")
}

/// The usual ones, but for the tenant's.
fn within(series_max: u64) -> Bounds {
    Bounds { series_max, ..Bounds::default() }
}

fn of(rules: &Rules, payload: &[u8]) -> Outcome {
    screen(rules, &mut Series::default(), "climate", payload, NOW_S, (0, within(1_000)))
}

fn names(outcome: &Outcome) -> Vec<String> {
    let Outcome::Partly { payload, .. } = outcome else { return Vec::new() };
    let mut names = Vec::new();
    senml::read(payload, NOW_S, |_, record| {
        names.push(Record::from(record.expect("a record")).name);
    })
    .expect("a pack");
    names
}

#[test]
fn a_reading_of_a_series_that_is_known_is_judged_as_the_first_was() {
    let warm = ReadingRule {
        stream: None,
        name: "a".into(),
        unit: Some("Cel".into()),
        kind: None,
        min: Some(0.0),
        max: Some(9.0),
    };
    let rules = rules(TelemetrySchema { readings: vec![warm], ..TelemetrySchema::default() });
    let mut series = Series::default();
    let mut of = |payload: &[u8]| screen(&rules, &mut series, "climate", payload, NOW_S, (0, within(1_000)));
    assert!(matches!(of(br#"[{"n":"a","u":"Cel","v":1}]"#), Outcome::Fit));
    assert!(matches!(of(br#"[{"n":"a","u":"Cel","v":10}]"#), Outcome::Unfit { .. }));
}

#[test]
fn each_case_is_refused_with_its_name_and_in_words() {
    let temperature = ReadingRule {
        stream: None,
        name: "*:temperature".into(),
        unit: Some("Cel".into()),
        kind: Some(ReadingKind::Number),
        min: Some(-40.0),
        max: Some(125.0),
    };
    let open = TelemetrySchema { readings: vec![temperature], ..TelemetrySchema::default() };
    let closed = TelemetrySchema { closed: true, ..open.clone() };
    let own = TelemetrySchema { units: vec!["degF".into()], ..TelemetrySchema::default() };
    let far = NOW_S + 86_401.0;
    for (schema, payload, code, words) in [
        (&open, "21.5".to_owned(), "not_senml", "refused: it is neither a JSON nor a CBOR array"),
        (&open, "[]".to_owned(), "not_senml", "refused: it has no record"),
        (
            &open,
            r#"[{"n":"a","u":"degF","v":1}]"#.to_owned(),
            "wrong_unit",
            "its unit \"degF\" is neither registered",
        ),
        (
            &open,
            r#"[{"n":"p:temperature","u":"K","v":1}]"#.to_owned(),
            "wrong_unit",
            "its unit is \"K\", and the",
        ),
        (
            &open,
            r#"[{"n":"p:temperature","v":1}]"#.to_owned(),
            "wrong_unit",
            "its unit is \"\", and the tenant's",
        ),
        (
            &open,
            r#"[{"n":"p:temperature","u":"Cel","v":126}]"#.to_owned(),
            "schema",
            "its value 126 is not within the -40",
        ),
        (
            &open,
            r#"[{"n":"p:temperature","u":"Cel","vs":"hot"}]"#.to_owned(),
            "schema",
            "it is a text, and the tenant's",
        ),
        (
            &open,
            format!(r#"[{{"n":"a","t":{far},"v":1}}]"#),
            "future_time",
            "its time is 86401 s ahead of its receipt",
        ),
        (
            &open,
            r#"[{"n":"!","v":1}]"#.to_owned(),
            "not_senml",
            "all 1 readings refused: record 0: it has a record",
        ),
        (
            &open,
            format!("[{}]", vec![r#"{"n":"a","v":1}"#; 1_025].join(",")),
            "too_large",
            "more than 1024 records",
        ),
        (
            &closed,
            r#"[{"n":"p:humidity","v":1}]"#.to_owned(),
            "schema",
            "record 0 (p:humidity): the tenant's schema does not",
        ),
        (&own, r#"[{"n":"a","u":"degC","v":1}]"#.to_owned(), "wrong_unit", "its unit \"degC\""),
    ] {
        let outcome = of(&rules(schema.clone()), payload.as_bytes());
        assert!(matches!(outcome, Outcome::Unfit { .. }), "{payload}: {outcome:?}");
        assert_eq!(outcome.fault().map(Fault::as_str), Some(code), "{payload}");
        let reason = outcome.reason().expect("a reason");
        assert!(reason.contains(words), "{payload}: {reason}");
        let class = if code == "too_large" { Class::Quota } else { Class::Format };
        assert_eq!(outcome.class(), Some(class), "{payload}");
    }
    for (schema, payload) in [
        (&open, r#"[{"bn":"p:","n":"temperature","u":"Cel","v":21.5},{"n":"load","u":"/","v":0.5}]"#),
        (&closed, r#"[{"n":"p:temperature","u":"Cel","v":-40}]"#),
        (
            &own,
            r#"[{"n":"a","u":"degF","v":70},{"n":"b","vs":"text"},{"n":"c","vb":true},{"n":"d","vd":"AQ"}]"#,
        ),
        (&own, r#"[{"n":"a","v":1,"t":-5}]"#),
    ] {
        assert_eq!(of(&rules(schema.clone()), payload.as_bytes()), Outcome::Fit, "{payload}");
    }
}

#[test]
fn one_bad_reading_costs_no_other_in_either_encoding() {
    let mut pack = Pack::new("p:", NOW_S);
    pack.number("a", Some("Cel"), 1.0).number("b", Some("furlong"), 2.0).number("c", None, 0.1);
    let mut nan = pack.encode_cbor();
    let tenth = nan.windows(2).position(|bytes| bytes == [0x02, 0xfb]).expect("0.1 as a double");
    nan[tenth + 2..tenth + 10].copy_from_slice(&f64::NAN.to_be_bytes());
    let rules = rules(TelemetrySchema::default());
    let json = of(&rules, &pack.encode_json());
    assert_eq!((names(&json), json.counts()), (vec!["p:a".to_owned(), "p:c".to_owned()], (1, 2)));
    let Outcome::Partly { payload, .. } = &json else { panic!("{json:?}") };
    assert_eq!(payload[0], b'[');
    let cbor = of(&rules, &nan);
    assert_eq!((names(&cbor), cbor.counts()), (vec!["p:a".to_owned()], (2, 1)));
    let Outcome::Partly { payload, refused, .. } = &cbor else { panic!("{cbor:?}") };
    assert_eq!(payload[0] & 0xe0, 0x80);
    let told: Vec<_> = refused.iter().map(|refused| (refused.record, refused.fault.as_str())).collect();
    assert_eq!(told, [(1, "wrong_unit"), (2, "not_finite")]);
    assert!(
        cbor.reason().expect("a reason").starts_with("2 of 3 readings refused: record 1 (p:b): its unit")
    );
    let mut whole = Vec::new();
    let record =
        |_: usize, record: Result<senml::RecordRef<'_>, _>| whole.push(Record::from(record.expect("one")));
    senml::read(payload, 0.0, record).expect("a pack");
    assert_eq!((whole[0].time_s, whole[0].unit.as_deref()), (NOW_S, Some("Cel")));
}

#[test]
fn what_is_told_of_a_long_pack_is_bounded() {
    let records = vec![r#"{"n":"a","u":"furlong","v":1}"#; 1_000].join(",");
    let outcome = of(&rules(TelemetrySchema::default()), format!("[{records}]").as_bytes());
    let Outcome::Unfit { refused, count, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((refused.len(), *count), (TOLD_REFUSALS_MAX, 1_000));
    let reason = outcome.reason().expect("a reason");
    assert!(reason.ends_with("; and 992 more") && reason.len() < 2_000, "{reason}");
}

#[test]
fn names_without_end_are_refused_at_the_bound_and_known_ones_go_on() {
    let rules = rules(TelemetrySchema::default());
    let mut series = Series::default();
    let mut say = |stream: &str, name: usize, quota: (u64, Bounds)| {
        let payload = format!(r#"[{{"n":"a","v":1}},{{"n":"s{name}","v":1}}]"#);
        screen(&rules, &mut series, stream, payload.as_bytes(), NOW_S, quota)
    };
    let wide = (0, within(u64::MAX));
    for name in 0..SERIES_PER_DEVICE_MAX - 1 {
        assert_eq!(say("x", name, wide), Outcome::Fit, "{name}");
    }
    let over = say("x", SERIES_PER_DEVICE_MAX, wide);
    assert_eq!(
        (over.class(), over.fault().map(Fault::as_str)),
        (Some(Class::Quota), Some("too_many_series"))
    );
    assert_eq!(over.counts(), (1, 1), "the name that is known is taken");
    assert_eq!(say("x", 7, wide), Outcome::Fit);

    // A tenant's quota, whatever room the device has.
    let payload = br#"[{"n":"a","v":1},{"n":"b","v":1}]"#;
    let tight = screen(&rules, &mut Series::default(), "x", payload, NOW_S, (9, within(10)));
    assert_eq!(tight.fault(), Some(&Fault::TenantSeries { max: 10 }));
    assert_eq!(tight.counts(), (1, 1));

    let mut series = Series::default();
    let mut say = |stream: usize| {
        let payload = br#"[{"n":"a","v":1}]"#;
        screen(&rules, &mut series, &stream.to_string(), payload, NOW_S, wide)
    };
    assert!((0..STREAMS_PER_DEVICE_MAX).all(|stream| say(stream) == Outcome::Fit));
    assert_eq!(say(STREAMS_PER_DEVICE_MAX).fault(), Some(&Fault::Streams { max: STREAMS_PER_DEVICE_MAX }));
    assert_eq!(say(0), Outcome::Fit);
}

#[test]
fn a_tenant_s_quotas_hold_for_its_devices() {
    let rules = rules(TelemetrySchema::default());
    let bounds = Bounds { device_streams_max: 2, device_series_max: 3, series_max: 100 };
    let mut series = Series::default();
    let mut say = |stream: &str, name: &str| {
        let payload = format!(r#"[{{"n":"{name}","v":1}}]"#);
        screen(&rules, &mut series, stream, payload.as_bytes(), NOW_S, (0, bounds))
    };
    for (stream, name) in [("x", "a"), ("x", "b"), ("y", "a")] {
        assert_eq!(say(stream, name), Outcome::Fit);
    }
    let over = say("z", "a");
    assert_eq!((over.fault(), over.class()), (Some(&Fault::Streams { max: 2 }), Some(Class::Quota)));
    assert_eq!(
        over.reason().as_deref(),
        Some("refused: the device has 2 streams already, which is its quota")
    );
    assert_eq!(say("y", "b").fault(), Some(&Fault::Series { max: 3 }));
    assert_eq!(say("x", "b"), Outcome::Fit, "what is known goes on");
}

#[test]
fn what_is_refused_takes_no_place() {
    let rules = rules(TelemetrySchema::default());
    let mut series = Series::default();
    for name in 0..10 {
        let payload = format!(r#"[{{"n":"s{name}","u":"furlong","v":1}}]"#);
        let _ = screen(&rules, &mut series, "x", payload.as_bytes(), NOW_S, (0, within(100)));
    }
    assert!(series.is_empty());
}

#[test]
fn other_rules_hold_from_the_next_message_on() {
    let payload = br#"[{"n":"a","v":200}]"#;
    let rule = |max| ReadingRule {
        stream: None,
        name: "a".into(),
        unit: None,
        kind: None,
        min: None,
        max: Some(max),
    };
    let with = |max, number| {
        let schema = TelemetrySchema { readings: vec![rule(max)], ..TelemetrySchema::default() };
        Rules::new(schema, number).expect("rules")
    };
    let mut series = Series::default();
    let mut under = |rules: &Rules| screen(rules, &mut series, "x", payload, NOW_S, (0, within(10)));
    let free = Rules::new(TelemetrySchema::default(), 1).expect("rules");
    assert_eq!(under(&free), Outcome::Fit);
    assert_eq!(under(&with(100.0, 2)).fault().map(Fault::as_str), Some("schema"));
    assert_eq!(under(&with(300.0, 3)), Outcome::Fit);
}

#[test]
fn what_is_sealed_passes_and_what_only_begins_so_does_not() {
    let app = muster_seal::Opener::generate(muster_seal::Kem::X25519).expect("a key");
    let to = [app.recipient().clone()];
    let sealed = muster_seal::seal(b"x", b"", &to, muster_seal::Padding::None).expect("sealed");
    let closed = rules(TelemetrySchema { closed: true, ..TelemetrySchema::default() });
    assert_eq!(of(&closed, &sealed), Outcome::Fit);
    let cut = of(&closed, &sealed[..sealed.len() - 1]);
    assert_eq!((cut.fault().map(Fault::as_str), cut.class()), (Some("not_sealed"), Some(Class::Format)));
}

#[test]
fn a_tenant_may_have_what_is_no_senml_carried() {
    let carrying = rules(TelemetrySchema { carry_other: true, ..TelemetrySchema::default() });
    assert_eq!(of(&carrying, b"21.5"), Outcome::Fit);
    assert!(matches!(of(&carrying, br#"[{"n":"a","u":"furlong","v":1}]"#), Outcome::Unfit { .. }));
}

proptest::proptest! {
    #[test]
    fn nothing_panics_and_what_is_kept_is_fit(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        json: bool,
    ) {
        let rules = rules(TelemetrySchema::default());
        let mut payload = bytes;
        if let Some(first) = payload.first_mut() {
            *first = if json { b'[' } else { 0x80 | (*first & 0x1f) };
        }
        if let Outcome::Partly { payload, .. } = of(&rules, &payload) {
            proptest::prop_assert_eq!(of(&rules, &payload), Outcome::Fit);
        }
    }
}

#[test]
#[ignore = "measures; for `cargo test --release -- --ignored --nocapture what_screening_costs`"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and says what")]
fn what_screening_costs() {
    let rules = rules(TelemetrySchema::default());
    for records in [1, 10] {
        let mut pack = Pack::new("urn:dev:pump-7:", NOW_S);
        for place in 0..records {
            pack.number(&format!("sensor-{place}"), Some("Cel"), 21.25 + f64::from(place));
        }
        let mut series = Series::default();
        for (encoding, payload) in [("CBOR", pack.encode_cbor()), ("JSON", pack.encode_json())] {
            let rounds = 200_000_u32;
            let begun = std::time::Instant::now();
            for _ in 0..rounds {
                let outcome = screen(&rules, &mut series, "climate", &payload, NOW_S, (0, within(1_000)));
                assert_eq!(outcome, Outcome::Fit);
            }
            println!(
                "{records} records of {encoding}, {} bytes: {:?}",
                payload.len(),
                begun.elapsed() / rounds
            );
        }
    }
}
