//! History: a device publishes, its tenant's app asks over HTTPS, over MQTT and from Python, and nobody else is answered.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use muster_simulators::programs;
use serde_json::{Value, json};

use crate::people::Place;

/// 2025-01-01T00:00:00Z, a Wednesday.
const BEGAN_S: u64 = 1_735_689_600;
/// A reading of two names every quarter of an hour, but for the days from 100 to 109.
const STEP_S: u64 = 900;
const DAY_S: u64 = 86_400;
/// Rows of one message: two records each, and at most 1,024 records.
const ROWS_OF_A_MESSAGE: usize = 500;

struct Told {
    place: Place,
    password: String,
    /// How many times were published.
    rows: usize,
}

/// A hub with a device that has published so many days of 2025, and with an app of its tenant and of another.
fn told(days: u64) -> Told {
    let mut place = Place::prepare();
    place.begin();
    place.hub.operate(&["tenant", "legacy-passwords", "--tenant", "acme", "on"]).expect("on");
    let made = place.hub.operate(&["device", "password", "set", "--tenant", "acme", "meter"]).expect("set");
    let password = made["password"].as_str().expect("shown once").to_owned();
    for tenant in ["acme", "globex"] {
        let folder = place.path(tenant).display().to_string();
        let mqtt = place.hub.mqtt_endpoint();
        let create = ["app", "create", "--tenant", tenant, "dashboard", "--out", &folder, "--mqtt", &mqtt];
        place.hub.operate(&create).expect("an app");
    }
    let off = 100 * DAY_S..110 * DAY_S;
    let times: Vec<u64> =
        (0..days * DAY_S / STEP_S).map(|step| step * STEP_S).filter(|s| !off.contains(s)).collect();
    let mut lines = String::new();
    for rows in times.chunks(ROWS_OF_A_MESSAGE) {
        let records: Vec<Value> = rows
            .iter()
            .flat_map(|s| {
                let (t, temperature) = (BEGAN_S + s, temperature(*s));
                let open = (s / STEP_S).is_multiple_of(96);
                [
                    json!({"n": "temperature", "u": "Cel", "t": t, "v": temperature}),
                    json!({"n": "door", "t": t, "vb": open}),
                ]
            })
            .collect();
        writeln!(lines, "{}", Value::from(records)).expect("memory");
    }
    fs::write(place.path("year.ndjson"), lines).expect("written");
    place.does(&format!(
        "mosquitto_pub $MQTT --cafile ca.pem -V 5 -q 1 -u acme/meter -P {password} \
         -t devices/meter/telemetry/climate -l < year.ndjson"
    ));
    let told = Told { place, password, rows: times.len() };
    // The store follows the log, and what is acknowledged is on the log.
    let last_s = BEGAN_S + times.last().expect("a time");
    while told.ask("acme", &["last"])["readings"].as_array().is_none_or(|readings| {
        readings.len() < 2 || readings.iter().any(|reading| reading["time_s"] != json!(last_s as f64))
    }) {}
    told
}

/// A year with its seasons, days and a step that shows every row.
fn temperature(s: u64) -> f64 {
    let day = (s / DAY_S) as f64;
    let season = (10.0 - (day - 182.0).abs() / 18.2) * 2.0;
    ((season + (s % DAY_S) as f64 / DAY_S as f64) * 100.0).round() / 100.0
}

impl Told {
    fn app(&self, tenant: &str) -> PathBuf {
        self.place.path(tenant)
    }

    /// What `muster telemetry` answers an app of the tenant.
    fn ask(&self, tenant: &str, arguments: &[&str]) -> Value {
        let words: Vec<&str> = ["telemetry"].into_iter().chain(arguments.iter().copied()).collect();
        self.place.hub.run(&self.app(tenant), &words).expect("an answer")
    }

    /// Status and body of a call of the API with the identity in a folder.
    fn call(&self, folder: &Path, path: &str) -> (String, String) {
        let folder = folder.display();
        let said = self.place.does(&format!(
            "curl -sS --cacert {folder}/ca.pem --cert {folder}/cert.pem --key {folder}/key.pem \
             -w '\\n%{{http_code}}' \"$API/api/v1/tenants/acme/telemetry/{path}\""
        ));
        let (body, status) = said.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    }
}

#[test]
fn an_app_asks_for_last_range_windows_groups_and_files() {
    let told = told(3);
    let all = ["--from", "2025-01-01T00:00:00Z"];
    let ask = |arguments: &[&str]| told.ask("acme", &[arguments, &all].concat());

    let range = ask(&["range", "--names", "temperature", "--limit", "2000"]);
    let readings = range["readings"].as_array().expect("readings");
    assert_eq!((readings.len(), readings[1]["value"].as_f64()), (told.rows, Some(temperature(STEP_S))));
    assert_eq!(ask(&["range", "--limit", "2000"])["readings"].as_array().map(Vec::len), Some(2 * told.rows));

    let days = ask(&["downsample", "--window", "1d", "--names", "temperature", "--percentiles"]);
    let days = days["buckets"].as_array().expect("windows");
    assert_eq!(days.len(), 3);
    assert_eq!((days[1]["count"].as_u64(), days[1]["min"].as_f64()), (Some(96), Some(temperature(DAY_S))));
    assert_eq!(days[1]["from_s"].as_f64(), Some((BEGAN_S + DAY_S) as f64));

    let groups = ask(&["aggregate", "--by", "device"]);
    let groups = groups["groups"].as_array().expect("groups");
    assert_eq!((groups.len(), groups[1]["group"]["device"].as_str()), (2, Some("meter")));
    assert_eq!(groups[1]["count"].as_u64(), Some(told.rows as u64));

    let file = told.place.path("climate.csv").display().to_string();
    let app = told.app("acme").display().to_string();
    told.place.does(&format!(
        "{} --identity {app} --hub $API telemetry export --device meter --stream climate --from 2025-01-01T00:00:00Z \
         --out {file}",
        programs::find("muster").expect("built").display()
    ));
    let csv = fs::read_to_string(&file).expect("a file");
    assert_eq!(csv.lines().next(), Some("time,door,temperature"));
    assert_eq!(csv.lines().count(), told.rows + 1);

    let (status, body) = told.call(&told.app("acme"), "export?format=npy&layout=long");
    assert!(status == "400" && body.contains("one_stream"), "{status} {body}");
    let (status, body) = told.call(&told.app("acme"), "range?from_ms=2&to_ms=1");
    assert!(status == "400" && body.contains("from_ms"), "{status} {body}");
}

#[test]
fn the_same_questions_are_answered_over_mqtt_to_whom_asks_alone() {
    let told = told(1);
    let app = told.app("acme");
    let ask = |topic: &str, question: &str| -> Value {
        let answer = told.place.hub.run(&app, &["rr", topic, question]).expect("an answer");
        let payload = answer["payload"].as_str().expect("text").to_owned();
        serde_json::from_str(&payload).expect("JSON")
    };
    let page = ask("$muster/query/range", r#"{"device":"meter","stream":"climate","limit":3}"#);
    assert_eq!(page["readings"].as_array().map(Vec::len), Some(3));
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let next = json!({"device": "meter", "stream": "climate", "limit": 3, "cursor": cursor}).to_string();
    let next = ask("$muster/query/range", &next);
    assert_eq!(next["readings"][0]["time_s"].as_f64(), Some((BEGAN_S + STEP_S) as f64));
    let days = ask("$muster/query/downsample", r#"{"window_ms":86400000}"#);
    assert_eq!(days["buckets"].as_array().map(Vec::len), Some(2));
    for (topic, question, code) in [
        ("$muster/query/range", r#"{"cursor":"none"}"#, "cursor"),
        ("$muster/query/range", r#"{"colour":"red"}"#, "malformed"),
        ("$muster/query/export", "", "malformed"),
        ("$muster/query/everything", "", "malformed"),
    ] {
        assert_eq!(ask(topic, question)["error"]["code"].as_str(), Some(code), "{topic} {question}");
    }

    // Another tenant's app asks its own tenant, whatever it says; a device is told that it may not.
    let other =
        told.place.hub.run(&told.app("globex"), &["rr", "$muster/query/last", "{}"]).expect("an answer");
    assert_eq!(other["payload"].as_str(), Some(r#"{"readings":[]}"#));
    let device = told.place.does(&format!(
        "mosquitto_rr $MQTT --cafile ca.pem -V 5 -W 10 -u acme/meter -P {} -t '$muster/query/last' \
         -e devices/meter/replies -m '{{}}'",
        told.password
    ));
    assert!(device.contains(r#""code":"forbidden""#), "{device}");
}

#[test]
fn neither_another_tenants_app_nor_the_operator_is_shown_history() {
    let told = told(1);
    let operator = told.place.hub.operator();
    for path in [
        "last",
        "range?device=meter&stream=climate",
        "downsample?window_ms=3600000",
        "aggregate?by=device",
        "export?format=csv",
        "export?format=parquet&device=meter&stream=climate",
        "export?format=ndjson",
        "range?format=ndjson",
    ] {
        let (status, body) = told.call(&told.app("globex"), path);
        assert!(status == "404" && body.contains("tenant_unknown"), "{path}: {status} {body}");
        let (status, body) = told.call(&operator, path);
        assert!(status == "403" && body.contains("forbidden"), "{path}: {status} {body}");
        let (status, body) = told.call(&told.app("acme"), path);
        assert!(status == "200" && !body.is_empty(), "{path}: {status} {body}");
    }
}

/// The Python blocks of the page.
fn notebook() -> String {
    let page = include_str!("../../docs/notebook.md");
    let blocks = page.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

/// What must hold after the notebook ran. `ROWS` and the formula are the test's.
const CHECKS: &str = r#"
def expected(s):
    day = s // 86400
    season = (10.0 - abs(day - 182.0) / 18.2) * 2.0
    return round((season + (s % 86400) / 86400) * 100.0) / 100.0

assert len(frame) == ROWS == rows == count, (len(frame), ROWS, rows, count)
assert units["temperature"] == "Cel" and list(frame.columns) == ["door", "temperature"]
told = [expected(int(time.timestamp()) - 1735689600) for time in frame.index]
assert max(abs(frame["temperature"].to_numpy() - np.array(told))) < 0.0101
assert longest_gap == pd.Timedelta(days=10, minutes=15), longest_gap
assert warmest == frame["temperature"].max()
assert frame["door"].sum() == 355
assert (last_day["temperature"] == frame["temperature"].to_numpy()[-96:]).all()
assert abs(mean_of_last_day - frame["temperature"][-96:].mean()) < 1e-9
assert len(january) == 31 * 96
assert (abs(january["temperature"].to_numpy() - frame["temperature"].to_numpy()[:31 * 96]) < 1e-9).all()
ours = frame["temperature"].resample("1D").agg(["count", "min", "mean", "max", "median"]).dropna()
assert len(daily) == len(ours) == 355 and (daily.index == ours.index).all()
for name, our in [("count", "count"), ("min", "min"), ("max", "max"), ("mean", "mean"), ("p50", "median")]:
    assert (abs(daily[name] - ours[our]) < 1e-9).all(), name
assert set(groups["device"]) == {"meter"} and groups[groups["name"] == "temperature"]["count"].sum() == ROWS
print("the notebook holds")
"#;

/// Runs where Python has what the page asks for: `MUSTER_PYTHON`, or python3.
#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn the_notebook_opens_a_year_of_one_device() {
    let python = std::env::var("MUSTER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import numpy, pandas, pyarrow"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: {python} has no numpy, pandas and pyarrow; install them, or name one that has: MUSTER_PYTHON"
        );
        return;
    }
    let told = told(365);
    let program = format!("{}\nROWS = {}\n{CHECKS}", notebook(), told.rows);
    fs::write(told.place.path("notebook.py"), program).expect("written");
    let app = told.app("acme").display().to_string();
    let said = told
        .place
        .does(&format!("MUSTER_HUB=$API MUSTER_TENANT=acme MUSTER_IDENTITY={app} {python} notebook.py"));
    assert!(said.contains("the notebook holds"), "{said}");
}

/// `cargo test -p muster-tests --test scenarios -- --ignored --nocapture last_reading`
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stdout, reason = "this measures")]
fn how_long_the_last_reading_takes() {
    let told = told(30);
    let program = r#"
import http.client, os, ssl, time
folder = os.environ["FOLDER"]
tls = ssl.create_default_context(cafile=f"{folder}/ca.pem")
tls.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
host = os.environ["API"].removeprefix("https://")
call = http.client.HTTPSConnection(host, context=tls)
def measure(path, times):
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call.request("GET", "/api/v1/tenants/acme/telemetry/" + path)
        answer = call.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1e3)
        assert answer.status == 200
    took.sort()
    print(f"{path}: p50 {took[times // 2]:.2f} ms, p99 {took[times * 99 // 100]:.2f} ms")
measure("last?device=meter", 2000)
measure("range?device=meter&stream=climate&limit=96", 500)
measure("downsample?device=meter&stream=climate&window_ms=86400000", 100)
"#;
    fs::write(told.place.path("measure.py"), program).expect("written");
    let app = told.app("acme").display().to_string();
    println!("{}", told.place.does(&format!("FOLDER={app} python3 measure.py")));
}
