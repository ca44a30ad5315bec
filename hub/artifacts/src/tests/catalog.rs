//! Versions that do not change, a quota that holds, and artifacts that do not go while somebody needs them.

use std::collections::BTreeMap;

use muster_schemas::firmware::Encoding;
use proptest::prelude::*;

use super::world::digest;
use crate::{
    Admitted, Artifact, BlobName, Catalog, Digest, Kind, Location, Refused, User, Users, Wanted,
    limits::{UPLOADS_MAX, USERS_TOLD_MAX},
};

struct Nobody;

impl Users for Nobody {
    fn of(&self, _: &Digest, _: usize) -> (Vec<User>, usize) {
        (Vec::new(), 0)
    }
}

struct Campaigns(Digest, usize);

impl Users for Campaigns {
    fn of(&self, digest: &Digest, max: usize) -> (Vec<User>, usize) {
        let count = if *digest == self.0 { self.1 } else { 0 };
        let user = |n| User { kind: "campaign", name: format!("c{n:02}") };
        ((0..count.min(max)).map(user).collect(), count)
    }
}

fn wanted(byte: u8, version: &str, size: u64) -> Wanted {
    Wanted {
        digest: digest(byte),
        size,
        name: "os.swu".parse().unwrap(),
        version: version.parse().unwrap(),
        class: "gateway".parse().unwrap(),
        kind: Kind::Image,
    }
}

fn artifact(wanted: &Wanted, location: Location) -> Artifact {
    Artifact {
        digest: wanted.digest,
        size: wanted.size,
        sha1: None,
        md5: None,
        name: wanted.name.clone(),
        version: wanted.version.clone(),
        class: wanted.class.clone(),
        kind: wanted.kind.clone(),
        attributes: BTreeMap::new(),
        signatures: Vec::new(),
        stored_s: 1,
        location,
    }
}

fn embedded(wanted: &Wanted) -> Artifact {
    artifact(wanted, Location::Embedded { blob: BlobName([wanted.digest.0[0]; 16]) })
}

fn external(wanted: &Wanted) -> Artifact {
    artifact(wanted, Location::External { urls: vec!["https://cdn.example/x".parse().unwrap()] })
}

fn transfer(byte: u8, image: u8, from: u8) -> Wanted {
    let kind = Kind::Transfer { image: digest(image), encoding: Encoding::Bsdiff, from: Some(digest(from)) };
    Wanted { kind, ..wanted(byte, "1", 10) }
}

#[test]
fn a_version_never_becomes_other_bytes_and_a_push_that_is_repeated_does_no_harm() {
    let mut catalog = Catalog::new(1_000, []);
    let one = wanted(1, "1.0", 100);
    assert_eq!(catalog.admit(&one), Ok(Admitted::Come));
    assert_eq!(catalog.admit(&one), Err(Refused::Uploading));
    catalog.add(embedded(&one)).unwrap();
    assert_eq!(catalog.admit(&one), Ok(Admitted::There));
    let other = wanted(2, "1.0", 100);
    assert!(matches!(catalog.admit(&other), Err(Refused::VersionTaken { there, .. }) if there == digest(1)));
    assert!(matches!(catalog.admit(&wanted(1, "2.0", 100)), Err(Refused::SameBytes { .. })));
    assert_eq!(catalog.version(&one.class, &one.name, &one.version).unwrap().digest, digest(1));
    catalog.remove(&digest(1), &Nobody).unwrap();
    assert_eq!(catalog.admit(&other), Ok(Admitted::Come), "a version that is gone is free");
}

#[test]
fn the_quota_counts_uploads_under_way_and_nothing_that_lies_elsewhere() {
    let mut catalog = Catalog::new(1_000, []);
    assert_eq!(catalog.admit(&wanted(1, "1", 600)), Ok(Admitted::Come));
    let refused = catalog.admit(&wanted(2, "2", 401));
    assert_eq!(refused, Err(Refused::Quota { size: 401, used: 600, quota: 1_000 }));
    assert_eq!(catalog.admit(&wanted(2, "2", 400)), Ok(Admitted::Come));
    catalog.give_up(&digest(2));
    catalog.add(external(&wanted(3, "3", 1 << 33))).unwrap();
    assert_eq!(catalog.used_bytes(), 600);
    catalog.add(embedded(&wanted(1, "1", 600))).unwrap();
    assert_eq!(catalog.used_bytes(), 600);
    catalog.set_quota(10);
    assert!(matches!(catalog.admit(&wanted(4, "4", 1)), Err(Refused::Quota { .. })));
    assert!(matches!(catalog.admit(&wanted(4, "4", 0)), Err(Refused::Size { size: 0 })));
    assert!(catalog.artifact(&digest(1)).is_some(), "what is stored stays");
}

#[test]
fn only_so_many_uploads_are_under_way() {
    let mut catalog = Catalog::new(1_000, []);
    for n in 0..UPLOADS_MAX as u8 {
        assert_eq!(catalog.admit(&wanted(n, &n.to_string(), 1)), Ok(Admitted::Come));
    }
    assert_eq!(catalog.admit(&wanted(99, "99", 1)), Err(Refused::Busy));
    catalog.give_up(&digest(0));
    assert_eq!(catalog.admit(&wanted(99, "99", 1)), Ok(Admitted::Come));
}

#[test]
fn what_somebody_needs_does_not_go_and_the_answer_says_who() {
    let mut catalog = Catalog::new(1_000, []);
    let one = wanted(1, "1", 100);
    catalog.add(embedded(&one)).unwrap();
    catalog.add(embedded(&transfer(2, 1, 9))).unwrap();
    let refused = catalog.remove(&digest(1), &Campaigns(digest(1), 40)).unwrap_err();
    let Refused::Used { users, count } = &refused else { panic!("{refused}") };
    assert_eq!((users.len(), *count), (USERS_TOLD_MAX, 40));
    assert!(refused.to_string().starts_with("it is still used by campaign c00, campaign c01"));
    assert!(refused.to_string().ends_with("and 8 more"));
    // Whoever downloads a patch to it needs it too.
    assert!(matches!(
        catalog.remove(&digest(1), &Campaigns(digest(2), 1)),
        Err(Refused::Used { count: 1, .. })
    ));
    assert_eq!(catalog.used_bytes(), 110);
    let gone = catalog.remove(&digest(1), &Nobody).unwrap();
    assert_eq!(gone.iter().map(|artifact| artifact.digest).collect::<Vec<_>>(), [digest(1), digest(2)]);
    assert_eq!((catalog.used_bytes(), catalog.blobs().len()), (0, 0));
    assert_eq!(catalog.remove(&digest(1), &Nobody), Err(Refused::Unknown(digest(1))));
}

#[test]
fn patches_on_an_image_go_with_it_and_take_no_version() {
    let mut catalog = Catalog::new(1_000, []);
    catalog.add(embedded(&wanted(1, "1", 100))).unwrap();
    catalog.add(embedded(&wanted(2, "2", 100))).unwrap();
    assert_eq!(catalog.admit(&transfer(3, 2, 1)), Ok(Admitted::Come));
    catalog.add(embedded(&transfer(3, 2, 1))).unwrap();
    assert_eq!(catalog.transfers_of(&digest(2)).count(), 1);
    assert_eq!(catalog.remove(&digest(1), &Nobody).unwrap().len(), 2);
    assert_eq!(catalog.transfers_of(&digest(2)).count(), 0);
    let mut wrong = embedded(&transfer(4, 2, 1));
    wrong.kind = Kind::Transfer { image: digest(2), encoding: Encoding::Zstd, from: Some(digest(1)) };
    assert!(matches!(catalog.add(wrong), Err(Refused::Invalid(_))));
}

proptest! {
    #[test]
    fn what_is_used_is_what_is_there_and_never_above_the_quota(
        steps in prop::collection::vec((0_u8..12, 0_u8..5, 1_u64..400), 1..80),
    ) {
        let mut catalog = Catalog::new(1_000, []);
        for (which, step, size) in steps {
            let wanted = wanted(which, &which.to_string(), size);
            match step {
                0 => { let _ = catalog.admit(&wanted); }
                1 => catalog.give_up(&wanted.digest),
                2 => { let _ = catalog.remove(&wanted.digest, &Nobody); }
                3 => { let _ = catalog.add(external(&wanted)); }
                _ => if catalog.admit(&wanted) == Ok(Admitted::Come) { catalog.add(embedded(&wanted)).unwrap(); }
            }
            prop_assert!(catalog.used_bytes() <= 1_000);
        }
        for which in 0..12 {
            catalog.give_up(&digest(which));
        }
        let there: u64 = catalog.artifacts().map(Artifact::quota_bytes).sum();
        prop_assert_eq!(catalog.used_bytes(), there);
        let rows: Vec<Artifact> = catalog.artifacts().cloned().collect();
        prop_assert_eq!(Catalog::new(1_000, rows).used_bytes(), there);
    }
}
