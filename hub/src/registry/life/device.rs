//! Commands on devices, and what follows from them.

use muster_schemas::{DeviceId, Kind, Principal, TenantId};
use muster_tpm::verifier::device_id;

use super::{Change, ChangeDevice, Changed, DeviceChange, Ended, Released, Successor, revocation};
use crate::{
    authority::Role,
    registry::{
        AdmitReason,
        core::{Effect, Registry},
        limits::{RELEASED_PER_TENANT_MAX, SUCCESSORS_PER_TENANT_MAX},
        message::{Bound, Refusal},
        revocation::RevocationReason,
        row::{Claim, Device, Row, State},
    },
};

impl Registry {
    /// Carries out a command on a device.
    ///
    /// # Errors
    /// There is no such device in that tenant, or it is in a state from which the command leads nowhere.
    pub fn change_device(
        &mut self,
        now_s: u64,
        command: ChangeDevice,
        effects: &mut Vec<Effect>,
    ) -> Result<Changed, Refusal> {
        let ChangeDevice { tenant, device: id, change, by: (by, operator), why } = command;
        let device = self.device(&tenant, &id)?.clone();
        let noted = Change { at_s: now_s, by, why };
        let refused = |why: &'static str| {
            let (state, verb) = (device.state, change.as_str());
            Err(Refusal::DeviceState { verb, device: id.clone(), state, why })
        };
        match (&change, device.state) {
            (DeviceChange::Suspend, State::Suspended)
            | (DeviceChange::Resume, State::Active)
            | (DeviceChange::Retire, State::Retired) => Ok(Changed { device, changed: false }),
            (DeviceChange::Suspend, State::Active) => {
                self.end(&device, "this device was suspended; ask the operator of the hub", effects);
                Ok(self.set_state(device, State::Suspended, noted, effects))
            }
            (DeviceChange::Suspend, _) => refused("it is barred already, which is more"),
            (DeviceChange::Resume, State::Suspended) => {
                let mut device = device;
                device.life.may_return_cleared = true;
                Ok(self.set_state(device, State::Active, noted, effects))
            }
            (DeviceChange::Resume, State::Revoked) if !operator => {
                refused("only an operator of the hub takes a revocation back")
            }
            (DeviceChange::Resume, State::Revoked) => {
                let mut device = device;
                device.life.compromised_since_s = None;
                Ok(self.set_state(device, State::Active, noted, effects))
            }
            (DeviceChange::Resume, State::Retired) => refused("a retired device never comes back"),
            (DeviceChange::Revoke { reason, compromised_since_s }, state) => {
                let since = *compromised_since_s;
                if since.is_some_and(|since| since > now_s) {
                    return Err(Refusal::CompromiseAhead);
                }
                let mut device = device;
                let news = self.revoke_certificates(now_s, &device, *reason, since, effects);
                let known = device.life.compromised_since_s;
                let earliest = [known, since].into_iter().flatten().min();
                if state == State::Retired || (state == State::Revoked && !news && known == earliest) {
                    return Ok(Changed { device, changed: news });
                }
                device.life.compromised_since_s = earliest;
                // What is learnt later does not take the place of who revoked it and why.
                let first = device.life.changed.clone().filter(|_| state == State::Revoked);
                let noted = first.unwrap_or(noted);
                self.end(
                    &device,
                    "the certificate of this device was revoked; ask the operator of the hub",
                    effects,
                );
                Ok(self.set_state(device, State::Revoked, noted, effects))
            }
            (DeviceChange::Retire, _) => {
                self.revoke_certificates(
                    now_s,
                    &device,
                    RevocationReason::CessationOfOperation,
                    None,
                    effects,
                );
                self.end(&device, "this device was retired; it does not come back", effects);
                Ok(self.set_state(device, State::Retired, noted, effects))
            }
            (DeviceChange::Release, State::Revoked | State::Retired) => {
                refused("its chip is barred, for any tenant; resume it first if that was a mistake")
            }
            (DeviceChange::Release, _) => {
                self.release(now_s, &device, noted, effects);
                Ok(Changed { device, changed: true })
            }
            (DeviceChange::Replace { with }, _) => self.replace(now_s, device, *with, noted, effects),
        }
    }

    /// Revokes the certificates of a device that have not ended. Says whether that was news.
    pub(in crate::registry) fn revoke_certificates(
        &mut self,
        now_s: u64,
        device: &Device,
        reason: RevocationReason,
        since: Option<u64>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut news = false;
        for certificate in [Some(&device.certificate), device.previous.as_ref()].into_iter().flatten() {
            let principal = self.principal(&device.tenant, Kind::Device, &device.id);
            let row = revocation(Role::Device, certificate, principal, now_s, reason, since);
            news |= self.record_revocation(now_s, row, effects);
        }
        news
    }

    /// The tenant to which an unknown chip comes in the place of another device.
    pub(in crate::registry) fn successor(&self, ek_hash: &[u8; 32]) -> Option<&Successor> {
        self.successors.get(ek_hash)
    }

    /// The chip that was waited for has come.
    pub(in crate::registry) fn succeeded(
        &mut self,
        ek_hash: &[u8; 32],
        effects: &mut Vec<Effect>,
    ) -> Option<DeviceId> {
        let successor = self.successors.remove(ek_hash)?;
        let replaces = successor.replaces.clone();
        effects.push(Effect::Delete(Row::Successor(successor).key()));
        Some(replaces)
    }

    pub(super) fn set_state(
        &mut self,
        mut device: Device,
        state: State,
        noted: Change,
        effects: &mut Vec<Effect>,
    ) -> Changed {
        device.state = state;
        device.life.changed = Some(noted);
        self.put(Row::Device(device.clone()), effects);
        Changed { device, changed: true }
    }

    fn release(&mut self, now_s: u64, device: &Device, released: Change, effects: &mut Vec<Effect>) {
        self.revoke_certificates(now_s, device, RevocationReason::AffiliationChanged, None, effects);
        self.end(device, "this device was released by its tenant; give it a claim of its next", effects);
        self.spend_claims(now_s, &device.id, effects);
        let Device { id, tenant, ek_hash, model, enrolled_at_s, .. } = device.clone();
        let key = Row::Device(device.clone()).key();
        self.remove_device(&id);
        self.forget_chip(&tenant, &id, ek_hash, effects);
        self.connections.remove(&id);
        effects.push(Effect::Delete(key));
        let theirs = |(_, row): &(&(TenantId, u64, DeviceId), &Released)| row.tenant == tenant;
        let from = (tenant.clone(), 0, id.clone());
        if self.released.range(from..).take_while(theirs).count() >= RELEASED_PER_TENANT_MAX {
            let oldest = self.released.keys().find(|(of, _, _)| *of == tenant).cloned();
            if let Some(row) = oldest.and_then(|oldest| self.released.remove(&oldest)) {
                effects.push(Effect::Delete(Row::Released(row).key()));
            }
        }
        let row = Released { tenant, device: id, ek_hash, model, enrolled_at_s, released };
        self.put(Row::Released(row), effects);
    }

    fn replace(
        &mut self,
        now_s: u64,
        mut device: Device,
        with: [u8; 32],
        noted: Change,
        effects: &mut Vec<Effect>,
    ) -> Result<Changed, Refusal> {
        let id = device_id(&with);
        if device.life.replaced_by.as_ref() == Some(&id) && device.state == State::Retired {
            return Ok(Changed { device, changed: false });
        }
        let waits_for_another = self.successors.get(&with).is_some_and(|row| row.replaces != device.id);
        if with == device.ek_hash || self.known(&id) || waits_for_another {
            return Err(Refusal::SuccessorTaken(id));
        }
        let already = device.life.replaced_by.as_ref().filter(|other| self.known(other)).cloned();
        if let Some(other) = already {
            return Err(Refusal::Replaced { device: device.id, other });
        }
        let tenant = device.tenant.clone();
        if self.successors.values().filter(|row| row.tenant == tenant).count() >= SUCCESSORS_PER_TENANT_MAX {
            return Err(Refusal::Full(Bound::Successors));
        }
        // Another that was named before and has not come is not waited for any longer.
        let before: Vec<_> =
            self.successors.values().filter(|row| row.replaces == device.id).map(|row| row.ek_hash).collect();
        for ek_hash in before {
            self.succeeded(&ek_hash, effects);
        }
        let replaces = device.id.clone();
        let row = Successor { ek_hash: with, tenant, replaces, listed: noted.clone() };
        self.put(Row::Successor(row), effects);
        self.revoke_certificates(now_s, &device, RevocationReason::CessationOfOperation, None, effects);
        self.end(&device, "another device came in the place of this one; it does not come back", effects);
        device.life.replaced_by = Some(id);
        Ok(self.set_state(device, State::Retired, noted, effects))
    }

    pub(in crate::registry) fn end(&self, device: &Device, reason: &str, effects: &mut Vec<Effect>) {
        let whom = Some((Kind::Device, device.id.clone()));
        effects.push(Effect::End(Ended { tenant: device.tenant.clone(), whom, reason: reason.to_owned() }));
    }

    pub(super) fn principal(&self, tenant: &TenantId, kind: Kind, id: &DeviceId) -> Principal {
        let trust_domain = self.trust_domain.clone();
        Principal { trust_domain, tenant: tenant.clone(), kind, id: id.clone() }
    }

    pub(in crate::registry) fn remove_device(&mut self, id: &DeviceId) {
        if let Some(device) = self.devices.remove(id)
            && let Some(fleet) = self.fleets.get_mut(&device.tenant)
        {
            fleet.remove(id);
        }
    }

    /// Ends the claims that a device used, so that none of them brings it back.
    pub(in crate::registry) fn spend_claims(
        &mut self,
        now_s: u64,
        device: &DeviceId,
        effects: &mut Vec<Effect>,
    ) {
        let used = self.claims.values().filter(|claim| claim.used_by.as_ref() == Some(device));
        let ended: Vec<_> = used
            .map(|claim| Claim {
                expires_at_s: claim.expires_at_s.min(now_s.saturating_sub(1)),
                ..claim.clone()
            })
            .collect();
        for claim in ended {
            self.put(Row::Claim(claim), effects);
        }
    }

    /// A revoked certificate of somebody who is more than that is refused for it: the reason says what to do next.
    pub(in crate::registry) fn why_revoked(&self, principal: &Principal) -> AdmitReason {
        let state = match principal.kind {
            Kind::Device => self.devices.get(&principal.id).map(|row| row.state),
            _ => None,
        };
        match state {
            Some(State::Retired) => AdmitReason::Retired,
            Some(State::Suspended) => AdmitReason::Suspended,
            // It was replaced by its own device, which enrolled anew.
            Some(State::Active) => AdmitReason::NotCurrent,
            Some(State::Revoked) | None => AdmitReason::Revoked,
        }
    }
}
