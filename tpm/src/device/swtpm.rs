//! A simulated TPM in a process of its own (the program `swtpm`). For simulators and tests, and the one place that
//! starts one. Each instance has a loopback address to itself, so there is no hunting for free ports.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::limits::{SWTPM_ADDRESSES_MAX, SWTPM_PROBE_PAUSE_MS, SWTPM_PROBES_MAX};

/// Port of the TPM's commands. tpm2-tss takes the next one for the control channel.
const COMMAND_PORT: u16 = 2_321;
const CONTROL_PORT: u16 = COMMAND_PORT + 1;
/// `CMD_GET_CAPABILITY` of the control channel.
const GET_CAPABILITY: [u8; 4] = [0, 0, 0, 1];

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Why no simulated TPM runs.
#[derive(Debug, thiserror::Error)]
pub enum SwtpmError {
    /// The program is not there or cannot be run.
    #[error("start swtpm: {0}; install the packages swtpm and libtss2-dev")]
    Start(#[source] io::Error),
    /// It ended by itself.
    #[error("start swtpm: it ended with {status}: {stderr}")]
    Ended {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It runs and does not answer.
    #[error("reach swtpm at {address}: it does not answer")]
    Silent {
        /// Where it should listen.
        address: Ipv4Addr,
    },
    /// Every address tried was taken.
    #[error("find a loopback address for swtpm: {SWTPM_ADDRESSES_MAX} were tried and all are taken")]
    NoAddress,
}

/// A running simulated TPM. It ends when this value is dropped; close every connection to it before.
///
/// It also ends when the **thread** that started it ends (`setpriv --pdeathsig`, where util-linux has it), so that a
/// killed test leaves nothing behind: start it from a thread that lives as long as it is needed.
#[derive(Debug)]
pub struct Swtpm {
    process: Child,
    address: Ipv4Addr,
    state_dir: PathBuf,
}

impl Swtpm {
    /// Starts a simulated TPM that keeps its state in `state_dir`, which must exist and be used by no other. An empty
    /// one is made a new TPM with fresh seeds; never copy one, for that clones the chip.
    ///
    /// # Errors
    /// When swtpm is missing, ends, or does not answer.
    pub fn start(state_dir: &Path) -> Result<Self, SwtpmError> {
        for _ in 0..SWTPM_ADDRESSES_MAX {
            let address = next_address();
            // Somebody else's swtpm may sit there: then try the next. Between this and swtpm's own bind nobody else
            // takes it but by chance, and then swtpm ends and says so.
            if !free(address, COMMAND_PORT) || !free(address, CONTROL_PORT) {
                continue;
            }
            let process = spawn(state_dir, address)?;
            let mut swtpm = Self { process, address, state_dir: state_dir.to_owned() };
            swtpm.await_ready()?;
            return Ok(swtpm);
        }
        Err(SwtpmError::NoAddress)
    }

    /// Cuts the power and puts it back: registers at zero, one more reset, same address. Connections are lost.
    ///
    /// # Errors
    /// When swtpm does not come back.
    pub fn power_cycle(&mut self) -> Result<(), SwtpmError> {
        self.kill();
        self.process = spawn(&self.state_dir, self.address)?;
        self.await_ready()
    }

    /// How a client addresses it, for `Chip::open` and for other programs' TPM configuration.
    pub fn tcti(&self) -> String {
        format!("swtpm:host={},port={COMMAND_PORT}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn await_ready(&mut self) -> Result<(), SwtpmError> {
        for _ in 0..SWTPM_PROBES_MAX {
            if let Some(status) = self.process.try_wait().map_err(SwtpmError::Start)? {
                let mut stderr = String::new();
                if let Some(pipe) = self.process.stderr.as_mut() {
                    // What cannot be read only shortens the message.
                    let _ = pipe.take(4_096).read_to_string(&mut stderr);
                }
                return Err(SwtpmError::Ended { status, stderr: stderr.trim().to_owned() });
            }
            if self.answers() {
                return Ok(());
            }
            pause();
        }
        Err(SwtpmError::Silent { address: self.address })
    }

    /// Asks on the control channel: the command channel serves one client at a time, and that is not us.
    fn answers(&self) -> bool {
        let ask = || -> io::Result<()> {
            let mut control = TcpStream::connect(SocketAddr::from((self.address, CONTROL_PORT)))?;
            control.set_read_timeout(Some(Duration::from_secs(1)))?;
            control.write_all(&GET_CAPABILITY)?;
            control.read_exact(&mut [0; 8])
        };
        ask().is_ok()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether swtpm can be run here, for tests that are skipped without it.
pub fn available() -> bool {
    let run = Command::new("swtpm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn spawn(state_dir: &Path, address: Ipv4Addr) -> Result<Child, SwtpmError> {
    let arguments = [
        "socket".to_owned(),
        "--tpm2".to_owned(),
        "--tpmstate".to_owned(),
        format!("dir={}", state_dir.display()),
        "--server".to_owned(),
        format!("type=tcp,port={COMMAND_PORT},bindaddr={address}"),
        "--ctrl".to_owned(),
        format!("type=tcp,port={CONTROL_PORT},bindaddr={address}"),
        "--flags".to_owned(),
        "not-need-init,startup-clear".to_owned(),
    ];
    let quiet = |command: &mut Command| {
        command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    };
    match quiet(Command::new("setpriv").args(["--pdeathsig", "KILL", "swtpm"])) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            quiet(&mut Command::new("swtpm")).map_err(SwtpmError::Start)
        }
        spawned => spawned.map_err(SwtpmError::Start),
    }
}

/// 127.64.0.0 to 127.127.255.254, from the process id and a counter, so that parallel test programs rarely meet.
fn next_address() -> Ipv4Addr {
    let count = STARTED.fetch_add(1, Ordering::Relaxed);
    let mixed = std::process::id().wrapping_mul(2_654_435_761).wrapping_add(count);
    let [_, second, third, fourth] = mixed.to_be_bytes();
    Ipv4Addr::new(127, 64 | (second & 63), third, fourth.clamp(1, 254))
}

fn free(address: Ipv4Addr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process starts to listen: there is nothing to await but its answer"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(SWTPM_PROBE_PAUSE_MS));
}
