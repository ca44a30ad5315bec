//! Stories about the whole store, on a real directory.

mod commits;
mod crash;
mod custody;
mod granting;
mod log;
mod restoration;
mod secrets;
mod shredding;
mod tears;

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
};

use muster_schemas::TenantId;

use super::{
    purge::{Needle, search},
    *,
};

fn root() -> RootKey {
    RootKey::from_bytes([7; 32])
}

fn open(dir: &Path) -> Store {
    Store::open(dir, root(), StoreOptions { disk_free_bytes_min: 0 }).unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn put(table: &Table, key: &[u8], value: &[u8]) -> Write {
    Write::Put { table: table.clone(), key: key.to_vec(), value: value.to_vec() }
}

/// The name of a commit and its outcome.
type Named<T> = (T, Result<(), CommitError>);

/// Outcomes as they come in, each with the name of its commit.
#[expect(clippy::disallowed_methods, reason = "a test's queue is bounded by the test")]
fn outcomes<T: Send + 'static>() -> (Sender<Named<T>>, Receiver<Named<T>>) {
    channel()
}

fn send<T: Send + 'static>(store: &Store, writes: Vec<Write>, to: &Sender<Named<T>>, name: T) {
    let to = to.clone();
    let done = Box::new(move |outcome| drop(to.send((name, outcome))));
    store.commit(Commit { writes, fence: None, permit: None, done });
}

/// Stops the committer inside an answer until it is dropped, so that what is sent meanwhile is one group.
struct Held {
    _release: SyncSender<()>,
}

fn hold(store: &Store) -> Held {
    let (release, released) = sync_channel::<()>(0);
    let (entered, inside) = sync_channel(0);
    let done = Box::new(move |_| {
        entered.send(()).unwrap();
        let _released = released.recv();
    });
    store.commit(Commit { writes: Vec::new(), fence: None, permit: None, done });
    inside.recv().unwrap();
    Held { _release: release }
}

/// Appends records with the given texts, each in a commit of its own.
fn append_all(store: &Store, log: &mut TenantLog, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        let write = log.append(log.next_sequence(), text.as_bytes());
        store.commit_blocking(vec![write]).unwrap();
    }
}

fn text(sequence: u64) -> String {
    format!("record {sequence}")
}

/// Reads on until the end or the first damage.
fn read_all(reader: &mut LogReader) -> Result<Vec<u64>, LogDamage> {
    let mut found = Vec::new();
    loop {
        let batch = reader.next_batch(7, 1_000_000)?;
        if batch.is_empty() {
            return Ok(found);
        }
        for (sequence, record) in batch {
            assert_eq!(record, text(sequence).as_bytes());
            found.push(sequence);
        }
    }
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The files in which one of these begins of wrapped keys stands.
fn holding(dir: &Path, needles: impl IntoIterator<Item = Needle>) -> Vec<PathBuf> {
    let needles = needles.into_iter().collect();
    // The engine may remove one meanwhile.
    files(dir).into_iter().filter(|path| search(path, &needles).is_ok_and(|(found, _)| found)).collect()
}
