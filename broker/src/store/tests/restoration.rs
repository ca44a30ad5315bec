//! Stories about a store that is copied while it runs, and put back: all of it, or one tenant.

use super::*;

/// A row and the table that it lies in.
type Placed = (String, Vec<u8>, Vec<u8>);

fn other() -> TenantId {
    "other".parse().unwrap()
}

fn all(snapshot: &StoreSnapshot) -> Vec<Placed> {
    let rows = |table: &String| {
        let placed =
            |row: Result<Row, StoreError>| row.map(|(key, value)| (table.clone(), key, value)).unwrap();
        snapshot.rows(table).unwrap().map(placed).collect::<Vec<_>>()
    };
    snapshot.tables().iter().flat_map(rows).collect()
}

fn restore(dir: &Path, rows: &[Placed], wanted: impl Fn(&str, &[u8]) -> bool) {
    let mut restoration = open(dir).restoration();
    for (table, key, value) in rows.iter().filter(|(table, key, _)| wanted(table, key)) {
        restoration.put(table, key.clone(), value.clone()).unwrap();
    }
    restoration.finish().unwrap();
}

/// A tenant with so many records in its log and a sealed row for each.
fn fill(store: &Store, tenant: &TenantId, records: std::ops::RangeInclusive<u64>) {
    let tenant = match store.tenant(tenant).unwrap() {
        Some(tenant) => tenant,
        None => store.create_tenant(tenant).unwrap(),
    };
    let mut log = tenant.log().unwrap();
    let (table, sealer) = (store.table("readings").unwrap(), tenant.sealer(Purpose::Telemetry));
    for number in records {
        append_all(store, &mut log, [text(number)]);
        let key = [tenant.handle().as_slice(), &number.to_be_bytes()].concat();
        let value = sealer.seal(&key, text(number).as_bytes());
        store.commit_blocking(vec![Write::Put { table: table.clone(), key, value }]).unwrap();
    }
}

/// The records of its log, and of its rows, that open.
fn found(store: &Store, tenant: &TenantId) -> (Vec<u64>, Vec<u64>) {
    let tenant = store.tenant(tenant).unwrap().unwrap();
    let (table, sealer) = (store.table("readings").unwrap(), tenant.sealer(Purpose::Telemetry));
    let rows = table.prefix(&tenant.handle()).map(|row| {
        let (key, value) = row.unwrap();
        let number = u64::from_be_bytes(key[16..].try_into().unwrap());
        assert_eq!(sealer.open(&key, &value).unwrap(), text(number).as_bytes());
        number
    });
    let rows = rows.collect();
    (read_all(&mut tenant.log().unwrap().reader(1)).unwrap(), rows)
}

#[test]
fn a_snapshot_of_a_store_that_goes_on_is_restored_as_it_was_and_goes_on_from_there() {
    let [first, second] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let store = open(first.path());
    fill(&store, &acme(), 1..=20);
    let snapshot = store.snapshot().unwrap();
    fill(&store, &acme(), 21..=30);
    fill(&store, &other(), 1..=3);
    restore(second.path(), &all(&snapshot), |_, _| true);
    let restored = open(second.path());
    let numbers: Vec<u64> = (1..=20).collect();
    assert_eq!(found(&restored, &acme()), (numbers.clone(), numbers));
    assert!(restored.tenant(&other()).unwrap().is_none());
    assert_eq!(restored.platform_blind(&[b"x"]), store.platform_blind(&[b"x"]));
    // A record of the same number as one that the other store wrote later, under a key that never was before.
    fill(&restored, &acme(), 21..=25);
    drop(restored);
    let numbers: Vec<u64> = (1..=25).collect();
    assert_eq!(found(&open(second.path()), &acme()), (numbers.clone(), numbers));
}

#[test]
fn a_snapshot_has_whole_commits_only_and_all_that_were_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [left, right] = ["left", "right"].map(|name| store.table(name).unwrap());
    let (to, from) = outcomes();
    for number in 0..300_u64 {
        let key = number.to_be_bytes();
        send(&store, vec![put(&left, &key, b"x"), put(&right, &key, b"x")], &to, number);
        if number % 10 == 0 {
            let acknowledged = from.try_iter().filter(|(_, outcome)| outcome.is_ok()).last();
            let snapshot = store.snapshot().unwrap();
            let counts = ["left", "right"].map(|name| snapshot.rows(name).unwrap().count() as u64);
            assert_eq!(counts[0], counts[1]);
            assert!(acknowledged.is_none_or(|(number, _)| counts[0] > number));
        }
    }
}

#[test]
fn one_tenant_is_put_back_as_it_was_and_the_others_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, &acme(), 1..=20);
    fill(&store, &other(), 1..=5);
    let rows = all(&store.snapshot().unwrap());
    let handle = store.handle(&acme());
    fill(&store, &acme(), 21..=40);
    fill(&store, &other(), 6..=9);
    drop(store);
    let before = all(&open(dir.path()).snapshot().unwrap());

    let mut restoration = open(dir.path()).restoration();
    assert!(restoration.remove_tenant(&acme()).unwrap() > 80);
    restoration.finish().unwrap();
    assert!(open(dir.path()).tenant(&acme()).unwrap().is_none());
    restore(dir.path(), &rows, |table, key| StoreSnapshot::handle_in(table, key) == Some(handle));

    let store = open(dir.path());
    let numbers: Vec<u64> = (1..=20).collect();
    assert_eq!(found(&store, &acme()), (numbers.clone(), numbers));
    let numbers: Vec<u64> = (1..=9).collect();
    assert_eq!(found(&store, &other()), (numbers.clone(), numbers));
    let others = |rows: Vec<Placed>| -> Vec<Placed> {
        let is_other = |(table, key, _): &Placed| {
            StoreSnapshot::handle_in(table, key) != Some(handle) && *key != MARK_NUMBER
        };
        rows.into_iter().filter(is_other).collect()
    };
    assert_eq!(others(all(&store.snapshot().unwrap())), others(before));
    fill(&store, &acme(), 21..=22);
}

#[test]
fn a_restored_store_does_not_open_with_another_root_key() {
    let [first, second] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let store = open(first.path());
    fill(&store, &acme(), 1..=2);
    restore(second.path(), &all(&store.snapshot().unwrap()), |_, _| true);
    let options = StoreOptions { disk_free_bytes_min: 0 };
    let refused = Store::open(second.path(), RootKey::from_bytes([8; 32]), options);
    assert!(matches!(refused, Err(StoreError::WrongRootKey)));
}
