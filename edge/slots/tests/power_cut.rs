//! Power is cut under a real ext4: the installer is killed at one of its calls, and what the file system had sent to
//! its medium by then is copied, mounted, and booted. Needs root and loop devices, and takes minutes; run it by hand:
//! `cargo test -p muster-slots --test power_cut -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "what was found is written into docs/firmware.md by hand")]
#![expect(clippy::expect_used, reason = "the whole file is a test")]

mod stage;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::firmware::{Digest, Encoding, ExecutionId, Sequence, Transfer};
use muster_slots::{
    floor::NoCounter,
    fs::{Disk, Fs as _},
    loader::choose,
    slot::{Image, Layout, Place, Slot},
    slots::{Fault, Plan, Slots},
};
use stage::{BOOT, INSTALL, good, padded};

/// Calls of the installer, and how many of each are passed over between two cuts: between those that change something,
/// each is one; of those that only open files there are hundreds.
const CALLS: &[(&str, usize)] =
    &[("openat", 6), ("pwrite64", 1), ("ftruncate", 1), ("fsync", 1), ("rename", 1), ("unlink", 1)];
/// Calls of the boot loader: it spends a try, and commits.
const BOOT_CALLS: &[(&str, usize)] = &[("pwrite64", 1), ("fsync", 1)];

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().expect("it runs");
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
}

/// A file system in a file, which is mounted while this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).expect("made");
        run(
            "mount",
            &["-o", &format!("loop,{options}"), &image.display().to_string(), &at.display().to_string()],
        );
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[&self.0.display().to_string()]);
    }
}

fn made(image: &Path) {
    File::create(image).expect("made").set_len(24 << 20).expect("long enough");
    run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
}

/// How the medium is left: at once, or after the journal of ext4 was committed by somebody else's sync.
#[derive(Debug, Clone, Copy)]
enum Cut {
    AtOnce,
    AfterForeignCommit,
}

#[derive(Default)]
struct Found {
    cuts: usize,
    old: usize,
    new: usize,
    unbootable: Vec<String>,
}

impl Found {
    fn look(&mut self, medium: &Path, at: &Path, about: &str, old: &str, new: &str) {
        let _mounted = Mounted::new(medium, at, "rw");
        self.cuts += 1;
        let slots = Slots::new(Disk, Layout::in_folder(&at.join("device")));
        match choose(&slots) {
            Ok(chosen) => {
                // The loader looks at an image before it starts it, and would go back: a switch to one that is not whole
                // is no brick, and is not what was promised either.
                let pointer = slots.pointer().expect("it was read before");
                if let Some(back) = pointer.rolled_back {
                    self.unbootable.push(format!("{about}: it went back, {}", back.reason));
                }
                let held = fs::read(slots.layout().place(chosen.slot).image()).expect("readable");
                match (chosen.slot, chosen.instead) {
                    (Slot::A, false) if held == old.as_bytes() => self.old += 1,
                    (Slot::B, false) if held == new.as_bytes() => self.new += 1,
                    _ => self.unbootable.push(format!("{about}: {chosen:?}")),
                }
            }
            Err(error) => self.unbootable.push(format!("{about}: {error:?}")),
        }
    }
}

#[test]
#[ignore = "needs root and loop devices, and takes minutes"]
fn a_device_boots_whenever_power_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (old, new) = (padded(&good("1.0"), 120_000), padded(&good("1.1"), 2_500_000));
    fs::write(at("old"), &old).expect("written");
    fs::write(at("new"), &new).expect("written");

    // A device as it leaves the factory, and one with an image that is to be tried.
    let (factory, installed) = (at("factory"), at("installed"));
    made(&factory);
    let boot = |root: &Path, arguments: &[&str]| {
        let done =
            Command::new(BOOT).args(arguments).arg("--root").arg(root).current_dir(folder.path()).output();
        assert!(done.as_ref().is_ok_and(|done| done.status.success()), "{done:?}");
    };
    {
        let mounted = Mounted::new(&factory, &at("mount"), "rw");
        let root = mounted.0.join("device");
        boot(&root, &["init", "--image", "old", "--version", "1.0", "--sequence", "1"]);
    }
    fs::copy(&factory, &installed).expect("copied");
    {
        let mounted = Mounted::new(&installed, &at("mount"), "rw");
        boot(&mounted.0.join("device"), &INSTALL);
    }

    let run_once = ["run", "--once", "--within-ms", "60000"];
    let mut found = Found::default();
    for options in ["rw", "noauto_da_alloc"] {
        for cut in [Cut::AtOnce, Cut::AfterForeignCommit] {
            println!("{} cuts so far; now {options}, {cut:?}", found.cuts);
            for (from, arguments, calls) in
                [(&factory, INSTALL.as_slice(), CALLS), (&installed, run_once.as_slice(), BOOT_CALLS)]
            {
                for (call, step) in calls {
                    for when in (1..).step_by(*step) {
                        let (medium, left) = (at("medium"), at("left"));
                        fs::copy(from, &medium).expect("copied");
                        let mounted = Mounted::new(&medium, &at("mount"), options);
                        let inject = format!("inject={call}:signal=SIGKILL:when={when}");
                        let mut strace = Command::new("strace");
                        strace.args([
                            "-qq",
                            "-o",
                            "/dev/null",
                            "-e",
                            &format!("trace={call}"),
                            "-e",
                            &inject,
                            BOOT,
                        ]);
                        strace.args(arguments).arg("--root").arg(mounted.0.join("device"));
                        let ended = strace.current_dir(folder.path()).output().expect("strace runs");
                        if let Cut::AfterForeignCommit = cut {
                            let foreign = File::create(mounted.0.join("foreign")).expect("made");
                            foreign.sync_all().expect("synced");
                        }
                        fs::copy(&medium, &left).expect("copied");
                        drop(mounted);
                        let about = format!("{options} {cut:?} {} at {call} number {when}", arguments[0]);
                        found.look(&left, &at("mount"), &about, &old, &new);
                        if ended.status.success() {
                            break;
                        }
                    }
                }
            }
        }
    }
    println!("{} cuts: {} booted the old image, {} the new one", found.cuts, found.old, found.new);
    assert!(found.unbootable.is_empty(), "{:#?}", found.unbootable);
}

/// A block device over a file, while this lives.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Self {
        File::create(file).expect("made").set_len(4 << 20).expect("long enough");
        let done = Command::new("losetup").args(["--find", "--show"]).arg(file).output().expect("it runs");
        assert!(done.status.success(), "{done:?}");
        Self(PathBuf::from(String::from_utf8_lossy(&done.stdout).trim()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", &self.0.display().to_string()]);
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn slots_may_be_block_devices() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b] = ["a", "b"].map(|name| Loop::new(&folder.path().join(name)));
    let (old, new) = (vec![7; 300_000], vec![9; 3_000_001]);
    let write = |device: &Path, bytes: &[u8]| Disk.write_at(device, 0, bytes).expect("written");
    write(&a.0, &old);
    let (a, b) = (Place::Device(a.0.clone()), Place::Device(b.0.clone()));
    let slots = Slots::new(Disk, Layout { state: folder.path().to_owned(), a, b });
    let image = |bytes: &[u8], sequence, version: &str| Image {
        digest: Digest(digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")),
        size: bytes.len() as u64,
        sequence: Sequence(sequence),
        version: version.parse().expect("a version"),
    };
    slots.provision(image(&old, 1, "1.0")).expect("provisioned");
    let signed = image(&new, 2, "1.1");
    let (size, artifact) = (signed.size, signed.digest);
    let transfer =
        Transfer { encoding: Encoding::Full, from: None, size, digest: artifact, uris: Vec::new() };
    let mut plan = Plan { execution: ExecutionId::MIN, attempt: 1, reserved: 0, image: signed, transfer };
    assert_eq!(slots.begin(&plan).expect("begun"), 0);
    slots.keep(&plan, 0, &new[..1 << 20]).expect("kept");
    slots.mark(&plan, 1 << 20).expect("marked");
    assert_eq!(slots.begin(&plan).expect("begun"), 1 << 20);
    slots.keep(&plan, 1 << 20, &new[1 << 20..]).expect("kept");
    slots.mark(&plan, size).expect("marked");
    slots.install(&plan).expect("installed");
    slots.switch(&plan).expect("switched");
    let chosen = choose(&slots).expect("boots");
    assert_eq!((chosen.slot, chosen.trial), (Slot::B, Some(2)));
    slots.commit(&mut NoCounter).expect("stays");

    plan.image.size = 5 << 20;
    plan.transfer.size = 5 << 20;
    assert!(matches!(slots.begin(&plan), Err(Fault::NoSpace { .. })), "it is longer than the device");
}
