//! A boot loader and its watchdog, played by a program: it chooses a slot, starts what is in it, and goes back if
//! that is not well in time. Devices without a boot loader of their own, the demo and tests use it; a device with
//! U-Boot or GRUB lets that one do the same with the same pointer.
//!
//! What is started is a console: lines that begin with `muster: ` are for the loader, all others go to its output.
//!
//! ```text
//! muster: up 1.1            it runs, and is version 1.1
//! muster: connected         it has reached its hub
//! muster: ill the pump …    it is not well, and knows why
//! ```

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use muster_schemas::firmware::FailureCode;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    floor::NoCounter,
    fs::Fs,
    limits::{CHUNK_BYTES, CONSOLE_LINE_BYTES_MAX, CONSOLE_LINES_MAX, STARTS_MAX},
    loader::{Chosen, Unbootable, choose},
    pointer::Reason,
    slots::{Fault, Slots},
    updater::{Health, Sign, Trial, Verdict},
};

/// What a program ends with that wants the machine to start again (`EX_TEMPFAIL` of sysexits.h).
pub const REBOOT: i32 = 75;

/// How the loader runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where programs are put to be started; it is emptied of them at each start.
    pub run: PathBuf,
    /// What an image on trial has to show, and until when.
    pub health: Health,
    /// The command of the health check, for `sh`; it may wait, and is ended with the trial.
    pub check: Option<String>,
    /// Whether the program commits by itself: the loader then only watches that it does so in time.
    pub commits_itself: bool,
    /// Whether to end as soon as an image has shown that it is well, instead of running it on.
    pub once: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What ran last.
    pub chosen: Chosen,
    /// What it said that it is.
    pub version: Option<String>,
    /// How often anything was started.
    pub starts: u32,
}

/// Why nothing runs any more.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// There is nothing to start.
    #[error(transparent)]
    Unbootable(#[from] Unbootable),
    /// A record could not be written.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A program could not be put in its place or started.
    #[error("start the image: {doing}")]
    Start {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It asked to be started again and again.
    #[error("settle: the image asked for {STARTS_MAX} starts")]
    TooManyStarts,
}

/// What comes from a program that runs.
enum Heard {
    Sign(Sign),
    Line(String),
    Exited(Option<ExitStatus>),
}

/// How one start ended.
enum Ended {
    /// It is well, or is not on trial; and it runs.
    Well(Option<String>),
    /// It ended by itself.
    Exited { reboot: bool, version: Option<String> },
    /// It was on trial, and it is over.
    Failed,
}

/// Starts what the pointer says, again and again, until something runs that is well.
///
/// # Errors
/// Nothing boots, or a record cannot be written.
pub fn run<F: Fs>(
    slots: &Slots<F>,
    options: &Options,
    console: &mut dyn Write,
) -> Result<Settled, EmulatorError> {
    for starts in 1..=STARTS_MAX {
        let chosen = choose(slots)?;
        let about = match chosen.trial {
            Some(left) => format!("on trial, {left} more after this"),
            None if chosen.instead => "in place of a damaged one".to_owned(),
            None => "committed".to_owned(),
        };
        say(console, &format!("slot {} has {}, {about}", chosen.slot, chosen.image.version));
        match start(slots, options, &chosen, console)? {
            Ended::Well(version) => return Ok(Settled { chosen, version, starts }),
            Ended::Exited { reboot: false, version } => return Ok(Settled { chosen, version, starts }),
            Ended::Exited { reboot: true, .. } => say(console, "it wants to start again"),
            Ended::Failed => {}
        }
    }
    Err(EmulatorError::TooManyStarts)
}

fn start<F: Fs>(
    slots: &Slots<F>,
    options: &Options,
    chosen: &Chosen,
    console: &mut dyn Write,
) -> Result<Ended, EmulatorError> {
    let start_failed = |doing| move |source| EmulatorError::Start { doing, source };
    let program = put_in_place(slots, options, chosen).map_err(start_failed("put its program in place"))?;
    let mut command = Command::new(&program);
    command
        .env("MUSTER_SLOT", chosen.slot.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    if let Some(left) = chosen.trial {
        command.env("MUSTER_TRIAL", left.to_string());
    }
    let (heard, hearing) = sync_channel(CONSOLE_LINES_MAX);
    let child = match command.spawn() {
        Ok(child) => child,
        // What is no program costs its try, as one that crashes does.
        Err(error) if chosen.trial.is_some() => {
            let why = format!("it does not start: {error}");
            return failed(slots, Reason::new(FailureCode::BootFailed, &why), false, console);
        }
        Err(error) => return Err(start_failed("start its program")(error)),
    };
    let group = Pid::from_child(&child);
    listen(child, heard.clone());
    let mut checking = None;
    let ended = watch(slots, options, chosen, (&heard, &hearing), &mut checking, console);
    if let Some(check) = checking {
        // It may have ended already, with all that it started.
        let _ = kill_process_group(check, Signal::KILL);
    }
    let lives_on = matches!(ended, Ok(Ended::Well(_))) && !options.once;
    if !lives_on {
        let _ = kill_process_group(group, Signal::KILL);
        return ended;
    }
    // It is well, and runs for as long as it wants to.
    let Ok(Ended::Well(version)) = ended else { return ended };
    while let Ok(heard) = hearing.recv() {
        match heard {
            Heard::Line(line) => say(console, &line),
            Heard::Exited(status) => {
                let reboot = status.and_then(|status| status.code()) == Some(REBOOT);
                return Ok(Ended::Exited { reboot, version });
            }
            Heard::Sign(_) => {}
        }
    }
    Ok(Ended::Exited { reboot: false, version })
}

/// Watches one start until it is known how it goes.
fn watch<F: Fs>(
    slots: &Slots<F>,
    options: &Options,
    chosen: &Chosen,
    (heard, hearing): (&SyncSender<Heard>, &Receiver<Heard>),
    checking: &mut Option<Pid>,
    console: &mut dyn Write,
) -> Result<Ended, EmulatorError> {
    let began = clock();
    // An image that is not on trial has shown already that it is well: it is only listened to until it says what it
    // is.
    let listened = Health { needs_connection: false, needs_command: false, ..options.health };
    let health = if chosen.trial.is_some() { options.health } else { listened };
    let mut trial = Trial::new(chosen.image.version.as_str(), health, 0);
    let mut version = None;
    loop {
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if chosen.trial.is_none() || !options.commits_itself {
            match trial.verdict(now_ms) {
                Verdict::Open => {}
                Verdict::Well if chosen.trial.is_none() => return Ok(Ended::Well(version)),
                Verdict::Well => {
                    slots.commit(&mut NoCounter)?;
                    say(console, &format!("{} is well, and stays", chosen.image.version));
                    return Ok(Ended::Well(version));
                }
                // It is the old image: there is nothing to go back to.
                Verdict::Ill(_) if chosen.trial.is_none() => return Ok(Ended::Well(version)),
                Verdict::Ill(why) if version.is_none() => {
                    return failed(slots, Reason::new(FailureCode::BootFailed, &why), false, console);
                }
                Verdict::Ill(why) => {
                    return failed(slots, Reason::new(FailureCode::HealthCheck, &why), true, console);
                }
            }
        } else if now_ms >= health.within_ms {
            if slots.pointer()?.trial.is_none() {
                return Ok(Ended::Well(version));
            }
            let reason = Reason::new(FailureCode::Timeout, "it did not commit in time");
            return failed(slots, reason, false, console);
        }
        let left = Duration::from_millis(trial.next_deadline().saturating_sub(now_ms));
        match hearing.recv_timeout(left) {
            Ok(Heard::Line(line)) => say(console, &line),
            Ok(Heard::Sign(sign)) => {
                if let Sign::Up(says) = &sign {
                    version = Some(says.clone());
                    if let Some(check) = options.check.as_deref().filter(|_| health.needs_command)
                        && checking.is_none()
                    {
                        *checking = start_check(check, chosen, heard.clone());
                    }
                }
                trial.take(sign);
            }
            Ok(Heard::Exited(status)) => {
                let code = status.and_then(|status| status.code());
                if chosen.trial.is_none() || (options.commits_itself && slots.pointer()?.trial.is_none()) {
                    return Ok(Ended::Exited { reboot: code == Some(REBOOT), version });
                }
                if code == Some(REBOOT) {
                    say(console, "it wants to start again, on trial");
                    return Ok(Ended::Failed);
                }
                let why =
                    status.map_or_else(|| "it ended".to_owned(), |status| format!("it ended: {status}"));
                return failed(slots, Reason::new(FailureCode::BootFailed, &why), false, console);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Failed),
        }
    }
}

/// Writes down what is wrong. If even that cannot be written, the tries count.
fn failed<F: Fs>(
    slots: &Slots<F>,
    reason: Reason,
    for_good: bool,
    console: &mut dyn Write,
) -> Result<Ended, EmulatorError> {
    say(console, &format!("it is given up: {reason}"));
    let written = if for_good { slots.roll_back(reason) } else { slots.suspect(reason) };
    if let Err(fault) = written {
        say(console, &format!("and that could not be written: {fault}"));
    }
    Ok(Ended::Failed)
}

/// Copies the image to where it is started, as a boot loader loads it into memory.
fn put_in_place<F: Fs>(slots: &Slots<F>, options: &Options, chosen: &Chosen) -> io::Result<PathBuf> {
    fs::create_dir_all(&options.run)?;
    let program = options.run.join(format!("image-{}", chosen.slot));
    match fs::remove_file(&program) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let image = slots.layout().place(chosen.slot).image();
    copy(slots.fs(), &image, chosen.image.size, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    Ok(program)
}

fn copy<F: Fs>(fs: &F, from: &Path, size: u64, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    let (mut at, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    while at < size {
        let left = usize::try_from(size - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let Some(into) = chunk.get_mut(..left) else { break };
        let read = fs.read_at(from, at, into)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(into.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(())
}

/// Two threads that end with the program: one reads what it says, one waits for its end. A program that says more
/// than is listened to waits.
fn listen(mut child: Child, heard: SyncSender<Heard>) {
    if let Some(out) = child.stdout.take() {
        let heard = heard.clone();
        thread::spawn(move || {
            let mut lines = BufReader::new(out);
            while let Some(line) = line(&mut lines) {
                let message = sign(&line).map_or(Heard::Line(line), Heard::Sign);
                if heard.send(message).is_err() {
                    // Nobody listens any more; what it says is read, so that it does not stop at a full pipe.
                    let _ = io::copy(&mut lines, &mut io::sink());
                    return;
                }
            }
        });
    }
    thread::spawn(move || {
        let _ = heard.send(Heard::Exited(child.wait().ok()));
    });
}

fn start_check(check: &str, chosen: &Chosen, heard: SyncSender<Heard>) -> Option<Pid> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(check).env("MUSTER_SLOT", chosen.slot.as_str());
    command.env("MUSTER_VERSION", chosen.image.version.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    match command.spawn() {
        Ok(mut child) => {
            let group = Pid::from_child(&child);
            thread::spawn(move || {
                let sign = match child.wait() {
                    Ok(status) if status.success() => Sign::Passed,
                    Ok(status) => Sign::Ill(format!("its health check ended: {status}")),
                    Err(error) => Sign::Ill(format!("its health check is lost: {error}")),
                };
                let _ = heard.send(Heard::Sign(sign));
            });
            Some(group)
        }
        Err(error) => {
            // If nobody listens, the deadline says the same.
            let _ =
                heard.try_send(Heard::Sign(Sign::Ill(format!("its health check does not start: {error}"))));
            None
        }
    }
}

/// One line, cut at its bound.
fn line(lines: &mut impl io::BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let read = lines.by_ref().take(CONSOLE_LINE_BYTES_MAX).read_until(b'\n', &mut bytes).ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn sign(line: &str) -> Option<Sign> {
    let said = line.strip_prefix("muster: ")?;
    match said.split_once(' ') {
        None if said == "connected" => Some(Sign::Connected),
        Some(("up", version)) => Some(Sign::Up(version.to_owned())),
        Some(("ill", why)) => Some(Sign::Ill(why.to_owned())),
        _ => None,
    }
}

/// A console that is gone changes nothing of what boots.
fn say(console: &mut dyn Write, line: &str) {
    let _ = writeln!(console, "{line}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a watchdog is a clock: this is the one place that asks for the time"
)]
fn clock() -> Instant {
    Instant::now()
}
