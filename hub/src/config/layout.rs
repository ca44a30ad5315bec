//! Where the files of a hub lie within its data directory.

use std::path::{Path, PathBuf};

use crate::authority::Role;

/// The paths of a hub's files. Nothing here looks at the disk.
///
/// ```text
/// muster.toml          public    what the hub is told
/// passphrase           0600      opens the vault; better kept on another disk
/// vault                0600      the vault key, sealed under the passphrase
/// storage.key          0600      the storage root key, sealed under the vault key
/// storage.key.next     0600      the one that takes its place, while it is replaced
/// authorities/*.crt    public    root, server, device, relay, client, software; device-2 and so on are their successors
/// authorities/*.key    0600      their private keys, sealed under the vault key
/// server.crt           public    the hub's own certificate and the server authority's
/// server.key           0600      its private key, sealed under the vault key
/// publication          public    the number of the last publication of revocations
/// operator/            0700      the first operator's identity, for the command line
/// tpm-roots/           public    certificates of TPM manufacturers
/// backup.json          0600      the newest backup that this hub made
/// store/               0700      what the hub stores: log, registry, telemetry
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    data_dir: PathBuf,
}

impl Layout {
    /// The layout of this data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// The data directory itself.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The configuration, as `muster init` writes it.
    pub fn config(&self) -> PathBuf {
        self.data_dir.join("muster.toml")
    }

    /// The passphrase, as `muster init` writes it.
    pub fn passphrase(&self) -> PathBuf {
        self.data_dir.join("passphrase")
    }

    /// The vault.
    pub fn vault(&self) -> PathBuf {
        self.data_dir.join("vault")
    }

    /// The sealed storage root key.
    pub fn storage_key(&self) -> PathBuf {
        self.data_dir.join("storage.key")
    }

    /// The storage root key that is about to take its place, while it is replaced.
    pub fn next_storage_key(&self) -> PathBuf {
        self.data_dir.join("storage.key.next")
    }

    /// The directory of the authorities.
    pub fn authorities(&self) -> PathBuf {
        self.data_dir.join("authorities")
    }

    /// The certificate of an authority, PEM.
    pub fn authority_certificate(&self, role: Role) -> PathBuf {
        self.authorities().join(format!("{role}.crt"))
    }

    /// The sealed private key of an authority.
    pub fn authority_key(&self, role: Role) -> PathBuf {
        self.authorities().join(format!("{role}.key"))
    }

    /// The certificate of an authority's generation: the first has the plain name.
    pub fn generation_certificate(&self, role: Role, generation: u32) -> PathBuf {
        match generation {
            1 => self.authority_certificate(role),
            later => self.authorities().join(format!("{role}-{later}.crt")),
        }
    }

    /// The sealed private key of an authority's generation.
    pub fn generation_key(&self, role: Role, generation: u32) -> PathBuf {
        match generation {
            1 => self.authority_key(role),
            later => self.authorities().join(format!("{role}-{later}.key")),
        }
    }

    /// The hub's own certificate and the server authority's, PEM.
    pub fn server_certificate(&self) -> PathBuf {
        self.data_dir.join("server.crt")
    }

    /// The sealed private key of the hub's own certificate.
    pub fn server_key(&self) -> PathBuf {
        self.data_dir.join("server.key")
    }

    /// The number of the last publication of revocations.
    pub fn publication_number(&self) -> PathBuf {
        self.data_dir.join("publication")
    }

    /// The first operator's identity.
    pub fn operator(&self) -> PathBuf {
        self.data_dir.join("operator")
    }

    /// Certificates of TPM manufacturers.
    pub fn tpm_roots(&self) -> PathBuf {
        self.data_dir.join("tpm-roots")
    }

    /// What the hub remembers of its newest backup.
    pub fn backup_memory(&self) -> PathBuf {
        self.data_dir.join("backup.json")
    }

    /// A store that is there while one tenant is put back.
    pub fn restoring(&self) -> PathBuf {
        self.data_dir.join("restoring")
    }

    /// What the hub stores: log, registry, telemetry.
    pub fn store(&self) -> PathBuf {
        self.data_dir.join("store")
    }
}
