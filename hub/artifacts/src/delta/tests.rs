//! What is made gives the image back, is the smallest, and is worth its place.

use muster_schemas::firmware::Encoding;
use proptest::prelude::*;

use super::*;
use crate::{
    Folder,
    limits::{BSDIFF_BYTES_MAX, DELTA_JOBS_MAX, PACK_BYTES_MAX, ZSTD_PATCH_BYTES_MAX},
    tests::world::{Tenant, digest, noise, open, put},
};

const PATCHES: [Encoding; 2] = [Encoding::Bsdiff, Encoding::ZstdPatch];

/// Bytes like those of a program: words that repeat, with addresses that have moved.
fn program(seed: u64, bytes: usize, shift: u32) -> Vec<u8> {
    let words = noise(seed, bytes / 4);
    let at =
        |place: usize| u32::try_from(place).unwrap_or(0).wrapping_mul(16).wrapping_add(shift).to_le_bytes();
    words
        .chunks(12)
        .enumerate()
        .flat_map(|(place, word)| [word, &at(place)].concat())
        .take(bytes / 4)
        .collect()
}

struct Images {
    _dir: tempfile::TempDir,
    folder: Folder,
    tenant: std::sync::Arc<Tenant>,
}

impl Images {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        Self { _dir: dir, folder, tenant: Tenant::new(1) }
    }

    fn put(&self, name: u8, bytes: &[u8]) -> crate::Blob {
        put(&self.folder, name, bytes, &self.tenant);
        open(&self.folder, name, bytes, &self.tenant)
    }
}

#[test]
fn the_smallest_patch_is_kept_and_gives_the_image_back() {
    let images = Images::new();
    let old = program(1, 2_000_000, 0);
    let mut new = program(1, 2_000_000, 4_096);
    new.splice(100_000..100_000, noise(9, 5_000));
    let packed = pack(&images.put(2, &new), &Budget::default()).unwrap();
    let packed = packed.tried[0].bytes.unwrap();
    let made = make(
        &images.put(1, &old),
        &open(&images.folder, 2, &new, &images.tenant),
        packed,
        &Budget::default(),
    )
    .unwrap();
    let sizes: Vec<u64> = made.tried.iter().map(|tried| tried.bytes.unwrap()).collect();
    let (encoding, patch) = made.kept.unwrap();
    assert_eq!(patch.len() as u64, *sizes.iter().min().unwrap());
    assert_eq!(encoding, Encoding::Bsdiff, "addresses that have moved are what it is for");
    assert!(patch.len() as u64 * 2 < packed, "{} against {packed}", patch.len());
    assert_eq!(unpack(encoding, &old, &patch, new.len() as u64).unwrap(), new);
}

#[test]
fn what_does_not_pay_is_not_kept() {
    let images = Images::new();
    let (old, new) = (noise(1, 300_000), noise(2, 300_000));
    let (old, new) = (images.put(1, &old), images.put(2, &new));
    assert_eq!(pack(&new, &Budget::default()).unwrap().kept, None, "it is packed inside already");
    let made = make(&old, &new, 300_000, &Budget::default()).unwrap();
    assert_eq!((made.kept, made.tried.len()), (None, 2));
    // Sixty percent of what it would take otherwise, and not a byte more.
    let made = make(&new, &new, 300_000, &Budget::default()).unwrap();
    let (_, patch) = made.kept.unwrap();
    let least = patch.len() as u64 * 100 / 60;
    assert!(make(&new, &new, least, &Budget::default()).unwrap().kept.is_none());
    assert!(make(&new, &new, least + 1, &Budget::default()).unwrap().kept.is_some());
}

#[test]
fn images_above_a_bound_are_not_tried() {
    let budget = Budget::default();
    assert_eq!(budget.allows(Encoding::Bsdiff, 1, BSDIFF_BYTES_MAX + 1), Err(NotTried::TooLarge));
    assert_eq!(budget.allows(Encoding::ZstdPatch, ZSTD_PATCH_BYTES_MAX + 1, 1), Err(NotTried::TooLarge));
    assert_eq!(budget.allows(Encoding::Zstd, 0, PACK_BYTES_MAX + 1), Err(NotTried::TooLarge));
    assert_eq!(budget.allows(Encoding::Bsdiff, 100 << 20, 100 << 20), Ok(()));
    let small = Budget { memory_bytes_max: 600 << 20, ..budget };
    assert!(matches!(small.allows(Encoding::Bsdiff, 100 << 20, 100 << 20), Err(NotTried::Memory { .. })));
    let none = Budget { pack_bytes_max: 10, ..budget };
    let images = Images::new();
    let image = images.put(1, &noise(1, 100));
    assert!(matches!(pack(&image, &none), Err(DeltaError::NotTried(NotTried::TooLarge))));
    let made = make(&image, &image, 100, &none).unwrap();
    assert!(made.kept.is_none() && made.tried.iter().all(|tried| tried.bytes.is_err()));
}

#[test]
fn what_is_damaged_makes_no_delta() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, tenant) = (Folder::open(dir.path()).unwrap(), Tenant::new(1));
    let bytes = noise(1, 100_000);
    let stored = put(&folder, 1, &bytes, &tenant);
    let path = dir.path().join(stored.blob.to_string());
    let mut raw = std::fs::read(&path).unwrap();
    raw[5_000] ^= 1;
    std::fs::write(&path, raw).unwrap();
    let image = open(&folder, 1, &bytes, &tenant);
    assert!(matches!(make(&image, &image, 1 << 20, &Budget::default()), Err(DeltaError::Read(_))));
}

#[test]
fn nothing_unpacks_to_more_than_was_said() {
    let bomb = vec![0; 10_000_000];
    for encoding in [Encoding::Zstd, Encoding::ZstdPatch, Encoding::Bsdiff] {
        let packed = pack_as(encoding, &[], &bomb).unwrap();
        assert!(packed.len() < 100_000, "{encoding}");
        assert!(
            matches!(unpack(encoding, &[], &packed, 1_000), Err(PackError::TooLong { .. })),
            "{encoding}"
        );
        assert!(
            matches!(unpack(encoding, &[], &packed, 10_000_001), Err(PackError::Size { .. })),
            "{encoding}"
        );
    }
}

#[test]
fn one_thing_is_made_at_a_time_for_the_versions_that_most_devices_run() {
    let versions: Vec<Version> = [(2, 5), (3, 90), (4, 0), (5, 40), (6, 5), (7, 1), (1, 99)]
        .map(|(image, devices)| Version { image: digest(image), devices })
        .into();
    let mut workshop = Workshop::default();
    assert_eq!(workshop.plan(digest(1), &versions), 5);
    assert_eq!(workshop.plan(digest(1), &versions), 0, "they wait already");
    let mut order = Vec::new();
    while let Some(job) = workshop.next_job() {
        assert_eq!(workshop.next_job(), None, "one at a time");
        assert_eq!(job.image, digest(1));
        order.push(job.from.map(|from| from.0[0]));
        workshop.finished();
    }
    assert_eq!(order, [None, Some(3), Some(5), Some(2), Some(6)]);
    assert_eq!(workshop.plan(digest(1), &versions), 0, "they are made");
    workshop.forget(&digest(3));
    assert_eq!(workshop.plan(digest(1), &versions), 1);
    assert_eq!(workshop.next_job(), Some(Job { image: digest(1), from: Some(digest(3)) }));
    workshop.failed();
    assert_eq!(workshop.plan(digest(1), &versions), 1, "what failed may be tried again");
}

#[test]
fn the_queue_of_jobs_has_an_end() {
    let mut workshop = Workshop::default();
    let taken: usize = (0..=255)
        .map(|image| workshop.plan(digest(image), &[Version { image: digest(0), devices: 1 }]))
        .sum();
    assert_eq!((taken, workshop.waiting()), (DELTA_JOBS_MAX, DELTA_JOBS_MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_encoding_gives_back_what_went_in(
        old in prop::collection::vec(0_u8..4, 0..3_000),
        cut in 0_usize..3_000,
        more in prop::collection::vec(any::<u8>(), 1..500),
    ) {
        let mut new = old.clone();
        new.truncate(cut);
        new.splice(new.len() / 2..new.len() / 2, more);
        for encoding in [Encoding::Full, Encoding::Zstd, Encoding::Bsdiff, Encoding::ZstdPatch] {
            let packed = pack_as(encoding, &old, &new).unwrap();
            prop_assert_eq!(&unpack(encoding, &old, &packed, new.len() as u64).unwrap(), &new, "{}", encoding);
        }
    }

    #[test]
    fn a_patch_that_was_changed_never_gives_more_than_was_said(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0_usize..2,
    ) {
        let (old, new) = (program(1, 8_000, 0), program(1, 8_000, 64));
        let mut patch = pack_as(PATCHES[which], &old, &new).unwrap();
        // The three lengths at the head of a patch of bsdiff are not this library's to judge: the hub applies its own
        // only.
        let at = if which == 0 { 32 + at.index(patch.len() - 32) } else { at.index(patch.len()) };
        patch[at] = byte;
        if let Ok(bytes) = unpack(PATCHES[which], &old, &patch, new.len() as u64) {
            prop_assert_eq!(bytes.len(), new.len());
        }
    }
}
