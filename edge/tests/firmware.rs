//! The program itself as firmware, started by the boot loader that is played, against a scripted hub on loopback: what
//! it installs, what it refuses, and what it goes back from.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod scripted_hub;

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use aws_lc_rs::digest::{SHA256, digest};
use muster_actors::{Clock as _, SystemClock};
use muster_schemas::firmware::{
    Announcement, Digest, Encoding, Event, EventKind, ExecutionId, FailureCode, Freshness, Offer, Outcome,
    Report, Sequence, Stage, Transfer,
};
use muster_slots::{
    emulator::{self, Options},
    fs::Disk,
    slot::{Image, Layout, Slot},
    slots::Slots,
    updater::Health,
};
use muster_suit::{
    Envelope, NewManifest, Role, Root, RootDraft, Signer as _, SoftKey, class_id, sign_freshness, sign_offer,
    vendor_id,
};
use scripted_hub::{Script, ScriptedHub, desk::Announce};
use tempfile::TempDir;

fn sha(bytes: &[u8]) -> Digest {
    Digest(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}

/// The tenant's keys and the hub's.
struct Owner {
    root_key: SoftKey,
    firmware: SoftKey,
    hub: SoftKey,
    now_s: u64,
}

/// One thing that is not in order.
#[derive(Clone, Copy, PartialEq)]
enum Twist {
    None,
    Expired,
    WrongClass,
}

impl Owner {
    fn new() -> Self {
        let key = || SoftKey::generate().unwrap();
        Self { root_key: key(), firmware: key(), hub: key(), now_s: SystemClock.unix_ms() / 1_000 }
    }

    fn root(&self) -> Vec<u8> {
        let role = |key: &SoftKey| Role::new(vec![key.public().clone()], 1);
        let root = Root {
            tenant: "acme".parse().unwrap(),
            version: 1,
            expires_s: self.now_s + 86_400,
            root: role(&self.root_key),
            firmware: role(&self.firmware),
            hub: role(&self.hub),
        };
        let mut draft = RootDraft::new(root).unwrap();
        draft.sign(&self.root_key).unwrap();
        draft.encode()
    }

    fn announce(self: &Arc<Self>, image: &[u8], execution: u32, twist: Twist) -> Announce {
        let (owner, digest, size) = (Arc::clone(self), sha(image), image.len() as u64);
        Arc::new(move |device| {
            let vendor = vendor_id("acme.example");
            let class = class_id(vendor, "pump-mk2");
            let other = class_id(vendor, "valve");
            let sequence = Sequence(2);
            let manifest = NewManifest {
                sequence,
                vendor,
                class: if twist == Twist::WrongClass { other } else { class },
                image: digest,
                size,
                version: Some("1.1".parse().unwrap()),
                uri: None,
                invoke: true,
            };
            let unsigned = manifest.envelope();
            let envelope = Envelope::open(&unsigned).unwrap();
            let expires_s = owner.now_s + 3_600;
            let offer = Offer {
                tenant: "acme".parse().unwrap(),
                device: device.clone(),
                execution: ExecutionId::new(execution).unwrap(),
                attempt: 1,
                manifest: envelope.digest(),
                sequence,
                not_before_s: owner.now_s - 3_600,
                expires_s: if twist == Twist::Expired { owner.now_s - 60 } else { expires_s },
                window: None,
                nonce: None,
                consent: false,
                transfers: vec![Transfer {
                    encoding: Encoding::Full,
                    from: None,
                    size,
                    digest,
                    uris: vec![],
                }],
            };
            let freshness = Freshness {
                tenant: "acme".parse().unwrap(),
                class,
                sequence,
                manifest: envelope.digest(),
                time_s: owner.now_s,
                expires_s,
                nonce: None,
            };
            Announcement {
                offer: sign_offer(&offer, &owner.hub).unwrap(),
                freshness: sign_freshness(&freshness, &owner.hub).unwrap(),
                envelope: envelope.signed_by(&owner.firmware).unwrap(),
                roots: vec![],
            }
            .encode()
        })
    }
}

/// A device in a folder. Its firmware is the agent, and the agent's configuration lies beside the slots.
struct Device {
    folder: TempDir,
    boots: Option<JoinHandle<emulator::Settled>>,
}

impl Device {
    fn new(hub: &ScriptedHub, owner: &Owner, check: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for name in ["slot-a", "slot-b", "state"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        fs::write(at.join("firmware.root"), owner.root()).unwrap();
        let config = format!(
            "hub = \"{}\"\nserver_name = \"localhost\"\nroot = {:?}\ntpm = \"simulated-software-key\"\n\
             model = \"pump-mk2\"\nclaim = \"K7QM\"\nstate_dir = {:?}\n[firmware]\nvendor = \"acme.example\"\n\
             root = {:?}\nslots = {at:?}\ncheck = [\"/bin/sh\", \"-c\", {check:?}]\ntrial_s = 60\n",
            hub.address(),
            hub.write_root(at),
            at.join("agent"),
            at.join("firmware.root"),
        );
        fs::write(at.join("edge.toml"), config).unwrap();
        let image = program(at, "1.0", 0);
        fs::write(at.join("slot-a/image"), &image).unwrap();
        let (digest, size) = (sha(&image), image.len() as u64);
        let image = Image { digest, size, sequence: Sequence(1), version: "1.0".parse().unwrap() };
        let device = Self { folder, boots: None };
        device.slots().provision(image).unwrap();
        device
    }

    fn slots(&self) -> Slots<Disk> {
        Slots::new(Disk, Layout::in_folder(self.folder.path()))
    }

    /// Switched on: the loader runs until the agent ends and wants no other start.
    fn switch_on(&mut self) {
        let (slots, run) = (self.slots(), self.folder.path().join("run"));
        self.boots = Some(thread::spawn(move || {
            let health = Health { needs_connection: true, needs_command: false, within_ms: 120_000 };
            let options = Options { run, health, check: None, commits_itself: true, once: false };
            emulator::run(&slots, &options, &mut std::io::sink()).unwrap()
        }));
    }

    /// SIGTERM to the agent, whichever runs.
    fn switch_off(&mut self) {
        if let (Some(boots), Some(pid)) = (self.boots.take(), self.pid()) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            boots.join().unwrap();
        }
    }

    fn pid(&self) -> Option<rustix::process::Pid> {
        let text = fs::read_to_string(self.folder.path().join("pid")).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    fn runs(&self) -> Slot {
        self.slots().pointer().unwrap().active
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(60).collect();
            let _ = writeln!(std::io::stderr(), "the end of its log, last line first:\n{}", lines.join("\n"));
            if let Some(pid) = self.pid() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// An image: the agent, as a script that becomes it. What follows is never read, and makes it long.
fn program(at: &Path, version: &str, padding: usize) -> Vec<u8> {
    let edge = env!("CARGO_BIN_EXE_muster-edge");
    let script = format!(
        "#!/bin/sh\ncd {at:?}\necho $$ > pid.new && mv pid.new pid\necho 'muster: up {version}'\n\
         export MUSTER_FIRMWARE_VERSION={version} MUSTER_LOG=info,muster_edge=debug\n\
         exec {edge:?} run --config edge.toml 2>>log\n"
    );
    let mut image = script.into_bytes();
    image.extend((0..padding).map(|at| b"0123456789abcdef"[(at ^ (at >> 7)) % 16]));
    image
}

fn outcome(reports: &[Report], of: u32) -> Option<(Outcome, String)> {
    reports.iter().find_map(|report| match report {
        Report::Event(Event { execution, what: EventKind::Ended { outcome, detail }, .. })
            if execution.number() == of =>
        {
            Some((*outcome, detail.clone()))
        }
        _ => None,
    })
}

fn stages(reports: &[Report]) -> Vec<Stage> {
    let stage = |report: &Report| match report {
        Report::Event(Event { what: EventKind::Reached { stage, .. }, .. }) => Some(*stage),
        _ => None,
    };
    let mut stages: Vec<_> = reports.iter().filter_map(stage).collect();
    stages.dedup();
    stages
}

fn says_that_it_runs(reports: &[Report], version: &str) -> bool {
    matches!(reports.last(), Some(Report::Running(running)) if running.version == version)
        || reports
            .iter()
            .any(|report| matches!(report, Report::Running(running) if running.version == version))
}

fn a_hub() -> ScriptedHub {
    ScriptedHub::start(Script { renew_after_s: 3_600, refuse_first: None })
}

#[test]
fn a_good_image_arrives_over_a_connection_that_is_cut_boots_and_stays() {
    let (hub, owner) = (a_hub(), Arc::new(Owner::new()));
    let mut device = Device::new(&hub, &owner, "exit 0");
    let new = program(device.folder.path(), "1.1", 3_000_000);
    hub.desk().with(|orders| {
        orders.announce = Some(owner.announce(&new, 7, Twist::None));
        orders.artifact.clone_from(&new);
        // In the middle of the twentieth window.
        orders.cut_after = Some(19 * 8 + 3);
    });
    device.switch_on();
    hub.desk().wait("success", |reports| outcome(reports, 7).is_some());
    hub.desk().with(|orders| {
        assert_eq!(outcome(&orders.reports, 7), Some((Outcome::Succeeded, String::new())));
        assert_eq!(orders.cut_after, None, "it was cut");
        // Each window once, and the one that was cut once more.
        let mut once = orders.asked.clone();
        once.dedup();
        assert!(once.is_sorted(), "nothing that was there is asked for again: {:?}", orders.asked);
        assert_eq!(
            stages(&orders.reports),
            [
                Stage::Offered,
                Stage::Downloading,
                Stage::Downloaded,
                Stage::Installing,
                Stage::Rebooting,
                Stage::Verifying
            ]
        );
    });
    hub.desk().wait("version", |reports| says_that_it_runs(reports, "1.1"));
    assert_eq!(device.runs(), Slot::B);
    device.switch_off();
}

#[test]
fn an_image_whose_health_check_fails_goes_and_the_old_one_tells() {
    let (hub, owner) = (a_hub(), Arc::new(Owner::new()));
    let mut device = Device::new(&hub, &owner, "exit 3");
    let new = program(device.folder.path(), "1.1", 10_000);
    hub.desk().with(|orders| {
        orders.announce = Some(owner.announce(&new, 7, Twist::None));
        orders.artifact.clone_from(&new);
    });
    device.switch_on();
    hub.desk().wait("way back", |reports| outcome(reports, 7).is_some());
    let (outcome, detail) = hub.desk().with(|orders| outcome(&orders.reports, 7)).unwrap();
    assert_eq!(outcome, Outcome::RolledBack);
    assert!(detail.starts_with("health-check: ") && detail.contains("exit status: 3"), "{detail}");
    assert_eq!(device.runs(), Slot::A);
    device.switch_off();
}

#[test]
fn what_is_tampered_with_expired_or_for_another_class_is_refused_and_the_device_runs_on() {
    let (hub, owner) = (a_hub(), Arc::new(Owner::new()));
    let mut device = Device::new(&hub, &owner, "exit 0");
    let new = program(device.folder.path(), "1.1", 200_000);
    let stories = [
        (11, Twist::Expired, None, FailureCode::ExpiredOffer),
        (12, Twist::WrongClass, None, FailureCode::WrongClass),
        (13, Twist::None, Some(123_456), FailureCode::DigestMismatch),
    ];
    for (execution, twist, tampered, code) in stories {
        hub.desk().with(|orders| {
            orders.announce = Some(owner.announce(&new, execution, twist));
            orders.artifact.clone_from(&new);
            orders.tampered = tampered;
            assert!(orders.asked.is_empty(), "what is refused is not fetched");
        });
        match device.boots {
            None => device.switch_on(),
            Some(_) => hub.drop_sessions(),
        }
        hub.desk().wait("refusal", |reports| outcome(reports, execution).is_some());
        let found = hub.desk().with(|orders| outcome(&orders.reports, execution)).unwrap().0;
        assert_eq!(found, Outcome::Failed { code });
    }
    // The next one is in order.
    hub.desk().with(|orders| {
        orders.announce = Some(owner.announce(&new, 14, Twist::None));
        orders.tampered = None;
    });
    hub.drop_sessions();
    hub.desk().wait("success", |reports| outcome(reports, 14).is_some());
    assert_eq!(hub.desk().with(|orders| outcome(&orders.reports, 14)).unwrap().0, Outcome::Succeeded);
    assert_eq!(device.runs(), Slot::B);
    device.switch_off();
}
