//! What can go wrong in the store, by who is at fault: the caller, the disk, or what is on it.

use std::{io, path::PathBuf, sync::Arc};

use muster_schemas::TenantId;

/// Why a commit was not stored. Nothing of it is on disk, with one exception that [`CommitError::Failed`] states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk is nearly full. Writing goes on by itself when there is space again.
    #[error(
        "keep {min} bytes of the disk free: {free} are left; free some space, writing then goes on by itself"
    )]
    DiskFull {
        /// Bytes free when the commit was refused.
        free: u64,
        /// Bytes that must stay free.
        min: u64,
    },
    /// A log record is not the next one of its log: an earlier one was refused. Rewind the log and append again.
    #[error("append record {found} to a log that waits for record {expected}")]
    OutOfOrder {
        /// The only number that the log takes now.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A commit that this one rests on was refused. Begin anew from what is stored.
    #[error("store what rests on a commit that was refused")]
    Superseded,
    /// A key, a value or the whole commit is over its bound.
    #[error("store {bytes} bytes where {max} are allowed")]
    TooLarge {
        /// Bytes that came.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// More commits wait than the channel holds: a sender had no credit.
    #[error("queue a commit behind {waiting_max} others; wait for credit")]
    Busy {
        /// The bound of the channel.
        waiting_max: usize,
    },
    /// Something in it could not be sealed, because the tenant's own key is withdrawn. Nothing is stored in clear instead.
    #[error(
        "seal what is to be stored: the tenant has withdrawn its key; it is stored again once the key is given back"
    )]
    Withdrawn,
    /// The store is closed.
    #[error("write to a store that is closed")]
    Closed,
    /// The disk or the engine failed. It is unknown whether this commit will be found after a restart. All later
    /// commits fail as well: an fsync is never repeated, because the kernel drops what the first one could not write.
    #[error("write to the disk: {0}; restart the process, it recovers from what is stored")]
    Failed(Arc<str>),
}

/// Why the store could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be used.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("open {}: another process has it open", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The engine found its files damaged and refuses to open them. Nothing was dropped.
    #[error("open {}: its files are damaged ({why}); restore a backup", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What the engine says.
        why: String,
    },
    /// The engine could not read or create something.
    #[error("{what}: {why}")]
    Engine {
        /// What was tried.
        what: &'static str,
        /// What the engine says.
        why: String,
    },
    /// Commits that were acknowledged are no longer there.
    #[error(
        "find the acknowledged commits {first} to {last}: the journal ends before them; restore a backup, or remove {} \
         to go on without them", witness.display()
    )]
    CommitsMissing {
        /// The first that is missing.
        first: u64,
        /// The last that is known to have been acknowledged.
        last: u64,
        /// The file that says so.
        witness: PathBuf,
    },
    /// The store was made with another root key.
    #[error("open the store with this root key: it was made with another one")]
    WrongRootKey,
    /// A wrapped key does not open or is not there although it must be.
    #[error("open the key of {owner}: its row is missing or damaged; restore the key backup")]
    KeyDamaged {
        /// Whose key.
        owner: String,
    },
    /// The tenant has keys already.
    #[error("create tenant {0}: it exists")]
    TenantExists(TenantId),
    /// The tenant's own key is withdrawn.
    #[error(
        "use the keys of tenant {tenant}: it has withdrawn its own key; they are used again once the tenant gives it back \
         with `muster key bring`"
    )]
    Withdrawn {
        /// Whose key.
        tenant: String,
    },
    /// There is nothing to withdraw: the hub made the tenant's key.
    #[error("withdraw the key of tenant {0}: it is the hub's own; bring one first with `muster key bring`")]
    NotOwnKey(TenantId),
    /// Another key than the one that was withdrawn.
    #[error("give tenant {0} its key back: this is another one than the one that was withdrawn")]
    OtherOwnKey(TenantId),
    /// The tenant's keys were destroyed.
    #[error(
        "use the keys of tenant {0}: they were destroyed, and what they sealed cannot be opened by anybody"
    )]
    Shredded(TenantId),
    /// A tenant has no keys.
    #[error("find the keys of tenant {0}")]
    TenantUnknown(TenantId),
    /// A tenant lends nothing of this kind to that other one.
    #[error("open what {lender} lends to {borrower}: it lends nothing of this kind, or has taken it back")]
    NotLent {
        /// Whose it is.
        lender: TenantId,
        /// Who would open it.
        borrower: TenantId,
    },
    /// What a tenant has it has already.
    #[error("lend the keys of tenant {tenant} to itself")]
    LentToItself {
        /// Whose they are.
        tenant: String,
    },
    /// A table name outside `a-z`, `0-9` and `-`, or too long.
    #[error("open table {0:?}: a name is 1 to 64 characters of a-z, 0-9 and '-'")]
    TableName(&'static str),
    /// The system has no random numbers for a new key.
    #[error("draw random numbers for a key")]
    Randomness,
    /// A log has lost records or holds one that cannot be read.
    #[error(transparent)]
    Log(#[from] LogDamage),
    /// A commit that had to be stored first was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl StoreError {
    /// An engine error while trying `what`.
    pub(super) fn engine(what: &'static str, error: &fjall::Error) -> Self {
        Self::Engine { what, why: error.to_string() }
    }
}

/// Why a sealed record does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// Shorter than a header and a tag.
    #[error("open a record of {0} bytes: too short to be sealed")]
    Truncated(usize),
    /// Sealed in a way that this program does not know.
    #[error("open a record sealed in version {0}, which this program does not know")]
    Version(u8),
    /// The data key of that epoch is not stored, or is damaged.
    #[error("open a record of epoch {epoch}: its key is missing or damaged")]
    Key {
        /// The epoch that the record names.
        epoch: u32,
    },
    /// The record was changed, or belongs to another tenant, purpose or position.
    #[error("open a record: it was changed, or belongs to another tenant, purpose or position")]
    Forged,
    /// The tenant's own key is withdrawn. Nothing is lost: it opens again once the tenant gives it back.
    #[error("open a record: the tenant has withdrawn its key; it opens again once the tenant gives it back")]
    Withdrawn,
    /// Somebody else's record, and the own key of whoever it was lent to is withdrawn.
    #[error(
        "open a record of another tenant: the one that it is lent to has withdrawn its own key; it opens again once that is \
         given back"
    )]
    BorrowerWithdrawn,
    /// The tenant that lent the key took it back.
    #[error("open a record of another tenant: it no longer lends the key to it")]
    Revoked,
    /// The key table could not be read.
    #[error("read a data key: {0}")]
    Unreadable(Arc<str>),
}

/// A place in a log that cannot be read, named so that nobody skips it unawares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read log record {sequence}: {why}")]
pub struct LogDamage {
    /// The first record concerned.
    pub sequence: u64,
    /// What is wrong with it.
    pub why: DamageKind,
}

impl LogDamage {
    /// The last record concerned: what to give to `LogReader::skip_past`.
    pub fn last_sequence(&self) -> u64 {
        match self.why {
            DamageKind::Missing { through } | DamageKind::Unsealable { through, .. } => through,
            _ => self.sequence,
        }
    }
}

/// What is wrong with a record of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// It and all up to `through` are not there.
    #[error("records up to {through} are missing")]
    Missing {
        /// The last that is missing.
        through: u64,
    },
    /// It is there but does not open, and with it those that are sealed with it.
    #[error("{why}, with all up to {through}")]
    Unsealable {
        /// The last of them.
        through: u64,
        /// Why not.
        why: Unsealable,
    },
    /// It is there although the log's mark says that the log ends before it: the mark was lost.
    #[error("it lies past the durable mark of the log")]
    PastMark,
    /// It cannot be read now, and may be later: the engine does not, or the tenant's key is withdrawn.
    #[error("it cannot be read now: {0}")]
    Unreadable(Arc<str>),
}
