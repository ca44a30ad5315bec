//! Power cuts, played: what the hub had not synced when it was killed is lost, in part or as a whole.
//!
//! SIGKILL alone leaves the kernel's memory of files as it was. So the hub runs with `unsynced.c` loaded, which writes
//! down each change of a file before it is made, with the bytes that it replaces, and when each sync begins and ends. At
//! the cut every change that no finished sync covers is taken back, and those that chance keeps are made again: none, all
//! before a moment, or any, whole or page by page. Changes stay unsynced over kills of the process, as they do in life.
//!
//! A new, removed or renamed name is on disk once its folder was synced; until then chance keeps some from the first on,
//! for file systems keep the order of such changes within a folder. New folders and renames that do not go through libc
//! are taken to be on disk at once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{chance::Chance, limits::PAGE_BYTES};
use crate::hub::Hub;

const SOURCE: &str = include_str!("unsynced.c");
/// Kind and length of the path, then file, offset, old size, and the lengths of old and new bytes.
const HEAD_BYTES: usize = 48;

/// Plays power cuts on one folder.
#[derive(Debug, Clone)]
pub struct Cuts {
    state: PathBuf,
    library: PathBuf,
    records: PathBuf,
    graves: PathBuf,
    starts: u32,
    /// Syncs are taken for nothing.
    disk_lies: bool,
    /// Changes that were not synced at a cut, and those of them that were lost in part or as a whole.
    pub unsynced: (u64, u64),
}

/// A change, or the beginning or end of a sync.
struct Change {
    kind: u8,
    path: PathBuf,
    /// The inode, for changes of content.
    file: u64,
    /// For changes of content where, or the new size; for syncs which; for names the grave of what was there.
    offset: u64,
    old_size: u64,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What a cut leaves of what was not synced.
#[derive(Clone, Copy)]
enum Leaves {
    Nothing,
    /// What came before a change, and of that one some pages.
    Before(usize),
    /// Any changes, whole.
    Some,
    /// Any pages.
    Pages,
}

impl Cuts {
    /// Builds what is loaded into the hub that keeps its state in `state`. What it writes goes to `folder`.
    ///
    /// # Errors
    /// There is no C compiler, or the folder cannot be written.
    pub fn prepare(state: &Path, folder: &Path, disk_lies: bool) -> io::Result<Self> {
        let (records, graves) = (folder.join("records"), folder.join("graves"));
        fs::create_dir_all(&records)?;
        fs::create_dir_all(&graves)?;
        let (source, library) = (folder.join("unsynced.c"), folder.join("unsynced.so"));
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let compiled = compiler.output()?;
        if !compiled.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr).into_owned()));
        }
        let state = fs::canonicalize(state)?;
        Ok(Self { state, library, records, graves, starts: 0, disk_lies, unsynced: (0, 0) })
    }

    /// Has the next start of the hub written down.
    pub fn watch(&mut self, hub: &mut Hub) {
        self.starts += 1;
        let records = self.records.join(format!("{:08}", self.starts));
        hub.set("LD_PRELOAD", &self.library.to_string_lossy());
        hub.set("MUSTER_CUT_STATE", &self.state.to_string_lossy());
        hub.set("MUSTER_CUT_GRAVES", &self.graves.to_string_lossy());
        hub.set("MUSTER_CUT_RECORDS", &records.to_string_lossy());
    }

    /// Cuts the power: the hub has been killed. Afterwards all that is left is on disk.
    ///
    /// # Errors
    /// A file could not be brought to what is left of it.
    pub fn cut(&mut self, chance: &mut Chance) -> io::Result<()> {
        let changes = self.changes()?;
        let finished: HashSet<u64> =
            changes.iter().filter(|change| change.kind == b'E').map(|change| change.offset).collect();
        let (mut files, mut folders) = (HashMap::new(), HashMap::new());
        for (at, change) in changes.iter().enumerate() {
            if !self.disk_lies && change.kind == b'B' && finished.contains(&change.offset) {
                files.insert(change.file, at);
                folders.insert(change.path.as_path(), at);
            }
        }
        let is_synced = |at: usize, change: &Change| match change.kind {
            b'W' | b'T' => files.get(&change.file).is_some_and(|sync| *sync > at),
            b'C' | b'U' | b'R' => {
                change.path.parent().and_then(|folder| folders.get(folder)).is_some_and(|sync| *sync > at)
            }
            _ => true,
        };
        let unsynced: Vec<(usize, &Change)> =
            changes.iter().enumerate().filter(|(at, change)| !is_synced(*at, change)).collect();
        let leaves = match (chance.below(4), unsynced.is_empty()) {
            (0, _) | (_, true) => Leaves::Nothing,
            (1, _) => {
                let moment = chance.below(unsynced.len() as u64) as usize;
                Leaves::Before(unsynced.get(moment).map_or(0, |(at, _)| *at))
            }
            (2, _) => Leaves::Some,
            _ => Leaves::Pages,
        };
        self.unsynced.0 += unsynced.len() as u64;
        self.cut_contents(&unsynced, leaves, chance)?;
        self.cut_names(&unsynced, leaves, chance)?;
        for folder in [&self.records, &self.graves] {
            fs::remove_dir_all(folder)?;
            fs::create_dir(folder)?;
        }
        Ok(())
    }

    fn cut_contents(
        &mut self,
        unsynced: &[(usize, &Change)],
        leaves: Leaves,
        chance: &mut Chance,
    ) -> io::Result<()> {
        let mut paths = HashMap::new();
        for folder in [&self.state, &self.graves] {
            inodes(folder, &mut paths)?;
        }
        let mut by_file: BTreeMap<u64, Vec<(usize, &Change)>> = BTreeMap::new();
        for (at, change) in unsynced.iter().filter(|(_, change)| matches!(change.kind, b'W' | b'T')) {
            by_file.entry(change.file).or_default().push((*at, change));
        }
        for (inode, changes) in by_file {
            let Some(path) = paths.get(&inode) else { continue };
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            for (_, change) in changes.iter().rev() {
                change.take_back(&file)?;
            }
            for (at, change) in changes {
                self.unsynced.1 += u64::from(!change.make_again(&file, at, leaves, chance)?);
            }
        }
        Ok(())
    }

    fn cut_names(
        &mut self,
        unsynced: &[(usize, &Change)],
        leaves: Leaves,
        chance: &mut Chance,
    ) -> io::Result<()> {
        let names: Vec<_> =
            unsynced.iter().filter(|(_, change)| matches!(change.kind, b'C' | b'U' | b'R')).collect();
        let kept = match leaves {
            Leaves::Nothing => 0,
            Leaves::Before(moment) => names.iter().filter(|(at, _)| *at < moment).count(),
            Leaves::Some | Leaves::Pages => chance.below(names.len() as u64 + 1) as usize,
        };
        for (_, change) in names.into_iter().skip(kept).rev() {
            self.unsynced.1 += 1;
            let grave = self.graves.join(change.offset.to_string());
            match change.kind {
                b'C' if change.path.exists() => fs::remove_file(&change.path)?,
                b'U' if !change.path.exists() => fs::hard_link(grave, &change.path)?,
                b'R' if change.path.exists() => {
                    fs::rename(&change.path, PathBuf::from(String::from_utf8_lossy(&change.new).as_ref()))?;
                    if change.offset > 0 {
                        fs::hard_link(grave, &change.path)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All that was written down since the last cut, in its order. A record that is not whole was not acted upon.
    fn changes(&self) -> io::Result<Vec<Change>> {
        let mut names: Vec<_> =
            fs::read_dir(&self.records)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        names.sort_unstable();
        let mut changes = Vec::new();
        for name in names {
            let bytes = fs::read(name)?;
            let mut rest = bytes.as_slice();
            while let Some(change) = Change::read(&mut rest) {
                changes.push(change);
            }
        }
        Ok(changes)
    }
}

impl Change {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let (head, mut bytes) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (words, _) = head.as_chunks::<8>();
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
        let mut part = |count: u64| -> Option<Vec<u8>> {
            let (part, others) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
            bytes = others;
            Some(part.to_vec())
        };
        let (path, old, new) = (part(word(0) >> 32)?, part(word(4))?, part(word(5))?);
        *rest = bytes;
        Some(Self {
            kind: (word(0) & 0xff) as u8,
            path: PathBuf::from(String::from_utf8_lossy(&path).as_ref()),
            file: word(1),
            offset: word(2),
            old_size: word(3),
            old,
            new,
        })
    }

    /// Makes the file as it was before, given that it is as it was after.
    fn take_back(&self, file: &File) -> io::Result<()> {
        file.set_len(self.old_size)?;
        let mut old = self.old.clone();
        if self.kind == b'W' {
            // Zeros at the end were not written down.
            let overlap = self.old_size.saturating_sub(self.offset).min(self.new.len() as u64);
            old.resize(overlap as usize, 0);
        }
        file.write_all_at(&old, self.offset)
    }

    /// Makes what is left of the change; says whether that is all of it.
    fn make_again(&self, file: &File, at: usize, leaves: Leaves, chance: &mut Chance) -> io::Result<bool> {
        let by_page = match leaves {
            Leaves::Nothing => return Ok(false),
            Leaves::Before(moment) if at > moment => return Ok(false),
            Leaves::Some if chance.once_in(2) => return Ok(false),
            Leaves::Before(moment) => at == moment,
            Leaves::Some => false,
            Leaves::Pages => true,
        };
        if self.kind == b'T' {
            file.set_len(self.offset)?;
            return Ok(true);
        }
        let (mut rest, mut offset, mut is_whole) = (self.new.as_slice(), self.offset, true);
        while !rest.is_empty() {
            let in_page = PAGE_BYTES - offset % PAGE_BYTES;
            let (page, others) = rest.split_at(rest.len().min(in_page as usize));
            if by_page && chance.once_in(2) {
                is_whole = false;
            } else {
                file.write_all_at(page, offset)?;
            }
            (rest, offset) = (others, offset + page.len() as u64);
        }
        Ok(is_whole)
    }
}

/// Where each inode below a folder is.
fn inodes(folder: &Path, paths: &mut HashMap<u64, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            inodes(&entry.path(), paths)?;
        } else {
            paths.insert(found.ino(), entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be left of a file that held `old` once `dd` has written `new` and the power was cut.
    fn left(dd: &str) -> HashSet<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path().join("state"), folder.path().join("state/file"));
        fs::create_dir(&state).unwrap();
        let cuts = Cuts::prepare(&state, folder.path(), false).unwrap();
        let after = |seed| {
            fs::write(&file, "old").unwrap();
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("printf new | dd {dd} of={}/file", cuts.state.display()));
            shell.env("LD_PRELOAD", &cuts.library).env("MUSTER_CUT_STATE", &cuts.state);
            shell.env("MUSTER_CUT_GRAVES", &cuts.graves).env("MUSTER_CUT_RECORDS", cuts.records.join("1"));
            assert!(shell.output().unwrap().status.success());
            assert_eq!(fs::read(&file).unwrap(), b"new");
            cuts.clone().cut(&mut Chance::new(seed, 0)).unwrap();
            fs::read(&file).unwrap()
        };
        (0..12).map(after).collect()
    }

    #[test]
    fn what_was_synced_is_left_and_what_was_not_is_left_to_chance() {
        let unsynced = left("");
        assert!(unsynced.contains(b"old".as_slice()) && unsynced.contains(b"new".as_slice()), "{unsynced:?}");
        assert_eq!(left("conv=fdatasync"), HashSet::from([b"new".to_vec()]));
    }

    #[test]
    fn a_record_that_is_not_whole_was_not_acted_upon() {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.splice(..8, [b'W', 0, 0, 0, 1, 0, 0, 0]);
        bytes.push(b'/');
        assert!(Change::read(&mut &bytes[..HEAD_BYTES]).is_none());
        assert_eq!(Change::read(&mut bytes.as_slice()).map(|change| change.kind), Some(b'W'));
    }
}
