//! `muster-sim`: the demo and the benchmarks on one machine.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use muster_simulators::{
    bench::{self, BenchOptions, Part},
    demo,
    load::{self, LoadOptions},
    torture::{self, TortureOptions},
};

/// Fleets on one machine.
#[derive(Parser)]
#[command(name = "muster-sim", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// First boot to tenant app: a hub, two tenants, four devices with a TPM each, and their apps.
    Demo {
        /// Check everything, leave nothing running, and end with exit code 0 only if all is well.
        #[arg(long)]
        once: bool,
    },
    /// Measure the programs beside this one, and every other broker that is installed, and print the page or write it.
    ///
    /// Peers are looked for in the folders of MUSTER_PEERS, on the path and in /usr/sbin: flashmq, rumqttd, nats-server,
    /// mosquitto, rmqttd. `make bench PEERS=1` installs those that can be.
    Bench {
        /// The file to write the page to.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// The date that the page shall say.
        #[arg(long)]
        date: Option<String>,
        /// How often each broker is measured on each line; the medians are shown.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        rounds: u8,
        /// How long each time, in seconds.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// One part of the page.
        #[arg(long, value_enum)]
        only: Option<Part>,
    },
    /// Load for any MQTT broker: fan-in, fan-out, pairs, latency at a fixed rate, connections.
    ///
    /// One thread, closed loop: at most --outstanding deliveries are on their way, so that rates compare lossless
    /// work. Counts what is lost, doubled and out of order. With --pid it tells the broker's processor time for each
    /// delivery and its memory; compare such numbers only within the same minutes on the same machine.
    Load(Box<LoadOptions>),
    /// Kill a hub under load again and again, and see that nothing acknowledged is lost, doubled or out of order.
    Torture(TortureOptions),
}

fn main() -> ExitCode {
    let mut out = io::stdout();
    let (name, ended) = match Arguments::parse().command {
        Command::Demo { once } => ("demo", demo::run(once, &mut out).map_err(|error| error.to_string())),
        Command::Bench { write, date, rounds, seconds, only } => {
            let options = BenchOptions { write, date, rounds: rounds.into(), seconds, only };
            let measured = bench::run(&options, &mut out);
            ("bench", measured.map(|()| true).map_err(|error| error.to_string()))
        }
        Command::Load(options) => ("load", load_once(&options, &mut out)),
        Command::Torture(options) => ("torture", torture_once(&options, &mut out)),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One run, one line; well when nothing was lost, doubled or out of order.
fn load_once(options: &LoadOptions, out: &mut dyn Write) -> Result<bool, String> {
    let report = load::run(options).map_err(|error| error.to_string())?;
    let line = if options.json { report.to_json().to_string() } else { report.to_text() };
    writeln!(out, "{line}").map_err(|error| error.to_string())?;
    let tally = report.tally;
    Ok(tally.lost == 0 && tally.duplicated == 0 && tally.out_of_order == 0 && tally.strange == 0)
}

/// One run, one report; well when everything promised was kept.
fn torture_once(options: &TortureOptions, out: &mut dyn Write) -> Result<bool, String> {
    let report = torture::run(options, out).map_err(|error| error.to_string())?;
    writeln!(out, "{report}").map_err(|error| error.to_string())?;
    Ok(report.is_well())
}
