//! A tree is what its index says, and the index is what somebody signed.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use muster_schemas::firmware::Encoding;
use proptest::prelude::*;

use super::*;
use crate::{
    Artifact, Blob, Catalog, Digest, Folder, Kind, Location, Md5, Sha1, blob_path, digest_of,
    tests::world::{Tenant, digest, noise, open, put},
};

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }
}

impl IndexSigner for Key {
    fn key_id(&self) -> Vec<u8> {
        b"key-1".to_vec()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; INDEX_SIGNATURE_BYTES], String> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|error| error.to_string())?;
        Ok(signature.as_ref().try_into().unwrap())
    }
}

impl IndexVerifier for Key {
    fn verify(&self, key_id: &[u8], message: &[u8], signature: &[u8; INDEX_SIGNATURE_BYTES]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0.public_key().as_ref());
        key_id == b"key-1" && key.verify(message, signature).is_ok()
    }
}

struct World {
    dir: tempfile::TempDir,
    folder: Folder,
    tenant: std::sync::Arc<Tenant>,
    images: BTreeMap<Digest, (u8, Vec<u8>)>,
    key: Key,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("store")).unwrap();
        let tenant = Tenant::new(1);
        let mut images = BTreeMap::new();
        for name in 1..=3 {
            let bytes = noise(name.into(), 40_000 * usize::from(name));
            put(&folder, name, &bytes, &tenant);
            images.insert(digest_of(&bytes), (name, bytes));
        }
        Self { dir, folder, tenant, images, key: Key::new() }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("www")
    }

    fn index(&self, number: u64) -> Index {
        let entries = self.images.iter().map(|(digest, (name, bytes))| {
            Entry::new(&Artifact { digest: *digest, size: bytes.len() as u64, ..artifact(*name) })
        });
        Index::new(1_800_000_000, number, entries)
    }

    fn blob(&self, digest: &Digest) -> Option<Blob> {
        let (name, bytes) = self.images.get(digest)?;
        Some(open(&self.folder, *name, bytes, &self.tenant))
    }

    fn build(&self, number: u64) -> Result<Built, BuildError> {
        build(&self.root(), &self.index(number), |digest| self.blob(digest), &self.key)
    }
}

fn artifact(byte: u8) -> Artifact {
    Artifact {
        digest: digest(byte),
        size: 10,
        sha1: Some(Sha1([byte; 20])),
        md5: None,
        name: "os.img".parse().unwrap(),
        version: format!("{byte}.0").parse().unwrap(),
        class: "gateway".parse().unwrap(),
        kind: Kind::Image,
        attributes: BTreeMap::from([("zz".into(), "1".into()), ("a".into(), "2".into())]),
        signatures: vec![vec![byte; 30]],
        stored_s: 5,
        location: Location::External { urls: Vec::new() },
    }
}

#[test]
fn a_tree_is_what_its_index_says_and_any_server_can_read_it() {
    let world = World::new();
    let built = world.build(1).unwrap();
    assert_eq!((built.written, built.kept, built.bytes), (3, 0, 240_000));
    for (digest, (_, bytes)) in &world.images {
        let path = world.root().join(blob_path(digest));
        assert_eq!(&fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
    }
    let findings = check(&world.root(), &world.key, 1).unwrap();
    assert!(findings.is_whole());
    assert_eq!((findings.index, findings.unnamed), (world.index(1), 0));
    let again = world.build(2).unwrap();
    assert_eq!((again.written, again.kept), (0, 3));
}

#[test]
fn what_is_missing_or_changed_is_named_and_written_again() {
    let world = World::new();
    world.build(1).unwrap();
    let digests: Vec<Digest> = world.images.keys().copied().collect();
    let path = |digest: &Digest| world.root().join(blob_path(digest));
    fs::remove_file(path(&digests[0])).unwrap();
    let mut changed = fs::read(path(&digests[1])).unwrap();
    changed[7] ^= 1;
    fs::write(path(&digests[1]), changed).unwrap();
    fs::write(world.root().join("blobs/sha256/stray"), "x").unwrap();
    let findings = check(&world.root(), &world.key, 1).unwrap();
    assert_eq!(findings.faults, [Fault::Missing(digests[0]), Fault::Damaged(digests[1])]);
    assert_eq!(findings.unnamed, 1);
    assert_eq!(world.build(1).unwrap().written, 2);
    assert!(check(&world.root(), &world.key, 1).unwrap().is_whole());
}

#[test]
fn an_index_that_was_changed_or_that_a_stranger_signed_is_refused() {
    let world = World::new();
    world.build(1).unwrap();
    let path = world.root().join(INDEX_FILE);
    let signed = fs::read(&path).unwrap();
    assert!(matches!(check(&world.root(), &Key::new(), 1), Err(CheckError::Index { .. })));
    for at in (0..signed.len()).step_by(3) {
        let mut changed = signed.clone();
        changed[at] ^= 0x04;
        fs::write(&path, changed).unwrap();
        assert!(matches!(check(&world.root(), &world.key, 1), Err(CheckError::Index { .. })), "at {at}");
    }
    for length in (0..signed.len()).step_by(11) {
        assert!(Index::open(&signed[..length], &world.key).is_err());
    }
    assert!(Index::open(&[&signed[..], &[0]].concat(), &world.key).is_err());
}

#[test]
fn an_older_index_is_not_taken_for_a_newer_one() {
    let world = World::new();
    world.build(4).unwrap();
    assert!(matches!(check(&world.root(), &world.key, 5), Err(CheckError::Older { found: 4, seen: 5, .. })));
    assert!(check(&world.root(), &world.key, 4).is_ok());
}

#[test]
fn a_build_that_fails_leaves_the_tree_that_was_there() {
    let world = World::new();
    world.build(1).unwrap();
    let mut index = world.index(2);
    index.entries.push(Entry::new(&artifact(0xff)));
    let missing = build(&world.root(), &index, |digest| world.blob(digest), &world.key);
    assert!(matches!(missing, Err(BuildError::NoBytes(found)) if found == digest(0xff)));
    let any = world.images.keys().next().copied().unwrap();
    let other =
        build(&world.root(), &index, |digest| world.blob(digest).or_else(|| world.blob(&any)), &world.key);
    assert!(matches!(other, Err(BuildError::Differs(_))));
    let findings = check(&world.root(), &world.key, 1).unwrap();
    assert!(findings.is_whole());
    assert_eq!(findings.index.number, 1);
}

#[test]
fn a_tree_of_others_is_registered_by_its_index_alone() {
    let world = World::new();
    let index = world.index(1);
    let mut catalog = Catalog::new(0, []);
    for entry in &index.entries {
        let digest = entry.described().digest;
        let url = format!("https://cdn.example/{}", blob_path(&digest)).parse().unwrap();
        catalog.add(entry.at(vec![url])).unwrap();
    }
    assert_eq!((catalog.artifacts().count(), catalog.used_bytes()), (3, 0));
}

#[test]
fn an_index_has_one_form() {
    let patch = Kind::Transfer { image: digest(1), encoding: Encoding::Bsdiff, from: Some(digest(2)) };
    let packed = Kind::Transfer { image: digest(1), encoding: Encoding::Zstd, from: None };
    let bare = Artifact { sha1: None, attributes: BTreeMap::new(), signatures: Vec::new(), ..artifact(3) };
    let all = [
        Artifact { kind: patch, md5: Some(Md5([9; 16])), ..artifact(9) },
        Artifact { kind: packed, ..artifact(8) },
        Artifact { kind: Kind::Bundle, ..artifact(7) },
        Artifact { kind: Kind::Configuration, ..bare },
    ];
    let index = Index::new(7, 8, all.iter().map(Entry::new));
    let bytes = index.encode();
    assert_eq!(Index::decode(&bytes).as_ref(), Ok(&index));
    assert_eq!(index.entry(&digest(7)).unwrap().described().kind, Kind::Bundle);
    for length in 0..bytes.len() {
        assert!(Index::decode(&bytes[..length]).is_err(), "{length}");
    }
    let mut twice = index.clone();
    twice.entries.push(index.entries[3].clone());
    assert_eq!(Index::decode(&twice.encode()), Err(InvalidIndex::Order));
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic_and_what_is_read_is_written_as_it_was(
        bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let _ = Index::decode(&bytes);
        let _ = Index::open(&[&[0xd2], &bytes[..]].concat(), &Key::new());
        let mut index = Index::new(7, 8, [Entry::new(&artifact(1)), Entry::new(&artifact(2))]).encode();
        let at = at.index(index.len());
        index[at] = byte;
        if let Ok(read) = Index::decode(&index) {
            prop_assert_eq!(read.encode(), index);
        }
    }
}
