//! A file system in memory that remembers every call, and can say what a medium may hold if power went after any of
//! them: what was not synced is there, lost or torn, and names that were not synced are old or new, in any order.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::Fs;

/// How many ways of what a power cut leaves are looked at exhaustively, for one point in time. Beyond it: all, none,
/// each call alone, each call missing, and each front of the calls.
const EXHAUSTIVE_MAX: usize = 512;

/// What a medium holds: names, and files without their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Medium {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Call {
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        length: u64,
    },
    Make {
        path: PathBuf,
        file: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: usize,
    },
    Unlink {
        path: PathBuf,
    },
    Sync {
        file: usize,
    },
    SyncFolder {
        folder: PathBuf,
    },
    /// Something that the world has seen.
    Seen(&'static str),
}

/// What became of a call that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Whole,
    /// The front of what was written.
    Front,
    /// Its end, and zeros in front of it if nothing was there.
    End,
    /// The file is as long as it should be, and what was written reads as zeros.
    Zeros,
    /// The front, and then bytes that nobody wrote.
    Garbage,
}

#[derive(Debug, Default)]
struct State {
    before: Medium,
    now: Medium,
    calls: Vec<Call>,
    /// After so many more calls that change something, every call fails: the process is gone.
    dies_after: Option<usize>,
    /// Which sync does nothing, counted from 0.
    left_out: Option<usize>,
    syncs: usize,
    space: Option<u64>,
}

/// The file system. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Rc<RefCell<State>>);

impl Recorder {
    /// One that holds this, all of it synced.
    pub(crate) fn holding(medium: Medium) -> Self {
        Self(Rc::new(RefCell::new(State { before: medium.clone(), now: medium, ..State::default() })))
    }

    /// What it holds now, as a process sees it.
    pub(crate) fn now(&self) -> Medium {
        self.0.borrow().now.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.borrow().calls.len()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.0.borrow().syncs
    }

    /// The process dies after so many calls more; `None` starts another one.
    pub(crate) fn die_after(&self, calls: Option<usize>) {
        self.0.borrow_mut().dies_after = calls;
    }

    /// A bug: that sync does nothing.
    pub(crate) fn leave_out_sync(&self, number: usize) {
        self.0.borrow_mut().left_out = Some(number);
    }

    pub(crate) fn with_space(&self, space: u64) {
        self.0.borrow_mut().space = Some(space);
    }

    /// Writes down that the world has seen something.
    pub(crate) fn seen(&self, what: &'static str) {
        self.0.borrow_mut().calls.push(Call::Seen(what));
    }

    /// How often the world had seen that when power went after so many calls.
    pub(crate) fn count_seen(&self, what: &str, calls: usize) -> usize {
        let state = self.0.borrow();
        let calls = state.calls.iter().take(calls);
        calls.filter(|call| matches!(call, Call::Seen(seen) if *seen == what)).count()
    }

    /// What the medium may hold if power goes after so many calls.
    pub(crate) fn after_power_cut(&self, calls: usize) -> BTreeSet<Medium> {
        let state = self.0.borrow();
        let calls = state.calls.get(..calls).unwrap_or(&state.calls);
        let pending: Vec<usize> = (0..calls.len()).filter(|at| is_pending(calls, *at)).collect();
        let fates: Vec<&[Fate]> = pending.iter().map(|at| fates(&calls[*at])).collect();
        let all = fates.iter().try_fold(1_usize, |all, fates| all.checked_mul(fates.len()));
        let choices = if all.is_some_and(|all| all <= EXHAUSTIVE_MAX) { every(&fates) } else { some(&fates) };
        let media = choices.into_iter().map(|choice| {
            let chosen: BTreeMap<usize, Fate> = pending.iter().copied().zip(choice).collect();
            let mut medium = state.before.clone();
            for (at, call) in calls.iter().enumerate() {
                medium.apply(call, chosen.get(&at).copied().unwrap_or(Fate::Whole));
            }
            medium.compact()
        });
        media.collect()
    }

    fn change(&self, call: Call) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        match &mut state.dies_after {
            Some(0) => return Err(io::Error::other("the process is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        if matches!(call, Call::Sync { .. } | Call::SyncFolder { .. }) {
            state.syncs += 1;
            if state.left_out == Some(state.syncs - 1) {
                return Ok(());
            }
        }
        state.now.apply(&call, Fate::Whole);
        state.calls.push(call);
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.0.borrow().now.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Whether a call changes something that no later call has synced.
fn is_pending(calls: &[Call], at: usize) -> bool {
    let later = &calls[at + 1..];
    let synced =
        |file: &usize| later.iter().any(|call| matches!(call, Call::Sync { file: synced } if synced == file));
    let folder_synced = |path: &PathBuf| {
        later.iter().any(|call| matches!(call, Call::SyncFolder { folder } if path.parent() == Some(folder)))
    };
    match &calls[at] {
        Call::Write { file, .. } | Call::Truncate { file, .. } => !synced(file),
        Call::Make { path, .. } | Call::Rename { to: path, .. } | Call::Unlink { path } => {
            !folder_synced(path)
        }
        Call::Sync { .. } | Call::SyncFolder { .. } | Call::Seen(_) => false,
    }
}

fn fates(call: &Call) -> &'static [Fate] {
    match call {
        Call::Write { bytes, .. } if bytes.len() > 1 => {
            &[Fate::Lost, Fate::Whole, Fate::Front, Fate::End, Fate::Zeros, Fate::Garbage]
        }
        _ => &[Fate::Lost, Fate::Whole],
    }
}

fn every(fates: &[&[Fate]]) -> Vec<Vec<Fate>> {
    fates.iter().fold(vec![Vec::new()], |choices, fates| {
        let extended = choices
            .iter()
            .flat_map(|choice| fates.iter().map(move |fate| choice.iter().copied().chain([*fate]).collect()));
        extended.collect()
    })
}

fn some(fates: &[&[Fate]]) -> Vec<Vec<Fate>> {
    let count = fates.len();
    let of = |fate: &dyn Fn(usize) -> Fate| (0..count).map(fate).collect::<Vec<Fate>>();
    let mut choices = vec![of(&|_| Fate::Lost), of(&|_| Fate::Whole)];
    for (at, own) in fates.iter().enumerate() {
        for fate in own.iter().copied() {
            choices.push(of(&|other| if other == at { fate } else { Fate::Lost }));
            choices.push(of(&|other| if other == at { fate } else { Fate::Whole }));
            choices.push(of(&|other| match other.cmp(&at) {
                std::cmp::Ordering::Less => Fate::Whole,
                std::cmp::Ordering::Equal => fate,
                std::cmp::Ordering::Greater => Fate::Lost,
            }));
        }
    }
    choices
}

impl Medium {
    /// What a file of that name holds.
    pub(crate) fn read(&self, path: &Path) -> Option<&[u8]> {
        self.names.get(path).map(|file| self.files[*file].as_slice())
    }

    fn apply(&mut self, call: &Call, fate: Fate) {
        if let Call::Make { file, .. } | Call::Write { file, .. } = call
            && self.files.len() <= *file
        {
            self.files.resize(*file + 1, Vec::new());
        }
        if fate == Fate::Lost {
            return;
        }
        match call {
            Call::Write { file, offset, bytes } => self.write(*file, *offset, bytes, fate),
            Call::Truncate { file, length } => {
                self.files[*file].resize(usize::try_from(*length).expect("short"), 0);
            }
            Call::Make { path, file } => {
                self.names.insert(path.clone(), *file);
            }
            Call::Rename { from, to, file } => {
                if self.names.get(from) == Some(file) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *file);
            }
            Call::Unlink { path } => {
                self.names.remove(path);
            }
            Call::Sync { .. } | Call::SyncFolder { .. } | Call::Seen(_) => {}
        }
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8], fate: Fate) {
        let from = usize::try_from(offset).expect("short");
        let file = &mut self.files[file];
        let half = bytes.len() / 2;
        let (front, end) = bytes.split_at(half);
        let mut put = |at: usize, bytes: &[u8]| {
            if file.len() < at + bytes.len() {
                file.resize(at + bytes.len(), 0);
            }
            file[at..at + bytes.len()].copy_from_slice(bytes);
        };
        match fate {
            Fate::Lost => {}
            Fate::Whole => put(from, bytes),
            Fate::Front => put(from, front),
            Fate::End => put(from + half, end),
            Fate::Zeros => put(from, &vec![0; bytes.len()]),
            Fate::Garbage => {
                put(from, front);
                put(from + half, &vec![0xA5; bytes.len() - half]);
            }
        }
    }

    /// Without the files that have no name.
    fn compact(self) -> Self {
        let mut compact = Self::default();
        for (path, file) in self.names {
            compact.names.insert(path, compact.files.len());
            compact.files.push(self.files[file].clone());
        }
        compact
    }
}

impl Fs for Recorder {
    fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file(path)?;
        let state = self.0.borrow();
        let from = usize::try_from(offset).expect("short");
        let bytes = state.now.files[file].get(from..).unwrap_or_default();
        let read = bytes.len().min(into.len());
        into[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.file(path).ok().map(|file| self.0.borrow().now.files[file].len() as u64))
    }

    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file(path) {
            Ok(file) => file,
            Err(_) => {
                let file = self.0.borrow().now.files.len();
                self.change(Call::Make { path: path.to_owned(), file })?;
                file
            }
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.change(Call::Write { file, offset, bytes: bytes.to_vec() })
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = self.file(path)?;
        self.change(Call::Truncate { file, length })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let file = self.file(path)?;
        self.change(Call::Sync { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from)?;
        self.change(Call::Rename { from: from.to_owned(), to: to.to_owned(), file })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        match self.file(path) {
            Ok(_) => self.change(Call::Unlink { path: path.to_owned() }),
            Err(_) => Ok(()),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.change(Call::SyncFolder { folder: path.to_owned() })
    }

    fn space(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.0.borrow().space.unwrap_or(1 << 30))
    }
}
