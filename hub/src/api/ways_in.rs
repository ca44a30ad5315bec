//! `/api/v1/tenants/{tenant}/ways-in`: the ways into a tenant besides first boot with a TPM.

use actix_web::web::{Data, Json, Path};
use muster_schemas::{TenantId, api::WaysIn};

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::ways_in::{self, SetWaysIn, ShowWaysIn};

pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<WaysIn>, ApiError> {
    caller.operator_or_member(&tenant)?;
    Ok(Json(shown(api.registry(ShowWaysIn(tenant.into_inner())).await??)))
}

pub(super) async fn set(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<WaysIn>,
) -> Result<Json<WaysIn>, ApiError> {
    caller.operator()?;
    let WaysIn { est, legacy_passwords } = body.into_inner();
    let tenant = tenant.into_inner();
    let ways_in = api.registry(SetWaysIn { tenant: tenant.clone(), est, legacy_passwords }).await??;
    tracing::warn!(
        %tenant,
        est = ways_in.est,
        legacy_passwords = ways_in.legacy_passwords,
        "the ways into the tenant were set"
    );
    Ok(Json(shown(ways_in)))
}

fn shown(ways_in: ways_in::WaysIn) -> WaysIn {
    WaysIn { est: Some(ways_in.est), legacy_passwords: Some(ways_in.legacy_passwords) }
}
