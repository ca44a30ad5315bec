//! `/api/v1/tenants/{tenant}/telemetry/retention`: how long telemetry is kept.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path},
};
use muster_schemas::{TenantId, api::Retention};

use super::{Api, caller::Caller, error::ApiError};
use crate::telemetry::{ReadRetention, RetentionRefusal, SetRetention};

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

impl From<RetentionRefusal> for ApiError {
    fn from(refusal: RetentionRefusal) -> Self {
        match refusal {
            RetentionRefusal::Invalid(why) => Self::new(
                StatusCode::BAD_REQUEST,
                "retention",
                "the rules for how long streams are kept were not set",
                why.to_string(),
                "set other rules; those before still hold",
            ),
            RetentionRefusal::Store(refusal) => refusal.into(),
        }
    }
}
