//! The fuzz corpus of this crate, whole and in every truncation, as an ordinary test.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use muster_mqtt::{Decoder, PacketLimits, Version};
use proptest::{collection::vec, prelude::*};

use crate::{script, stub::Stub};

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

#[expect(clippy::disallowed_methods, reason = "an Instant to count from; its value never matters")]
fn some_instant() -> Instant {
    Instant::now()
}

#[test]
fn the_judges_of_a_session_accept_the_corpus() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mqtt_session");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&directory).expect("corpus") {
        let bytes = fs::read(entry.expect("entry").path()).expect("readable");
        for end in 0..=bytes.len() {
            seen.extend(script::run(some_instant(), &bytes[..end]));
        }
    }
    for step in [
        "admit",
        "authenticate",
        "publish",
        "bind",
        "release",
        "forget",
        "complete",
        "close",
        "close with messages unacknowledged",
    ] {
        assert!(seen.contains(step), "no seed comes to {step}, only to {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A client comes in, durable or not, and then anything happens.
    #[test]
    fn the_judges_of_a_session_accept_any_script(connect in vec(any::<u8>(), 8), rest in vec(any::<u8>(), 0..600)) {
        script::run(some_instant(), &[&[0], connect.as_slice(), &[0, 0], &rest].concat());
    }
}
