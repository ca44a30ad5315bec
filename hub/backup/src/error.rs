//! Why a backup was not made, found whole or restored: the place, the key, or what lies there.

use std::{io, path::PathBuf};

/// Why a place for backups did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The file system said no.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The object store could not be reached, or answered in no way that helps.
    #[error("{what} {name} at {store}: {why}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// Which object.
        name: String,
        /// Which store.
        store: String,
        /// Why.
        why: String,
    },
    /// An address that is none.
    #[error("use the address {address:?}: {why}")]
    Address {
        /// What came.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Larger than anything that belongs there.
    #[error("read {name}: it is larger than {bytes_max} bytes, so it is not what it should be")]
    TooLarge {
        /// Which object.
        name: String,
        /// The bound.
        bytes_max: usize,
    },
}

/// Why a backup was not made, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is nothing of ours at that place.
    #[error("find backups in {0}: there are none; check the address")]
    NoRepository(String),
    /// Something else lies there.
    #[error("use {place} for backups: {why}")]
    NotARepository {
        /// Where.
        place: String,
        /// Why not.
        why: String,
    },
    /// Nobody could ever open it.
    #[error("make a backup for nobody: name at least one recipient (muster backup keygen makes one)")]
    NoRecipient,
    /// A content key could not be sealed for the recipients.
    #[error("seal the key of the backup for its recipients")]
    Seal(#[source] muster_seal::SealFailure),
    /// The key is not one of those that the backup was made for.
    #[error("open the backup with the key of recipient {have}: it was made for {made_for}; use one of these")]
    WrongKey {
        /// Whose key was given.
        have: String,
        /// Whose would do.
        made_for: String,
    },
    /// A backup that is not there.
    #[error("find backup {0}: there is none of that number; see: muster backup list")]
    NoBackup(u64),
    /// The newest backup is not the one that was expected.
    #[error(
        "take {found} for the newest backup: {expected} was made later; somebody took it away, or put an older state of \
         {place} in its place"
    )]
    Older {
        /// Where.
        place: String,
        /// The newest that there is.
        found: String,
        /// The one that there was.
        expected: String,
    },
    /// The backups at this place are of another hub.
    #[error(
        "use {place} for backups: those that are there were signed by {theirs}, and this hub signs as {ours}"
    )]
    OtherHub {
        /// Where.
        place: String,
        /// Who signed.
        theirs: String,
        /// Who we are.
        ours: String,
    },
    /// A manifest was not signed by the hub that it should be from.
    #[error(
        "trust backup {number}: its manifest is not signed by the hub {signer}; it was changed or forged"
    )]
    Forged {
        /// Which.
        number: u64,
        /// Who should have signed.
        signer: String,
    },
    /// A manifest does not follow on the one before it.
    #[error(
        "trust backup {number}: it does not follow on backup {previous} as that is now; one of them was replaced"
    )]
    OutOfOrder {
        /// Which.
        number: u64,
        /// The one before.
        previous: u64,
    },
    /// The backup was made before the time that the operator named.
    #[error(
        "take backup {number}: it was made at {made_at_ms} ms, and you asked for nothing before {not_before_ms} ms"
    )]
    TooOld {
        /// Which.
        number: u64,
        /// When it was made.
        made_at_ms: u64,
        /// What was asked for.
        not_before_ms: u64,
    },
    /// Something is missing or was changed.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A later muster made it.
    #[error(
        "read {name}: it has format {version}, and this muster knows {known}; use the muster that wrote it"
    )]
    Version {
        /// Which object.
        name: String,
        /// What it says.
        version: u64,
        /// What we know.
        known: u64,
    },
    /// Somebody else works on the repository.
    #[error(
        "work on {place}: {what} has been under way there since {since_ms} ms; if it is dead, run again with --force"
    )]
    Busy {
        /// Where.
        place: String,
        /// What the other does.
        what: String,
        /// Since when.
        since_ms: u64,
    },
    /// There are more pieces than one repository may have.
    #[error("keep more than {0} pieces in one repository; begin another one")]
    Full(usize),
    /// What is backed up could not be read.
    #[error("read what is to be backed up: {0}")]
    Source(String),
    /// What was restored could not be put in its place.
    #[error("put what was restored in its place: {0}")]
    Sink(String),
    /// The tenant is not in that backup.
    #[error("restore tenant {tenant} from backup {number}: {why}")]
    Tenant {
        /// Whose.
        tenant: String,
        /// From which.
        number: u64,
        /// Why not.
        why: &'static str,
    },
    /// The cryptographic library refused; never seen in practice.
    #[error("use the cryptographic library: {0}")]
    Library(&'static str),
}

/// A piece of a backup that is not as it was written, and what is lost with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {object}: {why}; lost with it: {lost}")]
pub struct Damage {
    /// The name of the object.
    pub object: String,
    /// What is wrong with it.
    pub why: Why,
    /// What it held, as far as that is known.
    pub lost: String,
}

/// What is wrong with a piece.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is there, shorter or longer than it was.
    #[error("it has {found} bytes and had {written} when it was written")]
    Size {
        /// What it has.
        found: u64,
        /// What it had.
        written: u64,
    },
    /// Its tag does not hold.
    #[error("it was changed")]
    Changed,
    /// The key that it was sealed with is not there.
    #[error("the key {0} that it was sealed with is missing")]
    KeyMissing(String),
    /// It opens, and what is in it makes no sense.
    #[error("what is in it makes no sense")]
    Malformed,
}
