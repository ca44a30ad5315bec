//! `muster-sim`: the demo and the benchmarks on one machine.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use muster_simulators::{
    bench::{self, BenchOptions},
    demo,
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
    /// Measure the programs beside this one, and print the page or write it.
    Bench {
        /// The file to write the page to.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// The date that the page shall say.
        #[arg(long)]
        date: Option<String>,
    },
}

fn main() -> ExitCode {
    let mut out = io::stdout();
    let (name, ended) = match Arguments::parse().command {
        Command::Demo { once } => ("demo", demo::run(once, &mut out).map_err(|error| error.to_string())),
        Command::Bench { write, date } => {
            let measured = bench::run(&BenchOptions { write, date }, &mut out);
            ("bench", measured.map(|()| true).map_err(|error| error.to_string()))
        }
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
