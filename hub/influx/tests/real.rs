//! Our lines in real servers: what is stored is what was sent, in every kind, place and precision.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "the whole file is a test")]

use muster_influx::{
    answer::{Answer, Trouble},
    line::{LeftOut, Point, Value, encode, original},
    server::{Server, Token},
    transport::Transport,
};

mod servers;

use servers::{Influxd, Victoria, is_here};

fn write(url: &str, bucket: &str, token: &str, lines: &str) -> Answer {
    let server = Server::new(url, "plant", None, &[]).expect("a server");
    let transport =
        Transport::new(&server, bucket, &Token::parse(token).expect("a token")).expect("prepared");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(transport.write(lines))
}

fn line(
    measurement: &str,
    tags: &[(&str, &str)],
    fields: &[(&str, Value<'_>)],
    time_ns: i64,
    out: &mut String,
) {
    assert_eq!(encode(&Point { measurement, tags, fields, time_ns }, out), Ok(LeftOut::default()));
}

/// Texts that mean something to a parser, and some that do not.
const TEXTS: &[&str] = &[
    "plain",
    "two words",
    "a,b=c d",
    "\\",
    "ends with \\",
    "\\\\",
    "\"",
    "\\\"",
    "ends with \\\"",
    "a\nb",
    "\n",
    "a\r\nb",
    "\t",
    "#comment",
    "_field",
    "time",
    "m,a=b c=1 2\n",
    "hello\\\"\nenv,tenant=VICTIM,device=x temp=666\n#",
    "'single'",
    "grüße, 世界 🌍",
    "e\u{301}\u{200b}\u{202e}x",
    "\u{2028}",
    "\u{fffd}",
    "␛5c;",
    "1i",
    "true",
    "1e5",
    "$1; DROP SERIES FROM x--",
    "\0",
    "\u{7f}",
];

#[test]
fn every_kind_of_value_and_every_nanosecond_comes_back_from_influxd() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "acme")]);
    let mut lines = String::new();
    let floats = [
        0.0,
        -0.0,
        21.5,
        0.1,
        -1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        1.0 / 3.0,
        9_007_199_254_740_993.0,
        1e21,
    ];
    let times = [i64::MIN + 2, -1, 0, 1, 1_760_000_000_123_456_789, i64::MAX - 1];
    for (number, time_ns) in floats.iter().zip(1..) {
        line("kinds", &[], &[("f", Value::Float(*number))], time_ns, &mut lines);
    }
    let fields = [
        ("i", Value::Integer(i64::MIN)),
        ("j", Value::Integer(i64::MAX)),
        ("t", Value::Bool(true)),
        ("u", Value::Bool(false)),
        ("s", Value::Text("text")),
        ("empty", Value::Text("")),
    ];
    line("kinds", &[("device", "pump-7")], &fields, 1, &mut lines);
    for (time_ns, number) in times.iter().zip(0..) {
        line("times", &[], &[("n", Value::Integer(number))], *time_ns, &mut lines);
    }
    assert_eq!(write(&server.door.url(), "acme", "token", &lines), Answer::Accepted);
    let found = server.query("acme", "SELECT f FROM kinds");
    let rows = found["results"][0]["series"][0]["values"].as_array().expect("rows").clone();
    let back: Vec<f64> = rows.iter().map(|row| row[1].as_f64().expect("a number")).collect();
    assert_eq!(back, floats);
    let found = server.query("acme", "SELECT i, j, t, u, s, empty FROM kinds WHERE device = 'pump-7'");
    let row = &found["results"][0]["series"][0]["values"][0];
    assert_eq!(*row, serde_json::json!([1, i64::MIN, i64::MAX, true, false, "text", ""]));
    let found = server.query("acme", "SELECT n FROM times");
    let rows = found["results"][0]["series"][0]["values"].as_array().expect("rows").clone();
    let back: Vec<i64> = rows.iter().map(|row| row[0].as_i64().expect("a time")).collect();
    assert_eq!(back, times);
}

#[test]
fn every_text_comes_back_from_influxd_and_makes_one_series() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "acme")]);
    let mut lines = String::new();
    for (text, time_ns) in TEXTS.iter().zip(1..) {
        line("texts", &[], &[("s", Value::Text(text))], time_ns, &mut lines);
        line("tags", &[("v", text)], &[("n", Value::Integer(time_ns))], 1, &mut lines);
        line("keys", &[(text, "v")], &[(text, Value::Integer(time_ns))], time_ns, &mut lines);
        line(text, &[], &[("n", Value::Integer(time_ns))], 1, &mut lines);
    }
    assert_eq!(write(&server.door.url(), "acme", "token", &lines), Answer::Accepted);
    let rows = |query: &str| {
        let found = server.query("acme", query);
        let series = found["results"][0]["series"].as_array().cloned().unwrap_or_default();
        series.iter().flat_map(|s| s["values"].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let back: Vec<_> =
        rows("SELECT s FROM texts").iter().map(|row| row[1].as_str().expect("text").to_owned()).collect();
    assert_eq!(back, TEXTS);
    let mut back: Vec<_> = rows("SELECT n, v FROM tags")
        .iter()
        .map(|row| (row[1].as_i64(), row[2].as_str().and_then(original)))
        .collect();
    back.sort();
    let wanted: Vec<_> = TEXTS.iter().zip(1..).map(|(text, n)| (Some(n), Some((*text).to_owned()))).collect();
    assert_eq!(back, wanted);
    let measurements: std::collections::BTreeSet<_> =
        rows("SHOW MEASUREMENTS").iter().filter_map(|row| original(row[0].as_str()?)).collect();
    let wanted = TEXTS.iter().copied().chain(["texts", "tags", "keys"]).map(str::to_owned).collect();
    assert_eq!(measurements, wanted);
    assert_eq!(server.series("acme").len(), 3 * TEXTS.len() + 1, "one for each, and no other");
    assert_eq!(server.values("acme"), 4 * TEXTS.len() as u64);
}

#[test]
fn what_is_written_again_is_there_once() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "acme")]);
    let mut lines = String::new();
    for number in 0..5_000 {
        let fields = [("n", Value::Integer(number)), ("x", Value::Float(0.5))];
        line("m", &[("device", "pump-7")], &fields, number, &mut lines);
    }
    for _ in 0..3 {
        assert_eq!(write(&server.door.url(), "acme", "token", &lines), Answer::Accepted);
    }
    assert_eq!(server.values("acme"), 10_000);
    let sent = server.door.bodies();
    assert!(
        sent.len() == 3 && sent.iter().all(|(token, body)| token == "token" && *body == lines),
        "and as it was"
    );
}

#[test]
fn what_influxd_refuses_is_told_by_its_class() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("token", "acme"), ("other", "globex")]);
    let url = server.door.url();
    assert_eq!(write(&url, "acme", "wrong", "m x=1 1\n"), Answer::Stopped(Trouble::Token(401)));
    assert_eq!(
        write(&url, "globex", "token", "m x=1 1\n"),
        Answer::Stopped(Trouble::Bucket),
        "another's bucket"
    );
    assert_eq!(write(&url, "acme", "token", "m x=1 1\n"), Answer::Accepted);
    let conflict = write(&url, "acme", "token", "m x=2 2\nm x=\"text\" 3\nm x=4 4\n");
    assert!(matches!(conflict, Answer::Partial(Some(1), _)), "{conflict:?}");
    assert_eq!(server.values("acme"), 3, "the others are there");
    let refused = write(&url, "acme", "token", "m x=5 5\nno line at all\n");
    assert!(matches!(refused, Answer::Partial(..) | Answer::Refused(_)), "{refused:?}");
    assert_eq!(server.values("globex"), 0);
}

#[test]
fn numbers_come_back_from_victoria_metrics() {
    if !is_here("victoria-metrics") {
        return;
    }
    let server = Victoria::start();
    let mut lines = String::new();
    for number in 0..1_000 {
        let fields = [("load", Value::Float(f64::from(number) / 8.0))];
        let time_ns = 1_760_000_000_000_000_000 + i64::from(number) * 1_000_000_000;
        line("machine", &[("device", "pump-7"), ("unit", "/")], &fields, time_ns, &mut lines);
    }
    for text in TEXTS {
        line("tags", &[("v", text)], &[("n", Value::Float(1.0))], 1_760_000_000_000_000_000, &mut lines);
    }
    // Whoever stores nothing of a bucket or a token takes any.
    for _ in 0..2 {
        assert_eq!(write(&server.url(), "acme", "token", &lines), Answer::Accepted);
    }
    let series = server.export();
    assert_eq!(series.len(), 1 + TEXTS.len());
    let named =
        |name: &str| series.iter().filter(|series| series["metric"]["__name__"] == name).collect::<Vec<_>>();
    let load = named("machine_load");
    assert_eq!(load.len(), 1);
    assert_eq!(load[0]["metric"]["device"], "pump-7");
    let pairs = |key: &str| load[0][key].as_array().expect("numbers").clone();
    let mut found: Vec<_> = pairs("timestamps")
        .iter()
        .zip(pairs("values"))
        .map(|(t, v)| (t.as_i64(), v.as_f64().map(f64::to_bits)))
        .collect();
    found.dedup();
    let wanted: Vec<_> = (0..1_000_i64)
        .map(|n| (Some(1_760_000_000_000 + n * 1_000), Some((n as f64 / 8.0).to_bits())))
        .collect();
    assert_eq!(found, wanted);
    let mut back: Vec<_> =
        named("tags_n").iter().filter_map(|series| original(series["metric"]["v"].as_str()?)).collect();
    back.sort();
    let mut wanted: Vec<_> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    wanted.sort();
    assert_eq!(back, wanted);
}
