//! What arrives for an image, as it is unpacked: streams of zstd, patches of bsdiff and of zstd. Whatever it is, it
//! ends, and never makes more than was signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::firmware::Encoding;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, packed)) = bytes.split_first() else { return };
    let encoding = [Encoding::Zstd, Encoding::Bsdiff, Encoding::ZstdPatch][usize::from(first % 3)];
    let old: Vec<u8> = (0..=255).cycle().take(4_096).collect();
    if let Ok(made) = muster_slots::unpack(encoding, packed, &old, 10_000) {
        assert_eq!(made.len(), 10_000);
    }
});
