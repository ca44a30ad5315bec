//! Readings that only the tenant's app opens: the hub carries and keeps them, and has no key.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use muster_simulators::{
    edge::{Edge, EdgeOptions},
    limits::WAIT_MAX,
    programs,
};

use crate::world::World;

/// What the device says, as the name of a sensor and as its value.
const NAME: &str = "canary-below-the-quay";
const VALUE: &str = "canary-7b2e-the-second-vault-is-empty";

fn muster(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(programs::find("muster").expect("muster is built"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // One that ends before it has read all says why on its own.
    let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
    child.wait_with_output().expect("its end")
}

/// Every file below a folder that holds one of the texts.
fn holders(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                let has = |text: &&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
                if texts.iter().any(has) {
                    found.push(path);
                }
            }
        }
    }
    found
}

#[test]
fn the_hub_carries_and_keeps_what_only_the_app_opens() {
    let mut world = World::raise();
    let keys = world.stage.folder().join("keys");
    fs::create_dir_all(&keys).expect("a folder");
    let key = keys.join("app.pem").display().to_string();
    let made = muster(&["seal", "keygen", "--out", &key], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let mut heard = world.stage.tenants[0]
        .app
        .subscribe_with("-t 'devices/+/telemetry/#' -v", "-t 'devices/+/telemetry/labels' -F '%t %x'")
        .expect("a subscription");
    heard.wait_subscribed(WAIT_MAX).expect("granted");

    let claim = world.stage.claim("acme").expect("a claim");
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let (tcti, labels) = (chip.tcti(), [(NAME, VALUE)]);
    let options =
        EdgeOptions { tcti: &tcti, claim: Some(&claim), folder: &folder, interval_s: 0.2, labels: &labels };
    let public = keys.join("app.pub.pem");
    let more = format!("[uplink]\nseal_to = {:?}\n", public.display().to_string());
    let mut edge = Edge::start_with(&world.stage.hub, &options, &more).expect("it starts");
    let id = edge.wait_enrolled().expect("enrolled");
    edge.wait_connected().expect("connected");
    let of_labels = |edge: &mut Edge| edge.acknowledged().iter().any(|reading| reading.stream == "labels");
    while !of_labels(&mut edge) {
        edge.wait_acknowledged().expect("acknowledged");
    }

    // The app hears what begins as COSE_Encrypt does, and reads it.
    let topic = format!("devices/{id}/telemetry/labels");
    let message = heard.wait_message(WAIT_MAX, |message| message.topic == topic).expect("delivered");
    assert!(message.payload.starts_with("d86084"), "{}", message.payload);
    let line = format!("{} {}\n", message.topic, message.payload);
    let opened = muster(&["open", "--key", &key, "--tenant", "acme"], &line);
    let said = String::from_utf8_lossy(&opened.stdout).into_owned();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    assert!(said.contains(NAME) && said.contains(VALUE), "{said}");

    // Not as another tenant's, on another topic, or with the hub's own keys.
    let moved = line.replace(&id, &world.stage.tenants[0].devices[0].id);
    for (tenant, line) in [("globex", &line), ("acme", &moved)] {
        let refused = muster(&["open", "--key", &key, "--tenant", tenant], line);
        assert!(!refused.status.success());
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("it belongs to another tenant, device or topic"), "{why}");
    }
    let operator = world.stage.hub.operator().join("key.pem").display().to_string();
    let refused = muster(&["open", "--key", &operator, "--tenant", "acme"], &line);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("it is sealed to other keys"), "{why}");

    // Neither its log nor its folder holds what the device said; what another device says in the clear is told.
    drop(edge);
    world.stage.hub.stop();
    let process = world.stage.hub.process();
    let log = process.map(|process| process.all_lines().join("\n")).unwrap_or_default();
    for text in [NAME, VALUE] {
        assert!(!log.contains(text), "the hub's log holds {text:?}");
    }
    let found = holders(world.stage.hub.folder(), &[NAME, VALUE]);
    assert!(found.is_empty(), "{found:?}");
    assert!(!holders(&folder, &[VALUE]).is_empty(), "the search finds what is there");
}

#[test]
fn a_key_that_is_none_keeps_the_agent_from_starting() {
    let mut world = World::raise();
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let tcti = chip.tcti();
    let options = EdgeOptions { tcti: &tcti, claim: None, folder: &folder, interval_s: 0.2, labels: &[] };
    let wrong = world.stage.hub.operator().join("key.pem").display().to_string();
    let more = format!("[uplink]\nseal_to = {wrong:?}\n");
    let mut edge = Edge::start_with(&world.stage.hub, &options, &more).expect("it starts");
    let why = |line: &str| line.contains("is a private key; give the public one").then_some(());
    edge.process().wait_line("why it does not run", WAIT_MAX, why).expect("told");
    assert!(!edge.has_connected());
}
