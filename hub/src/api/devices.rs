//! `/api/v1/tenants/{tenant}/devices`: which chips are enrolled.

use actix_web::web::{Data, Json, Path};
use data_encoding::HEXLOWER;
use muster_schemas::{DeviceId, TenantId, api::Device};

use super::{Api, caller::Caller, error::ApiError, tenants::state};
use crate::registry::{self, limits::LISTED_DEVICES_MAX, message};

pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<Device>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|device: &Device| device.device.clone());
        let command = message::ListDevices { tenant: tenant.clone(), after, limit: LISTED_DEVICES_MAX };
        let page = api.registry(command).await??;
        let last = page.len() < LISTED_DEVICES_MAX;
        all.extend(page.iter().map(shown));
        if last {
            return Ok(Json(all));
        }
    }
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

fn shown(device: &registry::Device) -> Device {
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
    }
}
