//! Who calls: whom the providers find proved by the request, looked up in the registry at every request.

use std::{future::ready, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};
use muster_schemas::{Kind, Principal, TenantId};

use super::{Api, error::ApiError};
use crate::{
    authority::Leaf,
    people::{Evidence, Proof},
    registry::{AdmitReason, keys::UseKey, message::Admit, people::AdmitNamed},
};

/// The verified certificate of a connection, put there when it was opened.
#[derive(Debug, Clone)]
pub(super) struct PeerLeaf(pub(super) Option<Leaf>);

/// A principal that the registry admits, at this request.
#[derive(Debug, Clone)]
pub(super) struct Caller(Principal);

impl Caller {
    /// Who it is.
    pub(super) fn principal(&self) -> &Principal {
        &self.0
    }

    /// Whether the hub may be administered.
    pub(super) fn operator(&self) -> Result<(), ApiError> {
        if self.0.is_operator() {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "only an operator of the hub may do this",
            "ask an operator, or call with an operator's identity",
        ))
    }

    /// Whether the tenant's belongings may be listed: by an operator, and by the tenant's own apps and users.
    pub(super) fn operator_or_member(&self, tenant: &TenantId) -> Result<(), ApiError> {
        if self.0.is_operator() { Ok(()) } else { self.member(tenant) }
    }

    /// Whether the tenant's data may be read: by its own apps and users, and by no operator.
    pub(super) fn member(&self, tenant: &TenantId) -> Result<(), ApiError> {
        if self.0.is_operator() {
            return Err(ApiError::forbidden(
                "operators of the hub do not read tenants' data",
                "call with the identity of one of the tenant's apps",
            ));
        }
        if self.0.tenant != *tenant {
            return Err(ApiError::tenant_unknown(tenant));
        }
        match self.0.kind {
            Kind::App | Kind::User => Ok(()),
            _ => Err(ApiError::forbidden(
                "only apps and users of the tenant may do this",
                "call with the identity of one of the tenant's apps",
            )),
        }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(api) = request.app_data::<Data<Api>>().map(|api| Arc::clone(api)) else {
            return Box::pin(ready(Err(ApiError::no_certificate())));
        };
        let evidence = Evidence {
            leaf: request.conn_data::<PeerLeaf>().and_then(|peer| peer.0.as_ref()),
            bearer: bearer(request),
        };
        let proof = match api.providers.prove(api.now_s(), &evidence) {
            Some(Ok(proof)) => proof,
            Some(Err(unproved)) => return Box::pin(ready(Err(ApiError::unproved(unproved)))),
            None => return Box::pin(ready(Err(ApiError::no_certificate()))),
        };
        Box::pin(async move {
            let admitted = match proof {
                // Devices speak MQTT. What they do over HTTPS, they do elsewhere.
                Proof::Certificate(leaf) if leaf.principal.kind == Kind::Device => {
                    return Err(ApiError::not_admitted(AdmitReason::Kind));
                }
                Proof::Certificate(leaf) => api.registry(Admit(leaf)).await?,
                Proof::Named(principal) => api.registry(AdmitNamed(principal)).await?,
                Proof::Key { principal, key_hash } => {
                    let used = api.registry(UseKey { principal, key_hash, counter: None }).await?;
                    return used
                        .map(|admitted| Self(admitted.principal))
                        .map_err(|refusal| ApiError::key_refused(&refusal));
                }
            };
            admitted
                .map(|admitted| Self(admitted.principal))
                .map_err(|refusal| ApiError::not_admitted(refusal.reason))
        })
    }
}

/// What stands after `Authorization: Bearer`, if there is exactly one such header.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let mut all = request.headers().get_all(header::AUTHORIZATION);
    let (one, None) = (all.next()?, all.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
