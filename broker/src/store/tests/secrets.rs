//! Stories about what a stranger with the disk, or with another tenant's keys, can read.

use super::*;

const CANARY: &str = "canary-7f3a91";

#[test]
fn a_record_opens_only_for_its_tenant_purpose_and_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let one = store.create_tenant(&acme()).unwrap();
    let two = store.create_tenant(&"other".parse().unwrap()).unwrap();
    let sealed = one.sealer(Purpose::Registry).seal(b"here", b"secret");
    // So that the other tenant and the other purpose have an epoch of the same number.
    two.sealer(Purpose::Registry).seal(b"here", b"");
    one.sealer(Purpose::Audit).seal(b"here", b"");
    store.platform().seal(b"here", b"");

    assert_eq!(sealed.len(), b"secret".len() + SEALED_OVERHEAD_BYTES);
    assert_eq!(one.sealer(Purpose::Registry).open(b"here", &sealed).unwrap(), b"secret");
    assert_eq!(one.sealer(Purpose::Registry).open(b"there", &sealed), Err(Unsealable::Forged));
    assert_eq!(one.sealer(Purpose::Audit).open(b"here", &sealed), Err(Unsealable::Forged));
    assert_eq!(two.sealer(Purpose::Registry).open(b"here", &sealed), Err(Unsealable::Forged));
    assert_eq!(store.platform().open(b"here", &sealed), Err(Unsealable::Forged));
    assert_eq!(one.sealer(Purpose::Log).open(b"here", &sealed), Err(Unsealable::Key { epoch: 1 }));
}

#[test]
fn every_changed_bit_of_a_record_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let sealer = store.platform();
    let sealed = sealer.seal(b"here", b"text");
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(sealer.open(b"here", &changed).is_err(), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert!(sealer.open(b"here", &sealed[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn no_two_records_of_an_epoch_share_a_nonce() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let sealer = store.platform();
    let mut headers: Vec<Vec<u8>> = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| (0..500).map(|_| sealer.seal(b"", b"")[..13].to_vec()).collect::<Vec<_>>())
            })
            .collect();
        for thread in threads {
            headers.extend(thread.join().unwrap());
        }
    });
    headers.sort();
    headers.dedup();
    assert_eq!(headers.len(), 2_000);
}

#[test]
fn each_start_begins_an_epoch_and_opens_the_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for start in 1..=4_u32 {
        let store = open(dir.path());
        let table = store.table("rows").unwrap();
        let sealer = store.platform();
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(sealer.open(b"row", row).unwrap(), format!("row {number}").as_bytes());
        }
        let row = sealer.seal(b"row", format!("row {}", rows.len()).as_bytes());
        assert_eq!(row[1..5], start.to_be_bytes());
        store.commit_blocking(vec![put(&table, &start.to_be_bytes(), &row)]).unwrap();
        rows.push(row);
    }
}

#[test]
fn a_start_that_seals_nothing_begins_no_epoch() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        open(dir.path());
    }
    assert_eq!(open(dir.path()).platform().seal(b"", b"")[1..5], 1_u32.to_be_bytes());
}

#[test]
fn a_key_that_was_refused_for_want_of_space_is_stored_with_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let row;
    {
        let store = open(dir.path());
        let table = store.table("rows").unwrap();
        row = store.platform().seal(b"row", b"text");
        store.set_disk_free_bytes_min(u64::MAX);
        assert!(store.commit_blocking(vec![put(&table, b"k", &row)]).is_err());
        store.set_disk_free_bytes_min(0);
        store.commit_blocking(vec![put(&table, b"k", &row)]).unwrap();
    }
    assert_eq!(open(dir.path()).platform().open(b"row", &row).unwrap(), b"text");
}

#[test]
fn a_tenant_is_created_once_and_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let name;
    {
        let store = open(dir.path());
        assert!(store.tenant(&acme()).unwrap().is_none());
        name = store.create_tenant(&acme()).unwrap().blind(&[b"device", b"42"]);
        assert!(matches!(store.create_tenant(&acme()), Err(StoreError::TenantExists(_))));
    }
    let store = open(dir.path());
    assert!(matches!(store.create_tenant(&acme()), Err(StoreError::TenantExists(_))));
    assert_eq!(store.tenant(&acme()).unwrap().unwrap().blind(&[b"device", b"42"]), name);
    let other = store.create_tenant(&"other".parse().unwrap()).unwrap();
    assert_ne!(other.blind(&[b"device", b"42"]), name);
    assert_ne!(store.platform_blind(&[b"device", b"42"]), name);
}

#[test]
fn another_root_key_opens_nothing_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).create_tenant(&acme()).unwrap();
    let refused = Store::open(dir.path(), RootKey::from_bytes([8; 32]), StoreOptions::default());
    assert!(matches!(refused, Err(StoreError::WrongRootKey)), "{refused:?}");
    assert!(open(dir.path()).tenant(&acme()).unwrap().is_some());
}

#[test]
fn no_name_and_no_payload_stands_in_clear_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let tenant = store.create_tenant(&CANARY.parse().unwrap()).unwrap();
        let table = store.table("rows").unwrap();
        let mut log = tenant.log().unwrap();
        append_all(&store, &mut log, (0..50).map(|number| format!("{CANARY} {number}")));
        let key = tenant.blind(&[b"device", CANARY.as_bytes()]);
        let value = tenant.sealer(Purpose::Registry).seal(&key, CANARY.as_bytes());
        let key_of_platform = store.platform_blind(&[CANARY.as_bytes()]);
        let value_of_platform = store.platform().seal(&key_of_platform, CANARY.as_bytes());
        store
            .commit_blocking(vec![
                put(&table, &key, &value),
                put(&table, &key_of_platform, &value_of_platform),
            ])
            .unwrap();
        // Into table files as well.
        for rows in [&store.0.log.keyspace, &store.0.shared.keys, &store.0.shared.marks, &table.keyspace] {
            rows.rotate_memtable_and_wait().unwrap();
        }
    }
    let files = files(dir.path());
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let clear = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!clear, "{} shows the canary", path.display());
        let root = bytes.windows(16).any(|window| window == [7; 16]);
        assert!(!root, "{} shows the root key", path.display());
    }
}
