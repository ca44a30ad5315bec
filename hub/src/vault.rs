//! Secrets at rest: private keys and the storage root key, each in its own sealed file. Not for tenants' data, which
//! has keys of its own below the storage root key.
//!
//! ```text
//! passphrase --Argon2id(salt)--> key-encryption key --AES-256-GCM--> vault key --AES-256-GCM--> each secret
//! ```
//!
//! The passphrase is stretched once per start, for the vault key; every secret is sealed under that key. The header of
//! each file is bound as associated data, and so is the name of a secret: a file that was renamed does not open.
//!
//! ```text
//! vault file:   "MUSTERVK" version(1) memory_kib(4) passes(4) lanes(4) salt(16) | nonce(12) | sealed key, tag(16)
//! secret file:  "MUSTERSK" version(1)                                           | nonce(12) | sealed secret, tag(16)
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

use crate::{
    limits::{
        ARGON2_LANES, ARGON2_LANES_MAX, ARGON2_MEMORY_KIB, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES,
        ARGON2_PASSES_MAX, PASSPHRASE_BYTES_MIN, SECRET_BYTES_MAX,
    },
    private_file::{self, PrivateFileError},
};

const VAULT_MAGIC: &[u8; 8] = b"MUSTERVK";
const SECRET_MAGIC: &[u8; 8] = b"MUSTERSK";
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const VAULT_HEADER_BYTES: usize = 8 + 1 + 12 + SALT_BYTES;
const SECRET_HEADER_BYTES: usize = 8 + 1;

/// Why a vault or a secret did not open, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file could not be read, or others could have.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file could not be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Fewer bytes than a passphrase must have.
    #[error("use the passphrase in {path}: it has fewer than {PASSPHRASE_BYTES_MIN} bytes")]
    WeakPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// Not a file of ours, or cut short.
    #[error("open {path}: it is not a sealed file of muster, or it was cut short; restore it from a backup")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// Written by a later muster.
    #[error(
        "open {path}: it has format version {version}, and this muster knows {VERSION}; use the muster that wrote it"
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        version: u8,
    },
    /// The file asks for more memory or time than we grant.
    #[error("open {path}: it asks for an excessive key derivation; restore it from a backup")]
    Excessive {
        /// Which file.
        path: PathBuf,
    },
    /// The tag does not match.
    #[error("open {path}: the passphrase is not the one it was sealed with, or the file was changed")]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// The cryptographic library refused; never seen in practice.
    #[error("use the cryptographic library: {0}")]
    Library(&'static str),
}

/// What the vault key is sealed with. Erased from memory when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A new random one: 256 bits, written as 64 hexadecimal digits.
    pub fn generate() -> Result<Self, VaultError> {
        let mut bits = Zeroizing::new([0; KEY_BYTES]);
        fill(bits.as_mut_slice())?;
        Ok(Self(Zeroizing::new(data_encoding::HEXLOWER.encode(bits.as_slice()).into_bytes())))
    }

    /// Reads it from a file that only its owner may read. Line ends after it do not belong to it.
    pub fn read(path: &Path) -> Result<Self, VaultError> {
        let mut text = private_file::read(path, SECRET_BYTES_MAX)?;
        while text.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            text.pop();
        }
        if text.len() < PASSPHRASE_BYTES_MIN {
            return Err(VaultError::WeakPassphrase { path: path.to_owned() });
        }
        Ok(Self(text))
    }

    /// Writes it to a new file that only its owner may read.
    pub fn create(&self, path: &Path) -> Result<(), VaultError> {
        let mut line = Zeroizing::new(Vec::with_capacity(self.0.len() + 1));
        line.extend_from_slice(&self.0);
        line.push(b'\n');
        private_file::create(path, &line)
            .map_err(|source| VaultError::Write { path: path.to_owned(), source })
    }
}

/// The key that every secret is sealed with.
pub struct Vault {
    key: LessSafeKey,
}

impl Vault {
    /// Makes a vault with a new key and writes it to a new file.
    pub fn create(path: &Path, passphrase: &Passphrase) -> Result<Self, VaultError> {
        let mut salt = [0; SALT_BYTES];
        fill(&mut salt)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill(key.as_mut_slice())?;
        let mut file = Vec::with_capacity(128);
        file.extend_from_slice(VAULT_MAGIC);
        file.push(VERSION);
        for cost in [ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES] {
            file.extend_from_slice(&cost.to_be_bytes());
        }
        file.extend_from_slice(&salt);
        let wrapping = stretch(passphrase, &salt, ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES)?;
        let header = file.clone();
        seal(&aead(wrapping.as_slice())?, &header, key.as_slice(), &mut file)?;
        private_file::create(path, &file)
            .map_err(|source| VaultError::Write { path: path.to_owned(), source })?;
        Ok(Self { key: aead(key.as_slice())? })
    }

    /// Opens the vault that [`Vault::create`] wrote. Takes tens of milliseconds, on purpose.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, VaultError> {
        let file = private_file::read(path, SECRET_BYTES_MAX)?;
        let malformed = || VaultError::Malformed { path: path.to_owned() };
        let (header, sealed) = file.split_at_checked(VAULT_HEADER_BYTES).ok_or_else(malformed)?;
        check_start(path, header, VAULT_MAGIC)?;
        let costs = header.get(9..21).ok_or_else(malformed)?;
        let (costs, _) = costs.as_chunks::<4>();
        let &[memory_kib, passes, lanes] = costs else { return Err(malformed()) };
        let (memory_kib, passes, lanes) =
            (u32::from_be_bytes(memory_kib), u32::from_be_bytes(passes), u32::from_be_bytes(lanes));
        if memory_kib > ARGON2_MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX {
            return Err(VaultError::Excessive { path: path.to_owned() });
        }
        let salt = header.get(21..).ok_or_else(malformed)?;
        let wrapping = stretch(passphrase, salt, memory_kib, passes, lanes)?;
        let key = unseal(&aead(wrapping.as_slice())?, header, sealed)
            .ok_or_else(|| VaultError::Sealed { path: path.to_owned() })?;
        Ok(Self { key: aead(&key)? })
    }

    /// Seals a secret under its name and writes it to a new file.
    pub fn create_secret(&self, path: &Path, name: &str, secret: &[u8]) -> Result<(), VaultError> {
        let file = self.seal(name, secret)?;
        private_file::create(path, &file)
            .map_err(|source| VaultError::Write { path: path.to_owned(), source })
    }

    /// Seals a secret under its name and puts it in the place of an older one.
    pub fn replace_secret(&self, path: &Path, name: &str, secret: &[u8]) -> Result<(), VaultError> {
        let file = self.seal(name, secret)?;
        private_file::replace(path, &file, true)
            .map_err(|source| VaultError::Write { path: path.to_owned(), source })
    }

    /// Opens the secret that was sealed under this name.
    pub fn read_secret(&self, path: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let file = private_file::read(path, SECRET_BYTES_MAX)?;
        let malformed = || VaultError::Malformed { path: path.to_owned() };
        let (header, sealed) = file.split_at_checked(SECRET_HEADER_BYTES).ok_or_else(malformed)?;
        check_start(path, header, SECRET_MAGIC)?;
        unseal(&self.key, &secret_aad(name), sealed)
            .ok_or_else(|| VaultError::Sealed { path: path.to_owned() })
    }

    fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut file = Vec::with_capacity(64 + secret.len());
        file.extend_from_slice(SECRET_MAGIC);
        file.push(VERSION);
        seal(&self.key, &secret_aad(name), secret, &mut file)?;
        Ok(file)
    }
}

/// The header of a secret file, and the name that the secret goes by.
fn secret_aad(name: &str) -> Vec<u8> {
    let mut aad = Vec::with_capacity(SECRET_HEADER_BYTES + name.len());
    aad.extend_from_slice(SECRET_MAGIC);
    aad.push(VERSION);
    aad.extend_from_slice(name.as_bytes());
    aad
}

fn check_start(path: &Path, header: &[u8], magic: &[u8; 8]) -> Result<(), VaultError> {
    match header.strip_prefix(magic) {
        Some([VERSION, ..]) => Ok(()),
        Some([version, ..]) => Err(VaultError::Version { path: path.to_owned(), version: *version }),
        _ => Err(VaultError::Malformed { path: path.to_owned() }),
    }
}

fn stretch(
    passphrase: &Passphrase,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let params = Params::new(memory_kib, passes, lanes, Some(KEY_BYTES))
        .map_err(|_| VaultError::Library("Argon2 refused its parameters"))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(&passphrase.0, salt, key.as_mut_slice())
        .map_err(|_| VaultError::Library("Argon2 refused its input"))?;
    Ok(key)
}

fn aead(key: &[u8]) -> Result<LessSafeKey, VaultError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Library("AES refused a key"))?;
    Ok(LessSafeKey::new(unbound))
}

/// Appends a random nonce and the sealed secret.
fn seal(key: &LessSafeKey, aad: &[u8], secret: &[u8], file: &mut Vec<u8>) -> Result<(), VaultError> {
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce)?;
    file.extend_from_slice(&nonce);
    let mut sealed = Zeroizing::new(secret.to_vec());
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            sealed.as_mut_slice(),
        )
        .map_err(|_| VaultError::Library("AES-GCM refused to seal"))?;
    file.extend_from_slice(&sealed);
    file.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Opens nonce, sealed secret and tag; nothing when the tag does not match.
fn unseal(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut secret = Zeroizing::new(sealed.to_vec());
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), secret.as_mut_slice())
        .ok()?
        .len();
    secret.truncate(length);
    Some(secret)
}

fn fill(bytes: &mut [u8]) -> Result<(), VaultError> {
    rand::fill(bytes).map_err(|_| VaultError::Library("the random generator failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_secret_survives_closing_and_opening_the_vault() {
        let dir = tempfile::tempdir().expect("directory");
        let (vault, secret) = (dir.path().join("vault"), dir.path().join("secret"));
        let made = Vault::create(&vault, &passphrase("correct horse")).expect("create");
        made.create_secret(&secret, "root", b"private key").expect("seal");
        let opened = Vault::open(&vault, &passphrase("correct horse")).expect("open");
        assert_eq!(opened.read_secret(&secret, "root").expect("unseal").as_slice(), b"private key");
        let file = std::fs::read(&secret).expect("read");
        assert!(!file.windows(11).any(|w| w == b"private key"));
    }

    #[test]
    fn another_passphrase_opens_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let vault = dir.path().join("vault");
        Vault::create(&vault, &passphrase("correct horse")).expect("create");
        assert!(matches!(Vault::open(&vault, &passphrase("battery staple")), Err(VaultError::Sealed { .. })));
    }

    #[test]
    fn a_secret_under_another_name_or_with_a_flipped_bit_does_not_open() {
        let dir = tempfile::tempdir().expect("directory");
        let secret = dir.path().join("secret");
        let vault = Vault::create(&dir.path().join("vault"), &passphrase("correct horse")).expect("create");
        vault.create_secret(&secret, "server", b"private key").expect("seal");
        assert!(matches!(vault.read_secret(&secret, "root"), Err(VaultError::Sealed { .. })));
        let whole = std::fs::read(&secret).expect("read");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&secret, &flipped).expect("write");
            assert!(vault.read_secret(&secret, "server").is_err(), "byte {at} was not covered");
            std::fs::write(&secret, &whole[..at]).expect("write");
            assert!(vault.read_secret(&secret, "server").is_err(), "cut at {at} was not seen");
        }
    }

    #[test]
    fn every_bit_of_the_vault_header_is_covered() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("vault");
        Vault::create(&path, &passphrase("correct horse")).expect("create");
        let whole = std::fs::read(&path).expect("read");
        // The costs (bytes 9 to 20) are flipped in their high bits only: that is refused before any work is done.
        for at in [0, 8, 9, 13, 17, 21, 36, 37, 60, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x80;
            private_file::replace(&path, &flipped, true).expect("write");
            assert!(Vault::open(&path, &passphrase("correct horse")).is_err(), "byte {at} was not covered");
        }
    }

    #[test]
    fn a_passphrase_file_is_private_long_enough_and_without_its_line_end() {
        let dir = tempfile::tempdir().expect("directory");
        let (path, short) = (dir.path().join("passphrase"), dir.path().join("short"));
        let made = Passphrase::generate().expect("random");
        made.create(&path).expect("create");
        assert_eq!(Passphrase::read(&path).expect("read").0, made.0);
        assert_eq!(made.0.len(), 64);
        private_file::create(&short, b"secret\n").expect("create");
        assert!(matches!(Passphrase::read(&short), Err(VaultError::WeakPassphrase { .. })));
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let refused = Passphrase::read(&path).map(|_| ()).expect_err("exposed").to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
