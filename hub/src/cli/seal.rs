//! Keys that devices seal their readings to. They are made and kept by the app: no hub is called, and none gets the
//! private half.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use muster_seal::{Kem, Opener, Recipient, limits::KEY_FILE_BYTES_MAX};
use serde::Serialize;

use super::{Common, Complaint, Exit, Output, World};
use crate::private_file;

#[derive(Debug, Subcommand)]
pub(super) enum Seal {
    /// Make a key: a private file for `muster open`, and a public one for the devices' `uplink.seal_to`.
    Keygen(Keygen),
    /// Print the name of a key, public or private, which stands in everything that is sealed to it.
    Show {
        /// The file, PEM.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// The private file to write, such as dashboard.pem; the public one is written beside it, as dashboard.pub.pem.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The curve.
    #[arg(long, value_enum, default_value_t = Curve::P256)]
    curve: Curve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Curve {
    /// P-256, with AES-256-GCM: what secure elements have.
    P256,
    /// X25519, with ChaCha20-Poly1305: twice to three times as fast.
    X25519,
}

/// A key, for a program.
#[derive(Serialize)]
struct Shown {
    id: String,
    curve: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<PathBuf>,
}

impl Shown {
    fn of(recipient: &Recipient) -> Self {
        let curve = match recipient.kem() {
            Kem::P256 => "P-256",
            Kem::X25519 => "X25519",
        };
        Self { id: recipient.id().to_string(), curve, private: None, public: None }
    }
}

pub(super) fn seal(command: Seal, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let shown = match &command {
        Seal::Keygen(keygen) => keygen.make()?,
        Seal::Show { file } => Shown::of(&read(file)?),
    };
    if common.output == Output::Json {
        writeln!(world.out, "{}", serde_json::to_string(&shown).map_err(std::io::Error::other)?)?;
        return Ok(Exit::Ok);
    }
    writeln!(world.out, "key      {} ({})", shown.id, shown.curve)?;
    if let (Some(private), Some(public)) = (&shown.private, &shown.public) {
        writeln!(
            world.out,
            "private  {}: keep it; what is sealed to it opens with nothing else",
            private.display()
        )?;
        writeln!(world.out, "public   {}: for devices, as uplink.seal_to in edge.toml", public.display())?;
    }
    Ok(Exit::Ok)
}

impl Keygen {
    fn make(&self) -> Result<Shown, Complaint> {
        let what = format!("make the key {}", self.out.display());
        let failed =
            |why: String| Complaint::new(Exit::Failure, what.clone(), why, "name another file with --out");
        let curve = if self.curve == Curve::X25519 { Kem::X25519 } else { Kem::P256 };
        let opener = Opener::generate(curve).map_err(|error| failed(format!("it {error}")))?;
        let private = opener.to_pem().map_err(|error| failed(format!("it {error}")))?;
        let public = self.out.with_extension("pub.pem");
        for file in [&self.out, &public] {
            if file.exists() {
                let why = format!("{} is there, and nothing is ever overwritten", file.display());
                return Err(Complaint::new(Exit::Exists, what, why, "name another file with --out"));
            }
        }
        private_file::create(&self.out, private.as_bytes())
            .and_then(|()| private_file::create_public(&public, opener.recipient().to_pem().as_bytes()))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Shown { private: Some(self.out.clone()), public: Some(public), ..Shown::of(opener.recipient()) })
    }
}

/// Whom a file says to seal to: it is the public key, or the private one of it.
fn read(file: &Path) -> Result<Recipient, Complaint> {
    let failed = |why: String| {
        Complaint::new(Exit::Failure, format!("use {}", file.display()), why, "name another file")
    };
    let pem =
        private_file::read_public(file, KEY_FILE_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let recipient = Recipient::from_pem(&pem)
        .or_else(|_| Opener::from_pem(&pem).map(|opener| opener.recipient().clone()));
    recipient.map_err(|error| failed(format!("it {error}")))
}
