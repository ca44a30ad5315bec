//! Attestation of sessions: behind the gate that says who comes in, and for the tenants that demand it, a judge for each
//! connection of a device. It knows the nonce it gave out, the exporter of this very connection, and the device's
//! attestation key; what the quote proves goes to the registry, whose word is the last.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use muster_broker::{
    Access, Admission, Admitted, Gate, Judge, Judgement, NotAdmitted, Quarantine, ReasonCode, Rule,
};
use muster_schemas::{
    DeviceId, InvalidTopic, Kind, Principal, TopicFilter,
    attest::{Answer, Challenge},
};
use muster_tpm::{
    verifier::{Evidence, SessionExpected, check_session},
    wire::TpmtPublic,
};
use rustls::pki_types::CertificateDer;
use tracing::info;

use crate::{
    limits::ATTEST_TIME_MAX,
    place::Place,
    random,
    registry::{AttestationDemand, Attested, FindAttestationKey, RegistryActor},
};

/// A gate in front of which stands another, that says who it is.
pub struct AttestingGate<G> {
    inner: G,
    parts: Parts,
}

/// What judges are made with.
#[derive(Clone)]
struct Parts {
    registry: Place<RegistryActor>,
}

impl<G: Gate> AttestingGate<G> {
    /// Lets in whom `inner` lets in, into quarantine where the registry says so.
    pub fn new(inner: G, registry: Place<RegistryActor>) -> Self {
        Self { inner, parts: Parts { registry } }
    }
}

impl<G: Gate> Gate for AttestingGate<G> {
    fn admit(&self, leaf: Option<CertificateDer<'static>>, exporter: Option<[u8; 32]>) -> Admission {
        let (admission, parts) = (self.inner.admit(leaf, exporter), self.parts.clone());
        Box::pin(async move {
            let admitted = admission.await?;
            // Apps have no TPM to attest with.
            if admitted.principal.kind != Kind::Device {
                return Ok(admitted);
            }
            let quarantine = parts.quarantine(&admitted.principal, exporter).await?;
            Ok(Admitted { quarantine, ..admitted })
        })
    }
}

impl Parts {
    async fn quarantine(
        self,
        principal: &Principal,
        exporter: Option<[u8; 32]>,
    ) -> Result<Option<Quarantine>, NotAdmitted> {
        let registry = self.registry.address().ok_or_else(unavailable)?;
        let find = FindAttestationKey { tenant: principal.tenant.clone(), device: principal.id.clone() };
        let found = registry.send(find).await.map_err(|_| unavailable())?;
        let demand = found.map_err(|refusal| refused(format!("failed to {refusal}")))?;
        let Some(AttestationDemand { ak_public, registers }) = demand else { return Ok(None) };
        let ak = TpmtPublic::parse(&ak_public).map_err(|error| {
            refused(format!("attest: the attestation key on record would {error}; enrol again"))
        })?;
        let exporter = exporter.ok_or_else(|| {
            refused("attest: this connection has nothing to bind a quote to; connect with TLS 1.3".to_owned())
        })?;
        let nonce = Mutex::default();
        let judge =
            SessionJudge { parts: self, principal: principal.clone(), ak, registers, exporter, nonce };
        let time_max = ATTEST_TIME_MAX;
        Ok(Some(Quarantine { access: health(&principal.id), time_max, judge: Arc::new(judge) }))
    }
}

/// What a device may publish in quarantine.
fn health(device: &DeviceId) -> Arc<Access> {
    // A device id is at most 64 bytes without wildcards or separators.
    let filter: Result<TopicFilter, InvalidTopic> = format!("devices/{device}/health/#").parse();
    let rules = filter.into_iter().map(|filter| Rule::allow("quarantine-health", filter)).collect();
    Arc::new(Access::new("quarantine", rules, Vec::new()))
}

/// Judges what one connection's device shows.
struct SessionJudge {
    parts: Parts,
    principal: Principal,
    ak: TpmtPublic,
    /// Registers to quote, ascending.
    registers: Vec<u8>,
    exporter: [u8; 32],
    /// What was given out last and not answered.
    nonce: Mutex<Option<[u8; 32]>>,
}

impl SessionJudge {
    fn nonce(&self) -> std::sync::MutexGuard<'_, Option<[u8; 32]>> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, answer: &[u8]) -> Result<Evidence, NotAdmitted> {
        let nonce = self.nonce().take();
        let nonce = nonce.ok_or_else(|| refused("attest: no challenge waits for an answer".to_owned()))?;
        let answer =
            Answer::decode(answer).map_err(|error| refused(format!("attest: the answer {error}")))?;
        let pcr_selection = self.registers.clone();
        let expected = SessionExpected { nonce, exporter: self.exporter, pcr_selection };
        check_session(&self.ak, &expected, &answer)
            .map_err(|rejection| refused(format!("attest: failed to {rejection}")))
    }
}

impl Judge for SessionJudge {
    fn challenge(&self) -> Bytes {
        let nonce = random::array(&mut random::system());
        *self.nonce() = Some(nonce);
        Challenge { nonce, pcr_selection: self.registers.clone() }.encode().into()
    }

    fn judge(&self, answer: Bytes) -> Judgement {
        let checked = self.check(&answer);
        let (registry, principal) = (self.parts.registry.clone(), self.principal.clone());
        Box::pin(async move {
            let evidence = checked?;
            let Principal { tenant, id: device, .. } = principal;
            let (boots, clock_ms) = (evidence.reset_count, evidence.clock_ms);
            info!(%tenant, %device, boots, clock_ms, "the device attested");
            let registry = registry.address().ok_or_else(unavailable)?;
            let kept =
                registry.send(Attested { tenant, device, evidence }).await.map_err(|_| unavailable())?;
            kept.map_err(|refusal| refused(format!("attest: failed to {refusal}")))
        })
    }
}

fn refused(reason: String) -> NotAdmitted {
    NotAdmitted { code: ReasonCode::NotAuthorized, reason }
}

fn unavailable() -> NotAdmitted {
    let reason = "the registry is unavailable; connect again in a moment".to_owned();
    NotAdmitted { code: ReasonCode::ServerUnavailable, reason }
}
