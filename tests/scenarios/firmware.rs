//! Identity keys that sign only under approved firmware: a real device whose TPM refuses the handshake.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use muster_simulators::{
    chip::Chip,
    edge::{Edge, EdgeOptions},
    hub::Hub,
    limits::WAIT_MAX,
    process::{Process, now},
    programs,
};
use serde_json::Value;

use crate::world::World;

const CLASS: &str = "demo-board";
const REGISTERS: [u8; 3] = [0, 7, 9];

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Who approves firmware: a key in a folder that no hub sees.
struct Offline {
    folder: PathBuf,
}

impl Offline {
    fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("a folder");
        let offline = Self { folder };
        let (key, public) = (offline.path("offline.pem"), offline.path("fw.pub.pem"));
        run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its own");
        run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]);
        offline
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Approves what the chip shows now, and stages it on the device.
    fn approves(&self, release: &str, values: &[[u8; 32]], device: &Path) {
        let hex = |value: &[u8; 32]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let lines = REGISTERS.iter().zip(values).map(|(pcr, value)| format!("  {pcr} : 0x{}\n", hex(value)));
        fs::write(self.path("pcrs"), format!("  sha256:\n{}", lines.collect::<String>())).expect("written");
        let muster = programs::find("muster").expect("muster is built").display().to_string();
        let out = self.path(&format!("{release}.cbor"));
        let (key, pcrs) = (self.path("offline.pem"), self.path("pcrs"));
        let of_release = ["--class", CLASS, "--release", release];
        let files = ["--key", &key, "--pcrs", &pcrs, "--out", &out];
        run(&muster, &[&["firmware", "approve"], &of_release[..], &files].concat());
        let staged = device.join("state/approved");
        fs::create_dir_all(&staged).expect("a folder");
        fs::copy(out, staged.join(format!("{release}.cbor"))).expect("staged");
    }
}

/// An agent whose identity keys are bound.
fn starts(hub: &Hub, chip: &Chip, folder: &Path, offline: &Offline, claim: Option<&str>) -> Process {
    let mut config = format!(
        "hub = {:?}\nserver_name = \"localhost\"\nroot = {:?}\ntpm = {:?}\nmodel = {CLASS:?}\nstate_dir = {:?}\n\
         interval_s = 0.2\nretry_max_s = 0.5\n",
        hub.mqtt(),
        hub.root(),
        chip.tcti(),
        folder.join("state"),
    );
    if let Some(claim) = claim {
        config.push_str(&format!("claim = {claim:?}\n"));
    }
    config.push_str(&format!("[firmware_bound]\nauthority = {:?}\n", offline.path("fw.pub.pem")));
    let path = folder.join("edge.toml");
    fs::write(&path, config).expect("written");
    let mut command = Command::new(programs::find("muster-edge").expect("muster-edge is built"));
    command.args(["run", "--config"]).arg(&path);
    command.env("TSS2_LOG", "all+NONE").env("MUSTER_LOG", "info,muster_edge=debug");
    Process::start("muster-edge", &mut command).expect("it starts")
}

/// Waits until the agent says that its key would not sign.
fn is_held_by_its_tpm(edge: &mut Process, event: &str, field: &str) {
    let until = now() + WAIT_MAX;
    loop {
        let fields = edge.wait_event(event, WAIT_MAX).expect("it says so");
        let why = fields.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        if why.contains("it is bound to approved firmware") {
            return;
        }
        assert!(now() < until, "{why}");
    }
}

#[test]
fn a_device_connects_only_under_firmware_that_its_authority_approved() {
    let mut world = World::raise();
    let offline = Offline::new(world.stage.folder().join("offline"));
    let key = offline.path("fw.pub.pem");
    let named = ["--tenant", "acme", "--class", CLASS, "--key", &key];
    let add = [&["firmware", "authority", "add"], &named[..]].concat();
    world.stage.hub.operate(&add).expect("added");
    let listed =
        world.stage.hub.operate(&["firmware", "authority", "list", "--tenant", "acme"]).expect("listed");
    assert_eq!(listed[0]["class"], CLASS);

    // A key that is not bound does not come in.
    let claim = world.stage.claim("acme").expect("a claim");
    let (chip, folder) = world.stage.new_chip().expect("a chip");
    let tcti = chip.tcti();
    let options =
        EdgeOptions { tcti: &tcti, claim: Some(&claim), folder: &folder, interval_s: 0.2, labels: &[] };
    let mut free = Edge::start(&world.stage.hub, &options).expect("it starts");
    assert_eq!(free.wait_refused().expect("refused"), "identity_not_bound");
    drop(free);

    // One that is bound signs nothing before the boot is measured, so there is no signing request either.
    let (mut chip, folder) = world.stage.new_chip().expect("a chip");
    let hub = &world.stage.hub;
    fs::create_dir_all(folder.join("state/approved")).expect("a folder");
    chip.measure(9, &[1; 32]).expect("measured");
    offline.approves("release-1", &chip.registers(&REGISTERS).expect("read"), &folder);
    chip.power_cycle().expect("back");
    let mut edge = starts(hub, &chip, &folder, &offline, Some(&claim));
    is_held_by_its_tpm(&mut edge, "failed to enrol", "error");
    edge.stop();

    // After the boot that was approved it enrols and speaks.
    chip.measure(9, &[1; 32]).expect("measured");
    let mut edge = starts(hub, &chip, &folder, &offline, Some(&claim));
    edge.wait_event("enrolled", WAIT_MAX).expect("enrolled");
    edge.wait_event("acknowledged", WAIT_MAX).expect("connected");
    edge.stop();

    // Something else was loaded since: the handshake ends in the device's own TPM.
    chip.measure(9, &[6; 32]).expect("measured");
    let next = chip.registers(&REGISTERS).expect("read");
    let mut edge = starts(hub, &chip, &folder, &offline, None);
    is_held_by_its_tpm(&mut edge, "disconnected", "detail");
    assert!(edge.events("connected").is_empty());
    // The way back is open, and gives nothing but what the authority approved: so far, nothing.
    let quarantined = "quarantined; the hub gives approvals of firmware and nothing else";
    let given = edge.wait_event(quarantined, WAIT_MAX).expect("it may ask");
    assert_eq!(given.get("offered").and_then(Value::as_u64), Some(0));
    // It is the next release after all: once that is published, the same agent comes back by itself.
    let elsewhere = world.stage.folder().join("elsewhere");
    offline.approves("release-2", &next, &elsewhere);
    let file = offline.path("release-2.cbor");
    let publish = |tenant| ["firmware", "publish", "--tenant", tenant, file.as_str()];
    assert!(hub.operate(&publish("globex")).is_err(), "no authority of that tenant signed it");
    hub.operate(&publish("acme")).expect("published");
    edge.wait_event("connected", WAIT_MAX).expect("let in");
    edge.wait_event("acknowledged", WAIT_MAX).expect("it speaks");

    let remove = [&["firmware", "authority", "remove"], &named[..]].concat();
    world.stage.hub.operate(&remove).expect("removed");
}
