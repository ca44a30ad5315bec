//! What becomes of the fleet when an authority is followed by another, and when a certificate is revoked.

use std::process::Command;

use muster_simulators::{
    edge::{Edge, EdgeOptions},
    limits::WAIT_MAX,
    programs,
};
use serde_json::Value;

use crate::world::World;

/// Runs `muster` on the machine of the hub.
fn locally(world: &World, arguments: &[&str]) {
    let mut muster = Command::new(programs::find("muster").expect("muster is built"));
    muster.arg("--config").arg(world.stage.hub.folder().join("muster.toml")).args(arguments);
    let output = muster.output().expect("muster runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn reload(world: &mut World) {
    let hub = world.stage.hub.process().expect("it runs");
    let sent = Command::new("kill").args(["-HUP", &hub.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    hub.wait_event("the hub's keys and certificates were read anew", WAIT_MAX).expect("read anew");
}

/// Who issued the certificate that a device keeps.
fn issuer(edge: &Edge) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-issuer", "-in"]).arg(edge.state().join("device.crt"));
    String::from_utf8(openssl.output().expect("openssl runs").stdout).expect("text").trim().to_owned()
}

/// The certificate of a principal, as `muster ca list` shows it.
fn listed(world: &World, principal: &str) -> Value {
    let all = world.stage.hub.operate(&["ca", "list"]).expect("listed");
    let ends = |row: &&Value| row["principal"].as_str().is_some_and(|name| name.ends_with(principal));
    all.as_array().expect("rows").iter().find(ends).expect("it is listed").clone()
}

fn fetched(world: &World, path: &str) -> Vec<u8> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--cacert"]).arg(world.stage.hub.root());
    curl.arg(format!("{}{path}", world.stage.hub.api())).output().expect("curl runs").stdout
}

#[test]
fn authorities_are_rotated_under_live_sessions() {
    let mut world = World::raise();
    assert!(issuer(&world.stage.tenants[0].devices[0].edge).ends_with("muster device authority"));
    for authority in ["device", "server", "client", "software"] {
        locally(&world, &["ca", "rotate", authority]);
    }
    reload(&mut world);
    // Nobody had to connect again: those who were there are heard as before.
    for tenant in &mut world.stage.tenants {
        tenant.telemetry.messages();
        tenant.telemetry.wait_message(WAIT_MAX, |_| true).expect("the app still hears");
        for device in &mut tenant.devices {
            device.edge.acknowledged();
            device.edge.wait_acknowledged().expect("the device is still acknowledged");
            assert_eq!(device.edge.process().events("disconnected").len(), 0, "it was disconnected");
        }
    }
    // Whoever comes now gets a certificate of the new authority, from a hub that shows one of the new authority.
    let claim = world.stage.claim("acme").expect("claim");
    let (chip, folder) = world.stage.new_chip().expect("chip");
    let options = EdgeOptions {
        tcti: &chip.tcti(),
        claim: Some(&claim),
        folder: &folder,
        interval_s: 0.2,
        labels: &[],
    };
    let mut newcomer = Edge::start(&world.stage.hub, &options).expect("started");
    newcomer.wait_enrolled().expect("enrolled");
    newcomer.wait_connected().expect("connected");
    assert!(issuer(&newcomer).ends_with("muster device authority 2"), "{}", issuer(&newcomer));
    // And whoever comes back with one of the old authority is let in.
    let hub = &mut world.stage.hub;
    hub.kill();
    hub.start().expect("started again");
    let old = &mut world.stage.tenants[0].devices[0].edge;
    old.wait_connected().expect("connected again");
    assert!(issuer(old).ends_with("muster device authority"));
}

#[test]
fn a_revoked_certificate_ends_its_sessions_and_nobody_elses() {
    let mut world = World::raise();
    let serial = listed(&world, "/t/acme/app/dashboard")["serial"].as_str().expect("text").to_owned();
    let revoke = ["ca", "revoke", &serial, "--reason", "key-compromise", "--since", "2d"];
    let revoked = world.stage.hub.operate(&revoke).expect("revoked");
    assert_eq!(revoked["reason"], "key_compromise");
    // It is closed, and not let in again: by the gate in the first moment, then within the handshake.
    if let Err(ended) = world.stage.tenants[0].telemetry.wait_refused(WAIT_MAX) {
        assert!(ended.to_string().contains("alert certificate revoked"), "{ended}");
    }
    let hub = world.stage.hub.process().expect("it runs");
    hub.wait_event("revocations published", WAIT_MAX).expect("published");
    let globex = &mut world.stage.tenants[1];
    globex.telemetry.messages();
    globex.telemetry.wait_message(WAIT_MAX, |_| true).expect("another tenant's app still hears");
    for tenant in &mut world.stage.tenants {
        for device in &mut tenant.devices {
            assert_eq!(device.edge.process().events("disconnected").len(), 0, "a device was disconnected");
        }
    }
    // Anybody can fetch the list, and stock tools go by it.
    let list = world.stage.folder().join("client.pem");
    std::fs::write(&list, fetched(&world, "/crl/client.pem")).expect("written");
    let shown = Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(&list).output();
    let shown = String::from_utf8(shown.expect("openssl runs").stdout).expect("text");
    assert!(shown.contains(&serial.to_uppercase()), "{shown}");
    assert!(shown.contains("Key Compromise") && shown.contains("Invalidity Date"), "{shown}");
    assert!(!fetched(&world, "/trust/muster.internal").is_empty());
}
