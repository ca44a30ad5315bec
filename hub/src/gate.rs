//! The hub's answer to "who may come in": the peer's certificate, read and looked up in the registry.

use std::{future::ready, sync::Arc, time::Duration};

use muster_actors::SharedClock;
use muster_broker::{Access, Admission, Admitted, Gate, NotAdmitted, ReasonCode};
use muster_schemas::{Kind, Principal};
use muster_trust::{Expect, NotThePeer, Refused as Unexpected};
use rustls::pki_types::CertificateDer;

use crate::{
    authority::Leaf,
    pinned::Peers,
    place::Place,
    registry::{AdmitReason, RegistryActor, message::Admit},
    witness::{Proof, Refused, Stage, Witness},
};

/// Looks every MQTT peer up in the registry, after its handshake and before its first packet counts.
pub struct RegistryGate {
    registry: Place<RegistryActor>,
    trust: Arc<Peers>,
    clock: SharedClock,
    /// What every app may do.
    app: Arc<Access>,
    witness: Witness,
}

impl RegistryGate {
    /// A gate in front of `registry`.
    pub fn new(
        registry: Place<RegistryActor>,
        trust: Arc<Peers>,
        clock: SharedClock,
        witness: Witness,
    ) -> Self {
        Self { registry, trust, clock, app: Arc::new(Access::app()), witness }
    }
}

impl Gate for RegistryGate {
    fn admit(&self, leaf: Option<CertificateDer<'static>>, _: Option<[u8; 32]>) -> Admission {
        let leaf = match leaf.map(|der| self.trust.peer(&der, &Expect::MQTT)) {
            Some(Ok(leaf)) => leaf,
            Some(Err(NotThePeer::Refused(Unexpected::Kind(_)))) => {
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
        let Some(registry) = self.registry.address() else {
            return Box::pin(ready(Err(told(AdmitReason::Unavailable))));
        };
        let (app, witness) = (self.app.clone(), self.witness.clone());
        let principal = leaf.principal.clone();
        let asked = registry.send(Admit(leaf));
        Box::pin(async move {
            let admitted = match asked.await {
                Ok(Ok(admitted)) => admitted,
                Ok(Err(refusal)) => {
                    remember(&witness, &principal, refusal.reason);
                    return Err(told(refusal.reason));
                }
                Err(_) => return Err(told(AdmitReason::Unavailable)),
            };
            if admitted.principal.kind == Kind::Device {
                witness.let_in(&admitted.principal.id);
            }
            let access = rights(&admitted.principal, app).ok_or_else(|| told(AdmitReason::Kind))?;
            let expires = Some(now + Duration::from_secs(admitted.left_s));
            Ok(Admitted { principal: admitted.principal, access, expires, quarantine: None })
        })
    }
}

/// The peer proved its certificate in the handshake, so it is the device that this names.
fn remember(witness: &Witness, principal: &Principal, reason: AdmitReason) {
    if principal.kind != Kind::Device {
        return;
    }
    let refused = Refused {
        stage: Stage::Admission,
        code: reason.as_str().to_owned(),
        reason: reason.to_string(),
        next: reason.next_step().to_owned(),
        peer: None,
    };
    witness.note(&principal.id, Proof::Certificate, refused);
}

fn refused(reason: String) -> Admission {
    Box::pin(ready(Err(NotAdmitted { code: ReasonCode::NotAuthorized, reason })))
}

/// What each kind of principal may do on its tenant's bus; nothing, for those that have no business there.
pub(crate) fn rights(principal: &Principal, app: Arc<Access>) -> Option<Arc<Access>> {
    match principal.kind {
        Kind::Device => Some(Arc::new(Access::device(&principal.id))),
        Kind::App => Some(app),
        Kind::Relay | Kind::User | Kind::Service | Kind::Node | Kind::Software => None,
    }
}

/// What the peer is told, and what it can do next.
fn told(reason: AdmitReason) -> NotAdmitted {
    let code = match reason {
        AdmitReason::TenantSuspended
        | AdmitReason::Suspended
        | AdmitReason::Revoked
        | AdmitReason::Retired => ReasonCode::Banned,
        AdmitReason::Unavailable => ReasonCode::ServerUnavailable,
        AdmitReason::TenantUnknown
        | AdmitReason::Unknown
        | AdmitReason::NotCurrent
        | AdmitReason::Expired
        | AdmitReason::Kind => ReasonCode::NotAuthorized,
    };
    NotAdmitted { code, reason: format!("{reason}; {}", reason.next_step()) }
}

/// Reads a peer's certificate, if it showed one and it is what this end expects.
pub(crate) fn leaf_of(
    trust: &Peers,
    expect: &Expect,
    certificates: Option<&[CertificateDer<'_>]>,
) -> Option<Leaf> {
    certificates.and_then(<[_]>::first).and_then(|der| trust.peer(der, expect).ok())
}
