//! Stories about data keys that are lent to another tenant, and about fields that leave the store as text.

use super::{super::field::UnsealableField, *};

fn other() -> TenantId {
    "other".parse().unwrap()
}

fn stored(store: &Store, tenant: &TenantStore, text: &[u8]) -> Vec<u8> {
    let row = tenant.sealer(Purpose::Telemetry).seal(b"here", text);
    store.commit_blocking(vec![put(&store.table("rows").unwrap(), b"here", &row)]).unwrap();
    row
}

#[test]
fn what_is_lent_opens_before_and_after_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    {
        let store = open(dir.path());
        let (lender, borrower) =
            (store.create_tenant(&acme()).unwrap(), store.create_tenant(&other()).unwrap());
        rows.push(stored(&store, &lender, b"before"));
        assert!(matches!(
            borrower.granted_sealer(&lender, Purpose::Telemetry),
            Err(StoreError::NotLent { .. })
        ));
        assert_eq!(lender.grant(&borrower, Purpose::Telemetry).unwrap(), 1);
        let lent = borrower.granted_sealer(&lender, Purpose::Telemetry).unwrap();
        store.rotate_data_keys(&acme()).unwrap();
        rows.push(stored(&store, &lender, b"after"));
        assert_eq!(lent.open(b"here", &rows[0]).unwrap(), b"before");
        assert_eq!(lent.open(b"here", &rows[1]).unwrap(), b"after");
        // It seals nothing, opens nothing of another purpose, and lends nothing the other way.
        let void = lent.seal(b"here", b"text");
        let write = put(&store.table("rows").unwrap(), b"here", &void);
        assert_eq!(store.commit_blocking(vec![write]), Err(CommitError::Withdrawn));
        assert!(borrower.granted_sealer(&lender, Purpose::Audit).is_err());
        assert!(lender.granted_sealer(&borrower, Purpose::Telemetry).is_err());
        // Both tenant keys are made anew, and the grant holds.
        store.rotate_tenant_key(&acme(), 1).unwrap();
        store.rotate_tenant_key(&other(), 1).unwrap();
    }
    let store = open(dir.path());
    let [lender, borrower] = [acme(), other()].map(|name| store.tenant(&name).unwrap().unwrap());
    rows.push(stored(&store, &lender, b"later"));
    let lent = borrower.granted_sealer(&lender, Purpose::Telemetry).unwrap();
    for (row, text) in rows.iter().zip(["before", "after", "later"]) {
        assert_eq!(lent.open(b"here", row).unwrap(), text.as_bytes());
    }
    assert!(lender.revoke(&borrower, Purpose::Telemetry).unwrap());
    assert_eq!(lent.open(b"here", &rows[0]), Err(Unsealable::Revoked));
    assert!(borrower.granted_sealer(&lender, Purpose::Telemetry).is_err());
    assert!(!lender.revoke(&borrower, Purpose::Telemetry).unwrap());
    store.rotate_data_keys(&acme()).unwrap();
    stored(&store, &lender, b"more");
    drop((store, lender, borrower, lent));
    let store = open(dir.path());
    let [lender, borrower] = [acme(), other()].map(|name| store.tenant(&name).unwrap().unwrap());
    assert!(borrower.granted_sealer(&lender, Purpose::Telemetry).is_err());
    let rows = store.keys_table().prefix(b"").map(|row| row.unwrap().0[0]).collect::<Vec<_>>();
    assert!(!rows.iter().any(|kind| b"oil".contains(kind)), "nothing of the grant is left");
}

#[test]
fn nothing_lent_opens_while_the_key_of_either_is_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (lender, borrower) = (store.create_tenant(&acme()).unwrap(), store.create_tenant(&other()).unwrap());
    let row = stored(&store, &lender, b"text");
    lender.grant(&borrower, Purpose::Telemetry).unwrap();
    let lent = borrower.granted_sealer(&lender, Purpose::Telemetry).unwrap();
    assert_eq!(lent.open(b"here", &row).unwrap(), b"text");
    for (tenant, why) in [(acme(), Unsealable::Withdrawn), (other(), Unsealable::BorrowerWithdrawn)] {
        let key = || SecretKey::from([5; 32]);
        store.bring_key(&tenant, key(), true, 1).unwrap();
        store.withdraw_key(&tenant).unwrap();
        assert_eq!(lent.open(b"here", &row), Err(why.clone()), "{tenant}");
        assert_eq!(lent.stands(), Err(why), "{tenant}");
        let refused = borrower.granted_sealer(&lender, Purpose::Telemetry);
        assert!(matches!(refused, Err(StoreError::Withdrawn { tenant: whose }) if whose == tenant.as_str()));
        assert!(lender.grant(&borrower, Purpose::Audit).is_err());
        store.bring_key(&tenant, key(), true, 1).unwrap();
        assert_eq!(lent.open(b"here", &row).unwrap(), b"text");
    }
}

/// The rows of grants, as they lie on the disk.
fn lent_rows(store: &Store) -> Vec<Vec<u8>> {
    let rows = store.keys_table().prefix(b"").map(|row| row.unwrap().0);
    rows.filter(|key| b"oil".contains(&key[0])).collect()
}

#[test]
fn a_grant_that_lacks_a_part_is_told_from_a_whole_one_and_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (lender, borrower) = (store.create_tenant(&acme()).unwrap(), store.create_tenant(&other()).unwrap());
    let row = stored(&store, &lender, b"text");
    assert!(!lender.lends(&borrower, Purpose::Telemetry).unwrap());
    lender.grant(&borrower, Purpose::Telemetry).unwrap();
    assert_eq!(store.lent(Purpose::Telemetry).unwrap(), [(lender.handle(), borrower.handle())]);
    assert!(store.lent(Purpose::Audit).unwrap().is_empty());
    let rows = lent_rows(&store);
    assert_eq!(rows.len(), 3);
    for key in rows.into_iter().filter(|key| key[0] != b'o') {
        assert!(lender.lends(&borrower, Purpose::Telemetry).unwrap());
        store.commit_blocking(vec![Write::Delete { table: store.keys_table(), key: key.clone() }]).unwrap();
        assert!(!lender.lends(&borrower, Purpose::Telemetry).unwrap(), "without {:?}", key[0] as char);
        assert_eq!(lender.grant(&borrower, Purpose::Telemetry).unwrap(), 1);
        let lent = borrower.granted_sealer(&lender, Purpose::Telemetry).unwrap();
        assert_eq!(lent.open(b"here", &row).unwrap(), b"text");
    }
    // A key that begins later is lent as it begins.
    store.rotate_data_keys(&acme()).unwrap();
    stored(&store, &lender, b"later");
    assert!(lender.lends(&borrower, Purpose::Telemetry).unwrap());
    assert_eq!(lent_rows(&store).len(), 4);
    assert!(matches!(lender.grant(&lender, Purpose::Telemetry), Err(StoreError::LentToItself { .. })));
    assert!(lender.revoke_handle(borrower.handle(), Purpose::Telemetry).unwrap());
    assert!(lent_rows(&store).is_empty() && store.lent(Purpose::Telemetry).unwrap().is_empty());
}

#[test]
fn two_tenants_lend_to_one_another_while_their_keys_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names = [acme(), other()];
    let tenants = names.clone().map(|name| store.create_tenant(&name).unwrap());
    let rows = tenants.clone().map(|tenant| stored(&store, &tenant, b"text"));
    std::thread::scope(|scope| {
        for (mine, theirs) in [(0, 1), (1, 0)] {
            let (store, tenants, names) = (&store, &tenants, &names);
            scope.spawn(move || {
                for _ in 0..20 {
                    tenants[mine].grant(&tenants[theirs], Purpose::Telemetry).unwrap();
                    store.rotate_tenant_key(&names[mine], 1).unwrap();
                }
            });
        }
    });
    for (lender, borrower) in [(0, 1), (1, 0)] {
        let lent = tenants[borrower].granted_sealer(&tenants[lender], Purpose::Telemetry).unwrap();
        assert_eq!(lent.open(b"here", &rows[lender]).unwrap(), b"text");
    }
}

#[test]
fn nothing_is_lent_to_who_is_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (lender, borrower) = (store.create_tenant(&acme()).unwrap(), store.create_tenant(&other()).unwrap());
    let row = stored(&store, &lender, b"text");
    lender.grant(&borrower, Purpose::Telemetry).unwrap();
    let lent = borrower.granted_sealer(&lender, Purpose::Telemetry).unwrap();
    store.shred_tenant(&other(), 1).unwrap();
    assert_eq!(lent.open(b"here", &row), Err(Unsealable::BorrowerWithdrawn));
    store.rotate_data_keys(&acme()).unwrap();
    stored(&store, &lender, b"later");
    assert!(lent_rows(&store).is_empty());
    assert!(store.lent(Purpose::Telemetry).unwrap().is_empty());
}

#[test]
fn a_field_opens_at_its_tenant_stream_and_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let text = {
        let store = open(dir.path());
        let tenant = store.create_tenant(&acme()).unwrap();
        let text = tenant.field_sealer("climate").seal("gps-lat", b"48.137").unwrap();
        // So that the other tenant has a data key of the same number.
        let another = store.create_tenant(&other()).unwrap();
        another.field_sealer("climate").seal("gps-lat", b"").unwrap();
        assert!(FieldSealer::is_sealed(&text) && !text.contains("48.137"), "{text}");
        let forged = UnsealableField::Record(Unsealable::Forged);
        assert_eq!(tenant.field_sealer("climate").open("gps-lat", &text).unwrap(), b"48.137");
        assert_eq!(tenant.field_sealer("climate").open("gps-lon", &text), Err(forged.clone()));
        assert_eq!(tenant.field_sealer("climateg").open("ps-lat", &text), Err(forged.clone()));
        assert_eq!(another.field_sealer("climate").open("gps-lat", &text), Err(forged));
        for wrong in [
            "",
            "v1.",
            "v1.0123456789abcdef",
            "v2.0123456789abcdef.AAAA",
            "v1.x.AAAA",
            &text[..text.len() - 1],
        ] {
            assert!(tenant.field_sealer("climate").open("gps-lat", wrong).is_err(), "{wrong}");
        }
        text
    };
    // Its key was on disk before the text was given out, although no commit followed.
    let store = open(dir.path());
    let tenant = store.tenant(&acme()).unwrap().unwrap();
    assert_eq!(tenant.field_sealer("climate").open("gps-lat", &text).unwrap(), b"48.137");
    store.bring_key(&acme(), SecretKey::from([5; 32]), true, 1).unwrap();
    store.withdraw_key(&acme()).unwrap();
    assert!(tenant.field_sealer("climate").seal("gps-lat", b"48.137").is_err());
    let withdrawn = UnsealableField::Record(Unsealable::Withdrawn);
    assert_eq!(tenant.field_sealer("climate").open("gps-lat", &text), Err(withdrawn));
}

#[test]
fn a_field_whose_key_cannot_be_stored_does_not_leave() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenant = store.create_tenant(&acme()).unwrap();
    store.0.shared.break_disk.store(true, Ordering::Relaxed);
    assert!(tenant.field_sealer("climate").seal("gps-lat", b"48.137").is_err());
}
