//! The rules of a root: who signs the next one, in which order.

use muster_schemas::firmware::Sequence;

use super::world::*;
use crate::*;

#[test]
fn a_root_is_believed_when_enough_of_its_own_keys_have_signed() {
    let World { root_keys: keys, root, .. } = World::new();
    assert_eq!(Root::first(&signed_root(&root, &[&keys[0], &keys[2]])), Ok(root.clone()));
    let one = Root::first(&signed_root(&root, &[&keys[1]]));
    assert_eq!(one, Err(Unfollowed::Own { found: 1, threshold: 2 }));
    let strangers = Root::first(&signed_root(&root, &[&keys[1], &key(), &key()]));
    assert_eq!(strangers, Err(Unfollowed::Own { found: 1, threshold: 2 }));
    assert!(matches!(Root::first(&signed_root(&root, &[])), Err(Unfollowed::Invalid(_))));
}

#[test]
fn the_same_key_twice_counts_once() {
    let World { root_keys: keys, root, .. } = World::new();
    let payload = RootDraft::new(root).expect("a root").encode();
    let signature = cose::sign_several(&payload, &keys[0]).expect("signed");
    let again = cose::sign_several(&payload, &keys[0]).expect("signed");
    let bytes = cose::with_signatures(&payload, &[signature, again, signature]);
    assert_eq!(Root::first(&bytes), Err(Unfollowed::Own { found: 1, threshold: 2 }));
}

#[test]
fn the_next_root_is_signed_by_the_one_before_and_by_itself() {
    let World { root_keys: old, root, .. } = World::new();
    let new = [key(), key()];
    let next = Root { version: 2, root: Role::new(publics(&new), 2), ..root.clone() };
    let both = signed_root(&next, &[&old[0], &old[1], &new[0], &new[1]]);
    assert_eq!(root.next(&both), Ok(next.clone()));
    let without_old = signed_root(&next, &[&old[0], &new[0], &new[1]]);
    assert_eq!(root.next(&without_old), Err(Unfollowed::Before { found: 1, threshold: 2 }));
    let without_new = signed_root(&next, &[&old[0], &old[1], &new[0]]);
    assert_eq!(root.next(&without_new), Err(Unfollowed::Own { found: 1, threshold: 2 }));
    let after = Root { version: 3, ..next.clone() };
    let after = signed_root(&after, &[&new[0], &new[1]]);
    let followed = follow(&root, &[both.clone(), after.clone()]).expect("both, one after the other");
    assert_eq!(followed.version, 3);
    // What the device has already is passed over; a gap is not.
    assert_eq!(follow(&next, &[both, after.clone()]).map(|root| root.version), Ok(3));
    let gap = follow(&root, &[after]).expect_err("a gap");
    assert_eq!(gap.fault, Fault::Root(Unfollowed::Version { found: 3, next: 2 }));
}

#[test]
fn a_root_follows_only_on_the_version_before_it_of_the_same_tenant() {
    let World { root_keys: keys, root, .. } = World::new();
    let signers: Vec<_> = keys.iter().collect();
    for version in [1, 3, u64::MAX] {
        let other = Root { version, ..root.clone() };
        let unfollowed = Unfollowed::Version { found: version, next: 2 };
        assert_eq!(root.next(&signed_root(&other, &signers)), Err(unfollowed));
    }
    let tenant: muster_schemas::TenantId = "globex".parse().expect("a tenant");
    let foreign = Root { version: 2, tenant: tenant.clone(), ..root.clone() };
    assert_eq!(root.next(&signed_root(&foreign, &signers)), Err(Unfollowed::Tenant(tenant)));
    let last = Root { version: u64::MAX, ..root };
    assert!(last.next(&signed_root(&last, &signers)).is_err(), "nothing follows on the last number");
}

#[test]
fn a_root_in_between_may_have_expired_and_the_last_may_not() {
    let mut world = World::new();
    let signers: Vec<_> = world.root_keys.iter().collect();
    let expired = Root { version: 2, expires_s: NOW_S - 1, ..world.root.clone() };
    let fresh = Root { version: 3, ..world.root.clone() };
    let roots = [signed_root(&expired, &signers), signed_root(&fresh, &signers)];
    let at_two = follow(&world.root, &roots[..1]).expect("it follows");
    let at_three = follow(&world.root, &roots).expect("it follows");
    world.root = at_three;
    assert!(world.judged().is_ok());
    world.root = at_two;
    let refusal = world.judged().expect_err("expired");
    assert_eq!(
        refusal,
        Refusal { part: Part::Root, fault: Fault::Expired { at_s: NOW_S - 1, now_s: NOW_S } }
    );
}

#[test]
fn what_a_thief_of_a_hubs_key_said_of_time_is_forgotten_with_the_key() {
    let mut world = World::new();
    // He told a device without a clock that it is far later than it is.
    world.state.seen_s = NOW_S + 10 * 365 * 24 * HOUR_S;
    world.state.newest = Sequence(500);
    let asked = Clock::Asked([7; 16]);
    let mut world = world.asked_with([7; 16]);
    assert!(matches!(world.judged_at(asked).expect_err("as if late").fault, Fault::Older { .. }));
    let more = Root {
        hub: Role::new(vec![world.hub.public().clone(), key().public().clone()], 1),
        ..world.root.clone()
    };
    assert_eq!(world.state.after_following(&world.root, &more), world.state, "a key more takes nothing back");
    let hub = key();
    let next = Root { version: 2, hub: Role::new(vec![hub.public().clone()], 1), ..world.root.clone() };
    world.state = world.state.after_following(&world.root, &next);
    assert_eq!(
        (world.state.sequence, world.state.newest),
        (Sequence(11), Sequence(11)),
        "what was installed counts on"
    );
    (world.root, world.hub) = (next, hub);
    assert!(world.judged_at(asked).is_ok());
}

#[test]
fn what_cannot_be_a_root_is_none() {
    let World { root, hub, firmware_keys, .. } = World::new();
    let refused = |change: &dyn Fn(&mut Root)| {
        let mut changed = root.clone();
        change(&mut changed);
        RootDraft::new(changed).expect_err("no root")
    };
    assert_eq!(refused(&|r| r.version = 0), InvalidRoot::Version);
    assert!(matches!(refused(&|r| r.root.threshold = 4), InvalidRoot::Threshold { role: "the root", .. }));
    assert!(matches!(refused(&|r| r.firmware.threshold = 0), InvalidRoot::Threshold { .. }));
    assert!(matches!(refused(&|r| r.hub.keys.clear()), InvalidRoot::Threshold { .. }));
    assert_eq!(refused(&|r| r.firmware.keys.push(hub.public().clone())), InvalidRoot::HubKeyElsewhere);
    assert_eq!(refused(&|r| r.root.keys.push(hub.public().clone())), InvalidRoot::HubKeyElsewhere);
    assert_eq!(refused(&|r| r.firmware.keys.push(firmware_keys[0].public().clone())), InvalidRoot::Twice);
    let two = |r: &mut Root| {
        r.hub = Role::new(vec![hub.public().clone(), key().public().clone()], 2);
    };
    assert_eq!(refused(&two), InvalidRoot::HubThreshold);
    let many = |r: &mut Root| r.firmware.keys.extend((0..16).map(|_| key().public().clone()));
    assert!(matches!(refused(&many), InvalidRoot::Cbor(_)));
}

#[test]
fn a_draft_goes_from_hand_to_hand_and_keeps_its_signatures() {
    let World { root_keys: keys, root, .. } = World::new();
    let mut draft = RootDraft::new(root.clone()).expect("a root");
    for signer in &keys {
        let read = RootDraft::decode(&draft.encode()).expect("a draft");
        assert_eq!(read.root().keys(), root.keys());
        draft = read;
        draft.sign(signer).expect("signed");
        draft.sign(signer).expect("signed once");
    }
    assert_eq!(draft.signers(&root.root.keys()).len(), 3);
    assert_eq!(Root::first(&draft.encode()).map(|root| root.version), Ok(1));
}

#[test]
fn no_part_of_a_root_is_a_root_and_no_byte_of_it_can_be_another() {
    let World { root_keys: keys, root, .. } = World::new();
    let bytes = signed_root(&root, &[&keys[0], &keys[1]]);
    for length in 0..bytes.len() {
        assert!(Root::first(&bytes[..length]).is_err());
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Root::first(&changed).is_err(), "byte {place}");
    }
    assert!(Root::first(&[&bytes[..], &[0]].concat()).is_err());
}
