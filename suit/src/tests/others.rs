//! What others made and read: both examples of the draft, envelopes of `taylor-suit` 0.2.2 (its input lies beside
//! them in `vectors/`), and the crate `suit_validator` 0.1.3 with the cryptography that it comes with.

use cose_minicbor::cose_keys::{CoseAlg, CoseKey, CoseKeySetBuilder, Curve, KeyType};
use muster_schemas::firmware::{Digest, Sequence, Uuid};
use suit_validator::{crypto::CoseCrypto, handler::GenericStartHandler, suit_decode};

use super::world::*;
use crate::*;

pub(super) fn vector(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal")
}

pub(super) fn draft(number: usize) -> Vec<u8> {
    vector(
        [
            include_str!("../../vectors/draft-34-example-0.hex"),
            include_str!("../../vectors/draft-34-example-1.hex"),
        ][number],
    )
}

pub(super) fn taylor(number: usize) -> Vec<u8> {
    vector(
        [
            include_str!("../../vectors/taylor-0.2.2-one-image.hex"),
            include_str!("../../vectors/taylor-0.2.2-slots-and-versions.hex"),
        ][number],
    )
}

fn draft_key() -> PublicKey {
    PublicKey::from_pem(include_bytes!("../../vectors/draft-34.pub.pem")).expect("the draft's key")
}

fn taylor_key() -> PublicKey {
    PublicKey::from_pem(include_bytes!("../../vectors/taylor-0.2.2.pub.pem")).expect("a key")
}

/// What the draft's examples are about.
fn draft_manifest(number: u64) -> NewManifest {
    let image = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
    NewManifest {
        sequence: Sequence(number),
        vendor: vendor_id("arm.com"),
        class: "1492af14-2569-5e48-bf42-9b2d51f2ab45".parse().expect("a UUID"),
        image: image.parse().expect("a digest"),
        size: 34_768,
        version: None,
        uri: (number == 1).then(|| "http://example.com/file.bin".into()),
        invoke: number == 0,
    }
}

fn draft_facts() -> Facts {
    let of = draft_manifest(0);
    Facts { vendor: of.vendor, class: of.class, unit: None, slot: None, version: None }
}

/// Whether suit_validator takes an envelope as signed with that key.
pub(super) fn validator_takes(envelope: &[u8], key: &PublicKey) -> bool {
    let mut coordinates = CoseKey::new(KeyType::Ec2);
    coordinates.alg(CoseAlg::ES256);
    coordinates.crv(Curve::P256).expect("a curve");
    let (x, y) = key.as_point()[1..].split_at(32);
    coordinates.x(x).expect("x");
    coordinates.y(y).expect("y");
    let mut keys: CoseKeySetBuilder<256> = CoseKeySetBuilder::try_new().expect("a set of keys");
    keys.push_key(coordinates).expect("room for a key");
    let keys = keys.into_bytes().expect("keys");
    let mut crypto = CoseCrypto::new(keys.as_ref());
    let mut handler = GenericStartHandler { on_envelope: |_| (), on_manifest: |_| panic!("an envelope") };
    suit_decode(envelope, &mut handler, &mut crypto).is_ok()
}

#[test]
fn both_examples_of_the_draft_verify_with_the_drafts_key() {
    for number in [0, 1] {
        let bytes = draft(number);
        let envelope = Envelope::open(&bytes).expect("the example");
        assert_eq!(envelope.signers(&[&draft_key()]), [&draft_key()], "example {number}");
        let manifest = envelope.manifest().expect("its manifest");
        assert_eq!(manifest.sequence, Sequence(number as u64));
        let images = carry_out(&manifest, &draft_facts()).expect("what it comes to");
        let [image] = images.as_slice() else { panic!("one image") };
        assert_eq!((image.digest, image.size), (draft_manifest(0).image, 34_768));
        assert_eq!(image.uris.len(), number);
        let other = Facts { class: Uuid([0; 16]), ..draft_facts() };
        assert!(matches!(carry_out(&manifest, &other), Err(Unfit::Class(_))));
    }
}

#[test]
fn no_byte_of_an_example_can_be_another() {
    let key = draft_key();
    for number in [0, 1] {
        let bytes = draft(number);
        for place in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                let believed =
                    Envelope::open(&changed).is_ok_and(|envelope| !envelope.signers(&[&key]).is_empty());
                assert!(!believed, "example {number}, byte {place}");
            }
        }
    }
}

#[test]
fn we_write_the_drafts_manifests_byte_for_byte() {
    for number in [0, 1] {
        let (theirs, ours) = (draft(number), draft_manifest(number as u64).envelope());
        let digest = |bytes: &[u8]| Envelope::open(bytes).expect("an envelope").digest();
        assert_eq!(digest(&ours), digest(&theirs), "example {number}");
    }
}

#[test]
fn what_taylor_makes_is_read() {
    let bytes = taylor(0);
    let envelope = Envelope::open(&bytes).expect("an envelope");
    assert_eq!(envelope.signers(&[&draft_key(), &taylor_key()]), [&taylor_key()]);
    let manifest = envelope.manifest().expect("a manifest");
    let images = carry_out(&manifest, &draft_facts()).expect("what it comes to");
    assert_eq!(images[0].uris, ["https://example.com/file.bin"]);
    assert_eq!((images[0].digest, images[0].size), (draft_manifest(0).image, 34_768));
}

#[test]
fn taylors_alternatives_are_gone_through() {
    let bytes = taylor(1);
    let envelope = Envelope::open(&bytes).expect("an envelope");
    assert_eq!(envelope.signers(&[&taylor_key()]).len(), 1);
    let manifest = envelope.manifest().expect("a manifest");
    let facts = |slot, version: &str| Facts {
        vendor: vendor(),
        class: class(),
        unit: None,
        slot,
        version: Some(version.parse().expect("a version")),
    };
    let at = |slot, version| carry_out(&manifest, &facts(slot, version)).map(|images| images[0].uris.clone());
    assert_eq!(at(Some(0), "1.2.7"), Ok(vec!["https://example.com/a.bin".to_owned()]));
    assert_eq!(at(Some(1), "1.0-rc.2"), Ok(vec!["https://example.com/b.bin".to_owned()]));
    assert_eq!(at(Some(2), "1.2.7"), Err(Unfit::Slot));
    assert_eq!(at(None, "1.2.7"), Err(Unfit::Slot));
    assert_eq!(at(Some(0), "1.0-beta"), Err(Unfit::Version));
}

#[test]
fn suit_validator_takes_what_we_make_with_any_of_its_members() {
    let (ours, other) = (key(), key());
    let full = World::new().manifest;
    for manifest in [
        full.clone(),
        NewManifest { version: None, ..full.clone() },
        NewManifest { uri: None, invoke: false, ..full.clone() },
        NewManifest { sequence: Sequence(u64::MAX), image: Digest([0xff; 32]), size: u64::MAX, ..full },
        draft_manifest(0),
        draft_manifest(1),
    ] {
        let once = signed(&manifest.envelope(), &[&ours]);
        assert!(validator_takes(&once, ours.public()), "{manifest:?}");
        assert!(!validator_takes(&once, other.public()), "it looks at the key");
        let mut changed = once.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert!(!validator_takes(&changed, ours.public()), "it looks at the digest");
        // It reads the first signature of several.
        assert!(validator_takes(&signed(&manifest.envelope(), &[&ours, &other]), ours.public()));
    }
}

#[test]
fn suit_validator_and_we_agree_on_what_others_made() {
    for (bytes, key) in [
        (draft(0), draft_key()),
        (draft(1), draft_key()),
        (taylor(0), taylor_key()),
        (taylor(1), taylor_key()),
    ] {
        assert!(validator_takes(&bytes, &key));
        assert_eq!(Envelope::open(&bytes).expect("an envelope").signers(&[&key]).len(), 1);
    }
}
