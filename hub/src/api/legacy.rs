//! `/api/v1/tenants/{tenant}/legacy-devices`: devices that connect with a password, where the tenant takes them.

use actix_web::web::{Data, Json, Path};
use muster_broker::ReasonCode;
use muster_schemas::{
    DeviceId, TenantId,
    api::{LegacyDevice, NewPassword},
};

use super::{Api, caller::Caller, error::ApiError, tenants::state};
use crate::{
    people::{InvalidPasswordHash, PasswordHash},
    registry::legacy::{self, ListPasswords, RemovePassword, SetPassword},
};

pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<LegacyDevice>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let all = api.registry(ListPasswords(tenant.into_inner())).await??;
    Ok(Json(all.iter().map(shown).collect()))
}

pub(super) async fn set(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
    body: Json<NewPassword>,
) -> Result<Json<LegacyDevice>, ApiError> {
    let (tenant, id) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let hash: PasswordHash = body.hash.parse().map_err(|error: InvalidPasswordHash| {
        let next = "let `muster device password set` make it; no password is ever sent here";
        ApiError::malformed("the password was not set", format!("the hash {error}"), next)
    })?;
    let device = api.registry(SetPassword { tenant, id, hash }).await??;
    tracing::warn!(tenant = %device.tenant, device = %device.id, "password set for a legacy device");
    close(&api, &device, "the device has another password");
    Ok(Json(shown(&device)))
}

pub(super) async fn remove(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<LegacyDevice>, ApiError> {
    let (tenant, id) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let device = api.registry(RemovePassword { tenant, id }).await??;
    tracing::info!(tenant = %device.tenant, device = %device.id, "legacy device removed");
    close(&api, &device, "the device was removed");
    Ok(Json(shown(&device)))
}

/// Closes the sessions of a device that may not go on with the password it came with.
pub(super) fn close(api: &Api, device: &legacy::LegacyDevice, reason: &str) {
    let principal = device.principal(api.trust.trust_domain());
    api.bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
}

fn shown(device: &legacy::LegacyDevice) -> LegacyDevice {
    LegacyDevice {
        device: device.id.clone(),
        username: format!("{}/{}", device.tenant, device.id),
        state: state(device.state),
        created_at_s: device.created_at_s,
    }
}
