//! Where the storage root key comes from, and how another takes its place.
//!
//! It is in the vault (`storage.key`), sealed under the passphrase; or a program prints it: one that has a TPM unseal it, or
//! that asks a key management service. While it is replaced there are two, and the store says which of them is in place:
//!
//! ```text
//! vault     storage.key.next is written ─ the store takes it ─ storage.key is replaced ─ storage.key.next is removed
//! program   previous_command opens ─ the store takes what command gives ─ previous_command is taken out
//! ```
//! Stopped anywhere, the next start goes on with the one that the store has.

use std::{fs, io, path::PathBuf};

use muster_broker::store::{RootKey, RootStatus, SecretKey, Store, StoreError, StoreKeys, StoreOptions};
use muster_schemas::TenantId;

use crate::{
    config::{Config, KeyCommands, Layout},
    key_command::{KeyCommand, KeyCommandError},
    keyring::{self, KeyringError},
    vault::{Passphrase, Vault, VaultError},
};

/// Why there is no root key, or no other one.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file in the vault.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The program that prints it.
    #[error(transparent)]
    Command(#[from] KeyCommandError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be removed.
    #[error("remove {path}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is made elsewhere.
    #[error(
        "make another storage root key: a program gives it; make one there, set storage_key.command to what gives it and \
         storage_key.previous_command to what gives the present one, and restart the hub"
    )]
    NotOurs,
}

/// Where the root key comes from.
#[derive(Debug, Clone)]
pub struct RootSource {
    layout: Layout,
    passphrase_file: PathBuf,
    commands: KeyCommands,
}

/// A store, and the root key that is to take the place of the one that opened it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// To be put in place with [`RootSource::settle`].
    pub next: Option<RootKey>,
}

impl RootSource {
    /// As the configuration says.
    pub fn new(config: &Config) -> Self {
        let (layout, passphrase_file) = (config.layout(), config.passphrase_file.clone());
        Self { layout, passphrase_file, commands: config.key_commands.clone() }
    }

    /// Opens the store with the root key that it has. Blocks.
    ///
    /// # Errors
    /// There is no key, or it is another one, or the store does not open.
    pub fn open(&self) -> Result<Opened, RootKeyError> {
        match &self.commands.storage_key {
            None => Ok(Opened { store: self.open_from_vault()?, next: None }),
            Some(command) => self.open_by(command),
        }
    }

    /// What opens the store, for whoever has business with it while the hub does not run, or with its backups. Blocks.
    ///
    /// # Errors
    /// There is no key, or it is another one.
    pub fn keys(&self) -> Result<StoreKeys, RootKeyError> {
        let of = |key: SecretKey| StoreKeys::read(&self.layout.store(), RootKey::from(key));
        if let (Some(command), false) = (&self.commands.storage_key, self.layout.storage_key().exists()) {
            return Ok(of(command.run()?)?);
        }
        let vault = self.vault()?;
        match of(keyring::open_storage_key(&self.layout, &vault)?) {
            // The hub was stopped while it was replaced.
            Err(StoreError::WrongRootKey) if self.layout.next_storage_key().exists() => {
                Ok(of(keyring::open_next_storage_key(&self.layout, &vault)?)?)
            }
            keys => Ok(keys?),
        }
    }

    /// Puts the root key of a program in the place of the one that opened the store. `tenants` are all that there are.
    ///
    /// # Errors
    /// The store did not take it.
    pub fn settle(
        &self,
        store: &Store,
        next: &RootKey,
        tenants: &[TenantId],
        now_s: u64,
    ) -> Result<RootStatus, RootKeyError> {
        let status = store.rotate_root_key(next, tenants, now_s)?;
        // From here on the one in the vault opens nothing.
        self.remove(self.layout.storage_key())?;
        Ok(status)
    }

    /// Makes another root key and puts it in place. `tenants` are all that there are. Blocks.
    ///
    /// # Errors
    /// A program gives the key, or a file could not be written, or the store did not take it.
    pub fn rotate(
        &self,
        store: &Store,
        tenants: &[TenantId],
        now_s: u64,
    ) -> Result<RootStatus, RootKeyError> {
        if self.commands.storage_key.is_some() {
            return Err(RootKeyError::NotOurs);
        }
        let vault = self.vault()?;
        let (present, next) = (self.layout.storage_key(), self.layout.next_storage_key());
        // What an earlier attempt has left is not in place: the store was opened with the other one.
        self.remove(next.clone())?;
        let key = RootKey::generate()?;
        keyring::create_next_storage_key(&self.layout, &vault, &key.to_bytes())?;
        let status = store.rotate_root_key(&key, tenants, now_s)?;
        fs::rename(&next, &present).map_err(|source| RootKeyError::Remove { path: next, source })?;
        Ok(status)
    }

    fn open_from_vault(&self) -> Result<Store, RootKeyError> {
        let vault = self.vault()?;
        let next = self.layout.next_storage_key();
        let present = keyring::open_storage_key(&self.layout, &vault)?;
        match self.store(present) {
            Ok(store) => {
                self.remove(next)?;
                Ok(store)
            }
            Err(StoreError::WrongRootKey) if next.exists() => {
                let key = keyring::open_next_storage_key(&self.layout, &vault)?;
                let store = self.store(key)?;
                let present = self.layout.storage_key();
                fs::rename(&next, present).map_err(|source| RootKeyError::Remove { path: next, source })?;
                tracing::info!("the storage root key that was being replaced is replaced");
                Ok(store)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_by(&self, command: &KeyCommand) -> Result<Opened, RootKeyError> {
        let key = command.run()?;
        let previous = match &self.commands.previous_storage_key {
            Some(previous) => Some(previous.run()?),
            None if self.layout.storage_key().exists() => {
                Some(keyring::open_storage_key(&self.layout, &self.vault()?)?)
            }
            None => None,
        };
        if let Some(previous) = previous {
            match self.store(previous) {
                Ok(store) => return Ok(Opened { store, next: Some(RootKey::from(key)) }),
                Err(StoreError::WrongRootKey) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Opened { store: self.store(key)?, next: None })
    }

    fn store(&self, key: SecretKey) -> Result<Store, StoreError> {
        Store::open(&self.layout.store(), RootKey::from(key), StoreOptions::default())
    }

    fn vault(&self) -> Result<Vault, RootKeyError> {
        Ok(Vault::open(&self.layout.vault(), &Passphrase::read(&self.passphrase_file)?)?)
    }

    fn remove(&self, path: PathBuf) -> Result<(), RootKeyError> {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RootKeyError::Remove { path, source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
