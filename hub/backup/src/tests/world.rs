//! A hub in memory, a directory for its backups, and who opens them.

use std::path::Path;

use muster_seal::{Kem, Opener, Recipient};

use crate::{
    BackupError, Directory, Found, Handle, HubKey, KEYS, Made, Memory, Opened, Order, Place as _, Repository,
    RowIter, Sink, Source, choose, make,
};

pub(super) const CANARY: &str = "canary-of-acme-0123456789";
pub(super) const ACME: Handle = *b"handle-of-acme-1";
pub(super) const OTHER: Handle = *b"handle-of-other1";

type StoredRow = (String, Vec<u8>, Vec<u8>);

/// What is backed up.
pub(super) struct Hub {
    pub rows: Vec<StoredRow>,
    pub files: Vec<(String, u32, Vec<u8>)>,
    pub breaks_after: Option<usize>,
    next: u64,
}

impl Hub {
    pub fn with_rows(count: u64) -> Self {
        let keys = [(b't', ACME), (b't', OTHER), (b'd', ACME), (b'd', OTHER)].map(|(kind, handle)| {
            let key = [[kind].as_slice(), &handle].concat();
            (KEYS.to_owned(), key, [b"d-wrapped".as_slice(), &handle].concat())
        });
        let mut rows = keys.to_vec();
        rows.push((KEYS.to_owned(), b"r".to_vec(), b"root".to_vec()));
        rows.sort();
        let files = vec![
            ("authorities/root.crt".to_owned(), 0o644, CANARY.as_bytes().to_vec()),
            ("muster.toml".to_owned(), 0o600, b"trust_domain = \"edge.example\"".to_vec()),
        ];
        let mut hub = Self { rows, files, breaks_after: None, next: 0 };
        hub.append(count);
        hub
    }

    pub fn append(&mut self, count: u64) {
        for number in self.next..self.next + count {
            let handle = if number % 2 == 0 { ACME } else { OTHER };
            for (table, bytes) in [("log", 60), ("telemetry", 260)] {
                let key = [handle.as_slice(), &number.to_be_bytes()].concat();
                let value = format!("{CANARY} {table} {number} {}", "x".repeat(bytes));
                self.rows.push((table.to_owned(), key, value.into_bytes()));
            }
        }
        self.next += count;
        self.rows.sort();
    }
}

impl Source for Hub {
    fn tables(&self) -> Vec<String> {
        vec!["empty".to_owned(), "log".to_owned(), "telemetry".to_owned()]
    }

    fn rows(&self, table: &str) -> RowIter<'_> {
        let table = table.to_owned();
        let rows = self.rows.iter().enumerate().filter(move |(_, (name, ..))| *name == table);
        Box::new(rows.map(|(number, (_, key, value))| match self.breaks_after {
            Some(last) if number > last => Err("the disk is gone".to_owned()),
            _ => Ok((key.clone(), value.clone())),
        }))
    }

    fn owner(&self, table: &str, key: &[u8]) -> Option<Handle> {
        let key = if table == KEYS { key.get(1..)? } else { key };
        [ACME, OTHER].into_iter().find(|handle| key.starts_with(handle))
    }

    fn files(&self) -> Vec<(String, u32, Vec<u8>)> {
        self.files.clone()
    }

    fn tenants(&self) -> Vec<(Handle, String)> {
        vec![(ACME, "acme".to_owned()), (OTHER, "other".to_owned())]
    }

    fn commit(&self) -> u64 {
        self.next
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub rows: Vec<StoredRow>,
    pub files: Vec<(String, u32, Vec<u8>)>,
    pub found: Found,
}

impl Sink for Restored {
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), String> {
        self.files.push((path.to_owned(), mode, content.to_vec()));
        Ok(())
    }

    fn row(&mut self, table: &str, key: Vec<u8>, value: Vec<u8>) -> Result<(), String> {
        self.rows.push((table.to_owned(), key, value));
        Ok(())
    }
}

/// A hub's key, a directory, recipients, and one who opens.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub hub: HubKey,
    pub recipients: Vec<Recipient>,
    pub opener: Opener,
    pub memory: Option<Memory>,
    place: Directory,
    now_ms: u64,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opener = Opener::generate(Kem::P256).unwrap();
        let recipients = vec![opener.recipient().clone()];
        let place = Directory::new(dir.path());
        Self {
            dir,
            hub: HubKey::derive(&[7; 32]).unwrap(),
            recipients,
            opener,
            memory: None,
            place,
            now_ms: 0,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn place(&self) -> Directory {
        Directory::new(self.path())
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.place().list(prefix, &mut |name, _| names.push(name.to_owned())).unwrap();
        names.sort();
        names
    }

    pub fn order(&self, memory: Option<Memory>) -> Order<'_> {
        Order {
            place: &self.place,
            recipients: &self.recipients,
            hub: &self.hub,
            node: "hub-1".to_owned(),
            trust_domain: "edge.example".to_owned(),
            program: "muster 0.1.0".to_owned(),
            now_ms: self.now_ms,
            memory,
            force: false,
        }
    }

    pub fn backup(&mut self, hub: &Hub) -> Result<Made, BackupError> {
        self.now_ms += 1_000;
        let made = make(&self.order(self.memory.clone()), hub)?;
        self.memory = Some(made.memory.clone());
        Ok(made)
    }

    pub fn restore(&self, number: Option<u64>) -> Result<Restored, BackupError> {
        let place = self.place();
        let repository = Repository::open(&place)?;
        let listed = choose(&place, number)?;
        let mut opened = Opened::open(&place, &repository, listed, &self.opener, &self.hub.signer())?;
        let mut restored = Restored::default();
        restored.found = opened.read(&|_| true, &mut restored)?;
        restored.rows.sort();
        Ok(restored)
    }
}
