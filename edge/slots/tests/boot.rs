//! The boot loader as a process, with firmware of all kinds.

mod stage;

use stage::{Device, good, hangs, says, script};

/// Long enough for a busy machine.
const PATIENT: &[&str] = &["--within-ms", "60000", "--needs-connection"];
/// Something has to be waited out, three times.
const SHORT: &[&str] = &["--within-ms", "1500", "--needs-connection"];

#[test]
fn good_firmware_is_started_once_and_stays() {
    let device = Device::new(&good("1.0"));
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 1");
    device.install(&good("1.1"));
    assert!(device.status().contains("trial      3 tries left"), "{}", device.status());
    assert_eq!(device.settle(PATIENT).0, "slot b version 1.1 starts 1");
    assert_eq!(device.settle(PATIENT).0, "slot b version 1.1 starts 1");
    let status = device.status();
    assert!(status.contains("active     b") && status.contains("floor      2"), "{status}");
}

#[test]
fn firmware_that_crashes_at_its_start_has_three_tries() {
    let device = Device::new(&good("1.0"));
    device.install(&script("exit 3"));
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 4");
    let status = device.status();
    assert!(status.contains("went back  from 1.1: boot-failed: it ended: exit status: 3"), "{status}");
    assert!(status.contains("floor      1"), "{status}");
}

#[test]
fn firmware_that_is_no_program_has_three_tries() {
    let device = Device::new(&good("1.0"));
    device.install("\u{7f}this is no program");
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 4");
    assert!(device.status().contains("boot-failed"), "{}", device.status());
}

#[test]
fn firmware_that_hangs_is_stopped_by_the_watchdog_three_times() {
    let device = Device::new(&good("1.0"));
    device.install(&hangs());
    let (settled, done) = device.settle(SHORT);
    assert!(settled.starts_with("slot a") && settled.ends_with("starts 4"), "{settled} {done:?}");
    assert!(device.status().contains("boot-failed: it did not start in time"), "{}", device.status());
}

#[test]
fn firmware_that_does_not_reach_its_hub_goes_back_at_once() {
    let device = Device::new(&good("1.0"));
    device.install(&says(&["muster: up 1.1"]));
    let (settled, done) = device.settle(SHORT);
    assert!(settled.starts_with("slot a") && settled.ends_with("starts 2"), "{settled} {done:?}");
    assert!(
        device.status().contains("health-check: it did not reach the hub in time"),
        "{}",
        device.status()
    );
}

#[test]
fn firmware_that_is_ill_goes_back_at_once() {
    let device = Device::new(&good("1.0"));
    device.install(&says(&["muster: up 1.1", "muster: ill the pump does not turn"]));
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 2");
    assert!(device.status().contains("health-check: the pump does not turn"), "{}", device.status());
}

#[test]
fn firmware_that_fails_its_health_check_goes_back_at_once() {
    let device = Device::new(&good("1.0"));
    device.install(&good("1.1"));
    let check = ["--within-ms", "60000", "--check", "[ $MUSTER_SLOT = b ] && [ $MUSTER_VERSION != 1.1 ]"];
    assert_eq!(device.settle(&check).0, "slot a version 1.0 starts 2");
    assert!(device.status().contains("its health check ended: exit status: 1"), "{}", device.status());
    device.install(&good("1.1"));
    let check = ["--within-ms", "60000", "--check", "[ $MUSTER_VERSION = 1.1 ]"];
    assert_eq!(device.settle(&check).0, "slot b version 1.1 starts 1");
}

#[test]
fn firmware_that_is_another_version_than_was_signed_goes_back_at_once() {
    let device = Device::new(&good("1.0"));
    device.install(&good("0.9"));
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 2");
    assert!(device.status().contains("it says that it is 0.9, and should be 1.1"), "{}", device.status());
}

#[test]
fn firmware_that_wants_to_start_again_on_trial_spends_a_try() {
    let device = Device::new(&good("1.0"));
    device.install(&script("exit 75"));
    assert_eq!(device.settle(PATIENT).0, "slot a version 1.0 starts 4");
}

#[test]
fn firmware_may_commit_by_itself_and_is_watched() {
    let boot = stage::BOOT;
    let device = Device::new(&good("1.0"));
    let root = device.root();
    let commits = format!("echo 'muster: up 1.1'\n{boot} commit --root {}\nexit 0", root.display());
    device.install(&script(&commits));
    assert_eq!(device.settle(&["--within-ms", "60000", "--commits-itself"]).0, "slot b version 1.1 starts 1");

    let device = Device::new(&good("1.0"));
    device.install(&good("1.1"));
    let (settled, done) = device.settle(&["--within-ms", "1500", "--commits-itself"]);
    assert!(settled.starts_with("slot a") && settled.ends_with("starts 4"), "{settled} {done:?}");
    assert!(device.status().contains("timeout: it did not commit in time"), "{}", device.status());
}

#[test]
fn a_slot_that_was_changed_behind_the_pointer_is_not_started() {
    let device = Device::new(&good("1.0"));
    device.install(&good("1.1"));
    std::fs::write(device.root().join("slot-b/image"), good("6.6")).expect("written");
    let (settled, _) = device.settle(PATIENT);
    assert_eq!(settled, "slot a version 1.0 starts 1");
    assert!(device.status().contains("digest-mismatch"), "{}", device.status());
}

#[test]
fn an_image_with_an_old_sequence_is_refused() {
    let device = Device::new(&good("1.0"));
    std::fs::write(device.folder.path().join("new"), good("1.1")).expect("written");
    let done = device.boot(&["install", "--image", "new", "--version", "1.1", "--sequence", "1"]);
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("its sequence is 1, and 1 ran here"), "{said}");
}
