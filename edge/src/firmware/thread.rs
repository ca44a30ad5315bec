//! The thread that owns the slots, and what it starts: the command of the health check.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use actix::{Message, Recipient};
use bytes::Bytes;
use muster_actors::SharedClock;
use muster_schemas::{
    DeviceId,
    firmware::{Report, Stage},
};
use muster_slots::{
    carrier::Carrier,
    floor::NoCounter,
    fs::Disk,
    slot::Slot,
    slots::{Fault, Slots},
    updater::Sign,
};
use muster_suit::Root;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::Notify;
use tracing::{error, info};

use super::{About, Core, Effect, FirmwareSettings, Inbox, NoRecord, Now, read_record};
use crate::{
    limits::{FIRMWARE_EARLY_MAX, VERSION_FILE_BYTES_MAX},
    state::StateDir,
};

/// Which slot runs: `muster-boot`, or a boot loader through the unit file, says it.
const SLOT: &str = "MUSTER_SLOT";
/// Which version the image says that it is.
const VERSION: &str = "MUSTER_FIRMWARE_VERSION";

/// What the thread wants of the session.
#[derive(Debug)]
pub enum FirmwareSaid {
    /// Ask for blocks, at QoS 0.
    Ask(Bytes),
    /// Tell the hub, at QoS 1.
    Say {
        /// What [`Inbox::heard`] names it by.
        ticket: u64,
        /// What to tell.
        payload: Bytes,
    },
}

impl Message for FirmwareSaid {
    type Result = ();
}

/// The way from the thread to the uplink as it lives now. At most one request for blocks and a handful of reports come
/// before an answer. What is said before there is an uplink waits, and beyond its bound is lost: how an update ended is
/// told again at the next connection.
#[derive(Debug, Default)]
pub struct Outlet(Mutex<Way>);

#[derive(Debug, Default)]
struct Way {
    uplink: Option<Recipient<FirmwareSaid>>,
    early: Vec<FirmwareSaid>,
}

impl Outlet {
    /// From now on `uplink` hears it.
    pub fn connect(&self, uplink: Recipient<FirmwareSaid>) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        way.early.drain(..).for_each(|said| uplink.do_send(said));
        way.uplink = Some(uplink);
    }

    fn say(&self, said: FirmwareSaid) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &way.uplink {
            Some(uplink) => uplink.do_send(said),
            None if way.early.len() < FIRMWARE_EARLY_MAX => way.early.push(said),
            None => {}
        }
    }
}

/// Why no firmware is installed. The agent goes on without: a device that cannot be reached cannot be helped.
#[derive(Debug, thiserror::Error)]
pub enum NoFirmware {
    /// The record.
    #[error(transparent)]
    Record(#[from] NoRecord),
    /// Nobody says which slot runs.
    #[error("know which slot runs: set firmware.slot, or {SLOT} to a or b")]
    Slot,
    /// The image does not say which version it is.
    #[error("know which version runs: set firmware.version_file, or {VERSION}{0}")]
    Version(String),
    /// The slots.
    #[error("{0}")]
    Slots(#[from] Fault),
    /// There is no thread.
    #[error("start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Both ends of the thread.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// What waits for it.
    pub inbox: Arc<Inbox>,
    /// What it says.
    pub outlet: Arc<Outlet>,
    /// Told when the machine is to start again.
    pub reboot: Arc<Notify>,
}

impl Firmware {
    /// Reads the records and starts the thread.
    ///
    /// # Errors
    /// Something that it cannot do without is not there.
    pub fn start(
        settings: &FirmwareSettings,
        device: DeviceId,
        state: &Arc<StateDir>,
        clock: SharedClock,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, NoFirmware> {
        let record = read_record(state, settings)?;
        let slot = settings.slot.or_else(|| match variable(SLOT)?.as_str() {
            "a" => Some(Slot::A),
            "b" => Some(Slot::B),
            _ => None,
        });
        let about = About {
            device,
            vendor: settings.vendor,
            class: settings.class,
            slot_bytes: settings.slot_bytes,
            slot: slot.ok_or(NoFirmware::Slot)?,
            version: version(settings, variable)?,
            health: settings.health(),
            download_ms: u64::try_from(settings.download.as_millis()).unwrap_or(u64::MAX),
        };
        let carrier = Carrier::new(Slots::new(Disk, settings.layout()), NoCounter);
        let timer = Timer { start: clock.now(), clock };
        let core = Core::wake(timer.now(), about, carrier, record, Arc::<StateDir>::clone(state))?;
        let firmware = Self { inbox: Arc::default(), outlet: Arc::default(), reboot: Arc::default() };
        let checked = settings.check.clone();
        let ends = firmware.clone();
        thread::Builder::new()
            .name("firmware".to_owned())
            .spawn(move || Running { core, timer, ends, check: checked, checking: None }.run())?;
        Ok(firmware)
    }
}

/// What would be installed into, and under which root: looked at, and nothing written.
///
/// # Errors
/// The record or the slots cannot be read.
pub fn look(settings: &FirmwareSettings, state: &Arc<StateDir>) -> Result<String, NoFirmware> {
    let record = read_record(state, settings)?;
    let pointer = Slots::new(Disk, settings.layout()).pointer()?;
    let version = pointer.image(pointer.active).map_or("nothing", |image| image.version.as_str());
    let Root { tenant, version: root, .. } = &record.root;
    Ok(format!("slot {} with {version}; root {root} of {tenant}", pointer.active))
}

fn version(
    settings: &FirmwareSettings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, NoFirmware> {
    let Some(path) = &settings.version_file else {
        return variable(VERSION).ok_or_else(|| NoFirmware::Version(String::new()));
    };
    let text = fs::metadata(path).and_then(|file| match file.len() <= VERSION_FILE_BYTES_MAX {
        true => fs::read_to_string(path),
        false => Err(io::Error::other(format!("it has more than {VERSION_FILE_BYTES_MAX} bytes"))),
    });
    let failed = |error| NoFirmware::Version(format!("; {}: {error}", path.display()));
    Ok(text.map_err(failed)?.trim().to_owned())
}

struct Timer {
    start: Instant,
    clock: SharedClock,
}

impl Timer {
    fn now(&self) -> Now {
        let ms = u64::try_from((self.clock.now() - self.start).as_millis()).unwrap_or(u64::MAX);
        Now { ms, unix_s: self.clock.unix_ms() / 1_000 }
    }
}

struct Running {
    core: Core<Disk, NoCounter>,
    timer: Timer,
    ends: Firmware,
    check: Vec<String>,
    /// The health check that runs.
    checking: Option<Pid>,
}

impl Running {
    fn run(mut self) {
        let mut effects = Vec::new();
        // What the records led to is done first.
        let mut input = Some(super::Input::Tick);
        while let Some(next) = input {
            self.core.handle(self.timer.now(), next, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Ask(get) => self.ends.outlet.say(FirmwareSaid::Ask(get.encode().into())),
                    Effect::Say { ticket, report } => self.say(ticket, &report),
                    Effect::Check => self.checking = start_check(&self.check, &self.ends.inbox),
                    Effect::Reboot => {
                        info!("the machine starts again, for firmware");
                        self.ends.reboot.notify_one();
                        return;
                    }
                }
            }
            if self.core.stage() != Some(Stage::Verifying) {
                self.end_check();
            }
            let now = self.timer.now();
            let deadline = self.core.next_deadline(now);
            let within = deadline.map(|at| Duration::from_millis(at.saturating_sub(now.ms)));
            input = self.ends.inbox.next(within);
        }
    }

    fn say(&self, ticket: u64, report: &Report) {
        self.ends.outlet.say(FirmwareSaid::Say { ticket, payload: report.encode().into() });
    }

    /// It may have ended already, with all that it started.
    fn end_check(&mut self) {
        if let Some(group) = self.checking.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_check();
    }
}

/// Starts the health check in a process group of its own; a thread waits for its end.
fn start_check(words: &[String], inbox: &Arc<Inbox>) -> Option<Pid> {
    let [program, arguments @ ..] = words else { return None };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let failed = |error: io::Error| {
        error!(program, %error, "the health check does not start");
        inbox.sign(Sign::Ill(format!("its health check does not start: {error}")));
    };
    let mut child = command.spawn().map_err(failed).ok()?;
    let group = Pid::from_child(&child);
    let told = Arc::clone(inbox);
    let waiter = thread::Builder::new().name("health".to_owned()).spawn(move || {
        told.sign(match child.wait() {
            Ok(status) if status.success() => Sign::Passed,
            Ok(status) => Sign::Ill(format!("its health check ended: {status}")),
            Err(error) => Sign::Ill(format!("its health check is lost: {error}")),
        });
    });
    if let Err(error) = waiter {
        // The deadline of the trial says the same if nobody waits.
        failed(error);
    }
    Some(group)
}
