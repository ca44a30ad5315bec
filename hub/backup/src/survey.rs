//! What can be said of a repository without a key: whether all that its backups rest on is there and as long as it was,
//! whether the hub signed them, and whether each follows on the one before.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{BackupError, Why},
    limits::{OBJECT_BYTES_MAX, PIECES_MAX},
    manifest::{Listed, Repository, Stored, listed},
    object::{self, KeyId, Kind, Reference},
    place::Place,
    reader::Found,
    signer::Signer,
};

/// What was found out without a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Each backup, the oldest first, with what is wrong with it.
    pub backups: Vec<(Listed, Found)>,
    /// Backups that are not signed by the hub, or do not follow on the one before: the reason in words.
    pub forged: Vec<String>,
}

impl Survey {
    /// Whether nothing was found.
    pub fn is_whole(&self) -> bool {
        self.forged.is_empty() && self.backups.iter().all(|(_, found)| found.is_whole())
    }
}

/// Looks at every backup, or at one.
///
/// # Errors
/// The place cannot be read.
pub fn survey(place: &dyn Place, only: Option<u64>, signer: &Signer) -> Result<Survey, BackupError> {
    Repository::open(place)?;
    let there = Inventory::take(place)?;
    let mut survey = Survey::default();
    let mut before: Option<Stored> = None;
    for listed in listed(place)? {
        let is_asked_for = only.is_none_or(|number| number == listed.number);
        let mut found = Found::default();
        match Stored::read(place, listed)? {
            Err(damage) => {
                before = None;
                found.damages.push(damage);
            }
            Ok(stored) => {
                if let Err(error) = stored.check(signer).and_then(|()| follows(&stored, before.as_ref()))
                    && is_asked_for
                {
                    survey.forged.push(error.to_string());
                }
                if is_asked_for {
                    there.compare(place, &stored, &mut found)?;
                }
                before = Some(stored);
            }
        }
        if is_asked_for {
            survey.backups.push((listed, found));
        }
    }
    match only.filter(|_| survey.backups.is_empty()) {
        Some(number) => Err(BackupError::NoBackup(number)),
        None => Ok(survey),
    }
}

/// Whether a manifest names the one before it, if that is still there.
pub(crate) fn follows(stored: &Stored, before: Option<&Stored>) -> Result<(), BackupError> {
    let (Some(before), Some((number, hash))) = (before, stored.previous) else { return Ok(()) };
    match before.listed.number == number && before.sha256() != hash {
        true => Err(BackupError::OutOfOrder { number: stored.listed.number, previous: number }),
        false => Ok(()),
    }
}

/// The objects of a repository, by name.
pub(crate) struct Inventory {
    objects: BTreeMap<String, u64>,
    keys: BTreeSet<KeyId>,
}

impl Inventory {
    pub fn take(place: &dyn Place) -> Result<Self, BackupError> {
        let (mut objects, mut keys) = (BTreeMap::new(), BTreeSet::new());
        place.list("", &mut |name, bytes| {
            keys.extend(object::key_of_name(name));
            if objects.len() <= 2 * PIECES_MAX {
                objects.insert(name.to_owned(), bytes);
            }
        })?;
        match objects.len() > 2 * PIECES_MAX {
            true => Err(BackupError::Full(2 * PIECES_MAX)),
            false => Ok(Self { objects, keys }),
        }
    }

    /// The names of all objects, with their sizes.
    pub fn objects(&self) -> &BTreeMap<String, u64> {
        &self.objects
    }

    fn compare(&self, place: &dyn Place, stored: &Stored, found: &mut Found) -> Result<(), BackupError> {
        let Some(pieces) = stored.pieces() else {
            let lost = format!("backup {}", stored.listed.number);
            found.damage(stored.listed.name(), Why::Malformed, lost);
            return Ok(());
        };
        for (number, piece) in pieces.iter().enumerate() {
            found.pieces += 1;
            let lost = format!("the rows that piece {} of {} of the index lists", number + 1, pieces.len());
            if let Err(why) = self.look(piece) {
                found.damage(piece.name(), why, lost);
                continue;
            }
            match list_of(place, piece)? {
                Some(references) => {
                    for reference in references {
                        found.pieces += 1;
                        found.bytes += u64::from(reference.bytes);
                        if let Err(why) = self.look(&reference) {
                            let lost = "rows that only a recipient's key can name".to_owned();
                            found.damage(reference.name(), why, lost);
                        }
                    }
                }
                None => found.damage(piece.name(), Why::Malformed, lost),
            }
        }
        Ok(())
    }

    /// Whether this object is there, as long as it was, and its key with it.
    fn look(&self, reference: &Reference) -> Result<(), Why> {
        let found = *self.objects.get(&reference.name()).ok_or(Why::Missing)?;
        let written = u64::from(reference.bytes);
        if found != written {
            return Err(Why::Size { found, written });
        }
        match self.keys.contains(&reference.key) {
            true => Ok(()),
            false => Err(Why::KeyMissing(object::key_name(&reference.key))),
        }
    }
}

/// What a piece of the index lists in clear; none if it is not there or makes no sense.
pub(crate) fn list_of(place: &dyn Place, piece: &Reference) -> Result<Option<Vec<Reference>>, BackupError> {
    let object = place.get(&piece.name(), OBJECT_BYTES_MAX)?;
    Ok(object.and_then(|object| object::references(Kind::Index, &object)))
}
