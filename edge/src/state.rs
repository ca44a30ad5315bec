//! What the agent keeps on disk: its certificate, and when to renew it. Nothing secret: the key is in the TPM, so a
//! copy of this folder is worth nothing elsewhere. Which slot holds the key is not kept; the TPM knows.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use toml::{Table, Value};

use crate::limits::STATE_FILE_BYTES_MAX;

/// Leaf first, then what ties it to the root.
const CERTIFICATE: &str = "device.crt";
/// When to renew, and where to connect.
const ENROLMENT: &str = "enrolment.toml";
/// Held by the agent that uses this folder.
const LOCK: &str = "lock";
/// Characters in a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refuses.
    #[error("use {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another agent is at work.
    #[error("use {path}: another muster-edge runs with this state_dir; stop it, or give this one its own")]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// It is not what this program wrote.
    #[error("understand {path}: {why}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A certificate and what the hub said with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The leaf, then what ties it to the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// When to renew, Unix seconds.
    pub renew_at_s: u64,
    /// Where to speak MQTT, `host:port`; empty means where it enrolled.
    pub mqtt_endpoint: String,
}

/// The folder, locked for this agent while it lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens the folder, making it if need be; from then on only this user may enter it.
    ///
    /// # Errors
    /// The file system refuses, or another agent uses it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        fs::set_permissions(path, PermissionsExt::from_mode(0o700)).map_err(failed)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::InUse { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// What was saved last, if anything was.
    ///
    /// # Errors
    /// It cannot be read, or is not what was saved. To enrol anew is the way out.
    pub fn load(&self) -> Result<Option<Saved>, StateError> {
        let Some(pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let malformed = |name: &str, why: String| StateError::Malformed { path: self.path.join(name), why };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let chain = chain.map_err(|error| malformed(CERTIFICATE, error.to_string()))?;
        if chain.is_empty() {
            return Err(malformed(CERTIFICATE, "it has no certificate".to_owned()));
        }
        // Without it the certificate still holds, and is renewed at once.
        let Some(text) = self.read(ENROLMENT)? else {
            return Ok(Some(Saved { chain, renew_at_s: 0, mqtt_endpoint: String::new() }));
        };
        let table: Table =
            text.parse().map_err(|error: toml::de::Error| malformed(ENROLMENT, error.to_string()))?;
        let renew_at_s =
            table.get("renew_at_s").and_then(Value::as_integer).and_then(|at| u64::try_from(at).ok());
        let mqtt_endpoint = table.get("mqtt_endpoint").and_then(Value::as_str);
        match (renew_at_s, mqtt_endpoint) {
            (Some(renew_at_s), Some(endpoint)) => {
                Ok(Some(Saved { chain, renew_at_s, mqtt_endpoint: endpoint.to_owned() }))
            }
            _ => Err(malformed(ENROLMENT, "renew_at_s or mqtt_endpoint is missing".to_owned())),
        }
    }

    /// Saves, so that a power cut leaves the old or the new. Between the two files it leaves the new certificate with
    /// the old time, and it is renewed early.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        let pem: String = saved.chain.iter().map(pem_of).collect();
        self.write(CERTIFICATE, pem.as_bytes())?;
        let renew_at_s = i64::try_from(saved.renew_at_s).unwrap_or(i64::MAX);
        // One that would not read back is no address either; the configured one then serves.
        let plain = |b: u8| b.is_ascii_graphic() && b != b'\'';
        let endpoint =
            Some(saved.mqtt_endpoint.as_str()).filter(|text| text.bytes().all(plain)).unwrap_or_default();
        self.write(ENROLMENT, format!("renew_at_s = {renew_at_s}\nmqtt_endpoint = '{endpoint}'\n").as_bytes())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A small file of text, if it is there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.path.join(name);
        let found = fs::metadata(&path).and_then(|file| match file.len() {
            0..=STATE_FILE_BYTES_MAX => fs::read_to_string(&path),
            _ => Err(io::Error::other(format!("it has more than {STATE_FILE_BYTES_MAX} bytes"))),
        });
        match found {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// A file of at most this many bytes, if it is there.
    pub(crate) fn read_bytes(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(name);
        let found = fs::metadata(&path).and_then(|file| {
            if usize::try_from(file.len()).is_ok_and(|length| length <= bytes_max) {
                return fs::read(&path);
            }
            Err(io::Error::other(format!("it has more than {bytes_max} bytes")))
        });
        match found {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// Replaces a small file at once: written beside it, flushed, and moved over it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| StateError::Io { path: path.clone(), source })
    }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let body = BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = further;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let certificate = |byte, length| CertificateDer::from(vec![byte; length]);
        Saved {
            chain: vec![certificate(1, 500), certificate(2, 48)],
            renew_at_s: 1_790_000_000,
            mqtt_endpoint: "hub.example:8883".to_owned(),
        }
    }

    #[test]
    fn what_was_saved_is_loaded_leaf_first() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("deep/state");
        let state = StateDir::open(&path).expect("open");
        assert_eq!(state.load().expect("load"), None);
        state.save(&saved()).expect("save");
        assert_eq!(state.load().expect("load"), Some(saved()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
        let text = fs::read_to_string(path.join(CERTIFICATE)).expect("text");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nAQEB"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn a_second_agent_is_kept_out() {
        let folder = tempfile::tempdir().expect("folder");
        let first = StateDir::open(folder.path()).expect("open");
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::InUse { .. })));
        drop(first);
        StateDir::open(folder.path()).expect("it is free again");
    }

    #[test]
    fn a_certificate_without_its_time_is_renewed_at_once() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("open");
        state.save(&saved()).expect("save");
        fs::remove_file(folder.path().join(ENROLMENT)).expect("removed");
        let loaded = state.load().expect("load").expect("a certificate");
        assert_eq!((loaded.renew_at_s, loaded.chain), (0, saved().chain));
    }

    #[test]
    fn what_is_not_ours_is_malformed() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("open");
        state.write(CERTIFICATE, b"no certificate").expect("written");
        assert!(matches!(state.load(), Err(StateError::Malformed { .. })));
        state.save(&saved()).expect("save");
        state.write(ENROLMENT, b"renew_at_s = \"soon\"").expect("written");
        assert!(matches!(state.load(), Err(StateError::Malformed { .. })));
    }
}
