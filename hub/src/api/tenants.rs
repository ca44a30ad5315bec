//! `/api/v1/tenants`: who shares this hub.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Json},
};
use muster_schemas::api::{NewTenant, State, Tenant, life};

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::{self, message};

pub(super) async fn create(
    api: Data<Api>,
    caller: Caller,
    body: Json<NewTenant>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let NewTenant { tenant, accept_simulated_tpms } = body.into_inner();
    let command = message::CreateTenant { tenant: tenant.clone(), accept_simulated_tpms };
    let created = api.registry(command).await??;
    // Durable from here on: if the hub dies now, it serves the tenant when it starts again.
    let keys = api.store.tenant(&tenant).ok().flatten().ok_or_else(|| ApiError::unavailable("the store"))?;
    api.bus.add_tenant(keys).map_err(|error| {
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "full",
            "the tenant is not served",
            error.to_string(),
            "add a hub",
        )
    })?;
    tracing::info!(%tenant, "tenant created");
    Ok(HttpResponse::Created().json(shown(&created)))
}

pub(super) async fn list(api: Data<Api>, caller: Caller) -> Result<Json<Vec<Tenant>>, ApiError> {
    caller.operator()?;
    let tenants = api.registry(message::ListTenants).await?;
    Ok(Json(tenants.iter().map(shown).collect()))
}

pub(super) fn shown(tenant: &registry::Tenant) -> Tenant {
    Tenant {
        tenant: tenant.id.clone(),
        created_at_s: tenant.created_at_s,
        state: state(tenant.state),
        accept_simulated_tpms: tenant.tpm_classes.simulated,
        precautions: {
            let registry::life::Precautions { suspend_clones, approve_cleared } = tenant.precautions;
            life::Precautions { suspend_clones, approve_cleared }
        },
    }
}

pub(super) fn state(state: registry::State) -> State {
    match state {
        registry::State::Active => State::Active,
        registry::State::Suspended => State::Suspended,
        registry::State::Revoked => State::Revoked,
        registry::State::Retired => State::Retired,
    }
}
