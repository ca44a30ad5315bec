//! The crate seen from outside: the fuzz corpus and random stories, as ordinary tests.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod script;

use std::{fs, path::Path};

use proptest::prelude::*;

#[test]
fn the_corpus_keeps_the_router_within_its_bounds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/router");
    let mut stories = 0;
    for entry in fs::read_dir(&directory).expect("corpus") {
        script::run(&fs::read(entry.expect("an entry").path()).expect("a story"));
        stories += 1;
    }
    assert!(stories > 0);
}

proptest! {
    #[test]
    fn random_stories_keep_the_router_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
        script::run(&bytes);
    }
}
