//! A password as it is kept: a hash by Argon2id (RFC 9106) in the form that other programs write it in as well
//! (`$argon2id$v=19$m=19456,t=2,p=1$salt$hash`). The password itself is in no row, no log and no answer.

use std::{fmt, str::FromStr};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::limits::{
    ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, LEGACY_PASSWORD_MEMORY_KIB_MAX,
    LEGACY_PASSWORD_PASSES_MAX,
};

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What a password is checked against. A text of this form was checked: it asks for no less than our own work, and for no
/// more than a hub can do for whoever connects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

/// A text that is no hash of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not of the form $argon2id$v=19$m=19456,t=2,p=1$<16 bytes>$<32 bytes>, with m from {ARGON2_MEMORY_KIB} to \
     {LEGACY_PASSWORD_MEMORY_KIB_MAX}, t from {ARGON2_PASSES} to {LEGACY_PASSWORD_PASSES_MAX} and p of {ARGON2_LANES}"
)]
pub struct InvalidPasswordHash;

/// The library or the random generator failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hash a password")]
pub struct HashingFailed;

impl PasswordHash {
    /// Hashes a password with a new salt. Takes tens of milliseconds and 19 MiB.
    ///
    /// # Errors
    /// There was no memory or no randomness.
    pub fn new(password: &[u8]) -> Result<Self, HashingFailed> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| HashingFailed)?;
        let (memory_kib, passes, lanes) = (ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES);
        let mut made = Self { memory_kib, passes, lanes, salt, hash: [0; HASH_BYTES] };
        made.hash = *made.derive(password)?;
        Ok(made)
    }

    /// One that no password is known for: what is checked in the place of a device that is not there, so that it takes as
    /// long.
    pub fn of_nobody() -> Self {
        Self {
            memory_kib: ARGON2_MEMORY_KIB,
            passes: ARGON2_PASSES,
            lanes: ARGON2_LANES,
            salt: [0; SALT_BYTES],
            hash: [0; HASH_BYTES],
        }
    }

    /// Whether this is the password. Takes as long as hashing it, whatever the answer.
    pub fn is_of(&self, password: &[u8]) -> bool {
        self.derive(password).is_ok_and(|hash| verify_slices_are_equal(hash.as_slice(), &self.hash).is_ok())
    }

    fn derive(&self, password: &[u8]) -> Result<Zeroizing<[u8; HASH_BYTES]>, HashingFailed> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES));
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| HashingFailed)?)
            .hash_password_into(password, &self.salt, hash.as_mut_slice())
            .map_err(|_| HashingFailed)?;
        Ok(hash)
    }
}

impl FromStr for PasswordHash {
    type Err = InvalidPasswordHash;
    fn from_str(text: &str) -> Result<Self, InvalidPasswordHash> {
        let parts: Vec<&str> = text.split('$').collect();
        let ["", "argon2id", "v=19", costs, salt, hash] = parts.as_slice() else {
            return Err(InvalidPasswordHash);
        };
        let mut costs = costs.split(',');
        let mut cost = |name: &str| {
            let digits = costs.next()?.strip_prefix(name)?.strip_prefix('=')?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
        };
        let (Some(memory_kib), Some(passes), Some(lanes)) = (cost("m"), cost("t"), cost("p")) else {
            return Err(InvalidPasswordHash);
        };
        let sound = (ARGON2_MEMORY_KIB..=LEGACY_PASSWORD_MEMORY_KIB_MAX).contains(&memory_kib)
            && (ARGON2_PASSES..=LEGACY_PASSWORD_PASSES_MAX).contains(&passes)
            && lanes == ARGON2_LANES
            && costs.next().is_none();
        let bytes = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).ok();
        let salt = bytes(salt).and_then(|salt| salt.try_into().ok());
        let hash = bytes(hash).and_then(|hash| hash.try_into().ok());
        match (sound, salt, hash) {
            (true, Some(salt), Some(hash)) => Ok(Self { memory_kib, passes, lanes, salt, hash }),
            _ => Err(InvalidPasswordHash),
        }
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = InvalidPasswordHash;
    fn try_from(text: String) -> Result<Self, InvalidPasswordHash> {
        text.parse()
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        let PasswordHash { memory_kib, passes, lanes, salt, hash } = hash;
        let (salt, hash) = (BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }
}

/// Not even the hash: whoever has it can try passwords elsewhere.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hash = PasswordHash::new(b"correct horse battery").expect("hashed");
        let text = String::from(hash.clone());
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_eq!(text.parse::<PasswordHash>().expect("ours"), hash);
        assert!(hash.is_of(b"correct horse battery"));
        assert!(!hash.is_of(b"correct horse batterx") && !hash.is_of(b""));
        assert!(!PasswordHash::of_nobody().is_of(b""));
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn a_hash_that_asks_for_too_much_or_too_little_work_is_refused() {
        let with = |costs: &str| format!("$argon2id$v=19${costs}${}${}", "A".repeat(22), "A".repeat(43));
        assert!(with("m=19456,t=2,p=1").parse::<PasswordHash>().is_ok());
        for costs in [
            "m=19455,t=2,p=1",
            "m=19456,t=1,p=1",
            "m=4294967295,t=2,p=1",
            "m=19456,t=1000,p=1",
            "m=19456,t=2,p=2",
            "m=19456,t=2",
            "m=19456,t=2,p=1,x=1",
            "m=+19456,t=2,p=1",
            "t=2,m=19456,p=1",
        ] {
            assert_eq!(with(costs).parse::<PasswordHash>(), Err(InvalidPasswordHash), "{costs}");
        }
        for text in ["", "password", "$argon2i$v=19$m=19456,t=2,p=1$AAAA$AAAA", "$2b$12$abc"] {
            assert_eq!(text.parse::<PasswordHash>(), Err(InvalidPasswordHash), "{text}");
        }
    }
}
