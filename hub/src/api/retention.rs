//! `/api/v1/tenants/{tenant}/telemetry/retention`: how long telemetry is kept.

use actix_web::web::{Data, Json, Path};
use muster_schemas::{TenantId, api::Retention};

use super::{Api, caller::Caller, error::ApiError};
use crate::telemetry::{ReadRetention, SetRetention};

pub(super) async fn read(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Retention>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let question = ReadRetention { tenant: tenant.into_inner() };
    Ok(Json(api.telemetry(question).await??))
}

pub(super) async fn set(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<Retention>,
) -> Result<Json<Retention>, ApiError> {
    caller.operator_or_person(&tenant)?;
    let rules = body.into_inner();
    let command = SetRetention { tenant: tenant.into_inner(), rules: rules.clone() };
    api.telemetry(command).await??;
    Ok(Json(rules))
}
