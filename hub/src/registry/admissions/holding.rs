//! What an enrolment goes through between proof and certificate, and the devices that wait for a person on the way.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, TenantId};

use super::{
    AdmissionRow,
    row::{
        ChipName, Decision, Held, HeldReason, Identity, Listed, Measured, MeasurementMode, Profile,
        Registers, Verdict,
    },
};
use crate::registry::{
    actor::RegistryActor,
    alarm::AlarmKind,
    core::{Effect, Registry},
    limits::{HELD_KEPT_S, HELD_PER_TENANT_MAX},
    message::{Bound, FindOwner, OwnerRefusal, Ownership, Refusal, Title},
    row::{Claim, Row, State},
};

/// Asks for the devices of a tenant that are held, by id.
#[derive(Debug, Clone)]
pub struct ListHeld(pub TenantId);

impl Message for ListHeld {
    type Result = Result<Vec<Held>, Refusal>;
}

/// Lets a held device in, or denies it.
#[derive(Debug, Clone)]
pub struct Decide {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Whether it may enrol.
    pub approve: bool,
}

impl Message for Decide {
    type Result = Result<Held, Refusal>;
}

/// Asks what is known of a device beyond its certificate.
#[derive(Debug, Clone)]
pub struct ShowProfile {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
}

impl Message for ShowProfile {
    type Result = Result<Profile, Refusal>;
}

impl Registry {
    /// To whom a chip belongs that is no device yet: by its claim, by one that it is held for, or by a list. A claim is in
    /// the device's own hand, so it outweighs another tenant's list.
    pub(in crate::registry) fn newcomer(
        &self,
        now_s: u64,
        chip: &FindOwner,
    ) -> Result<(&TenantId, Title), OwnerRefusal> {
        let listed = self.admissions.listing(chip);
        let claim = self.usable_claim(now_s, chip);
        if let Ok(claim) = claim
            && listed.is_none_or(|listed| listed.tenant != claim.tenant)
        {
            return Ok((&claim.tenant, Title::Claimed));
        }
        if let Some(held) = self.admissions.held(chip).filter(|held| held.claimed) {
            return Ok((&held.tenant, Title::Claimed));
        }
        let Some(listed) = listed else { return Err(claim.err().unwrap_or(OwnerRefusal::UnknownChip)) };
        if listed.model.as_ref().is_some_and(|model| *model != chip.model) {
            return Err(OwnerRefusal::ListedModelMismatch);
        }
        Ok((&listed.tenant, Title::Listed))
    }

    /// Whether a person has denied this chip.
    pub(in crate::registry) fn is_denied(&self, chip: &FindOwner, tenant: &TenantId) -> bool {
        let held = self.admissions.held(chip).filter(|held| held.tenant == *tenant);
        held.is_some_and(|held| held.decision == Decision::Denied)
    }

    /// Examines a chip that has proved itself, before its enrolment is written: what it measured, what it claims to be, and
    /// whether a person has to approve it. Gives the verdict on its measurements.
    ///
    /// # Errors
    /// It is held, and the row that says so is among the effects.
    pub(in crate::registry) fn examine(
        &mut self,
        now_s: u64,
        chip: &FindOwner,
        ownership: &Ownership,
        registers: Registers,
        effects: &mut Vec<Effect>,
    ) -> Result<Measured, OwnerRefusal> {
        let (measured, mode) = self.judge(now_s, &ownership.tenant, registers);
        self.watch(now_s, (&ownership.tenant, &chip.device), &measured, effects);
        if mode == MeasurementMode::Enforce && measured.verdict == Verdict::Unknown {
            let indices = measured.registers.0.keys().copied().collect();
            self.hold(now_s, chip, ownership, measured, HeldReason::Measurements, effects)?;
            return Err(OwnerRefusal::UnacceptedMeasurements(indices));
        }
        let reason = self.conflict(chip, ownership).or_else(|| self.awaits_approval(chip, ownership));
        let held = self.admissions.held(chip).filter(|held| held.tenant == ownership.tenant);
        let Some(reason) = reason.filter(|reason| !held.is_some_and(|held| is_approved(held, chip, reason)))
        else {
            return Ok(measured);
        };
        self.hold(now_s, chip, ownership, measured, reason.clone(), effects)?;
        if matches!(reason, HeldReason::Identity { .. }) {
            let of = (Some(ownership.tenant.clone()), Some(chip.device.clone()));
            let detail = format!("{reason}; it is held until somebody looks: `muster device pending`");
            self.raise(now_s, of, AlarmKind::IdentityHeld, detail, effects);
        }
        Err(OwnerRefusal::Held(reason))
    }

    /// Writes what is known of a device that enrols, and that it is no longer held. An identity that a person gave it goes
    /// over from whoever had it.
    pub(in crate::registry) fn settle(
        &mut self,
        chip: &FindOwner,
        ownership: &Ownership,
        measured: Measured,
        effects: &mut Vec<Effect>,
    ) {
        let listed =
            self.admissions.listing(chip).filter(|listed| listed.tenant == ownership.tenant).cloned();
        let before = self.admissions.profile(&chip.device).filter(|before| before.tenant == ownership.tenant);
        let of_list = |of: fn(&Listed) -> Option<String>| listed.as_ref().and_then(of);
        let profile = Profile {
            device: chip.device.clone(),
            tenant: ownership.tenant.clone(),
            name: listed
                .as_ref()
                .and_then(|listed| listed.name.clone())
                .or_else(|| before.and_then(|before| before.name.clone())),
            serial_number: chip
                .shown
                .serial_number
                .clone()
                .or_else(|| of_list(|listed| listed.serial_number.clone()))
                .or_else(|| before.and_then(|before| before.serial_number.clone())),
            mac: chip
                .shown
                .mac
                .or_else(|| listed.as_ref().and_then(|listed| listed.mac))
                .or_else(|| before.and_then(|before| before.mac)),
            certificate: chip.shown.certificate.clone(),
            measured,
        };
        for identity in profile.identities() {
            self.take_from_others(&profile, &identity, effects);
        }
        self.put(Row::from(AdmissionRow::Profile(profile)), effects);
        if self.admissions.held(chip).is_some()
            && let Some(held) = self.admissions.remove_held(&chip.device)
        {
            effects.push(Effect::Delete(Row::from(AdmissionRow::Held(held)).key()));
        }
    }

    /// Forgets a chip that its tenant lets go: what is known of it, that it is on the tenant's list, and that it waits.
    /// Otherwise the list would bring it back.
    pub(in crate::registry) fn forget_chip(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
        ek_hash: [u8; 32],
        effects: &mut Vec<Effect>,
    ) {
        let mut names = vec![ChipName::EkHash(ek_hash)];
        if let Some(profile) = self.admissions.remove_profile(device) {
            names.extend(profile.certificate.clone());
            effects.push(Effect::Delete(Row::from(AdmissionRow::Profile(profile)).key()));
        }
        for chip in names {
            let theirs = self.admissions.listed.get(&chip).is_some_and(|listed| listed.tenant == *tenant);
            if theirs && let Some(listed) = self.admissions.remove_listed(&chip) {
                effects.push(Effect::Delete(Row::from(AdmissionRow::Listed(listed)).key()));
            }
        }
        let theirs = self.admissions.held.get(device).is_some_and(|held| held.tenant == *tenant);
        if theirs && let Some(held) = self.admissions.remove_held(device) {
            effects.push(Effect::Delete(Row::from(AdmissionRow::Held(held)).key()));
        }
    }

    /// Gives the name of a device that was replaced to the one that came in its place, unless that one has a name.
    pub(in crate::registry) fn inherit_name(
        &mut self,
        from: &DeviceId,
        to: &DeviceId,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(old), Some(new)) = (self.admissions.profile(from), self.admissions.profile(to)) else {
            return;
        };
        if old.tenant != new.tenant || new.name.is_some() || old.name.is_none() {
            return;
        }
        let heir = Profile { name: old.name.clone(), ..new.clone() };
        self.put(Row::from(AdmissionRow::Profile(Profile { name: None, ..old.clone() })), effects);
        self.put(Row::from(AdmissionRow::Profile(heir)), effects);
    }

    /// The devices of a tenant that are held, by id.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_held(&self, tenant: &TenantId) -> Result<Vec<Held>, Refusal> {
        self.known_tenant(tenant)?;
        let queue = self.admissions.queues.get(tenant).into_iter().flatten();
        Ok(queue.filter_map(|device| self.admissions.held.get(device)).cloned().collect())
    }

    /// Lets a held device in, or denies it.
    ///
    /// # Errors
    /// It is not held in that tenant; or what holds it are its measurements, and it is to be approved.
    pub fn decide(&mut self, command: &Decide, effects: &mut Vec<Effect>) -> Result<Held, Refusal> {
        let Decide { tenant, device, approve } = command;
        let held = self.admissions.held.get(device).filter(|held| held.tenant == *tenant).cloned();
        let mut held =
            held.ok_or_else(|| Refusal::NotHeld { tenant: tenant.clone(), device: device.clone() })?;
        held.decision = match (*approve, &held.reason, held.decision) {
            (false, _, _) => Decision::Denied,
            (true, HeldReason::Measurements, Decision::Denied) => Decision::Waiting,
            (true, HeldReason::Measurements, _) => return Err(Refusal::MeasurementsHold(device.clone())),
            (true, reason, _) => {
                held.decided = Some(reason.clone());
                Decision::Approved
            }
        };
        self.put(Row::from(AdmissionRow::Held(held.clone())), effects);
        Ok(held)
    }

    /// What is known of a device.
    ///
    /// # Errors
    /// There is no such device in that tenant, or nothing is known of it but its certificate.
    pub fn show_profile(&self, command: &ShowProfile) -> Result<Profile, Refusal> {
        let ShowProfile { tenant, device } = command;
        let profile = self.admissions.profile(device).filter(|profile| profile.tenant == *tenant);
        profile
            .cloned()
            .ok_or_else(|| Refusal::DeviceUnknown { tenant: tenant.clone(), device: device.clone() })
    }

    /// Why a chip does not enrol as what it says it is, if another has that identity or its own list says otherwise.
    fn conflict(&self, chip: &FindOwner, ownership: &Ownership) -> Option<HeldReason> {
        let tenant = &ownership.tenant;
        let listed = self.admissions.listing(chip).filter(|listed| listed.tenant == *tenant);
        let shown = &chip.shown;
        let name = listed.and_then(|listed| listed.name.clone()).map(Identity::Name);
        let claimed = shown.serial_number.clone().map(Identity::SerialNumber);
        let claimed = claimed.into_iter().chain(shown.mac.map(Identity::Mac)).chain(name);
        for identity in claimed {
            if let Some(holder) = self.holder(tenant, &identity, chip) {
                let by = holder.as_ref().map_or_else(|| "a listed chip".to_owned(), ToString::to_string);
                let claims = format!("it claims {identity}, which is that of {by}");
                return Some(HeldReason::Identity { claims, holder });
            }
        }
        let listed = listed?;
        let differs = |says: Option<String>, list: Option<String>| match (says, list) {
            (Some(says), Some(list)) if says != list => Some((says, list)),
            _ => None,
        };
        let number = differs(shown.serial_number.clone(), listed.serial_number.clone());
        let mac = differs(shown.mac.map(|mac| mac.to_string()), listed.mac.map(|mac| mac.to_string()));
        let (says, list) = number.or(mac)?;
        let claims = format!("it says that it is {says:?}, and its chip is listed as that of {list:?}");
        Some(HeldReason::Identity { claims, holder: None })
    }

    /// Who else in the tenant has an identity: a device, or a chip that was listed with it and has not come yet. A retired
    /// device has none any more.
    fn holder(&self, tenant: &TenantId, identity: &Identity, chip: &FindOwner) -> Option<Option<DeviceId>> {
        let holder = self.admissions.holder(tenant, identity, chip)?;
        let retired = |id: &DeviceId| self.devices.get(id).is_some_and(|row| row.state == State::Retired);
        if holder.as_ref().is_some_and(retired) { None } else { Some(holder) }
    }

    fn awaits_approval(&self, chip: &FindOwner, ownership: &Ownership) -> Option<HeldReason> {
        if ownership.title != Title::Claimed {
            return None;
        }
        let of_tenant =
            self.tenants.get(&ownership.tenant).is_some_and(|tenant| tenant.policy.approve_claims);
        let claim = chip.claim.as_deref().and_then(|text| self.claim(text));
        let of_claim = claim.is_some_and(|claim| claim.tenant == ownership.tenant && claim.approve);
        let waits = self.admissions.held(chip).is_some_and(|held| held.approval);
        (of_tenant || of_claim || waits).then_some(HeldReason::Claim)
    }

    /// Writes that a device is held. Its claim is used up by it, so that no other device waits or enrols with it.
    fn hold(
        &mut self,
        now_s: u64,
        chip: &FindOwner,
        ownership: &Ownership,
        measured: Measured,
        reason: HeldReason,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OwnerRefusal> {
        let tenant = &ownership.tenant;
        let before = self.admissions.held(chip).filter(|held| held.tenant == *tenant).cloned();
        if before.is_none() {
            self.forget_old_held(now_s, tenant, effects);
            if self.admissions.queues.get(tenant).is_some_and(|queue| queue.len() >= HELD_PER_TENANT_MAX) {
                return Err(OwnerRefusal::Unavailable(Refusal::Full(Bound::Held)));
            }
        }
        let approval = before.as_ref().is_some_and(|held| held.approval)
            || self.awaits_approval(chip, ownership).is_some();
        // What a person decided holds for what was seen then.
        let decided = before
            .as_ref()
            .filter(|held| is_as_seen(held, chip))
            .filter(|held| reason == HeldReason::Measurements || held.decided.as_ref() == Some(&reason));
        let held = Held {
            device: chip.device.clone(),
            tenant: tenant.clone(),
            ek_hash: chip.ek_hash,
            class: ownership.class,
            model: chip.model.clone(),
            serial_number: chip.shown.serial_number.clone(),
            mac: chip.shown.mac,
            reason,
            decision: decided.map_or(Decision::Waiting, |held| held.decision),
            decided: decided.and_then(|held| held.decided.clone()),
            approval,
            claimed: ownership.title == Title::Claimed,
            measured,
            first_at_s: before.as_ref().map_or(now_s, |held| held.first_at_s),
            last_at_s: now_s,
        };
        self.put(Row::from(AdmissionRow::Held(held)), effects);
        if ownership.title == Title::Claimed
            && let Some(claim) = chip.claim.as_deref().and_then(|text| self.claim(text))
            && claim.used_by.is_none()
        {
            let used = Claim { used_by: Some(chip.device.clone()), ..claim.clone() };
            self.put(Row::Claim(used), effects);
        }
        Ok(())
    }

    /// Makes room: devices that did not come again for long are forgotten.
    fn forget_old_held(&mut self, now_s: u64, tenant: &TenantId, effects: &mut Vec<Effect>) {
        let queue = self.admissions.queues.get(tenant).into_iter().flatten();
        let old = |held: &&Held| held.last_at_s.saturating_add(HELD_KEPT_S) < now_s;
        let forgotten: Vec<DeviceId> = queue
            .filter_map(|device| self.admissions.held.get(device))
            .filter(old)
            .map(|held| held.device.clone())
            .collect();
        for device in forgotten {
            if let Some(held) = self.admissions.remove_held(&device) {
                effects.push(Effect::Delete(Row::from(AdmissionRow::Held(held)).key()));
            }
        }
    }

    fn take_from_others(&mut self, profile: &Profile, identity: &Identity, effects: &mut Vec<Effect>) {
        let key = (profile.tenant.clone(), identity.clone());
        let Some(other) = self.admissions.known.get(&key).filter(|other| **other != profile.device) else {
            return;
        };
        let Some(mut other) = self.admissions.profiles.get(other).cloned() else { return };
        match identity {
            Identity::Name(_) => other.name = None,
            Identity::SerialNumber(_) => other.serial_number = None,
            Identity::Mac(_) => other.mac = None,
        }
        self.put(Row::from(AdmissionRow::Profile(other)), effects);
    }
}

/// Whether the device says what it said when it was held: an approval of one serial number is none of the next.
fn is_as_seen(held: &Held, chip: &FindOwner) -> bool {
    let FindOwner { model, shown, .. } = chip;
    (&held.serial_number, held.mac, &held.model) == (&shown.serial_number, shown.mac, model)
}

/// Whether a person has approved this. Who approved an identity has looked at the device, and need not look again.
fn is_approved(held: &Held, chip: &FindOwner, reason: &HeldReason) -> bool {
    let covered =
        held.decided.as_ref().is_some_and(|decided| decided == reason || *reason == HeldReason::Claim);
    held.decision == Decision::Approved && covered && is_as_seen(held, chip)
}

impl Handler<ListHeld> for RegistryActor {
    type Result = Result<Vec<Held>, Refusal>;

    fn handle(&mut self, command: ListHeld, _: &mut Context<Self>) -> Self::Result {
        self.core.list_held(&command.0)
    }
}

impl Handler<ShowProfile> for RegistryActor {
    type Result = Result<Profile, Refusal>;

    fn handle(&mut self, command: ShowProfile, _: &mut Context<Self>) -> Self::Result {
        self.core.show_profile(&command)
    }
}

impl Handler<Decide> for RegistryActor {
    type Result = ResponseFuture<Result<Held, Refusal>>;

    fn handle(&mut self, command: Decide, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.decide(&command, effects))
    }
}
