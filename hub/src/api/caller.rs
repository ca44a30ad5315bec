//! Who calls: whom the providers find proved by the request, looked up in the registry at every request.

use std::{future::ready, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};
use muster_broker::store::Store;
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
pub(super) struct Caller(Principal, Option<Store>);

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
        if self.0.is_operator() { Ok(()) } else { self.belongs(tenant) }
    }

    /// Whether what a tenant demands of its devices may be changed, and a device let in: by an operator, and by the tenant's
    /// own users. Its apps read and create claims; none of them decides.
    pub(super) fn operator_or_person(&self, tenant: &TenantId) -> Result<(), ApiError> {
        self.operator_or_member(tenant)?;
        if self.0.is_operator() || self.0.kind == Kind::User {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "only an operator or a user of the tenant may do this",
            "ask one of them; an app does not decide who gets in",
        ))
    }

    /// Whether the tenant's data may be read: by its own apps and users, and by no operator; and by nobody while the tenant
    /// has withdrawn its key.
    pub(super) fn member(&self, tenant: &TenantId) -> Result<(), ApiError> {
        self.belongs(tenant)?;
        let keys = self.1.as_ref().and_then(|store| store.tenant(tenant).ok().flatten());
        if keys.is_some_and(|keys| keys.is_withdrawn()) {
            Err(ApiError::key_withdrawn(tenant))
        } else {
            Ok(())
        }
    }

    /// Whether the caller rules over the tenant's own key: its users do. Its apps do not, and no operator does.
    pub(super) fn owner(&self, tenant: &TenantId) -> Result<(), ApiError> {
        self.belongs(tenant)?;
        if self.0.kind == Kind::User {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "only a user of the tenant may do this",
            "call with the identity of a person of the tenant",
        ))
    }

    /// Whether the caller is an app or a user of the tenant.
    pub(super) fn belongs(&self, tenant: &TenantId) -> Result<(), ApiError> {
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

/// For asking what a principal might do.
impl From<Principal> for Caller {
    fn from(principal: Principal) -> Self {
        Self(principal, None)
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
                        .map(|admitted| Self(admitted.principal, Some(api.store.clone())))
                        .map_err(|refusal| ApiError::key_refused(&refusal));
                }
            };
            admitted
                .map(|admitted| Self(admitted.principal, Some(api.store.clone())))
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
