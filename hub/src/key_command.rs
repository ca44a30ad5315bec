//! A key that a program gives: it prints the key and ends. So a hub takes its keys from a TPM (`tpm2_unseal`), from a key
//! management service or from a hardware module, and links none of their libraries.
//!
//! What is printed is 32 bytes, or 64 hexadecimal digits, or base64 of 32 bytes, the last two with or without a line end.

use std::{
    io::{self, Read as _},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use muster_broker::store::SecretKey;
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

use crate::limits::{KEY_COMMAND_COMPLAINT_BYTES_MAX, KEY_COMMAND_OUTPUT_BYTES_MAX};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A key that erases itself.
pub type Key = SecretKey;

/// A program that prints a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCommand {
    /// The program and its arguments. No shell reads them.
    pub command: Vec<String>,
    /// How long it may take.
    pub time_max: Duration,
}

/// Why a program gave no key. Nothing that it printed as the key is told.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// It could not be started.
    #[error("start {program}, which is to print the key: {source}; install it, or name another")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "wait for {program} to print the key: it has not ended after {} s; look at what it waits for",
        .time_max.as_secs()
    )]
    Time {
        /// The program.
        program: String,
        /// How long it might take.
        time_max: Duration,
    },
    /// It ended with an error.
    #[error("take the key from {program}: it ended with {status}, and said {said:?}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The beginning of what it wrote to its standard error.
        said: String,
    },
    /// What it printed is no key.
    #[error(
        "take the key from {program}: it printed {bytes} bytes, which are neither 32 bytes nor 64 hexadecimal digits nor \
         base64 of 32 bytes"
    )]
    NoKey {
        /// The program.
        program: String,
        /// How many bytes it printed.
        bytes: usize,
    },
}

impl KeyCommand {
    /// Runs the program and takes the key. Blocks.
    ///
    /// # Errors
    /// It gave none.
    pub fn run(&self) -> Result<Key, KeyCommandError> {
        let program = self.command.first().cloned().unwrap_or_default();
        let start = |source| KeyCommandError::Start { program: program.clone(), source };
        let mut child = Command::new(&program)
            .args(self.command.iter().skip(1))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let pid = Pid::from_child(&child);
        let streams = [stream(child.stdout.take()), stream(child.stderr.take())];
        let (tell, told) = sync_channel(3);
        for (part, stream) in [Part::Output, Part::Complaint].into_iter().zip(streams) {
            let tell = tell.clone();
            let read = move || {
                let bound = KEY_COMMAND_OUTPUT_BYTES_MAX.max(KEY_COMMAND_COMPLAINT_BYTES_MAX);
                let mut text = Zeroizing::new(Vec::with_capacity(bound));
                // What cannot be read is too little, and is told as that.
                if let Some(stream) = stream {
                    let _ = stream.take(bound as u64).read_to_end(&mut text);
                }
                // Nobody listens any more if it came too late.
                let _ = tell.send(part(text));
            };
            thread::Builder::new().name("key command".to_owned()).spawn(read).map_err(start)?;
        }
        let wait = move || drop(tell.send(Part::Ended(child.wait())));
        thread::Builder::new().name("key command".to_owned()).spawn(wait).map_err(start)?;
        let (mut output, mut said, mut status) = (Zeroizing::default(), Zeroizing::default(), None);
        loop {
            match told.recv_timeout(self.time_max) {
                Ok(Part::Output(text)) => output = text,
                Ok(Part::Complaint(text)) => said = text,
                Ok(Part::Ended(ended)) => status = Some(ended.map_err(start)?),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // It may have ended, and something that it started goes on.
                    if status.is_none() {
                        let _ = kill_process(pid, Signal::KILL);
                    }
                    return Err(KeyCommandError::Time { program, time_max: self.time_max });
                }
            }
        }
        let bytes = output.len();
        if bytes > KEY_COMMAND_OUTPUT_BYTES_MAX {
            return Err(KeyCommandError::NoKey { program, bytes });
        }
        match status {
            Some(status) if status.success() => {}
            status => {
                let status = status.map_or_else(String::new, |status| status.to_string());
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                return Err(KeyCommandError::Failed { program, status, said });
            }
        }
        parse_key(&output).ok_or(KeyCommandError::NoKey { program, bytes })
    }
}

/// A key as 32 bytes, as 64 hexadecimal digits or as base64.
pub fn parse_key(text: &[u8]) -> Option<Key> {
    if let Some(key) = Key::copy_of(text) {
        return Some(key);
    }
    let text = text.trim_ascii();
    let decoded = HEXLOWER_PERMISSIVE.decode(text).or_else(|_| BASE64.decode(text)).ok();
    let decoded = Zeroizing::new(decoded?);
    Key::copy_of(&decoded)
}

/// What is heard of a program.
enum Part {
    Output(Zeroizing<Vec<u8>>),
    Complaint(Zeroizing<Vec<u8>>),
    Ended(io::Result<ExitStatus>),
}

fn stream(stream: Option<impl io::Read + Send + 'static>) -> Option<Box<dyn io::Read + Send>> {
    stream.map(|stream| Box::new(stream) as Box<dyn io::Read + Send>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Key, KeyCommandError> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        KeyCommand { command, time_max: Duration::from_secs(20) }.run()
    }

    #[test]
    fn a_key_comes_as_bytes_as_hexadecimal_digits_or_as_base64() {
        for script in [
            "printf AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "echo 4141414141414141414141414141414141414141414141414141414141414141",
            "echo QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
        ] {
            assert_eq!(run(script).unwrap().as_slice(), [0x41; 32], "{script}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_and_not_shown() {
        for script in ["true", "printf SECRET", "yes SECRET", "head -c 33 /dev/zero"] {
            let refused = run(script).unwrap_err();
            assert!(matches!(refused, KeyCommandError::NoKey { .. }), "{refused}");
            assert!(!refused.to_string().contains("SECRET"), "{refused}");
        }
        let refused = run("echo the vault is sealed >&2; printf SECRET; exit 3").unwrap_err().to_string();
        assert!(refused.contains("the vault is sealed") && refused.contains('3'), "{refused}");
        assert!(!refused.contains("SECRET"), "{refused}");
        let missing = KeyCommand { command: vec!["/no/such/program".to_owned()], time_max: Duration::MAX };
        assert!(matches!(missing.run(), Err(KeyCommandError::Start { .. })));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        for script in ["exec tail -f /dev/null", "exec sleep 60 >&- 2>&-"] {
            let command = ["sh", "-c", script].map(str::to_owned).to_vec();
            let slow = KeyCommand { command, time_max: Duration::from_millis(50) };
            assert!(matches!(slow.run(), Err(KeyCommandError::Time { .. })), "{script}");
        }
    }
}
