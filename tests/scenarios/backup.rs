//! The restore drill: a hub with devices is backed up while they publish, is lost, and comes back.

#![expect(clippy::indexing_slicing, reason = "all of it is a test, and there are two tenants")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use muster_simulators::{
    chip::Chip,
    demo::CANARY,
    edge::{Edge, EdgeOptions},
    programs,
};
use serde_json::Value;

use crate::world::World;

/// Where backups go and for whom, as the hub is told it: both lie beside its directory.
const SETTINGS: &[(&str, &str)] =
    &[("MUSTER__BACKUP__PLACE", "../backups"), ("MUSTER__BACKUP__RECIPIENTS", "[\"../backup.pub.pem\"]")];

/// A device that publishes all the time, with its chip.
struct Publisher {
    edge: Edge,
    device: String,
    _chip: Chip,
}

/// A running hub with a recipient for its backups, and its root key in other hands.
struct Drill {
    world: World,
    publishers: Vec<Publisher>,
}

impl Drill {
    fn begin() -> Self {
        let world = World::raise_with(SETTINGS);
        let mut drill = Self { world, publishers: Vec::new() };
        for name in ["backup", "escrow"] {
            drill.muster(&["backup", "keygen", &drill.path(name)]);
        }
        let (recipient, out) = (drill.path("escrow.pub.pem"), drill.path("root.escrow"));
        drill.muster(&["backup", "escrow", "--recipient", &recipient, "--out", &out]);
        fs::copy(drill.path("hub/passphrase"), drill.path("passphrase")).expect("copied");
        for tenant in 0..2 {
            let publisher = drill.publisher(tenant);
            drill.publishers.push(publisher);
        }
        drill
    }

    fn publisher(&mut self, tenant: usize) -> Publisher {
        let stage = &mut self.world.stage;
        let claim = stage.claim(&stage.tenants[tenant].name).expect("a claim");
        let (chip, folder) = stage.new_chip().expect("a chip");
        let tcti = chip.tcti();
        let options =
            EdgeOptions { tcti: &tcti, claim: Some(&claim), folder: &folder, interval_s: 0.01, labels: &[] };
        let mut edge = Edge::start(&stage.hub, &options).expect("the agent runs");
        let device = edge.wait_enrolled().expect("enrolled");
        Publisher { edge, device, _chip: chip }
    }

    fn path(&self, name: &str) -> String {
        self.world.stage.folder().join(name).display().to_string()
    }

    /// The command line on the hub's machine.
    fn try_muster(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = Command::new(programs::find("muster").expect("muster is built"));
        command.args(arguments).args(["-o", "json", "--config", &self.path("hub/muster.toml")]);
        let output = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)),
            false => Err(format!("{}{}", text(&output.stdout), text(&output.stderr))),
        }
    }

    fn muster(&self, arguments: &[&str]) -> Value {
        self.try_muster(arguments).unwrap_or_else(|why| panic!("{arguments:?}: {why}"))
    }

    fn back_up(&self) -> Value {
        self.world.stage.hub.operate(&["backup", "run"]).expect("backed up")
    }

    /// So many more readings of each device are acknowledged.
    fn publish(&mut self, count: usize) {
        for publisher in &mut self.publishers {
            for _ in 0..count {
                publisher.edge.wait_acknowledged().expect("acknowledged");
            }
        }
    }

    /// The times of all readings of a tenant's device that were acknowledged until now.
    fn acknowledged(&mut self, tenant: usize) -> BTreeSet<i64> {
        let acknowledged = self.publishers[tenant].edge.acknowledged().into_iter();
        acknowledged.filter(|one| one.stream == "system").map(|one| one.time_ms).collect()
    }

    /// The times of all readings of that device that the hub has.
    fn stored(&self, tenant: usize) -> BTreeSet<i64> {
        let (stage, device) = (&self.world.stage, &self.publishers[tenant].device);
        let ask = ["telemetry", "range", "--device", device, "--stream", "system", "--limit", "1000000"];
        let answer = stage.hub.run(&stage.tenants[tenant].app.folder, &ask).expect("answered");
        let time = |reading: &Value| (reading["time_s"].as_f64().expect("a time") * 1_000.0).round() as i64;
        answer["readings"].as_array().expect("readings").iter().map(time).collect()
    }

    /// Asks until the hub has them all: it reads its log a moment after the acknowledgement.
    fn has_all(&mut self, tenant: usize, wanted: &BTreeSet<i64>) -> bool {
        (0..100).any(|_| {
            let is_there = wanted.is_subset(&self.stored(tenant));
            if !is_there {
                self.publishers[tenant].edge.wait_acknowledged().expect("acknowledged");
            }
            is_there
        })
    }

    fn apps(&self, tenant: &str) -> Vec<String> {
        let listed = self.world.stage.hub.operate(&["app", "list", "--tenant", tenant]).expect("listed");
        let id = |app: &Value| app["id"].as_str().expect("an id").to_owned();
        listed.as_array().expect("apps").iter().map(id).collect()
    }

    fn add_app(&self, tenant: &str, name: &str) {
        let (hub, out) = (&self.world.stage.hub, self.path(&format!("{tenant}-{name}")));
        hub.operate(&["app", "create", "--tenant", tenant, name, "--out", &out]).expect("created");
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let read = |publisher: &Publisher| fs::read(publisher.edge.state().join("device.crt")).expect("read");
        self.publishers.iter().map(read).collect()
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_lost_hub_comes_back_from_its_backup_with_every_reading_that_was_acknowledged_before_it() {
    let mut drill = Drill::begin();
    drill.world.holds("stored telemetry answers last and range");
    drill.publish(300);
    let first = drill.back_up();
    // The place and the signer stay; the escrow is made anew.
    drill.world.stage.hub.operate(&["key", "rotate", "root"]).expect("made anew");
    let (recipient, root) = (drill.path("escrow.pub.pem"), drill.path("rotated.escrow"));
    drill.muster(&["backup", "escrow", "--recipient", &recipient, "--out", &root]);
    drill.publish(100);
    let wanted = [0, 1].map(|tenant| drill.acknowledged(tenant));
    assert!(wanted.iter().all(|times| times.len() >= 100), "{wanted:?}");
    let second = drill.back_up();
    assert!(second["pieces_new"].as_u64() < second["pieces"].as_u64(), "{first} {second}");
    drill.publish(20);
    let certificates = drill.certificates();

    // The machine is gone.
    drill.world.stage.hub.kill();
    fs::rename(drill.path("hub"), drill.path("lost")).expect("moved away");
    let (place, key) = (drill.path("backups"), drill.path("backup.key.pem"));
    let (dir, root_key) = (drill.path("hub"), drill.path("escrow.key.pem"));
    let passphrase = drill.path("passphrase");
    let restored = drill.muster(&[
        "restore",
        "--place",
        &place,
        "--key",
        &key,
        "--verify",
        "--dir",
        &dir,
        "--root",
        &root,
        "--root-key",
        &root_key,
        "--passphrase-file",
        &passphrase,
    ]);
    assert_eq!(restored["number"], second["number"]);
    assert_eq!(restored["lost"], Value::Array(Vec::new()));
    drill.world.stage.hub.start().expect("it runs again");
    for publisher in &mut drill.publishers {
        publisher.edge.wait_connected().expect("it is let in with the certificate that it has");
    }
    assert_eq!(drill.certificates(), certificates, "nobody had to enrol again");
    for (tenant, wanted) in wanted.iter().enumerate() {
        assert!(drill.has_all(tenant, wanted), "acknowledged before the backup, and gone");
    }
    drill.world.holds("devices and apps come back after the restart");
    drill.world.holds("an app cannot ask for another tenant's telemetry");
    let third = drill.back_up();
    assert_eq!(third["number"], 3);
}

#[test]
fn a_backup_without_its_key_says_nothing_and_what_is_missing_is_named() {
    let mut drill = Drill::begin();
    drill.world.holds("stored telemetry answers last and range");
    drill.publish(50);
    let made = drill.back_up();
    let mut all = Vec::new();
    files(Path::new(&drill.path("backups")), &mut all);
    let devices: Vec<String> = drill.publishers.iter().map(|publisher| publisher.device.clone()).collect();
    let mut searched = 0;
    for path in &all {
        let bytes = fs::read(path).expect("read");
        searched += bytes.len();
        let secrets = [CANARY, "acme", "globex", "dashboard", "muster.demo"].into_iter();
        for secret in secrets.chain(devices.iter().map(String::as_str)) {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "{secret:?} is in {}", path.display());
        }
    }
    assert!(searched as u64 >= made["bytes"].as_u64().expect("bytes"), "{searched} bytes searched, {made}");

    let verify =
        |key: &str| drill.try_muster(&["backup", "verify", "--place", &drill.path("backups"), "--key", key]);
    verify(&drill.path("backup.key.pem")).expect("it is whole");
    let wrong = verify(&drill.path("escrow.key.pem")).expect_err("another key");
    assert!(wrong.contains("it was made for"), "{wrong}");
    let piece = all.iter().find(|path| path.to_string_lossy().contains("/chunks/")).expect("a piece");
    fs::remove_file(piece).expect("removed");
    let lost = verify(&drill.path("backup.key.pem")).expect_err("a piece is missing");
    let name = piece.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(lost.contains(&name) && lost.contains("lost with it: "), "{lost}");
    // An app has no business with backups.
    let app = drill.world.stage.tenants[0].app.folder.clone();
    assert!(drill.world.stage.hub.run(&app, &["backup", "run"]).is_err());
}

#[test]
fn one_tenant_is_put_back_and_the_other_stays_as_it_is() {
    let mut drill = Drill::begin();
    drill.publish(100);
    let before = drill.acknowledged(0);
    let made = drill.back_up();
    drill.add_app("acme", "late");
    drill.add_app("globex", "late");
    drill.publish(50);
    let globex = drill.acknowledged(1);
    assert!(drill.has_all(1, &globex));
    let later = drill.acknowledged(0);
    let last = *later.last().expect("published since");
    assert!(!before.contains(&last) && drill.has_all(0, &later));

    let (place, key) = (drill.path("backups"), drill.path("backup.key.pem"));
    let restore = ["restore", "--tenant", "acme", "--place", &place, "--key", &key, "--verify"];
    let running = drill.try_muster(&restore).expect_err("the hub runs");
    assert!(running.contains("stop the hub"), "{running}");
    drill.world.stage.hub.stop();
    let mut unknown = restore;
    unknown[2] = "nobody";
    let refused = drill.try_muster(&unknown).expect_err("there is none");
    assert!(refused.contains("no such tenant"), "{refused}");
    let restored = drill.muster(&restore);
    assert_eq!(restored["number"], made["number"]);
    drill.world.stage.hub.start().expect("it runs again");
    for publisher in &mut drill.publishers {
        publisher.edge.wait_connected().expect("let in");
    }
    assert!(drill.has_all(0, &before), "acme has what it had when it was backed up");
    assert!(!drill.stored(0).contains(&last), "and nothing that it had since");
    assert!(drill.has_all(1, &globex), "globex has what it had when the hub was stopped");
    assert_eq!(drill.apps("acme"), ["dashboard"]);
    assert_eq!(drill.apps("globex"), ["dashboard", "late"]);
    drill.world.holds("telemetry reaches its own tenant's app");
}
