//! Who may come in: the question every connection asks after its TLS handshake and before its first packet counts.
//!
//! The bus does not know registries. It shows the peer's certificate to a [`Gate`] and gets a principal with its
//! rights, or a refusal that the peer is told.

use std::{pin::Pin, sync::Arc, time::Instant};

use muster_mqtt::ReasonCode;
use muster_routing::Access;
use muster_schemas::{Principal, TenantId};
use rustls::pki_types::CertificateDer;

use crate::quarantine::Quarantine;

/// A peer that is let in.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is: from its certificate, never from what it says.
    pub principal: Principal,
    /// What it may publish and subscribe.
    pub access: Arc<Access>,
    /// When its certificate ends, and its session with it; never, for a peer that is let in without one.
    pub expires: Option<Instant>,
    /// What it has to show before it may use any of it; nothing, for most.
    pub quarantine: Option<Quarantine>,
}

/// A peer that is not let in, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAdmitted {
    /// The reason code of the CONNACK.
    pub code: ReasonCode,
    /// The reason string: what, why, what next.
    pub reason: String,
}

impl NotAdmitted {
    /// The peer came while its tenant was about to start, or to start again.
    pub(crate) fn restarting(tenant: &TenantId) -> Self {
        let reason = format!("tenant {tenant} is restarting; connect again in a moment");
        Self { code: ReasonCode::ServerBusy, reason }
    }
}

/// What a gate answers with.
pub type Admission = Pin<Box<dyn Future<Output = Result<Admitted, NotAdmitted>> + Send>>;

/// Decides who comes in. Asked once per connection, after the TLS stack has verified the chain.
pub trait Gate: Send + Sync {
    /// Judges the peer by the leaf of its verified chain; none if it presented no certificate. `exporter` is what both ends
    /// can export of this very TLS connection (`muster_schemas::enrolment::EXPORTER_LABEL`), and nobody else.
    fn admit(&self, leaf: Option<CertificateDer<'static>>, exporter: Option<[u8; 32]>) -> Admission;
}
