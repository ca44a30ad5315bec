//! A command that comes with an image tries to remove and stop the agent.
#![expect(clippy::expect_used, reason = "the whole file is a test")]

mod stage;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use muster_slots::confine::{Confinement, Unconfined};
use stage::{BOOT, Device, good, is_root};

/// A user that no device has.
const USER: u32 = 61_917;

/// A folder that the user may pass through, for this test alone.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    folder
}

/// The program, where every user may start it. Another process copies it: a handle of this one that writes it could be
/// inherited by what another test starts, and what is being written is not started.
fn copied_to(program: &Path) {
    let done = Command::new("cp").arg(BOOT).arg(program).status().expect("it runs");
    assert!(done.success(), "{done}");
}

#[test]
fn a_payload_neither_removes_nor_stops_the_agent() {
    if !is_root() {
        return;
    }
    let device = Device::new(&good("1.0"));
    let root = device.root();
    // Everybody may pass and look, so that nothing but whose it is keeps the payload out.
    for folder in [device.folder.path(), root.as_path(), &root.join("state")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("opened");
    }
    let open = open_folder();
    let program = open.path().join("boot");
    copied_to(&program);
    let confinement = Confinement { user: USER, group: USER, folder: open.path().join("payload") };
    let mut agent =
        Command::new("tail").args(["-f", "/dev/null"]).stdout(Stdio::null()).spawn().expect("it runs");
    let before = device.status();

    let payload = format!(
        "rm -rf {root} && echo removed; echo x > {root}/state/boot.0 && echo overwritten; \
         mv {root} {root}.gone && echo moved; chmod -R 777 {root} && echo opened; \
         kill -9 {agent} && echo killed; kill -9 -1; \
         rm -f {program} && echo program; echo mine > here && cat here",
        root = root.display(),
        agent = agent.id(),
        program = program.display(),
    );
    confinement.make_folder().expect("a folder of its own");
    let mut command = confinement
        .command(Path::new(&program), &[&root], Path::new("/bin/sh"), &["-c", &payload])
        .expect("it may run");
    let said = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let lives = agent.try_wait().expect("asked").is_none();
    agent.kill().expect("it was there");
    agent.wait().expect("it ends");
    assert_eq!(said, "mine\n");
    assert!(lives, "the agent was stopped");
    assert_eq!(device.status(), before);
    assert!(program.exists());
}

#[test]
fn a_payload_has_no_privileges_and_gets_none() {
    if !is_root() {
        return;
    }
    let open = open_folder();
    let confinement = Confinement { user: USER, group: USER, folder: open.path().join("payload") };
    let payload = "grep -E '^(Uid|Gid|Cap...|NoNewPrivs):' /proc/self/status; pwd; env";
    let program = open.path().join("boot");
    copied_to(&program);
    confinement.make_folder().expect("a folder of its own");
    let command = confinement.command(&program, &[], Path::new("/bin/sh"), &["-c", payload]);
    let said = command.expect("it may run").output().expect("it runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let id = format!("{USER}\t{USER}\t{USER}\t{USER}");
    for line in [format!("Uid:\t{id}"), format!("Gid:\t{id}"), "NoNewPrivs:\t1".to_owned()] {
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}:\t0000000000000000")), "{said}");
    }
    assert!(said.contains(&confinement.folder.display().to_string()), "{said}");
    assert!(!said.contains("CARGO"), "it has the environment of its parent: {said}");
}

#[test]
fn what_a_payload_could_write_is_noticed_before_it_runs() {
    if !is_root() {
        return;
    }
    let open = open_folder();
    let own = Confinement { user: USER, group: USER, folder: open.path().join("payload") };
    let theirs = open.path().join("theirs");
    fs::create_dir(&theirs).expect("made");
    std::os::unix::fs::chown(&theirs, Some(USER), None).expect("given");
    let inner = theirs.join("agent");
    fs::create_dir(&inner).expect("made");
    let anybodys = open.path().join("anybodys");
    fs::create_dir(&anybodys).expect("made");
    fs::set_permissions(&anybodys, fs::Permissions::from_mode(0o777)).expect("opened");
    for path in [theirs, inner, anybodys] {
        let refused = own.command(Path::new(BOOT), &[&path], Path::new("/bin/true"), &[]);
        assert!(matches!(refused, Err(Unconfined::InReach { .. })), "{}", path.display());
    }
    let root = Confinement { user: 0, ..own };
    let refused = root.command(Path::new(BOOT), &[], Path::new("/bin/true"), &[]);
    assert!(matches!(refused, Err(Unconfined::SameUser(0))));
}

#[test]
fn without_the_right_to_confine_nothing_is_run() {
    if is_root() {
        let said = tried_as_nobody();
        assert!(said.contains("the agent is not root"), "{said}");
        return;
    }
    let own = Confinement { user: USER, group: USER, folder: std::env::temp_dir().join("payload") };
    let refused = own.command(Path::new(BOOT), &[], Path::new("/bin/true"), &[]);
    assert!(matches!(refused, Err(Unconfined::NotRoot)));
}

/// A confined program that confines another one.
fn tried_as_nobody() -> String {
    let open = open_folder();
    let program = open.path().join("boot");
    copied_to(&program);
    // Another user, of whom no other test ends all processes.
    let (user, group) = (USER + 2, USER + 2);
    let outer = Confinement { user, group, folder: open.path().join("payload") };
    let inner = "confined --user 61918 --group 61918 --folder . -- /bin/true";
    let again = format!("{} {inner} 2>&1 || true", program.display());
    outer.make_folder().expect("a folder of its own");
    let done =
        outer.command(&program, &[], Path::new("/bin/sh"), &["-c", &again]).expect("it may run").output();
    String::from_utf8_lossy(&done.expect("it runs").stdout).into_owned()
}
