//! The hub's answer to "who may come in": the peer's certificate, read and looked up in the registry.

use std::{future::ready, sync::Arc, time::Duration};

use muster_actors::SharedClock;
use muster_broker::{Access, Admission, Admitted, Gate, NotAdmitted, ReasonCode};
use muster_schemas::{Kind, Principal};
use muster_trust::{Expect, NotThePeer, Refused};
use rustls::pki_types::CertificateDer;

use crate::{
    authority::{Leaf, TrustBundle},
    place::Place,
    registry::{AdmitReason, RegistryActor, message::Admit},
};

/// Looks every MQTT peer up in the registry, after its handshake and before its first packet counts.
pub struct RegistryGate {
    registry: Place<RegistryActor>,
    trust: Arc<TrustBundle>,
    clock: SharedClock,
    /// What every app may do.
    app: Arc<Access>,
}

impl RegistryGate {
    /// A gate in front of `registry`.
    pub fn new(registry: Place<RegistryActor>, trust: Arc<TrustBundle>, clock: SharedClock) -> Self {
        Self { registry, trust, clock, app: Arc::new(Access::app()) }
    }
}

impl Gate for RegistryGate {
    fn admit(&self, leaf: Option<CertificateDer<'static>>) -> Admission {
        let leaf = match leaf.map(|der| self.trust.peer(&der, &Expect::MQTT)) {
            Some(Ok(leaf)) => leaf,
            Some(Err(NotThePeer::Refused(Refused::Kind(_)))) => {
                return Box::pin(ready(Err(told(AdmitReason::Kind))));
            }
            Some(Err(error)) => return refused(format!("failed to use the certificate: {error}")),
            None => {
                return refused(
                    "no certificate was presented; connect with the one that was issued".to_owned(),
                );
            }
        };
        let now = self.clock.now();
        let left_s = leaf.not_after_s.saturating_sub(self.clock.unix_ms() / 1_000);
        let Some(registry) = self.registry.address() else {
            return Box::pin(ready(Err(told(AdmitReason::Unavailable))));
        };
        let (asked, app) = (registry.send(Admit(leaf)), self.app.clone());
        Box::pin(async move {
            let admitted = match asked.await {
                Ok(Ok(admitted)) => admitted,
                Ok(Err(refusal)) => return Err(told(refusal.reason)),
                Err(_) => return Err(told(AdmitReason::Unavailable)),
            };
            let access = rights(&admitted.principal, app).ok_or_else(|| told(AdmitReason::Kind))?;
            let expires = Some(now + Duration::from_secs(left_s));
            Ok(Admitted { principal: admitted.principal, access, expires })
        })
    }
}

fn refused(reason: String) -> Admission {
    Box::pin(ready(Err(NotAdmitted { code: ReasonCode::NotAuthorized, reason })))
}

/// What each kind of principal may do on its tenant's bus; nothing, for those that have no business there.
fn rights(principal: &Principal, app: Arc<Access>) -> Option<Arc<Access>> {
    match principal.kind {
        Kind::Device => Some(Arc::new(Access::device(&principal.id))),
        Kind::App | Kind::Service => Some(app),
        Kind::Relay | Kind::User | Kind::Node | Kind::Software => None,
    }
}

/// What the peer is told, and what it can do next.
fn told(reason: AdmitReason) -> NotAdmitted {
    let (code, next) = match reason {
        AdmitReason::TenantUnknown | AdmitReason::Unknown => {
            (ReasonCode::NotAuthorized, "enrol the device, or register the app with `muster app create`")
        }
        AdmitReason::TenantSuspended | AdmitReason::Suspended | AdmitReason::Retired => {
            (ReasonCode::Banned, "ask the operator of the hub")
        }
        AdmitReason::NotCurrent | AdmitReason::Expired => {
            (ReasonCode::NotAuthorized, "use the certificate that was issued last, or enrol again")
        }
        AdmitReason::Kind => {
            (ReasonCode::NotAuthorized, "devices and apps speak MQTT; people use the HTTPS API")
        }
        AdmitReason::Unavailable => (ReasonCode::ServerUnavailable, "connect again in a moment"),
    };
    NotAdmitted { code, reason: format!("{reason}; {next}") }
}

/// Reads a peer's certificate, if it showed one and it is what this end expects.
pub(crate) fn leaf_of(
    trust: &TrustBundle,
    expect: &Expect,
    certificates: Option<&[CertificateDer<'_>]>,
) -> Option<Leaf> {
    certificates.and_then(<[_]>::first).and_then(|der| trust.peer(der, expect).ok())
}
