//! Stories about kills, torn tails and flipped bits: what was acknowledged is there, or its loss is named.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{super::journal::Journal, *};

const CHILD_DIR: &str = "MUSTER_STORE_TEST_CHILD_DIR";

/// Not a test of its own: the child that the kill test starts and kills.
#[test]
#[ignore = "is started, and killed, by what_was_acknowledged_before_a_kill_is_there_after_it"]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = open(Path::new(&dir));
    let tenant = match store.tenant(&acme()).unwrap() {
        Some(tenant) => tenant,
        None => store.create_tenant(&acme()).unwrap(),
    };
    let mut log = tenant.log().unwrap();
    let (credit, returned) = sync_channel(64);
    (0..64).for_each(|_| credit.send(()).unwrap());
    loop {
        returned.recv().unwrap();
        let sequence = log.next_sequence();
        let write = log.append(sequence, text(sequence).as_bytes());
        let credit = credit.clone();
        let done = Box::new(move |outcome: Result<(), CommitError>| {
            outcome.unwrap();
            writeln!(io::stdout(), "\nacknowledged {sequence}").unwrap();
            let _parent = credit.send(());
        });
        store.commit(Commit { writes: vec![write], fence: None, permit: None, done });
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 1..=4_u64 {
        let name = format!("{}::child_that_appends_until_it_is_killed", module_path!());
        let name = name.split_once("::").unwrap().1.to_owned();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", &name])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged =
            lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse().ok());
        let target = last + 500 * round;
        last = acknowledged.by_ref().find(|sequence: &u64| *sequence >= target).unwrap();
        child.kill().unwrap();
        last = acknowledged.last().unwrap_or(last);
        child.wait().unwrap();

        let store = open(dir.path());
        let log = store.tenant(&acme()).unwrap().unwrap().log().unwrap();
        let found = read_all(&mut log.reader(1)).unwrap();
        assert!(found.len() as u64 >= last, "round {round}: {} of {last} are there", found.len());
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        last = found.len() as u64;
    }
}

/// A store as it stood in the middle of its life: what a crash leaves behind.
pub(super) struct Wreck {
    /// The file names, relative, and the contents without the zeros that the engine puts after a journal.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Wreck {
    pub(super) fn of(dir: &Path) -> Self {
        let files = files(dir).into_iter().map(|path| {
            let mut bytes = Vec::new();
            let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
            let end =
                is_journal.then(|| Journal::open(&path).unwrap().end_of_content(0).unwrap().unwrap_or(0));
            File::open(&path).unwrap().take(end.unwrap_or(u64::MAX)).read_to_end(&mut bytes).unwrap();
            (path.strip_prefix(dir).unwrap().to_owned(), bytes)
        });
        Self { files: files.collect() }
    }

    pub(super) fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.files.iter_mut().find(|(path, _)| path.ends_with(name)).unwrap().1
    }

    pub(super) fn journal(&mut self) -> &mut Vec<u8> {
        self.bytes("0.jnl")
    }

    /// Makes the witness as it was before its last claim.
    pub(super) fn forget_last_claim(&mut self) {
        let witness = self.bytes(WITNESS_FILE);
        let latest = if witness[..8] > witness[32..40] { 0 } else { 32 };
        witness[latest..latest + 32].fill(0);
    }

    pub(super) fn lay_out(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in &self.files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }
}

/// A live store with ten acknowledged records, each with a row of a table in the same commit; then a wreck of it, and
/// the length of the journal after each record.
pub(super) fn ten_records() -> (Wreck, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenant = store.create_tenant(&acme()).unwrap();
    let table = store.table("rows").unwrap();
    let mut log = tenant.log().unwrap();
    let mut lengths = Vec::new();
    for sequence in 1..=10 {
        let append = log.append(sequence, text(sequence).as_bytes());
        let key = sequence.to_be_bytes();
        let row = tenant.sealer(Purpose::Registry).seal(&key, text(sequence).as_bytes());
        let mut writes = vec![append, put(&table, &key, &row)];
        if sequence == 4 || sequence == 5 {
            writes.push(put(&table, STATE, &key));
        }
        store.commit_blocking(writes).unwrap();
        lengths.push(Wreck::of(dir.path()).journal().len());
    }
    (Wreck::of(dir.path()), lengths)
}

/// A row that the commits of the fourth and the fifth record set, and none later.
pub(super) const STATE: &[u8] = b"state";

/// What somebody finds who opens the store and reads all of it.
#[derive(Debug)]
pub(super) enum Found {
    /// This many records from the first, each with its row; nothing was reported.
    Records(u64),
    /// All records, but a row of a table is as it was before its last change; nothing was reported.
    OldState,
    /// The store did not open.
    Refused(StoreError),
    /// The log did not open, or a record of it.
    Reported(#[expect(dead_code, reason = "for the message of a failing test")] String),
}

pub(super) fn open_and_read(wreck: &Wreck) -> Found {
    open_and_read_in(wreck.lay_out().path())
}

pub(super) fn open_and_read_in(dir: &Path) -> Found {
    let store = match Store::open(dir, root(), StoreOptions { disk_free_bytes_min: 0 }) {
        Ok(store) => store,
        Err(error) => return Found::Refused(error),
    };
    let tenant = match store.tenant(&acme()) {
        Ok(tenant) => tenant.unwrap(),
        Err(error) => return Found::Reported(error.to_string()),
    };
    let log = match tenant.log() {
        Ok(log) => log,
        Err(error) => return Found::Reported(error.to_string()),
    };
    let table = store.table("rows").unwrap();
    match read_all(&mut log.reader(1)) {
        Ok(found) => {
            assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
            for sequence in found.iter().map(|sequence| sequence.to_be_bytes()) {
                let row = table.get(&sequence).unwrap().expect("a record is there and its row is not");
                if let Err(error) = tenant.sealer(Purpose::Registry).open(&sequence, &row) {
                    return Found::Reported(error.to_string());
                }
            }
            let state = table.get(STATE).unwrap();
            if found.len() >= 5 && state != Some(5_u64.to_be_bytes().to_vec()) {
                return Found::OldState;
            }
            Found::Records(found.len() as u64)
        }
        Err(damage) => Found::Reported(damage.to_string()),
    }
}

#[test]
fn a_store_that_was_not_closed_opens_with_all_that_was_acknowledged() {
    let (wreck, _) = ten_records();
    assert!(matches!(open_and_read(&wreck), Found::Records(10)));
}

#[test]
fn a_torn_batch_that_nobody_was_told_of_is_dropped_as_a_whole() {
    let (mut wreck, lengths) = ten_records();
    let journal = wreck.journal().clone();
    // The crash came before the answer: the witness has not heard of the tenth record.
    wreck.forget_last_claim();
    for cut in [1, 2, 10, 50, lengths[9] - lengths[8] - 1] {
        let mut torn = journal.clone();
        torn.truncate(lengths[9] - cut);
        *wreck.journal() = torn.clone();
        let found = open_and_read(&wreck);
        assert!(matches!(found, Found::Records(9)), "{cut} bytes less: {found:?}");
        // As a crash leaves it when the length of the file was on disk before the bytes.
        torn.resize(lengths[9] + 4096, 0);
        *wreck.journal() = torn;
        let found = open_and_read(&wreck);
        assert!(matches!(found, Found::Records(9)), "{cut} bytes zero: {found:?}");
    }
}

#[test]
fn a_journal_that_ends_before_an_acknowledged_commit_is_refused_and_the_commits_are_named() {
    let (mut wreck, lengths) = ten_records();
    wreck.journal().truncate(lengths[6] - 1);
    let found = open_and_read(&wreck);
    // Two commits made the keys of the platform and of the tenant, and then one each record.
    let Found::Refused(StoreError::CommitsMissing { first: 9, last: 12, .. }) = found else {
        panic!("{found:?}");
    };
    // Without the witness the engine takes it for the tail of a crash, and what is left is a consistent beginning.
    wreck.files.retain(|(path, _)| !path.ends_with(WITNESS_FILE));
    let found = open_and_read(&wreck);
    assert!(matches!(found, Found::Records(6)), "{found:?}");
}
