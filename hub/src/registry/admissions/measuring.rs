//! Measurements: which a tenant accepts, and what it makes of those that a device quotes.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, TenantId};

use super::{
    AdmissionRow,
    row::{Accepted, Measured, MeasurementMode, Profile, Registers, Verdict},
};
use crate::registry::{
    actor::RegistryActor,
    alarm::AlarmKind,
    core::{Effect, Registry},
    limits::{ACCEPTED_PER_TENANT_MAX, LABEL_BYTES_MAX},
    message::{Bound, Refusal},
    row::Row,
};

/// Accepts measurements under a label, in place of those that had it.
#[derive(Debug, Clone)]
pub struct Accept {
    /// The tenant.
    pub tenant: TenantId,
    /// Such as the release that they are of.
    pub label: String,
    /// Which.
    pub source: Source,
}

/// Where measurements to accept come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// What this device measured last, enrolled or held: these registers of it, or those of the policy.
    Device(DeviceId, Option<Vec<u8>>),
    /// These values.
    Values(Registers),
}

impl Message for Accept {
    type Result = Result<Accepted, Refusal>;
}

/// Accepts measurements no longer.
#[derive(Debug, Clone)]
pub struct RemoveAccepted {
    /// The tenant.
    pub tenant: TenantId,
    /// Their label.
    pub label: String,
}

impl Message for RemoveAccepted {
    type Result = Result<(), Refusal>;
}

/// Asks for the measurements that a tenant accepts, by label.
#[derive(Debug, Clone)]
pub struct ListAccepted(pub TenantId);

impl Message for ListAccepted {
    type Result = Result<Vec<Accepted>, Refusal>;
}

/// Asks which registers a device of a tenant has to quote.
#[derive(Debug, Clone)]
pub struct RegistersOf(pub TenantId);

impl Message for RegistersOf {
    type Result = Result<Vec<u8>, Refusal>;
}

impl Registry {
    /// What the tenant makes of measurements, and what follows when they are unknown.
    pub(in crate::registry) fn judge(
        &self,
        now_s: u64,
        tenant: &TenantId,
        registers: Registers,
    ) -> (Measured, MeasurementMode) {
        let policy = self.tenants.get(tenant).map(|tenant| &tenant.policy);
        let mode = policy.map_or(MeasurementMode::Off, |policy| policy.measurements);
        let verdict = match policy {
            Some(policy) if mode != MeasurementMode::Off => {
                self.verdict(tenant, &policy.registers, &registers)
            }
            _ => Verdict::Unjudged,
        };
        (Measured { registers, verdict, at_s: now_s }, mode)
    }

    /// Raises an alarm over measurements that nobody accepted.
    pub(in crate::registry) fn watch(
        &mut self,
        now_s: u64,
        (tenant, device): (&TenantId, &DeviceId),
        measured: &Measured,
        effects: &mut Vec<Effect>,
    ) {
        if measured.verdict != Verdict::Unknown {
            return;
        }
        let indices: Vec<String> = measured.registers.0.keys().map(u8::to_string).collect();
        let detail = format!(
            "registers {} hold what the tenant has not accepted; `muster measurement accept --device` accepts it",
            indices.join(", ")
        );
        let of = (Some(tenant.clone()), Some(device.clone()));
        self.raise(now_s, of, AlarmKind::UnknownMeasurements, detail, effects);
    }

    /// Every register that the policy names has to be covered by accepted rows all of whose registers are as quoted: so
    /// firmware and software may be accepted each by itself, and no row counts in part.
    fn verdict(&self, tenant: &TenantId, named: &[u8], quoted: &Registers) -> Verdict {
        let holds = |accepted: &&Accepted| {
            accepted.registers.0.iter().all(|(index, value)| quoted.0.get(index) == Some(value))
        };
        let rows: Vec<&Accepted> = self.accepted_of(tenant).filter(holds).collect();
        let covers = |index: &u8| rows.iter().any(|row| row.registers.0.contains_key(index));
        if !named.iter().all(covers) {
            return Verdict::Unknown;
        }
        let useful = rows.iter().filter(|row| row.registers.0.keys().any(|index| named.contains(index)));
        Verdict::Accepted(useful.map(|row| row.label.as_str()).collect::<Vec<_>>().join(", "))
    }

    /// Judges what an enrolled device measured at its renewal, and keeps it.
    ///
    /// # Errors
    /// The tenant enforces its policy and does not accept it; that it was measured is kept all the same.
    pub(in crate::registry) fn remeasure(
        &mut self,
        now_s: u64,
        tenant: &TenantId,
        device: &DeviceId,
        registers: Registers,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let (measured, mode) = self.judge(now_s, tenant, registers);
        self.watch(now_s, (tenant, device), &measured, effects);
        let refused = mode == MeasurementMode::Enforce && measured.verdict == Verdict::Unknown;
        let is_known = |profile: &Profile| {
            let before = &profile.measured;
            profile.tenant == *tenant
                && before.registers == measured.registers
                && before.verdict == measured.verdict
        };
        // A session that attests may come every second, and shows the same as before.
        if self.admissions.profile(device).is_some_and(is_known) {
            return if refused { Err(Refusal::UnacceptedMeasurements(device.clone())) } else { Ok(()) };
        }
        let profile = match self.admissions.profile(device).filter(|profile| profile.tenant == *tenant) {
            Some(profile) => Profile { measured, ..profile.clone() },
            None => Profile {
                device: device.clone(),
                tenant: tenant.clone(),
                name: None,
                serial_number: None,
                mac: None,
                certificate: None,
                measured,
            },
        };
        self.put(Row::from(AdmissionRow::Profile(profile)), effects);
        if refused { Err(Refusal::UnacceptedMeasurements(device.clone())) } else { Ok(()) }
    }

    /// Accepts measurements.
    ///
    /// # Errors
    /// The tenant or device is unknown, the device has quoted nothing, the label is out of bounds or there are too many.
    pub fn accept(
        &mut self,
        now_s: u64,
        command: Accept,
        effects: &mut Vec<Effect>,
    ) -> Result<Accepted, Refusal> {
        let Accept { tenant, label, source } = command;
        let policy = self.known_tenant(&tenant)?.policy.clone();
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
            return Err(Refusal::Label);
        }
        let registers = match source {
            Source::Values(registers) => registers,
            Source::Device(device, wanted) => {
                let mut registers = self.measured_last(&tenant, &device)?.registers.clone();
                let wanted = wanted.unwrap_or(policy.registers);
                registers.0.retain(|index, _| wanted.contains(index));
                registers
            }
        };
        if registers.0.is_empty() {
            return Err(Refusal::NothingMeasured);
        }
        let key = (tenant.clone(), label.clone());
        let full = self.accepted_of(&tenant).count() >= ACCEPTED_PER_TENANT_MAX;
        if full && !self.admissions.accepted.contains_key(&key) {
            return Err(Refusal::Full(Bound::Accepted));
        }
        let accepted = Accepted { tenant, label, registers, accepted_at_s: now_s };
        self.put(Row::from(AdmissionRow::Accepted(accepted.clone())), effects);
        Ok(accepted)
    }

    /// Accepts measurements no longer. Devices that have a certificate keep it until they renew it.
    ///
    /// # Errors
    /// The tenant is unknown, or has accepted nothing under that label.
    pub fn remove_accepted(
        &mut self,
        command: RemoveAccepted,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let RemoveAccepted { tenant, label } = command;
        self.known_tenant(&tenant)?;
        let removed = self.admissions.accepted.remove(&(tenant, label.clone()));
        let removed = removed.ok_or(Refusal::LabelUnknown(label))?;
        effects.push(Effect::Delete(Row::from(AdmissionRow::Accepted(removed)).key()));
        Ok(())
    }

    fn measured_last(&self, tenant: &TenantId, device: &DeviceId) -> Result<&Measured, Refusal> {
        let profile = self.admissions.profiles.get(device).filter(|row| row.tenant == *tenant);
        let held = self.admissions.held.get(device).filter(|row| row.tenant == *tenant);
        let both = profile.map(|row| &row.measured).into_iter().chain(held.map(|row| &row.measured));
        both.max_by_key(|measured| measured.at_s)
            .ok_or_else(|| Refusal::DeviceUnknown { tenant: tenant.clone(), device: device.clone() })
    }

    fn accepted_of<'a>(&'a self, tenant: &'a TenantId) -> impl Iterator<Item = &'a Accepted> {
        let from = (tenant.clone(), String::new());
        self.admissions
            .accepted
            .range(from..)
            .map(|(_, row)| row)
            .take_while(move |row| row.tenant == *tenant)
    }
}

impl Handler<Accept> for RegistryActor {
    type Result = ResponseFuture<Result<Accepted, Refusal>>;

    fn handle(&mut self, command: Accept, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, now_s, effects| core.accept(now_s, command, effects))
    }
}

impl Handler<RemoveAccepted> for RegistryActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, command: RemoveAccepted, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.remove_accepted(command, effects))
    }
}

impl Handler<ListAccepted> for RegistryActor {
    type Result = Result<Vec<Accepted>, Refusal>;

    fn handle(&mut self, command: ListAccepted, _: &mut Context<Self>) -> Self::Result {
        self.core.known_tenant(&command.0)?;
        Ok(self.core.accepted_of(&command.0).cloned().collect())
    }
}

impl Handler<RegistersOf> for RegistryActor {
    type Result = Result<Vec<u8>, Refusal>;

    fn handle(&mut self, command: RegistersOf, _: &mut Context<Self>) -> Self::Result {
        Ok(self.core.known_tenant(&command.0)?.policy.registers.clone())
    }
}
