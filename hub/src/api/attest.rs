//! `/api/v1/tenants/{t}/attestation`: what a tenant demands of its devices' sessions.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path},
};
use muster_broker::ReasonCode;
use muster_schemas::{
    Kind, TenantId,
    api::{AttestSessions, Attestation},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::{self, SetAttestSessions};

pub(super) async fn set(
    api: Data<Api>,
    caller: Caller,
    path: Path<TenantId>,
    body: Json<Attestation>,
) -> Result<Json<Attestation>, ApiError> {
    caller.operator()?;
    let (tenant, Attestation { sessions }) = (path.into_inner(), body.into_inner());
    if sessions == AttestSessions::Required && api.plain_tenants.contains(&tenant) {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "plain_listener",
            format!("the sessions of {tenant} were not made to attest"),
            "a listener without TLS leads to this tenant, and there is nothing to bind an attestation to",
            "take its section out of the hub's configuration and restart the hub first",
        ));
    }
    let demanded = match sessions {
        AttestSessions::Off => registry::AttestSessions::Off,
        AttestSessions::Required => registry::AttestSessions::Required,
    };
    api.registry(SetAttestSessions { tenant: tenant.clone(), sessions: demanded }).await??;
    if sessions == AttestSessions::Required {
        // Those that are open never attested.
        let reason = "the tenant demands that sessions attest from now on; connect again";
        api.bus.close_kind(&tenant, Kind::Device, ReasonCode::AdministrativeAction, reason);
    }
    tracing::info!(%tenant, ?sessions, "what sessions have to show was set");
    Ok(Json(Attestation { sessions }))
}
