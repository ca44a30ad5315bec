//! `/api/v1/tenants/{tenant}/telemetry`: what was measured, for the tenant alone.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path, Query},
};
use muster_schemas::{
    DeviceId, TenantId,
    api::{Reading, Readings},
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::telemetry::{
    limits::RANGE_READINGS_MAX,
    message::{Last, QueryRefusal, Range},
};

/// The parameters of `last`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastQuery {
    device: Option<DeviceId>,
    stream: Option<String>,
}

pub(super) async fn last(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<LastQuery>,
) -> Result<Json<Readings>, ApiError> {
    caller.member(&tenant)?;
    let LastQuery { device, stream } = query.into_inner();
    let question = Last { tenant: tenant.into_inner(), device, stream };
    let answer = api.telemetry(question).await??;
    let truncated = answer.truncated;
    let readings =
        answer.readings.into_iter().map(|(stream, reading)| reading.into_api(&stream.device, &stream.stream));
    Ok(Json(Readings { readings: readings.collect(), truncated, next_cursor: None }))
}

/// The parameters of `range`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    device: DeviceId,
    stream: String,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn range(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<RangeQuery>,
) -> Result<Json<Readings>, ApiError> {
    caller.member(&tenant)?;
    let RangeQuery { device, stream, from_ms, to_ms, limit, cursor } = query.into_inner();
    let question = Range {
        tenant: tenant.into_inner(),
        device: device.clone(),
        stream: stream.clone(),
        from_ms: from_ms.unwrap_or(0),
        to_ms: to_ms.unwrap_or(i64::MAX),
        limit: limit.unwrap_or(RANGE_READINGS_MAX),
        cursor,
    };
    let page = api.telemetry(question).await??;
    let readings: Vec<Reading> =
        page.readings.into_iter().map(|reading| reading.into_api(&device, &stream)).collect();
    Ok(Json(Readings { readings, truncated: false, next_cursor: page.next_cursor }))
}

impl From<QueryRefusal> for ApiError {
    fn from(refusal: QueryRefusal) -> Self {
        let (status, code, next) = match &refusal {
            QueryRefusal::TenantUnknown => {
                (StatusCode::NOT_FOUND, "tenant_unknown", "check the tenant's name")
            }
            QueryRefusal::Order => (StatusCode::BAD_REQUEST, "range", "let `from_ms` be before `to_ms`"),
            QueryRefusal::Limit(_) => {
                (StatusCode::BAD_REQUEST, "limit", "ask for fewer and go on with the cursor")
            }
            QueryRefusal::Cursor => {
                (StatusCode::BAD_REQUEST, "cursor", "pass `next_cursor` as it came, with the same question")
            }
            QueryRefusal::Retention(_) => {
                (StatusCode::BAD_REQUEST, "retention", "set other rules; those before still hold")
            }
            QueryRefusal::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again in a moment")
            }
        };
        Self::new(status, code, "the telemetry store refused", format!("failed to {refusal}"), next)
    }
}
