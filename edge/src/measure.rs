//! What this machine runs, measured: the agent extends one register with its own program and with files that its maker
//! names, keeps a log of it, and reads the firmware's log where it may. The quote proves the registers; the log says what
//! they are made of.
//!
//! A program that measures itself proves little: what took its place would measure what it likes. It tells honest devices
//! of one release from those of another. What a device cannot lie about is measured by firmware and boot loader before it
//! runs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use muster_schemas::{
    enrolment::Event,
    limits::{ENROLMENT_EVENT_TEXT_BYTES_MAX, ENROLMENT_EVENTS_MAX},
};
use muster_tpm::{
    keys::{DeviceKeys, KeyError},
    verifier::{quoted_only, replay},
};
use tracing::{debug, info, warn};

use crate::{
    firmware_log,
    limits::{FIRMWARE_LOG_BYTES_MAX, MEASURED_EVENTS_MAX},
    state::StateDir,
};

/// What is measured into which register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// `measure.register`: the register that this agent, and nobody else, extends.
    pub register: u8,
    /// `measure.files`: what is measured beside the agent's own program.
    pub files: Vec<PathBuf>,
    /// `measure.firmware_log`: where the kernel shows the firmware's log.
    pub firmware_log: PathBuf,
}

impl Default for Measure {
    /// Application support, which the hub quotes unless a tenant says otherwise; and where Linux shows the log.
    fn default() -> Self {
        Self {
            register: 23,
            files: Vec::new(),
            firmware_log: "/sys/kernel/security/tpm0/binary_bios_measurements".into(),
        }
    }
}

/// Measures what has changed since the last reset, and gives the log of all registers.
///
/// # Errors
/// The TPM fails.
pub fn measure(
    keys: &mut dyn DeviceKeys,
    state: &StateDir,
    choice: &Measure,
) -> Result<Vec<Event>, KeyError> {
    let mut events = firmware_events(&choice.firmware_log);
    events.retain(|event| event.pcr != choice.register);
    events.extend(own_events(keys, state, choice)?);
    Ok(events)
}

/// The events to send with a quote of these registers: those that lead to the values which were read, and not more than a
/// frame takes. What is left out is unexplained, and no lie.
///
/// # Errors
/// The TPM fails.
pub fn log_for(
    keys: &mut dyn DeviceKeys,
    events: &[Event],
    selection: &[u8],
) -> Result<Vec<Event>, KeyError> {
    let values: BTreeMap<u8, [u8; 32]> = selection.iter().copied().zip(keys.pcrs(selection)?).collect();
    let mut explained: Vec<u8> = Vec::new();
    for register in selection {
        let of_register = quoted_only(events, &[*register]);
        let leads_to = replay(&of_register, &[*register]).unwrap_or_default();
        match leads_to.get(register) {
            Some(value) if values.get(register) == Some(value) => explained.push(*register),
            Some(_) => debug!(register, "the log does not lead to what this register holds, and is left out"),
            None => {}
        }
    }
    // Those with few events first: one register of a long log does not keep out the others.
    explained.sort_by_key(|register| quoted_only(events, &[*register]).len());
    let mut fitting = Vec::new();
    let mut count = 0;
    for register in explained {
        count += quoted_only(events, &[register]).len();
        if count > ENROLMENT_EVENTS_MAX {
            break;
        }
        fitting.push(register);
    }
    Ok(quoted_only(events, &fitting))
}

fn own_events(keys: &mut dyn DeviceKeys, state: &StateDir, choice: &Measure) -> Result<Vec<Event>, KeyError> {
    let register = choice.register;
    let name = format!("measured-{register}.log");
    let value = keys.pcrs(&[register])?.first().copied().unwrap_or_default();
    let kept = state.read(&name).ok().flatten().map(|text| read_log(register, &text)).unwrap_or_default();
    let Some(mut log) = since_reset(kept, register, value) else {
        warn!(
            register,
            next = "restart the machine, or name another with measure.register",
            "somebody else has extended the agent's register: nothing is measured into it"
        );
        return Ok(Vec::new());
    };
    let program = (PathBuf::from("/proc/self/exe"), "program", env!("CARGO_PKG_NAME").to_owned());
    let files = choice.files.iter().map(|path| (path.clone(), "file", shown(path)));
    for (path, kind, text) in std::iter::once(program).chain(files) {
        let (kind, digest) = match digest_of(&path) {
            Ok(digest) => (kind, digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ("absent", [0; 32]),
            Err(error) => {
                warn!(file = %path.display(), %error, "a file cannot be measured");
                ("unreadable", [0xff; 32])
            }
        };
        let event = Event { pcr: register, digest, kind: kind.to_owned(), text };
        if log.iter().rev().find(|last| last.text == event.text) == Some(&event) {
            continue;
        }
        if log.len() >= MEASURED_EVENTS_MAX {
            warn!(
                register,
                next = "restart the machine",
                "so much has changed since the last reset that no more is measured"
            );
            break;
        }
        info!(register, kind = event.kind, what = event.text, digest = HEXLOWER.encode(&digest), "measured");
        // Written first: an event too many at the end is found out, one too few is not.
        log.push(event);
        if let Err(error) = state.write(&name, write_log(&log).as_bytes()) {
            warn!(%error, "the log of measurements is not kept; nothing more is measured");
            log.pop();
            break;
        }
        keys.extend(register, &digest)?;
    }
    Ok(log)
}

/// The part of a log that led to a value: none of it after a reset, and not the last event when power was cut between
/// writing it and extending. None when no part does.
fn since_reset(mut log: Vec<Event>, register: u8, value: [u8; 32]) -> Option<Vec<Event>> {
    loop {
        let reached = replay(&log, &[register]).ok()?.get(&register).copied().unwrap_or_default();
        if reached == value {
            return Some(log);
        }
        log.pop()?;
    }
}

fn firmware_events(path: &Path) -> Vec<Event> {
    let mut log = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FIRMWARE_LOG_BYTES_MAX).read_to_end(&mut log));
    match read {
        Ok(_) => firmware_log::parse(&log),
        Err(error) => {
            debug!(path = %path.display(), %error, "the firmware's log cannot be read; its registers are quoted without");
            Vec::new()
        }
    }
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let (mut digest, mut part) = (Context::new(&SHA256), vec![0; 64 * 1_024]);
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => digest.update(part.get(..read).unwrap_or_default()),
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.finish().as_ref());
    Ok(hash)
}

fn shown(path: &Path) -> String {
    let mut text: String = path.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(ENROLMENT_EVENT_TEXT_BYTES_MAX));
    text
}

fn write_log(log: &[Event]) -> String {
    let line = |event: &Event| format!("{} {} {}\n", event.kind, HEXLOWER.encode(&event.digest), event.text);
    log.iter().map(line).collect()
}

fn read_log(register: u8, text: &str) -> Vec<Event> {
    let line = |line: &str| {
        let (kind, rest) = line.split_once(' ')?;
        let (digest, text) = rest.split_once(' ')?;
        let digest = HEXLOWER.decode(digest.as_bytes()).ok()?.try_into().ok()?;
        Some(Event { pcr: register, digest, kind: kind.to_owned(), text: text.to_owned() })
    };
    text.lines().map_while(line).take(MEASURED_EVENTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use muster_tpm::{manufacturer::SimulatedManufacturer, soft::SimulatedSoftwareKeys};

    use super::*;

    struct Story {
        keys: SimulatedSoftwareKeys,
        state: StateDir,
        choice: Measure,
        folder: tempfile::TempDir,
    }

    impl Story {
        fn begin() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let maker = SimulatedManufacturer::well_known().expect("maker");
            let keys = SimulatedSoftwareKeys::new(&[1; 32], &maker).expect("keys");
            let state = StateDir::open(&folder.path().join("state")).expect("state");
            let image = folder.path().join("image");
            std::fs::write(&image, "release 1").expect("written");
            let choice =
                Measure { files: vec![image], firmware_log: "/nowhere".into(), ..Measure::default() };
            Self { keys, state, choice, folder }
        }

        fn install(&self, contents: &str) {
            std::fs::write(self.folder.path().join("image"), contents).expect("written");
        }

        fn measure(&mut self) -> Vec<Event> {
            measure(&mut self.keys, &self.state, &self.choice).expect("measured")
        }

        fn value(&mut self) -> [u8; 32] {
            self.keys.pcrs(&[23]).expect("read")[0]
        }
    }

    #[test]
    fn the_log_leads_to_the_register_over_restarts_updates_and_reboots() {
        let mut story = Story::begin();
        let first = story.measure();
        assert_eq!(first.len(), 2, "the program and the file");
        let value = story.value();
        assert_eq!(replay(&first, &[23]).expect("replays")[&23], value);
        // The agent starts again, and nothing has changed.
        assert_eq!(story.measure(), first);
        assert_eq!(story.value(), value);
        // An update without a reboot is one event more.
        story.install("release 2");
        let second = story.measure();
        assert_eq!((second.len(), replay(&second, &[23]).expect("replays")[&23]), (3, story.value()));
        // After a reboot the log begins anew, and says the same on every machine with that release.
        story.keys.reboot();
        let third = story.measure();
        assert_eq!((third.len(), replay(&third, &[23]).expect("replays")[&23]), (2, story.value()));
        assert_ne!(story.value(), value);
    }

    #[test]
    fn a_power_cut_between_log_and_register_is_found_out() {
        let mut story = Story::begin();
        let log = story.measure();
        let ahead = write_log(&[log.clone(), vec![Event { digest: [9; 32], ..log[0].clone() }]].concat());
        story.state.write("measured-23.log", ahead.as_bytes()).expect("written");
        assert_eq!(story.measure(), log);
        story.state.write("measured-23.log", b"nonsense").expect("written");
        assert_eq!(story.measure(), [], "without its log, what the register holds is not explained");
    }

    #[test]
    fn a_register_that_somebody_else_extended_is_left_alone() {
        let mut story = Story::begin();
        story.keys.extend(23, &[7; 32]).expect("extended");
        let value = story.value();
        assert_eq!(story.measure(), []);
        assert_eq!(story.value(), value);
    }

    #[test]
    fn a_file_that_is_gone_shows() {
        let mut story = Story::begin();
        story.measure();
        std::fs::remove_file(story.folder.path().join("image")).expect("removed");
        assert_eq!(story.measure().last().expect("an event").kind, "absent");
    }

    #[test]
    fn only_what_leads_to_a_register_is_sent_and_only_so_much_as_fits() {
        let mut story = Story::begin();
        let event =
            |pcr, digest| Event { pcr, digest: [digest; 32], kind: "firmware".into(), text: String::new() };
        let mut events = Vec::new();
        for digest in 0..80 {
            story.keys.extend(4, &[digest; 32]).expect("extended");
            events.push(event(4, digest));
        }
        story.keys.extend(7, &[1; 32]).expect("extended");
        events.push(event(7, 1));
        events.push(event(9, 1));
        let sent = log_for(&mut story.keys, &events, &[0, 4, 7, 9]).expect("read");
        assert_eq!(sent, [event(7, 1)], "9 was not extended so, 4 has too many events, 0 has none");
    }
}
