//! Stories about the committer.

use super::*;

#[test]
fn what_is_committed_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    store.commit_blocking(vec![put(&table, b"a", b"1"), put(&table, b"b", b"2")]).unwrap();
    store.commit_blocking(vec![Write::Delete { table: table.clone(), key: b"a".to_vec() }]).unwrap();
    drop((store, table));
    let table = open(dir.path()).table("devices").unwrap();
    assert_eq!(table.get(b"a").unwrap(), None);
    assert_eq!(table.get(b"b").unwrap(), Some(b"2".to_vec()));
}

#[test]
fn commits_that_wait_together_share_one_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let before = store.stats();
    let held = hold(&store);
    let (to, from) = outcomes();
    for number in 0..500_u32 {
        send(&store, vec![put(&table, &number.to_be_bytes(), b"x")], &to, number);
    }
    drop(held);
    drop(to);
    let names: Vec<u32> = from.iter().map(|(name, outcome)| outcome.map(|()| name).unwrap()).collect();
    assert_eq!(names, (0..500).collect::<Vec<_>>());
    let after = store.stats();
    assert_eq!(after.batches - before.batches, 1);
    // One more for the barrier that held the committer.
    assert_eq!(after.commits - before.commits, 501);
    assert_eq!(after.bytes - before.bytes, 500 * 5);
}

#[test]
fn a_group_ends_at_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let before = store.stats().batches;
    let held = hold(&store);
    let (to, from) = outcomes();
    for number in 0..5_u8 {
        send(&store, vec![put(&table, &[number], &vec![0; limits::GROUP_BYTES_MAX / 2])], &to, number);
    }
    drop(held);
    drop(to);
    assert_eq!(from.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 5);
    assert_eq!(store.stats().batches - before, 3);
}

#[test]
fn a_commit_over_its_bounds_is_refused_and_its_neighbours_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let held = hold(&store);
    let (to, from) = outcomes();
    send(&store, vec![put(&table, b"before", b"")], &to, "before");
    send(&store, vec![put(&table, b"half", b""), put(&table, b"", b"")], &to, "no key");
    send(&store, vec![put(&table, &[0; limits::KEY_BYTES_MAX + 1], b"")], &to, "long key");
    send(&store, vec![put(&table, b"v", &vec![0; limits::VALUE_BYTES_MAX + 1])], &to, "long value");
    send(&store, vec![put(&table, b"after", b"")], &to, "after");
    drop(held);
    drop(to);
    let found: Vec<_> = from.iter().map(|(name, outcome)| (name, outcome.is_ok())).collect();
    let expected =
        [("before", true), ("no key", false), ("long key", false), ("long value", false), ("after", true)];
    assert_eq!(found, expected);
    assert_eq!(table.get(b"half").unwrap(), None);
    assert!(table.get(b"after").unwrap().is_some());
}

#[test]
fn a_full_queue_refuses_as_busy_and_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held = hold(&store);
    let (to, from) = outcomes();
    for number in 0..=COMMITS_WAITING_MAX {
        send(&store, Vec::new(), &to, number);
    }
    let (name, outcome) = from.recv().unwrap();
    assert_eq!(name, COMMITS_WAITING_MAX);
    assert_eq!(outcome, Err(CommitError::Busy { waiting_max: COMMITS_WAITING_MAX }));
    drop(held);
    drop(to);
    assert_eq!(from.iter().filter(|(_, outcome)| outcome.is_ok()).count(), COMMITS_WAITING_MAX);
}

#[test]
fn a_permit_comes_back_after_the_answer() {
    struct Permit(Sender<Named<&'static str>>);
    impl Drop for Permit {
        fn drop(&mut self) {
            self.0.send(("permit", Ok(()))).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (to, from) = outcomes();
    let permit = Permit(to.clone());
    let done = Box::new(move |outcome| to.send(("answer", outcome)).unwrap());
    store.commit(Commit { writes: Vec::new(), fence: None, permit: Some(Box::new(permit)), done });
    assert_eq!(from.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["answer", "permit"]);
}

#[test]
fn a_closed_store_has_stored_what_came_before_and_refuses_what_comes_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let held = hold(&store);
    let (to, from) = outcomes();
    for number in 0..3_000_u32 {
        send(&store, vec![put(&table, &number.to_be_bytes(), b"x")], &to, number);
    }
    drop(held);
    store.close();
    store.close();
    send(&store, vec![put(&table, b"late", b"")], &to, 3_000);
    drop(to);
    let outcomes: Vec<_> = from.iter().collect();
    assert_eq!(outcomes.len(), 3_001);
    assert!(outcomes[..3_000].iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(outcomes[3_000], (3_000, Err(CommitError::Closed)));
    assert_eq!(table.get(b"late").unwrap(), None);
}

#[test]
fn dropping_the_last_clone_stores_and_answers_what_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let (to, from) = outcomes();
    let clone = store.clone();
    for number in 0..100_u32 {
        send(&clone, vec![put(&table, &number.to_be_bytes(), b"x")], &to, number);
    }
    drop(store);
    drop(clone);
    drop(to);
    assert_eq!(from.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 100);
    assert_eq!(table.prefix(b"").count(), 100);
}

#[test]
fn an_answer_may_hold_the_last_clone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (to, from) = outcomes();
    let clone = store.clone();
    let held = hold(&store);
    let done = Box::new(move |outcome| {
        drop(clone);
        to.send(((), outcome)).unwrap();
    });
    store.commit(Commit { writes: Vec::new(), fence: None, permit: None, done });
    // The store goes first; the answer then drops the last clone on the committer's own thread.
    drop(store);
    drop(held);
    assert_eq!(from.recv().unwrap().1, Ok(()));
}

#[test]
fn a_panic_in_an_answer_does_not_stop_the_committer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let done = Box::new(|_| panic!("on purpose"));
    store.commit(Commit { writes: vec![put(&table, b"a", b"")], fence: None, permit: None, done });
    store.commit_blocking(vec![put(&table, b"b", b"")]).unwrap();
    assert_eq!(table.prefix(b"").count(), 2);
}

#[test]
fn a_full_disk_refuses_until_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    store.commit_blocking(vec![put(&table, b"a", b"1")]).unwrap();
    store.set_disk_free_bytes_min(u64::MAX);
    let refused = store.commit_blocking(vec![put(&table, b"a", b"2")]);
    assert!(matches!(refused, Err(CommitError::DiskFull { min: u64::MAX, .. })), "{refused:?}");
    assert!(matches!(store.health(), Health::DiskFull { min: u64::MAX, .. }));
    assert_eq!(table.get(b"a").unwrap(), Some(b"1".to_vec()));
    store.set_disk_free_bytes_min(0);
    assert_eq!(store.health(), Health::Writable);
    store.commit_blocking(vec![put(&table, b"a", b"2")]).unwrap();
    assert_eq!(table.get(b"a").unwrap(), Some(b"2".to_vec()));
}

#[test]
fn on_a_nearly_full_disk_what_only_deletes_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    store.commit_blocking(vec![put(&table, b"a", b"1")]).unwrap();
    let free = store.0.shared.disk_free().unwrap();
    store.set_disk_free_bytes_min(free + free / 2);
    let delete = Write::Delete { table: table.clone(), key: b"a".to_vec() };
    assert!(store.commit_blocking(vec![delete.clone(), put(&table, b"b", b"")]).is_err());
    store.commit_blocking(vec![delete]).unwrap();
    assert_eq!(table.prefix(b"").count(), 0);
}

#[test]
fn after_a_failure_of_the_disk_nothing_is_acknowledged_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    store.commit_blocking(vec![put(&table, b"a", b"1")]).unwrap();
    store.0.shared.break_disk.store(true, Ordering::Relaxed);
    assert!(matches!(store.commit_blocking(vec![put(&table, b"b", b"")]), Err(CommitError::Failed(_))));
    store.0.shared.break_disk.store(false, Ordering::Relaxed);
    assert!(matches!(store.commit_blocking(vec![put(&table, b"c", b"")]), Err(CommitError::Failed(_))));
    assert!(matches!(store.commit_blocking(Vec::new()), Err(CommitError::Failed(_))));
    assert!(matches!(store.health(), Health::Failed(why) if why.contains("broken by a test")));
    drop((store, table));
    let store = open(dir.path());
    assert_eq!(store.health(), Health::Writable);
    let table = store.table("devices").unwrap();
    assert_eq!(table.get(b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(table.get(b"b").unwrap(), None);
}

#[test]
fn rows_are_scanned_in_order_and_a_scan_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let table = store.table("devices").unwrap();
    let writes = (0..10_u8).map(|number| put(&table, &[b'p', number], &[number])).collect();
    store.commit_blocking(writes).unwrap();
    store.commit_blocking(vec![put(&table, b"o", b""), put(&table, b"q", b"")]).unwrap();
    let keys = |scan: Scan| scan.map(|row| row.unwrap().0).collect::<Vec<_>>();
    assert_eq!(keys(table.prefix(b"p")).len(), 10);
    let first: Vec<Row> = table.prefix(b"p").take(4).collect::<Result<_, _>>().unwrap();
    let rest = keys(table.prefix_after(b"p", &first.last().unwrap().0));
    assert_eq!((rest.len(), rest[0].clone()), (6, vec![b'p', 4]));
    assert_eq!(keys(table.prefix_after(b"p", b"a")).len(), 10);
    assert_eq!(keys(table.range(&[b'p', 3], Some(&[b'p', 5]))), [[b'p', 3], [b'p', 4]]);
    assert_eq!(keys(table.range(b"z", Some(b"a"))), Vec::<Vec<u8>>::new());
    assert_eq!(table.first(b"p").unwrap().unwrap().1, [0]);
    assert_eq!(table.last(b"p").unwrap().unwrap().1, [9]);
    assert_eq!(table.last(b"x").unwrap(), None);
}

#[test]
fn a_table_name_cannot_reach_the_tables_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in [KEYS_TABLE, "", "Devices", "a/b"] {
        assert!(matches!(store.table(name), Err(StoreError::TableName(_))), "{name}");
    }
}

#[test]
fn a_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let second = Store::open(dir.path(), root(), StoreOptions::default());
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
}
