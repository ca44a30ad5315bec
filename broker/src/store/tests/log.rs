//! Stories about the log of a tenant.

use super::*;

fn tenant(dir: &Path) -> (Store, TenantStore) {
    let store = open(dir);
    let tenant = store.create_tenant(&acme()).unwrap();
    (store, tenant)
}

#[test]
fn a_log_is_read_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, tenant) = tenant(dir.path());
        let mut log = tenant.log().unwrap();
        assert_eq!((log.next_sequence(), log.first().unwrap(), log.last().unwrap()), (1, None, None));
        append_all(&store, &mut log, (1..=20).map(text));
    }
    let store = open(dir.path());
    let mut log = store.tenant(&acme()).unwrap().unwrap().log().unwrap();
    assert_eq!((log.next_sequence(), log.first().unwrap(), log.last().unwrap()), (21, Some(1), Some(20)));
    append_all(&store, &mut log, [text(21)]);
    assert_eq!(read_all(&mut log.reader(0)).unwrap(), (1..=21).collect::<Vec<_>>());
    assert_eq!(read_all(&mut log.reader(20)).unwrap(), [20, 21]);
    let mut reader = log.reader(1);
    assert_eq!(reader.next_batch(100, text(1).len() * 2).unwrap().len(), 2);
    assert_eq!(reader.position(), 3);
}

#[test]
fn a_reader_that_has_caught_up_sees_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    let mut reader = log.reader(1);
    assert!(read_all(&mut reader).unwrap().is_empty());
    append_all(&store, &mut log, [text(1)]);
    assert_eq!(read_all(&mut reader).unwrap(), [1]);
    append_all(&store, &mut log, [text(2)]);
    assert_eq!(read_all(&mut reader).unwrap(), [2]);
}

#[test]
fn a_trimmed_log_begins_later_and_keeps_counting() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, tenant) = tenant(dir.path());
        let mut log = tenant.log().unwrap();
        let mut slow = log.reader(1);
        append_all(&store, &mut log, (1..=10).map(text));
        assert_eq!(slow.next_batch(2, 1_000).unwrap().len(), 2);
        let stale = log.trim(3).unwrap();
        store.commit_blocking(log.trim(6).unwrap()).unwrap();
        store.commit_blocking(stale).unwrap();
        assert_eq!((log.first().unwrap(), log.last().unwrap()), (Some(6), Some(10)));
        assert_eq!(read_all(&mut slow).unwrap(), [6, 7, 8, 9, 10]);
        store.commit_blocking(log.trim(u64::MAX).unwrap()).unwrap();
        assert_eq!(log.trim(u64::MAX).unwrap().len(), 0);
        assert_eq!((log.first().unwrap(), log.last().unwrap()), (None, None));
    }
    let store = open(dir.path());
    let mut log = store.tenant(&acme()).unwrap().unwrap().log().unwrap();
    assert_eq!(log.next_sequence(), 11);
    append_all(&store, &mut log, [text(11)]);
    assert_eq!(read_all(&mut log.reader(1)).unwrap(), [11]);
}

#[test]
fn one_trim_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    let writes = (1..=600).map(|sequence| log.append(sequence, b"")).collect();
    store.commit_blocking(writes).unwrap();
    let first = log.trim(600).unwrap();
    assert_eq!(first.len(), limits::LOG_TRIM_ROWS_MAX);
    store.commit_blocking(first).unwrap();
    assert_eq!(log.trim(600).unwrap().len(), 87);
}

#[test]
fn a_refused_append_leaves_no_gap_because_those_after_it_are_refused_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    append_all(&store, &mut log, [text(1)]);
    let generation = log.generation();
    let append = |log: &mut TenantLog| {
        let sequence = log.next_sequence();
        log.append(sequence, text(sequence).as_bytes())
    };
    let lost = append(&mut log);
    let (third, fourth) = (append(&mut log), append(&mut log));
    store.set_disk_free_bytes_min(u64::MAX);
    assert!(matches!(store.commit_blocking(vec![lost]), Err(CommitError::DiskFull { .. })));
    store.set_disk_free_bytes_min(0);
    let refused = store.commit_blocking(vec![third]);
    assert_eq!(refused, Err(CommitError::OutOfOrder { expected: 2, found: 3 }));
    assert!(log.rewind(generation, 2));
    let again = append(&mut log);
    // The refusals of 3 and 4 come in after the rewind, and change nothing.
    assert!(store.commit_blocking(vec![fourth]).is_err());
    assert!(!log.rewind(generation, 3));
    store.commit_blocking(vec![again]).unwrap();
    append_all(&store, &mut log, [text(3)]);
    assert_eq!(read_all(&mut log.reader(1)).unwrap(), [1, 2, 3]);
}

#[test]
fn a_log_opened_twice_takes_no_number_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut one = tenant.log().unwrap();
    let mut two = tenant.log().unwrap();
    append_all(&store, &mut one, [text(1)]);
    let late = two.append(1, b"other");
    assert_eq!(store.commit_blocking(vec![late]), Err(CommitError::OutOfOrder { expected: 2, found: 1 }));
    assert_eq!(read_all(&mut one.reader(1)).unwrap(), [1]);
}

#[test]
fn a_log_opens_behind_what_is_still_on_its_way_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    let (to, from) = outcomes();
    for sequence in 1..=100 {
        let write = log.append(sequence, text(sequence).as_bytes());
        send(&store, vec![write], &to, sequence);
    }
    drop(log);
    assert_eq!(tenant.log().unwrap().next_sequence(), 101);
    drop(to);
    assert!(from.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn the_logs_of_tenants_in_one_group_count_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let other = store.create_tenant(&"other".parse().unwrap()).unwrap();
    let (mut one, mut two) = (tenant.log().unwrap(), other.log().unwrap());
    let held = hold(&store);
    let (to, from) = outcomes();
    for sequence in 1..=5 {
        send(&store, vec![one.append(sequence, text(sequence).as_bytes())], &to, ());
        send(&store, vec![two.append(sequence, text(sequence).as_bytes())], &to, ());
    }
    drop((held, to));
    assert!(from.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(read_all(&mut one.reader(1)).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(read_all(&mut two.reader(1)).unwrap(), [1, 2, 3, 4, 5]);
}

/// Changes rows behind the committer's back.
fn tamper(store: &Store, change: impl FnOnce(&mut fjall::OwnedWriteBatch, &Keyspace)) {
    let mut batch = store.0.shared.db.batch();
    change(&mut batch, &store.0.log.keyspace);
    batch.commit().unwrap();
}

fn row_key(tenant: &TenantStore, sequence: u64) -> Vec<u8> {
    [tenant.handle().as_slice(), &sequence.to_be_bytes()].concat()
}

#[test]
fn a_missing_or_changed_record_is_named_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    append_all(&store, &mut log, (1..=10).map(text));
    let moved = store.0.log.get(&row_key(&tenant, 9)).unwrap().unwrap();
    tamper(&store, |batch, rows| {
        batch.remove(rows, row_key(&tenant, 3));
        batch.remove(rows, row_key(&tenant, 4));
        batch.insert(rows, row_key(&tenant, 7), moved);
    });
    let mut reader = log.reader(1);
    assert_eq!(reader.next_batch(100, 1_000).unwrap().len(), 2);
    let gap = LogDamage { sequence: 3, why: DamageKind::Missing { through: 4 } };
    assert_eq!(reader.next_batch(100, 1_000).unwrap_err(), gap);
    assert_eq!(reader.next_batch(100, 1_000).unwrap_err(), gap);
    reader.skip_past(gap.last_sequence());
    assert_eq!(reader.next_batch(100, 1_000).unwrap().len(), 2);
    let forged = reader.next_batch(100, 1_000).unwrap_err();
    assert_eq!(
        forged,
        LogDamage { sequence: 7, why: DamageKind::Unsealable { through: 7, why: Unsealable::Forged } }
    );
    reader.skip_past(forged.last_sequence());
    assert_eq!(read_all(&mut reader).unwrap(), [8, 9, 10]);
}

#[test]
fn a_lost_tail_is_named_when_the_log_is_opened_and_by_every_reader_after() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, tenant) = tenant(dir.path());
        let mut log = tenant.log().unwrap();
        append_all(&store, &mut log, (1..=10).map(text));
        tamper(&store, |batch, rows| (8..=10).for_each(|at| batch.remove(rows, row_key(&tenant, at))));
    }
    let store = open(dir.path());
    let tenant = store.tenant(&acme()).unwrap().unwrap();
    let lost = LogDamage { sequence: 8, why: DamageKind::Missing { through: 10 } };
    let refused = tenant.log();
    assert!(matches!(&refused, Err(StoreError::Log(damage)) if *damage == lost), "{refused:?}");
    assert_eq!(lost.to_string(), "read log record 8: records up to 10 are missing");

    let mut log = tenant.log_past_damage().unwrap();
    let mut reader = log.reader(1);
    assert_eq!(reader.next_batch(100, 1_000).unwrap().len(), 7);
    assert_eq!(reader.next_batch(100, 1_000).unwrap_err(), lost);
    assert_eq!(log.next_sequence(), 11);
    append_all(&store, &mut log, [text(11)]);
    assert_eq!(reader.next_batch(100, 1_000).unwrap_err(), lost);
    reader.skip_past(lost.last_sequence());
    assert_eq!(read_all(&mut reader).unwrap(), [11]);
    drop(log);
    assert_eq!(tenant.log().unwrap().next_sequence(), 12);
}

#[test]
fn a_log_that_lost_everything_is_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    append_all(&store, &mut tenant.log().unwrap(), (1..=3).map(text));
    tamper(&store, |batch, rows| (1..=3).for_each(|at| batch.remove(rows, row_key(&tenant, at))));
    let lost = LogDamage { sequence: 1, why: DamageKind::Missing { through: 3 } };
    assert!(matches!(tenant.log(), Err(StoreError::Log(damage)) if damage == lost));
}

/// Appends records as rows of so many each.
fn append_rows(store: &Store, log: &mut TenantLog, rows: impl IntoIterator<Item = u64>) {
    for records in rows {
        let first = log.next_sequence();
        let mut bundle = Bundle::default();
        (first..first + records).for_each(|sequence| {
            bundle.add(|out| out.extend_from_slice(text(sequence).as_bytes()));
        });
        store.commit_blocking(vec![log.append_bundle(first, &bundle)]).unwrap();
    }
}

#[test]
fn records_of_one_row_are_read_from_anywhere_and_go_when_all_of_them_may() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, tenant) = tenant(dir.path());
        append_rows(&store, &mut tenant.log().unwrap(), [5, 1, 10, 4]);
    }
    let store = open(dir.path());
    let mut log = store.tenant(&acme()).unwrap().unwrap().log().unwrap();
    assert_eq!((log.next_sequence(), log.first().unwrap(), log.last().unwrap()), (21, Some(1), Some(20)));
    for from in 1..=20 {
        assert_eq!(read_all(&mut log.reader(from)).unwrap(), (from..=20).collect::<Vec<_>>());
    }
    let mut reader = log.reader(3);
    assert_eq!(reader.next_batch(1, 1_000).unwrap().len(), 1);
    assert_eq!((reader.position(), reader.next_batch(100, text(4).len() * 3).unwrap().len()), (4, 3));
    let found = log.reader(1).find(&[2, 3, 6, 12, 9, 20, 21]);
    assert_eq!(found.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [2, 3, 6, 12, 9, 20]);
    assert!(found.iter().all(|(sequence, record)| *record == text(*sequence).as_bytes()));

    // The third row is needed from its last record on, so it stays.
    assert_eq!(log.trim(5).unwrap().len(), 0);
    store.commit_blocking(log.trim(16).unwrap()).unwrap();
    assert_eq!(log.first().unwrap(), Some(7));
    assert_eq!(read_all(&mut log.reader(1)).unwrap(), (7..=20).collect::<Vec<_>>());
    store.commit_blocking(log.trim(17).unwrap()).unwrap();
    assert_eq!(log.first().unwrap(), Some(17));
    append_rows(&store, &mut log, [3]);
    assert_eq!(read_all(&mut log.reader(1)).unwrap(), (17..=23).collect::<Vec<_>>());
}

#[test]
fn a_changed_row_is_named_with_all_of_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let mut log = tenant.log().unwrap();
    append_rows(&store, &mut log, [3, 3, 3]);
    let mut row = store.0.log.get(&row_key(&tenant, 6)).unwrap().unwrap();
    for place in 0..row.len() {
        row[place] ^= 1;
        tamper(&store, |batch, rows| batch.insert(rows, row_key(&tenant, 6), row.clone()));
        let mut reader = log.reader(1);
        assert_eq!(reader.next_batch(100, 1_000).unwrap().len(), 3);
        let damage = reader.next_batch(100, 1_000).unwrap_err();
        assert_eq!((damage.sequence, damage.last_sequence()), (4, 6), "byte {place}: {damage}");
        reader.skip_past(damage.last_sequence());
        assert_eq!(read_all(&mut reader).unwrap(), [7, 8, 9]);
        row[place] ^= 1;
    }
    tamper(&store, |batch, rows| batch.insert(rows, row_key(&tenant, 6), row));
    assert_eq!(read_all(&mut log.reader(1)).unwrap().len(), 9);
}

#[test]
fn a_row_that_leaves_a_gap_or_comes_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tenant) = tenant(dir.path());
    let (mut one, mut two) = (tenant.log().unwrap(), tenant.log().unwrap());
    append_rows(&store, &mut one, [3]);
    let mut bundle = Bundle::default();
    for _ in 0..5 {
        bundle.add(|out| out.push(1));
    }
    let overlapping = two.append_bundle(1, &bundle);
    let behind = two.append_bundle(6, &bundle);
    let refused = |found| Err(CommitError::OutOfOrder { expected: 4, found });
    assert_eq!(store.commit_blocking(vec![overlapping]), refused(1));
    assert_eq!(store.commit_blocking(vec![behind]), refused(6));
    assert_eq!(read_all(&mut one.reader(1)).unwrap(), [1, 2, 3]);
}
