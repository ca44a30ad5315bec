//! The command line of the agent.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use muster_edge::{
    assembly::{self, Ended},
    config::{Config, ConfigError},
};

/// The agent on a device: proves its TPM to the hub, connects with the certificate it gets, publishes telemetry.
#[derive(Debug, Parser)]
#[command(name = "muster-edge", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM.
    Run {
        /// The configuration file.
        #[arg(long, env = "MUSTER_EDGE_CONFIG", default_value = "/etc/muster-edge/edge.toml")]
        config: PathBuf,
    },
    /// Look at the configuration, the root certificate, the state folder and the TPM; connect to nothing.
    Check {
        /// The configuration file.
        #[arg(long, env = "MUSTER_EDGE_CONFIG", default_value = "/etc/muster-edge/edge.toml")]
        config: PathBuf,
    },
}

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;
/// The machine is to start again (`EX_TEMPFAIL` of sysexits.h; what `muster-boot` understands).
const EXIT_RESTART: u8 = 75;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    match arguments.command {
        Command::Run { config } => match run(config) {
            Ok(Ended::Restart) => ExitCode::from(EXIT_RESTART),
            Ok(Ended::Told) => ExitCode::SUCCESS,
            Err(error) => ended(Err(error)),
        },
        Command::Check { config } => ended(check(config)),
    }
}

fn run(config: PathBuf) -> Result<Ended, Box<dyn Error>> {
    Ok(assembly::run(Config::read(&config)?)?)
}

fn check(path: PathBuf) -> Result<(), Box<dyn Error>> {
    let config = Config::read(&path)?;
    let checked = assembly::check(&config)?;
    let mut out = io::stdout().lock();
    writeln!(out, "configuration  {} is in order", path.display())?;
    writeln!(out, "root           {} with {} certificate(s)", config.root.display(), checked.roots)?;
    writeln!(out, "tpm            {} answers ({})", config.tpm, checked.keys)?;
    writeln!(out, "device         {}", checked.device)?;
    writeln!(out, "ek hash        {}", checked.ek_hash)?;
    if let Some(firmware) = checked.firmware {
        writeln!(out, "firmware       {firmware}")?;
    }
    for key in checked.sealed_to {
        writeln!(out, "sealed to      {key}")?;
    }
    Ok(())
}

fn ended(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut text = format!("muster-edge: failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    // Nobody reads standard error: then the exit code has to do.
    let _ = writeln!(io::stderr(), "{text}");
    if error.is::<ConfigError>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
}

/// For people on a terminal, in JSON otherwise; `MUSTER_LOG` says how much, such as `info,muster_edge=debug`.
fn start_log() {
    let wanted = std::env::var("MUSTER_LOG").unwrap_or_else(|_| "info".to_owned());
    // Probing an empty slot of the TPM is an error to its library, and none to us.
    let wanted = if wanted.contains("tss_esapi") { wanted } else { format!("{wanted},tss_esapi=off") };
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("info,tss_esapi=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().with_current_span(false).with_span_list(false).init();
    }
}
