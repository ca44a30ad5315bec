//! What the operator on call sees.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use muster_simulators::{hub::HubError, limits::WAIT_MAX, programs};
use serde_json::Value;

use crate::world::World;

#[test]
fn health_answers_and_metrics_count() {
    let mut world = World::raise();
    world.holds("telemetry reaches its own tenant's app");
    world.holds("health answers and metrics count");
}

#[test]
fn nobody_waits_for_who_does_not_read_the_log() {
    // What the hub says is held up here as soon as a few thousand lines wait; it says everything it can.
    let mut world = World::raise_with(&[("MUSTER_LOG", "trace")]);
    let dropped = |world: &World| world.stage.hub.metric("muster_log_lines_dropped_total");
    let asked = (0..2_000).find(|_| dropped(&world).expect("answered") > 0);
    assert!(asked.is_some(), "the log never overflowed, so this shows nothing");
    world.holds("health answers and metrics count");
}

#[test]
fn the_api_says_what_why_and_what_next() {
    let world = World::raise();
    let operator = world.stage.hub.operator();
    let ask = |path: &str, certificate: bool, body: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(operator.join("ca.pem"));
        if certificate {
            curl.arg("--cert").arg(operator.join("cert.pem")).arg("--key").arg(operator.join("key.pem"));
        }
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", body]);
        }
        let output = curl.arg(format!("{}{path}", world.stage.hub.api())).output().expect("curl runs");
        String::from_utf8(output.stdout).expect("text")
    };
    for (path, certificate, body, code) in [
        ("/api/v1/tenants", false, None, "certificate_required"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"Acme"}"#), "malformed"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"acme","colour":"red"}"#), "malformed"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"acme"}"#), "tenant_exists"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"operator"}"#), "tenant_reserved"),
        ("/api/v1/tenants/nobody/devices", true, None, "tenant_unknown"),
        ("/api/v1/tenants/acme/devices/nothing", true, None, "device_unknown"),
        ("/api/v2/tenants", true, None, "route_unknown"),
    ] {
        let answer = ask(path, certificate, body);
        let start = format!(r#"{{"error":{{"code":"{code}","what":""#);
        assert!(answer.starts_with(&start), "{path} {body:?}: {answer}");
        assert!(answer.contains(r#""why":""#) && answer.contains(r#""next":""#), "{answer}");
    }
}

#[test]
fn an_app_that_gets_a_new_certificate_loses_the_old_one_and_its_sessions() {
    let mut world = World::raise();
    let out = world.stage.folder().join("dashboard-again");
    let (shown, mqtt) = (out.display().to_string(), world.stage.hub.mqtt_endpoint());
    let again = |extra: &'static str| {
        ["app", "create", "--tenant", "acme", "dashboard", "--out", &shown, "--mqtt", &mqtt, extra]
    };
    let without = &again("--replace")[..9];
    assert!(world.stage.hub.operate(without).is_err(), "an app is not replaced by mistake");
    world.stage.hub.operate(&again("--replace")).expect("replaced");
    // The old certificate ends at once: for the session that it opened, and for the API.
    let acme = &mut world.stage.tenants[0];
    acme.telemetry.wait_refused(WAIT_MAX).expect("closed, and not let in again");
    assert!(world.stage.hub.run(&world.stage.tenants[0].app.folder, &["telemetry", "last"]).is_err());
    world.stage.hub.run(&out, &["telemetry", "last"]).expect("the new one reads");
}

/// A command that goes on while the story does, and prints lines of JSON.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(world: &World, identity: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(programs::find("muster").expect("muster is built"));
        command.args(["--hub", &world.stage.hub.api(), "-o", "json", "--identity"]).arg(identity);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("muster runs");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// The next line; nothing when it has ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("text");
        (read > 0).then(|| serde_json::from_str(&line).expect("JSON"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(outcome: Result<Value, HubError>, code: &str) {
    match outcome {
        Err(HubError::Command { stderr, .. }) => {
            assert!(stderr.contains(&format!("\"code\":\"{code}\"")), "{stderr}");
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn what_is_published_on_the_command_line_is_answered_and_comes_to_who_subscribes() {
    let world = World::raise();
    let (hub, acme) = (&world.stage.hub, &world.stage.tenants[0].app.folder);
    // The stage's own app subscribes to everything, so somebody hears it.
    let answered = hub.run(acme, &["pub", "alerts/high", "hot", "--retain"]).expect("published");
    assert_eq!((&answered["code"], &answered["qos"]), (&0.into(), &1.into()));
    let kept = hub.run(acme, &["sub", "alerts/#", "--count", "1"]).expect("retained");
    assert_eq!(
        (&kept["topic"], &kept["payload"], &kept["retain"]),
        (&"alerts/high".into(), &"hot".into(), &true.into())
    );
    refused(hub.run(acme, &["pub", "devices/other/telemetry/x", "1"]), "not_authorized");
    refused(hub.run(&hub.operator(), &["pub", "alerts/high", "1"]), "usage");
    let globex = &world.stage.tenants[1].app.folder;
    let nothing = Watching::start(&world, globex, &["sub", "alerts/#", "--retained-only"]).next();
    assert_eq!(nothing, None, "another tenant's");
}

#[test]
fn a_request_gets_the_reply_that_belongs_to_it() {
    let world = World::raise();
    let acme = &world.stage.tenants[0].app.folder;
    let mut asked = Watching::start(&world, acme, &["sub", "services/time", "--for", "20s"]);
    // Who asks before the one who answers has subscribed is told that nobody heard it.
    let topics = ["topics", "--filter", "services/time"];
    while world.stage.hub.run(acme, &topics).expect("topics")["subscriptions"] == Value::Array(Vec::new()) {}
    let mut asking = Watching::start(&world, acme, &["rr", "services/time", "now?", "--timeout", "20s"]);
    let request = asked.next().expect("the request comes");
    let properties = &request["properties"];
    let reply_to = properties["response_topic"].as_str().expect("a place for the reply");
    let correlation = properties["correlation_hex"].as_str().expect("what makes it recognisable");
    for (correlation, text) in [("00", "another's"), (correlation, "noon")] {
        let reply = ["pub", reply_to, text, "--correlation", correlation];
        world.stage.hub.run(acme, &reply).expect("replied");
    }
    assert_eq!(asking.next().expect("a reply")["payload"], "noon");
}

#[test]
fn clients_are_listed_and_disconnected_by_the_operator_and_by_their_own_tenant() {
    let mut world = World::raise();
    let hub = &world.stage.hub;
    let (acme, globex) = (&world.stage.tenants[0], &world.stage.tenants[1]);
    let tenants_of = |listed: &Value| {
        let mut tenants: Vec<String> = listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|client| client["tenant"].as_str().expect("a tenant").to_owned())
            .collect();
        tenants.dedup();
        tenants
    };
    assert_eq!(tenants_of(&hub.operate(&["clients"]).expect("all")), ["acme", "globex"]);
    let own = hub.run(&acme.app.folder, &["clients"]).expect("its own");
    assert_eq!(tenants_of(&own), ["acme"]);
    let device =
        own.as_array().expect("a list").iter().find(|client| client["kind"] == "device").expect("a device");
    assert_eq!(device["id"], acme.devices[0].id.as_str());
    assert!(device["messages_in"].as_u64() > Some(0), "{device}");
    refused(hub.run(&acme.app.folder, &["clients", "--tenant", "globex"]), "tenant_unknown");
    let principal = format!("device/{}", globex.devices[0].id);
    refused(
        hub.run(&acme.app.folder, &["kick", "--tenant", "globex", "--principal", &principal]),
        "tenant_unknown",
    );
    refused(hub.run(&acme.app.folder, &["kick", "--principal", &principal]), "client_unknown");

    let kicked = hub.operate(&["kick", "--tenant", "globex", "--principal", &principal, "--reason", "noon"]);
    assert_eq!(kicked.expect("kicked")["closed"], 1);
    let device = &mut world.stage.tenants[1].devices[0];
    device
        .edge
        .process()
        .wait_line("the reason", WAIT_MAX, |line| line.contains("noon").then_some(()))
        .expect("told why");
    device.edge.wait_acknowledged().expect("it comes back");
}

#[test]
fn topics_and_traces_are_for_the_tenant_alone() {
    let world = World::raise();
    let (hub, acme) = (&world.stage.hub, &world.stage.tenants[0]);
    let globex = &world.stage.tenants[1].app.folder;
    hub.run(&acme.app.folder, &["pub", "alerts/high", "hot", "--retain"]).expect("published");
    let found = hub.run(&acme.app.folder, &["topics", "--filter", "alerts/#"]).expect("topics");
    assert_eq!(found["retained"][0]["topic"], "alerts/high");
    assert_eq!(found["retained"][0]["bytes"], 3);
    let theirs = hub.run(globex, &["topics"]).expect("topics");
    assert_eq!(theirs["retained"].as_array().map(Vec::len), Some(0));
    assert!(
        theirs["subscriptions"].as_array().is_some_and(|filters| filters.iter().any(|f| f["filter"] == "#"))
    );
    let id = &acme.devices[0].id;
    for call in [vec!["topics", "--tenant", "acme"], vec!["trace", "--tenant", "acme", "--client", id]] {
        refused(hub.operate(&call), "forbidden");
        refused(hub.run(globex, &call), "tenant_unknown");
    }

    // The device publishes by itself: its packets come, in and out, and nobody else's.
    let mut trace = Watching::start(&world, &acme.app.folder, &["trace", "--client", id, "--count", "6"]);
    let mut types = std::collections::BTreeSet::new();
    while let Some(packet) = trace.next() {
        assert_eq!(packet["id"], id.as_str());
        assert_eq!(packet.get("payload_hex"), None);
        types.insert(format!("{} {}", packet["direction"], packet["packet"]));
    }
    assert!(types.contains("\"in\" \"PUBLISH\"") && types.contains("\"out\" \"PUBACK\""), "{types:?}");
    let topic = format!("devices/{id}/telemetry/+");
    let with_payload = ["trace", "--topic", &topic, "--payload", "--count", "1"];
    let packet = hub.run(&acme.app.folder, &with_payload).expect("a packet");
    assert!(packet["payload_hex"].as_str().is_some_and(|payload| !payload.is_empty()), "{packet}");
}

#[test]
fn what_was_refused_is_audited_for_the_tenant_and_survives_the_hub() {
    let mut world = World::raise();
    let (acme, globex) =
        (world.stage.tenants[0].app.folder.clone(), world.stage.tenants[1].app.folder.clone());
    let denied = world.stage.hub.run(&acme, &["pub", "$SYS/broker/version", "forged"]);
    assert!(denied.is_err(), "{denied:?}");
    let is_it = |entry: &Value| {
        entry["act"] == "publish" && entry["reason"].as_str().is_some_and(|why| why.contains('$'))
    };
    let audited = |world: &World, folder: &Path| {
        let told = world.stage.hub.run(folder, &["audit", "--all"]).expect("the trail");
        told["entries"].as_array().expect("entries").iter().find(|entry| is_it(entry)).cloned()
    };
    // Each look is a process, so this is patience for half a minute.
    let entry = (0..1_000).find_map(|_| audited(&world, &acme)).expect("it is audited");
    assert_eq!(
        (&entry["kind"], &entry["subject"]),
        (&Value::from("app"), &Value::from("$SYS/broker/version"))
    );
    assert_eq!(audited(&world, &globex), None);
    refused(world.stage.hub.run(&globex, &["audit", "--tenant", "acme"]), "tenant_unknown");
    // The operator sees that, who and why, and not the topic.
    let seen = world.stage.hub.operate(&["audit", "--tenant", "acme"]).expect("the trail");
    let seen = seen["entries"].as_array().expect("entries").iter().find(|entry| is_it(entry)).expect("it");
    assert_eq!((seen.get("subject"), &seen["code"]), (None, &Value::from(0x90)));
    world.stage.hub.kill();
    world.stage.hub.start().expect("it starts again");
    assert_eq!(audited(&world, &acme), Some(entry));
}

#[test]
fn a_tenant_reads_its_own_numbers_on_sys() {
    let world = World::raise();
    let number = |tenant: usize, name: &str| {
        let topic = format!("$SYS/broker/{name}");
        let folder = &world.stage.tenants[tenant].app.folder;
        let told = world.stage.hub.run(folder, &["sub", &topic, "--count", "1"]).expect("a number");
        told["payload"].as_str().expect("text").parse::<u64>().expect("a number")
    };
    for n in 0..5 {
        let text = n.to_string();
        world
            .stage
            .hub
            .run(&world.stage.tenants[0].app.folder, &["pub", "kept/it", &text, "-r"])
            .expect("published");
    }
    assert_eq!(number(0, "retained messages/count"), 1);
    assert_eq!(number(1, "retained messages/count"), 0, "another tenant's is not counted");
    // Two subscriptions of the stage, a device, and whoever asks.
    assert_eq!((number(0, "clients/connected"), number(1, "clients/connected")), (4, 4));
}
