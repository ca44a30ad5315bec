//! What one tenant shares with another: read where it lies, with the keys of whoever reads, for as long as both tenants and
//! the grant let it.

use std::path::PathBuf;

use muster_simulators::hub::HubError;
use serde_json::{Value, json};

use crate::people::Place;

/// acme shares with globex what its meter tells on one stream.
struct Shared {
    place: Place,
    password: String,
}

impl Shared {
    fn open() -> Self {
        let mut place = Place::prepare();
        place.begin();
        place.hub.operate(&["tenant", "legacy-passwords", "--tenant", "acme", "on"]).expect("on");
        let made =
            place.hub.operate(&["device", "password", "set", "--tenant", "acme", "meter"]).expect("set");
        let password = made["password"].as_str().expect("shown once").to_owned();
        let shared = Self { place, password };
        for (kind, tenant, id) in [
            ("user", "acme", "root"),
            ("user", "globex", "gina"),
            ("app", "globex", "board"),
            ("app", "acme", "wall"),
        ] {
            let out = shared.identity(id).display().to_string();
            let mqtt = shared.place.hub.mqtt_endpoint();
            let create = [kind, "create", "--tenant", tenant, id, "--out", &out, "--mqtt", &mqtt];
            let create = if kind == "app" { &create[..] } else { &create[..7] };
            shared.place.hub.operate(create).expect("made");
        }
        for (stream, number) in [("open", 1), ("closed", 2)] {
            shared.tells(stream, number);
        }
        shared.root(&["dataset", "put", "open-things", "--stream", "open"]);
        shared
    }

    fn identity(&self, id: &str) -> PathBuf {
        self.place.path(id)
    }

    fn run(&self, id: &str, arguments: &[&str]) -> Result<Value, String> {
        self.place.hub.run(&self.identity(id), arguments).map_err(|error| match error {
            HubError::Command { stderr, .. } => stderr,
            other => panic!("{other}"),
        })
    }

    fn root(&self, arguments: &[&str]) -> Value {
        self.run("root", arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn grant(&self) -> String {
        let grant = self.root(&["grant", "add", "open-things", "--to", "globex", "--expires-in", "1h"]);
        grant[0]["grant"].to_string()
    }

    /// The meter tells a number, and it is found.
    fn tells(&self, stream: &str, number: u64) {
        let said = self.place.does(&format!(
            "mosquitto_pub $MQTT -V 5 --cafile ca.pem -u acme/meter -P {} -q 1 -d -t devices/meter/telemetry/{stream} \
             -m '[{{\"n\":\"v\",\"v\":{number}}}]'",
            self.password
        ));
        assert!(said.contains("RC:0)") || said.contains("RC:16)"), "{said}");
        // Each question is a program of its own, and takes its time.
        let is_found = |_: &u32| self.sees("root", stream).is_ok_and(|all| all.contains(&number));
        assert!((0..600).any(|turn| is_found(&turn)), "{number} is not found");
    }

    /// The numbers that somebody is shown of a stream of acme's meter, or the refusal.
    fn sees(&self, who: &str, stream: &str) -> Result<Vec<u64>, String> {
        let about = ["--tenant", "acme", "--device", "meter", "--stream", stream];
        let last = self.run(who, &[&["telemetry", "last"][..], &about].concat());
        let range = self.run(who, &[&["telemetry", "range"][..], &about, &["--from", "1d"]].concat());
        let export = self.export(who, stream);
        let range = match range {
            Ok(range) => values(&range),
            Err(refused) => {
                // What is refused one way is refused every way.
                let code = ["tenant_unknown", "key_withdrawn", "not_lent"]
                    .into_iter()
                    .find(|code| refused.contains(code));
                let code = code.unwrap_or_else(|| panic!("{refused}"));
                assert!(last.as_ref().is_err_and(|last| last.contains(code)), "{code}: {last:?}");
                assert!(export.contains(code), "{code}: {export}");
                return Err(code.to_owned());
            }
        };
        let last = values(&last.expect("shown one way, shown the other"));
        assert_eq!(last.last(), range.last());
        let lines = export.lines().filter(|line| line.contains("\"value\"")).count();
        assert_eq!(lines, range.len(), "the export has the same: {export}");
        Ok(range)
    }

    fn export(&self, who: &str, stream: &str) -> String {
        let dir = self.identity(who).display().to_string();
        self.place.does(&format!(
            "curl -sS --cacert ca.pem --cert {dir}/cert.pem --key {dir}/key.pem \
             \"$API/api/v1/tenants/acme/telemetry/export?device=meter&stream={stream}&format=ndjson\""
        ))
    }

    /// The answer to a question over MQTT.
    fn asks(&self, app: &str, verb: &str, question: &Value) -> Value {
        let answer = self.run(app, &["rr", &format!("$muster/query/{verb}"), &question.to_string()]);
        let answer = answer.unwrap_or_else(|error| panic!("{question}: {error}"));
        serde_json::from_str(answer["payload"].as_str().expect("text")).expect("JSON")
    }

    /// A tenant brings its own key; the hub keeps it until the tenant withdraws it.
    fn bring(&self, user: &str, tenant: &str) {
        let path = self.place.path(&format!("{tenant}.key"));
        let file = path.display().to_string();
        if !path.exists() {
            let made = self.place.hub.run(&self.identity(user), &["key", "new", &file]);
            made.expect_err("it prints no JSON, and writes");
        }
        let brought = self.run(user, &["key", "bring", "--tenant", tenant, "--keep", "--key", &file]);
        brought.unwrap_or_else(|error| panic!("{tenant}: {error}"));
    }
}

/// The values of readings, whether the answer is a list or a page.
fn values(answer: &Value) -> Vec<u64> {
    let readings = answer.get("readings").unwrap_or(answer).as_array().cloned().unwrap_or_default();
    readings.iter().filter_map(|reading| Some(reading.get("value")?.as_f64()? as u64)).collect()
}

#[test]
fn a_guest_reads_with_its_own_key_until_the_grant_or_a_key_is_taken_back() {
    let mut shared = Shared::open();
    assert_eq!(shared.sees("gina", "open"), Err("tenant_unknown".to_owned()), "a stranger");
    let first = shared.grant();
    assert_eq!(shared.sees("gina", "open"), Ok(vec![1]));
    assert_eq!(shared.sees("gina", "closed"), Ok(vec![]), "and nothing beside it");

    // Keys that begin later, and a hub that was killed.
    shared.place.hub.operate(&["key", "rotate", "data", "--tenant", "acme"]).expect("turned");
    shared.tells("open", 3);
    assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3]));
    shared.place.hub.kill();
    shared.place.hub.start().expect("it starts again");
    assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3]), "after a crash");
    shared.tells("open", 4);
    assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3, 4]), "with the keys of another process");

    // Either tenant ends it by withdrawing its key, and it goes on when the key is given back.
    for (user, tenant) in [("root", "acme"), ("gina", "globex")] {
        shared.bring(user, tenant);
        assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3, 4]), "{tenant}");
        shared.run(user, &["key", "withdraw", "--tenant", tenant]).expect("withdrawn");
        assert_eq!(shared.sees("gina", "open"), Err("key_withdrawn".to_owned()), "{tenant}");
        let refused =
            shared.run("root", &["grant", "add", "open-things", "--to", "globex", "--expires-in", "1h"]);
        assert!(refused.is_err_and(|refused| refused.contains("key_withdrawn")), "{tenant}");
        shared.bring(user, tenant);
        assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3, 4]), "{tenant}");
    }

    // Two grants, taken back one after the other.
    let second = shared.grant();
    shared.root(&["grant", "revoke", &first]);
    assert_eq!(shared.sees("gina", "open"), Ok(vec![1, 3, 4]));
    shared.root(&["grant", "revoke", &second]);
    assert_eq!(shared.sees("gina", "open"), Err("tenant_unknown".to_owned()), "from the next read on");
    assert_eq!(shared.sees("root", "open"), Ok(vec![1, 3, 4]), "the tenant's own reading is its own");
    shared.root(&["dataset", "remove", "open-things"]);
}

#[test]
fn an_app_asks_what_is_shared_over_mqtt_as_over_https() {
    let shared = Shared::open();
    let of_acme = json!({"tenant": "acme", "stream": "open"});
    let refused = shared.asks("board", "last", &of_acme);
    assert_eq!(refused["error"]["code"], "tenant_unknown", "a stranger");
    let grant = shared.grant();
    assert_eq!(values(&shared.asks("board", "last", &of_acme)), [1]);
    let all = json!({"tenant": "acme", "device": "meter"});
    assert_eq!(values(&shared.asks("board", "range", &all)), [1], "what is shared, and nothing beside it");
    assert!(values(&shared.asks("board", "last", &json!({}))).is_empty(), "its own has nothing");
    let unknown = shared.asks("board", "last", &json!({"tenant": "acme", "dataset": "closed-things"}));
    assert_eq!(unknown["error"]["code"], "not_found");
    let nowhere = shared.asks("board", "last", &json!({"tenant": "nowhere"}));
    assert_eq!(nowhere["error"]["code"], "tenant_unknown");
    assert_eq!(values(&shared.asks("wall", "last", &of_acme)), [1], "its own tenant, named");
    shared.root(&["grant", "revoke", &grant]);
    let refused = shared.asks("board", "last", &of_acme);
    assert_eq!(refused["error"]["code"], "tenant_unknown", "from the next question on");
}
