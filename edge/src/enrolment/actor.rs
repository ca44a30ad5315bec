//! The actor that carries the life of the certificate: it runs the attempts, keeps the state and exchanges what TLS
//! presents. What to do when is the core's.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use muster_actors::{DeadlineReached, SharedClock, WakeUp};
use muster_schemas::{DeviceId, enrolment::Refused};
use muster_tpm::{
    device::{TlsKey, TpmThread},
    keys::{KeyError, Slot},
};
use rustls::sign::CertifiedKey;
use tracing::{error, info, warn};

use super::{
    attempt::{self, AttemptError},
    exchange::{Grant, Outcome, Request, point_in},
    lifecycle::{Effect, Found, Input, Lifecycle, Purpose},
};
use crate::{
    certificate::Leaf,
    hub::Hub,
    introduction::Introduction,
    line::Line,
    recovery::Recovery,
    state::{Saved, StateDir},
    tls::{Credentials, Dialects},
    uplink::CertificateChanged,
};

/// What the uplink saw of the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionReport {
    /// The uplink has started, and knows of no certificate.
    UplinkStarted,
    /// A session is open that presented the certificate of this generation.
    Opened {
        /// Counted from 1.
        generation: u64,
    },
    /// The hub does not take the certificate of this generation.
    CertificateRefused {
        /// Counted from 1.
        generation: u64,
    },
}

impl Message for SessionReport {
    type Result = ();
}

/// What an enrolment works with.
#[derive(Clone)]
pub struct EnrolmentParts {
    /// This device.
    pub device: DeviceId,
    /// The code that ties an unknown chip to a tenant.
    pub claim: Option<String>,
    /// What this device is.
    pub model: String,
    /// What else it says of itself.
    pub introduction: Introduction,
    /// Where to enrol.
    pub hub: Hub,
    /// How to speak TLS.
    pub dialects: Dialects,
    /// What TLS presents.
    pub credentials: Arc<Credentials>,
    /// The keys.
    pub tpm: TpmThread,
    /// The way back, where keys are bound to firmware.
    pub recovery: Option<Arc<Recovery>>,
    /// What is kept.
    pub state: Arc<StateDir>,
    /// The time.
    pub clock: SharedClock,
    /// Who uses the certificate.
    pub uplink: Line<CertificateChanged>,
}

/// The enrolment. A restart reads state and TPM again.
pub struct Enrolment {
    parts: EnrolmentParts,
    core: Lifecycle,
    effects: Vec<Effect>,
    wake_up: WakeUp,
    /// What was found on disk, until it is used.
    found: Option<Saved>,
    /// What the uplink was told last.
    ready: Option<CertificateChanged>,
}

/// What was found in state and TPM.
#[derive(Debug)]
struct Looked(Result<Option<(Slot, Saved)>, KeyError>);

impl Message for Looked {
    type Result = ();
}

/// An attempt has ended.
#[derive(Debug)]
struct AttemptEnded(Result<Outcome, AttemptError>);

impl Message for AttemptEnded {
    type Result = ();
}

/// The certificate is ready to be presented, or its key is not there.
#[derive(Debug)]
struct Ready {
    result: Result<(), KeyError>,
    change: CertificateChanged,
}

impl Message for Ready {
    type Result = ();
}

impl Enrolment {
    /// With these parts, and a core that knows nothing yet.
    #[must_use]
    pub fn new(parts: EnrolmentParts, core: Lifecycle) -> Self {
        Self { parts, core, effects: Vec::new(), wake_up: WakeUp::new(), found: None, ready: None }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.core.handle(self.parts.clock.now(), input, &mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out(effect, ctx);
        }
        self.wake_up.arm(ctx, self.core.next_deadline());
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Attempt { purpose, slot } => self.attempt(purpose, slot, ctx),
            Effect::UseFound { slot, generation } => {
                if let Some(saved) = self.found.take() {
                    self.present(slot, generation, saved, ctx);
                }
            }
            Effect::UseGranted { grant, generation, purpose, renew_in } => {
                self.tell_granted(&grant, purpose, renew_in);
                let saved = self.save(*grant, renew_in);
                self.present(saved.0, generation, saved.1, ctx);
            }
            Effect::Evict(slot) => {
                let tpm = self.parts.tpm.clone();
                tokio::spawn(async move {
                    if let Err(error) = tpm.acall(move |keys| keys.evict_ldevid(slot)).await {
                        warn!(%error, "an old key stays in the TPM for now");
                    }
                });
            }
            Effect::TellPending { retry_in } => {
                info!(device = %self.parts.device, retry_after_s = retry_in.as_secs_f64(), "pending");
            }
            Effect::TellRefused { refused, retry_in } => self.tell_refused(&refused, retry_in),
            Effect::TellRetry { retry_in } => {
                info!(retry_after_s = retry_in.as_secs_f64(), "the hub is asked again");
            }
        }
    }

    fn attempt(&self, purpose: Purpose, slot: Slot, ctx: &mut Context<Self>) {
        let EnrolmentParts { claim, model, introduction, hub, dialects, tpm, recovery, .. } =
            self.parts.clone();
        let (config, request) = match purpose {
            Purpose::First => (dialects.enrolment, Request::First { slot, claim, model, introduction }),
            Purpose::Next => (dialects.renewal, Request::Next { slot }),
        };
        let ended = ctx.address();
        // On the runtime, not on the arbiter: the TPM signs during the handshake, and that blocks its thread.
        let attempt = tokio::spawn(attempt::run(hub, config, tpm, request, recovery));
        tokio::spawn(async move {
            // A panic of the attempt is a failure of it.
            let result = attempt.await.unwrap_or(Err(AttemptError::Key(KeyError::Gone)));
            // The actor has ended: nobody waits for it.
            let _ = ended.send(AttemptEnded(result)).await;
        });
    }

    /// Makes TLS present a certificate, and then tells the uplink.
    fn present(&self, slot: Slot, generation: u64, saved: Saved, ctx: &mut Context<Self>) {
        let (tpm, credentials) = (self.parts.tpm.clone(), Arc::clone(&self.parts.credentials));
        let chain = saved.chain;
        let leaf = chain.first().and_then(|leaf| Leaf::read(leaf).ok());
        let tenant = leaf.map(|leaf| leaf.principal.tenant);
        let change = CertificateChanged { generation, tenant, mqtt_endpoint: saved.mqtt_endpoint };
        let ready = ctx.address();
        // The key is read from the TPM, which blocks.
        let opened = tokio::task::spawn_blocking(move || {
            let key = TlsKey::open(tpm, slot)?;
            credentials.set(CertifiedKey::new(chain, Arc::new(key)));
            Ok(())
        });
        tokio::spawn(async move {
            let result = opened.await.unwrap_or(Err(KeyError::Gone));
            let _ = ready.send(Ready { result, change }).await;
        });
    }

    fn save(&self, grant: Grant, renew_in: Duration) -> (Slot, Saved) {
        let renew_at_s = (self.parts.clock.unix_ms() / 1_000).saturating_add(renew_in.as_secs());
        let saved = Saved { chain: grant.chain, renew_at_s, mqtt_endpoint: grant.mqtt_endpoint };
        if let Err(error) = self.parts.state.save(&saved) {
            // It works until the next start, and enrols anew then.
            error!(%error, "the certificate is not saved");
        }
        (grant.slot, saved)
    }

    fn tell_granted(&self, grant: &Grant, purpose: Purpose, renew_in: Duration) {
        let (device, tenant, renew_after_s) = (&grant.device, &grant.tenant, renew_in.as_secs());
        match purpose {
            Purpose::First => info!(%device, %tenant, renew_after_s, "enrolled"),
            Purpose::Next => info!(%device, %tenant, renew_after_s, "renewed"),
        }
    }

    fn tell_refused(&self, refused: &Refused, retry_in: Duration) {
        warn!(
            device = %self.parts.device,
            code = refused.code.as_str(),
            detail = refused.detail,
            next = refused.code.next_step(),
            retry_after_s = retry_in.as_secs_f64(),
            "refused"
        );
    }

    /// Looks for a certificate whose key is in this TPM.
    fn look(&self, ctx: &mut Context<Self>) {
        let saved = self.parts.state.load().unwrap_or_else(|error| {
            warn!(%error, "the state cannot be used; the device enrols anew");
            None
        });
        let (tpm, looked) = (self.parts.tpm.clone(), ctx.address());
        tokio::spawn(async move {
            let found = match saved {
                None => Ok(None),
                Some(saved) => slot_of(&tpm, saved).await,
            };
            let _ = looked.send(Looked(found)).await;
        });
    }
}

/// The slot that holds the key of the saved certificate, if this TPM does.
async fn slot_of(tpm: &TpmThread, saved: Saved) -> Result<Option<(Slot, Saved)>, KeyError> {
    let public_key = saved.chain.first().and_then(|leaf| Leaf::read(leaf).ok()).map(|leaf| leaf.public_key);
    let Some(public_key) = public_key else { return Ok(None) };
    let slot = tpm
        .acall(move |keys| {
            for slot in [Slot::A, Slot::B] {
                // A key that cannot be read is not the one we look for.
                let point = point_in(keys, slot).ok().flatten();
                if point.is_some_and(|point| point.as_slice() == public_key) {
                    return Ok(Some(slot));
                }
            }
            Ok(None)
        })
        .await?;
    if slot.is_none() {
        // Copied from another device, or the TPM was cleared: either way it is worth nothing here.
        warn!(next = "the device enrols from the start", "state belongs to another TPM");
    }
    Ok(slot.map(|slot| (slot, saved)))
}

impl Actor for Enrolment {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.look(ctx);
    }
}

impl Handler<Looked> for Enrolment {
    type Result = ();

    fn handle(&mut self, Looked(result): Looked, ctx: &mut Context<Self>) {
        let found = match result {
            Ok(Some((slot, saved))) => {
                let now_s = self.parts.clock.unix_ms() / 1_000;
                let renew_in = Duration::from_secs(saved.renew_at_s.saturating_sub(now_s));
                info!(device = %self.parts.device, renew_after_s = renew_in.as_secs(), "certificate found");
                self.found = Some(saved);
                Found::Certificate { slot, renew_in }
            }
            Ok(None) => Found::Nothing,
            Err(error) => {
                warn!(%error, "the TPM cannot be read; the device enrols from the start");
                Found::Nothing
            }
        };
        self.feed(Input::Found(found), ctx);
    }
}

impl Handler<AttemptEnded> for Enrolment {
    type Result = ();

    fn handle(&mut self, AttemptEnded(result): AttemptEnded, ctx: &mut Context<Self>) {
        let input = match result {
            Ok(outcome) => Input::Answered(outcome),
            Err(AttemptError::Loss(crate::hub::Loss::CertificateRefused(alert))) => {
                warn!(?alert, "the hub does not take the certificate to renew it with");
                let generation = self.core.generation();
                self.feed(Input::CertificateRefused { generation }, ctx);
                Input::Failed
            }
            Err(error) => {
                warn!(error = %error, "failed to enrol");
                Input::Failed
            }
        };
        self.feed(input, ctx);
    }
}

impl Handler<Ready> for Enrolment {
    type Result = ();

    fn handle(&mut self, Ready { result, change }: Ready, ctx: &mut Context<Self>) {
        match result {
            Ok(()) => {
                self.ready = Some(change.clone());
                self.parts.uplink.say(change);
            }
            Err(error) => {
                warn!(%error, "the certificate cannot be used; the device enrols from the start");
                self.feed(Input::CertificateRefused { generation: change.generation }, ctx);
            }
        }
    }
}

impl Handler<SessionReport> for Enrolment {
    type Result = ();

    fn handle(&mut self, report: SessionReport, ctx: &mut Context<Self>) {
        let input = match report {
            SessionReport::UplinkStarted => {
                if let Some(ready) = self.ready.clone() {
                    self.parts.uplink.say(ready);
                }
                return;
            }
            SessionReport::Opened { generation } => Input::SessionOpened { generation },
            SessionReport::CertificateRefused { generation } => Input::CertificateRefused { generation },
        };
        self.feed(input, ctx);
    }
}

impl Handler<DeadlineReached> for Enrolment {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        self.feed(Input::DeadlineReached, ctx);
    }
}
