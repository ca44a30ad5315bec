//! Readings sealed to the tenant's apps before they leave this device, so that the hub carries what it cannot read.
//! Whose keys those are is pinned: the files that the configuration names, and nothing that a hub says.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use muster_schemas::{DeviceId, TenantId};
use muster_seal::{
    Binding, InvalidKey, Padding, Recipient, SealFailure, is_sealed, limits::KEY_FILE_BYTES_MAX, seal,
};

use crate::{
    config::{SealKey, SealTo},
    sensors::Reading,
};

/// Why nothing can be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The file cannot be read.
    #[error("read the sealing key {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// It is no public key.
    #[error("use the sealing key {whence}: it {source}")]
    Invalid {
        /// Which file, or where it stands.
        whence: String,
        /// Why not.
        source: InvalidKey,
    },
}

/// Why a reading does not leave this device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// There is no certificate yet that says whose device this is.
    #[error("seal a reading: no certificate says yet which tenant's device this is")]
    NoTenant,
    /// The library refused.
    #[error("seal a reading: {0}")]
    Failed(#[from] SealFailure),
}

/// Whom each stream is sealed to.
#[derive(Debug, Clone, Default)]
pub struct Sealing {
    every: Arc<[Recipient]>,
    streams: BTreeMap<String, Arc<[Recipient]>>,
    padding: Padding,
}

impl Sealing {
    /// Reads the keys.
    ///
    /// # Errors
    /// A file is not there, or has no public key. The agent does not start then: what was to be sealed must not leave
    /// in the clear.
    pub fn read(seal_to: &SealTo) -> Result<Self, SealKeyError> {
        let streams = seal_to.streams.iter().map(|(stream, files)| Ok((stream.clone(), read_all(files)?)));
        Ok(Self {
            every: read_all(&seal_to.every)?,
            streams: streams.collect::<Result<_, _>>()?,
            padding: seal_to.padding,
        })
    }

    /// The names of the keys, for people.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let named = |stream: &str, keys: &[Recipient]| {
            keys.iter().map(|key| format!("{stream}: {}", key.id())).collect::<Vec<_>>()
        };
        let some = self.streams.iter().flat_map(|(stream, keys)| named(stream, keys));
        named("every stream", &self.every).into_iter().chain(some).collect()
    }

    /// The reading as it may leave: sealed, if its stream is. One that is sealed already stays as it is, so that what is
    /// sent again after a lost connection is the same message.
    ///
    /// # Errors
    /// It was to be sealed, and was not.
    pub fn apply(
        &self,
        tenant: Option<&TenantId>,
        device: &DeviceId,
        reading: &mut Reading,
    ) -> Result<(), NotSealed> {
        // What is said of firmware is for the hub.
        if reading.firmware_ticket().is_some() {
            return Ok(());
        }
        let recipients = self.streams.get(reading.stream).unwrap_or(&self.every);
        if recipients.is_empty() || is_sealed(&reading.payload) {
            return Ok(());
        }
        let tenant = tenant.ok_or(NotSealed::NoTenant)?;
        let topic = reading.topic(device);
        let binding = Binding { tenant, device, topic: &topic }.to_bytes();
        reading.payload = Bytes::from(seal(&reading.payload, &binding, recipients, self.padding)?);
        Ok(())
    }
}

fn read_all(keys: &[SealKey]) -> Result<Arc<[Recipient]>, SealKeyError> {
    keys.iter().map(read).collect()
}

fn read(key: &SealKey) -> Result<Recipient, SealKeyError> {
    let (whence, pem) = match key {
        SealKey::Inline(pem) => ("in the configuration".to_owned(), pem.clone().into_bytes()),
        SealKey::File(path) => (path.display().to_string(), read_file(path)?),
    };
    Recipient::from_pem(&pem).map_err(|source| SealKeyError::Invalid { whence, source })
}

/// The file, or as much of it as shows that it is too long.
fn read_file(path: &Path) -> Result<Vec<u8>, SealKeyError> {
    let mut pem = Vec::new();
    let file = File::open(path);
    file.and_then(|file| file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut pem))
        .map_err(|source| SealKeyError::Read { path: path.to_owned(), source })?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use muster_seal::{Kem, Opener, open};

    use super::*;

    fn reading(stream: &'static str) -> Reading {
        let device: DeviceId = "42".parse().expect("an id");
        Reading::of(&device, stream, 1_790_000_000_000, |pack| {
            pack.number("t", Some("Cel"), 21.5);
        })
        .expect("a reading")
    }

    #[test]
    fn a_reading_is_sealed_once_and_opens_with_the_apps_key_only_where_it_belongs() {
        let app = Opener::generate(Kem::P256).expect("a key");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.pub.pem");
        fs::write(&file, app.recipient().to_pem()).expect("a file");
        let streams = BTreeMap::from([("labels".to_owned(), vec![SealKey::File(file)])]);
        let sealing = Sealing::read(&SealTo { streams, ..SealTo::default() }).expect("its key");
        let (tenant, device): (TenantId, DeviceId) = ("acme".parse().expect("id"), "42".parse().expect("id"));

        let mut open_stream = reading("system");
        sealing.apply(None, &device, &mut open_stream).expect("nothing to do");
        assert_eq!(open_stream, reading("system"));

        let mut sealed = reading("labels");
        assert_eq!(sealing.apply(None, &device, &mut sealed), Err(NotSealed::NoTenant));
        assert_eq!(sealed, reading("labels"), "it was not sent");
        sealing.apply(Some(&tenant), &device, &mut sealed).expect("sealed");
        let first = sealed.payload.clone();
        sealing.apply(Some(&tenant), &device, &mut sealed).expect("sealed");
        assert_eq!(sealed.payload, first, "once");
        let here = Binding { tenant: &tenant, device: &device, topic: "devices/42/telemetry/labels" };
        let opened = open(&sealed.payload, &here.to_bytes(), &app).expect("opened");
        assert_eq!(opened.as_slice(), &reading("labels").payload[..]);
    }

    #[test]
    fn a_key_that_is_not_there_or_none_is_told() {
        let missing =
            SealTo { every: vec![SealKey::File("/nonexistent/app.pub.pem".into())], ..SealTo::default() };
        let error = Sealing::read(&missing).expect_err("not there").to_string();
        assert!(error.starts_with("read the sealing key /nonexistent/app.pub.pem: "), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.pem");
        fs::write(&file, Opener::generate(Kem::P256).expect("a key").to_pem().expect("a file").as_bytes())
            .expect("a file");
        let error = Sealing::read(&SealTo { every: vec![SealKey::File(file)], ..SealTo::default() })
            .expect_err("private")
            .to_string();
        assert!(error.contains("is a private key; give the public one"), "{error}");
        let pem = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n";
        let error = Sealing::read(&SealTo { every: vec![SealKey::Inline(pem.into())], ..SealTo::default() })
            .expect_err("cut off")
            .to_string();
        assert_eq!(
            error,
            "use the sealing key in the configuration: it is a key of another kind than P-256 or X25519"
        );
    }
}
