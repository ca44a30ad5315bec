//! `/api/v1/tenants/{tenant}/devices`: which chips are enrolled.

use actix_web::web::{Data, Json, Path, Query};
use data_encoding::HEXLOWER;
use muster_schemas::{
    DeviceId, TenantId,
    api::{Device, life::DeviceLife},
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError, tenants::state};
use crate::registry::{self, limits::LISTED_DEVICES_MAX, message};

/// The parameters of `list`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those after this one.
    after: Option<DeviceId>,
}

/// Devices by id, as many as one answer holds; the rest with `after`.
pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<ListQuery>,
) -> Result<Json<Vec<Device>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let (tenant, after) = (tenant.into_inner(), query.into_inner().after);
    let page = api.registry(message::ListDevices { tenant, after, limit: LISTED_DEVICES_MAX }).await??;
    Ok(Json(page.iter().map(shown).collect()))
}

pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<Device>, ApiError> {
    let (tenant, device) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let command = message::ShowDevice { tenant, device };
    let found = api.registry(command).await??;
    Ok(Json(shown(&found)))
}

pub(super) fn shown(device: &registry::Device) -> Device {
    Device {
        device: device.id.clone(),
        tenant: device.tenant.clone(),
        state: state(device.state),
        model: device.model.clone(),
        tpm_class: device.tpm_class.to_string(),
        ek_hash: HEXLOWER.encode(&device.ek_hash),
        certificate_serial: device.certificate.serial.to_string(),
        certificate_expires_at_s: device.certificate.not_after_s,
        enrolled_at_s: device.enrolled_at_s,
        boots: device.reset_count,
        agent_version: device.agent_version.clone(),
        life: life_of(device),
    }
}

fn life_of(device: &registry::Device) -> DeviceLife {
    let registry::life::Life { changed, compromised_since_s, replaces, replaced_by, quoted_at_s, .. } =
        device.life.clone();
    let (changed_at_s, changed_by, changed_why) = match changed {
        Some(change) => (Some(change.at_s), Some(change.by), Some(change.why).filter(|why| !why.is_empty())),
        None => (None, None, None),
    };
    DeviceLife {
        changed_at_s,
        changed_by,
        changed_why,
        compromised_since_s,
        replaces,
        replaced_by,
        quoted_at_s: Some(quoted_at_s).filter(|at_s| *at_s > 0),
        clock_ms: device.clock_ms,
    }
}
