//! A hub as a process, and its command line.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{
    limits::WAIT_MAX,
    process::{Process, ProcessError, now},
    programs,
};

/// Why a hub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A program is missing.
    #[error("{0}")]
    Missing(String),
    /// The process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A command was refused.
    #[error("`muster {command}` ended with exit code {code}: {stderr}")]
    Command {
        /// What was called.
        command: String,
        /// Its exit code; −1 when a signal ended it.
        code: i32,
        /// What it said.
        stderr: String,
    },
    /// A command said something unexpected.
    #[error("`muster {command}` printed no JSON: {stdout}")]
    Output {
        /// What was called.
        command: String,
        /// What it printed.
        stdout: String,
    },
    /// The file system refused.
    #[error("failed to prepare the hub's folder: {0}")]
    Folder(#[from] std::io::Error),
}

/// A hub on loopback, in a folder of its own.
pub struct Hub {
    program: PathBuf,
    folder: PathBuf,
    process: Option<Process>,
    /// Where it listens, once it has said so; kept over restarts.
    mqtt: String,
    https: String,
    /// Where it listens without TLS; empty when it does not.
    plain: String,
    environment: Vec<(String, String)>,
    /// A line of shell that it is started by; empty when it is started as it is.
    line: String,
}

impl Hub {
    /// Prepares a hub in `folder` with `muster init`, trusting TPMs of the maker root at `maker_root` as simulated.
    ///
    /// # Errors
    /// `muster` has not been built, or refused.
    pub fn init(folder: &Path, maker_root: &Path) -> Result<Self, HubError> {
        let program = programs::find("muster").map_err(HubError::Missing)?;
        let hub = Self {
            program,
            folder: folder.to_owned(),
            process: None,
            mqtt: free_address(),
            https: free_address(),
            plain: String::new(),
            environment: Vec::new(),
            line: String::new(),
        };
        let shown = folder.display().to_string();
        let root = format!("simulated={}", maker_root.display());
        hub.run_plain(&["init", "--dir", &shown, "--trust-domain", "muster.demo", "--tpm-root", &root])?;
        Ok(hub)
    }

    /// Sets one configuration value by its environment variable, from the next start on.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// Starts it by a line of shell from the next start on, such as `cd elsewhere && exec "$@"`.
    pub fn start_by(&mut self, line: &str) {
        line.clone_into(&mut self.line);
    }

    /// Prefers these addresses over any free ones.
    pub fn bind(&mut self, mqtt: &str, https: &str) {
        mqtt.clone_into(&mut self.mqtt);
        https.clone_into(&mut self.https);
    }

    /// Lets it listen without TLS as well, for one tenant, from the next start on.
    pub fn open_plain(&mut self, tenant: &str) {
        self.set("MUSTER__LISTENERS__MQTT_PLAIN__BIND", &free_address());
        self.set("MUSTER__LISTENERS__MQTT_PLAIN__TENANT", tenant);
    }

    /// Starts it and waits until it is ready; gives the time that took.
    ///
    /// # Errors
    /// It ended, or was not ready in time.
    pub fn start(&mut self) -> Result<Duration, HubError> {
        let started = now();
        let mut process = self.launch()?;
        let ready = process.wait_event("ready", WAIT_MAX)?;
        let took = now() - started;
        let address = |key: &str| ready.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.mqtt = address("mqtt");
        self.https = address("https");
        self.plain = address("mqtt_plain");
        self.process = Some(process);
        Ok(took)
    }

    /// Starts it and ends it after so much time as a power cut would, ready or not.
    ///
    /// # Errors
    /// It could not be started.
    pub fn stumble(&mut self, after: Duration) -> Result<(), HubError> {
        let mut process = self.launch()?;
        // It need not get that far.
        let _ = process.wait_event("ready", after);
        process.kill();
        Ok(())
    }

    fn launch(&self) -> Result<Process, HubError> {
        let mut command = if self.line.is_empty() {
            Command::new(&self.program)
        } else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &self.line, "sh"]).arg(&self.program);
            shell
        };
        command.args(["serve", "--config"]).arg(self.folder.join("muster.toml"));
        command.env("MUSTER__LISTENERS__MQTT_TLS__BIND", &self.mqtt);
        command.env("MUSTER__LISTENERS__HTTPS__BIND", &self.https);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        Ok(Process::start("muster serve", &mut command)?)
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to end and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// The running process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Where it speaks MQTT, as `address:port`.
    pub fn mqtt(&self) -> &str {
        &self.mqtt
    }

    /// Where it speaks MQTT without TLS, as `address:port`; empty when it does not.
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// The port it speaks MQTT on.
    pub fn mqtt_port(&self) -> &str {
        self.mqtt.rsplit(':').next().unwrap_or_default()
    }

    /// Where its HTTPS API is, as a base URL with the name that its certificate carries.
    pub fn api(&self) -> String {
        format!("https://localhost:{}", self.https.rsplit(':').next().unwrap_or_default())
    }

    /// Where apps find MQTT, by the name that its certificate carries.
    pub fn mqtt_endpoint(&self) -> String {
        format!("localhost:{}", self.mqtt_port())
    }

    /// The root certificate that devices and apps trust.
    pub fn root(&self) -> PathBuf {
        self.folder.join("authorities/root.crt")
    }

    /// The operator's identity.
    pub fn operator(&self) -> PathBuf {
        self.folder.join("operator")
    }

    /// Where the hub keeps everything.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs the command line as `identity` and gives what it printed.
    ///
    /// # Errors
    /// It ended with an exit code other than 0, or printed no JSON.
    pub fn run(&self, identity: &Path, arguments: &[&str]) -> Result<Value, HubError> {
        let shown = identity.display().to_string();
        let api = self.api();
        let mut all = vec!["--identity", &shown, "--hub", &api, "-o", "json"];
        all.extend(arguments);
        let stdout = self.run_plain(&all)?;
        let command = arguments.join(" ");
        serde_json::from_str(&stdout).map_err(|_| HubError::Output { command, stdout })
    }

    /// Runs the command line as `identity` and gives what it printed, whatever that is.
    ///
    /// # Errors
    /// It ended with an exit code other than 0.
    pub fn print(&self, identity: &Path, arguments: &[&str]) -> Result<String, HubError> {
        let (shown, api) = (identity.display().to_string(), self.api());
        let all: Vec<&str> =
            ["--identity", &shown, "--hub", &api].into_iter().chain(arguments.iter().copied()).collect();
        self.run_plain(&all)
    }

    /// Runs the command line as the operator.
    ///
    /// # Errors
    /// As [`Hub::run`].
    pub fn operate(&self, arguments: &[&str]) -> Result<Value, HubError> {
        self.run(&self.operator(), arguments)
    }

    /// Asks the hub something as the operator, and gives the answer also when it is no.
    ///
    /// # Errors
    /// It printed no JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value, HubError> {
        self.ask_as(&self.operator(), arguments)
    }

    /// The same as somebody else.
    ///
    /// # Errors
    /// It printed no JSON.
    pub fn ask_as(&self, identity: &Path, arguments: &[&str]) -> Result<Value, HubError> {
        let api = self.api();
        let mut command = Command::new(&self.program);
        command.arg("--identity").arg(identity).args(["--hub", &api, "-o", "json"]).args(arguments);
        let stdout = String::from_utf8_lossy(&command.output()?.stdout).into_owned();
        let command = arguments.join(" ");
        serde_json::from_str(&stdout).map_err(|_| HubError::Output { command, stdout })
    }

    /// A number from the hub's metrics that has no labels. None if it cannot be had: it needs `curl`.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let operator = self.operator();
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--cacert"])
            .arg(operator.join("ca.pem"))
            .arg("--cert")
            .arg(operator.join("cert.pem"));
        curl.arg("--key").arg(operator.join("key.pem")).arg(format!("{}/metrics", self.api()));
        let output = curl.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == name)?.1.parse().ok()
    }

    fn run_plain(&self, arguments: &[&str]) -> Result<String, HubError> {
        let output = Command::new(&self.program).args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(HubError::Command {
            command: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// An address that nothing listens on, and that stays free while its hub is down: below the ports that the kernel gives to
/// outgoing connections, or one of those that try to reach the hub might be given the hub's own.
fn free_address() -> String {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Programs that run at the same time begin apart.
    let begin = std::process::id().wrapping_mul(101);
    let ports =
        std::iter::repeat_with(|| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let addresses = ports.take(COUNT as usize).map(|port| format!("127.0.0.1:{port}"));
    // If none is, the kernel chooses.
    addresses
        .into_iter()
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap_or("127.0.0.1:0".to_owned())
}
