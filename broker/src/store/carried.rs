//! What is carried on when another root key takes the place of the first: the key behind the names of rows, and that of
//! the witness. It lies in a file beside the engine's, wrapped by the root key, because the witness is read before the
//! engine. While the root key is replaced the file holds it twice, wrapped by the old one and by the new one, so that
//! whoever is stopped in between can go on with either.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use muster_schemas::TenantId;
use zeroize::Zeroizing;

use super::{
    error::StoreError,
    keys::{self, KEY_BYTES, Lasting, RootKey, RootKeys, SecretKey},
};

const FILE: &str = "carried";
const MAGIC: &[u8; 9] = b"MUSTERRC\x01";
const CONTEXT: &[u8] = b"muster/carried/1";
/// Nonce, two keys and a tag.
const ENTRY_BYTES: usize = 12 + 2 * KEY_BYTES + 16;
/// While the root key is replaced there are two.
const ENTRIES_MAX: usize = 2;

/// The root's keys with what was carried on to them, if there is such a file.
pub(super) fn load(dir: &Path, root: RootKeys) -> Result<RootKeys, StoreError> {
    let path = dir.join(FILE);
    let file = match fs::read(&path) {
        Ok(file) => file,
        // The first root key is still in place: what lasts is derived from it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(root),
        Err(source) => return Err(StoreError::Io { what: "read", path, source }),
    };
    let damaged = || StoreError::Damaged {
        path: path.clone(),
        why: "it is not a list of what outlives a root key".to_owned(),
    };
    let entries = file.strip_prefix(MAGIC).ok_or_else(damaged)?;
    if entries.is_empty() || entries.len() % ENTRY_BYTES != 0 || entries.len() > ENTRIES_MAX * ENTRY_BYTES {
        return Err(damaged());
    }
    let ours = entries.chunks_exact(ENTRY_BYTES).find_map(|entry| open(&root, entry));
    ours.map(|lasting| root.with_lasting(lasting)).ok_or(StoreError::WrongRootKey)
}

/// Writes the file for these root keys, which have the same to carry on. It is there as a whole or as it was before.
pub(super) fn store(dir: &Path, roots: &[&RootKeys]) -> Result<(), StoreError> {
    let mut content = MAGIC.to_vec();
    for root in roots {
        let plain = bytes_of(root.lasting());
        content.extend(keys::wrap(&root.carrying, keys::random_nonce()?, CONTEXT, plain.as_slice()));
    }
    let (path, draft): (PathBuf, PathBuf) = (dir.join(FILE), dir.join("carried.new"));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()
    })();
    written.map_err(|source| StoreError::Io { what: "write", path, source })
}

/// All that opens a store in another place: its root key, and what outlived the root keys before it.
pub struct StoreKeys {
    root: RootKey,
    keys: RootKeys,
}

impl StoreKeys {
    /// Bytes of [`StoreKeys::to_bytes`].
    pub const BYTES: usize = 3 * KEY_BYTES;

    /// Those of the store in `dir`, whose root key this is.
    ///
    /// # Errors
    /// It is not, as far as can be told without opening the store; or a file cannot be read.
    pub fn read(dir: &Path, root: RootKey) -> Result<Self, StoreError> {
        let keys = load(dir, RootKeys::derive(&root))?;
        Ok(Self { root, keys })
    }

    /// What [`StoreKeys::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (root, lasting) = bytes.split_at_checked(KEY_BYTES)?;
        let root = RootKey::from(SecretKey::copy_of(root)?);
        let keys = RootKeys::derive(&root).with_lasting(lasting_of(lasting)?);
        Some(Self { root, keys })
    }

    /// All of it, for whoever wraps it. The copy erases itself.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut plain = Zeroizing::new([0; Self::BYTES]);
        let (root, lasting) = plain.split_at_mut(KEY_BYTES);
        root.copy_from_slice(self.root.to_bytes().as_slice());
        lasting.copy_from_slice(bytes_of(self.keys.lasting()).as_slice());
        plain
    }

    /// Prepares an empty directory, so that the store that is made there has these keys.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn put(&self, dir: &Path) -> Result<(), StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| StoreError::Io { what: "create", path: dir.to_owned(), source })?;
        store(dir, &[&self.keys])
    }

    /// The root key.
    pub fn root(&self) -> RootKey {
        RootKey::from(self.root.to_bytes())
    }

    /// What a tenant's rows begin with.
    pub fn handle(&self, tenant: &TenantId) -> [u8; 16] {
        self.keys.handle(tenant.as_str())
    }

    /// What the key that signs backups is made of. It is the same after the root key was replaced.
    pub fn backup_seed(&self) -> SecretKey {
        self.keys.lasting().backup()
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(..)")
    }
}

/// Whether the file is there, for more than one root key.
pub(super) fn is_unfinished(dir: &Path) -> bool {
    fs::metadata(dir.join(FILE)).is_ok_and(|found| found.len() > (MAGIC.len() + ENTRY_BYTES) as u64)
}

fn open(root: &RootKeys, entry: &[u8]) -> Option<Lasting> {
    lasting_of(&keys::unwrap(&root.carrying, CONTEXT, entry)?)
}

fn bytes_of(lasting: &Lasting) -> Zeroizing<[u8; 2 * KEY_BYTES]> {
    let mut plain = Zeroizing::new([0; 2 * KEY_BYTES]);
    let (index, witness) = plain.split_at_mut(KEY_BYTES);
    index.copy_from_slice(lasting.index.as_slice());
    witness.copy_from_slice(lasting.witness.as_slice());
    plain
}

fn lasting_of(plain: &[u8]) -> Option<Lasting> {
    let (index, witness) = plain.split_at_checked(KEY_BYTES)?;
    Some(Lasting { index: SecretKey::copy_of(index)?, witness: SecretKey::copy_of(witness)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(byte: u8) -> RootKeys {
        RootKeys::derive(&RootKey::from_bytes([byte; KEY_BYTES]))
    }

    #[test]
    fn what_is_carried_on_opens_with_each_of_the_root_keys_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let name = root(1).handle("acme");
        assert_eq!(load(dir.path(), root(1)).unwrap().handle("acme"), name);
        let next = root(2).with_lasting(root(1).lasting().clone());
        store(dir.path(), &[&root(1), &next]).unwrap();
        assert!(is_unfinished(dir.path()));
        for byte in [1, 2] {
            assert_eq!(load(dir.path(), root(byte)).unwrap().handle("acme"), name);
        }
        store(dir.path(), &[&next]).unwrap();
        assert!(!is_unfinished(dir.path()));
        assert_eq!(load(dir.path(), root(2)).unwrap().handle("acme"), name);
        for byte in [1, 3] {
            assert!(matches!(load(dir.path(), root(byte)), Err(StoreError::WrongRootKey)));
        }
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), &[&root(1)]).unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for length in 0..whole.len() {
            fs::write(dir.path().join(FILE), &whole[..length]).unwrap();
            assert!(load(dir.path(), root(1)).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(dir.path().join(FILE), &changed).unwrap();
            assert!(load(dir.path(), root(1)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_keys_of_a_store_open_it_in_another_place_after_the_root_key_was_replaced() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let acme: TenantId = "acme".parse().unwrap();
        let before = StoreKeys::read(here.path(), RootKey::from_bytes([1; KEY_BYTES])).unwrap();
        let next = root(2).with_lasting(root(1).lasting().clone());
        store(here.path(), &[&next]).unwrap();
        assert!(StoreKeys::read(here.path(), RootKey::from_bytes([1; KEY_BYTES])).is_err());
        let after = StoreKeys::read(here.path(), RootKey::from_bytes([2; KEY_BYTES])).unwrap();
        assert_eq!(after.backup_seed(), before.backup_seed());
        assert_eq!(after.handle(&acme), before.handle(&acme));
        let carried = StoreKeys::from_bytes(&after.to_bytes()).unwrap();
        carried.put(&there.path().join("store")).unwrap();
        let found = load(&there.path().join("store"), root(2)).unwrap();
        assert_eq!(found.handle("acme"), before.handle(&acme));
    }
}
