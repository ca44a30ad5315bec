//! `/api/v1/tenants/{tenant}/apps` and `/users`: whom a tenant lets in besides its devices, and how they show who they are.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Json, Path},
};
use data_encoding::HEXLOWER;
use muster_broker::ReasonCode;
use muster_schemas::{
    DeviceId, TenantId,
    api::{NewUser, PinnedCertificate, Registered, User},
};
use rustls::{
    pki_types::{CertificateDer, pem::PemObject as _},
    server::ParsedCertificate,
};
use serde::Deserialize;

use super::{Api, caller::Caller, clients::issue, error::ApiError, tenants::state};
use crate::{
    authority::Leaf,
    keyring::pem,
    pinned::fingerprint,
    registry::{
        Certificate, Client, ClientKind,
        message::RegisterClient,
        people::{ListClients, PinClient, RemoveClient},
    },
};

/// Apps or users, as paths name them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Many {
    Apps,
    Users,
}

impl From<Many> for ClientKind {
    fn from(many: Many) -> Self {
        match many {
            Many::Apps => Self::App,
            Many::Users => Self::User,
        }
    }
}

pub(super) async fn create_user(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewUser>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let (tenant, NewUser { user, csr_pem, replace }) = (tenant.into_inner(), body.into_inner());
    let kind = ClientKind::User;
    let (certificate_pem, ca_pem) = match csr_pem {
        Some(csr_pem) => {
            let (certificate, root) = issue(&api, tenant, kind, &user, &csr_pem, replace).await?;
            (Some(certificate), root)
        }
        None => {
            let (id, certificate) = (user.clone(), Certificate::none());
            let principal = api.principal(&tenant, kind, &id);
            api.registry(RegisterClient { tenant, kind, id, certificate, replace }).await??;
            if replace {
                api.close_replaced(&principal);
            }
            tracing::info!(%principal, "user registered without a certificate");
            (None, pem(&[api.trust.root().clone()]))
        }
    };
    Ok(HttpResponse::Created().json(User { user, certificate_pem, ca_pem }))
}

pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many)>,
) -> Result<Json<Vec<Registered>>, ApiError> {
    let (tenant, many) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let clients = api.registry(ListClients { tenant, kind: many.into() }).await??;
    Ok(Json(clients.iter().map(shown).collect()))
}

pub(super) async fn pin(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many, DeviceId)>,
    body: Json<PinnedCertificate>,
) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let (tenant, many, id) = path.into_inner();
    let (kind, PinnedCertificate { certificate_pem, replace }) = (many.into(), body.into_inner());
    let der = to_pin(&api, &certificate_pem)?;
    let fingerprint = fingerprint(&der);
    let principal = api.principal(&tenant, kind, &id);
    let leaf = Leaf::read_pinned(&der, fingerprint, principal.clone())
        .map_err(|error| not_pinned(format!("{error}")))?;
    if leaf.not_after_s < api.now_s() {
        return Err(not_pinned("it has ended"));
    }
    let certificate = Certificate::of(&leaf);
    let client = api.registry(PinClient { tenant, kind, id, certificate, fingerprint, replace }).await??;
    if replace {
        api.close_replaced(&principal);
    }
    tracing::info!(%principal, fingerprint = HEXLOWER.encode(&fingerprint), "certificate pinned");
    let ca_pem = Some(pem(&[api.trust.root().clone()]));
    Ok(HttpResponse::Created().json(Registered { ca_pem, ..shown(&client) }))
}

pub(super) async fn remove(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many, DeviceId)>,
) -> Result<Json<Registered>, ApiError> {
    caller.operator()?;
    let (tenant, many, id) = path.into_inner();
    let principal = api.principal(&tenant, many.into(), &id);
    if principal == *caller.principal() {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "oneself",
            "the request was refused",
            "nobody removes the identity that it calls with",
            "call with the identity of another operator",
        ));
    }
    let client = api.registry(RemoveClient { tenant, kind: many.into(), id }).await??;
    let reason = "the operator of the hub removed this identity";
    api.bus.close_sessions(&principal, ReasonCode::NotAuthorized, reason);
    tracing::info!(%principal, "client removed");
    Ok(Json(shown(&client)))
}

/// The one certificate of a text, if it is one that handshakes can be checked with and that is not ours.
fn to_pin(api: &Api, text: &str) -> Result<CertificateDer<'static>, ApiError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let der = match <[_; 1]>::try_from(all.unwrap_or_default()) {
        Ok([der]) => der,
        Err(_) => return Err(not_pinned("it is not one certificate in PEM")),
    };
    ParsedCertificate::try_from(&der).map_err(|_| not_pinned("it is not an X.509 version 3 certificate"))?;
    match api.trust.is_issuer_of(&der) {
        Ok(false) => Ok(der),
        Ok(true) => Err(not_pinned("it names an authority of this hub as its issuer")),
        Err(error) => Err(not_pinned(error.to_string())),
    }
}

fn not_pinned(why: impl Into<String>) -> ApiError {
    let next = "send one certificate of your own making, such as that of `openssl req -x509 -newkey ec \
                -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=me -days 365`";
    ApiError::malformed("the certificate was not pinned", why, next)
}

fn shown(client: &Client) -> Registered {
    let certificate = match (client.pinned, client.certificate.is_some()) {
        (Some(_), _) => "pinned",
        (None, true) => "issued",
        (None, false) => "none",
    };
    let expires = client.certificate.is_some().then_some(client.certificate.not_after_s);
    Registered {
        kind: client.kind.kind().to_string(),
        id: client.id.clone(),
        state: state(client.state),
        certificate: certificate.to_owned(),
        certificate_expires_at_s: expires,
        fingerprint: client.pinned.map(|pin| HEXLOWER.encode(&pin)),
        ca_pem: None,
    }
}
