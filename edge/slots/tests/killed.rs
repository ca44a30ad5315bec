//! The installer is killed at each of its calls that touch the disk. That tests the logic of going on; what was not
//! synced is still there, and what a loss of power takes is tested by the recorder and, by hand, by `power_cut.rs`.

mod stage;

use std::{fs, process::Command};

use stage::{BOOT, Device, INSTALL, good, is_here, padded};

const CALLS: &[&str] = &["openat", "pwrite64", "ftruncate", "fsync", "rename", "unlink"];

#[test]
fn an_installer_that_is_killed_at_any_call_leaves_a_device_that_boots_and_goes_on() {
    if !is_here("strace", "MUSTER_REQUIRE_STRACE") {
        return;
    }
    let (old, new) = (good("1.0"), padded(&good("1.1"), 150_000));
    let mut deaths = 0;
    for call in CALLS {
        for when in 1.. {
            let device = Device::in_memory(&old);
            fs::write(device.folder.path().join("new"), &new).expect("written");
            let inject = format!("inject={call}:signal=SIGKILL:when={when}");
            let mut strace = Command::new("strace");
            strace.args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
                BOOT,
            ]);
            strace.args(INSTALL).arg("--root").arg(device.root()).current_dir(device.folder.path());
            let survived = strace.output().expect("strace runs");
            if survived.status.success() {
                assert!(when > 1 || *call == "rename" || *call == "unlink", "{call} was never seen");
                break;
            }
            deaths += 1;
            let chosen = device.chosen();
            let expected = if chosen.trial.is_some() { "1.1" } else { "1.0" };
            assert_eq!(chosen.image.version.as_str(), expected, "killed at {call} number {when}");
            if chosen.trial.is_none() {
                let done = device.boot(&INSTALL);
                assert!(done.status.success(), "killed at {call} number {when}: {done:?}");
                assert_eq!(device.chosen().image.version.as_str(), "1.1", "killed at {call} number {when}");
            }
        }
    }
    assert!(deaths > 30, "only {deaths} deaths");
}
