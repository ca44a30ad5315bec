//! What is stored comes back as it was, or with a word about what is lost; and nothing half stored stays.

use std::{collections::BTreeSet, fs, os::unix::fs::FileExt as _, path::Path};

use proptest::prelude::*;

use super::world::{Tenant, declared, noise, open, put};
use crate::{
    BlobName, Damage, Folder, PutError, ReadError, SealRefusal,
    limits::{ARTIFACT_BYTES_MAX, CHUNK_BYTES},
};

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(&dir.path().join("artifacts/acme")).unwrap();
    (dir, folder)
}

fn file(dir: &tempfile::TempDir, name: u8) -> std::path::PathBuf {
    dir.path().join("artifacts/acme").join(BlobName([name; 16]).to_string())
}

fn listed(dir: &tempfile::TempDir) -> usize {
    fs::read_dir(dir.path().join("artifacts/acme")).unwrap().count()
}

#[test]
fn what_is_stored_comes_back_and_the_disk_shows_nothing_of_it() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let canary = b"canary-in-the-firmware".repeat(20_000);
    let stored = put(&folder, 1, &canary, &tenant);
    assert_eq!(stored.sums.digest, declared(&canary).digest);
    assert_eq!(stored.file_bytes, fs::metadata(file(&dir, 1)).unwrap().len());
    assert_eq!(open(&folder, 1, &canary, &tenant).to_vec().unwrap(), canary);
    let raw = fs::read(file(&dir, 1)).unwrap();
    assert!(!raw.windows(6).any(|window| window == b"canary"));
    let digest = stored.sums.digest;
    assert!(!raw.windows(32).any(|window| window == digest.0), "nor its digest");
    assert!(open(&folder, 1, &canary, &tenant).check().unwrap().is_whole());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_part_is_what_it_is_of_the_whole_however_the_bytes_came(
        size in 1_usize..4 * CHUNK_BYTES + 3,
        writes in prop::collection::vec(1_usize..3 * CHUNK_BYTES, 1..8),
        parts in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..6),
    ) {
        let (_dir, folder) = folder();
        let tenant = Tenant::new(1);
        let bytes = noise(size as u64, size);
        let mut incoming = folder.begin(BlobName([3; 16]), declared(&bytes), tenant.clone()).unwrap();
        let (mut rest, mut turn) = (&bytes[..], writes.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            incoming.write(now).unwrap();
            rest = later;
        }
        incoming.finish().unwrap();
        let blob = open(&folder, 3, &bytes, &tenant);
        for (a, b) in parts {
            let (a, b) = ((a * size as f64) as u64, (b * size as f64) as u64);
            let range = a.min(b)..a.max(b);
            let got: Vec<u8> = blob.pieces(range.clone()).unwrap().flat_map(|piece| piece.unwrap()).collect();
            prop_assert_eq!(&got[..], &bytes[range.start as usize..range.end as usize]);
        }
        prop_assert!(blob.pieces(0..size as u64 + 1).is_err());
    }
}

#[test]
fn what_is_not_as_declared_leaves_nothing() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 200_000);
    let begin = || folder.begin(BlobName([1; 16]), declared(&bytes), tenant.clone()).unwrap();

    let mut longer = begin();
    longer.write(&bytes).unwrap();
    assert!(matches!(longer.write(b"x"), Err(PutError::Longer { declared: 200_000 })));
    drop(longer);
    let mut shorter = begin();
    shorter.write(&bytes[1..]).unwrap();
    assert!(matches!(shorter.finish(), Err(PutError::Shorter { came: 199_999, .. })));
    let mut other = begin();
    let mut changed = bytes.clone();
    changed[150_000] ^= 1;
    other.write(&changed).unwrap();
    assert!(matches!(other.finish(), Err(PutError::Differs { .. })));
    let empty = folder.begin(BlobName([1; 16]), declared(b""), tenant.clone());
    assert!(matches!(empty, Err(PutError::Empty)));
    let mut huge = declared(&bytes);
    huge.size = ARTIFACT_BYTES_MAX + 1;
    assert!(matches!(folder.begin(BlobName([1; 16]), huge, tenant.clone()), Err(PutError::TooLarge { .. })));
    drop(begin());
    assert_eq!(listed(&dir), 0);
}

#[test]
fn no_file_is_written_over() {
    let (_dir, folder) = folder();
    let tenant = Tenant::new(1);
    let (one, two) = (noise(1, 1_000), noise(2, 1_000));
    put(&folder, 1, &one, &tenant);
    let again = folder.begin(BlobName([1; 16]), declared(&two), tenant.clone());
    assert!(matches!(again, Err(PutError::Io { .. })));
    let under_way = folder.begin(BlobName([2; 16]), declared(&two), tenant.clone()).unwrap();
    let again = folder.begin(BlobName([2; 16]), declared(&two), tenant.clone());
    assert!(matches!(again, Err(PutError::Io { .. })));
    drop(under_way);
    assert_eq!(open(&folder, 1, &one, &tenant).to_vec().unwrap(), one);
}

#[test]
fn a_withdrawn_key_stores_nothing_and_reads_nothing() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 100_000);
    put(&folder, 1, &bytes, &tenant);
    tenant.withdraw();
    let mut incoming = folder.begin(BlobName([2; 16]), declared(&bytes), tenant.clone()).unwrap();
    assert!(matches!(incoming.write(&bytes), Err(PutError::Seal(SealRefusal::Withdrawn))));
    drop(incoming);
    assert_eq!(listed(&dir), 1);
    assert!(matches!(open(&folder, 1, &bytes, &tenant).to_vec(), Err(ReadError::Withdrawn { .. })));
    assert!(matches!(open(&folder, 1, &bytes, &tenant).check(), Err(ReadError::Withdrawn { .. })));
}

/// Flips one bit of a file.
fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is_and_costs_its_chunk_only() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 3 * CHUNK_BYTES + 100);
    let stored = put(&folder, 1, &bytes, &tenant);
    let sealed = (CHUNK_BYTES + 28) as u64;
    for at in (8..stored.file_bytes).step_by(9_973).chain([8, 8 + sealed, stored.file_bytes - 1]) {
        flip(&file(&dir, 1), at);
        let blob = open(&folder, 1, &bytes, &tenant);
        let number = (at - 8) / sealed;
        let lost = number * CHUNK_BYTES as u64..((number + 1) * CHUNK_BYTES as u64).min(bytes.len() as u64);
        let checked = blob.check().unwrap();
        assert_eq!(checked.lost, [(lost.clone(), Damage::Changed)], "at {at}");
        let read = blob.to_vec().unwrap_err();
        assert!(matches!(&read, ReadError::Damaged { lost: told, .. } if *told == lost), "{read}");
        let before: Vec<u8> = blob.pieces(0..lost.start).unwrap().flat_map(|piece| piece.unwrap()).collect();
        let after: Vec<u8> =
            blob.pieces(lost.end..bytes.len() as u64).unwrap().flat_map(|piece| piece.unwrap()).collect();
        assert_eq!((&before[..], &after[..]), (&bytes[..lost.start as usize], &bytes[lost.end as usize..]));
        flip(&file(&dir, 1), at);
    }
    assert!(open(&folder, 1, &bytes, &tenant).check().unwrap().is_whole());
    flip(&file(&dir, 1), 3);
    let header = folder.read(&BlobName([1; 16]), (stored.sums.digest, stored.sums.size), tenant);
    assert!(matches!(header, Err(ReadError::Damaged { why: Damage::Header, .. })));
}

#[test]
fn a_file_that_was_cut_at_a_chunk_is_not_a_shorter_artifact() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 3 * CHUNK_BYTES);
    put(&folder, 1, &bytes, &tenant);
    let cut = fs::OpenOptions::new().write(true).open(file(&dir, 1)).unwrap();
    cut.set_len(8 + 2 * (CHUNK_BYTES as u64 + 28)).unwrap();
    let lost = 2 * CHUNK_BYTES as u64..3 * CHUNK_BYTES as u64;
    assert_eq!(open(&folder, 1, &bytes, &tenant).check().unwrap().lost, [(lost, Damage::Cut)]);
    // Nor for one who says that it has the size that is left: its last chunk was not sealed as the last.
    let shorter = folder.read(&BlobName([1; 16]), (declared(&bytes).digest, 2 * CHUNK_BYTES as u64), tenant);
    let checked = shorter.unwrap().check().unwrap();
    assert_eq!(checked.lost, [(CHUNK_BYTES as u64..2 * CHUNK_BYTES as u64, Damage::Changed)]);
}

#[test]
fn chunks_that_were_moved_or_are_of_another_artifact_or_tenant_do_not_open() {
    let (dir, folder) = folder();
    let (tenant, stranger) = (Tenant::new(1), Tenant::new(2));
    let (one, two) = (noise(1, 2 * CHUNK_BYTES), noise(2, 2 * CHUNK_BYTES));
    put(&folder, 1, &one, &tenant);
    put(&folder, 2, &two, &tenant);
    assert_eq!(open(&folder, 1, &one, &stranger).check().unwrap().lost.len(), 1, "all of it, as one range");
    let sealed = CHUNK_BYTES + 28;
    let (mut first, second) = (fs::read(file(&dir, 1)).unwrap(), fs::read(file(&dir, 2)).unwrap());
    first[8..8 + sealed].copy_from_slice(&second[8..8 + sealed]);
    fs::write(file(&dir, 1), &first).unwrap();
    assert_eq!(open(&folder, 1, &one, &tenant).check().unwrap().lost[0].0, 0..CHUNK_BYTES as u64);
    fs::write(file(&dir, 1), &second).unwrap();
    assert_eq!(open(&folder, 1, &one, &tenant).check().unwrap().lost[0].0, 0..2 * CHUNK_BYTES as u64);
    let three = noise(3, 3 * CHUNK_BYTES);
    put(&folder, 3, &three, &tenant);
    let raw = fs::read(file(&dir, 3)).unwrap();
    let (head, chunks) = raw.split_at(8);
    let turned = [head, &chunks[sealed..2 * sealed], &chunks[..sealed], &chunks[2 * sealed..]].concat();
    fs::write(file(&dir, 3), turned).unwrap();
    assert_eq!(open(&folder, 3, &three, &tenant).check().unwrap().lost[0].0, 0..2 * CHUNK_BYTES as u64);
    let swapped = [&second[..8], &second[8 + sealed..], &second[8..8 + sealed]].concat();
    fs::write(file(&dir, 2), swapped).unwrap();
    assert_eq!(open(&folder, 2, &two, &tenant).check().unwrap().lost[0].0, 0..2 * CHUNK_BYTES as u64);
}

#[test]
fn the_start_sweeps_what_no_row_names_and_tells_what_is_gone() {
    let (dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 70_000);
    put(&folder, 1, &bytes, &tenant);
    put(&folder, 2, &bytes, &tenant);
    // A process that dies in the middle of an upload drops nothing.
    let mut dying = folder.begin(BlobName([3; 16]), declared(&bytes), tenant.clone()).unwrap();
    dying.write(&bytes).unwrap();
    std::mem::forget(dying);
    fs::write(file(&dir, 1).with_extension("part"), "of an upload that was begun again").unwrap();
    fs::write(dir.path().join("artifacts/acme/README"), "not ours").unwrap();
    let known = BTreeSet::from([BlobName([1; 16]), BlobName([9; 16])]);
    let swept = folder.sweep(&known).unwrap();
    assert_eq!((swept.removed, swept.foreign), (3, 1));
    assert_eq!(swept.missing, [BlobName([9; 16])]);
    assert!(swept.bytes > 70_000);
    assert_eq!(listed(&dir), 2);
    assert!(open(&folder, 1, &bytes, &tenant).check().unwrap().is_whole());
    let gone = folder.read(&BlobName([9; 16]), (declared(&bytes).digest, 70_000), tenant);
    assert!(matches!(gone, Err(ReadError::Gone { .. })));
}

#[test]
fn what_is_read_when_it_is_removed_is_read_to_its_end() {
    let (_dir, folder) = folder();
    let tenant = Tenant::new(1);
    let bytes = noise(1, 300_000);
    put(&folder, 1, &bytes, &tenant);
    let mut pieces = open(&folder, 1, &bytes, &tenant).pieces(0..300_000).unwrap();
    let first = pieces.next().unwrap().unwrap();
    folder.remove(&BlobName([1; 16])).unwrap();
    folder.remove(&BlobName([1; 16])).unwrap();
    let rest: Vec<u8> = pieces.flat_map(|piece| piece.unwrap()).collect();
    assert_eq!([&first[..], &rest].concat(), bytes);
}
