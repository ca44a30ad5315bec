//! The clients that a tenant's developer knows.

use std::process::Command;

use muster_simulators::{limits::WAIT_MAX, process::now};
use serde_json::Value;

use crate::world::World;

#[test]
fn the_printed_line_works_unchanged_in_both_versions_of_mqtt() {
    World::raise().holds("the printed line works with MQTT 5 too, and mosquitto_pub sends a command");
}

/// A device that can do nothing but a password, published for by `mosquitto_pub`.
struct Meter {
    line: String,
}

impl Meter {
    fn new(world: &World) -> Self {
        let hub = &world.stage.hub;
        hub.operate(&["tenant", "legacy-passwords", "--tenant", "acme", "on"]).expect("on");
        let made = hub.operate(&["device", "password", "set", "--tenant", "acme", "meter"]).expect("set");
        let password = made["password"].as_str().expect("shown once");
        let (root, port) = (hub.root().display().to_string(), hub.mqtt_port().to_owned());
        Self {
            line: format!(
                "mosquitto_pub -h localhost -p {port} --cafile {root} -u acme/meter -P {password} -q 1 -d \
                 -t devices/meter/telemetry/power"
            ),
        }
    }

    /// What the client says that was answered.
    fn says(&self, version: &str, payload: &str) -> String {
        let line = format!("{} -V {version} -m '{payload}'", self.line);
        let ended = Command::new("sh").arg("-c").arg(line).output().expect("a shell");
        String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned()
    }
}

#[test]
fn a_stream_beyond_a_tenant_s_quota_and_a_will_that_is_none_are_refused_with_the_reason() {
    let world = World::raise_with(&[("MUSTER__QUOTAS__TENANTS__ACME__DEVICE__STREAMS_MAX", "2")]);
    let meter = Meter::new(&world);
    let app = &world.stage.tenants[0].app;
    let mut letters = app.subscribe_with("'devices/+/telemetry/#'", "'$SYS/dead/#'").expect("a subscription");
    letters.wait_subscribed(WAIT_MAX).expect("granted");
    let line = meter.line;
    let on = |stream: &str| Meter { line: line.replace("/power", &format!("/{stream}")) };
    let good = r#"[{"n":"power","u":"W","v":7}]"#;
    for stream in ["a", "b", "a"] {
        let said = on(stream).says("5", good);
        assert!(said.contains("PUBACK (Mid: 1, RC:0)") || said.contains("RC:16)"), "{said}");
    }
    let said = on("c").says("5", good);
    assert!(said.contains("PUBACK (Mid: 1, RC:151)"), "{said}");
    let letter = letters.wait_message(WAIT_MAX, |_| true).expect("a dead letter");
    let letter: Value = serde_json::from_str(&letter.payload).expect("JSON");
    assert_eq!(letter["code"], "too_many_streams");
    assert_eq!(letter["reason"], "refused: the device has 2 streams already, which is its quota");

    let with_will = |payload: &str| Meter {
        line: format!(
            "{line} --will-topic devices/meter/telemetry/a --will-qos 1 --will-payload '{payload}'"
        ),
    };
    let said = with_will("gone").says("5", good);
    assert!(
        said.contains("RC:153") || said.contains("CONNACK (153)") || said.contains("Payload format"),
        "{said}"
    );
    let letter = letters.wait_message(WAIT_MAX, |_| true).expect("a dead letter");
    assert!(letter.payload.contains("not_senml"), "{}", letter.payload);
}

#[test]
fn what_is_refused_is_told_to_the_device_and_in_a_dead_letter_and_what_is_good_is_kept() {
    let world = World::raise();
    let (hub, app) = (&world.stage.hub, &world.stage.tenants[0].app);
    let meter = Meter::new(&world);
    let filters = |tenant: usize| {
        let app = &world.stage.tenants[tenant].app;
        let mut heard =
            app.subscribe_with("'devices/+/telemetry/#'", "'$SYS/dead/#'").expect("a subscription");
        heard.wait_subscribed(WAIT_MAX).expect("granted");
        heard
    };
    let (mut letters, mut strangers) = (filters(0), filters(1));
    let mut next = |code: &str, sequence: u64| {
        let letter = letters.wait_message(WAIT_MAX, |_| true).expect("a dead letter");
        assert_eq!(letter.topic, "$SYS/dead/devices/meter/telemetry/power");
        let letter: Value = serde_json::from_str(&letter.payload).expect("JSON");
        assert_eq!(
            (letter["code"].as_str(), letter["sequence"].as_u64()),
            (Some(code), Some(sequence)),
            "{letter}"
        );
        letter
    };

    // Nothing of it is good: 0x99 in MQTT 5; acknowledged in 3.1.1, which cannot be told.
    let said = meter.says("5", "21.5");
    assert!(said.contains("PUBACK (Mid: 1, RC:153)"), "{said}");
    let letter = next("not_senml", 1);
    assert_eq!(letter["reason"], "refused: it is neither a JSON nor a CBOR array");
    assert_eq!(letter["payload"], "MjEuNQ==");
    let said = meter.says("311", "21.5");
    assert!(said.contains("received PUBACK") && !said.contains("failed"), "{said}");
    next("not_senml", 2);

    // A part of it is: the rest is kept.
    let said = meter.says("5", r#"[{"n":"power","u":"W","v":7},{"n":"mood","u":"smiles","v":9}]"#);
    assert!(said.contains("PUBACK (Mid: 1, RC:0)"), "{said}");
    let letter = next("wrong_unit", 3);
    assert_eq!((letter["refused"].as_u64(), letter["taken"].as_u64()), (Some(1), Some(1)));
    let last =
        || hub.run(&app.folder, &["telemetry", "last", "--device", "meter"]).expect("read").to_string();
    let until = now() + WAIT_MAX;
    while !last().contains("\"power\"") {
        assert!(now() < until, "what is good is not stored: {}", last());
    }
    assert!(!last().contains("mood"), "{}", last());

    // The tenant says what its readings are.
    let schema = world.stage.folder().join("schema.toml");
    std::fs::write(&schema, "[[readings]]\nname = \"power\"\nunit = \"W\"\nmax = 100\n").expect("written");
    let file = schema.display().to_string();
    hub.operate(&["schema", "set", "--tenant", "acme", &file]).expect("set");
    let refused = hub.run(&app.folder, &["schema", "clear"]);
    assert!(refused.is_err(), "an app does not change it: {refused:?}");
    let said = meter.says("5", r#"[{"n":"power","u":"W","v":700}]"#);
    assert!(said.contains("RC:153"), "{said}");
    assert!(
        next("schema", 4)["reason"].as_str().is_some_and(|why| why.contains("its value 700 is not within"))
    );
    let said = meter.says("5", r#"[{"n":"power","u":"W","v":70}]"#);
    assert!(said.contains("RC:0)"), "{said}");

    // The audit trail has it, and nobody else's tenant hears of it.
    let trail = || hub.run(&app.folder, &["audit"]).expect("the trail").to_string();
    while !trail().contains("1 of 2 readings refused: record 1 (mood)") {
        assert!(now() < until, "the trail has it not: {}", trail());
    }
    assert!(strangers.messages().is_empty());
}

#[test]
fn a_schema_outlives_the_hub() {
    let mut world = World::raise();
    let meter = Meter::new(&world);
    let schema = world.stage.folder().join("schema.toml");
    std::fs::write(&schema, "closed = true\n[[readings]]\nname = \"power\"\n").expect("written");
    let file = schema.display().to_string();
    world.stage.hub.operate(&["schema", "set", "--tenant", "acme", &file]).expect("set");
    let refused = |meter: &Meter| {
        let said = meter.says("5", r#"[{"n":"voltage","u":"V","v":230}]"#);
        assert!(said.contains("RC:153"), "{said}");
    };
    refused(&meter);
    world.stage.hub.stop();
    world.stage.hub.start().expect("again");
    refused(&Meter::new(&world));
}
