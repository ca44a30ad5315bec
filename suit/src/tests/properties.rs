//! What holds whatever comes: nothing that was changed is accepted, and a stolen hub key alone installs nothing.

use muster_schemas::firmware::{Digest, Freshness, Offer, Sequence, Transfer};
use proptest::prelude::*;

use super::{others, world::*};
use crate::*;

#[test]
fn no_changed_byte_of_any_part_is_accepted() {
    let world = World::new();
    let parts = [world.envelope(), world.offer(), world.freshness()];
    for (which, part) in parts.iter().enumerate() {
        for place in 0..part.len() {
            for flip in [0x01, 0x80] {
                let mut changed = parts.clone();
                changed[which][place] ^= flip;
                let [envelope, offer, freshness] = &changed;
                let judged = world.judged_with(envelope, offer, freshness, Clock::Time(NOW_S));
                assert!(judged.is_err(), "part {which}, byte {place}");
            }
        }
    }
}

/// What a thief of the hub's key can choose freely.
#[derive(Debug, Clone)]
struct Theft {
    sequence: u64,
    image: [u8; 32],
    life_s: u64,
    stated: u64,
    signed_by_hub: bool,
    of_others: usize,
}

fn theft() -> impl Strategy<Value = Theft> {
    (any::<u64>(), any::<[u8; 32]>(), 0_u64..200_000, any::<u64>(), any::<bool>(), 0_usize..5).prop_map(
        |(sequence, image, life_s, stated, signed_by_hub, of_others)| Theft {
            sequence,
            image,
            life_s,
            stated,
            signed_by_hub,
            of_others,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whoever has the hub's key signs any offer and any statement, for a manifest of his own or of others, signed by
    /// whichever keys he has. The device runs nothing of it.
    #[test]
    fn a_stolen_hub_key_alone_installs_nothing(theft in theft()) {
        let world = World::new();
        let own = NewManifest {
            sequence: Sequence(theft.sequence),
            image: Digest(theft.image),
            ..world.manifest.clone()
        };
        let thiefs = [key(), key()];
        let mut envelope = signed(&own.envelope(), &[&thiefs[0], &thiefs[1]]);
        if theft.signed_by_hub {
            envelope = signed(&envelope, &[&world.hub]);
        }
        // One of the tenant's two keys is not enough either.
        if theft.of_others == 4 {
            envelope = signed(&own.envelope(), &[&world.firmware_keys[0], &world.hub]);
        }
        let envelope = match theft.of_others {
            place @ (0 | 1) => others::draft(place),
            // What the tenant signed before: installed already, or older than it.
            2 => {
                let before = NewManifest { sequence: Sequence(theft.sequence.min(11)), ..own };
                signed(&before.envelope(), &world.firmware_keys.iter().collect::<Vec<_>>())
            }
            _ => envelope,
        };
        let digest = Envelope::open(&envelope).expect("an envelope").digest();
        let sequence = Envelope::open(&envelope).and_then(|e| e.manifest()).expect("a manifest").sequence;
        let full = Transfer { digest: Digest(theft.image), ..world.offer.transfers[1].clone() };
        let offer = Offer {
            manifest: digest,
            sequence,
            expires_s: world.offer.not_before_s + theft.life_s,
            transfers: vec![full],
            ..world.offer.clone()
        };
        for stated in [theft.stated, sequence.0] {
            let freshness = Freshness { manifest: digest, sequence: Sequence(stated), ..world.freshness.clone() };
            let (offer, freshness) = (
                sign_offer(&offer, &world.hub).expect("signed"),
                sign_freshness(&freshness, &world.hub).expect("signed"),
            );
            let judged = world.judged_with(&envelope, &offer, &freshness, Clock::Time(NOW_S));
            prop_assert!(judged.is_err());
        }
    }

    /// With the hub's key and what the tenant once signed, a thief brings a device forward to it, and never back.
    #[test]
    fn a_stolen_hub_key_never_brings_a_device_back(installed in 0_u64..40, offered in 0_u64..40) {
        let mut world = World::new().remade(|manifest| manifest.sequence = Sequence(offered));
        world.state = State { sequence: Sequence(installed), newest: Sequence(0), ..world.state };
        prop_assert_eq!(world.judged().is_ok(), offered > installed);
    }

    /// With that key he cannot make himself a root either.
    #[test]
    fn a_stolen_hub_key_makes_no_root(version in 1_u64..5, times in 1_usize..4) {
        let world = World::new();
        let thiefs = key();
        let mine = Root {
            version,
            firmware: Role::new(vec![thiefs.public().clone()], 1),
            root: Role::new(vec![thiefs.public().clone()], 1),
            ..world.root.clone()
        };
        let mut draft = RootDraft::new(mine).expect("a root");
        for _ in 0..times {
            draft.sign(&world.hub).expect("signed");
            draft.sign(&thiefs).expect("signed");
        }
        prop_assert!(world.root.next(&draft.encode()).is_err());
        prop_assert!(follow(&world.root, &[draft.encode()]).map(|root| root == world.root).unwrap_or(true));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_usize..4) {
        let heads: [&[u8]; 4] = [&[], &[0xd8, 0x6b], &[0xd2, 0x84, 0x43, 0xa1, 1, 0x26, 0xa0], &[0xd8, 0x62, 0x84]];
        let bytes = [heads[kind], &bytes].concat();
        let world = World::new();
        let _ = Envelope::open(&bytes).and_then(|envelope| envelope.manifest());
        let _ = RootDraft::decode(&bytes);
        let _ = Root::first(&bytes);
        let _ = read_offer(&bytes, &world.root.hub);
        let _ = PublicKey::from_pem(&bytes);
        let _ = SoftKey::from_pem(&bytes);
        prop_assert!(world.judged_with(&bytes, &bytes, &bytes, Clock::Time(NOW_S)).is_err());
    }

    /// Whatever a manifest is made of, it is read as it was written, and another run writes the same bytes.
    #[test]
    fn what_is_built_is_read(
        sequence: u64, image: [u8; 32], size: u64, uri in proptest::option::of("https://[a-z]{1,40}"),
        numbers in proptest::option::of(proptest::collection::vec(-3_i64..1_000, 1..8)), invoke: bool,
    ) {
        let manifest = NewManifest {
            sequence: Sequence(sequence),
            vendor: vendor(),
            class: class(),
            image: Digest(image),
            size,
            version: numbers.and_then(Version::new),
            uri: uri.clone(),
            invoke,
        };
        let bytes = manifest.envelope();
        prop_assert_eq!(&bytes, &manifest.envelope());
        let read = Envelope::open(&bytes).and_then(|envelope| envelope.manifest()).expect("a manifest");
        prop_assert_eq!((read.sequence, &read.version), (manifest.sequence, &manifest.version));
        let images = carry_out(&read, &World::new().device.facts).expect("for this device");
        prop_assert_eq!((images[0].digest, images[0].size), (manifest.image, size));
        prop_assert_eq!(images[0].uris.first(), uri.as_ref());
    }
}
