//! `/api/v1/tenants/{tenant}/telemetry`: what was measured, for whom the tenant's rules and grants show it.

use std::{ops::ControlFlow, sync::Arc};

use actix_web::{
    http::StatusCode,
    web::{self, Data, Json, Path, Query},
};
use muster_items::{Column, History as _, ItemInfo, LastReading, Selection, StreamId, Values, View};
use muster_schemas::{
    DeviceId, TenantId,
    api::{Reading, ReadingValue, Readings},
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    rules::Known,
    telemetry::{
        Archive,
        limits::RANGE_READINGS_MAX,
        message::{Last, QueryRefusal, Range},
    },
};

/// The parameters of `last`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastQuery {
    device: Option<DeviceId>,
    stream: Option<String>,
    /// Only of this data set.
    dataset: Option<String>,
}

pub(super) async fn last(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<LastQuery>,
) -> Result<Json<Readings>, ApiError> {
    let LastQuery { device, stream, dataset } = query.into_inner();
    let view = api.view_within(&caller, &tenant, dataset.as_deref(), api.now_ms())?;
    if !view.is_all() {
        let selection = Selection { device, stream, ..Selection::default() };
        return shown(&api, tenant.into_inner(), selection, view, Wanted::Last).await;
    }
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
    /// Only of this data set.
    dataset: Option<String>,
}

pub(super) async fn range(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<RangeQuery>,
) -> Result<Json<Readings>, ApiError> {
    let RangeQuery { device, stream, from_ms, to_ms, limit, cursor, dataset } = query.into_inner();
    let view = api.view_within(&caller, &tenant, dataset.as_deref(), api.now_ms())?;
    if !view.is_all() {
        let us = |ms: i64| ms.saturating_mul(1_000);
        let selection = Selection {
            device: Some(device),
            stream: Some(stream),
            from_us: from_ms.map(us),
            to_us: to_ms.map(us),
            ..Selection::default()
        };
        let limit = limit.unwrap_or(RANGE_READINGS_MAX).min(RANGE_READINGS_MAX);
        return shown(&api, tenant.into_inner(), selection, view, Wanted::Range(limit)).await;
    }
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

/// Which readings of those that may be shown.
enum Wanted {
    Last,
    Range(usize),
}

/// Answers from the archive with what may be shown. There is no cursor to go on with: whoever is told that there is more
/// asks for less.
async fn shown(
    api: &Api,
    tenant: TenantId,
    selection: Selection,
    view: View,
    wanted: Wanted,
) -> Result<Json<Readings>, ApiError> {
    let archive = Archive::new(api.store.clone());
    let view = of_now(view, api.known.clone(), tenant.clone());
    let reading = web::block(move || {
        let mut readings = Vec::new();
        let mut truncated = false;
        match wanted {
            Wanted::Last => {
                let (all, more) = archive.last(&tenant, &selection, &view, RANGE_READINGS_MAX)?;
                for LastReading { stream, time_us, column } in all {
                    add(&mut readings, &stream, &[time_us], &[column]);
                }
                truncated = more;
            }
            Wanted::Range(limit) => archive.scan(&tenant, &selection, &view, &mut |chunk| {
                add(&mut readings, &chunk.item.stream, chunk.times_us, chunk.columns);
                truncated = readings.len() > limit;
                readings.truncate(limit);
                if truncated { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?,
        }
        Ok(Readings { readings, truncated, next_cursor: None })
    });
    let read: Result<Readings, muster_items::QueryRefusal> =
        reading.await.map_err(|_| ApiError::unavailable("the telemetry store"))?;
    read.map(Json).map_err(|refusal| QueryRefusal::from(refusal).into())
}

/// Rows from before there were items have no attributes: they are asked about with those that their device has now.
fn of_now(view: View, known: Known, tenant: TenantId) -> View {
    let sensitive = view.sensitive;
    let shows = move |item: &ItemInfo| {
        if !item.attributes.is_empty() {
            return view.shows(item);
        }
        let attributes = known.attributes(&tenant, &item.stream.device);
        view.shows(&ItemInfo { attributes, ..item.clone() })
    };
    View::filtered(Arc::new(shows), sensitive)
}

/// Adds what was measured, by time.
fn add(readings: &mut Vec<Reading>, stream: &StreamId, times_us: &[i64], columns: &[Column]) {
    for (place, time_us) in times_us.iter().enumerate() {
        for Column { name, unit, values } in columns {
            let value = match values {
                Values::Numbers(all) => {
                    all.get(place).filter(|value| value.is_finite()).copied().map(ReadingValue::Number)
                }
                Values::Texts(all) => all.get(place).cloned().flatten().map(ReadingValue::Text),
                Values::Bools(all) => all.get(place).copied().flatten().map(ReadingValue::Bool),
                Values::Bytes(_) => None,
            };
            readings.extend(value.map(|value| Reading {
                device: stream.device.clone(),
                stream: stream.stream.clone(),
                name: name.clone(),
                unit: unit.clone(),
                time_s: *time_us as f64 / 1e6,
                value,
            }));
        }
    }
}

impl From<muster_items::QueryRefusal> for QueryRefusal {
    fn from(refusal: muster_items::QueryRefusal) -> Self {
        match refusal {
            muster_items::QueryRefusal::TenantUnknown => Self::TenantUnknown,
            muster_items::QueryRefusal::Order => Self::Order,
            other => Self::Unavailable(other.to_string()),
        }
    }
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
            QueryRefusal::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again in a moment")
            }
        };
        Self::new(status, code, "the telemetry store refused", format!("failed to {refusal}"), next)
    }
}
