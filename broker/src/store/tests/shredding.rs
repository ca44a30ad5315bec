//! Stories about keys that are destroyed.

use super::*;

const CANARY: &str = "canary-5d07c4";

fn other() -> TenantId {
    "other".parse().unwrap()
}

fn tenant_with_rows(store: &Store, name: &TenantId) -> (TenantStore, Vec<u8>) {
    let tenant = store.create_tenant(name).unwrap();
    let mut log = tenant.log().unwrap();
    append_all(store, &mut log, (0..20).map(|number| format!("{CANARY} {number}")));
    let key = [tenant.handle().as_slice(), b"row"].concat();
    let row = tenant.sealer(Purpose::Telemetry).seal(&key, CANARY.as_bytes());
    store.commit_blocking(vec![put(&store.table("rows").unwrap(), &key, &row)]).unwrap();
    (tenant, row)
}

/// The wrapped keys of a tenant, as they stand in the key table.
fn wrapped(store: &Store, tenant: &TenantStore) -> Vec<Vec<u8>> {
    let rows = store.keys_table().prefix(b"").map(Result::unwrap);
    rows.filter(|(key, _)| key[1..].starts_with(&tenant.handle())).map(|(_, value)| value).collect()
}

#[test]
fn what_was_shredded_does_not_open_for_anybody_and_its_keys_are_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, row, handle, kept);
    {
        let store = open(dir.path());
        let tenant;
        (tenant, row) = tenant_with_rows(&store, &acme());
        handle = tenant.handle();
        let (neighbour, neighbours) = tenant_with_rows(&store, &other());
        kept = neighbours;
        tenant.grant(&neighbour, Purpose::Telemetry).unwrap();
        let lent = neighbour.granted_sealer(&tenant, Purpose::Telemetry).unwrap();
        let mut log = tenant.log().unwrap();
        let before = wrapped(&store, &tenant);
        store.rotate_tenant_key(&acme(), 1).unwrap();
        keys = [before, wrapped(&store, &tenant)].concat();
        assert_eq!(keys.len(), 10, "the secret, two data keys, the grant and what is lent, twice");

        let report = store.shred_tenant(&acme(), 7).unwrap();
        assert!(report.is_proved(), "{report:?}");
        assert_eq!((report.at_s, report.sample_opened_before), (7, Some(true)));
        let kinds: Vec<&str> = report.destroyed.iter().map(|key| key.kind.as_str()).collect();
        for kind in ["tenant", "log", "telemetry", "grant"] {
            assert!(kinds.contains(&kind), "{kind} of {kinds:?}");
        }
        assert_eq!(report.rows_removed, 21);
        // Nor with what others still hold of it.
        let position = [handle.as_slice(), b"row"].concat();
        assert_eq!(tenant.sealer(Purpose::Telemetry).open(&position, &row), Err(Unsealable::Withdrawn));
        assert_eq!(lent.open(&position, &row), Err(Unsealable::Withdrawn));
        assert!(store.tenant(&acme()).unwrap().is_none());
        assert!(matches!(store.create_tenant(&acme()), Err(StoreError::Shredded(_))));
        assert!(matches!(store.key_status(&acme()), Err(StoreError::Shredded(_))));
        let write = log.append(21, CANARY.as_bytes());
        assert_eq!(store.commit_blocking(vec![write]), Err(CommitError::Withdrawn));
        // Whoever asks again gets the same list.
        let again = store.shred_tenant(&acme(), 9).unwrap();
        assert_eq!((again.at_s, again.destroyed), (7, report.destroyed));
        assert!(again.purged.found_in.is_empty());
        store.0.shared.keys.rotate_memtable_and_wait().unwrap();
    }
    let needles = keys.iter().map(|key| *key[key.len().saturating_sub(60)..].first_chunk().unwrap());
    assert_eq!(holding(dir.path(), needles), Vec::<PathBuf>::new());
    let store = open(dir.path());
    assert!(store.is_shredded(&acme()).unwrap() && store.tenant(&acme()).unwrap().is_none());
    assert!(store.table("rows").unwrap().prefix(&handle).next().is_none());
    let neighbour = store.tenant(&other()).unwrap().unwrap();
    let position = [neighbour.handle().as_slice(), b"row"].concat();
    assert_eq!(neighbour.sealer(Purpose::Telemetry).open(&position, &kept).unwrap(), CANARY.as_bytes());
    let log = neighbour.log().unwrap();
    assert_eq!(log.last().unwrap(), Some(20));
    assert_eq!(log.reader(1).next_batch(100, 1_000_000).unwrap().len(), 20);
}

#[test]
fn a_shredding_that_was_refused_can_be_repeated_nobody_reads_meanwhile_and_no_own_key_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (tenant, row) = tenant_with_rows(&store, &acme());
    let own = || SecretKey::from([5; 32]);
    store.bring_key(&acme(), own(), true, 1).unwrap();
    store.withdraw_key(&acme()).unwrap();
    store.set_disk_free_bytes_min(u64::MAX);
    assert!(store.shred_tenant(&acme(), 7).is_err());
    let position = [tenant.handle().as_slice(), b"row"].concat();
    assert!(tenant.sealer(Purpose::Telemetry).open(&position, &row).is_err());
    store.set_disk_free_bytes_min(0);
    let report = store.shred_tenant(&acme(), 8).unwrap();
    assert!(report.is_proved() && report.sample_opened_before.is_none(), "{report:?}");
    assert!(matches!(store.bring_key(&acme(), own(), true, 8), Err(StoreError::Shredded(_))));
    assert!(matches!(store.shred_tenant(&other(), 8), Err(StoreError::TenantUnknown(_))));
}
