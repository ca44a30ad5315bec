//! Devices that come by EST (RFC 7030): a key that is nobody knows where, vouched for by a claim. Their rows say `none`
//! where others name the class of their TPM. Not for devices with a TPM, which enrol with it and renew with a quote.

use actix::{Context, Handler, Message, ResponseFuture};
use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::{endorsement::TpmClass, verifier::device_id};

use super::{
    RevocationReason,
    actor::RegistryActor,
    core::{Effect, Registry},
    life::Life,
    limits::{DEVICES_MAX, MODEL_BYTES_MAX},
    message::{Bound, Refusal},
    row::{Certificate, Claim, Device, Row, State},
};
use crate::authority::Serial;

/// A key that asks to be a tenant's device.
#[derive(Debug, Clone)]
pub struct EstApplicant {
    /// The tenant.
    pub tenant: TenantId,
    /// The model that it says it is.
    pub model: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// The claim that it shows, as it came.
    pub claim: String,
}

impl EstApplicant {
    /// What stands where a chip's endorsement key would: it follows from the tenant and the first key, so that nobody
    /// can take the name of another device, not even of another tenant's.
    pub fn hash(&self) -> [u8; 32] {
        let mut input = b"muster-est-v1\0".to_vec();
        input.extend_from_slice(self.tenant.as_str().as_bytes());
        input.push(0);
        input.extend_from_slice(&self.spki_sha256);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &input).as_ref());
        hash
    }

    /// The id that it gets.
    pub fn device(&self) -> DeviceId {
        device_id(&self.hash())
    }
}

/// Asks whether an applicant may be a device. Changes nothing.
#[derive(Debug, Clone)]
pub struct CheckEst(pub EstApplicant);

impl Message for CheckEst {
    type Result = Result<(), EstRefusal>;
}

/// Writes an enrolment: uses up the claim, and inserts or updates the device, in one commit.
#[derive(Debug, Clone)]
pub struct EnrolEst {
    /// Who asked: checked again.
    pub applicant: EstApplicant,
    /// What was issued. It leaves the hub after the commit.
    pub certificate: Certificate,
}

impl Message for EnrolEst {
    type Result = Result<Device, EstRefusal>;
}

/// Writes a renewal by EST. The certificate it was asked with stays valid until the new one has connected.
#[derive(Debug, Clone)]
pub struct RenewEst {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The certificate that it asked with.
    pub presented: Serial,
    /// What was issued; none asks only whether it may be.
    pub certificate: Option<Certificate>,
}

impl Message for RenewEst {
    type Result = Result<(), EstRefusal>;
}

/// Why there is no certificate by EST.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EstRefusal {
    /// The tenant is unknown or suspended, or has no EST. All look the same to who asks.
    #[error("there is no EST for that tenant")]
    Off,
    /// Mistyped, ended, used by another key, or of another tenant or model. All look the same to who asks.
    #[error("the claim is not good: {0}")]
    Claim(&'static str),
    /// The device is suspended or retired.
    #[error("the device is {}", .0.as_str())]
    NotActive(State),
    /// Devices with a TPM renew with a quote of it.
    #[error("the device has a TPM, and renews with it")]
    HasTpm,
    /// The device is unknown, or the certificate is not one of its two.
    #[error("the certificate is not the device's")]
    NotItsCertificate,
    /// The model name is too long or empty.
    #[error("the model has 1 to {MODEL_BYTES_MAX} bytes")]
    Model,
    /// A bound is reached, or the store did not take the write.
    #[error("the registry cannot take it: failed to {0}")]
    Unavailable(Refusal),
}

impl Registry {
    /// Whether an applicant may be a device: its tenant has EST, and it shows a claim that is fresh or that this very key
    /// used before, since an answer may have been lost.
    ///
    /// # Errors
    /// It may not.
    pub fn check_est(&self, now_s: u64, applicant: &EstApplicant) -> Result<(), EstRefusal> {
        self.est_claim(now_s, applicant).map(|_| ())
    }

    /// Writes an enrolment.
    ///
    /// # Errors
    /// As [`Registry::check_est`], which is asked again; and the hub may be full.
    pub fn enrol_est(
        &mut self,
        now_s: u64,
        command: EnrolEst,
        effects: &mut Vec<Effect>,
    ) -> Result<Device, EstRefusal> {
        let EnrolEst { applicant, certificate } = command;
        let claim = self.est_claim(now_s, &applicant)?.clone();
        let id = applicant.device();
        let before = self.devices.get(&id).cloned();
        if before.is_none() && self.devices.len() >= DEVICES_MAX {
            return Err(EstRefusal::Unavailable(Refusal::Full(Bound::Devices)));
        }
        let device = Device {
            id: id.clone(),
            ek_hash: applicant.hash(),
            tenant: applicant.tenant,
            ak_public: Vec::new(),
            ak_name: Vec::new(),
            certificate,
            previous: None,
            state: State::Active,
            tpm_class: TpmClass::None,
            model: applicant.model,
            reset_count: 0,
            clock_ms: 0,
            enrolled_at_s: before.as_ref().map_or(now_s, |device| device.enrolled_at_s),
            agent_version: "est".to_owned(),
            life: before.as_ref().map_or_else(Life::default, |device| device.life.clone()),
        };
        if let Some(before) = before {
            self.revoke_certificates(now_s, &before, RevocationReason::Superseded, None, effects);
            let reason = "another certificate took the place of this session's; connect with it";
            self.end(&before, reason, effects);
        }
        self.put(Row::Claim(Claim { used_by: Some(id), ..claim }), effects);
        self.put(Row::Device(device.clone()), effects);
        Ok(device)
    }

    /// Writes a renewal, or only says whether there may be one.
    ///
    /// # Errors
    /// There may not.
    pub fn renew_est(&mut self, command: RenewEst, effects: &mut Vec<Effect>) -> Result<(), EstRefusal> {
        let RenewEst { tenant, device, presented, certificate } = command;
        self.has_est(&tenant)?;
        let row = self.device(&tenant, &device).map_err(|_| EstRefusal::NotItsCertificate)?.clone();
        if row.tpm_class != TpmClass::None {
            return Err(EstRefusal::HasTpm);
        }
        if row.state != State::Active {
            return Err(EstRefusal::NotActive(row.state));
        }
        let mut held = [Some(&row.certificate), row.previous.as_ref()].into_iter().flatten();
        let presented = held.find(|held| held.serial == presented).cloned();
        let presented = presented.ok_or(EstRefusal::NotItsCertificate)?;
        let Some(certificate) = certificate else { return Ok(()) };
        let row = Device { certificate, previous: Some(presented), ..row };
        self.put(Row::Device(row), effects);
        Ok(())
    }

    fn has_est(&self, tenant: &TenantId) -> Result<(), EstRefusal> {
        let ways_in = self.ways_in(tenant).map_err(|_| EstRefusal::Off)?;
        if ways_in.est { Ok(()) } else { Err(EstRefusal::Off) }
    }

    fn est_claim(&self, now_s: u64, applicant: &EstApplicant) -> Result<&Claim, EstRefusal> {
        self.has_est(&applicant.tenant)?;
        if applicant.model.is_empty() || applicant.model.len() > MODEL_BYTES_MAX {
            return Err(EstRefusal::Model);
        }
        let claim = self.claim(&applicant.claim).filter(|claim| claim.tenant == applicant.tenant);
        let claim = claim.ok_or(EstRefusal::Claim("it is unknown"))?;
        if claim.approve {
            return Err(EstRefusal::Claim(
                "a person is to approve who uses it, and a device without a TPM is not held",
            ));
        }
        let id = applicant.device();
        if claim.used_by.as_ref().is_some_and(|device| *device != id) {
            return Err(EstRefusal::Claim("another device used it"));
        }
        if claim.expires_at_s < now_s {
            return Err(EstRefusal::Claim("it has ended"));
        }
        if claim.model.as_ref().is_some_and(|model| *model != applicant.model) {
            return Err(EstRefusal::Claim("it is for another model"));
        }
        match self.devices.get(&id) {
            Some(device) if device.state != State::Active => Err(EstRefusal::NotActive(device.state)),
            _ => Ok(claim),
        }
    }
}

impl Handler<CheckEst> for RegistryActor {
    type Result = Result<(), EstRefusal>;

    fn handle(&mut self, CheckEst(applicant): CheckEst, _: &mut Context<Self>) -> Self::Result {
        let unavailable = || EstRefusal::Unavailable(Refusal::Unavailable("it has not started".to_owned()));
        let now_s = self.loaded_now_s().ok_or_else(unavailable)?;
        self.core().check_est(now_s, &applicant)
    }
}

impl Handler<EnrolEst> for RegistryActor {
    type Result = ResponseFuture<Result<Device, EstRefusal>>;

    fn handle(&mut self, command: EnrolEst, ctx: &mut Context<Self>) -> Self::Result {
        let enrol =
            |core: &mut Registry, now_s, effects: &mut Vec<Effect>| core.enrol_est(now_s, command, effects);
        self.change(ctx, EstRefusal::Unavailable, enrol)
    }
}

impl Handler<RenewEst> for RegistryActor {
    type Result = ResponseFuture<Result<(), EstRefusal>>;

    fn handle(&mut self, command: RenewEst, ctx: &mut Context<Self>) -> Self::Result {
        let renew = |core: &mut Registry, _, effects: &mut Vec<Effect>| core.renew_est(command, effects);
        self.change(ctx, EstRefusal::Unavailable, renew)
    }
}

#[cfg(test)]
#[path = "est_tests.rs"]
mod tests;
