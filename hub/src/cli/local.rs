//! What works on this machine: making a hub, looking at it, running it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use clap::Args;
use rustls::pki_types::ServerName;
use serde::Serialize;

use muster_schemas::TrustDomain;
use muster_tpm::endorsement::TpmClass;

use super::{Complaint, Exit, Output, World, table, time::shown_s};
use crate::{
    causes::causes,
    check::{self, Finding, Severity},
    config::{Config, ConfigError},
    init::{self, InitError, Options},
};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The directory to make.
    #[arg(long, default_value = "muster-data", value_name = "DIR")]
    dir: PathBuf,
    /// The name of this installation in every certificate, a DNS name. It cannot be changed afterwards.
    #[arg(long, default_value = "muster.internal", value_name = "NAME")]
    trust_domain: TrustDomain,
    /// A name or address under which clients will find the hub; repeat it for more.
    #[arg(long = "server-name", value_name = "NAME", value_parser = server_name)]
    #[arg(default_values = ["localhost", "127.0.0.1"])]
    server_names: Vec<ServerName<'static>>,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    bind: IpAddr,
    /// The port for MQTT and enrolment; 0 takes a free one at each start.
    #[arg(long, default_value_t = 8883, value_name = "PORT")]
    mqtt_port: u16,
    /// The port of the HTTPS API; 0 takes a free one at each start.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    https_port: u16,
    /// A file with the passphrase; made when it is absent [default: `passphrase` in the directory].
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A PEM file with roots of a TPM manufacturer, and what they vouch for: hardware, firmware, virtual or simulated.
    /// Repeat it for more.
    #[arg(long = "tpm-root", value_name = "CLASS=FILE", value_parser = tpm_root)]
    tpm_roots: Vec<(TpmClass, PathBuf)>,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// A setting that comes over file and environment, such as listeners.https.bind=127.0.0.1:0; repeat it for more.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Take the clock for right although it is behind the time that the hub knew before: once, after a clock that was
    /// ahead has been set right.
    #[arg(long)]
    trust_clock: bool,
}

/// A finding of `check`, for a program.
#[derive(Serialize)]
struct Found<'a> {
    severity: &'static str,
    what: &'a str,
    why: &'a str,
    next: &'a str,
}

/// What `init` made, for a program.
#[derive(Serialize)]
struct Made<'a> {
    config: String,
    files: Vec<(String, &'a str)>,
}

pub(super) fn init(init: Init, output: Output, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let options = Options {
        dir: init.dir,
        trust_domain: init.trust_domain,
        server_names: init.server_names,
        bind: init.bind,
        mqtt_port: init.mqtt_port,
        https_port: init.https_port,
        passphrase_file: init.passphrase_file,
        tpm_roots: init.tpm_roots,
    };
    let made = init::init(&options, world.now_ms / 1_000).map_err(|error| {
        let what = format!("make a hub in {}", options.dir.display());
        let (exit, next) = match &error {
            InitError::AlreadyThere { .. } => (Exit::Exists, "choose another directory: --dir <dir>"),
            InitError::Config(_) => (Exit::Usage, "see: muster init --help"),
            _ => (Exit::Failure, "mend that, remove the directory, and run it again"),
        };
        Complaint::new(exit, what, format!("failed to {}", causes(&error)), next)
    })?;
    if output == Output::Json {
        let files = made.files.iter().map(|(path, what)| (path.display().to_string(), *what)).collect();
        let text = serde_json::to_string(&Made { config: made.config.display().to_string(), files });
        writeln!(world.out, "{}", text.map_err(std::io::Error::other)?)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> =
        made.files.iter().map(|(path, what)| [path.display().to_string(), (*what).to_owned()]).collect();
    table::write(world.out, ["MADE", "WHAT IT IS"], &rows, "")?;
    writeln!(world.out, "\nNext: muster serve --config {}", made.config.display())?;
    Ok(Exit::Ok)
}

pub(super) fn serve(path: &Path, serve: &Serve, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let what = "run the hub";
    let config = Config::read(path, world.environment.clone(), &serve.settings.settings)
        .map_err(|error| invalid(what, &error))?;
    crate::assembly::serve(config, serve.trust_clock).map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to {}", causes(&error)), "see: muster check")
    })?;
    Ok(Exit::Ok)
}

pub(super) fn check(
    path: &Path,
    settings: &Settings,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let findings = match Config::read(path, world.environment.clone(), &settings.settings) {
        Ok(config) => check::check(&config, world.now_ms / 1_000),
        Err(error) => vec![check::unreadable(path, &causes(&error))],
    };
    for Finding { severity, what, why, next } in &findings {
        let severity = severity.as_str();
        if output == Output::Json {
            let found = serde_json::to_string(&Found { severity, what, why, next });
            writeln!(world.out, "{}", found.map_err(std::io::Error::other)?)?;
        } else if next.is_empty() {
            writeln!(world.out, "{severity:<7}  {what}: {why}")?;
        } else {
            writeln!(world.out, "{severity:<7}  {what}: {why}; next: {next}")?;
        }
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(if worst == Some(Severity::Error) { Exit::Invalid } else { Exit::Ok })
}

/// Issues the operator's key and certificate anew, with the passphrase of the vault.
pub(super) fn renew_operator(
    path: &Path,
    settings: &Settings,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let what = "renew the operator's certificate";
    let config = Config::read(path, world.environment.clone(), &settings.settings)
        .map_err(|error| invalid(what, &error))?;
    let leaf = init::renew_operator(&config, world.now_ms / 1_000).map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to {}", causes(&error)), "see: muster check")
    })?;
    let dir = config.layout().operator();
    writeln!(
        world.out,
        "{} has a new key and certificate, valid until {}",
        dir.display(),
        shown_s(leaf.not_after_s)
    )?;
    Ok(Exit::Ok)
}

fn invalid(what: &str, error: &ConfigError) -> Complaint {
    let next = match error {
        ConfigError::Read { .. } => "name the right file with --config, or make a hub: muster init",
        _ => "see: muster check",
    };
    Complaint::new(Exit::Invalid, what, format!("failed to {}", causes(error)), next)
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "it is neither a DNS name nor an address".to_owned())
}

fn tpm_root(text: &str) -> Result<(TpmClass, PathBuf), String> {
    let (class, file) = text.split_once('=').ok_or("it is not of the form class=file")?;
    let class = class.parse().map_err(|_| "the class is one of hardware, firmware, virtual, simulated")?;
    Ok((class, PathBuf::from(file)))
}
