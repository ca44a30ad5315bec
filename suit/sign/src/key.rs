//! Keys: where they are, and `muster-sign key`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use muster_suit::{PublicKey, Signer, SoftKey, limits::KEY_FILE_BYTES_MAX};
use zeroize::Zeroizing;

use crate::{Answer, complaint::Complaint, file, token::TokenKey};

/// Where a key is: the path of a PEM file, or a URI of PKCS #11.
#[derive(Debug, Clone)]
pub enum Place {
    /// A PEM file.
    File(PathBuf),
    /// A token.
    Token(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => f.write_str(uri),
        }
    }
}

/// As clap reads it.
pub fn place(text: &str) -> Result<Place, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(match text.starts_with("pkcs11:") {
        true => Place::Token(text.to_owned()),
        false => Place::File(text.into()),
    })
}

impl Place {
    /// Who signs with it.
    pub fn signer(&self) -> Result<Box<dyn Signer>, Complaint> {
        match self {
            Self::File(path) => {
                let pem = Zeroizing::new(file::read(path, KEY_FILE_BYTES_MAX)?);
                let key =
                    SoftKey::from_pem(&pem).map_err(|why| Complaint::Key { place: self.to_string(), why })?;
                Ok(Box::new(key))
            }
            Self::Token(uri) => Ok(Box::new(TokenKey::open(uri)?)),
        }
    }

    /// What verifies its signatures. A private key in a file is refused: who only needs the public one should not
    /// have it.
    pub fn public(&self) -> Result<PublicKey, Complaint> {
        match self {
            Self::File(path) => {
                let pem = file::read(path, KEY_FILE_BYTES_MAX)?;
                PublicKey::from_pem(&pem).map_err(|why| Complaint::Key { place: self.to_string(), why })
            }
            Self::Token(uri) => Ok(TokenKey::open(uri)?.public().clone()),
        }
    }
}

/// `muster-sign key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key, P-256. Its public half is printed, and goes into a root.
    New {
        /// Where it is kept: a new file, or pkcs11:token=NAME;object=NAME?module-path=FILE to make it in a token.
        #[arg(long, value_name = "KEY", value_parser = place)]
        out: Place,
        /// A new file for the public half.
        #[arg(long, value_name = "FILE")]
        public: Option<PathBuf>,
    },
    /// Print the public half of a key and its name.
    Show {
        /// Which.
        #[arg(value_name = "KEY", value_parser = place)]
        key: Place,
    },
}

impl Command {
    /// Does it.
    pub fn run(self) -> Answer {
        match self {
            Self::New { out, public } => {
                let key = match &out {
                    Place::File(path) => new_file(path)?,
                    Place::Token(uri) => TokenKey::generate(uri)?.public().clone(),
                };
                if let Some(path) = public {
                    file::create(&path, key.to_pem().as_bytes())?;
                }
                Ok(shown(&key))
            }
            Self::Show { key } => {
                let public = match &key {
                    Place::File(path) => {
                        let pem = Zeroizing::new(file::read(path, KEY_FILE_BYTES_MAX)?);
                        let private = SoftKey::from_pem(&pem).map(|key| key.public().clone());
                        private
                            .or_else(|_| PublicKey::from_pem(&pem))
                            .map_err(|why| Complaint::Key { place: key.to_string(), why })?
                    }
                    Place::Token(_) => key.public()?,
                };
                Ok(shown(&public))
            }
        }
    }
}

fn new_file(path: &Path) -> Result<PublicKey, Complaint> {
    let failed = |why| Complaint::Key { place: path.display().to_string(), why };
    let key = SoftKey::generate().map_err(failed)?;
    file::create_private(path, key.to_pem().map_err(failed)?.as_bytes())?;
    Ok(key.public().clone())
}

/// Readers of PEM pass over what stands before it (RFC 7468 §2), so that this can go into a file as it is.
fn shown(key: &PublicKey) -> String {
    format!("key {}\n{}", key.id(), key.to_pem())
}
