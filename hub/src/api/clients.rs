//! `/api/v1/tenants/{tenant}/claims` and `/apps`: what lets a tenant's devices and apps in.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use muster_broker::ReasonCode;
use muster_schemas::{
    DeviceId, Principal, TenantId,
    api::{App, Claim, NewApp, NewClaim},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    authority::PublicKey,
    keyring::pem,
    limits::CLIENT_VALIDITY_S,
    registry::{Certificate, ClientKind, message},
};

pub(super) async fn create_claim(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewClaim>,
) -> Result<HttpResponse, ApiError> {
    caller.operator_or_member(&tenant)?;
    let NewClaim { model, expires_in_s, approve } = body.into_inner();
    let command = message::CreateClaim { tenant: tenant.into_inner(), model, expires_in_s, approve };
    let created = api.registry(command).await??;
    let message::CreatedClaim { code, claim } = created;
    tracing::info!(tenant = %claim.tenant, model = claim.model, "claim created");
    Ok(HttpResponse::Created().json(Claim {
        code: code.to_string(),
        tenant: claim.tenant,
        model: claim.model,
        expires_at_s: claim.expires_at_s,
    }))
}

pub(super) async fn create_app(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewApp>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let (tenant, NewApp { app, csr_pem, replace }) = (tenant.into_inner(), body.into_inner());
    let (certificate_pem, ca_pem) = issue(&api, tenant, ClientKind::App, &app, &csr_pem, replace).await?;
    Ok(HttpResponse::Created().json(App { app, certificate_pem, ca_pem }))
}

/// Gives an app or a user a certificate. Returns that, with its authority's, and the root, PEM.
pub(super) async fn issue(
    api: &Api,
    tenant: TenantId,
    kind: ClientKind,
    id: &DeviceId,
    csr_pem: &str,
    replace: bool,
) -> Result<(String, String), ApiError> {
    // Of the signing request only the key is taken, after its signature has proved that the caller has it.
    let key = PublicKey::from_csr_pem(csr_pem).map_err(|error| {
        let next = "send a PKCS #10 request for a P-256 key, signed with that key";
        ApiError::malformed("the signing request was refused", format!("it {error}"), next)
    })?;
    let principal = api.principal(&tenant, kind, id);
    let issued = api.client_authority.issue_client(&key, &principal, api.now_s(), CLIENT_VALIDITY_S);
    let issued = issued.map_err(|error| {
        tracing::error!(%error, "failed to issue a certificate");
        ApiError::unavailable("the client authority")
    })?;
    let certificate = Certificate::of(&issued.leaf);
    let command =
        message::RegisterClient { tenant: tenant.clone(), kind, id: id.clone(), certificate, replace };
    api.registry(command).await??;
    if replace {
        api.close_replaced(&principal);
    }
    tracing::info!(%tenant, kind = %kind.kind(), %id, serial = %issued.leaf.serial, "client registered");
    let certificate_pem = pem(&[issued.certificate, api.client_authority.certificate().clone()]);
    Ok((certificate_pem, pem(&[api.trust.root().clone()])))
}

impl Api {
    /// The principal of an app or a user.
    pub(super) fn principal(&self, tenant: &TenantId, kind: ClientKind, id: &DeviceId) -> Principal {
        let trust_domain = self.trust.trust_domain().clone();
        Principal { trust_domain, tenant: tenant.clone(), kind: kind.kind(), id: id.clone() }
    }

    /// Closes the sessions that a certificate opened which is no longer the one.
    pub(super) fn close_replaced(&self, principal: &Principal) {
        let reason = "another certificate took the place of this session's; connect with it";
        self.bus.close_sessions(principal, ReasonCode::NotAuthorized, reason);
    }
}
