//! `/api/v1/alarms`: what has to be looked at. An operator sees all of it, a tenant's apps and users their own.

use actix_web::web::{Data, Json, Path, Query};
use muster_schemas::{
    TenantId,
    api::life::{Alarm, Alarms},
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError, life::governs};
use crate::registry::{
    self,
    alarm::{Acknowledge, ListAlarms},
    limits::LISTED_ALARMS_MAX,
};

/// The parameters of `list`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlarmsQuery {
    /// Only those of this tenant.
    tenant: Option<TenantId>,
    /// Only those behind this number.
    #[serde(default)]
    after: u64,
    /// Also those that were acknowledged.
    #[serde(default)]
    acknowledged: bool,
}

pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    query: Query<AlarmsQuery>,
) -> Result<Json<Alarms>, ApiError> {
    let AlarmsQuery { tenant, after, acknowledged } = query.into_inner();
    let of = visible(&caller, tenant)?;
    let found = api.registry(ListAlarms { of, after, acknowledged }).await?;
    let is_full = found.len() >= LISTED_ALARMS_MAX;
    let next_after = found.last().map(|alarm| alarm.number).filter(|_| is_full);
    Ok(Json(Alarms { alarms: found.into_iter().map(shown).collect(), next_after }))
}

pub(super) async fn acknowledge(
    api: Data<Api>,
    caller: Caller,
    number: Path<u64>,
) -> Result<Json<Alarm>, ApiError> {
    let of = visible(&caller, None)?;
    if let Some(own) = &of {
        governs(&caller, own)?;
    }
    let by = caller.principal().to_string();
    let alarm = api.registry(Acknowledge { number: number.into_inner(), of, by }).await??;
    tracing::info!(alarm = alarm.number, kind = %alarm.kind, by = %caller.principal(), "alarm acknowledged");
    Ok(Json(shown(alarm)))
}

/// Whose alarms the caller may see: of the one tenant that is named, or of all.
fn visible(caller: &Caller, named: Option<TenantId>) -> Result<Option<TenantId>, ApiError> {
    if caller.operator().is_ok() {
        return Ok(named);
    }
    let of = named.unwrap_or_else(|| caller.principal().tenant.clone());
    caller.member(&of)?;
    Ok(Some(of))
}

fn shown(alarm: registry::Alarm) -> Alarm {
    let registry::Alarm { number, tenant, device, kind, detail, at_s, last_at_s, times, acknowledged } =
        alarm;
    let (acknowledged_at_s, acknowledged_by) = acknowledged.map(|seen| (seen.at_s, seen.by)).unzip();
    let kind = kind.to_string();
    Alarm { number, tenant, device, kind, detail, at_s, last_at_s, times, acknowledged_at_s, acknowledged_by }
}
