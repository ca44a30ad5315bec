//! What a tenant demands of its devices' sessions, and what they showed.

use std::collections::BTreeMap;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::verifier::Evidence;
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
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
    /// A `TPMT_PUBLIC`; none if nothing is demanded.
    type Result = Result<Option<Vec<u8>>, Refusal>;
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
    pub fn find_attestation_key(&self, command: &FindAttestationKey) -> Result<Option<Vec<u8>>, Refusal> {
        let FindAttestationKey { tenant, device } = command;
        let row = device_of(&self.devices, tenant, device)?;
        let demands = self.tenants.get(tenant).map(|tenant| tenant.attest_sessions);
        Ok((demands == Some(AttestSessions::Required)).then(|| row.ak_public.clone()))
    }

    /// Keeps what a session showed: the boot counter and the clock of its device. They are written when the counter has
    /// moved; the clock of one boot moves with each quote, and the next renewal writes it.
    ///
    /// # Errors
    /// There is no such device in that tenant, or it may not act any more.
    pub fn attested(&mut self, command: Attested, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let Attested { tenant, device, evidence } = command;
        let row = device_of(&self.devices, &tenant, &device)?;
        if row.state != State::Active {
            return Err(Refusal::DeviceUnknown { tenant, device });
        }
        if row.reset_count != evidence.reset_count {
            let (reset_count, clock_ms) = (evidence.reset_count, evidence.clock_ms);
            let row = Device { reset_count, clock_ms, ..row.clone() };
            self.put(Row::Device(row), effects);
        }
        Ok(())
    }
}

fn device_of<'a>(
    devices: &'a BTreeMap<DeviceId, Device>,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<&'a Device, Refusal> {
    let row = devices.get(device).filter(|row| row.tenant == *tenant);
    row.ok_or_else(|| Refusal::DeviceUnknown { tenant: tenant.clone(), device: device.clone() })
}

impl Handler<SetAttestSessions> for RegistryActor {
    type Result = ResponseFuture<Result<Tenant, Refusal>>;

    fn handle(&mut self, command: SetAttestSessions, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.set_attest_sessions(command, effects))
    }
}

impl Handler<FindAttestationKey> for RegistryActor {
    type Result = Result<Option<Vec<u8>>, Refusal>;

    fn handle(&mut self, command: FindAttestationKey, _: &mut Context<Self>) -> Self::Result {
        self.core().find_attestation_key(&command)
    }
}

impl Handler<Attested> for RegistryActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, command: Attested, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.attested(command, effects))
    }
}
