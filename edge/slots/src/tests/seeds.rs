//! The seeds of the fuzz targets `slots` and `patch`.

use std::{fs, path::PathBuf};

use muster_schemas::firmware::{Encoding, ExecutionId, FailureCode};

use super::{decoding::packed, stage::image};
use crate::{
    journal::{Journal, Phase},
    pointer::{BootPointer, Reason},
    record::Framed,
    unpack,
};

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).expect("a corpus").map(|entry| entry.expect("an entry"));
    let read = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a seed"))
    };
    entries.map(read).collect()
}

/// As the fuzz target has them.
fn old() -> Vec<u8> {
    (0..=255).cycle().take(4_096).collect()
}

fn new() -> Vec<u8> {
    old().iter().chain(old().iter().rev()).copied().cycle().skip(100).take(10_000).collect()
}

const PACKED: [Encoding; 3] = [Encoding::Zstd, Encoding::Bsdiff, Encoding::ZstdPatch];

#[test]
fn the_seeds_of_the_fuzz_targets_are_what_their_names_say() {
    for (name, bytes) in seeds("slots") {
        let framed = [*b"MBP1", *b"MJR1"].iter().any(|magic| Framed::decode(*magic, &bytes).is_some());
        assert_eq!(framed, name.starts_with("record"), "{name}");
        assert_eq!(BootPointer::decode(&bytes).is_some(), name.starts_with("pointer"), "{name}");
        assert_eq!(Journal::decode(&bytes).is_some(), name.starts_with("journal"), "{name}");
    }
    for (name, bytes) in seeds("patch") {
        let encoding = PACKED[usize::from(bytes[0] % 3)];
        let made = unpack(encoding, &bytes[1..], &old(), 10_000);
        assert_eq!(made.is_ok_and(|made| made == new()), name.starts_with("valid"), "{name}");
    }
}

#[test]
#[ignore = "writes the seeds anew"]
fn seeds_are_written() {
    let (one, other) = (image(b"one", 1, "1.0"), image(b"other", 2, "1.1"));
    let factory = BootPointer::new(one.clone());
    let trial = factory.switched(other.clone()).expect("no trial");
    let reason = Reason::new(FailureCode::HealthCheck, "the pump does not turn");
    let ill = trial.faulted(reason, true).expect("a trial");
    let back = ill.boot().write.expect("it goes back");
    let journal = Journal {
        execution: ExecutionId::MIN,
        attempt: 1,
        reserved: 256,
        image: other,
        artifact: one.digest,
        size: 3_000_000,
        phase: Phase::Receiving { verified: 1_048_576 },
    };
    let switching = Journal { phase: Phase::Switching, ..journal.clone() };
    let record = |magic: [u8; 4], body: Vec<u8>| Framed { generation: 9, body }.encode(magic).expect("short");
    let whole = record(*b"MBP1", trial.encode());
    let slots = [
        ("pointer-factory", factory.encode()),
        ("pointer-trial", trial.encode()),
        ("pointer-ill", ill.encode()),
        ("pointer-back", back.encode()),
        ("journal-receiving", journal.encode()),
        ("journal-switching", switching.encode()),
        ("record-pointer", whole.clone()),
        ("record-no-update", record(*b"MJR1", Vec::new())),
        ("torn", [&whole[..256], &[0; 256]].concat()),
    ];
    let mut patches = Vec::new();
    for (number, encoding) in (0_u8..).zip(PACKED) {
        let bytes = [vec![number], packed(encoding, &old(), &new())].concat();
        patches.push((format!("cut-{encoding}"), bytes[..bytes.len() / 2].to_vec()));
        patches.push((format!("valid-{encoding}"), bytes));
    }
    for (name, bytes) in slots {
        fs::create_dir_all(folder("slots")).expect("made");
        fs::write(folder("slots").join(name), bytes).expect("written");
    }
    for (name, bytes) in patches {
        fs::create_dir_all(folder("patch")).expect("made");
        fs::write(folder("patch").join(name), bytes).expect("written");
    }
}
