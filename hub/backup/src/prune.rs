//! Takes backups away: those that are no longer to be kept, and then what no other backup rests on. Needs no key, because
//! what a backup rests on stands in clear.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;

use crate::{
    busy::Busy,
    error::{BackupError, Damage, Why},
    manifest::{Listed, Repository, Stored, listed},
    object,
    place::Place,
    signer::HubKey,
    survey::{Inventory, list_of},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Which backups are kept. The newest always is; of several in one day, week or month the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest.
    pub last: usize,
    /// One of each of the last so many days that have one.
    pub daily: usize,
    /// One of each of the last so many weeks that have one; they begin on Monday, UTC.
    pub weekly: usize,
    /// One of each of the last so many months of 30 days that have one.
    pub monthly: usize,
}

impl Keep {
    /// Those of `backups` that are kept, of which the oldest comes first.
    pub fn choose(&self, backups: &[Listed]) -> BTreeSet<Listed> {
        let mut kept: BTreeSet<Listed> = backups.iter().rev().take(self.last.max(1)).copied().collect();
        let days = |listed: &Listed| listed.made_at_ms / DAY_MS;
        // The first of January 1970 was a Thursday.
        let weeks = |listed: &Listed| (days(listed) + 3) / 7;
        let months = |listed: &Listed| days(listed) / 30;
        keep_last_of(self.daily, days, backups, &mut kept);
        keep_last_of(self.weekly, weeks, backups, &mut kept);
        keep_last_of(self.monthly, months, backups, &mut kept);
        kept
    }
}

/// Keeps the last backup of each of the last `count` periods.
fn keep_last_of(
    count: usize,
    period: impl Fn(&Listed) -> u64,
    backups: &[Listed],
    kept: &mut BTreeSet<Listed>,
) {
    let mut seen = BTreeSet::new();
    for listed in backups.iter().rev() {
        if seen.len() < count && seen.insert(period(listed)) {
            kept.insert(*listed);
        }
    }
}

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The backups that are no more.
    pub removed: Vec<Listed>,
    /// Those that are.
    pub kept: Vec<Listed>,
    /// Pieces that nothing rests on any more.
    pub objects: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Takes away what is not to be kept. With `dry`, only says what it would do.
///
/// # Errors
/// The place; or a backup that is kept cannot be read, and then nothing is taken away.
pub fn prune(
    place: &dyn Place,
    keep: &Keep,
    now_ms: u64,
    force: bool,
    dry: bool,
) -> Result<Pruned, BackupError> {
    Repository::open(place)?;
    let _busy = if dry { None } else { Some(Busy::mark(place, "a pruning", now_ms, force)?) };
    let backups = listed(place)?;
    let kept = keep.choose(&backups);
    let needed = needed(place, &kept)?;
    let mut pruned = Pruned { kept: kept.iter().copied().collect(), ..Pruned::default() };
    // First the manifests: whatever happens after that, what is listed is whole.
    for listed in backups.into_iter().filter(|listed| !kept.contains(listed)) {
        if !dry {
            place.remove(&listed.name())?;
        }
        pruned.removed.push(listed);
    }
    if !dry {
        place.settle()?;
    }
    for (name, bytes) in Inventory::take(place)?.objects() {
        let is_piece =
            ["chunks/", "index/", "tenant-keys/", "keys/"].iter().any(|part| name.starts_with(part));
        if is_piece && !needed.contains(name) {
            pruned.objects += 1;
            pruned.bytes += bytes;
            if !dry {
                place.remove(name)?;
            }
        }
    }
    if !dry {
        place.settle()?;
    }
    Ok(pruned)
}

/// The names of all objects that these backups rest on.
fn needed(place: &dyn Place, kept: &BTreeSet<Listed>) -> Result<BTreeSet<String>, BackupError> {
    let (mut needed, mut pieces) = (BTreeSet::new(), BTreeSet::new());
    for listed in kept {
        let stored = Stored::read(place, *listed)?.map_err(BackupError::Damage)?;
        let unreadable = || unreadable(listed.name(), Why::Malformed);
        let head = object::Head::read(stored.file()).ok_or_else(unreadable)?;
        needed.insert(object::key_name(&head.key));
        pieces.extend(stored.pieces().ok_or_else(unreadable)?);
    }
    for piece in pieces {
        let list = list_of(place, &piece)?.ok_or_else(|| unreadable(piece.name(), Why::Missing))?;
        for reference in list.iter().chain([&piece]) {
            needed.insert(reference.name());
            needed.insert(object::key_name(&reference.key));
        }
    }
    Ok(needed)
}

fn unreadable(object: String, why: Why) -> BackupError {
    let lost = "the list of what a backup that is kept rests on; so nothing was taken away".to_owned();
    BackupError::Damage(Damage { object, why, lost })
}

/// Takes the wrapped keys of a tenant out of every backup: what is in them of the tenant can never be read again, whoever
/// has which key. Says how many pieces that were.
///
/// # Errors
/// The place.
pub fn forget(place: &dyn Place, hub: &HubKey, handle: &[u8; 16]) -> Result<u64, BackupError> {
    let repository = Repository::open(place)?;
    let (theirs, ours) = (repository.signer, hub.signer().to_string());
    if theirs != ours {
        return Err(BackupError::OtherHub { place: place.shown(), theirs, ours });
    }
    let mut names = Vec::new();
    let prefix = format!("tenant-keys/{}/", HEXLOWER.encode(&hub.tag(handle)));
    place.list(&prefix, &mut |name, _| names.push(name.to_owned()))?;
    for name in &names {
        place.remove(name)?;
    }
    place.settle()?;
    Ok(names.len() as u64)
}
