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
