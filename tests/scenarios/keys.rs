//! Keys: made anew under a running hub, brought and taken back by a tenant, destroyed with proof, and kept from operators.
//! Files and logs are searched for what must not be in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use muster_simulators::{chip::Chip, hub::HubError};
use serde_json::Value;

use crate::people::Place;

/// What devices measure, and nobody but their tenant may read.
pub const CANARY: &str = "canary-c0ffee-below-the-old-bridge";
const MEMBER: [&str; 2] = ["acme", "globex"];

/// A place where each tenant has a user, and a meter that has published.
pub struct Keys {
    pub place: Place,
    passwords: [String; 2],
}

impl Keys {
    fn open() -> Self {
        Self::open_at(Place::prepare())
    }

    /// At a place that was prepared otherwise.
    pub fn open_at(mut place: Place) -> Self {
        place.begin();
        let passwords = MEMBER.map(|tenant| {
            place.hub.operate(&["tenant", "legacy-passwords", "--tenant", tenant, "on"]).expect("on");
            let made = place.hub.operate(&["device", "password", "set", "--tenant", tenant, "meter"]);
            let out = place.path(&format!("user-{tenant}")).display().to_string();
            place.hub.operate(&["user", "create", "--tenant", tenant, "ann", "--out", &out]).expect("a user");
            let made = made.expect("set");
            made.get("password").and_then(Value::as_str).expect("shown once").to_owned()
        });
        let keys = Self { place, passwords };
        for tenant in MEMBER {
            keys.publishes(tenant, 1);
        }
        keys
    }

    fn user(&self, tenant: &str) -> PathBuf {
        self.place.path(&format!("user-{tenant}"))
    }

    /// Publishes a reading whose text is the canary and a number. What mosquitto says.
    fn publish(&self, tenant: &str, number: u32) -> String {
        let [acme, globex] = &self.passwords;
        let password = if tenant == "acme" { acme } else { globex };
        let line = format!(
            "mosquitto_pub $MQTT -V 5 --cafile ca.pem -u {tenant}/meter -P {password} -q 1 -d \
             -t devices/meter/telemetry/notes -m '[{{\"n\":\"note\",\"vs\":\"{CANARY} {number}\"}}]'"
        );
        self.place.shell(&line).text
    }

    pub fn publishes(&self, tenant: &str, number: u32) {
        let said = self.publish(tenant, number);
        assert!(said.contains("received PUBACK (Mid: 1, RC:0)"), "{said}");
        let text = format!("{CANARY} {number}");
        for _ in 0..200 {
            if self.read(tenant).is_ok_and(|found| found.to_string().contains(&text)) {
                return;
            }
        }
        panic!("{tenant} does not find {text}");
    }

    fn read(&self, tenant: &str) -> Result<Value, HubError> {
        self.run(tenant, &["telemetry", "last", "--device", "meter"])
    }

    pub fn run(&self, tenant: &str, arguments: &[&str]) -> Result<Value, HubError> {
        self.place.hub.run(&self.user(tenant), arguments)
    }

    pub fn restart(&mut self) {
        self.place.hub.kill();
        self.place.hub.start().expect("the hub starts");
    }

    /// Files of the hub, and its log, that hold one of these.
    pub fn holding(&mut self, needles: &[&[u8]]) -> Vec<String> {
        let log = self.place.hub.process().map(|process| process.all_lines().join("\n")).unwrap_or_default();
        let mut found = Vec::new();
        let mut search = |name: String, bytes: &[u8]| {
            let holds = |needle: &&[u8]| bytes.windows(needle.len()).any(|window| window == *needle);
            if needles.iter().any(holds) {
                found.push(name);
            }
        };
        search("the log".to_owned(), log.as_bytes());
        let mut folders = vec![self.place.hub.folder().to_owned()];
        let mut searched = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // The engine removes files of its own while we look.
                if let Ok(bytes) = fs::read(&path) {
                    searched += 1;
                    search(path.display().to_string(), &bytes);
                }
            }
        }
        assert!(searched > 10, "there is something to search");
        found
    }
}

fn refused(outcome: Result<Value, HubError>, code: &str) {
    match outcome {
        Err(HubError::Command { stderr, .. }) => assert!(stderr.contains(code), "{stderr}"),
        other => panic!("it was not refused: {other:?}"),
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

#[test]
fn every_key_is_made_anew_under_a_running_hub_and_nothing_is_lost_when_it_is_killed_after() {
    let mut keys = Keys::open();
    let file = fs::read(keys.place.hub.folder().join("storage.key")).expect("the root key, sealed");
    for round in 2..=3 {
        let before = keys.run("acme", &["key", "show"]).expect("shown");
        let rotated = keys.run("acme", &["key", "rotate", "tenant"]).expect("made anew");
        assert_eq!(number(&rotated, "generation"), number(&before, "generation") + 1);
        assert_ne!(rotated["key_id"], before["key_id"]);
        keys.place
            .hub
            .operate(&["key", "rotate", "data", "--tenant", "acme"])
            .expect("an operator may as well");
        keys.publishes("acme", round);
        // What was published is stored, under the key of then, at the latest when the hub stops.
        keys.place.hub.stop();
        keys.place.hub.start().expect("the hub starts");
        let after = keys.run("acme", &["key", "show"]).expect("shown");
        assert!(after["data_keys"]["telemetry"].as_u64() > before["data_keys"]["telemetry"].as_u64());
        let root = keys.place.hub.operate(&["key", "rotate", "root"]).expect("made anew");
        assert_eq!(number(&root, "generation"), u64::from(round));
        keys.restart();
        keys.publishes("globex", round);
        let found = keys.run("acme", &["telemetry", "range", "--device", "meter", "--stream", "notes"]);
        let found = found.expect("read").to_string();
        for number in 1..=round {
            assert!(found.contains(&format!("{CANARY} {number}")), "{number} of {found}");
        }
    }
    assert_eq!(keys.place.hub.metric("muster_root_key_generation"), Some(3));
    refused(keys.run("acme", &["key", "rotate", "root"]), "forbidden");
    refused(keys.run("globex", &["key", "show", "--tenant", "acme"]), "tenant_unknown");
    // The first root key opens nothing any more.
    keys.place.hub.kill();
    fs::write(keys.place.hub.folder().join("storage.key"), file).expect("written");
    assert!(keys.place.hub.start().is_err(), "the root key of yesterday is good for nothing");
}

#[test]
fn a_tenant_takes_its_key_back_and_nobody_reads_or_stores_until_it_gives_it_back() {
    let mut keys = Keys::open();
    let file = |keys: &Keys, name: &str| keys.place.path(name).display().to_string();
    let (own, other) = (file(&keys, "own.key"), file(&keys, "other.key"));
    for path in [&own, &other] {
        keys.place
            .hub
            .run(&keys.user("acme"), &["key", "new", path])
            .expect_err("it prints no JSON, and writes");
    }
    let bring: [&str; 5] = ["key", "bring", "--key", &own, "--keep"];
    // Who runs the hub has no say in it, and an app has not either.
    refused(keys.place.hub.operate(&["key", "bring", "--tenant", "acme", "--key", &own]), "forbidden");
    refused(keys.place.hub.operate(&["key", "withdraw", "--tenant", "acme"]), "forbidden");
    refused(keys.run("acme", &["key", "withdraw"]), "key_not_own");
    keys.run("acme", &bring).expect("brought");
    keys.publishes("acme", 2);
    keys.restart();
    keys.publishes("acme", 3);

    let withdrawn = keys.run("acme", &["key", "withdraw"]).expect("withdrawn");
    assert_eq!(withdrawn["withdrawn"], Value::Bool(true));
    for round in 0..2 {
        refused(keys.read("acme"), "key_withdrawn");
        refused(keys.run("acme", &["topics"]), "key_withdrawn");
        let said = keys.publish("acme", 4);
        assert!(!said.contains("PUBACK (Mid: 1, RC:0)"), "{said}");
        assert!(said.contains("withdrawn its key") || said.contains("CONNACK (136)"), "{said}");
        keys.publishes("globex", 2 + round);
        assert_eq!(keys.holding(&[CANARY.as_bytes()]), [""; 0], "nothing unsealed appears");
        // It stays withdrawn when the hub is killed and starts again.
        keys.restart();
    }
    refused(keys.run("acme", &["key", "bring", "--key", &other]), "key_other");
    keys.run("acme", &bring).expect("given back");
    keys.publishes("acme", 5);
    let found = keys.run("acme", &["telemetry", "range", "--device", "meter", "--stream", "notes"]);
    let found = found.expect("read").to_string();
    for (number, is_there) in [(1, true), (2, true), (3, true), (4, false), (5, true)] {
        assert_eq!(found.contains(&format!("{CANARY} {number}")), is_there, "{number} of {found}");
    }
    let secret = fs::read_to_string(&own).expect("the tenant's key");
    let digits = secret.trim().as_bytes();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("digits"))
        .collect();
    assert_eq!(keys.holding(&[digits, &bytes]), [""; 0], "the tenant's own key is nowhere in clear");
}

#[test]
fn a_shredded_tenant_is_proved_to_be_gone_and_its_neighbour_is_as_before() {
    let mut keys = Keys::open();
    let out = keys.place.path("report").display().to_string();
    let shred = ["tenant", "shred", "acme", "--confirm", "acme", "--out", &out];
    // What was published is stored at the latest when the hub stops; until then it is on the log.
    keys.place.hub.stop();
    keys.place.hub.start().expect("the hub starts");
    refused(keys.place.hub.operate(&["tenant", "shred", "acme", "--confirm", "globex"]), "malformed");
    refused(keys.run("acme", &["tenant", "shred", "acme", "--confirm", "acme"]), "forbidden");
    keys.place.hub.operate(&shred).expect("shredded");
    // The report speaks for itself: openssl, the hub's root certificate, and nothing of ours.
    keys.place.does(
        "cd report && openssl x509 -in chain.pem -pubkey -noout > signer.pem \
         && openssl dgst -sha256 -verify signer.pem -signature report.sig report.json \
         && openssl verify -no_check_time -CAfile ../ca.pem -untrusted chain.pem chain.pem",
    );
    let report = fs::read_to_string(keys.place.path("report/report.json")).expect("the report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["proved"], Value::Bool(true), "{report}");
    assert_eq!(report["sample_opened_before"], Value::Bool(true), "{report}");
    assert_eq!(report["sample_opens"], Value::Bool(false), "{report}");
    let destroyed = report["destroyed"].as_array().expect("a list");
    for kind in ["tenant", "log", "telemetry"] {
        assert!(destroyed.iter().any(|key| key["kind"] == kind), "{kind} of {report}");
    }
    assert!(report["registry_rows_removed"].as_u64() > Some(0), "{report}");
    for _ in 0..2 {
        for list in [["user", "list"], ["app", "list"], ["claim", "list"]] {
            let listed = keys.place.hub.ask(&[&list[..], &["--tenant", "acme"]].concat()).expect("an answer");
            assert_eq!(listed, Value::Array(Vec::new()), "{list:?}");
        }
        assert!(keys.read("acme").is_err(), "its user is let in no more");
        assert!(!keys.publish("acme", 9).contains("PUBACK (Mid: 1, RC:0)"));
        keys.publishes("globex", 2);
        refused(keys.place.hub.operate(&["tenant", "resume", "acme"]), "shredded");
        refused(keys.place.hub.operate(&["tenant", "create", "acme"]), "tenant_exists");
        keys.restart();
    }
    let again = keys.place.hub.operate(&shred).expect("told again");
    let again: Value = serde_json::from_str(again["report"].as_str().expect("text")).expect("JSON");
    assert_eq!(again["destroyed"], report["destroyed"]);
    assert_eq!(again["destroyed_at_s"], report["destroyed_at_s"]);
}

/// The paths of every route that reads, as they are written in the hub, with names of things that are there.
fn routes() -> Vec<String> {
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hub/src/api");
    for entry in fs::read_dir(folder).expect("the sources of the API") {
        let text = fs::read_to_string(entry.expect("a file").path()).expect("text");
        for part in text.split("route(\"").skip(1) {
            let (path, rest) = part.split_once('"').expect("a path ends");
            let method = rest.split("web::").nth(1).expect("a method");
            if method.starts_with("get") {
                found.push(path.to_owned());
            }
        }
    }
    let named = found.into_iter().map(|path| {
        let path = if path.starts_with("/api") || !path.starts_with("/{tenant}") {
            path
        } else {
            format!("/api/v1/tenants{path}")
        };
        [("{tenant}", "acme"), ("{device}", "meter"), ("{stream}", "notes"), ("{item}", "notes")]
            .iter()
            .fold(path, |path, (name, thing)| path.replace(name, thing))
    });
    let named: Vec<String> =
        named.filter(|path| path.starts_with('/') && !path.ends_with("/trace")).collect();
    assert!(named.len() > 20, "the routes are found: {named:?}");
    named
}

#[test]
fn no_operators_certificate_reads_a_tenants_data_on_any_route() {
    let mut keys = Keys::open();
    let retained = format!(
        "mosquitto_pub $MQTT -V 5 --cafile ca.pem -u acme/meter -P {} -q 1 -r -t devices/meter/events/state -m '{CANARY}'",
        keys.passwords[0]
    );
    keys.place.does(&retained);
    let ask = |who: &Path, path: &str| {
        let who = who.display();
        let line = format!(
            "curl -sS --max-time 5 --cacert ca.pem --cert {who}/cert.pem --key {who}/key.pem \
             \"$API{path}?device=meter&stream=notes\"; curl -sS --max-time 5 --cacert ca.pem --cert {who}/cert.pem \
             --key {who}/key.pem \"$API{path}\""
        );
        keys.place.shell(&line).text
    };
    let mut seen_by_its_own = Vec::new();
    for path in routes() {
        if ask(&keys.user("acme"), &path).contains(CANARY) {
            seen_by_its_own.push(path.clone());
        }
        for who in [keys.place.hub.operator(), keys.user("globex")] {
            let answer = ask(&who, &path);
            assert!(!answer.contains(CANARY), "{} reads {path}: {answer}", who.display());
        }
    }
    assert!(
        seen_by_its_own.iter().any(|path| path.contains("telemetry")),
        "this could see it: {seen_by_its_own:?}"
    );
    // Nor over MQTT, in either version: a subscription to everything, with what is retained.
    for version in ["5", "311"] {
        let operator = keys.place.hub.operator().display().to_string();
        let said = keys.place.shell(&format!(
            "mosquitto_sub $MQTT -V {version} --cafile ca.pem --cert {operator}/cert.pem --key {operator}/key.pem \
             -t '#' -t 'devices/#' -W 2 -v -d"
        ));
        assert!(!said.ended_well && !said.text.contains(CANARY), "{}", said.text);
        assert!(!said.text.contains("SUBACK"), "{}", said.text);
    }
    assert_eq!(keys.holding(&[CANARY.as_bytes()]), [""; 0]);
    // And a crash leaves no memory behind.
    let process = keys.place.hub.process().expect("it runs").id();
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

#[test]
fn a_tpm_gives_the_root_key_as_long_as_the_machine_boots_what_it_was_sealed_to() {
    let mut keys = Keys::open();
    let folder = keys.place.path("chip");
    fs::create_dir(&folder).expect("a folder");
    let chip = Chip::power_on(&folder).expect("swtpm runs");
    let tcti = chip.tcti();
    keys.place.does(&format!(
        "export TPM2TOOLS_TCTI='{tcti}'; cd chip && tpm2_createprimary -Q -C o -c primary.ctx \
         && tpm2_createpolicy -Q --policy-pcr -l sha256:0,7 -L pcr.policy \
         && head -c 32 /dev/urandom > root.key && tpm2_flushcontext -t \
         && tpm2_create -Q -C primary.ctx -L pcr.policy -i root.key -u sealed.pub -r sealed.priv && rm root.key \
         && tpm2_flushcontext -t && tpm2_load -Q -C primary.ctx -u sealed.pub -r sealed.priv -c sealed.ctx \
         && tpm2_flushcontext -t && tpm2_evictcontrol -Q -C o -c sealed.ctx 0x81010010"
    ));
    keys.place.hub.set("TPM2TOOLS_TCTI", &tcti);
    let command = r#"["tpm2_unseal", "-c", "0x81010010", "-p", "pcr:sha256:0,7"]"#;
    keys.place.hub.set("MUSTER__STORAGE_KEY__COMMAND", command);
    // From the vault to the chip, and from then on the chip alone.
    for round in 2..=3 {
        keys.restart();
        assert!(!keys.place.hub.folder().join("storage.key").exists());
        keys.publishes("acme", round);
    }
    keys.place.hub.kill();
    keys.place.does(&format!(
        "TPM2TOOLS_TCTI='{tcti}' tpm2_pcrextend 7:sha256=$(printf another-boot | sha256sum | cut -d' ' -f1)"
    ));
    let refused = keys.place.hub.start().expect_err("another boot opens nothing").to_string();
    assert!(refused.contains("tpm2_unseal"), "{refused}");
}
