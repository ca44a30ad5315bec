//! A program of this machine, started, watched line by line, and ended with its owner.
//!
//! Not for daemons: dropping a [`Process`] kills it, and where `setpriv` is there the kernel does so even when this
//! process is killed itself.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::limits::{LINES_KEPT_MAX, LINES_WAITING_MAX, STOP_TIME_MAX};

/// Why a process did not do what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start {name}: {source}")]
    Start {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before.
    #[error("{name} ended ({how}) while waiting for {what}; its last lines:\n{tail}")]
    Ended {
        /// The program.
        name: String,
        /// What was waited for.
        what: String,
        /// Its exit code, or the signal that ended it.
        how: String,
        /// What it said last.
        tail: String,
    },
    /// It did not come in time.
    #[error("{name}: {what} did not come within {limit_s} s; its last lines:\n{tail}")]
    TimedOut {
        /// The program.
        name: String,
        /// What was waited for.
        what: String,
        /// The limit, in seconds.
        limit_s: u64,
        /// What it said last.
        tail: String,
    },
}

/// A running program and what it said.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    kept: Vec<String>,
}

/// The time, for deadlines of waiting on other processes.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn now() -> Instant {
    Instant::now()
}

impl Process {
    /// Starts a program; its standard output and error are read line by line.
    ///
    /// # Errors
    /// The program is not there or cannot be executed.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, ProcessError> {
        let mut command = bound_to_us(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|source| ProcessError::Start { name: name.to_owned(), source })?;
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        Ok(Self { name: name.to_owned(), child, lines, kept: Vec::new() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line for which `wanted` gives something.
    ///
    /// # Errors
    /// The program ended, or the line did not come within `limit`.
    pub fn wait_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let deadline = now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.keep(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(ProcessError::TimedOut {
                        name: self.name.clone(),
                        what: what.to_owned(),
                        limit_s: limit.as_secs(),
                        tail: self.tail(),
                    });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.child.wait().map_or_else(|error| error.to_string(), |how| how.to_string());
                    return Err(ProcessError::Ended {
                        name: self.name.clone(),
                        what: what.to_owned(),
                        how,
                        tail: self.tail(),
                    });
                }
            }
        }
    }

    /// Waits for a log line in JSON whose message is `message`, and gives its fields.
    ///
    /// # Errors
    /// As [`Process::wait_line`].
    pub fn wait_event(&mut self, message: &str, limit: Duration) -> Result<Value, ProcessError> {
        self.wait_line(message, limit, |line| event(line).filter(|fields| is_message(fields, message)))
    }

    /// Takes the lines that are there now, without waiting.
    pub fn take_lines(&mut self) -> Vec<String> {
        let lines: Vec<_> = self.lines.try_iter().collect();
        lines.iter().cloned().for_each(|line| self.keep(line));
        lines
    }

    /// Every line so far, looked at or not.
    pub fn all_lines(&mut self) -> &[String] {
        self.take_lines();
        &self.kept
    }

    /// The fields of every log line so far whose message is `message`.
    pub fn events(&mut self, message: &str) -> Vec<Value> {
        let lines = self.all_lines().iter();
        lines.filter_map(|line| event(line)).filter(|fields| is_message(fields, message)).collect()
    }

    /// The last lines, for a report.
    pub fn tail(&mut self) -> String {
        self.take_lines();
        let from = self.kept.len().saturating_sub(15);
        self.kept.get(from..).unwrap_or_default().join("\n")
    }

    /// Ends it without warning, as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        // It may have ended by itself; both are then nothing to worry about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits; kills it if it does not.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)?;
        let _ = kill_process(pid, Signal::TERM);
        let deadline = now() + STOP_TIME_MAX;
        // Its pipes close when it ends.
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
            self.keep(line);
        }
        if self.child.try_wait().ok().flatten().is_none() && now() >= deadline {
            self.kill();
        }
        self.child.wait().ok()
    }

    fn keep(&mut self, line: String) {
        if self.kept.len() < LINES_KEPT_MAX {
            self.kept.push(line);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same command, under `setpriv` if it is there, so that it ends with us whatever ends us.
fn bound_to_us(command: &mut Command) -> Command {
    let setpriv =
        ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| std::fs::metadata(path).is_ok());
    let Some(setpriv) = setpriv else {
        let mut plain = Command::new(command.get_program());
        plain.args(command.get_args());
        copy_surroundings(command, &mut plain);
        return plain;
    };
    let mut bound = Command::new(setpriv);
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    copy_surroundings(command, &mut bound);
    bound
}

fn copy_surroundings(from: &Command, to: &mut Command) {
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
}

fn forward(from: impl Read + Send + 'static, to: SyncSender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            // The owner has gone, or the program wrote something that is no text.
            let Ok(line) = line else { return };
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

/// The fields of a log line in JSON.
pub fn event(line: &str) -> Option<Value> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    Some(line.get_mut("fields")?.take())
}

fn is_message(fields: &Value, message: &str) -> bool {
    fields.get("message").and_then(Value::as_str) == Some(message)
}
