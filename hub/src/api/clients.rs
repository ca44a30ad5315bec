//! `/api/v1/tenants/{tenant}/claims` and `/apps`: what lets a tenant's devices and apps in.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use muster_broker::ReasonCode;
use muster_schemas::{
    Kind, Principal, TenantId,
    api::{App, Claim, NewApp, NewClaim},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    authority::PublicKey,
    keyring::pem,
    limits::CLIENT_VALIDITY_S,
    registry::{Certificate, ClientKind, IssuedRow, RecordIssued, message},
};

pub(super) async fn create_claim(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewClaim>,
) -> Result<HttpResponse, ApiError> {
    caller.operator_or_member(&tenant)?;
    let NewClaim { model, expires_in_s } = body.into_inner();
    let command = message::CreateClaim { tenant: tenant.into_inner(), model, expires_in_s };
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
    // Of the signing request only the key is taken, after its signature has proved that the caller has it.
    let key = PublicKey::from_csr_pem(&csr_pem).map_err(|error| {
        let next = "send a PKCS #10 request for a P-256 key, signed with that key";
        ApiError::malformed("the signing request was refused", format!("it {error}"), next)
    })?;
    let trust_domain = api.trust.trust_domain().clone();
    let principal = Principal { trust_domain, tenant: tenant.clone(), kind: Kind::App, id: app.clone() };
    let issued = api.client_authority.issue_client(&key, &principal, api.now_s(), CLIENT_VALIDITY_S);
    let issued = issued.map_err(|error| {
        tracing::error!(%error, "failed to issue a certificate");
        ApiError::unavailable("the client authority")
    })?;
    let certificate = Certificate::of(&issued.leaf);
    let kind = ClientKind::App;
    let command =
        message::RegisterClient { tenant: tenant.clone(), kind, id: app.clone(), certificate, replace };
    api.registry(command).await??;
    api.registry(RecordIssued(IssuedRow::of(&issued.leaf, None, api.now_s()))).await??;
    if replace {
        let reason = "another certificate took the place of this session's; connect with it";
        api.bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
    }
    tracing::info!(%tenant, %app, serial = %issued.leaf.serial, "app registered");
    let certificate_pem = pem(&[issued.certificate, api.client_authority.certificate()]);
    Ok(HttpResponse::Created().json(App { app, certificate_pem, ca_pem: pem(&[api.trust.root().clone()]) }))
}
