//! The operator asks why a device cannot connect, and who may do what.

use std::path::PathBuf;

use muster_simulators::{
    chip::Chip,
    edge::{Edge, EdgeOptions},
    limits::WAIT_MAX,
};
use muster_tpm::{
    device::Chip as Tpm,
    keys::DeviceKeys as _,
    manufacturer::SimulatedManufacturer,
    verifier::{device_id, ek_hash},
    wire::TpmtPublic,
};
use serde_json::Value;

use crate::world::World;

/// The id that a chip's device has or would have.
fn id_of(chip: &Chip) -> String {
    let ek = Tpm::open(&chip.tcti()).expect("a TPM").ek_public().expect("an endorsement key");
    device_id(&ek_hash(&TpmtPublic::parse(&ek).expect("public area"))).to_string()
}

fn boot(world: &World, chip: &Chip, folder: &PathBuf, claim: Option<&str>) -> Edge {
    let options = EdgeOptions { tcti: &chip.tcti(), claim, folder, interval_s: 1.0, labels: &[] };
    Edge::start(&world.stage.hub, &options).expect("started")
}

/// What `muster device why` says: the cause's name, and what to do next.
fn why(world: &World, device: &str) -> (String, String) {
    let told = world.stage.hub.operate(&["device", "why", device]).expect("an answer");
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("code"), text("next"))
}

/// Boots a new chip that is to be refused, and asks why.
fn refused(world: &mut World, claim: Option<&str>) -> (String, String) {
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let device = id_of(&chip);
    let mut edge = boot(world, &chip, &folder, claim);
    let code = edge.wait_refused().expect("refused");
    let told = why(world, &device);
    assert_eq!(told.0, code, "the operator reads what the device was told");
    told
}

#[test]
fn an_operator_is_told_the_cause_and_the_next_step_of_each_failure() {
    let mut world = World::raise();
    let expect = |(code, next): (String, String), cause: &str, step: &str| {
        assert_eq!(code, cause);
        assert!(next.contains(step), "{cause}: {next}");
    };

    let told = refused(&mut world, None);
    expect(told, "unknown_chip", "muster claim create");
    let told = refused(&mut world, Some("AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AA"));
    expect(told, "claim_unknown", "typing mistakes");

    let claim = world.stage.claim("acme").expect("a claim");
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    boot(&world, &chip, &folder, Some(&claim)).wait_enrolled().expect("enrolled");
    let told = refused(&mut world, Some(&claim));
    expect(told, "claim_used", "create a new claim");

    let other = ["claim", "create", "--tenant", "acme", "--model", "another-board"];
    let claim = world.stage.hub.operate(&other).expect("a claim");
    let told = refused(&mut world, claim.get("code").and_then(Value::as_str));
    expect(told, "claim_model_mismatch", "this model");

    world.stage.hub.operate(&["tenant", "create", "strict"]).expect("a tenant");
    let claim = world.stage.claim("strict").expect("a claim");
    let told = refused(&mut world, Some(&claim));
    expect(told, "class_not_allowed", "TPM class");

    let stranger = SimulatedManufacturer::new(&[7; 32]).expect("a manufacturer");
    let folder = world.stage.folder().join("strangers-device");
    std::fs::create_dir_all(folder.join("tpm")).expect("a folder");
    let chip = Chip::manufacture(&stranger, &folder.join("tpm")).expect("a chip");
    let device = id_of(&chip);
    let mut edge = boot(&world, &chip, &folder, None);
    edge.wait_refused().expect("refused");
    expect(why(&world, &device), "untrusted_endorsement", "tpm_roots");

    expect(why(&world, "nobody-has-this-name"), "never_seen", "edge.toml");

    let other = ["claim", "create", "--tenant", "acme", "--approve"];
    let claim = world.stage.hub.operate(&other).expect("a claim");
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let id = id_of(&chip);
    let mut edge = boot(&world, &chip, &folder, claim.get("code").and_then(Value::as_str));
    edge.process().wait_event("pending", WAIT_MAX).expect("held");
    expect(why(&world, &id), "held", "muster device approve");

    let device = world.stage.tenants[0].devices.remove(0);
    expect(why(&world, &device.id), "connected", "nothing");
    for (command, cause, step) in [
        ("suspend", "suspended", "resume"),
        ("revoke", "revoked", "enrols anew"),
        ("retire", "retired", "replace"),
    ] {
        let ordered = ["device", command, &device.id, "--tenant", "acme"];
        world.stage.hub.operate(&ordered).expect("done");
        expect(why(&world, &device.id), cause, step);
    }
    drop(device);
    let device = world.stage.tenants[1].devices.remove(0);
    let id = device.id.clone();
    drop(device);
    while why(&world, &id).0 == "connected" {}
    expect(why(&world, &id), "silent", "power and network");
}

#[test]
fn a_tenant_is_told_of_its_own_devices_only() {
    let world = World::raise();
    let (acme, globex) = (&world.stage.tenants[0], &world.stage.tenants[1]);
    let foreign = globex.devices[0].id.as_str();
    let refused = world.stage.hub.run(&acme.app.folder, &["device", "why", foreign]);
    let error = refused.expect_err("not its device").to_string();
    assert!(error.contains("device_unknown"), "{error}");
    let own = world.stage.hub.run(&acme.app.folder, &["device", "why", &acme.devices[0].id]).expect("told");
    assert_eq!(own.get("code").and_then(Value::as_str), Some("connected"));
}

#[test]
fn what_somebody_may_do_is_told_with_the_rule_that_says_so() {
    let world = World::raise();
    let device = world.stage.tenants[0].devices[0].id.clone();
    let who = format!("device/{device}");
    let own = format!("devices/{device}/telemetry/climate");
    for (words, allowed, rule) in [
        (vec![who.as_str(), "publish", own.as_str()], true, "device-own-topics"),
        (vec![who.as_str(), "publish", "devices/other/telemetry/climate"], false, "device-own-topics"),
        (vec![who.as_str(), "subscribe", "#"], false, "device-own-topics"),
        (vec![who.as_str(), "connect"], true, "admission"),
        (vec![who.as_str(), "read"], false, "api-member"),
        (vec!["app/dashboard", "subscribe", "#"], true, "app-subscribes"),
        (vec!["app/dashboard", "publish", own.as_str()], false, "app-not-as-a-device"),
        (vec!["app/dashboard", "read"], true, "api-member"),
        (vec!["app/dashboard", "administer"], false, "api-operator"),
        (vec!["app/nobody", "connect"], false, "admission:unknown"),
    ] {
        let asked = [&["can"], words.as_slice(), &["--tenant", "acme"]].concat();
        let told = world.stage.hub.ask(&asked).expect("an answer");
        assert_eq!(told.get("allowed").and_then(Value::as_bool), Some(allowed), "{words:?}");
        assert_eq!(told.get("rule").and_then(Value::as_str), Some(rule), "{words:?}");
    }
}
