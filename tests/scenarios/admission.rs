//! Who gets in without an operator's hand, who has to wait for one, and what a device runs.

use std::path::Path;

use muster_simulators::{
    edge::{Edge, EdgeOptions},
    limits::WAIT_MAX,
    process::now,
};
use serde_json::Value;

use crate::world::World;

fn options<'a>(tcti: &'a str, folder: &'a Path, claim: Option<&'a str>) -> EdgeOptions<'a> {
    EdgeOptions { tcti, claim, folder, interval_s: 1.0, labels: &[] }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[test]
fn a_listed_chip_enrols_at_its_first_boot_within_five_seconds_and_without_an_operator() {
    let mut world = World::raise();
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let tcti = chip.tcti();
    let hub = &world.stage.hub;
    let hash = Edge::ek_hash(hub, &options(&tcti, &folder, None)).expect("its hash");
    let manifest = folder.join("delivery.csv");
    std::fs::write(&manifest, format!("ek_hash,model,name\n{hash},demo-board,north\n")).expect("written");
    let manifest = manifest.display().to_string();
    let report = hub.operate(&["device", "import", "--tenant", "acme", &manifest]).expect("imported");
    assert_eq!((&report[0]["line"], &report[0]["outcome"]), (&2.into(), &"accepted".into()));
    // To another tenant, the chip is taken, and it does not learn whose it is.
    let other = ["device", "allow", "--tenant", "globex", "--ek-hash", &hash];
    assert!(hub.operate(&other).is_err());

    let powered_on = now();
    let mut edge = Edge::start(hub, &options(&tcti, &folder, None)).expect("it boots");
    let device = edge.wait_enrolled().expect("enrolled");
    let took = powered_on.elapsed();
    assert!(took.as_secs() < 5, "{took:?}");
    edge.wait_connected().expect("connected");
    edge.wait_acknowledged().expect("its reading is stored");
    let known = hub.operate(&["device", "measured", "--tenant", "acme", &device]).expect("known");
    assert_eq!(text(&known, "name"), "north");
    assert_eq!(known["measured"]["registers"]["23"].as_str().map(str::len), Some(64), "{known}");
    // Off the list, it stays what it is.
    let chip_name = format!("ek:{hash}");
    hub.operate(&["device", "disallow", "--tenant", "acme", &chip_name]).expect("taken off");
    hub.operate(&["device", "show", "--tenant", "acme", &device]).expect("still a device");
}

#[test]
fn a_second_device_that_claims_a_known_serial_number_is_held_and_shown_until_a_person_decides() {
    let mut world = World::raise();
    let number = "serial_number = \"PMP-17\"\n";
    let (first_chip, first_folder) = world.stage.new_chip().expect("a chip");
    let (second_chip, second_folder) = world.stage.new_chip().expect("a chip");
    let claims = [world.stage.claim("acme").expect("a claim"), world.stage.claim("acme").expect("a claim")];
    let (first_tcti, second_tcti) = (first_chip.tcti(), second_chip.tcti());
    let start = |hub: &_, tcti: &str, folder: &Path, claim: &str| {
        Edge::start_with(hub, &options(tcti, folder, Some(claim)), number).expect("it boots")
    };
    let mut first = start(&world.stage.hub, &first_tcti, &first_folder, &claims[0]);
    let genuine = first.wait_enrolled().expect("enrolled");
    let mut second = start(&world.stage.hub, &second_tcti, &second_folder, &claims[1]);
    second.wait_pending().expect("held");
    // It is held over a restart of the hub, too.
    world.stage.hub.kill();
    world.stage.hub.start().expect("the hub starts again");
    let hub = &world.stage.hub;
    let held = hub.operate(&["device", "pending", "--tenant", "acme"]).expect("shown");
    let held = &held[0];
    assert_eq!((text(held, "reason"), text(held, "decision")), ("identity".into(), "waiting".into()));
    assert_eq!(text(held, "serial_number"), "PMP-17");
    assert_eq!(text(&held["holder"], "device"), genuine);
    assert_eq!(text(&held["holder"], "ek_hash").len(), 64, "both chips are shown: {held}");
    let device = text(held, "device");
    assert!(hub.operate(&["device", "show", "--tenant", "acme", &device]).is_err(), "it is no device yet");
    assert!(
        hub.operate(&["device", "approve", "--tenant", "globex", &device]).is_err(),
        "nor anothers to let in"
    );
    first.wait_acknowledged().expect("the first goes on");
    // Denied, it is refused with a reason of its own; and let in after all when somebody thinks better of it.
    hub.operate(&["device", "deny", "--tenant", "acme", &device]).expect("denied");
    drop(second);
    let mut second = start(hub, &second_tcti, &second_folder, &claims[1]);
    assert_eq!(second.wait_refused().expect("refused"), "enrolment_denied");
    hub.operate(&["device", "approve", "--tenant", "acme", &device]).expect("approved");
    assert_eq!(second.wait_enrolled().expect("enrolled"), device);
}

#[test]
fn a_device_whose_software_is_not_accepted_gets_no_certificate_where_the_tenant_enforces_it() {
    let mut world = World::raise();
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let (tcti, claim) = (chip.tcti(), world.stage.claim("acme").expect("a claim"));
    let hub = &world.stage.hub;
    let set = |mode: &str| {
        let policy =
            ["tenant", "policy", "set", "--tenant", "acme", "--registers", "7,9,23", "--measurements", mode];
        hub.operate(&policy).expect("set")
    };
    assert_eq!(text(&set("enforce"), "measurements"), "enforce");
    let image = folder.join("image");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(&image, "release 1").expect("an image");
    let more = format!("[measure]\nfiles = [{image:?}]\n");
    let boot = || Edge::start_with(hub, &options(&tcti, &folder, Some(&claim)), &more).expect("it boots");
    let mut edge = boot();
    assert_eq!(edge.wait_refused().expect("refused"), "policy_refused");
    let held = hub.operate(&["device", "pending", "--tenant", "acme"]).expect("shown");
    let device = text(&held[0], "device");
    assert_eq!(text(&held[0], "reason"), "measurements");
    let accept = ["measurement", "accept", "--tenant", "acme", "release-1", "--device", &device];
    let accepted = hub.operate(&accept).expect("accepted");
    assert_eq!(accepted["registers"].as_object().map(serde_json::Map::len), Some(3), "{accepted}");
    assert_eq!(edge.wait_enrolled().expect("enrolled"), device);
    edge.wait_connected().expect("connected");
    let known = hub.operate(&["device", "measured", "--tenant", "acme", &device]).expect("known");
    assert_eq!(text(&known["measured"], "verdict"), "accepted as release-1");
    // Another image on the same chip: without its certificate the device has to show what it runs.
    drop(edge);
    std::fs::write(&image, "release 1, with a back door").expect("an image");
    std::fs::remove_file(folder.join("state/device.crt")).expect("its certificate is gone");
    let mut edge = boot();
    assert_eq!(edge.wait_refused().expect("refused"), "policy_refused");
    // Where it is only watched, it gets in and is marked.
    set("monitor");
    edge.process().wait_event("enrolled", WAIT_MAX).expect("enrolled");
    let known = hub.operate(&["device", "measured", "--tenant", "acme", &device]).expect("known");
    assert_eq!(text(&known["measured"], "verdict"), "unknown");
}
