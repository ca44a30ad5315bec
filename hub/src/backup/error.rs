//! Why a hub was not backed up or restored.

use std::{io, path::PathBuf};

use muster_backup::{BackupError, PlaceError};
use muster_broker::store::StoreError;
use muster_schemas::TenantId;

use crate::{
    config::ConfigError, init::InitError, keyring::KeyringError, private_file::PrivateFileError,
    registry::RegistryError, root_key::RootKeyError, vault::VaultError,
};

/// Why a hub was not backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailure {
    /// The configuration does not say where to and for whom.
    #[error("know where backups go: the configuration has no section [backup]")]
    NotConfigured,
    /// Another one is under way.
    #[error("make two backups at a time: one has been under way since {since_ms} ms")]
    Busy {
        /// Since when.
        since_ms: u64,
    },
    /// An object store needs credentials.
    #[error(
        "use the object store: there are no credentials; set backup.credentials_file, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials,
    /// A file that should hold something else.
    #[error("use {}: it {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file or directory could not be read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something where the hub is to be restored.
    #[error("restore a hub into {}: it is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Part of the backup is damaged, and nobody said to go on without it.
    #[error("restore all of it: {damages} pieces are damaged; the first: {first}")]
    Damaged {
        /// How many.
        damages: u64,
        /// The first of them.
        first: String,
    },
    /// There is no such tenant in the backup, or not its keys.
    #[error("restore tenant {tenant} from backup {number}: {why}")]
    Tenant {
        /// Which.
        tenant: TenantId,
        /// From which backup.
        number: u64,
        /// What is missing.
        why: &'static str,
    },
    /// The root key does not belong to the backup.
    #[error("use this storage root key: the backup is of a hub with another one, or its keys are damaged")]
    Root(#[source] StoreError),
    /// There is no root key.
    #[error(transparent)]
    RootKey(RootKeyError),
    /// A thread could not be started.
    #[error("start the thread that makes backups")]
    Thread(#[source] io::Error),
    /// The backup, or where it lies.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A file that others could have used, or that is too large.
    #[error(transparent)]
    PrivateFile(#[from] PrivateFileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry's rows.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The vault or its passphrase.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The hub's keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The configuration that was restored.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operator's identity could not be made anew.
    #[error(transparent)]
    Operator(#[from] InitError),
}

impl From<PlaceError> for BackupFailure {
    fn from(error: PlaceError) -> Self {
        Self::Backup(error.into())
    }
}
