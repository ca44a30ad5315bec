//! The stage of the demo and of the scenarios: a hub, two tenants, their devices with a chip each, and their apps.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use muster_tpm::{keys::KeyError, manufacturer::SimulatedManufacturer};
use serde_json::Value;

use super::Report;
use crate::{
    app::{App, Subscription},
    chip::{Chip, ChipError, publish_root},
    edge::{Edge, EdgeOptions},
    hub::{Hub, HubError},
    limits::{FOLLOW_REPORT_TIME, FOLLOW_TIME, WAIT_MAX},
    process::{ProcessError, now},
};

/// A text that devices publish as telemetry and that must then be nowhere on the hub's disk.
pub const CANARY: &str = "canary-4f1c9e-the-vineyard-behind-the-mill";

/// Why the stage could not be raised.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The hub or its command line.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A simulated chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// The manufacturer of simulated chips.
    #[error("failed to make a manufacturer of simulated chips: {0}")]
    Manufacturer(#[from] KeyError),
    /// A client.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The file system.
    #[error("failed to prepare the stage: {0}")]
    Folder(#[from] io::Error),
}

/// How large the stage is.
pub struct StageOptions {
    /// Devices of each tenant.
    pub devices_per_tenant: usize,
    /// Seconds between a device's readings.
    pub interval_s: f64,
    /// Whether to listen on the usual ports if they are free, for a person who copies lines.
    pub usual_ports: bool,
    /// Settings of the hub that differ, by their environment variables.
    pub settings: &'static [(&'static str, &'static str)],
}

/// One device with its chip.
pub struct Device {
    /// Its id, derived from its endorsement key.
    pub id: String,
    /// The running agent.
    pub edge: Edge,
    /// Its TPM.
    pub chip: Chip,
    /// Its folder.
    pub folder: PathBuf,
}

/// One tenant with all that is its own.
pub struct Tenant {
    /// Its id.
    pub name: String,
    /// Its app's credentials and line.
    pub app: App,
    /// Its app, running the line as printed.
    pub telemetry: Subscription,
    /// A second subscription of its app, to everything.
    pub everything: Subscription,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// A running installation.
pub struct Stage {
    /// The hub.
    pub hub: Hub,
    /// Who makes its chips.
    pub manufacturer: SimulatedManufacturer,
    /// acme and globex.
    pub tenants: Vec<Tenant>,
    folder: PathBuf,
    extra_devices: usize,
}

impl Stage {
    /// Raises everything, telling each step.
    ///
    /// # Errors
    /// Whatever keeps one of the programs from doing its part.
    pub fn raise(folder: &Path, options: &StageOptions, report: &mut Report<'_>) -> Result<Self, StageError> {
        fs::create_dir_all(folder)?;
        let manufacturer = SimulatedManufacturer::well_known()?;
        let root = publish_root(&manufacturer, folder)?;
        let mut hub = Hub::init(&folder.join("hub"), &root)?;
        report.tell(
            "hub initialised: root, server, device and client authorities, sealed under a passphrase file",
        );
        if options.usual_ports {
            hub.bind(usual(8883), usual(8443));
        }
        for (variable, value) in options.settings {
            hub.set(variable, value);
        }
        let took = hub.start()?;
        report.tell(&format!(
            "hub ready after {} ms: MQTT/TLS on {}, API on {}",
            took.as_millis(),
            hub.mqtt(),
            hub.api()
        ));
        let mut stage =
            Self { hub, manufacturer, tenants: Vec::new(), folder: folder.to_owned(), extra_devices: 0 };
        for name in ["acme", "globex"] {
            let tenant = stage.found(name, report)?;
            stage.tenants.push(tenant);
        }
        for index in 0..stage.tenants.len() {
            for _ in 0..options.devices_per_tenant {
                stage.boot(index, options.interval_s, report)?;
            }
        }
        Ok(stage)
    }

    /// Creates a tenant and its app, and subscribes the app.
    fn found(&self, name: &str, report: &mut Report<'_>) -> Result<Tenant, StageError> {
        self.hub.operate(&["tenant", "create", name, "--accept-simulated-tpms"])?;
        let app = App::create(&self.hub, name, "dashboard", self.folder.join(format!("{name}-dashboard")))?;
        let mut telemetry = app.subscribe()?;
        telemetry.wait_subscribed(WAIT_MAX)?;
        let mut everything = app.subscribe_with("'devices/+/telemetry/#'", "'#'")?;
        everything.wait_subscribed(WAIT_MAX)?;
        report.tell(&format!("tenant {name}: created, its app subscribed with mosquitto_sub"));
        Ok(Tenant { name: name.to_owned(), app, telemetry, everything, devices: Vec::new() })
    }

    /// Boots a new device of a tenant for the first time, with a claim.
    fn boot(&mut self, tenant: usize, interval_s: f64, report: &mut Report<'_>) -> Result<(), StageError> {
        let Some(name) = self.tenants.get(tenant).map(|tenant| tenant.name.clone()) else { return Ok(()) };
        let claim = self.claim(&name)?;
        let (chip, folder) = self.new_chip()?;
        let labels = [("site", CANARY)];
        let options = EdgeOptions {
            tcti: &chip.tcti(),
            claim: Some(&claim),
            folder: &folder,
            interval_s,
            labels: &labels,
        };
        let mut edge = Edge::start(&self.hub, &options)?;
        let id = edge.wait_enrolled()?;
        report.tell(&format!("device {id}: its TPM proved itself; certificate issued for tenant {name}"));
        edge.wait_connected()?;
        edge.wait_acknowledged()?;
        report.tell(&format!("device {id}: connected by mutual TLS; first reading stored and acknowledged"));
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.devices.push(Device { id, edge, chip, folder });
        }
        Ok(())
    }

    /// A new claim code of a tenant.
    ///
    /// # Errors
    /// The hub refused.
    pub fn claim(&self, tenant: &str) -> Result<String, HubError> {
        let claim = self.hub.operate(&["claim", "create", "--tenant", tenant])?;
        Ok(claim.get("code").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A new chip with a folder for its device.
    ///
    /// # Errors
    /// swtpm failed.
    pub fn new_chip(&mut self) -> Result<(Chip, PathBuf), StageError> {
        self.extra_devices += 1;
        let folder = self.folder.join(format!("device-{}", self.extra_devices));
        let state = folder.join("tpm");
        fs::create_dir_all(&state)?;
        Ok((Chip::manufacture(&self.manufacturer, &state)?, folder))
    }

    /// The folder that everything lives in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends everything in the order that a person would.
    pub fn lower(&mut self) {
        self.tenants.clear();
        self.hub.stop();
    }

    /// Tells how much comes in, now and then, until it is interrupted or the clients end.
    pub fn follow(&mut self, report: &mut Report<'_>, interrupted: &AtomicBool) {
        let mut told = now();
        while !interrupted.load(Ordering::Relaxed) {
            for tenant in &mut self.tenants {
                if let Err(error) = tenant.telemetry.wait_message(FOLLOW_TIME, |_| true)
                    && !matches!(error, ProcessError::TimedOut { .. })
                {
                    return;
                }
            }
            if told.elapsed() >= FOLLOW_REPORT_TIME {
                told = now();
                let heard = |tenant: &mut Tenant| {
                    format!("{}'s app heard {}", tenant.name, tenant.telemetry.messages().len())
                };
                let heard: Vec<String> = self.tenants.iter_mut().map(heard).collect();
                report.tell(&format!("readings so far: {}", heard.join(", ")));
            }
        }
    }
}

/// The usual port on loopback if it is free, or any.
fn usual(port: u16) -> &'static str {
    let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
    match (free, port) {
        (true, 8883) => "127.0.0.1:8883",
        (true, 8443) => "127.0.0.1:8443",
        _ => "127.0.0.1:0",
    }
}
