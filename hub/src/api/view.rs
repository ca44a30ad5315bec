//! What a caller may be shown of a tenant's telemetry. Every route that reads telemetry asks here, and nowhere else.

use muster_items::View;
use muster_schemas::TenantId;

use super::{Api, caller::Caller, error::ApiError};

impl Api {
    /// What `caller` may be shown of what `tenant` has, at this instant. To be asked for each question anew.
    ///
    /// # Errors
    /// The caller has no business with that tenant.
    pub(super) fn view(&self, caller: &Caller, tenant: &TenantId, _now_ms: i64) -> Result<View, ApiError> {
        caller.member(tenant)?;
        Ok(View::all())
    }
}
