//! The registry's rows as they lie in a store that no registry has open, or in one where it goes on: for backups, and for
//! putting one tenant back.

use muster_broker::store::{Store, Write};
use muster_schemas::TenantId;

use super::{
    actor::{RegistryError, Rows},
    row::{MalformedRow, Row},
};

/// Rows that are put into one commit at most.
const ROWS_TOGETHER_MAX: usize = 1_000;

/// What became of a tenant's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Rows of the tenant as it was that are there again.
    pub rows: u64,
    /// Rows of the tenant as it is that went.
    pub removed: u64,
    /// Rows that were left out, because what they are about belongs to another tenant by now.
    pub elsewhere: u64,
}

/// The tenants that have a row.
///
/// # Errors
/// The rows cannot be read.
pub fn stored_tenants(store: &Store) -> Result<Vec<TenantId>, RegistryError> {
    let mut tenants = Vec::new();
    Rows::open(store)?.each(|_, row| {
        if let Row::Tenant(tenant) = row {
            tenants.push(tenant.id);
        }
        Ok(())
    })?;
    Ok(tenants)
}

/// Puts the rows of a tenant as they are in `from` in the place of those in `to`. What was revoked stays revoked, alarms
/// and the list of issued certificates stay as they are, and nothing that belongs to another tenant is touched.
///
/// # Errors
/// Rows cannot be read or stored.
pub fn put_tenant_back(from: &Store, to: &Store, tenant: &TenantId) -> Result<PutBack, RegistryError> {
    let (source, target) = (Rows::open(from)?, Rows::open(to)?);
    let mut put_back = PutBack::default();
    let mut writes = Vec::new();
    target.each(|key, row| {
        if owner(&row)?.as_deref() == Some(tenant.as_str()) {
            put_back.removed += 1;
            writes.push(Write::Delete { table: target.table().clone(), key });
        }
        flush(to, &mut writes, ROWS_TOGETHER_MAX)
    })?;
    flush(to, &mut writes, 1)?;
    source.each(|_, row| {
        if owner(&row)?.as_deref() != Some(tenant.as_str()) {
            return Ok(());
        }
        // What is still there under this key is somebody else's.
        match target.has(&row)? {
            true => put_back.elsewhere += 1,
            false => {
                put_back.rows += 1;
                writes.push(target.put(&row)?);
            }
        }
        flush(to, &mut writes, ROWS_TOGETHER_MAX)
    })?;
    flush(to, &mut writes, 1)?;
    Ok(put_back)
}

fn flush(store: &Store, writes: &mut Vec<Write>, min: usize) -> Result<(), RegistryError> {
    if writes.len() >= min {
        store.commit_blocking(std::mem::take(writes))?;
    }
    Ok(())
}

/// Whose row it is, if it goes where its tenant goes.
fn owner(row: &Row) -> Result<Option<String>, RegistryError> {
    match row {
        Row::Tenant(tenant) => return Ok(Some(tenant.id.to_string())),
        Row::Alarm(_) | Row::Issued(_) | Row::Revocation(_) | Row::RevocationVersion(_) => return Ok(None),
        _ => {}
    }
    // Every row that is a tenant's has its name in a field of this name, also those of later kinds.
    let fields = serde_json::to_value(row).map_err(MalformedRow::from)?;
    Ok(fields.get("tenant").and_then(serde_json::Value::as_str).map(str::to_owned))
}

/// Registers a tenant in a store that no registry has open.
#[cfg(test)]
pub(crate) fn write_tenant(store: &Store, tenant: &TenantId) {
    tests::write(store, &[tests::tenant(tenant.as_str())]);
}

#[cfg(test)]
mod tests {
    use muster_broker::store::{RootKey, StoreOptions};
    use serde_json::json;

    use super::*;

    fn open(dir: &tempfile::TempDir) -> Store {
        let options = StoreOptions { disk_free_bytes_min: 0 };
        Store::open(dir.path(), RootKey::from_bytes([7; 32]), options).expect("a store")
    }

    pub(super) fn tenant(id: &str) -> Row {
        let classes = json!({ "hardware": true, "firmware": true, "virtual": true, "simulated": false });
        let row = json!({ "row": "tenant", "id": id, "created_at_s": 1, "state": "active", "tpm_classes": classes });
        serde_json::from_value(row).expect("a tenant")
    }

    fn claim(tenant: &str, byte: u8, expires_at_s: u64) -> Row {
        let hash = data_encoding::HEXLOWER.encode(&[byte; 32]);
        let row = json!({ "row": "claim", "sha256": hash, "tenant": tenant, "model": null,
            "expires_at_s": expires_at_s, "used_by": null });
        serde_json::from_value(row).expect("a claim")
    }

    pub(super) fn write(store: &Store, rows: &[Row]) {
        let into = Rows::open(store).expect("rows");
        let writes = rows.iter().map(|row| into.put(row).expect("sealed")).collect();
        store.commit_blocking(writes).expect("stored");
    }

    fn read(store: &Store) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        let take = |_, row: Row| {
            rows.push(row.encode()?);
            Ok(())
        };
        Rows::open(store).expect("rows").each(take).expect("read");
        rows.sort();
        rows
    }

    fn encoded(rows: &[Row]) -> Vec<Vec<u8>> {
        let mut rows: Vec<_> = rows.iter().map(|row| row.encode().expect("encoded")).collect();
        rows.sort();
        rows
    }

    /// The hub of now, and beside it that of then, whose platform has the same keys.
    fn two_stores(dir: &tempfile::TempDir, beside: &tempfile::TempDir, then: &[Row]) -> (Store, Store) {
        let now = open(dir);
        write(&now, then);
        let mut copy = open(beside).restoration();
        let snapshot = now.snapshot().expect("a snapshot");
        for table in snapshot.tables() {
            for row in snapshot.rows(table).expect("rows") {
                let (key, value) = row.expect("a row");
                copy.put(table, key, value).expect("copied");
            }
        }
        copy.finish().expect("stored");
        (open(beside), now)
    }

    #[test]
    fn a_tenant_is_put_back_and_no_row_of_another_one_is_touched() {
        let [dir, beside] = [0; 2].map(|_| tempfile::tempdir().expect("directory"));
        // The third claim is acme's then and globex' now, as a chip may be.
        let then_rows = [tenant("acme"), tenant("globex"), claim("acme", 1, 10), claim("acme", 3, 10)];
        let (then, now) = two_stores(&dir, &beside, &then_rows);
        write(
            &now,
            &[claim("acme", 1, 99), claim("acme", 2, 99), claim("globex", 3, 99), claim("globex", 4, 99)],
        );
        let acme = "acme".parse().expect("an id");
        let put_back = put_tenant_back(&then, &now, &acme).expect("put back");
        assert_eq!(put_back, PutBack { rows: 2, removed: 3, elsewhere: 1 });
        let expected = [
            tenant("acme"),
            tenant("globex"),
            claim("acme", 1, 10),
            claim("globex", 3, 99),
            claim("globex", 4, 99),
        ];
        assert_eq!(read(&now), encoded(&expected));
        assert_eq!(stored_tenants(&now).expect("tenants").len(), 2);
        // Once more comes to the same.
        put_tenant_back(&then, &now, &acme).expect("put back");
        assert_eq!(read(&now), encoded(&expected));
    }
}
