//! The fuzz corpus of this crate, whole and in every truncation, as an ordinary test.

use std::{fs, path::Path};

use muster_mqtt::{Decoder, PacketLimits, Version};

use crate::stub::Stub;

#[test]
fn the_corpus_never_panics() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mqtt");
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("corpus") {
        let bytes = fs::read(entry.expect("entry").path()).expect("readable");
        count += 1;
        for end in 0..=bytes.len() {
            let mut stub = Stub::new();
            stub.send(&bytes[..end]);
            stub.send(&bytes[end..]);
        }
        for version in [Version::V311, Version::V5] {
            let mut decoder = Decoder::client(version);
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
        let mut decoder = Decoder::new(PacketLimits::default());
        for byte in &bytes {
            decoder.buffer().extend_from_slice(&[*byte]);
            let _ = decoder.next();
        }
    }
    assert!(count >= 40, "only {count} seeds found");
}
