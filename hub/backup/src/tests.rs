//! The whole way: a hub of three tables and two tenants to a directory and back, and what others do to it in between.

mod attacks;
mod fake_s3;
mod world;

use std::{fs, path::Path};

use muster_seal::{Kem, Opener};

use crate::{
    BackupError, Directory, HubKey, Keep, Nowhere, Opened, Order, Place, PlaceError, Repository, S3, Why,
    choose, forget, list, make, prune, survey,
};
use fake_s3::FakeS3;
use world::{ACME, CANARY, Hub, Restored, World};

#[test]
fn what_was_backed_up_is_restored_with_files_and_keys() {
    let mut world = World::new();
    let hub = Hub::with_rows(3_000);
    let made = world.backup(&hub).unwrap();
    let restored = world.restore(None).unwrap();
    assert!(restored.found.is_whole(), "{:?}", restored.found);
    assert_eq!(restored.rows, hub.rows);
    assert_eq!(restored.files, hub.files);
    assert_eq!(restored.found.rows, made.rows);
    assert!(made.pieces > 4 && made.pieces == made.pieces_new, "{made:?}");
}

#[test]
fn a_second_backup_writes_what_is_new_and_no_more() {
    let mut world = World::new();
    let mut hub = Hub::with_rows(20_000);
    let first = world.backup(&hub).unwrap();
    hub.append(500);
    let second = world.backup(&hub).unwrap();
    assert_eq!((first.memory.number, second.memory.number), (1, 2));
    // Two tenants in two tables: what is appended lies in four places.
    assert!(second.pieces > 8 && second.pieces_new <= 8, "{second:?}");
    assert!(second.bytes_written < first.bytes_written / 4, "{first:?} {second:?}");
    let third = world.backup(&hub).unwrap();
    assert_eq!(third.pieces_new, 0);
    assert!(third.bytes_written < 8_192, "{third:?}");
    for (number, rows) in [(1, None), (2, Some(&hub.rows)), (3, Some(&hub.rows))] {
        let restored = world.restore(Some(number)).unwrap();
        assert!(restored.found.is_whole());
        assert!(rows.is_none_or(|rows| *rows == restored.rows));
    }
}

#[test]
fn a_backup_says_nothing_to_who_has_no_key() {
    let mut world = World::new();
    let hub = Hub::with_rows(2_000);
    world.backup(&hub).unwrap();
    let mut objects = 0;
    world.place().list("", &mut |_, _| objects += 1).unwrap();
    assert!(objects > 6);
    let mut looked_at = 0;
    for name in world.names("") {
        let bytes = fs::read(world.path().join(&name)).unwrap();
        looked_at += bytes.len();
        for secret in [CANARY, "acme", "telemetry", "muster.toml", "edge.example"] {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there && !name.contains(secret), "{secret} in {name}");
        }
        for key in [ACME.as_slice(), b"d-wrapped"] {
            assert!(!bytes.windows(key.len()).any(|part| part == key), "a key in {name}");
        }
    }
    assert!(looked_at > 200_000);
}

#[test]
fn a_key_that_it_was_not_made_for_is_told_which_would_do() {
    let mut world = World::new();
    world.backup(&Hub::with_rows(10)).unwrap();
    let right = world.opener.recipient().id().to_string();
    world.opener = Opener::generate(Kem::P256).unwrap();
    let refused = world.restore(None).unwrap_err();
    let BackupError::WrongKey { have, made_for } = refused else { panic!("{refused}") };
    assert_eq!((have, made_for), (world.opener.recipient().id().to_string(), right));
}

#[test]
fn each_of_several_recipients_opens_it_alone() {
    let mut world = World::new();
    let other = Opener::generate(Kem::X25519).unwrap();
    world.recipients.push(other.recipient().clone());
    let hub = Hub::with_rows(10);
    world.backup(&hub).unwrap();
    assert_eq!(world.restore(None).unwrap().rows, hub.rows);
    world.opener = other;
    assert_eq!(world.restore(None).unwrap().rows, hub.rows);
    world.recipients.clear();
    assert!(matches!(world.backup(&hub), Err(BackupError::NoRecipient)));
}

#[test]
fn a_flipped_bit_is_named_with_what_is_lost_and_the_rest_is_restored() {
    let mut world = World::new();
    let hub = Hub::with_rows(8_000);
    let made = world.backup(&hub).unwrap();
    for name in world.names("chunks/") {
        let path = world.path().join(&name);
        let whole = fs::read(&path).unwrap();
        for at in [9, 20, 40, 100, whole.len() - 1] {
            let mut broken = whole.clone();
            broken[at] ^= 4;
            fs::write(&path, &broken).unwrap();
            let restored = world.restore(None).unwrap();
            let [damage] = restored.found.damages.as_slice() else {
                panic!("{name} {at}: {:?}", restored.found)
            };
            assert_eq!(damage.object, name);
            assert!(damage.lost.contains(" rows of table "), "{damage}");
            let lost: u64 = damage.lost.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(restored.found.rows + lost, made.rows);
            assert!(restored.rows.iter().all(|row| hub.rows.binary_search(row).is_ok()));
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(world.restore(None).unwrap().found.is_whole());
}

#[test]
fn a_missing_piece_is_named_with_a_key_and_without() {
    let mut world = World::new();
    world.backup(&Hub::with_rows(8_000)).unwrap();
    let signer = world.hub.signer();
    assert!(survey(&world.place(), None, &signer).unwrap().is_whole());
    for part in ["chunks/", "index/", "tenant-keys/", "keys/"] {
        let name = world.names(part).remove(0);
        let path = world.path().join(&name);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let found = survey(&world.place(), None, &signer).unwrap();
        let [(_, found)] = found.backups.as_slice() else { panic!() };
        assert!(found.damages.iter().any(|damage| damage.to_string().contains(&name)), "{name}: {found:?}");
        match world.restore(None) {
            Ok(restored) => {
                let [damage] = restored.found.damages.as_slice() else { panic!("{:?}", restored.found) };
                assert_eq!((&damage.object, &damage.why), (&name, &Why::Missing));
                if part == "tenant-keys/" {
                    assert!(damage.lost.contains("keys of"), "{damage}");
                }
            }
            Err(BackupError::Damage(damage)) => {
                assert_eq!(part, "keys/");
                assert!(matches!(damage.why, Why::KeyMissing(_)), "{damage}");
            }
            Err(error) => panic!("{part}: {error}"),
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let cut = survey(&world.place(), None, &signer).unwrap();
        assert!(part == "keys/" || !cut.is_whole(), "{part}");
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_run_that_breaks_off_harms_no_earlier_backup_and_the_next_one_goes_on() {
    let mut world = World::new();
    let mut hub = Hub::with_rows(8_000);
    world.backup(&hub).unwrap();
    let first = hub.rows.clone();
    hub.append(8_000);
    hub.breaks_after = Some(9_000);
    assert!(matches!(world.backup(&hub), Err(BackupError::Source(_))));
    assert_eq!(list(&world.place()).unwrap().len(), 1);
    assert_eq!(world.restore(None).unwrap().rows, first);
    hub.breaks_after = None;
    world.backup(&hub).unwrap();
    assert_eq!(world.restore(None).unwrap().rows, hub.rows);
}

#[test]
fn pruning_keeps_what_is_kept_whole_and_leaves_nothing_else() {
    let mut world = World::new();
    let mut hub = Hub::with_rows(8_000);
    world.backup(&hub).unwrap();
    hub.rows.retain(|(table, key, _)| table != "telemetry" || key[17] % 2 == 0);
    hub.append(4_000);
    world.backup(&hub).unwrap();
    let before = world.names("").len();
    let dry = prune(&world.place(), &Keep { last: 1, ..Keep::default() }, 9, false, true).unwrap();
    assert_eq!(world.names("").len(), before);
    let pruned = prune(&world.place(), &Keep { last: 1, ..Keep::default() }, 9, false, false).unwrap();
    assert_eq!((dry.objects, dry.bytes), (pruned.objects, pruned.bytes));
    assert_eq!(pruned.removed.iter().map(|listed| listed.number).collect::<Vec<_>>(), [1]);
    assert!(pruned.objects > 2 && world.names("").len() as u64 == before as u64 - pruned.objects - 1);
    let restored = world.restore(None).unwrap();
    assert!(restored.found.is_whole() && restored.rows == hub.rows);
    assert!(matches!(world.restore(Some(1)), Err(BackupError::NoBackup(1))));
    let again = prune(&world.place(), &Keep { last: 1, ..Keep::default() }, 9, false, false).unwrap();
    assert_eq!((again.objects, again.removed.len()), (0, 0));
}

#[test]
fn nothing_is_pruned_while_a_backup_is_made_or_when_one_that_is_kept_cannot_be_read() {
    let mut world = World::new();
    world.backup(&Hub::with_rows(100)).unwrap();
    let keep = Keep { last: 1, ..Keep::default() };
    fs::write(world.path().join("busy.json"), r#"{"what":"a backup","since_ms":5}"#).unwrap();
    assert!(matches!(prune(&world.place(), &keep, 9, false, false), Err(BackupError::Busy { .. })));
    assert!(prune(&world.place(), &keep, 9, true, false).is_ok());
    let piece = world.names("index/").remove(0);
    fs::remove_file(world.path().join(piece)).unwrap();
    let before = world.names("");
    assert!(matches!(prune(&world.place(), &keep, 9, false, false), Err(BackupError::Damage(_))));
    assert_eq!(world.names(""), before);
}

#[test]
fn a_tenant_that_is_forgotten_has_no_keys_in_any_backup_and_others_keep_theirs() {
    let mut world = World::new();
    let hub = Hub::with_rows(1_000);
    world.backup(&hub).unwrap();
    world.backup(&hub).unwrap();
    let other = HubKey::derive(&[9; 32]).unwrap();
    assert!(matches!(forget(&world.place(), &other, &ACME), Err(BackupError::OtherHub { .. })));
    assert_eq!(forget(&world.place(), &world.hub, &ACME).unwrap(), 1);
    for number in [1, 2] {
        let restored = world.restore(Some(number)).unwrap();
        let [damage] = restored.found.damages.as_slice() else { panic!("{:?}", restored.found) };
        assert!(damage.lost.contains("keys of tenant acme"), "{damage}");
        let keys = |key: &[u8]| {
            restored.rows.iter().filter(|(table, k, _)| table == "/keys" && k.get(1..17) == Some(key)).count()
        };
        assert_eq!(keys(&ACME), 0);
        assert_eq!(keys(&world::OTHER), 2);
    }
}

#[test]
fn of_each_day_week_and_month_the_last_backup_is_kept() {
    let day = 24 * 60 * 60 * 1_000;
    let backups: Vec<_> = (0..400_u64)
        .map(|number| crate::Listed { number, made_at_ms: number * day / 2, manifest_bytes: 0 })
        .collect();
    let keep = Keep { last: 3, daily: 4, weekly: 3, monthly: 4 };
    let kept: Vec<u64> = keep.choose(&backups).iter().map(|listed| listed.number).collect();
    // 1 January 1970 was a Thursday: the first Sunday ends with backup 7, and each week with one 14 later.
    assert_eq!(kept, [239, 299, 359, 371, 385, 393, 395, 397, 398, 399]);
    assert_eq!(Keep::default().choose(&backups).len(), 1);
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let mut world = World::new();
    fs::write(world.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(world.backup(&Hub::with_rows(1)), Err(BackupError::NotARepository { .. })));
    assert_eq!(fs::read_dir(world.path()).unwrap().count(), 1);
    let nothing = Directory::new(&world.path().join("nothing"));
    assert!(matches!(choose(&nothing, None), Err(BackupError::NoRepository(_))));
    fs::remove_file(world.path().join("letter.txt")).unwrap();
    world.backup(&Hub::with_rows(1)).unwrap();
    let repository = Repository::open(&world.place()).unwrap();
    let later = serde_json::to_vec(&Repository { format: 2, ..repository }).unwrap();
    fs::write(world.path().join("muster-backup.json"), later).unwrap();
    assert!(matches!(world.restore(None), Err(BackupError::Version { version: 2, .. })));
}

#[test]
fn verifying_reads_all_and_keeps_nothing() {
    let mut world = World::new();
    let made = world.backup(&Hub::with_rows(500)).unwrap();
    let place = world.place();
    let repository = Repository::open(&place).unwrap();
    let listed = choose(&place, None).unwrap();
    let mut opened = Opened::open(&place, &repository, listed, &world.opener, &world.hub.signer()).unwrap();
    assert_eq!(opened.memory(), made.memory);
    let found = opened.read(&|_| true, &mut Nowhere).unwrap();
    assert_eq!((found.rows, found.bytes, found.pieces), (made.rows, made.bytes, made.pieces + 1));
    assert_eq!(opened.read(&|table| table == "log", &mut Nowhere).unwrap().rows, 500);
    let Restored { .. } = world.restore(None).unwrap();
    assert!(make(&world.order(Some(made.memory)), &Hub::with_rows(1)).is_ok());
}

#[test]
fn a_fake_object_store_takes_backups_and_gives_them_back_although_it_is_slow_at_times() {
    let fake = FakeS3::start();
    let place = S3::new(&fake.place(), "key", "secret").unwrap();
    assert!(matches!(list(&place), Err(BackupError::NoRepository(_))));
    let world = World::new();
    let hub = Hub::with_rows(3_000);
    let order = Order { place: &place, ..world.order(None) };
    let first = make(&order, &hub).unwrap();
    fake.fail_next(2);
    let second = make(&Order { memory: Some(first.memory), place: &place, ..world.order(None) }, &hub);
    assert_eq!(second.unwrap().pieces_new, 0);
    assert!(fake.names().len() > 10 && fake.names().iter().all(|name| name.starts_with("hubs/one/")));
    assert!(survey(&place, None, &world.hub.signer()).unwrap().is_whole());
    let repository = Repository::open(&place).unwrap();
    let listed = choose(&place, None).unwrap();
    let mut opened = Opened::open(&place, &repository, listed, &world.opener, &world.hub.signer()).unwrap();
    let mut restored = Restored::default();
    assert!(opened.read(&|_| true, &mut restored).unwrap().is_whole());
    restored.rows.sort();
    assert_eq!(restored.rows, hub.rows);
    let pruned = prune(&place, &Keep::default(), 9, false, false).unwrap();
    assert_eq!(pruned.removed.len(), 1);
    assert!(survey(&place, None, &world.hub.signer()).unwrap().is_whole());
}

#[test]
fn who_may_only_add_makes_backups_one_after_the_other() {
    struct AddOnly(Directory);
    impl Place for AddOnly {
        fn put(&self, name: &str, object: &[u8]) -> Result<(), PlaceError> {
            self.0.put(name, object)
        }
        fn settle(&self) -> Result<(), PlaceError> {
            self.0.settle()
        }
        fn get(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, PlaceError> {
            self.0.get(name, bytes_max)
        }
        fn list(&self, prefix: &str, found: &mut dyn FnMut(&str, u64)) -> Result<(), PlaceError> {
            self.0.list(prefix, found)
        }
        fn remove(&self, name: &str) -> Result<(), PlaceError> {
            Err(PlaceError::Address { address: name.to_owned(), why: "nothing may be removed here" })
        }
        fn shown(&self) -> String {
            self.0.shown()
        }
    }
    let world = World::new();
    let place = AddOnly(world.place());
    let now_ms = 48 * 60 * 60 * 1_000;
    let mut memory = None;
    for number in 1..=3 {
        let order = Order { place: &place, now_ms: now_ms + number, ..world.order(memory) };
        let made = make(&order, &Hub::with_rows(10)).unwrap();
        assert_eq!(made.memory.number, number);
        memory = Some(made.memory);
    }
}

#[test]
fn a_store_that_never_answers_well_is_given_up_after_some_tries() {
    let fake = FakeS3::start();
    let place = S3::new(&fake.place(), "key", "secret").unwrap();
    fake.fail_next(usize::MAX);
    let refused = list(&place).unwrap_err().to_string();
    assert!(refused.contains("SlowDown") && refused.contains("tried 5 times"), "{refused}");
    assert_eq!(fake.requests(), 5);
    assert!(!refused.contains("secret"));
}

/// `vectors/1` is a backup of that version, which every later muster has to read. `MUSTER_WRITE_VECTORS=1` writes it anew.
#[test]
fn a_backup_of_version_1_is_read_as_it_was_written() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let (place, key) = (Directory::new(&vectors.join("1")), vectors.join("recipient.key.pem"));
    let mut world = World::new();
    let hub = Hub::with_rows(5);
    if std::env::var_os("MUSTER_WRITE_VECTORS").is_some() {
        fs::remove_dir_all(vectors.join("1")).ok();
        fs::create_dir_all(vectors.join("1")).unwrap();
        fs::write(&key, world.opener.to_pem().unwrap().as_bytes()).unwrap();
        make(&Order { place: &place, ..world.order(None) }, &hub).unwrap();
    }
    world.opener = Opener::from_pem(&fs::read(&key).unwrap()).unwrap();
    let repository = Repository::open(&place).unwrap();
    let listed = choose(&place, None).unwrap();
    let mut opened = Opened::open(&place, &repository, listed, &world.opener, &world.hub.signer()).unwrap();
    let mut restored = Restored::default();
    assert!(opened.read(&|_| true, &mut restored).unwrap().is_whole());
    restored.rows.sort();
    assert_eq!((&restored.rows, &restored.files), (&hub.rows, &hub.files));
    // Pieces have the names that they would have today, or the next backup of every hub would be a whole one.
    let ids = |place: &Directory| {
        let mut ids = Vec::new();
        place.list("chunks/", &mut |name, _| ids.push(name.split('.').next().unwrap().to_owned())).unwrap();
        ids.sort();
        ids
    };
    world.backup(&hub).unwrap();
    assert_eq!(ids(&place), ids(&world.place()));
}
