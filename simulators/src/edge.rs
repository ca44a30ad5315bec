//! An edge device as a process: `muster-edge` with a chip of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    hub::{Hub, HubError},
    limits::WAIT_MAX,
    process::Process,
    programs,
};

/// What an edge device is started with.
pub struct EdgeOptions<'a> {
    /// Where it finds its TPM.
    pub tcti: &'a str,
    /// The claim code on its box, if it has one.
    pub claim: Option<&'a str>,
    /// Its own folder.
    pub folder: &'a Path,
    /// Seconds between readings.
    pub interval_s: f64,
    /// Fixed texts that it publishes in the stream `labels`.
    pub labels: &'a [(&'a str, &'a str)],
}

/// An edge device on this machine.
pub struct Edge {
    process: Process,
    folder: PathBuf,
}

/// A reading whose PUBACK the device saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// Its stream.
    pub stream: String,
    /// Its SenML base time, in milliseconds since 1970.
    pub time_ms: i64,
}

impl Edge {
    /// Writes its configuration and starts it.
    ///
    /// # Errors
    /// `muster-edge` has not been built, or did not start.
    pub fn start(hub: &Hub, options: &EdgeOptions<'_>) -> Result<Self, HubError> {
        Self::start_with(hub, options, "")
    }

    /// The same, with `more` lines in its configuration.
    ///
    /// # Errors
    /// `muster-edge` has not been built, or did not start.
    pub fn start_with(hub: &Hub, options: &EdgeOptions<'_>, more: &str) -> Result<Self, HubError> {
        let mut command = Self::program("run", &Self::configure(hub, options, more)?)?;
        Ok(Self { process: Process::start("muster-edge", &mut command)?, folder: options.folder.to_owned() })
    }

    /// What the device maker puts on the box: the hash of the chip's endorsement key, as `muster-edge check` shows it.
    ///
    /// # Errors
    /// `muster-edge` has not been built, or finds something that is not in order.
    pub fn ek_hash(hub: &Hub, options: &EdgeOptions<'_>) -> Result<String, HubError> {
        let output = Self::program("check", &Self::configure(hub, options, "")?)?.output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let found =
            stdout.lines().find_map(|line| line.strip_prefix("ek hash")).map(|hash| hash.trim().to_owned());
        found.ok_or_else(|| HubError::Command {
            command: "muster-edge check".to_owned(),
            code: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn program(verb: &str, config: &Path) -> Result<Command, HubError> {
        let mut command = Command::new(programs::find("muster-edge").map_err(HubError::Missing)?);
        command.args([verb, "--config"]).arg(config);
        command.env("TSS2_LOG", "all+NONE").env("MUSTER_LOG", "info,muster_edge=debug");
        Ok(command)
    }

    fn configure(hub: &Hub, options: &EdgeOptions<'_>, more: &str) -> Result<PathBuf, HubError> {
        fs::create_dir_all(options.folder)?;
        let mut config = format!(
            "hub = {:?}\nserver_name = \"localhost\"\nroot = {:?}\ntpm = {:?}\nmodel = \"demo-board\"\n\
             state_dir = {:?}\ninterval_s = {}\n",
            hub.mqtt(),
            hub.root(),
            options.tcti,
            options.folder.join("state"),
            options.interval_s,
        );
        if let Some(claim) = options.claim {
            config.push_str(&format!("claim = {claim:?}\n"));
        }
        config.push_str(more);
        let labels: BTreeMap<_, _> = options.labels.iter().copied().collect();
        config.push_str("[labels]\n");
        for (name, text) in labels {
            config.push_str(&format!("{name} = {text:?}\n"));
        }
        let path = options.folder.join("edge.toml");
        fs::write(&path, config)?;
        Ok(path)
    }

    /// Waits until it has its certificate; gives the device id.
    ///
    /// # Errors
    /// It ended, or did not enrol in time.
    pub fn wait_enrolled(&mut self) -> Result<String, HubError> {
        let fields = self.process.wait_event("enrolled", WAIT_MAX)?;
        Ok(fields.get("device").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Waits until its session is open.
    ///
    /// # Errors
    /// It ended, or did not connect in time.
    pub fn wait_connected(&mut self) -> Result<(), HubError> {
        self.process.wait_event("connected", WAIT_MAX)?;
        Ok(())
    }

    /// Waits until the hub has refused it; gives the code.
    ///
    /// # Errors
    /// It ended, or was not refused in time.
    pub fn wait_refused(&mut self) -> Result<String, HubError> {
        let fields = self.process.wait_event("refused", WAIT_MAX)?;
        Ok(fields.get("code").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Waits until the hub has said that a person has to decide.
    ///
    /// # Errors
    /// It ended, or was not told so in time.
    pub fn wait_pending(&mut self) -> Result<(), HubError> {
        self.process.wait_event("pending", WAIT_MAX)?;
        Ok(())
    }

    /// Waits for the next acknowledged reading.
    ///
    /// # Errors
    /// It ended, or nothing was acknowledged in time.
    pub fn wait_acknowledged(&mut self) -> Result<(), HubError> {
        self.process.wait_event("acknowledged", WAIT_MAX)?;
        Ok(())
    }

    /// Every reading whose PUBACK it saw so far.
    pub fn acknowledged(&mut self) -> Vec<Acknowledged> {
        let read = |fields: Value| {
            let stream = fields.get("stream")?.as_str()?.to_owned();
            let time_s = fields.get("time_s")?.as_f64()?;
            Some(Acknowledged { stream, time_ms: (time_s * 1_000.0).round() as i64 })
        };
        self.process.events("acknowledged").into_iter().filter_map(read).collect()
    }

    /// Whether it ever had a session.
    pub fn has_connected(&mut self) -> bool {
        !self.process.events("connected").is_empty()
    }

    /// Its process, for what is not covered here.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where it keeps what it keeps.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }
}
