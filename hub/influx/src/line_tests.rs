use proptest::{collection::btree_map, prelude::*};

use super::*;

use crate::strict::{self, Read, ReadValue};

fn line(measurement: &str, tags: &[(&str, &str)], fields: &[(&str, Value<'_>)]) -> String {
    let mut out = String::new();
    encode(&Point { measurement, tags, fields, time_ns: 1 }, &mut out).expect("a line");
    out
}

/// What a server would read, with our stand-ins gone back.
fn read_back(body: &str) -> Vec<Read> {
    let points = strict::read(body).expect("every line is one");
    let back = |name: String| original(&name).expect("a name that we wrote");
    points
        .into_iter()
        .map(|Read { measurement, tags, fields, time_ns }| Read {
            measurement: back(measurement),
            tags: tags.into_iter().map(|(key, value)| (back(key), back(value))).collect(),
            fields: fields.into_iter().map(|(key, value)| (back(key), value)).collect(),
            time_ns,
        })
        .collect()
}

#[test]
fn every_place_has_its_own_escapes() {
    let cases = [
        (line("a,b c=d", &[], &[("x", Value::Bool(true))]), "a\\,b\\ c=d x=true 1\n"),
        (
            line("m", &[("a,b c=d", "e,f g=h")], &[("x", Value::Bool(false))]),
            "m,a\\,b\\ c\\=d=e\\,f\\ g\\=h x=false 1\n",
        ),
        (line("m", &[], &[("a,b c=d", Value::Integer(-7))]), "m a\\,b\\ c\\=d=-7i 1\n"),
        (line("m", &[], &[("x", Value::Text("a\"b\\c\nd,e f=g"))]), "m x=\"a\\\"b\\\\c\nd,e f=g\" 1\n"),
        (line("m", &[("t", "C:\\")], &[("x", Value::Float(0.1))]), "m,t=C:␛5c; x=0.1 1\n"),
        (line("m", &[("t", "a\nb")], &[("x", Value::Float(1e300))]), "m,t=a␛a;b x=1e300 1\n"),
        (line("#m", &[("_t", "_#")], &[("time", Value::Float(-0.0))]), "␛23;m,␛5f;t=_# ␛74;ime=-0.0 1\n"),
        (
            line("m", &[("t", "␛5c;"), ("u", "%RH")], &[("x", Value::Integer(1))]),
            "m,t=␛241b;5c;,u=%RH x=1i 1\n",
        ),
    ];
    for (written, wanted) in cases {
        assert_eq!(written, wanted);
        assert_eq!(strict::read(&written).map(|points| points.len()), Ok(1));
    }
}

#[test]
fn the_forgery_that_the_client_crate_lets_through_stays_a_text() {
    let text = "hello\\\"\nenv,tenant=VICTIM,device=x temp=666\n#";
    let read = read_back(&line("env", &[("device", text)], &[("note", Value::Text(text))]));
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].tags, [("device".to_owned(), text.to_owned())].into());
    assert_eq!(read[0].fields["note"], ReadValue::Text(text.to_owned()));
}

#[test]
fn a_tag_without_a_value_is_left_out_and_one_without_a_key_is_refused() {
    let fields = [("x", Value::Bool(true))];
    assert_eq!(line("m", &[("a", ""), ("b", "c")], &fields), "m,b=c x=true 1\n");
    for tags in [&[("", "v")][..], &[("a", "1"), ("a", "2")], &[("b", "1"), ("a", "2")]] {
        let point = Point { measurement: "m", tags, fields: &fields, time_ns: 1 };
        assert_eq!(encode(&point, &mut String::new()), Err(Unwritable::Tags), "{tags:?}");
    }
}

#[test]
fn what_cannot_be_written_is_left_out_and_counted() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let name = "n".repeat(SERIES_BYTES_MAX);
    let fields = [
        ("a", Value::Float(f64::NAN)),
        ("b", Value::Float(f64::INFINITY)),
        ("c", Value::Text(&long)),
        ("d", Value::Text(&long[1..])),
        (&name, Value::Bool(true)),
        ("", Value::Bool(true)),
        ("e", Value::Float(2.0)),
    ];
    let mut out = "before\n".to_owned();
    let point = Point { measurement: "m", tags: &[], fields: &fields, time_ns: 1 };
    assert_eq!(encode(&point, &mut out), Ok(LeftOut { not_finite: 2, too_long: 3 }));
    assert_eq!(out, format!("before\nm d=\"{}\",e=2.0 1\n", &long[1..]));
}

#[test]
fn a_point_that_cannot_be_written_leaves_nothing_behind() {
    let long = "x".repeat(SERIES_BYTES_MAX);
    let (nan, ok) = ([("x", Value::Float(f64::NAN))], [("x", Value::Float(1.0))]);
    let point = |measurement, fields, time_ns| Point { measurement, tags: &[], fields, time_ns };
    let left_out = LeftOut { not_finite: 1, too_long: 0 };
    for (point, why) in [
        (point("", &ok, 1), Unwritable::Measurement),
        (point(&long, &ok, 1), Unwritable::TooLong),
        (point("m", &ok, i64::MIN + 1), Unwritable::Time),
        (point("m", &ok, i64::MAX), Unwritable::Time),
        (point("m", &nan, 1), Unwritable::NoField(left_out)),
        (point("m", &[], 1), Unwritable::NoField(LeftOut::default())),
    ] {
        let mut out = "before".to_owned();
        assert_eq!(encode(&point, &mut out), Err(why));
        assert_eq!(out, "before");
    }
    for time_ns in [TIME_NS_MIN, TIME_NS_MAX] {
        let mut out = String::new();
        assert!(encode(&point("m", &ok, time_ns), &mut out).is_ok());
        assert!(out.ends_with(&format!(" {time_ns}\n")));
    }
}

#[test]
fn a_name_that_nobody_here_wrote_has_no_original() {
    for name in ["␛", "␛5c", "␛zz;", "␛110000;", "␛d800;", "␛;"] {
        assert_eq!(original(name), None, "{name}");
    }
}

/// Texts that are made of what means something to a parser, as often as of anything.
fn nasty() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "\\",
        "\"",
        "\n",
        "\r",
        " ",
        ",",
        "=",
        "#",
        "_",
        "␛",
        ";",
        "time",
        "\0",
        "\t",
        "i",
        "e",
        "m,a=b c=1 2\n",
        "\u{2028}",
        "\u{fffd}",
        "\u{301}",
    ]);
    let piece = prop_oneof![special.prop_map(str::to_owned), any::<String>(), "[a-z]{1,3}"];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[derive(Debug, Clone)]
enum Any {
    Float(f64),
    Integer(i64),
    Text(String),
    Bool(bool),
}

fn any_value() -> impl Strategy<Value = Any> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Any::Float),
        any::<i64>().prop_map(Any::Integer),
        nasty().prop_map(Any::Text),
        any::<bool>().prop_map(Any::Bool),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_comes_back_and_makes_no_other_series(
        measurement in nasty().prop_filter("named", |text| !text.is_empty()),
        tags in btree_map(nasty().prop_filter("named", |text| !text.is_empty()), nasty(), 0..4),
        fields in btree_map(nasty().prop_filter("named", |text| !text.is_empty()), any_value(), 1..5),
        time_ns in TIME_NS_MIN..=TIME_NS_MAX,
    ) {
        let tags_in: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let value = |value: &Any| -> ReadValue {
            match value {
                Any::Float(number) => ReadValue::Float(*number),
                Any::Integer(number) => ReadValue::Integer(*number),
                Any::Text(text) => ReadValue::Text(text.clone()),
                Any::Bool(value) => ReadValue::Bool(*value),
            }
        };
        let fields_in: Vec<_> = fields.iter().map(|(key, value)| {
            let value = match value {
                Any::Float(number) => Value::Float(*number),
                Any::Integer(number) => Value::Integer(*number),
                Any::Text(text) => Value::Text(text),
                Any::Bool(value) => Value::Bool(*value),
            };
            (key.as_str(), value)
        }).collect();
        let wanted = Read {
            measurement: measurement.clone(),
            tags: tags.iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect(),
            fields: fields.iter().map(|(key, found)| (key.clone(), value(found))).collect(),
            time_ns,
        };
        // Between two others, so that one that runs on or ends early is seen.
        let mut body = String::from("first x=1.0 1\n");
        let point = Point { measurement: &measurement, tags: &tags_in, fields: &fields_in, time_ns };
        prop_assert_eq!(encode(&point, &mut body), Ok(LeftOut::default()));
        body.push_str("last x=1.0 1\n");
        let read = read_back(&body);
        prop_assert_eq!(read.len(), 3);
        prop_assert_eq!(&read[1], &wanted);
        prop_assert_eq!(&read[0].measurement, "first");
        prop_assert_eq!(&read[2].measurement, "last");
    }
}
