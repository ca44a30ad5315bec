//! A device in a folder, firmware that is a script, and the boot loader as a process.
#![expect(dead_code, reason = "each test file uses its part of the stage")]
#![expect(clippy::expect_used, reason = "a stage that cannot be built ends the test that wanted it")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use muster_slots::{
    fs::Disk,
    loader::{Chosen, choose},
    slot::Layout,
    slots::Slots,
};

pub const BOOT: &str = env!("CARGO_BIN_EXE_muster-boot");

/// Says nothing more, and does not end.
const RUNS_ON: &str = "exec tail -f /dev/null";

/// What a firmware does when it is started, after its first line.
pub fn script(body: &str) -> String {
    format!("#!/bin/sh\n{body}\n")
}

/// Firmware that is well.
pub fn good(version: &str) -> String {
    script(&format!("echo 'muster: up {version}'\necho 'muster: connected'\n{RUNS_ON}"))
}

pub fn hangs() -> String {
    script(RUNS_ON)
}

/// Starts, and says these lines.
pub fn says(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("echo '{line}'\n")).collect();
    script(&(lines + RUNS_ON))
}

/// So much longer that copying it takes more than one call.
pub fn padded(script: &str, bytes: usize) -> String {
    let mut padded = format!("{script}\nexit\n");
    while padded.len() < bytes {
        padded.push_str(&format!("# {} nothing follows, and there is much of it\n", padded.len()));
    }
    padded
}

/// A device in a folder that is gone when the test is over.
pub struct Device {
    pub folder: tempfile::TempDir,
}

impl Device {
    /// With this in slot A, as version 1.0 with sequence 1.
    pub fn new(firmware: &str) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), firmware)
    }

    /// One that is not started, and has no disk to wait for.
    pub fn in_memory(firmware: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::within(folder.expect("a folder"), firmware)
    }

    fn within(folder: tempfile::TempDir, firmware: &str) -> Self {
        let device = Self { folder };
        fs::write(device.folder.path().join("old"), firmware).expect("written");
        let done = device.boot(&["init", "--image", "old", "--version", "1.0", "--sequence", "1"]);
        assert!(done.status.success(), "{done:?}");
        device
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    /// The boot loader, in the folder of the device.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BOOT);
        command.args(arguments).arg("--root").arg(self.root()).current_dir(self.folder.path());
        command
    }

    pub fn boot(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Writes version 1.1 with sequence 2 into the other slot.
    pub fn install(&self, firmware: &str) {
        fs::write(self.folder.path().join("new"), firmware).expect("written");
        let done = self.boot(&INSTALL);
        assert!(done.status.success(), "{done:?}");
    }

    /// Starts until something runs that is well, and says what: slot, version, starts.
    pub fn settle(&self, arguments: &[&str]) -> (String, Output) {
        let all: Vec<&str> = ["run", "--once"].iter().chain(arguments).copied().collect();
        let done = self.boot(&all);
        assert!(done.status.success(), "{done:?}");
        (String::from_utf8_lossy(&done.stdout).trim().to_owned(), done)
    }

    pub fn status(&self) -> String {
        let done = self.boot(&["status"]);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).expect("text")
    }

    pub fn slots(&self) -> Slots<Disk> {
        Slots::new(Disk, Layout::in_folder(&self.root()))
    }

    /// What boots, and costs its try.
    pub fn chosen(&self) -> Chosen {
        choose(&self.slots()).expect("something boots")
    }
}

pub const INSTALL: [&str; 7] = ["install", "--image", "new", "--version", "1.1", "--sequence", "2"];

/// Whether a program is there. A test passes over what it cannot do, except where it was told that it has to.
pub fn is_here(program: &str, required: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let here = env::split_paths(&folders).any(|folder| folder.join(program).exists());
    assert!(
        here || env::var_os(required).is_none_or(|value| value != "1"),
        "{program} is required and not installed"
    );
    here
}

/// Whether this may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
