//! Sees to it that rows that were removed are no longer in any file: an engine that only appends keeps them until it has
//! rewritten what they stood in. Then looks for their bytes, and says where they are if they are.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{
    ENGINE_DIRECTORY, Store, Write,
    custody::{self, GONE, GUARD, SECRET, row_key},
    error::StoreError,
    grants,
    keys::KEY_BYTES,
    limits::{FILLER_BYTES, FILLER_WRITES, FLUSH_PAUSE, FLUSHES_MAX, RELEASES_MAX, SEARCH_BUFFER_BYTES},
    open_table,
    ring::Owner,
    table::{Role, Table},
};

/// The table whose one row makes a journal long enough to be replaced.
const FILLER_TABLE: &str = "store.filler";
/// Bytes by which a removed row is looked for: as many as a nonce has.
pub(super) const NEEDLE_BYTES: usize = 12;
/// The first bytes of a wrapped key.
pub(super) type Needle = [u8; NEEDLE_BYTES];

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purged {
    /// Files that were read from beginning to end.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were removed because they held what was to be purged, and nothing rewrites them.
    pub removed: Vec<PathBuf>,
    /// Files in which something is still to be found.
    pub found_in: Vec<PathBuf>,
}

/// Where a wrapped key begins, by which it is looked for; none in a row that holds none.
pub(super) fn needle_of(key: &[u8], value: &[u8]) -> Option<Needle> {
    let wrapped = match *key.first()? {
        b'd' | b'l' => value.get(KEY_BYTES..)?,
        SECRET => custody::wrapped_of(value),
        _ => value,
    };
    wrapped.first_chunk().copied()
}

impl Store {
    /// What is looked for of the keys of one tenant.
    pub(super) fn needles_of(&self, owner: &Owner) -> Result<BTreeSet<Needle>, StoreError> {
        let table = self.keys_table();
        let mut keys: Vec<Vec<u8>> = owner.data_key_rows(None)?.into_keys().collect();
        keys.extend(grants::rows_of(owner)?);
        keys.extend([row_key(SECRET, &owner.handle), row_key(GUARD, &owner.handle)]);
        let mut needles = BTreeSet::new();
        for key in keys {
            needles.extend(table.get(&key)?.and_then(|value| needle_of(&key, &value)));
        }
        Ok(needles)
    }

    /// What is looked for of all that the root key wraps.
    pub(super) fn needles_of_root(&self) -> Result<BTreeSet<Needle>, StoreError> {
        let mut needles = BTreeSet::new();
        for kind in [SECRET, GUARD, GONE] {
            for row in self.keys_table().prefix(&[kind]) {
                let (key, value) = row?;
                needles.extend(needle_of(&key, &value));
            }
        }
        Ok(needles)
    }

    /// Leaves nothing in the engine's files of wrapped keys that were replaced or removed: whoever has what wrapped them
    /// could open them there. What was done has been done, so that a failure is told in the log and to nobody else.
    pub(super) fn leave_nothing_of(&self, what: &str, before: &BTreeSet<Needle>, after: &BTreeSet<Needle>) {
        let gone: Vec<Needle> = before.difference(after).copied().collect();
        if gone.is_empty() {
            return;
        }
        match self.purge(&gone) {
            Ok(Purged { found_in, .. }) if found_in.is_empty() => {}
            Ok(Purged { found_in, .. }) => {
                warn!(
                    what,
                    ?found_in,
                    "old wrapped keys are still in these files; they go when the engine rewrites them"
                );
            }
            Err(error) => warn!(what, %error, "failed to remove old wrapped keys from the engine's files"),
        }
    }

    /// Rewrites what held removed rows of the key table, and looks for `needles` in all files that could. Blocks, and
    /// writes about 80 MB.
    ///
    /// # Errors
    /// A commit was refused, such as for want of space, or a file cannot be read.
    pub(super) fn purge(&self, needles: &[Needle]) -> Result<Purged, StoreError> {
        let needles: HashSet<Needle> = needles.iter().copied().collect();
        let mut purged = self.look_for(&needles, Vec::new())?;
        if purged.found_in.is_empty() {
            return Ok(purged);
        }
        let filler = self.filler()?;
        self.rewrite(&filler)?;
        for again in 0..RELEASES_MAX {
            if again > 0 {
                pause();
            }
            self.release(&filler)?;
            purged = self.look_for(&needles, purged.removed)?;
            if purged.found_in.is_empty() {
                break;
            }
        }
        Ok(purged)
    }

    fn look_for(&self, needles: &HashSet<Needle>, removed: Vec<PathBuf>) -> Result<Purged, StoreError> {
        let mut purged = Purged { removed, ..Purged::default() };
        let directory = &self.0.shared.directory;
        for path in self.key_files()? {
            let found = match search(&path, needles) {
                Ok((found, bytes)) => {
                    purged.files += 1;
                    purged.bytes += bytes;
                    found
                }
                // The engine has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(source) => return Err(StoreError::Io { what: "search", path, source }),
            };
            // A batch that was cut off a journal is kept for people, and no longer than this.
            if found && path.parent() == Some(directory) && fs::remove_file(&path).is_ok() {
                purged.removed.push(path);
            } else if found {
                purged.found_in.push(path);
            }
        }
        Ok(purged)
    }

    fn filler(&self) -> Result<Table, StoreError> {
        let db = &self.0.shared.db;
        Ok(Table::new(FILLER_TABLE, Role::Plain, open_table(db, FILLER_TABLE)?, db.clone()))
    }

    fn fill(&self, filler: &Table, bytes: usize) -> Result<(), StoreError> {
        let (table, key) = (filler.clone(), b"filler".to_vec());
        Ok(self.commit_blocking(vec![Write::Put { table, key, value: vec![0; bytes] }])?)
    }

    fn rewrite(&self, filler: &Table) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        // The engine replaces a journal when it has 64 MB and a table is flushed.
        for _ in 0..FILLER_WRITES {
            self.fill(filler, FILLER_BYTES)?;
        }
        // It stays, as one byte: the engine keeps the journal of a table whose last change was a removal.
        self.fill(filler, 1)?;
        // The first flush replaces the journal, and the old one goes once all tables were flushed after that: which the
        // engine finds out a moment later.
        for _ in 0..FLUSHES_MAX {
            for name in shared.db.list_keyspace_names() {
                let table = open_table(&shared.db, &name)?;
                table.rotate_memtable_and_wait().map_err(|error| rewriting(&error))?;
            }
            if shared.db.journal_count() == 1 {
                break;
            }
            pause();
        }
        filler.keyspace.major_compact().map_err(|error| rewriting(&error))?;
        shared.keys.major_compact().map_err(|error| rewriting(&error))
    }

    /// Has the engine remove the files that a compaction has replaced. It keeps them for whoever began to read before that,
    /// and looks whether anybody does only when, after a further commit, some table is flushed.
    fn release(&self, filler: &Table) -> Result<(), StoreError> {
        self.fill(filler, 1)?;
        filler.keyspace.rotate_memtable_and_wait().map_err(|error| rewriting(&error))
    }

    /// Every file in which rows of the key table can be: the journals, its own, and what lies beside the engine's.
    fn key_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = &self.0.shared.directory;
        let mut files = Vec::new();
        let read = |path: &Path, deep, files: &mut Vec<PathBuf>| {
            list(path, deep, files).map_err(|source| StoreError::Io {
                what: "list",
                path: path.to_owned(),
                source,
            })
        };
        read(directory, false, &mut files)?;
        read(&directory.join(ENGINE_DIRECTORY), false, &mut files)?;
        read(self.0.shared.keys.path(), true, &mut files)?;
        Ok(files)
    }
}

fn rewriting(error: &fjall::Error) -> StoreError {
    StoreError::engine("rewrite the key table", error)
}

#[expect(clippy::disallowed_methods, reason = "the engine tells nobody when it has removed a file")]
fn pause() {
    std::thread::sleep(FLUSH_PAUSE);
}

fn list(directory: &Path, deep: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_file() => files.push(entry.path()),
            kind if kind.is_dir() && deep => list(&entry.path(), deep, files)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether one of the needles is in the file, and how many bytes it has.
pub(super) fn search(path: &Path, needles: &HashSet<Needle>) -> io::Result<(bool, u64)> {
    let mut file = File::open(path)?;
    let mut buffer = Vec::with_capacity(SEARCH_BUFFER_BYTES + NEEDLE_BYTES);
    let mut read = 0;
    loop {
        let came = file.by_ref().take(SEARCH_BUFFER_BYTES as u64).read_to_end(&mut buffer)?;
        read += came as u64;
        if came == 0 {
            return Ok((false, read));
        }
        if holds(&buffer, needles) {
            return Ok((true, read));
        }
        // What a needle may have begun in.
        let tail = buffer.len().saturating_sub(NEEDLE_BYTES - 1);
        buffer.drain(..tail);
    }
}

/// Whether one of the needles is in there. The engine makes journals of zeros beforehand: those are passed over at once.
fn holds(buffer: &[u8], needles: &HashSet<Needle>) -> bool {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let firsts: HashSet<u8> = needles.iter().filter_map(|needle| needle.first().copied()).collect();
    let begins: Vec<bool> = (0..=u8::MAX).map(|byte| firsts.contains(&byte)).collect();
    let mut rest = buffer;
    while rest.len() >= NEEDLE_BYTES {
        if rest.starts_with(&ZEROS) && !needles.contains(&[0; NEEDLE_BYTES]) {
            rest = rest.get(ZEROS.len() + 1 - NEEDLE_BYTES..).unwrap_or_default();
            continue;
        }
        let part = rest.get(..ZEROS.len() + NEEDLE_BYTES - 1).unwrap_or(rest);
        let found = part.windows(NEEDLE_BYTES).any(|window| {
            window.first().is_some_and(|first| begins.get(usize::from(*first)) == Some(&true))
                && <&[u8; NEEDLE_BYTES]>::try_from(window).is_ok_and(|window| needles.contains(window))
        });
        if found {
            return true;
        }
        rest = rest.get(part.len() + 1 - NEEDLE_BYTES..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_wherever_it_lies_and_nothing_else_is() {
        let needle = [0, 0, 7, 1, 2, 3, 4, 5, 6, 0, 9, 0];
        let needles = HashSet::from([needle, [8; NEEDLE_BYTES]]);
        let mut buffer = vec![0; 20_000];
        assert!(!holds(&buffer, &needles) && !holds(&[], &needles));
        for at in (0..buffer.len() - NEEDLE_BYTES).step_by(61).chain([4_085, 4_096, 8_191, 19_988]) {
            buffer[at..at + NEEDLE_BYTES].copy_from_slice(&needle);
            assert!(holds(&buffer, &needles), "at {at}");
            buffer[at..at + NEEDLE_BYTES].fill(0);
        }
    }
}
