//! Telemetry that goes to a real InfluxDB (influxd 1.6.7 behind a door that speaks the write path of 2.x) and to
//! VictoriaMetrics as well: all of it, each reading once, each tenant's in its own bucket, and what is sensitive sealed.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use muster_simulators::{
    edge::{Edge, EdgeOptions},
    limits::WAIT_MAX,
    process::now,
};
use serde_json::Value;

use crate::{
    servers::{Influxd, Victoria, is_here},
    world::World,
};

/// Who drives a machine: sensitive by its name.
const DRIVER: &str = "canary-7b2e-ann-of-the-mill";
const TOKENS: [(&str, &str); 2] = [("token-of-acme", "acme"), ("token-of-globex", "globex")];

/// A hub that sends to `url`, with these tenants' tokens.
fn raise(url: &str, tokens: &Path) -> World {
    for (token, tenant) in TOKENS {
        let path = tokens.join(tenant);
        fs::write(&path, token).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    }
    // A world's settings live as long as the program.
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let settings = vec![
        ("MUSTER__INFLUX__URL", leak(url.to_owned())),
        ("MUSTER__INFLUX__ORG", "plant"),
        ("MUSTER__INFLUX__TOKENS", leak(tokens.display().to_string())),
    ];
    World::raise_with(Box::leak(settings.into_boxed_slice()))
}

/// Asks for acme's status until it is as wanted.
fn wait_status(world: &World, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = now() + WAIT_MAX;
    loop {
        let status = world.stage.hub.ask(&["influx", "status", "--tenant", "acme"]).unwrap_or_default();
        if wanted(&status) {
            return status;
        }
        assert!(now() < deadline, "not {what} in time: {status}");
    }
}

fn in_step(status: &Value) -> bool {
    status["readings"].as_u64() > Some(0)
        && status["waiting_messages"] == 0
        && status.get("trouble").is_none()
}

#[test]
fn every_reading_is_there_once_although_the_server_was_away_and_the_hub_was_killed() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&TOKENS);
    let tokens = tempfile::TempDir::new().expect("a folder");
    let mut world = raise(&server.door.url(), tokens.path());
    let (claim, (chip, folder)) =
        (world.stage.claim("acme").expect("a claim"), world.stage.new_chip().expect("a chip"));
    let options = EdgeOptions {
        tcti: &chip.tcti(),
        claim: Some(&claim),
        folder: &folder,
        interval_s: 0.2,
        labels: &[("driver-name", DRIVER)],
    };
    let mut driven = Edge::start(&world.stage.hub, &options).expect("starts");
    let id = driven.wait_enrolled().expect("enrols");
    driven.wait_acknowledged().expect("publishes");
    wait_status(&world, "in step", in_step);
    let deadline = now() + WAIT_MAX;
    let is_sealed = || server.query("acme", "SHOW FIELD KEYS").to_string().contains("driver-name#sealed");
    while !is_sealed() {
        assert!(now() < deadline, "no sealed field: {}", server.query("acme", "SHOW FIELD KEYS"));
    }

    // Away; meanwhile the hub dies and comes back.
    server.door.mood(Some(503));
    let away = wait_status(&world, "told", |status| {
        status["trouble"]["code"] == "failing" && status["waiting_messages"].as_u64() > Some(0)
    });
    assert!(away["trouble"]["next"].as_str().is_some_and(|next| !next.is_empty()), "{away}");
    let said: String = world.stage.hub.process().map(|hub| hub.all_lines().join("\n")).unwrap_or_default();
    world.stage.hub.kill();
    world.stage.hub.start().expect("comes back");
    driven.wait_connected().expect("comes back");
    driven.wait_acknowledged().expect("publishes on");
    server.door.mood(None);

    let acknowledged: Vec<_> = driven.acknowledged();
    let deadline = now() + WAIT_MAX;
    let streams: BTreeSet<_> = acknowledged.iter().map(|reading| reading.stream.clone()).collect();
    let missing = || -> usize {
        let there: BTreeSet<_> = streams.iter().flat_map(|stream| times(&server, stream, &id)).collect();
        acknowledged.iter().filter(|wanted| !there.contains(&(wanted.stream.clone(), wanted.time_ms))).count()
    };
    let mut left = missing();
    while left > 0 {
        assert!(now() < deadline, "{left} of {} acknowledged readings are not there", acknowledged.len());
        left = missing();
    }
    assert!(acknowledged.len() > 5, "so few show nothing: {}", acknowledged.len());

    // Whose is whose, and what must not leave.
    let bodies = server.door.bodies();
    let other = &world.stage.tenants[1].devices[0].id;
    for (token, body) in &bodies {
        assert!(!body.contains(DRIVER), "it left in the clear");
        assert_eq!(token == "token-of-globex", body.contains(other.as_str()), "{token}: {body}");
    }
    assert!(bodies.iter().any(|(_, body)| body.contains("driver-name#sealed=\"v1.")), "and it left sealed");
    let found = server.query("acme", "SELECT * FROM /.*/").to_string();
    assert!(!found.contains(DRIVER) && found.contains(&id));
    assert!(!server.query("globex", "SELECT * FROM /.*/").to_string().contains(&id));
    let after = world.stage.hub.process().map(|hub| hub.all_lines().join("\n")).unwrap_or_default();
    for log in [said, after] {
        assert!(!log.contains(DRIVER) && !log.contains("token-of-"), "the log says what it must not");
    }
}

/// Streams and times of the points of a device, in milliseconds.
fn times(server: &Influxd, stream: &str, device: &str) -> Vec<(String, i64)> {
    let query = format!("SELECT * FROM \"{stream}\" WHERE device = '{device}'");
    let found = server.query("acme", &query);
    let rows = found["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    let ms = rows.iter().filter_map(|row| row[0].as_i64()).map(|ns| (ns + 500_000).div_euclid(1_000_000));
    ms.map(|ms| (stream.to_owned(), ms)).collect()
}

#[test]
fn a_token_that_is_not_taken_is_told_in_plain_words_and_may_be_replaced_at_any_time() {
    if !is_here("influxd") {
        return;
    }
    let server = Influxd::start(&[("another", "acme")]);
    let tokens = tempfile::TempDir::new().expect("a folder");
    let world = raise(&server.door.url(), tokens.path());
    let status = wait_status(&world, "told", |status| status["trouble"]["code"] == "token");
    assert_eq!(status["trouble"]["what"], "the server does not take the tenant's token: status 401");
    let app = &world.stage.tenants[0].app.folder;
    for (identity, tenant) in [(app, "globex"), (&world.stage.tenants[1].app.folder, "acme")] {
        assert!(
            world.stage.hub.run(identity, &["influx", "status", "--tenant", tenant]).is_err(),
            "not its own"
        );
    }
    fs::write(tokens.path().join("acme"), "another").expect("written");
    wait_status(&world, "in step", in_step);
    assert!(server.values("acme") > 0);
}

#[test]
fn victoria_metrics_takes_the_same() {
    if !is_here("victoria-metrics") {
        return;
    }
    let server = Victoria::start();
    let tokens = tempfile::TempDir::new().expect("a folder");
    let world = raise(&server.url(), tokens.path());
    wait_status(&world, "in step", in_step);
    let device = &world.stage.tenants[0].devices[0].id;
    let series = server.export();
    let own = series.iter().filter(|series| series["metric"]["device"] == device.as_str());
    assert!(own.count() > 3, "{series:?}");
}
