//! `/api/v1/tenants/{t}/telemetry/schema`: what a tenant's readings are. What is not is refused at the door.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path},
};
use muster_schemas::{TenantId, api::TelemetrySchema};

use super::{Api, caller::Caller, error::ApiError, life::governs};
use crate::{
    registry::schema::{SetSchema, ShowSchema},
    screening::Screens,
};

pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<TelemetrySchema>, ApiError> {
    caller.operator_or_member(&tenant)?;
    Ok(Json(api.registry(ShowSchema(tenant.into_inner())).await??))
}

pub(super) async fn set(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    schema: Json<TelemetrySchema>,
) -> Result<Json<TelemetrySchema>, ApiError> {
    let (tenant, schema) = (tenant.into_inner(), schema.into_inner());
    governs(&caller, &tenant)?;
    let invalid = |error: muster_screen::InvalidRules| {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "schema_invalid",
            format!("the telemetry schema of {tenant} was not set"),
            format!("it {error}"),
            "mend it and set it again; the one before holds on",
        )
    };
    Screens::check(&schema).map_err(invalid)?;
    api.registry(SetSchema { tenant: tenant.clone(), schema: schema.clone() }).await??;
    // From the next message on, also of sessions that are open.
    api.screens.set(&tenant, schema.clone()).map_err(invalid)?;
    tracing::info!(%tenant, by = %caller.principal(), rules = schema.readings.len(), "telemetry schema set");
    Ok(Json(schema))
}
