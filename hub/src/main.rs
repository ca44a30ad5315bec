//! The program `muster`: the hub, and the command line that calls one.

use std::{ffi::OsString, io, process::ExitCode};

use muster_actors::{Clock as _, SystemClock};
use muster_hub::{
    cli::{self, World},
    log,
};

/// Messages are born on one thread and end on another, in batches of any size: that is what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A second call would find the same provider installed: nothing else in this process installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _log = log::to_stderr();
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let mut world = World {
        // Handles without a lock held: the log writes to the same ones.
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        input: Box::new(io::stdin()),
        environment: std::env::vars_os().filter_map(text).collect(),
        now_ms: SystemClock.unix_ms(),
    };
    cli::run(std::env::args_os(), &mut world).into()
}
