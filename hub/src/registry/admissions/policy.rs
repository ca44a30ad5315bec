//! A tenant's enrolment policy, as it is shown and set.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::TenantId;

use super::row::{EnrolmentPolicy, MeasurementMode};
use crate::registry::{
    actor::RegistryActor,
    core::{Effect, Registry},
    message::Refusal,
    row::{AcceptedClasses, Row, Tenant},
};

/// Asks for a tenant.
#[derive(Debug, Clone)]
pub struct ShowTenant(pub TenantId);

impl Message for ShowTenant {
    type Result = Result<Tenant, Refusal>;
}

/// Sets what is given of a tenant's policy, and leaves the rest.
#[derive(Debug, Clone)]
pub struct SetPolicy {
    /// The tenant.
    pub tenant: TenantId,
    /// Which classes of TPM its devices may have.
    pub classes: Option<AcceptedClasses>,
    /// Whether devices with a claim wait for approval.
    pub approve_claims: Option<bool>,
    /// What unknown measurements lead to.
    pub measurements: Option<MeasurementMode>,
    /// The registers that a quote has to cover.
    pub registers: Option<Vec<u8>>,
}

impl Message for SetPolicy {
    type Result = Result<Tenant, Refusal>;
}

impl Registry {
    /// Sets a tenant's policy. Devices that have a certificate meet it when they renew that.
    ///
    /// # Errors
    /// The tenant is unknown, or the registers are not ones that a quote may cover.
    pub fn set_policy(&mut self, command: SetPolicy, effects: &mut Vec<Effect>) -> Result<Tenant, Refusal> {
        let SetPolicy { tenant, classes, approve_claims, measurements, registers } = command;
        let mut tenant = self.known_tenant(&tenant)?.clone();
        if let Some(registers) = &registers {
            check_registers(registers)?;
        }
        let before = tenant.policy;
        tenant.tpm_classes = classes.unwrap_or(tenant.tpm_classes);
        tenant.policy = EnrolmentPolicy {
            approve_claims: approve_claims.unwrap_or(before.approve_claims),
            measurements: measurements.unwrap_or(before.measurements),
            registers: registers.unwrap_or(before.registers),
        };
        self.put(Row::Tenant(tenant.clone()), effects);
        Ok(tenant)
    }

    /// A tenant, suspended or not.
    pub(in crate::registry) fn known_tenant(&self, id: &TenantId) -> Result<&Tenant, Refusal> {
        self.tenants.get(id).ok_or_else(|| Refusal::TenantUnknown(id.clone()))
    }
}

/// Registers 17 to 22 belong to a dynamic launch, and do not begin at zero.
fn check_registers(registers: &[u8]) -> Result<(), Refusal> {
    let ascending = registers.is_sorted_by(|left, right| left < right);
    let static_ones = registers.iter().all(|index| matches!(index, 0..=16 | 23));
    if registers.is_empty() || !ascending || !static_ones { Err(Refusal::Registers) } else { Ok(()) }
}

impl Handler<ShowTenant> for RegistryActor {
    type Result = Result<Tenant, Refusal>;

    fn handle(&mut self, command: ShowTenant, _: &mut Context<Self>) -> Self::Result {
        self.core.known_tenant(&command.0).cloned()
    }
}

impl Handler<SetPolicy> for RegistryActor {
    type Result = ResponseFuture<Result<Tenant, Refusal>>;

    fn handle(&mut self, command: SetPolicy, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.set_policy(command, effects))
    }
}
