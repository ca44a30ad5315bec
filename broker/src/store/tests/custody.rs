//! Stories about rotating keys, and about tenants that bring their own key and take it back.

use std::collections::BTreeSet;

use super::{
    super::{carried, purge::Needle},
    *,
};

const OWN: [u8; 32] = [3; 32];
const NOWHERE: [PathBuf; 0] = [];

fn own(byte: u8) -> SecretKey {
    SecretKey::from([byte; 32])
}

fn open_with(dir: &Path, byte: u8) -> Result<Store, StoreError> {
    Store::open(dir, RootKey::from_bytes([byte; 32]), StoreOptions { disk_free_bytes_min: 0 })
}

/// Stores a sealed row and gives it back.
fn sealed(store: &Store, tenant: &TenantStore, key: &[u8]) -> Vec<u8> {
    let value = tenant.sealer(Purpose::Registry).seal(key, b"text");
    store.commit_blocking(vec![put(&store.table("rows").unwrap(), key, &value)]).unwrap();
    value
}

#[test]
fn another_tenant_key_wraps_the_same_data_keys_and_touches_nothing_that_they_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rows, name);
    {
        let store = open(dir.path());
        let tenant = store.create_tenant_at(&acme(), 10).unwrap();
        name = tenant.blind(&[b"device"]);
        rows = vec![sealed(&store, &tenant, b"1")];
        // Sealed, and its key still waits for a batch when the tenant key is made anew.
        let waiting = tenant.sealer(Purpose::Audit).seal(b"", b"text");
        let before = store.key_status(&acme()).unwrap();
        let after = store.rotate_tenant_key(&acme(), 20).unwrap();
        assert_eq!((before.generation, before.made_at_s), (1, 10));
        assert_eq!((after.generation, after.made_at_s, after.data_keys_stored), (2, 20, 2));
        assert_ne!(before.key_id, after.key_id);
        assert_eq!(tenant.sealer(Purpose::Audit).open(b"", &waiting).unwrap(), b"text");
        rows.push(sealed(&store, &tenant, b"2"));
    }
    for _ in 0..2 {
        let store = open(dir.path());
        let tenant = store.tenant(&acme()).unwrap().unwrap();
        for (key, row) in [b"1", b"2"].into_iter().zip(&rows) {
            assert_eq!(tenant.sealer(Purpose::Registry).open(key, row).unwrap(), b"text");
        }
        assert_eq!(tenant.blind(&[b"device"]), name, "rows are found by the same names");
        store.rotate_tenant_key(&acme(), 30).unwrap();
    }
    assert_eq!(open(dir.path()).key_status(&acme()).unwrap().generation, 4);
}

#[test]
fn another_data_key_seals_what_comes_and_the_earlier_ones_open_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenant = store.create_tenant(&acme()).unwrap();
    let rows: Vec<Vec<u8>> = (1..=3_u32)
        .map(|number| {
            let row = sealed(&store, &tenant, &[1]);
            assert_eq!(row[1..5], number.to_be_bytes());
            store.rotate_data_keys(&acme()).unwrap();
            row
        })
        .collect();
    for row in &rows {
        assert_eq!(tenant.sealer(Purpose::Registry).open(&[1], row).unwrap(), b"text");
    }
    let status = store.key_status(&acme()).unwrap();
    assert_eq!((status.data_keys[&Purpose::Registry], status.generation), (3, 1));
    store.rotate_all_data_keys();
    store.platform().seal(b"", b"");
    store.rotate_all_data_keys();
    assert_eq!(store.platform().seal(b"", b"")[1..5], 2_u32.to_be_bytes());
}

#[test]
fn another_root_key_takes_over_everything_and_the_old_one_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let other: TenantId = "other".parse().unwrap();
    let (row, name, platform);
    {
        let store = open(dir.path());
        let tenant = store.create_tenant(&acme()).unwrap();
        row = sealed(&store, &tenant, b"1");
        platform = store.platform().seal(b"p", b"text");
        name = tenant.blind(&[b"device"]);
        // A row as the first version wrote it.
        let root = reading(&store.0.root);
        let old = TenantSecret::generate().unwrap().to_bytes();
        let old = root.wrap(&keys::tenant_context("other"), old.as_slice()).unwrap();
        let key = row_key(SECRET, &root.handle("other"));
        drop(root);
        store.commit_blocking(vec![put(&store.keys_table(), &key, &old)]).unwrap();
        store.bring_key(&other, own(3), true, 1).unwrap();
        let new = RootKey::from_bytes([8; 32]);
        assert!(store.rotate_root_key(&new, &[], 5).is_ok(), "rows of this version name themselves");
        let newer = RootKey::from_bytes([9; 32]);
        let status = store.rotate_root_key(&newer, &[acme(), other.clone()], 6).unwrap();
        assert_eq!(status, RootStatus { generation: 3, made_at_s: 6 });
        // It goes on with the same handles.
        assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
        store.create_tenant(&"third".parse().unwrap()).unwrap();
    }
    for byte in [7, 8] {
        assert!(matches!(open_with(dir.path(), byte), Err(StoreError::WrongRootKey)), "root key {byte}");
    }
    let store = open_with(dir.path(), 9).unwrap();
    let tenant = store.tenant(&acme()).unwrap().unwrap();
    assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
    assert_eq!(tenant.blind(&[b"device"]), name);
    assert_eq!(store.platform().open(b"p", &platform).unwrap(), b"text");
    assert!(!store.tenant(&other).unwrap().unwrap().is_withdrawn());
    assert!(store.tenant(&"third".parse().unwrap()).unwrap().is_some());
}

#[test]
fn a_row_of_the_first_version_needs_its_tenant_named_when_the_root_key_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let root = reading(&store.0.root);
    let old = TenantSecret::generate().unwrap().to_bytes();
    let old = root.wrap(&keys::tenant_context("acme"), old.as_slice()).unwrap();
    let key = row_key(SECRET, &root.handle("acme"));
    drop(root);
    store.commit_blocking(vec![put(&store.keys_table(), &key, &old)]).unwrap();
    let new = RootKey::from_bytes([8; 32]);
    let refused = store.rotate_root_key(&new, &[], 1);
    assert!(matches!(refused, Err(StoreError::KeyDamaged { .. })), "{refused:?}");
    store.rotate_root_key(&new, &[acme()], 1).unwrap();
    drop(store);
    assert!(open_with(dir.path(), 8).unwrap().tenant(&acme()).unwrap().is_some());
}

/// As stopped after each of the three steps: the file for both, the commit, the file for the new one.
#[test]
fn stopped_at_any_point_the_store_opens_with_the_old_root_key_or_with_the_new_one() {
    let roots = [7, 8].map(|byte| RootKeys::derive(&RootKey::from_bytes([byte; 32])));
    let [old, new] = roots;
    let new = new.with_lasting(old.lasting().clone());
    for (is_committed, opens, does_not) in [(false, 7, 8), (true, 8, 7)] {
        let dir = tempfile::tempdir().unwrap();
        let row = {
            let store = open(dir.path());
            let tenant = store.create_tenant(&acme()).unwrap();
            let row = sealed(&store, &tenant, b"1");
            if is_committed {
                store.rotate_root_key(&RootKey::from_bytes([8; 32]), &[acme()], 1).unwrap();
            }
            row
        };
        carried::store(dir.path(), &[&old, &new]).unwrap();
        assert!(matches!(open_with(dir.path(), does_not), Err(StoreError::WrongRootKey)));
        let store = open_with(dir.path(), opens).unwrap();
        let tenant = store.tenant(&acme()).unwrap().unwrap();
        assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
        assert!(!carried::is_unfinished(dir.path()), "it was put in order");
    }
}

#[test]
fn a_root_key_that_could_not_be_stored_is_not_in_place() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        store.create_tenant(&acme()).unwrap();
        store.set_disk_free_bytes_min(u64::MAX);
        assert!(store.rotate_root_key(&RootKey::from_bytes([8; 32]), &[acme()], 1).is_err());
        store.set_disk_free_bytes_min(0);
        store.create_tenant(&"other".parse().unwrap()).unwrap();
    }
    assert!(open(dir.path()).tenant(&"other".parse().unwrap()).unwrap().is_some());
}

#[test]
fn while_a_tenants_key_is_withdrawn_nothing_opens_nothing_is_stored_and_nobody_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenant = store.create_tenant(&acme()).unwrap();
    let other = store.create_tenant(&"other".parse().unwrap()).unwrap();
    let early = sealed(&store, &tenant, b"0");
    store.bring_key(&acme(), own(3), true, 1).unwrap();
    let row = sealed(&store, &tenant, b"1");
    let mut log = tenant.log().unwrap();
    append_all(&store, &mut log, (1..=3).map(text));
    // Sealed before, and stored after.
    let under_way = tenant.sealer(Purpose::Registry).seal(b"2", b"text");

    let status = store.withdraw_key(&acme()).unwrap();
    assert!(status.is_withdrawn && status.key_id.is_empty() && tenant.is_withdrawn());
    for (key, row) in [(b"0", &early), (b"1", &row), (b"2", &under_way)] {
        assert_eq!(tenant.sealer(Purpose::Registry).open(key, row), Err(Unsealable::Withdrawn));
    }
    let table = store.table("rows").unwrap();
    let void = tenant.sealer(Purpose::Registry).seal(b"3", b"canary-7f3a91");
    assert!(!void.windows(6).any(|window| window == b"canary"), "not in memory either");
    for write in [put(&table, b"3", &void), log.append(4, b"canary-7f3a91")] {
        assert_eq!(store.commit_blocking(vec![write]), Err(CommitError::Withdrawn));
    }
    let damage = log.reader(1).next_batch(9, 999).unwrap_err();
    assert!(
        matches!(damage.why, DamageKind::Unreadable(_)),
        "not damaged, and not to be passed over: {damage}"
    );
    assert!(matches!(store.rotate_tenant_key(&acme(), 2), Err(StoreError::Withdrawn { .. })));
    sealed(&store, &other, b"4");

    let refused = store.bring_key(&acme(), own(4), true, 2);
    assert!(matches!(refused, Err(StoreError::OtherOwnKey(_))), "{refused:?}");
    store.bring_key(&acme(), own(3), true, 2).unwrap();
    store.commit_blocking(vec![put(&table, b"2", &under_way)]).unwrap();
    for (key, row) in [(b"0", &early), (b"1", &row), (b"2", &under_way)] {
        assert_eq!(tenant.sealer(Purpose::Registry).open(key, row).unwrap(), b"text");
    }
    let mut log = tenant.log().unwrap();
    append_all(&store, &mut log, [text(4)]);
    assert_eq!(read_all(&mut log.reader(1)).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn a_key_that_the_hub_does_not_keep_is_missing_after_a_restart_and_one_that_it_keeps_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let row = {
        let store = open(dir.path());
        let tenant = store.create_tenant(&acme()).unwrap();
        let status = store.bring_key(&acme(), own(3), false, 1).unwrap();
        assert_eq!(status.origin, KeyOrigin::Tenant { kept: false });
        sealed(&store, &tenant, b"1")
    };
    {
        let store = open(dir.path());
        let tenant = store.tenant(&acme()).unwrap().unwrap();
        assert!(tenant.is_withdrawn());
        assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row), Err(Unsealable::Withdrawn));
        store.bring_key(&acme(), own(3), true, 2).unwrap();
        assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
        assert_ne!(tenant.sealer(Purpose::Registry).seal(b"", b"")[1..5], row[1..5]);
    }
    {
        let store = open(dir.path());
        let tenant = store.tenant(&acme()).unwrap().unwrap();
        assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
        assert_eq!(store.key_status(&acme()).unwrap().origin, KeyOrigin::Tenant { kept: true });
        // Another own key takes its place, and after that the first one gives nothing back.
        store.bring_key(&acme(), own(4), true, 3).unwrap();
        store.withdraw_key(&acme()).unwrap();
    }
    let store = open(dir.path());
    assert!(
        store.tenant(&acme()).unwrap().unwrap().is_withdrawn(),
        "withdrawn is withdrawn, also after a restart"
    );
    assert!(store.bring_key(&acme(), own(3), true, 4).is_err());
    store.bring_key(&acme(), own(4), true, 4).unwrap();
    let tenant = store.tenant(&acme()).unwrap().unwrap();
    assert_eq!(tenant.sealer(Purpose::Registry).open(b"1", &row).unwrap(), b"text");
}

#[test]
fn a_key_of_the_hubs_own_is_not_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create_tenant(&acme()).unwrap();
    assert!(matches!(store.withdraw_key(&acme()), Err(StoreError::NotOwnKey(_))));
    assert!(matches!(store.withdraw_key(&"other".parse().unwrap()), Err(StoreError::TenantUnknown(_))));
}

#[test]
fn of_wrapped_keys_that_were_replaced_or_removed_no_file_keeps_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenant = store.create_tenant(&acme()).unwrap();
    sealed(&store, &tenant, b"1");
    let now = || store.needles_of(tenant.keys.owner()).unwrap();
    let gone = |before: &BTreeSet<Needle>| -> Vec<Needle> { before.difference(&now()).copied().collect() };
    let left_of = |before: &BTreeSet<Needle>| holding(dir.path(), gone(before));
    // Without the tenant's own key; with it; with the tenant key anew; under another root key; withdrawn.
    let mut last = now();
    store.bring_key(&acme(), own(OWN[0]), true, 1).unwrap();
    assert_eq!(left_of(&last), NOWHERE, "the tenant key without its own around it");
    last = now();
    assert!(!holding(dir.path(), last.clone()).is_empty(), "this could see them");
    store.rotate_tenant_key(&acme(), 2).unwrap();
    assert_eq!(left_of(&last), NOWHERE, "the tenant key of before");
    last = now();
    store.rotate_root_key(&RootKey::from_bytes([8; 32]), &[acme()], 3).unwrap();
    assert_eq!(left_of(&last), NOWHERE, "what the root key of before wrapped");
    last = now();
    store.withdraw_key(&acme()).unwrap();
    assert_eq!(gone(&last).len(), 1);
    assert_eq!(left_of(&last), NOWHERE, "the tenant's own key");
}

#[test]
fn neither_the_root_key_nor_the_tenants_own_stands_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let tenant = store.create_tenant(&acme()).unwrap();
        store.bring_key(&acme(), own(OWN[0]), true, 1).unwrap();
        sealed(&store, &tenant, b"1");
        store.rotate_root_key(&RootKey::from_bytes([8; 32]), &[acme()], 1).unwrap();
        store.0.shared.keys.rotate_memtable_and_wait().unwrap();
    }
    for path in files(dir.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for key in [[7; 16], [8; 16], [3; 16]] {
            assert!(!bytes.windows(16).any(|window| window == key), "{} shows a key", path.display());
        }
    }
}
