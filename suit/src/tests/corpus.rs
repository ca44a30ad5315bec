//! The seeds of the fuzz target, run as an ordinary test. They live in `fuzz/corpus/firmware/`, one input per file.

use std::{fs, path::PathBuf};

use muster_schemas::firmware::{Freshness, Offer};

use super::{others, world::*};
use crate::{cose::Signed, *};

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/firmware")
}

/// What the fuzz target `firmware` runs: an envelope to its images, a root, or what a hub signed.
fn run(input: &[u8]) -> bool {
    let facts = Facts { vendor: vendor(), class: class(), unit: None, slot: Some(0), version: None };
    let envelope = Envelope::open(input).and_then(|envelope| envelope.manifest()).map(|manifest| {
        let _ = carry_out(&manifest, &facts);
    });
    let root = RootDraft::decode(input)
        .map(|draft| assert_eq!(RootDraft::decode(&draft.encode()).as_ref(), Ok(&draft)));
    let statement = Signed::decode(input, limits::SIGNED_BYTES_MAX).ok().and_then(|signed| signed.payload);
    let offer = statement.is_some_and(|payload| Offer::decode(payload).is_ok());
    let freshness = statement.is_some_and(|payload| Freshness::decode(payload).is_ok());
    envelope.is_ok() || root.is_ok() || offer || freshness
}

#[test]
fn the_corpus_never_panics() {
    let mut seen = 0;
    for entry in fs::read_dir(corpus()).expect("the corpus of the fuzz target") {
        let path = entry.expect("an entry").path();
        let seed = fs::read(&path).expect("a readable seed");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(run(&seed), name.starts_with("valid-"), "{name} is named for another outcome");
        for length in 0..seed.len() {
            run(&seed[..length]);
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} seeds");
}

/// Writes the seeds; run by hand after a format has changed.
#[test]
#[ignore = "writes the seeds of the fuzz target, and is run by hand when a format changes"]
fn write_the_seeds() {
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus()).expect("a folder for the corpus");
        fs::write(corpus().join(name), bytes).expect("a written seed");
    };
    let world = World::new();
    let keys: Vec<_> = world.root_keys.iter().collect();
    write("valid-draft-0", &others::draft(0));
    write("valid-draft-1", &others::draft(1));
    write("valid-taylor-0", &others::taylor(0));
    write("valid-taylor-1", &others::taylor(1));
    write("valid-ours", &world.envelope());
    write("valid-unsigned", &world.manifest.envelope());
    write("valid-root", &signed_root(&world.root, &keys));
    write("valid-root-unsigned", &signed_root(&world.root, &[]));
    write("valid-offer", &world.offer());
    write("valid-freshness", &world.asked_with([7; 16]).freshness());
    let mut changed = others::draft(1);
    *changed.last_mut().expect("bytes") ^= 1;
    write("another-digest", &changed);
    write("trailing", &[&others::draft(0)[..], &[0]].concat());
    write("huge-length", &[0xd8, 0x6b, 0xa2, 2, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    write("indefinite", &[0xd8, 0x6b, 0xbf, 0xff]);
    write("another-tag", &[0xd8, 0x60, 0xa0]);
}
