//! The actor around enrolment: brings frames to the core, and asks the registry between its steps.

use std::{net::SocketAddr, sync::Arc};

use actix::{
    Actor, ActorFutureExt as _, Context, Handler, Message, Recipient, ResponseActFuture, WrapFuture as _,
    dev::ToEnvelope, fut,
};
use data_encoding::HEXLOWER;
use muster_actors::SharedClock;
use muster_schemas::{
    DeviceId, Kind, Principal, TenantId,
    enrolment::{DeviceFrame, HubFrame, Pending, Quarantined, RefusalCode, Refused},
};
use muster_tpm::{
    policy::{FirmwareAuthority, is_bound},
    verifier::{Rejection, device_id},
    wire::TpmtPublic,
};
use tracing::{info, warn};

use super::{
    core::{Claimant, Enrolment, Grant, Now, Policy, Refusal},
    counters::Counters,
    limits::{MAILBOX_MESSAGES_MAX, RECOVER_AGAIN_S},
};
use crate::{
    authority::Leaf,
    random::Random,
    registry::{
        self, AdmitReason, OwnerRefusal, Ownership, State,
        admissions::{
            measuring::RegistersOf,
            row::{HeldReason, Verdict},
        },
        firmware_approval::FindApprovals,
        firmware_authority::FindFirmwareAuthorities,
        limits::HELD_RETRY_S,
        message::{Admit, Enrol, Enrolled, FindOwner, Renewed, ShowDevice},
    },
    witness::{self, Witness},
};

/// One frame of a device, and what the hub knows of the connection that it came on. The answer is the frame to send.
#[derive(Debug)]
pub struct Exchange {
    /// Where the device connects from.
    pub peer: SocketAddr,
    /// What both ends exported of this TLS connection.
    pub exporter: [u8; 32],
    /// The certificate that the connection was made with, if it was made with one.
    pub leaf: Option<Leaf>,
    /// What the device sent.
    pub frame: DeviceFrame,
}

impl Message for Exchange {
    type Result = HubFrame;
}

/// Whom enrolment asks: the registry.
#[derive(Clone)]
pub struct RegistryDesk {
    find_owner: Recipient<FindOwner>,
    enrol: Recipient<Enrol>,
    admit: Recipient<Admit>,
    show_device: Recipient<ShowDevice>,
    registers_of: Recipient<RegistersOf>,
    renewed: Recipient<Renewed>,
    find_firmware_authorities: Recipient<FindFirmwareAuthorities>,
    find_approvals: Recipient<FindApprovals>,
}

impl<A> From<actix::Addr<A>> for RegistryDesk
where
    A: Actor
        + Handler<FindOwner>
        + Handler<Enrol>
        + Handler<Admit>
        + Handler<ShowDevice>
        + Handler<RegistersOf>
        + Handler<Renewed>
        + Handler<FindFirmwareAuthorities>
        + Handler<FindApprovals>,
    A::Context: ToEnvelope<A, FindOwner>
        + ToEnvelope<A, Enrol>
        + ToEnvelope<A, Admit>
        + ToEnvelope<A, ShowDevice>
        + ToEnvelope<A, RegistersOf>
        + ToEnvelope<A, Renewed>
        + ToEnvelope<A, FindFirmwareAuthorities>
        + ToEnvelope<A, FindApprovals>,
{
    fn from(registry: actix::Addr<A>) -> Self {
        Self {
            find_owner: registry.clone().recipient(),
            enrol: registry.clone().recipient(),
            admit: registry.clone().recipient(),
            show_device: registry.clone().recipient(),
            registers_of: registry.clone().recipient(),
            renewed: registry.clone().recipient(),
            find_firmware_authorities: registry.clone().recipient(),
            find_approvals: registry.recipient(),
        }
    }
}

/// What the actor is made of; a restart makes a new one of the same.
#[derive(Clone)]
pub struct EnrolmentOptions {
    /// What is decided once for all enrolments.
    pub policy: Policy,
    /// Where the registry is: asked for every exchange, because a registry that was restarted has another address.
    pub registry: Arc<dyn Fn() -> Option<RegistryDesk> + Send + Sync>,
    /// What the time is.
    pub clock: SharedClock,
    /// Where nonces, secrets and jitter come from: one generator for each life of the actor.
    pub random: Arc<dyn Fn() -> Random + Send + Sync>,
    /// What is counted.
    pub counters: Counters,
    /// Whom to tell who was refused.
    pub witness: Witness,
    /// Called when an enrolment ended a device's earlier certificate: sessions that it opened are to be closed.
    pub revoked: Arc<dyn Fn(&Principal) + Send + Sync>,
}

/// Owns the exchanges that wait for their second frame.
pub struct EnrolmentActor {
    core: Enrolment,
    options: EnrolmentOptions,
}

type Answer<T> = Result<T, Refusal>;
type Step<T> = ResponseActFuture<EnrolmentActor, Answer<T>>;

impl EnrolmentActor {
    /// An actor without exchanges: those of an earlier life are unknown to it, and their devices begin again.
    pub fn new(options: EnrolmentOptions) -> Self {
        let core = Enrolment::new(options.policy.clone(), (options.random)(), options.clock.now());
        Self { core, options }
    }

    fn now(&self) -> Now {
        Now { instant: self.options.clock.now(), unix_s: self.options.clock.unix_ms() / 1_000 }
    }

    fn registry(&self) -> Answer<RegistryDesk> {
        (self.options.registry)().ok_or_else(|| unavailable("it is being restarted").into())
    }

    fn begin(&mut self, exchange: Exchange) -> Step<HubFrame> {
        let Exchange { peer, exporter, frame, .. } = exchange;
        match frame {
            DeviceFrame::Begin(begin) => {
                self.options.counters.begun();
                let (key, model) = (begin.ldevid_public.clone(), begin.model.clone());
                let claimant = self.core.begin(self.now(), peer.ip(), begin);
                let asked = claimant.and_then(|claimant| Ok((claimant, self.registry()?)));
                let found = async move {
                    let (claimant, registry) = asked?;
                    let ownership = find_owner(&registry, &claimant).await?;
                    let device = claimant.owner.device.clone();
                    let find = FindFirmwareAuthorities {
                        tenant: ownership.tenant.clone(),
                        device,
                        model: Some(model),
                    };
                    check_bound(&registry, find, &key).await?;
                    Ok((claimant, ownership))
                };
                Box::pin(found.into_actor(self).map(move |found: Answer<(Claimant, Ownership)>, actor, _| {
                    let (claimant, ownership) = found?;
                    let frame = actor.core.challenge(actor.now(), &exporter, claimant, ownership)?;
                    actor.options.counters.challenged();
                    Ok(frame)
                }))
            }
            DeviceFrame::Finish(finish) => {
                let granted = self.core.finish(self.now(), &exporter, &finish);
                let asked = granted.and_then(|grant| Ok((grant, self.registry()?)));
                let options = self.options.clone();
                let written = async move {
                    let (Grant { write, reply }, registry) = asked?;
                    match enrol(&registry, write).await? {
                        Outcome::Enrolled(enrolled) => {
                            report_enrolled(peer, &enrolled, &options);
                            Ok(reply)
                        }
                        Outcome::Held(held) => Ok(report_held(peer, &held, &options)),
                    }
                };
                Box::pin(written.into_actor(self))
            }
            DeviceFrame::Recover(recover) => {
                let asked = self.core.recover(self.now(), peer.ip(), &recover);
                let asked = asked.and_then(|find| Ok((find, self.registry()?)));
                let found = async move {
                    let (find, registry) = asked?;
                    let (ek_hash, device) = (Some(find.ek_hash), find.device.clone());
                    let found = registry.find_approvals.send(find).await;
                    let found = found.map_err(|_| unavailable("it was restarted"))?;
                    let detail =
                        "the chip is not enrolled, or may not act: there is nothing for it to come back to";
                    let unknown =
                        || Refusal { rejection: Rejection::new(RefusalCode::UnknownChip, detail), ek_hash };
                    let approvals = found.ok_or_else(unknown)?;
                    let staged = approvals.len();
                    warn!(%peer, %device, staged, "a device asks for a way back: what it booted is not approved");
                    Ok(HubFrame::Quarantined(Quarantined { retry_after_s: RECOVER_AGAIN_S, approvals }))
                };
                Box::pin(found.into_actor(self))
            }
            DeviceFrame::RenewBegin(_) | DeviceFrame::RenewFinish(_) => {
                let detail = "a renewal needs a connection with the current certificate";
                Box::pin(fut::ready(Err(Rejection::new(RefusalCode::Malformed, detail).into())))
            }
        }
    }

    fn renew(&mut self, leaf: Leaf, exchange: Exchange) -> Step<HubFrame> {
        let Exchange { peer, exporter, frame, .. } = exchange;
        match frame {
            DeviceFrame::RenewBegin(begin) => {
                self.options.counters.begun();
                let registry = self.registry();
                let (presented, key) = (leaf.clone(), begin.ldevid_public.clone());
                let known = async move {
                    let registry = registry?;
                    let (known, registers) = known_device(&registry, presented).await?;
                    let (tenant, device) = (known.tenant.clone(), known.id.clone());
                    let find = FindFirmwareAuthorities { tenant, device, model: None };
                    check_bound(&registry, find, &key).await?;
                    Ok((known, registers))
                };
                type Known = Answer<(registry::Device, Vec<u8>)>;
                Box::pin(known.into_actor(self).map(move |known: Known, actor, _| {
                    let (device, registers) = known?;
                    let frame =
                        actor.core.renew_begin(actor.now(), &exporter, &leaf, &device, registers, begin)?;
                    actor.options.counters.challenged();
                    Ok(frame)
                }))
            }
            DeviceFrame::RenewFinish(finish) => {
                let granted = self.core.renew_finish(self.now(), &exporter, &finish);
                let asked = granted.and_then(|grant| Ok((grant, self.registry()?)));
                let counters = self.options.counters.clone();
                let written = async move {
                    let (Grant { write, reply }, registry) = asked?;
                    let device = registry.renewed.send(write).await;
                    let device = device.map_err(|_| unavailable("it was restarted"))?;
                    let device = device.map_err(|refusal| match refusal {
                        registry::Refusal::Unavailable(why) => unavailable(&why),
                        registry::Refusal::UnacceptedMeasurements(_) => {
                            Rejection::new(RefusalCode::PolicyRefused, format!("failed to {refusal}"))
                        }
                        other => Rejection::new(RefusalCode::UnknownChip, format!("failed to {other}")),
                    })?;
                    counters.renewed();
                    info!(%peer, tenant = %device.tenant, device = %device.id,
                        serial = %device.certificate.serial, "certificate renewed");
                    Ok(reply)
                };
                Box::pin(written.into_actor(self))
            }
            // A device whose chip was cleared may still show its old certificate: it enrols as if it had none.
            DeviceFrame::Begin(_) | DeviceFrame::Finish(_) | DeviceFrame::Recover(_) => {
                self.begin(Exchange { peer, exporter, leaf: None, frame })
            }
        }
    }
}

impl Actor for EnrolmentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
    }
}

impl Handler<Exchange> for EnrolmentActor {
    type Result = ResponseActFuture<Self, HubFrame>;

    fn handle(&mut self, mut exchange: Exchange, _: &mut Context<Self>) -> Self::Result {
        let peer = exchange.peer;
        let step = match exchange.leaf.take() {
            Some(leaf) => self.renew(leaf, exchange),
            None => self.begin(exchange),
        };
        Box::pin(step.map(move |answer, actor: &mut Self, _| match answer {
            Ok(frame) => frame,
            Err(refusal) => refused(peer, refusal, &actor.options),
        }))
    }
}

async fn find_owner(registry: &RegistryDesk, claimant: &Claimant) -> Answer<Ownership> {
    let ek_hash = Some(claimant.owner.ek_hash);
    let answer = registry.find_owner.send(claimant.owner.clone()).await;
    let found = answer.map_err(|_| unavailable("it was restarted"))?;
    found.map_err(|refusal| Refusal { rejection: no_owner(&refusal), ek_hash })
}

/// Refuses an identity key that is not bound to an authority of its class, where the class has one. The key's form was
/// checked before; that the TPM holds it, certify shows later.
async fn check_bound(registry: &RegistryDesk, find: FindFirmwareAuthorities, key: &[u8]) -> Answer<()> {
    let answer = registry.find_firmware_authorities.send(find).await;
    let found = answer.map_err(|_| unavailable("it was restarted"))?;
    let authorities = found.map_err(|refusal| unavailable(&refusal.to_string()))?;
    let Some(class) = authorities.first().map(|authority| authority.class.clone()) else { return Ok(()) };
    let key = TpmtPublic::parse(key)
        .map_err(|error| Rejection::new(RefusalCode::Malformed, format!("the identity key would {error}")))?;
    let mut keys = authorities.iter().filter_map(registry::firmware_authority::FirmwareAuthority::sec1);
    if keys.any(|sec1| is_bound(&key, &FirmwareAuthority::new(sec1), &class)) {
        return Ok(());
    }
    let detail = format!(
        "devices of the class {class:?} need an identity key that only signs under firmware which one of its authorities \
         approved, and this key is not bound so"
    );
    Err(Rejection::new(RefusalCode::IdentityNotBound, detail).into())
}

/// What the registry makes of a proved chip that it does not refuse.
enum Outcome {
    Enrolled(Box<Enrolled>),
    /// A person has to decide.
    Held(HeldChip),
}

/// A chip that waits for a person, for the log.
struct HeldChip {
    tenant: TenantId,
    device: DeviceId,
    reason: HeldReason,
}

async fn enrol(registry: &RegistryDesk, write: Enrol) -> Answer<Outcome> {
    let ek_hash = Some(write.chip.ek_hash);
    let (tenant, device) = (write.tenant.clone(), write.chip.device.clone());
    let answer = registry.enrol.send(write).await;
    match answer.map_err(|_| unavailable("it was restarted"))? {
        Ok(enrolled) => Ok(Outcome::Enrolled(Box::new(enrolled))),
        Err(OwnerRefusal::Held(reason)) => Ok(Outcome::Held(HeldChip { tenant, device, reason })),
        Err(refusal) => Err(Refusal { rejection: no_owner(&refusal), ek_hash }),
    }
}

/// The row of the device that a certificate belongs to, if it may still act, and the registers that its tenant wants quoted.
async fn known_device(registry: &RegistryDesk, leaf: Leaf) -> Answer<(registry::Device, Vec<u8>)> {
    let admitted = registry.admit.send(Admit(leaf)).await.map_err(|_| unavailable("it was restarted"))?;
    let admitted = admitted.map_err(|refusal| not_admitted(refusal.reason))?;
    let show = ShowDevice { tenant: admitted.tenant, device: admitted.principal.id };
    let device = registry.show_device.send(show).await.map_err(|_| unavailable("it was restarted"))?;
    let device =
        device.map_err(|_| Rejection::new(RefusalCode::UnknownChip, "the certificate is of no device"))?;
    let registers = registry.registers_of.send(RegistersOf(device.tenant.clone())).await;
    let registers = registers.map_err(|_| unavailable("it was restarted"))?;
    let registers = registers.map_err(|refusal| unavailable(&format!("it failed to {refusal}")))?;
    Ok((device, registers))
}

fn report_enrolled(peer: SocketAddr, enrolled: &Enrolled, options: &EnrolmentOptions) {
    let Enrolled { device, revoked, key_replaced, verdict } = enrolled;
    let counters = &options.counters;
    counters.issued();
    if revoked.is_some() {
        (options.revoked)(&Principal {
            trust_domain: options.policy.authority.trust_domain().clone(),
            tenant: device.tenant.clone(),
            kind: Kind::Device,
            id: device.id.clone(),
        });
    }
    info!(%peer, tenant = %device.tenant, device = %device.id, class = %device.tpm_class,
        serial = %device.certificate.serial, again = revoked.is_some(), measurements = %verdict, "device enrolled");
    if *verdict == Verdict::Unknown {
        warn!(tenant = %device.tenant, device = %device.id,
            "measurements_unknown: the tenant monitors measurements, and has not accepted those of this device; \
             `muster device measured` shows them, `muster measurement accept --device` accepts them");
    }
    if *key_replaced {
        counters.cleared();
        warn!(tenant = %device.tenant, device = %device.id,
            "tpm_cleared: a known chip enrolled with a new identity key; its earlier certificate is revoked");
    }
}

/// Tells the operator who waits and why, and the device when to ask again.
fn report_held(peer: SocketAddr, held: &HeldChip, options: &EnrolmentOptions) -> HubFrame {
    let HeldChip { tenant, device, reason } = held;
    options.counters.held();
    match reason {
        HeldReason::Identity { holder, .. } => {
            let holder = holder.as_ref().map_or("unknown", DeviceId::as_str);
            warn!(%peer, %tenant, %device, holder, %reason,
                "identity_claimed_twice: the device is held; `muster device pending` shows both");
        }
        HeldReason::Claim | HeldReason::Measurements => {
            info!(%peer, %tenant, %device, %reason, "enrolment held; `muster device pending` shows it");
        }
    }
    HubFrame::Pending(Pending { retry_after_s: HELD_RETRY_S })
}

fn refused(peer: SocketAddr, refusal: Refusal, options: &EnrolmentOptions) -> HubFrame {
    let Refusal { rejection: Rejection { code, detail }, ek_hash } = refusal;
    options.counters.refused(code);
    if let Some(ek_hash) = ek_hash {
        let refused = witness::Refused {
            stage: witness::Stage::Enrolment,
            code: code.as_str().to_owned(),
            reason: detail.clone(),
            next: code.next_step().to_owned(),
            peer: Some(peer.to_string()),
        };
        // Anybody can show a chip's public key.
        options.witness.note(&device_id(&ek_hash), witness::Proof::Name, refused);
    }
    // Eight characters tell chips apart in a log, and do not name one.
    let chip = ek_hash.map(|hash| HEXLOWER.encode(hash.get(..4).unwrap_or_default()));
    warn!(%peer, ek_hash = chip.as_deref().unwrap_or("unknown"), %code, %detail, "enrolment refused");
    HubFrame::Refused(Refused { code, detail })
}

fn unavailable(why: &str) -> Rejection {
    Rejection::new(RefusalCode::HubUnavailable, format!("the registry does not answer: {why}"))
}

fn no_owner(refusal: &OwnerRefusal) -> Rejection {
    let code = match refusal {
        OwnerRefusal::UnknownChip => RefusalCode::UnknownChip,
        OwnerRefusal::ClaimUnknown => RefusalCode::ClaimUnknown,
        OwnerRefusal::ClaimUsed => RefusalCode::ClaimUsed,
        OwnerRefusal::ClaimExpired => RefusalCode::ClaimExpired,
        OwnerRefusal::ClaimModelMismatch => RefusalCode::ClaimModelMismatch,
        OwnerRefusal::ClassNotAllowed(_) => RefusalCode::ClassNotAllowed,
        OwnerRefusal::DeviceNotActive(State::Revoked | State::Retired) => RefusalCode::ChipBarred,
        OwnerRefusal::ListedModelMismatch => RefusalCode::ClaimModelMismatch,
        OwnerRefusal::NotEndorsed => RefusalCode::NoEndorsementCertificate,
        OwnerRefusal::Held(_) | OwnerRefusal::UnacceptedMeasurements(_) => RefusalCode::PolicyRefused,
        OwnerRefusal::Denied => RefusalCode::EnrolmentDenied,
        OwnerRefusal::DeviceNotActive(_) => RefusalCode::DeviceSuspended,
        OwnerRefusal::TenantSuspended => RefusalCode::TenantSuspended,
        OwnerRefusal::OwnerChanged => RefusalCode::SessionUnknown,
        OwnerRefusal::Unavailable(_) => RefusalCode::HubUnavailable,
    };
    Rejection::new(code, format!("failed to {refusal}"))
}

fn not_admitted(reason: AdmitReason) -> Rejection {
    let code = match reason {
        AdmitReason::Suspended => RefusalCode::DeviceSuspended,
        AdmitReason::Retired | AdmitReason::Revoked => RefusalCode::ChipBarred,
        AdmitReason::TenantSuspended => RefusalCode::TenantSuspended,
        AdmitReason::Unavailable => RefusalCode::HubUnavailable,
        AdmitReason::Kind => RefusalCode::Malformed,
        AdmitReason::TenantUnknown
        | AdmitReason::Unknown
        | AdmitReason::NotCurrent
        | AdmitReason::Expired => RefusalCode::UnknownChip,
    };
    Rejection::new(code, format!("{reason}: enrol again without the certificate"))
}
