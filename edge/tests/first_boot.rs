//! The program itself, in a process of its own, against a scripted hub on loopback: first boot, a hub that goes away in
//! the middle, renewal, the end, and the next start.

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
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use muster_schemas::enrolment::RefusalCode;
use scripted_hub::{Script, ScriptedHub};

/// Longest wait for a line of the program, on a machine that may be busy.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Agent {
    child: Child,
    lines: Receiver<String>,
    acknowledged: Vec<u64>,
}

impl Agent {
    fn start(folder: &Path, hub: &ScriptedHub) -> Self {
        let config = format!(
            "hub = \"{}\"\nserver_name = \"localhost\"\nroot = {:?}\ntpm = \"simulated-software-key\"\nmodel = \"board\"\n\
             claim = \"K7QM\"\nstate_dir = {:?}\ninterval_s = 0.005\n[labels]\nsite = \"north\"\n",
            hub.address(),
            hub.write_root(folder),
            folder.join("state"),
        );
        let path = folder.join("edge.toml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster-edge"))
            .args(["run", "--config"])
            .arg(&path)
            .env("MUSTER_LOG", "info,muster_edge=debug")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = sync_channel(16_384);
        let stderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, acknowledged: Vec::new() }
    }

    /// The next line with this message.
    fn expect(&mut self, message: &str) -> String {
        let wanted = format!("\"message\":\"{message}\"");
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(WAIT_MAX) else {
                panic!("no {message:?} came; last lines:\n{}", seen.join("\n"));
            };
            if line.contains("\"message\":\"acknowledged\"") && line.contains("\"stream\":\"system\"") {
                let time = line.split("\"time_s\":").nth(1).unwrap();
                let time = time.split([',', '}']).next().unwrap();
                self.acknowledged.push((time.parse::<f64>().unwrap() * 1_000.0).round() as u64);
            }
            if line.contains(&wanted) {
                return line;
            }
            seen.push(line);
        }
    }

    /// SIGTERM; gives whether it ended well.
    fn ends(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        while self.lines.recv_timeout(WAIT_MAX).is_ok() {}
        self.child.wait().unwrap().success()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_device_boots_enrols_publishes_survives_the_hub_and_renews() {
    let folder = tempfile::tempdir().unwrap();
    let hub =
        ScriptedHub::start(Script { renew_after_s: 3, refuse_first: Some(RefusalCode::HubUnavailable) });
    let mut agent = Agent::start(folder.path(), &hub);
    assert!(agent.expect("refused").contains("\"code\":\"hub_unavailable\""));
    let enrolled = agent.expect("enrolled");
    assert!(
        enrolled.contains("\"tenant\":\"acme\"") && enrolled.contains("\"renew_after_s\":3"),
        "{enrolled}"
    );
    assert!(agent.expect("connected").contains("\"device\":"));
    for _ in 0..50 {
        agent.expect("acknowledged");
    }

    // The hub closes every session without an answer to what is under way.
    hub.drop_sessions();
    agent.expect("connected");
    for _ in 0..50 {
        agent.expect("acknowledged");
    }

    let before = hub.seen().sessions_by_key.len();
    agent.expect("renewed");
    agent.expect("connected");
    agent.expect("acknowledged");
    assert_eq!((before, hub.seen().sessions_by_key.len()), (1, 2), "the new key was used");

    let acknowledged = agent.acknowledged.clone();
    assert!(agent.ends(), "it ends well");
    let seen = hub.seen();
    assert!(seen.said_good_bye, "with a DISCONNECT");
    assert!(seen.labels > 0, "labels were published");
    assert!(acknowledged.len() >= 100);
    let missing: Vec<_> = acknowledged.iter().filter(|time| !seen.acknowledged.contains(time)).collect();
    assert!(missing.is_empty(), "{missing:?} were never acknowledged by the hub");
    let mut once = acknowledged.clone();
    once.dedup();
    assert_eq!(once.len(), acknowledged.len(), "each is told once");
    drop(seen);

    let certificate = fs::read_to_string(folder.path().join("state/device.crt")).unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    for file in fs::read_dir(folder.path().join("state")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE"));
    }

    let enrolments = hub.seen().enrolments;
    let mut again = Agent::start(folder.path(), &hub);
    again.expect("certificate found");
    again.expect("connected");
    again.expect("acknowledged");
    assert_eq!(hub.seen().enrolments, enrolments, "a restart does not enrol anew");
}

#[test]
fn a_device_whose_certificate_the_hub_no_longer_takes_enrols_anew() {
    let folder = tempfile::tempdir().unwrap();
    let hub = ScriptedHub::start(Script { renew_after_s: 3_600, refuse_first: None });
    let mut agent = Agent::start(folder.path(), &hub);
    agent.expect("enrolled");
    agent.expect("acknowledged");
    hub.change_device_authority();
    hub.drop_sessions();
    agent.expect("enrolled");
    agent.expect("connected");
    agent.expect("acknowledged");
}

#[test]
fn a_copied_state_directory_is_worth_nothing_without_its_tpm() {
    let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = ScriptedHub::start(Script { renew_after_s: 3_600, refuse_first: None });
    let mut agent = Agent::start(original.path(), &hub);
    let device = agent.expect("enrolled");
    agent.expect("connected");
    assert!(agent.ends());
    fs::create_dir(copy.path().join("state")).unwrap();
    for file in fs::read_dir(original.path().join("state")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join("state").join(file.file_name())).unwrap();
    }
    let mut thief = Agent::start(copy.path(), &hub);
    thief.expect("state belongs to another TPM");
    let other = thief.expect("enrolled");
    let id = |line: &str| line.split("\"device\":\"").nth(1).unwrap()[..20].to_owned();
    assert_ne!(id(&device), id(&other), "it is another device, and has to be claimed as one");
}

#[test]
fn a_wrong_configuration_is_explained_with_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    let misspelt = "hub = \"localhost:1\"\nroot = \"r\"\ntpm = \"device:x\"\nmodle = \"m\"\nmodel = \"m\"\n";
    fs::write(&path, format!("{misspelt}state_dir = \"s\"\n")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_muster-edge"))
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.ends_with("there is no key \"modle\"; did you mean \"model\"?\n"), "{text}");
}

#[test]
fn a_check_says_which_device_this_is() {
    let folder = tempfile::tempdir().unwrap();
    let hub = ScriptedHub::start(Script { renew_after_s: 3_600, refuse_first: None });
    let path = folder.path().join("edge.toml");
    let state = folder.path().join("state");
    let root = hub.write_root(folder.path());
    let config = format!(
        "hub = \"localhost:1\"\nroot = {root:?}\ntpm = \"simulated-software-key\"\nmodel = \"m\"\nstate_dir = {state:?}\n"
    );
    fs::write(&path, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_muster-edge"))
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("simulated-software-key answers (simulated software keys)"), "{text}");
    assert!(text.contains("\ndevice         "), "{text}");
}
