//! Packed images and patches, good and bad.

use std::io::Cursor;

use muster_schemas::firmware::{Encoding, FailureCode};
use proptest::prelude::*;

use super::stage::{devices, factory, firmware, folders, held, plan, update};
use crate::{
    floor::NoCounter,
    fs::recorder::Recorder,
    limits::CHUNK_BYTES,
    loader::choose,
    slot::{Layout, Slot},
    slots::{Fault, Slots},
};

/// Two builds of the same program: most of it moved by a little, some of it new.
fn builds() -> (Vec<u8>, Vec<u8>) {
    let old = firmware(5, 300_000);
    let mut new = firmware(6, 777);
    new.extend_from_slice(&old[10_000..200_000]);
    new.extend(firmware(7, 5_000));
    new.extend(old[200_000..].iter().map(|byte| byte.wrapping_add(1)));
    (old, new)
}

pub(super) fn packed(encoding: Encoding, old: &[u8], new: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Full => new.to_vec(),
        Encoding::Zstd => zstd::encode_all(new, 19).expect("packs"),
        Encoding::Bsdiff => {
            let mut patch = Vec::new();
            qbsdiff::Bsdiff::new(old, new).compare(Cursor::new(&mut patch)).expect("differs");
            patch
        }
        Encoding::ZstdPatch => {
            let mut encoder =
                zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), 9, old).expect("packs");
            encoder.long_distance_matching(true).expect("packs");
            encoder.window_log(20).expect("packs");
            std::io::Write::write_all(&mut encoder, new).expect("packs");
            encoder.finish().expect("packs")
        }
    }
}

fn tried(layout: &Layout, encoding: Encoding, artifact: &[u8]) -> (Recorder, Result<u64, Fault>) {
    let (old, new) = builds();
    let fs = factory(layout, &old, 400_000);
    let slots = Slots::new(fs.clone(), layout.clone());
    let from = encoding.is_patch().then_some(old.as_slice());
    let done = update(&slots, &plan(&new, encoding, artifact, from), artifact, CHUNK_BYTES);
    (fs, done)
}

#[test]
fn each_encoding_makes_the_signed_image() {
    let (old, new) = builds();
    for layout in [folders(), devices()] {
        for encoding in Encoding::ALL {
            let artifact = packed(*encoding, &old, &new);
            let (fs, done) = tried(&layout, *encoding, &artifact);
            done.unwrap_or_else(|fault| panic!("{encoding}: {fault:?}"));
            assert!(held(&fs, &layout, Slot::B, new.len() as u64) == new, "{encoding}");
            let chosen = choose(&Slots::new(fs, layout.clone())).expect("boots");
            assert_eq!((chosen.slot, chosen.trial), (Slot::B, Some(2)), "{encoding}");
        }
    }
}

#[test]
fn patches_are_shorter_than_what_they_make() {
    let (old, new) = builds();
    for encoding in [Encoding::Bsdiff, Encoding::ZstdPatch] {
        assert!(packed(encoding, &old, &new).len() < new.len() / 4, "{encoding}");
    }
}

#[test]
fn what_was_cut_short_or_changed_installs_nothing() {
    let (old, new) = builds();
    for encoding in [Encoding::Zstd, Encoding::Bsdiff, Encoding::ZstdPatch] {
        let artifact = packed(encoding, &old, &new);
        for cut in [0, 1, 8, 31, 40, artifact.len() / 2, artifact.len() - 20] {
            let (fs, done) = tried(&folders(), encoding, &artifact[..cut]);
            let code = done.expect_err("it is not whole").code();
            let expected = [FailureCode::Decompress, FailureCode::DigestMismatch];
            assert!(expected.contains(&code), "{encoding} cut to {cut}: {code}");
            assert_eq!(choose(&Slots::new(fs, folders())).expect("boots").slot, Slot::A);
        }
        for at in (0..artifact.len()).step_by(artifact.len() / 40) {
            let mut changed = artifact.clone();
            changed[at] ^= 0x10;
            let (fs, done) = tried(&folders(), encoding, &changed);
            // A byte that means nothing to the decoder may change; what it makes is the image then.
            if done.is_ok() {
                assert!(
                    held(&fs, &folders(), Slot::B, new.len() as u64) == new,
                    "{encoding} changed at {at}"
                );
            }
        }
    }
}

#[test]
fn what_arrived_otherwise_than_it_was_offered_is_not_even_unpacked() {
    let (old, new) = builds();
    for encoding in [Encoding::Zstd, Encoding::Bsdiff] {
        let mut artifact = packed(encoding, &old, &new);
        let layout = folders();
        let fs = factory(&layout, &old, 0);
        let slots = Slots::new(fs.clone(), layout.clone());
        let plan = plan(&new, encoding, &artifact, encoding.is_patch().then_some(old.as_slice()));
        // The last byte: a decoder that has all it wants does not look at it.
        *artifact.last_mut().expect("some") ^= 1;
        let fault = update(&slots, &plan, &artifact, CHUNK_BYTES).expect_err("it is another one");
        assert!(matches!(fault, Fault::Digest { what: "what was transferred", .. }), "{fault:?}");
        assert_eq!(fs.now().read(&layout.b.part()), None);
        assert_eq!(slots.begin(&plan).expect("it begins"), 0, "all of it is asked for again");
    }
}

#[test]
fn the_pointer_forgets_a_slot_before_it_is_written() {
    let (old, new) = builds();
    for layout in [folders(), devices()] {
        let fs = factory(&layout, &old, 400_000);
        let slots = Slots::new(fs, layout);
        update(&slots, &plan(&new, Encoding::Full, &new, None), &new, CHUNK_BYTES).expect("it is installed");
        slots.commit(&mut NoCounter).expect("it stays");
        assert!(slots.pointer().expect("there").a.is_some(), "the way back, until the next update");
        slots.begin(&plan(&old, Encoding::Full, &old, None)).expect("it begins");
        let pointer = slots.pointer().expect("there");
        assert_eq!((pointer.active, pointer.a), (Slot::B, None));
    }
}

#[test]
fn what_unpacks_to_more_than_was_signed_is_stopped_there() {
    let (old, _) = builds();
    let bomb = zstd::encode_all(vec![0; 50_000_000].as_slice(), 19).expect("packs");
    assert!(bomb.len() < 10_000);
    let (fs, done) = tried(&folders(), Encoding::Zstd, &bomb);
    assert_eq!(done.expect_err("it is too long").code(), FailureCode::Decompress);
    let held = fs.now();
    let part = held.read(&folders().b.part()).expect("it was begun").len();
    assert!(part <= 300_000 + 777 + 5_000, "{part} bytes were written");
    let patch = packed(Encoding::Bsdiff, &old, &vec![9; 3_000_000]);
    let (_, done) = tried(&folders(), Encoding::Bsdiff, &patch);
    assert_eq!(done.expect_err("it is too long").code(), FailureCode::Decompress);
}

#[test]
fn a_patch_of_another_image_is_not_applied() {
    let (old, new) = builds();
    let artifact = packed(Encoding::Bsdiff, &old, &new);
    let layout = folders();
    let fs = factory(&layout, &firmware(99, 300_000), 0);
    let slots = Slots::new(fs, layout);
    let plan = plan(&new, Encoding::Bsdiff, &artifact, Some(&old));
    let fault = update(&slots, &plan, &artifact, CHUNK_BYTES).expect_err("it is of another one");
    assert!(fault.to_string().contains("the image that it is made for is not here"), "{fault}");
}

#[test]
fn a_stream_that_wants_a_larger_window_than_a_device_has_is_refused() {
    let (_, new) = builds();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("packs");
    encoder.window_log(27).expect("packs");
    std::io::Write::write_all(&mut encoder, &new).expect("packs");
    let (_, done) = tried(&folders(), Encoding::Zstd, &encoder.finish().expect("packs"));
    assert_eq!(done.expect_err("it wants 128 MiB").code(), FailureCode::Decompress);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_called_a_patch_ends(
        mut bytes in proptest::collection::vec(any::<u8>(), 32..400),
        which in 0..3_usize,
    ) {
        if which == 0 {
            bytes[..8].copy_from_slice(b"BSDIFF40");
        }
        let encoding = [Encoding::Bsdiff, Encoding::Zstd, Encoding::ZstdPatch][which];
        let (_, done) = tried(&folders(), encoding, &bytes);
        prop_assert!(done.is_err());
    }
}
