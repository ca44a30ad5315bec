//! Tenant apps: Debian's Mosquitto clients, run by the line that `muster app create` printed.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    hub::{Hub, HubError},
    process::{Process, ProcessError},
};

/// A tenant's app with its certificate.
pub struct App {
    /// Where its certificate, key and the hub's root are.
    pub folder: PathBuf,
    /// The `mosquitto_sub` line that `muster app create` printed.
    pub line: String,
}

/// One message as `mosquitto_sub -v` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: String,
    /// The payload, as text.
    pub payload: String,
}

impl App {
    /// Registers an app with the hub.
    ///
    /// # Errors
    /// The hub refused.
    pub fn create(hub: &Hub, tenant: &str, name: &str, folder: PathBuf) -> Result<Self, HubError> {
        let shown = folder.display().to_string();
        let mqtt = hub.mqtt_endpoint();
        let created =
            hub.operate(&["app", "create", "--tenant", tenant, name, "--out", &shown, "--mqtt", &mqtt])?;
        let line = created.get("subscribe").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { folder, line })
    }

    /// Runs the printed line unchanged, as a person would who pasted it into a shell.
    ///
    /// # Errors
    /// There is no shell.
    pub fn subscribe(&self) -> Result<Subscription, ProcessError> {
        Subscription::start(&self.line)
    }

    /// Runs the printed line with something changed, such as the topic filter or the protocol version.
    ///
    /// # Errors
    /// There is no shell.
    pub fn subscribe_with(&self, from: &str, to: &str) -> Result<Subscription, ProcessError> {
        Subscription::start(&self.line.replace(from, to))
    }

    /// The printed line, made one that publishes.
    pub fn publish_line(&self, topic: &str, message: &str, extra: &str) -> String {
        let connection = self.line.split(" -t ").next().unwrap_or_default();
        let connection = connection.replace("mosquitto_sub", "mosquitto_pub");
        format!("{connection} -t '{topic}' -m '{message}' {extra}")
    }
}

/// A running `mosquitto_sub`.
pub struct Subscription {
    process: Process,
}

impl Subscription {
    fn start(line: &str) -> Result<Self, ProcessError> {
        // Debug output tells when the subscription stands; stdbuf lets it out line by line.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec stdbuf -oL {line} -d"));
        Ok(Self { process: Process::start("mosquitto_sub", &mut shell)? })
    }

    /// Waits until the hub has granted the subscription.
    ///
    /// # Errors
    /// The client ended, or was not granted it in time.
    pub fn wait_subscribed(&mut self, limit: Duration) -> Result<(), ProcessError> {
        self.process.wait_line("the subscription", limit, |line| line.starts_with("Subscribed").then_some(()))
    }

    /// Waits for a message for which `wanted` holds.
    ///
    /// # Errors
    /// The client ended, or the message did not come in time.
    pub fn wait_message(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Received) -> bool,
    ) -> Result<Received, ProcessError> {
        self.process.wait_line("a message", limit, |line| received(line).filter(|message| wanted(message)))
    }

    /// Waits until the hub has closed the session and refused the client that came back.
    ///
    /// # Errors
    /// It did not in time.
    pub fn wait_refused(&mut self, limit: Duration) -> Result<(), ProcessError> {
        let refused = |line: &str| line.contains("not authorised").then_some(());
        self.process.wait_line("the refusal", limit, refused)
    }

    /// Every message so far.
    pub fn messages(&mut self) -> Vec<Received> {
        self.process.all_lines().iter().filter_map(|line| received(line)).collect()
    }

    /// What the client said, for a report.
    pub fn tail(&mut self) -> String {
        self.process.tail()
    }
}

/// Reads a line of `mosquitto_sub -v`; its debug lines are none.
fn received(line: &str) -> Option<Received> {
    if line.starts_with("Client ") || line.starts_with("Subscribed") {
        return None;
    }
    let (topic, payload) = line.split_once(' ')?;
    Some(Received { topic: topic.to_owned(), payload: payload.to_owned() })
}
