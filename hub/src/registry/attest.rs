//! What a tenant demands of its devices' sessions, and what they showed.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::verifier::Evidence;
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    admissions::row::Registers,
    boots::Boot,
    core::{Effect, Registry},
    life::QuoteFacts,
    message::Refusal,
    row::{Device, Row, State, Tenant},
};

/// Whether each session of a tenant's devices has to show how its device booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttestSessions {
    /// It has not: the certificate is a lease on an attestation.
    #[default]
    Off,
    /// It has, with a quote over this very connection; until it has, it is in quarantine.
    Required,
}

/// Sets what a tenant demands of its devices' sessions. Those that are open are the caller's to close.
#[derive(Debug, Clone)]
pub struct SetAttestSessions {
    /// The tenant.
    pub tenant: TenantId,
    /// What it demands.
    pub sessions: AttestSessions,
}

impl Message for SetAttestSessions {
    type Result = Result<Tenant, Refusal>;
}

/// Asks for the attestation key of a device whose session has to attest.
#[derive(Debug, Clone)]
pub struct FindAttestationKey {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
}

impl Message for FindAttestationKey {
    /// None if nothing is demanded.
    type Result = Result<Option<AttestationDemand>, Refusal>;
}

/// What a session has to attest with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationDemand {
    /// The device's attestation key, a `TPMT_PUBLIC`.
    pub ak_public: Vec<u8>,
    /// The registers that the tenant wants quoted, ascending.
    pub registers: Vec<u8>,
}

/// A device has attested in a session: what its TPM proved. Whoever judges boots and measurements refuses here.
#[derive(Debug, Clone)]
pub struct Attested {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Its evidence.
    pub evidence: Evidence,
}

impl Message for Attested {
    type Result = Result<(), Refusal>;
}

impl Registry {
    /// Sets what a tenant demands of its devices' sessions.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn set_attest_sessions(
        &mut self,
        command: SetAttestSessions,
        effects: &mut Vec<Effect>,
    ) -> Result<Tenant, Refusal> {
        let SetAttestSessions { tenant, sessions } = command;
        let found = self.tenants.get(&tenant).ok_or(Refusal::TenantUnknown(tenant))?;
        let tenant = Tenant { attest_sessions: sessions, ..found.clone() };
        if tenant != *found {
            self.put(Row::Tenant(tenant.clone()), effects);
        }
        Ok(tenant)
    }

    /// The attestation key of a device whose session has to attest.
    ///
    /// # Errors
    /// There is no such device in that tenant.
    pub fn find_attestation_key(
        &self,
        command: &FindAttestationKey,
    ) -> Result<Option<AttestationDemand>, Refusal> {
        let FindAttestationKey { tenant, device } = command;
        let row = self.device(tenant, device)?;
        let demands = self.tenants.get(tenant).filter(|t| t.attest_sessions == AttestSessions::Required);
        Ok(demands.map(|tenant| AttestationDemand {
            ak_public: row.ak_public.clone(),
            registers: tenant.policy.registers.clone(),
        }))
    }

    /// Judges what a session showed, as at a renewal: how its device booted, and what it runs. The rows are written when
    /// the boot counter or the registers have moved; the clock of one boot moves with each quote, and the next renewal
    /// writes it.
    ///
    /// # Errors
    /// There is no such device in that tenant, it may not act any more, or its tenant does not take what it showed.
    pub fn attested(
        &mut self,
        now_s: u64,
        command: Attested,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Attested { tenant, device, evidence } = command;
        let row = self.device(&tenant, &device)?.clone();
        if row.state != State::Active {
            return Err(Refusal::DeviceUnknown { tenant, device });
        }
        let Evidence { reset_count, restart_count, clock_ms, firmware_version, pcrs, .. } = evidence;
        let boot = Boot { reset_count, restart_count, clock_ms };
        if self.judge_quote(now_s, &row, boot, false, effects) {
            let (verb, why) = ("take the attestation of", "its tenant wants to look first");
            return Err(Refusal::DeviceState { verb, device, state: State::Suspended, why });
        }
        self.remeasure(now_s, &tenant, &device, Registers(pcrs), effects)?;
        self.connections.insert(device, 0);
        if row.reset_count != reset_count {
            let life = row.life.clone().quoted(now_s, QuoteFacts { restart_count, firmware_version });
            self.put(Row::Device(Device { reset_count, clock_ms, life, ..row }), effects);
        }
        Ok(())
    }
}

impl Handler<SetAttestSessions> for RegistryActor {
    type Result = ResponseFuture<Result<Tenant, Refusal>>;

    fn handle(&mut self, command: SetAttestSessions, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.set_attest_sessions(command, effects))
    }
}

impl Handler<FindAttestationKey> for RegistryActor {
    type Result = Result<Option<AttestationDemand>, Refusal>;

    fn handle(&mut self, command: FindAttestationKey, _: &mut Context<Self>) -> Self::Result {
        self.core().find_attestation_key(&command)
    }
}

impl Handler<Attested> for RegistryActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, command: Attested, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, now_s, effects| core.attested(now_s, command, effects))
    }
}
