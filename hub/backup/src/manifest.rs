//! The manifest: what one backup consists of. It is written last, so that a backup which is listed is whole.
//!
//! ```text
//! object of kind M (its list: the pieces of the index)
//! number of the backup before, 8 bytes, 0 if there is none | SHA-256 of that one's manifest, 32 bytes
//! Ed25519 signature of all that stands before it, 64 bytes
//! ```

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{
    error::{BackupError, Damage, Why},
    limits::{BACKUPS_MAX, OBJECT_BYTES_MAX, SMALL_OBJECT_BYTES_MAX},
    object::{self, ContentKeys, FORMAT, Kind, ObjectId, Reference},
    place::Place,
    signer::{HubKey, SIGNATURE_BYTES, Signer},
};

/// The file that says that a place is a repository.
const REPOSITORY: &str = "muster-backup.json";
const BACKUPS: &str = "backups/";
const SUFFIX: &str = ".manifest";
const HASH_BYTES: usize = 32;
const CHAIN_BYTES: usize = 8 + HASH_BYTES;

/// A backup as its name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Counts the backups of a repository, from 1.
    pub number: u64,
    /// When it was begun, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// Bytes of its manifest.
    pub manifest_bytes: u64,
}

impl Listed {
    pub(crate) fn name(&self) -> String {
        format!("{BACKUPS}{:010}-{}{SUFFIX}", self.number, self.made_at_ms)
    }

    /// The id of the manifest, so that none opens under the name of another one.
    pub(crate) fn id(&self) -> ObjectId {
        let mut id = [0; 32];
        let text = self.number.to_be_bytes().into_iter().chain(self.made_at_ms.to_be_bytes());
        id.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        id
    }

    fn read(name: &str, manifest_bytes: u64) -> Option<Self> {
        let (number, time) = name.strip_prefix(BACKUPS)?.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, made_at_ms: time.parse().ok()?, manifest_bytes })
    }
}

/// The sealed part of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of everything that belongs to it.
    pub format: u64,
    /// Which repository it was made for.
    pub repository: String,
    /// Counts the backups of a repository, from 1.
    pub number: u64,
    /// When it was begun, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// The hub.
    pub node: String,
    /// The name of the installation in every certificate.
    pub trust_domain: String,
    /// The program that made it.
    pub program: String,
    /// The last commit of the store that is in it.
    pub commit: u64,
    /// What is in it, table by table; the files of the hub's directory are the table `/files`, wrapped keys `/keys`.
    pub tables: Vec<TableCount>,
    /// Whose rows are in it, and how many.
    pub tenants: Vec<TenantCount>,
}

/// A table of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCount {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// A tenant of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCount {
    /// Its id; empty for the platform.
    pub tenant: String,
    /// What its rows begin with, in hexadecimal digits.
    pub handle: String,
    /// Its name in the repository, in hexadecimal digits.
    pub tag: String,
    /// How many rows are its own, without wrapped keys.
    pub rows: u64,
    /// How many wrapped keys are its own.
    pub keys: u64,
}

/// The newest backup that a hub made, as it remembers it, wherever the backups lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The repository.
    pub repository: String,
    /// The number of the backup.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// SHA-256 of its manifest, in hexadecimal digits.
    pub sha256: String,
}

/// A manifest as it lies there.
pub(crate) struct Stored {
    pub listed: Listed,
    file: Vec<u8>,
    object_bytes: usize,
    /// Number and hash of the one before.
    pub previous: Option<(u64, [u8; HASH_BYTES])>,
}

impl Stored {
    /// Puts a manifest together.
    pub fn sign(listed: Listed, object: Vec<u8>, previous: Option<&Self>, hub: &HubKey) -> Self {
        let previous = previous.map(|stored| (stored.listed.number, stored.sha256()));
        let (number, hash) = previous.unwrap_or_default();
        let object_bytes = object.len();
        let mut file = object;
        file.extend_from_slice(&number.to_be_bytes());
        file.extend_from_slice(&hash);
        let signature = hub.sign(&file);
        file.extend_from_slice(&signature);
        Self { listed, file, object_bytes, previous }
    }

    /// Reads a manifest. It is not yet known to be right.
    pub fn read(place: &dyn Place, listed: Listed) -> Result<Result<Self, Damage>, BackupError> {
        let name = listed.name();
        let damage = |why| Damage { object: name.clone(), why, lost: format!("backup {}", listed.number) };
        let Some(file) = place.get(&name, OBJECT_BYTES_MAX)? else { return Ok(Err(damage(Why::Missing))) };
        let Some(object_bytes) = file.len().checked_sub(CHAIN_BYTES + SIGNATURE_BYTES) else {
            return Ok(Err(damage(Why::Malformed)));
        };
        let chain = file.get(object_bytes..).unwrap_or_default();
        let number = chain.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let hash = chain.get(8..CHAIN_BYTES).and_then(|hash| hash.try_into().ok()).unwrap_or_default();
        let previous = (number > 0).then_some((number, hash));
        Ok(Ok(Self { listed, file, object_bytes, previous }))
    }

    /// The whole file.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    pub fn sha256(&self) -> [u8; HASH_BYTES] {
        let mut hash = [0; HASH_BYTES];
        hash.iter_mut().zip(digest(&SHA256, &self.file).as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }

    pub fn memory(&self, repository: &str) -> Memory {
        Memory {
            repository: repository.to_owned(),
            number: self.listed.number,
            made_at_ms: self.listed.made_at_ms,
            sha256: HEXLOWER.encode(&self.sha256()),
        }
    }

    /// Whether this hub made it, under this name.
    pub fn check(&self, signer: &Signer) -> Result<(), BackupError> {
        let number = self.listed.number;
        let (text, signature) = self.file.split_at(self.file.len() - SIGNATURE_BYTES);
        let is_named_so = object::Head::read(&self.file).is_some_and(|head| head.id == self.listed.id());
        match is_named_so && signer.is_right(text, signature) {
            true => Ok(()),
            false => Err(BackupError::Forged { number, signer: signer.to_string() }),
        }
    }

    /// The pieces of the index.
    pub fn pieces(&self) -> Option<Vec<Reference>> {
        object::references(Kind::Manifest, self.object())
    }

    /// What is sealed in it.
    pub fn open(&self, keys: &mut ContentKeys<'_>) -> Result<Manifest, BackupError> {
        let damage = |why| {
            let lost = format!("backup {}", self.listed.number);
            BackupError::Damage(Damage { object: self.listed.name(), why, lost })
        };
        let plain = keys.open_object(Kind::Manifest, &self.listed.id(), self.object())?.map_err(damage)?;
        let manifest: Manifest = serde_json::from_slice(&plain).map_err(|_| damage(Why::Malformed))?;
        let Listed { number, made_at_ms, .. } = self.listed;
        match (manifest.number, manifest.made_at_ms) == (number, made_at_ms) {
            true => Ok(manifest),
            false => Err(damage(Why::Malformed)),
        }
    }

    fn object(&self) -> &[u8] {
        self.file.get(..self.object_bytes).unwrap_or_default()
    }
}

/// What `muster-backup.json` says. It stands in clear and is not signed: whoever checks a backup is told the signer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repository {
    /// The format of everything in it.
    pub format: u64,
    /// Its name, for ever.
    pub id: String,
    /// Who signs the backups in it, as 64 hexadecimal digits.
    pub signer: String,
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
}

impl Repository {
    /// The repository at this place; none if there is nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not one that we know.
    pub fn find(place: &dyn Place) -> Result<Option<Self>, BackupError> {
        let Some(text) = place.get(REPOSITORY, SMALL_OBJECT_BYTES_MAX)? else { return Ok(None) };
        let why = |why: &str| BackupError::NotARepository { place: place.shown(), why: why.to_owned() };
        let found: Self =
            serde_json::from_slice(&text).map_err(|_| why("its muster-backup.json was changed"))?;
        match found.format {
            format if format == u64::from(FORMAT) => Ok(Some(found)),
            version => {
                Err(BackupError::Version { name: REPOSITORY.to_owned(), version, known: FORMAT.into() })
            }
        }
    }

    /// As [`Repository::find`], where there has to be one.
    ///
    /// # Errors
    /// There is none.
    pub fn open(place: &dyn Place) -> Result<Self, BackupError> {
        Self::find(place)?.ok_or_else(|| BackupError::NoRepository(place.shown()))
    }

    /// As [`Repository::find`], and makes one where there is nothing at all.
    pub(crate) fn open_or_make(
        place: &dyn Place,
        made_at_ms: u64,
        signer: &Signer,
    ) -> Result<Self, BackupError> {
        let ours = signer.to_string();
        if let Some(found) = Self::find(place)? {
            return match found.signer == ours {
                true => Ok(found),
                false => Err(BackupError::OtherHub { place: place.shown(), theirs: found.signer, ours }),
            };
        }
        let mut is_empty = true;
        place.list("", &mut |_, _| is_empty = false)?;
        if !is_empty {
            let why = "it is not empty, and holds no backups; name a directory of its own".to_owned();
            return Err(BackupError::NotARepository { place: place.shown(), why });
        }
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| BackupError::Library("draw random numbers"))?;
        let made = Self { format: FORMAT.into(), id: HEXLOWER.encode(&id), signer: ours, made_at_ms };
        let text = serde_json::to_vec_pretty(&made).map_err(|_| BackupError::Library("write JSON"))?;
        place.put(REPOSITORY, &text)?;
        place.settle()?;
        Ok(made)
    }
}

/// The backups at a place, the oldest first. Needs no key.
///
/// # Errors
/// There is no repository, or it cannot be read.
pub fn list(place: &dyn Place) -> Result<Vec<Listed>, BackupError> {
    Repository::open(place)?;
    listed(place)
}

pub(crate) fn listed(place: &dyn Place) -> Result<Vec<Listed>, BackupError> {
    let mut found = Vec::new();
    place.list(BACKUPS, &mut |name, bytes| found.extend(Listed::read(name, bytes)))?;
    if found.len() > BACKUPS_MAX {
        return Err(BackupError::Full(BACKUPS_MAX));
    }
    found.sort_unstable();
    Ok(found)
}

/// The backup with this number, or the newest.
///
/// # Errors
/// There is none.
pub fn choose(place: &dyn Place, number: Option<u64>) -> Result<Listed, BackupError> {
    let mut found = list(place)?;
    match number {
        Some(number) => found.into_iter().find(|l| l.number == number).ok_or(BackupError::NoBackup(number)),
        None => found.pop().ok_or_else(|| BackupError::NoRepository(place.shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_number_and_time_and_nothing_else_is_a_backup() {
        let listed = Listed { number: 7, made_at_ms: 1_700_000_000_123, manifest_bytes: 9 };
        assert_eq!(listed.name(), "backups/0000000007-1700000000123.manifest");
        assert_eq!(Listed::read(&listed.name(), 9), Some(listed));
        for name in ["backups/7.manifest", "backups/x-1.manifest", "backups/1-2", "other/1-2.manifest"] {
            assert_eq!(Listed::read(name, 9), None);
        }
    }
}
