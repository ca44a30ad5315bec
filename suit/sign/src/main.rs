//! `muster-sign`: what is signed away from any hub. Makes keys, a tenant's root and firmware manifests, signs them,
//! shows and verifies them. It opens no connection; keys are files, or stay in a PKCS #11 token.

mod complaint;
mod file;
mod key;
mod manifest;
mod root;
mod token;

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::complaint::Complaint;

/// What the program answers with.
type Answer = Result<String, Complaint>;

/// Sign firmware and a tenant's root, away from any hub.
#[derive(Debug, Parser)]
#[command(name = "muster-sign", version, arg_required_else_help = true, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "A KEY is a PEM file, or a key in a token as pkcs11:token=NAME;object=NAME?module-path=FILE \
    (RFC 7512). The PIN comes from the file of &pin-source=, or from MUSTER_SIGN_PIN. \
    Exit codes: 0 done, 1 failed or not verified, 2 wrong usage, 6 something is already there";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and show keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Make, sign, rotate and show the root of a tenant: which keys sign firmware, and which hubs may offer it.
    #[command(subcommand)]
    Root(root::Command),
    /// Make the manifest of an image.
    Manifest(manifest::New),
    /// Add signatures to a manifest.
    Sign(manifest::Sign),
    /// Show a manifest.
    Show(manifest::Show),
    /// Verify a manifest: its signatures by a root, and what it says of an image and a class.
    Verify(manifest::Verify),
}

fn main() -> ExitCode {
    let answer = match Arguments::parse().command {
        Command::Key(command) => command.run(),
        Command::Root(command) => command.run(now_s()),
        Command::Manifest(command) => command.run(),
        Command::Sign(command) => command.run(),
        Command::Show(command) => command.run(now_s()),
        Command::Verify(command) => command.run(now_s()),
    };
    match answer {
        Ok(text) => {
            // Whoever has closed the other end wants no more.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            let _ = writeln!(std::io::stderr(), "muster-sign: {complaint}");
            complaint.exit()
        }
    }
}

/// The one place that asks what time it is, Unix seconds.
fn now_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}
