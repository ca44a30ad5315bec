//! A torn batch at the end of the journal, found and cut off before the engine opens it.
//!
//! One batch is written at a time, and the next one only after it was synced. So what a crash leaves half written is the
//! last batch, nobody was told of it, and what is right is to go on without it. The engine does that if nothing but the
//! end of the batch is missing; if a power cut leaves a hole within, it refuses its journal. And where a flipped bit makes
//! an earlier batch unreadable, it takes all that follows for such a rest, and drops it.
//!
//! So we look first. Cut off is what is not whole, if nothing was written after it and the commits before it reach the
//! witness' claim. Everything else is damage: nothing is changed, and the store is not opened. What was cut off is kept
//! in a file beside the engine's.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    error::StoreError,
    journal::{Batch, Journal, journals},
    limits::{CUTS_KEPT_MAX, SEQNO_STEP_MAX, TORN_BATCH_BYTES_MAX},
    witness::Witness,
};

/// The engine holds a lock on this file while it is open.
const LOCK_FILE: &str = "lock";
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// What was cut off is kept in `journal-tail-<n>.cut`.
const KEPT_PREFIX: &str = "journal-tail-";
const KEPT_SUFFIX: &str = ".cut";

/// What the journal holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The number of the last commit in it. None if it holds no batch: all of them are in the tables.
    pub last: Option<u64>,
    /// Whether that one is in the newest file. If not, a file after it may have gone to the tables and be gone.
    pub is_newest: bool,
    pub tear: Option<Tear>,
}

/// A batch that is not whole, and after which nothing was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tear {
    pub journal: PathBuf,
    /// Where it begins.
    pub at: u64,
    /// Where it ends: from there on there are only zeros, or nothing.
    pub end: u64,
}

/// A tear that was cut off and can be put back.
#[derive(Debug)]
pub(super) struct Cut {
    tear: Tear,
    kept: PathBuf,
}

/// Looks at the journal of the engine in `engine`, and cuts a torn batch off. Keeps it in `dir`.
///
/// Gives the number that the engine has to come to, if the journal says that.
pub(super) fn mend(
    dir: &Path,
    engine: &Path,
    witness: &Witness,
) -> Result<(Option<u64>, Option<Cut>), StoreError> {
    // A journal that is being written looks torn.
    let Some(_lock) = lock(engine)? else { return Ok((None, None)) };
    let Found { last, is_newest, tear } = examine(engine)?;
    // If the journal holds none, all commits are in the tables, and only the engine can say how many: see `Store::open`.
    if let Some(last) = last.filter(|last| is_newest && witness.claimed() > *last) {
        return Err(witness.missing(last));
    }
    let expected = last.filter(|_| is_newest);
    let Some(tear) = tear else { return Ok((expected, None)) };
    if !witness.is_readable() {
        let why = format!(
            "the batch at byte {} is not whole, and with this root key {} does not say whether it was acknowledged",
            tear.at,
            witness.path().display()
        );
        return Err(StoreError::Damaged { path: tear.journal, why });
    }
    let path = tear.journal.clone();
    let cut = Cut::make(tear, dir);
    cut.map(|cut| (expected, Some(cut))).map_err(io_error("cut a torn batch off", &path))
}

/// Reads the journal of the engine in `engine` from its first batch to its last.
pub(super) fn examine(engine: &Path) -> Result<Found, StoreError> {
    let mut before: Option<(u64, Batch)> = None;
    let mut tear: Option<Tear> = None;
    let journals = journals(engine).map_err(io_error("list the journals in", engine))?;
    let newest = journals.last().map(|(number, _)| *number);
    for (number, path) in journals {
        let read = io_error("read the journal", &path);
        let mut journal = Journal::open(&path).map_err(&read)?;
        let mut at = 0;
        while let Some(batch) = journal.batch(at).map_err(&read)? {
            if let Some((earlier, previous)) = before {
                follows(&previous, &batch, number - earlier).map_err(|why| damage(&path, at, why))?;
            }
            before = Some((number, batch));
            at = batch.end;
        }
        let begin = tear.as_ref().map_or(at, |_| 0);
        let Some(end) = journal.end_of_content(begin).map_err(&read)? else { continue };
        // A journal is synced before the next one is begun.
        if let Some(tear) = tear {
            return Err(damage(
                &tear.journal,
                tear.at,
                "is not whole, and another journal was written after it",
            ));
        }
        let seqno = before.map(|(_, batch)| batch.seqno);
        if let Some(next) = journal.next_batch(at + 1, end, seqno).map_err(&read)? {
            return Err(damage(
                &path,
                at,
                &format!("is not whole, and another was written after it at byte {next}"),
            ));
        }
        if end - at > TORN_BATCH_BYTES_MAX {
            return Err(damage(&path, at, &format!("is not whole, and goes on for {} bytes", end - at)));
        }
        tear = Some(Tear { journal: path, at, end });
    }
    Ok(Found {
        last: before.and_then(|(_, batch)| batch.number),
        is_newest: before.map(|(number, _)| number) == newest,
        tear,
    })
}

/// Whether a batch may come after another one, so many journals later.
fn follows(previous: &Batch, batch: &Batch, journals: u64) -> Result<(), &'static str> {
    if batch.seqno <= previous.seqno || batch.seqno - previous.seqno > SEQNO_STEP_MAX {
        return Err("is out of order");
    }
    match (previous.number, batch.number) {
        // The file system may have brought a journal back whose rows are all in the tables, but not the one after it.
        (Some(previous), Some(number)) if journals > 1 && number > previous => Ok(()),
        (Some(previous), Some(number)) if number != previous + 1 => Err("does not hold the next commit"),
        _ => Ok(()),
    }
}

impl Cut {
    fn make(tear: Tear, dir: &Path) -> io::Result<Self> {
        let number = kept(dir)?.last().map_or(1, |(number, _)| number + 1);
        let kept = dir.join(format!("{KEPT_PREFIX}{number}{KEPT_SUFFIX}"));
        let mut journal = OpenOptions::new().read(true).write(true).open(&tear.journal)?;
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&kept)?;
        journal.seek(SeekFrom::Start(tear.at))?;
        io::copy(&mut (&mut journal).take(tear.end - tear.at), &mut copy)?;
        copy.sync_all()?;
        File::open(dir)?.sync_all()?;
        journal.set_len(tear.at)?;
        journal.sync_all()?;
        Ok(Self { tear, kept })
    }

    /// Says what was cut off and why that is right, and forgets the oldest of those before it. `commits` were found, of
    /// which `claimed` are known to have been acknowledged.
    pub fn settle(self, commits: u64, claimed: u64) {
        tracing::warn!(
            journal = %self.tear.journal.display(),
            at_byte = self.tear.at,
            bytes = self.tear.end - self.tear.at,
            kept = %self.kept.display(),
            commits,
            claimed,
            "the last batch was not written to its end before the process or the power failed, and was cut off: nobody \
             was told that it was stored, and all acknowledged commits are before it"
        );
        let forgotten = self.kept.parent().map(kept).and_then(Result::ok).unwrap_or_default();
        for (_, path) in forgotten.iter().rev().skip(CUTS_KEPT_MAX) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "failed to remove an old cut-off batch");
            }
        }
    }

    /// Makes the journal as it was, for a store that is not opened after all. The engine must be closed.
    pub fn put_back(self) {
        let put_back = || {
            let mut journal = OpenOptions::new().write(true).open(&self.tear.journal)?;
            if journal.seek(SeekFrom::End(0))? != self.tear.at {
                return Err(io::Error::other("the journal was written to"));
            }
            io::copy(&mut File::open(&self.kept)?, &mut journal)?;
            journal.sync_all()?;
            fs::remove_file(&self.kept)
        };
        if let Err(error) = put_back() {
            tracing::error!(
                journal = %self.tear.journal.display(),
                at_byte = self.tear.at,
                kept = %self.kept.display(),
                %error,
                "failed to put back what was cut off the journal; it is kept"
            );
        }
    }
}

/// What was cut off earlier, the oldest first.
fn kept(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(KEPT_PREFIX).and_then(|name| name.strip_suffix(KEPT_SUFFIX));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Keeps the engine closed while we look, also to other processes. None if there is no engine yet.
fn lock(engine: &Path) -> Result<Option<File>, StoreError> {
    let path = engine.join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open the lock", &path)(error)),
    };
    for tries_left in (0..LOCK_TRIES).rev() {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if tries_left > 0 => pause(),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
    }
    Err(StoreError::Locked { path: engine.to_owned() })
}

#[expect(
    clippy::disallowed_methods,
    reason = "as the engine does: a process that is ending gives the lock up"
)]
fn pause() {
    std::thread::sleep(LOCK_PAUSE);
}

fn damage(journal: &Path, at: u64, why: &str) -> StoreError {
    StoreError::Damaged { path: journal.to_owned(), why: format!("the batch at byte {at} {why}") }
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path: path.clone(), source }
}
