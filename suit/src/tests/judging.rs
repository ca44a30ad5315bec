//! One thing out of order at a time: each is refused, and the refusal names the part.

use muster_schemas::firmware::{Announcement, Digest, Encoding, FailureCode, Outcome, Sequence, Uuid};

use super::world::*;
use crate::*;

fn refused(world: &World) -> (Part, Fault) {
    let refusal = world.judged().expect_err("out of order");
    (refusal.part, refusal.fault)
}

fn changed(change: impl FnOnce(&mut World)) -> (Part, Fault) {
    let mut world = World::new();
    change(&mut world);
    refused(&world)
}

#[test]
fn what_is_in_order_is_accepted() {
    let world = World::new();
    let accepted = world.judged().expect("in order");
    assert_eq!((accepted.image, accepted.size, accepted.sequence), (IMAGE, 3_002_368, Sequence(12)));
    assert_eq!(accepted.version.as_ref().map(ToString::to_string).as_deref(), Some("1.4.0"));
    assert_eq!(accepted.transfers, world.offer.transfers);
    assert_eq!((accepted.seen_s, accepted.newest), (NOW_S - 60, Sequence(12)));
}

#[test]
fn a_missing_part_is_named() {
    let world = World::new();
    let (envelope, offer, freshness) = (world.envelope(), world.offer(), world.freshness());
    let whole = Parts { envelope: Some(&envelope), offer: Some(&offer), freshness: Some(&freshness) };
    let judged = |root: Option<&Root>, parts| {
        judge(&world.device, &world.state, root, parts, Clock::Time(NOW_S)).expect_err("missing")
    };
    let root = Some(&world.root);
    for (part, refusal) in [
        (Part::Root, judged(None, whole)),
        (Part::Envelope, judged(root, Parts { envelope: None, ..whole })),
        (Part::Offer, judged(root, Parts { offer: None, ..whole })),
        (Part::Freshness, judged(root, Parts { freshness: None, ..whole })),
    ] {
        assert_eq!(refusal, Refusal { part, fault: Fault::Missing });
        assert_eq!(refusal.to_string(), format!("{part} is missing"));
    }
}

#[test]
fn an_announcement_is_judged_from_its_bytes() {
    let world = World::new();
    let announcement = Announcement {
        offer: world.offer(),
        freshness: world.freshness(),
        envelope: world.envelope(),
        roots: Vec::new(),
    };
    let judged = |announcement: &Announcement| {
        let read = Announcement::decode(&announcement.encode()).expect("an announcement");
        let root = follow(&world.root, &read.roots).expect("the root");
        judge(&world.device, &world.state, Some(&root), Parts::from(&read), Clock::Time(NOW_S))
    };
    assert_eq!(judged(&announcement), world.judged());
    let without = Announcement { offer: Vec::new(), ..announcement };
    assert_eq!(judged(&without), Err(Refusal { part: Part::Offer, fault: Fault::Missing }));
}

#[test]
fn what_has_expired_is_named() {
    let at_s = NOW_S;
    let expired = Fault::Expired { at_s, now_s: NOW_S };
    assert_eq!(changed(|w| w.root.expires_s = at_s), (Part::Root, expired.clone()));
    assert_eq!(changed(|w| w.offer.expires_s = at_s), (Part::Offer, expired.clone()));
    assert_eq!(changed(|w| w.freshness.expires_s = at_s), (Part::Freshness, expired));
}

#[test]
fn what_has_not_begun_is_named_and_clocks_may_differ_a_little() {
    let ahead = NOW_S + limits::CLOCK_AHEAD_S_MAX;
    let mut world = World::new();
    (world.offer.not_before_s, world.freshness.time_s) = (ahead, ahead);
    assert!(world.judged().is_ok());
    let not_yet = Fault::NotYet { at_s: ahead + 1, now_s: NOW_S };
    assert_eq!(changed(|w| w.offer.not_before_s = ahead + 1), (Part::Offer, not_yet.clone()));
    assert_eq!(changed(|w| w.freshness.time_s = ahead + 1), (Part::Freshness, not_yet));
}

#[test]
fn nothing_that_a_hub_signs_holds_for_longer_than_a_day() {
    let day_s = 24 * HOUR_S;
    let long = Fault::TooLong { found_s: day_s + 1, max_s: day_s };
    let offer = changed(|w| w.offer.expires_s = w.offer.not_before_s + day_s + 1);
    assert_eq!(offer, (Part::Offer, long.clone()));
    let freshness = changed(|w| w.freshness.expires_s = w.freshness.time_s + day_s + 1);
    assert_eq!(freshness, (Part::Freshness, long));
}

#[test]
fn what_is_foreign_is_named() {
    let tenant: muster_schemas::TenantId = "globex".parse().expect("a tenant");
    let foreign = Fault::OtherTenant(tenant.clone());
    assert_eq!(changed(|w| w.root.tenant = tenant.clone()), (Part::Root, foreign.clone()));
    assert_eq!(changed(|w| w.offer.tenant = tenant.clone()), (Part::Offer, foreign.clone()));
    assert_eq!(changed(|w| w.freshness.tenant = tenant.clone()), (Part::Freshness, foreign));
    let device: muster_schemas::DeviceId = "pump-8".parse().expect("a device");
    let other = changed(|w| w.offer.device = device.clone());
    assert_eq!(other, (Part::Offer, Fault::OtherDevice(device)));
    let class = Uuid([8; 16]);
    assert_eq!(changed(|w| w.freshness.class = class), (Part::Freshness, Fault::OtherClass(class)));
    let unfit = |change: &dyn Fn(&mut NewManifest)| refused(&World::new().remade(|m| change(m)));
    let vendor = unfit(&|m| m.vendor = class);
    assert_eq!(vendor, (Part::Envelope, Fault::Unfit(Unfit::Vendor(class))));
    assert_eq!(unfit(&|m| m.class = class), (Part::Envelope, Fault::Unfit(Unfit::Class(class))));
}

#[test]
fn what_is_older_is_named() {
    let older = |part, found, known| (part, Fault::Older { found, known });
    assert_eq!(changed(|w| w.state.sequence = Sequence(12)), older(Part::Envelope, 12, 12));
    assert_eq!(changed(|w| w.state.sequence = Sequence(13)), older(Part::Envelope, 12, 13));
    assert_eq!(changed(|w| w.state.newest = Sequence(13)), older(Part::Freshness, 12, 13));
    assert_eq!(changed(|w| w.freshness.sequence = Sequence(13)), older(Part::Offer, 12, 13));
    let seen = changed(|w| w.state.seen_s = NOW_S - 59);
    assert_eq!(seen, older(Part::Freshness, NOW_S - 60, NOW_S - 59));
}

#[test]
fn a_manifest_that_is_installed_is_not_installed_again() {
    let mut world = World::new();
    world.state = world.state.after_installing(world.offer.sequence, world.offer.manifest);
    let refusal = world.judged().expect_err("installed");
    assert_eq!((refusal.part, &refusal.fault), (Part::Envelope, &Fault::Installed));
    assert_eq!(refusal.outcome(), Outcome::AlreadyInstalled);
    // Another manifest with its number is none the less older.
    world.state.manifest = Some(Digest([0; 32]));
    assert_eq!(refused(&world), (Part::Envelope, Fault::Older { found: 12, known: 12 }));
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    let mismatched = |part, what, other| (part, Fault::Mismatched { what, other });
    let digest = Digest([5; 32]);
    assert_eq!(
        changed(|w| w.offer.manifest = digest),
        mismatched(Part::Offer, "the manifest", Part::Envelope)
    );
    assert_eq!(
        changed(|w| w.offer.sequence = Sequence(13)),
        mismatched(Part::Offer, "the number of the manifest", Part::Envelope)
    );
    assert_eq!(
        changed(|w| w.freshness.manifest = digest),
        mismatched(Part::Freshness, "the manifest", Part::Offer)
    );
    assert_eq!(
        changed(|w| w.freshness.sequence = Sequence(11)),
        mismatched(Part::Freshness, "the newest number", Part::Offer)
    );
}

#[test]
fn a_full_image_is_the_one_that_was_signed() {
    let mismatched = (Part::Offer, Fault::Mismatched { what: "the image", other: Part::Envelope });
    assert_eq!(changed(|w| w.offer.transfers[1].digest = Digest([5; 32])), mismatched);
    assert_eq!(changed(|w| w.offer.transfers[1].size += 1), mismatched);
}

#[test]
fn a_device_gets_only_transfers_that_it_can_use() {
    let mut world = World::new();
    world.device.image = Some(Digest([6; 32]));
    let accepted = world.judged().expect("in full");
    assert_eq!(accepted.transfers.len(), 1);
    assert_eq!(accepted.transfers[0].encoding, Encoding::Full);
    world.offer.transfers.truncate(1);
    assert_eq!(refused(&world), (Part::Offer, Fault::NoTransfer));
    // Without any, the manifest's own addresses count.
    world.offer.transfers.clear();
    let accepted = world.judged().expect("from the manifest");
    assert_eq!(accepted.transfers[0].uris, ["https://firmware.acme.example/1.4.0.bin"]);
    let mut world = World::new().remade(|manifest| manifest.uri = None);
    world.offer.transfers.clear();
    assert_eq!(refused(&world), (Part::Offer, Fault::NoTransfer));
}

#[test]
fn an_image_that_fits_no_slot_is_refused_before_it_is_fetched() {
    let no_space = Fault::NoSpace { size: 3_002_368, slot_bytes: 3_002_367 };
    assert_eq!(changed(|w| w.device.slot_bytes = 3_002_367), (Part::Envelope, no_space));
}

#[test]
fn too_few_firmware_keys_are_not_enough() {
    let world = World::new();
    let judged = |keys: &[&SoftKey]| {
        let envelope = signed(&world.manifest.envelope(), keys);
        world.judged_with(&envelope, &world.offer(), &world.freshness(), Clock::Time(NOW_S))
    };
    let [one, two] = world.firmware_keys.as_slice() else { panic!("two keys") };
    assert!(judged(&[two, one]).is_ok() && judged(&[&key(), one, two]).is_ok());
    for keys in [&[][..], &[one], &[one, one], &[two, &key()], &[&world.hub, &world.root_keys[0]]] {
        let refusal = judged(keys).expect_err("too few");
        assert!(matches!(refusal.fault, Fault::Signatures { threshold: 2, .. }), "{refusal}");
        assert_eq!(refusal.outcome(), Outcome::Failed { code: FailureCode::Signature });
    }
}

#[test]
fn only_the_tenants_hub_offers() {
    let world = World::new();
    let strangers = [&key(), &world.firmware_keys[0], &world.root_keys[0]];
    for stranger in strangers {
        let offer = sign_offer(&world.offer, stranger).expect("signed");
        let refusal = world
            .judged_with(&world.envelope(), &offer, &world.freshness(), Clock::Time(NOW_S))
            .expect_err("a stranger's offer");
        assert_eq!((refusal.part, refusal.fault), (Part::Offer, Fault::Statement(InvalidStatement::Signer)));
        let freshness = sign_freshness(&world.freshness, stranger).expect("signed");
        let refusal = world
            .judged_with(&world.envelope(), &world.offer(), &freshness, Clock::Time(NOW_S))
            .expect_err("a stranger's statement");
        assert_eq!(refusal.part, Part::Freshness);
    }
    // One is not taken for the other.
    let refusal = world
        .judged_with(&world.envelope(), &world.freshness(), &world.freshness(), Clock::Time(NOW_S))
        .expect_err("no offer");
    assert!(matches!(refusal.fault, Fault::Statement(InvalidStatement::Content(_))));
}

#[test]
fn a_clock_that_is_behind_is_not_believed() {
    let mut world = World::new();
    world.state.seen_s = NOW_S;
    world.freshness.time_s = NOW_S;
    let long_ago = Clock::Time(1_000);
    assert!(world.judged_at(long_ago).is_ok(), "the hub said once that it is later");
    world.offer.expires_s = NOW_S;
    let refusal = world.judged_at(long_ago).expect_err("expired by the hub's own word");
    assert_eq!(refusal, Refusal { part: Part::Offer, fault: Fault::Expired { at_s: NOW_S, now_s: NOW_S } });
}

#[test]
fn a_device_without_a_clock_believes_what_echoes_its_nonce() {
    let asked = Clock::Asked([7; 16]);
    let world = World::new().asked_with([7; 16]);
    let accepted = world.judged_at(asked).expect("echoed");
    assert_eq!(accepted.seen_s, NOW_S - 60);
    let not_asked = |world: &World| {
        let refusal = world.judged_at(asked).expect_err("not echoed");
        assert_eq!(refusal.fault, Fault::NotAsked);
        refusal.part
    };
    assert_eq!(not_asked(&World::new()), Part::Freshness);
    assert_eq!(not_asked(&World::new().asked_with([8; 16])), Part::Freshness);
    let mut half = World::new().asked_with([7; 16]);
    half.offer.nonce = None;
    assert_eq!(not_asked(&half), Part::Offer);
    // The time that is echoed is never before one that was seen.
    let mut back = World::new().asked_with([7; 16]);
    back.state.seen_s = NOW_S;
    let refusal = back.judged_at(asked).expect_err("back in time");
    assert!(matches!(refusal.fault, Fault::Older { .. }));
}

#[test]
fn what_was_accepted_is_remembered_before_it_is_installed() {
    let mut world = World::new();
    let accepted = world.judged().expect("in order");
    world.state = world.state.after_accepting(&accepted);
    assert!(world.judged().is_ok(), "the same again, after a power cut");
    world.freshness.time_s -= 1;
    assert!(matches!(refused(&world), (Part::Freshness, Fault::Older { .. })), "what the hub said before");
    // An older offer that has not expired yet comes out of a drawer.
    let older = World {
        state: State { sequence: Sequence(10), ..world.state },
        ..World::new().remade(|m| m.sequence = Sequence(11))
    };
    assert_eq!(refused(&older), (Part::Freshness, Fault::Older { found: 11, known: 12 }));
}
