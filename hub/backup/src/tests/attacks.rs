//! What somebody does who can write where the backups lie, knows the recipients' public keys, and has no private one.

use std::{fs, os::unix::fs::symlink};

use muster_seal::Padding;

use crate::{
    BackupError, HubKey, Place as _, Repository, Why, choose,
    limits::CHUNK_BYTES_MAX,
    make,
    manifest::{Stored, listed},
    object::{ContentKey, Kind, Reference, bound},
    survey,
};

use super::world::{Hub, World};

/// A world with one backup, so that every piece is one of it.
fn one() -> World {
    let mut world = World::new();
    world.backup(&Hub::with_rows(2_000)).unwrap();
    world
}

/// A world with three backups.
fn three() -> (World, Hub) {
    let mut world = World::new();
    let mut hub = Hub::with_rows(2_000);
    for _ in 0..3 {
        world.backup(&hub).unwrap();
        hub.append(100);
    }
    (world, hub)
}

#[test]
fn a_manifest_under_the_name_of_another_one_is_refused() {
    let (world, _) = three();
    let names = world.names("backups/");
    let old = fs::read(world.path().join(&names[0])).unwrap();
    fs::write(world.path().join(&names[2]), old).unwrap();
    assert!(matches!(world.restore(None), Err(BackupError::Forged { number: 3, .. })));
    assert!(!survey(&world.place(), None, &world.hub.signer()).unwrap().forged.is_empty());
}

#[test]
fn a_manifest_that_was_cut_or_changed_anywhere_is_refused() {
    let (world, _) = three();
    let name = world.names("backups/").pop().unwrap();
    let path = world.path().join(name);
    let whole = fs::read(&path).unwrap();
    for end in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(world.restore(None).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        fs::write(&path, &broken).unwrap();
        assert!(matches!(world.restore(None), Err(BackupError::Forged { .. })), "changed at {at}");
    }
}

#[test]
fn an_older_state_in_the_place_of_the_newest_is_noticed_by_the_hub() {
    let (mut world, hub) = three();
    let newest = world.names("backups/").pop().unwrap();
    fs::remove_file(world.path().join(newest)).unwrap();
    let refused = world.backup(&hub).unwrap_err();
    assert!(
        matches!(&refused, BackupError::Older { found, expected, .. } if found == "number 2" && expected == "number 3")
    );
    let mut order = world.order(world.memory.clone());
    order.force = true;
    // The number is never given twice, so that two states cannot pass for one another.
    assert_eq!(make(&order, &hub).unwrap().memory.number, 4);
}

#[test]
fn a_backup_that_was_made_anew_does_not_fit_the_one_after_it() {
    let (world, _) = three();
    // Whoever has the hub's key, but not what was written with it, as an old copy of the hub has.
    let second = world.names("backups/").remove(1);
    let listed = listed(&world.place()).unwrap()[1];
    let (mut key, _) = ContentKey::generate(&world.recipients, "x").unwrap();
    let object = key.seal(Kind::Manifest, listed.id(), Some(&[]), b"{}").unwrap();
    let forged = Stored::sign(listed, object, None, &world.hub);
    fs::write(world.path().join(second), forged.file()).unwrap();
    let survey = survey(&world.place(), None, &world.hub.signer()).unwrap();
    let [why] = survey.forged.as_slice() else { panic!("{survey:?}") };
    assert!(why.contains("backup 3: it does not follow on backup 2"), "{why}");
}

#[test]
fn a_forger_with_the_public_keys_and_a_key_of_his_own_is_refused() {
    let (mut world, hub) = three();
    let memory = world.memory.take();
    let ours = std::mem::replace(&mut world.hub, HubKey::derive(&[66; 32]).unwrap());
    assert!(matches!(world.backup(&hub), Err(BackupError::OtherHub { .. })));
    // He says in the clear that it is his.
    let repository = Repository::open(&world.place()).unwrap();
    let his = Repository { signer: world.hub.signer().to_string(), ..repository };
    fs::write(world.path().join("muster-backup.json"), serde_json::to_vec(&his).unwrap()).unwrap();
    for name in world.names("backups/") {
        fs::remove_file(world.path().join(name)).unwrap();
    }
    world.backup(&hub).unwrap();
    let theirs = std::mem::replace(&mut world.hub, ours);
    assert!(matches!(world.restore(None), Err(BackupError::Forged { .. })));
    world.memory = memory;
    assert!(world.backup(&hub).is_err());
    assert!(survey(&world.place(), None, &theirs.signer()).unwrap().is_whole());
}

#[test]
fn a_piece_that_somebody_else_sealed_for_the_recipients_is_not_taken() {
    let world = one();
    let repository = Repository::open(&world.place()).unwrap();
    let victim = world.names("chunks/").remove(0);
    let path = world.path().join(&victim);
    let (id, _) = Reference::named(&victim).unwrap();
    let bytes = fs::read(&path).unwrap().len();
    // Under a key of his own, and once with the victim's key id written into the head.
    let (mut key, stored) = ContentKey::generate(&world.recipients, &repository.id).unwrap();
    let plain = vec![0; bytes - 72 - 16];
    let object = key.seal(Kind::Rows, id, None, &plain).unwrap();
    world.place().put(&crate::object::key_name(&key.id), &stored).unwrap();
    fs::write(&path, &object).unwrap();
    let restored = world.restore(None).unwrap();
    assert_eq!((&restored.found.damages[0].object, &restored.found.damages[0].why), (&victim, &Why::Changed));
    // And with his key under the name of ours: the name of a key follows from the key.
    let (_, ours) = Reference::named(&victim).unwrap();
    let plain = muster_seal::open(&stored, &bound(&repository.id, &key.id), &world.opener).unwrap();
    let renamed = muster_seal::seal(&plain, &bound(&repository.id, &ours), &world.recipients, Padding::None);
    world.place().put(&crate::object::key_name(&ours), &renamed.unwrap()).unwrap();
    key.id = ours;
    fs::write(&path, key.seal(Kind::Rows, id, None, &vec![0; bytes - 72 - 16]).unwrap()).unwrap();
    let refused = world.restore(None).unwrap_err();
    let BackupError::Damage(damage) = refused else { panic!("{refused}") };
    assert!(matches!(damage.why, Why::KeyMissing(_)), "{damage}");
}

#[test]
fn a_piece_in_the_place_of_another_one_is_refused() {
    let world = one();
    let names = world.names("chunks/");
    fs::copy(world.path().join(&names[0]), world.path().join(&names[1])).unwrap();
    let restored = world.restore(None).unwrap();
    assert!(restored.found.damages.iter().all(|damage| damage.object == names[1]));
    assert_eq!(restored.found.damages.len(), 1);
}

#[test]
fn two_pieces_of_one_size_and_table_cannot_change_places() {
    let mut world = World::new();
    let mut hub = Hub::with_rows(0);
    for number in [1, 2] {
        // More than a piece takes, so that each is one of its own.
        hub.rows.push(("log".to_owned(), vec![number; 24], vec![number; CHUNK_BYTES_MAX]));
    }
    world.backup(&hub).unwrap();
    let sized = |name: &String| fs::metadata(world.path().join(name)).unwrap().len() > CHUNK_BYTES_MAX as u64;
    let names: Vec<String> = world.names("chunks/").into_iter().filter(sized).collect();
    let [one, two] = names.as_slice() else { panic!("{names:?}") };
    let pieces = [one, two].map(|name| fs::read(world.path().join(name)).unwrap());
    fs::write(world.path().join(two), &pieces[0]).unwrap();
    fs::write(world.path().join(one), &pieces[1]).unwrap();
    let found = world.restore(None).unwrap().found;
    assert_eq!(found.damages.iter().map(|damage| &damage.why).collect::<Vec<_>>(), [&Why::Changed; 2]);
}

#[test]
fn a_key_of_another_repository_does_not_open_here() {
    let (world, _) = three();
    let repository = Repository::open(&world.place()).unwrap();
    let other = Repository { id: "00".repeat(16), ..repository };
    fs::write(world.path().join("muster-backup.json"), serde_json::to_vec(&other).unwrap()).unwrap();
    assert!(matches!(world.restore(None), Err(BackupError::Damage(_))));
}

#[test]
fn an_object_without_end_is_not_read() {
    let world = one();
    let name = world.names("chunks/").remove(0);
    let path = world.path().join(&name);
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    assert!(matches!(world.restore(None), Err(BackupError::Place(_))));
    assert!(choose(&world.place(), Some(1)).is_ok());
}
