//! The registry's decisions over its rows: one input, the answer, and the writes that must be durable before the answer
//! leaves. No clock, no randomness of its own, no store.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound as Range,
};

use muster_schemas::{DeviceId, Kind, Principal, TenantId};

use super::{
    admissions::{AdmissionRow, Admissions, row::EnrolmentPolicy},
    alarm::{Alarm, Alarms},
    limits::{
        CLAIM_CODE_BYTES, CLAIM_KEPT_S, CLAIM_LIFE_S_MAX, CLAIM_LIFE_S_MIN, CLAIMS_PER_TENANT_MAX,
        CLIENTS_PER_TENANT_MAX, DEVICES_MAX, LISTED_DEVICES_MAX, MODEL_BYTES_MAX, TENANTS_MAX,
    },
    message::{
        Admit, AdmitReason, AdmitRefusal, Admitted, Bound, CreateClaim, CreateTenant, CreatedClaim, Enrol,
        Enrolled, FindOwner, ListDevices, OwnerRefusal, Ownership, Refusal, RegisterClient, Renewed,
        ShowDevice, Title,
    },
    revocation::Revocations,
    row::{AcceptedClasses, Claim, ClaimCode, Client, ClientKind, Device, Row, State, Tenant},
};
use crate::authority::Leaf;

/// What must be durable before an answer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give the tenant its key, unless it has one.
    CreateTenantKey(TenantId),
    /// Insert or replace a row.
    Put(Row),
    /// Remove the row of this key.
    Delete(Vec<u8>),
    /// Write a line about an alarm to the log.
    Tell(Alarm),
}

/// All rows, by what identifies them.
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    /// Which devices a tenant has: follows from `devices`.
    fleets: BTreeMap<TenantId, BTreeSet<DeviceId>>,
    pub(super) claims: BTreeMap<[u8; 32], Claim>,
    /// Who may enrol, and who waits for a person.
    pub(super) admissions: Admissions,
    clients: BTreeMap<(TenantId, ClientKind, DeviceId), Client>,
    pub(super) revocations: Revocations,
    pub(super) alarms: Alarms,
}

impl Registry {
    /// A registry with the rows that the store holds, in any order.
    pub fn load(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut registry = Self::default();
        for row in rows {
            registry.insert(row);
        }
        registry
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// The name is the hub's own or taken, or the hub is full.
    pub fn create_tenant(
        &mut self,
        now_s: u64,
        command: CreateTenant,
        effects: &mut Vec<Effect>,
    ) -> Result<Tenant, Refusal> {
        let CreateTenant { tenant: id, accept_simulated_tpms } = command;
        if id == Principal::operator_tenant() {
            return Err(Refusal::TenantReserved(id));
        }
        if self.tenants.contains_key(&id) {
            return Err(Refusal::TenantExists(id));
        }
        if self.tenants.len() >= TENANTS_MAX {
            return Err(Refusal::Full(Bound::Tenants));
        }
        let tpm_classes = if accept_simulated_tpms { AcceptedClasses::ANY } else { AcceptedClasses::REAL };
        let tenant = Tenant {
            id: id.clone(),
            created_at_s: now_s,
            state: State::Active,
            tpm_classes,
            policy: EnrolmentPolicy::default(),
        };
        effects.push(Effect::CreateTenantKey(id));
        self.put(Row::Tenant(tenant.clone()), effects);
        Ok(tenant)
    }

    /// Creates a claim from `random`, which nobody else may know. Claims that ended long ago make room for it.
    ///
    /// # Errors
    /// The tenant is unknown, suspended or has too many claims, or the life or the model name is out of bounds.
    pub fn create_claim(
        &mut self,
        now_s: u64,
        command: CreateClaim,
        random: [u8; CLAIM_CODE_BYTES],
        effects: &mut Vec<Effect>,
    ) -> Result<CreatedClaim, Refusal> {
        let CreateClaim { tenant, model, expires_in_s, approve } = command;
        self.active_tenant(&tenant)?;
        if !(CLAIM_LIFE_S_MIN..=CLAIM_LIFE_S_MAX).contains(&expires_in_s) {
            return Err(Refusal::ClaimLife(expires_in_s));
        }
        if model.as_ref().is_some_and(|m| m.is_empty() || m.len() > MODEL_BYTES_MAX) {
            return Err(Refusal::Model);
        }
        self.forget_old_claims(now_s, &tenant, effects);
        if self.claims.values().filter(|claim| claim.tenant == tenant).count() >= CLAIMS_PER_TENANT_MAX {
            return Err(Refusal::Full(Bound::Claims));
        }
        let code = ClaimCode::new(random);
        let expires_at_s = now_s.saturating_add(expires_in_s);
        let claim = Claim { sha256: code.sha256(), tenant, model, expires_at_s, used_by: None, approve };
        self.put(Row::Claim(claim.clone()), effects);
        Ok(CreatedClaim { code, claim })
    }

    /// Registers an app or a user with its certificate.
    ///
    /// # Errors
    /// The tenant is unknown, suspended or full, or the client exists and `replace` is not set.
    pub fn register_client(
        &mut self,
        command: RegisterClient,
        effects: &mut Vec<Effect>,
    ) -> Result<Client, Refusal> {
        let RegisterClient { tenant, kind, id, certificate, replace } = command;
        let operator = tenant == Principal::operator_tenant();
        match (operator, kind) {
            (true, ClientKind::User) => {}
            (true, ClientKind::App) => return Err(Refusal::TenantReserved(tenant)),
            (false, _) => self.active_tenant(&tenant).map(|_| ())?,
        }
        let exists = self.clients.contains_key(&(tenant.clone(), kind, id.clone()));
        if exists && !replace {
            return Err(Refusal::ClientExists { kind: kind.kind(), id });
        }
        let theirs = |(owner, _, _): &&(TenantId, ClientKind, DeviceId)| *owner == tenant;
        if !exists && self.clients.keys().filter(theirs).count() >= CLIENTS_PER_TENANT_MAX {
            return Err(Refusal::Full(Bound::Clients));
        }
        let client = Client { tenant, kind, id, certificate, state: State::Active };
        self.put(Row::Client(client.clone()), effects);
        Ok(client)
    }

    /// Writes an enrolment: the claim is used up and the device inserted or updated, together.
    ///
    /// # Errors
    /// As [`Registry::find_owner`], which is asked again; and the hub may be full.
    pub fn enrol(
        &mut self,
        now_s: u64,
        command: Enrol,
        effects: &mut Vec<Effect>,
    ) -> Result<Enrolled, OwnerRefusal> {
        let Enrol {
            chip,
            tenant,
            ak_public,
            ak_name,
            certificate,
            reset_count,
            clock_ms,
            agent_version,
            measured,
        } = command;
        let ownership = self.find_owner(now_s, &chip)?;
        if ownership.tenant != tenant {
            return Err(OwnerRefusal::OwnerChanged);
        }
        if !self.devices.contains_key(&chip.device) && self.devices.len() >= DEVICES_MAX {
            return Err(OwnerRefusal::Unavailable(Refusal::Full(Bound::Devices)));
        }
        let measured = self.examine(now_s, &chip, &ownership, measured, effects)?;
        let verdict = measured.verdict.clone();
        self.settle(&chip, &ownership, measured, effects);
        let before = self.devices.get(&chip.device);
        let enrolled_at_s = before.map_or(now_s, |device| device.enrolled_at_s);
        let revoked = before.map(|device| device.certificate.serial);
        let key_replaced =
            before.is_some_and(|device| device.certificate.spki_sha256 != certificate.spki_sha256);
        // A claim that this chip used before is written again: the commit that used it up may not have been stored.
        if let Some(claim) = chip.claim.as_deref().and_then(|text| self.claim(text))
            && (ownership.title == Title::Claimed || claim.used_by.as_ref() == Some(&chip.device))
        {
            let used = Claim { used_by: Some(chip.device.clone()), ..claim.clone() };
            self.put(Row::Claim(used), effects);
        }
        let device = Device {
            id: chip.device,
            tenant,
            ek_hash: chip.ek_hash,
            ak_public,
            ak_name,
            certificate,
            previous: None,
            state: State::Active,
            tpm_class: ownership.class,
            model: chip.model,
            reset_count,
            clock_ms,
            enrolled_at_s,
            agent_version,
        };
        self.put(Row::Device(device.clone()), effects);
        Ok(Enrolled { device, revoked, key_replaced, verdict })
    }

    /// Writes a renewal. The certificate that was presented stays valid until the new one has connected.
    ///
    /// # Errors
    /// The device is unknown, presented a certificate that is not one of its two, or measured what its tenant does not
    /// accept.
    pub fn renewed(
        &mut self,
        now_s: u64,
        command: Renewed,
        effects: &mut Vec<Effect>,
    ) -> Result<Device, Refusal> {
        let Renewed {
            tenant,
            device,
            presented,
            certificate,
            reset_count,
            clock_ms,
            agent_version,
            measured,
        } = command;
        let row = self.device(&tenant, &device)?;
        let presented = [Some(&row.certificate), row.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|held| held.serial == presented)
            .cloned()
            .ok_or(Refusal::NotItsCertificate)?;
        let mut row = row.clone();
        self.remeasure(now_s, &tenant, &device, measured, effects)?;
        row.previous = Some(presented);
        row.certificate = certificate;
        (row.reset_count, row.clock_ms, row.agent_version) = (reset_count, clock_ms, agent_version);
        self.put(Row::Device(row.clone()), effects);
        Ok(row)
    }

    /// Says whether a peer may act, after its handshake. The first connection with a renewed certificate ends the one
    /// before it.
    ///
    /// # Errors
    /// The peer may not act; the refusal says why.
    pub fn admit(
        &mut self,
        now_s: u64,
        command: Admit,
        effects: &mut Vec<Effect>,
    ) -> Result<Admitted, AdmitRefusal> {
        let Admit(leaf) = command;
        let settled = self.admission(now_s, &leaf).map_err(|reason| AdmitRefusal { reason })?;
        if let Some(device) = settled {
            self.put(Row::Device(device), effects);
        }
        Ok(Admitted { tenant: leaf.principal.tenant.clone(), principal: leaf.principal })
    }

    /// Says to whom a chip belongs, or would belong by its claim or a list. A chip that is known needs neither, and neither
    /// moves it to another tenant.
    ///
    /// # Errors
    /// It belongs to nobody, or may not enrol; the refusal says why.
    pub fn find_owner(&self, now_s: u64, chip: &FindOwner) -> Result<Ownership, OwnerRefusal> {
        let (tenant, title) = match self.devices.get(&chip.device) {
            // The id is 100 bits of the hash: another hash under one id is not that chip, whatever it shows.
            Some(device) if device.ek_hash != chip.ek_hash => return Err(OwnerRefusal::UnknownChip),
            Some(device) if device.state != State::Active => {
                return Err(OwnerRefusal::DeviceNotActive(device.state));
            }
            Some(device) => (&device.tenant, Title::Enrolled),
            None => self.newcomer(now_s, chip)?,
        };
        let tenant = self.tenants.get(tenant).ok_or(OwnerRefusal::ClaimUnknown)?;
        if tenant.state != State::Active {
            return Err(OwnerRefusal::TenantSuspended);
        }
        // Nobody vouches for a chip without a certificate but the tenant that has listed it.
        let listed = self.admissions.listing(chip).filter(|listed| listed.tenant == tenant.id);
        let class = chip.class.or_else(|| listed.and_then(|listed| listed.class));
        let class = class.ok_or(OwnerRefusal::NotEndorsed)?;
        if !tenant.tpm_classes.accepts(class) {
            return Err(OwnerRefusal::ClassNotAllowed(class));
        }
        if self.is_denied(chip, &tenant.id) {
            return Err(OwnerRefusal::Denied);
        }
        Ok(Ownership {
            tenant: tenant.id.clone(),
            enrolled_before: title == Title::Enrolled,
            title,
            class,
            registers: tenant.policy.registers.clone(),
        })
    }

    /// All tenants, by id.
    pub fn list_tenants(&self) -> Vec<Tenant> {
        self.tenants.values().cloned().collect()
    }

    /// Devices of a tenant, by id.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_devices(&self, command: &ListDevices) -> Result<Vec<Device>, Refusal> {
        let ListDevices { tenant, after, limit } = command;
        if !self.tenants.contains_key(tenant) {
            return Err(Refusal::TenantUnknown(tenant.clone()));
        }
        let from = after.as_ref().map_or(Range::Unbounded, Range::Excluded);
        let ids = self.fleets.get(tenant).into_iter().flat_map(|fleet| fleet.range((from, Range::Unbounded)));
        let devices = ids.filter_map(|id| self.devices.get(id));
        Ok(devices.take((*limit).min(LISTED_DEVICES_MAX)).cloned().collect())
    }

    /// One device of a tenant.
    ///
    /// # Errors
    /// There is no such device in that tenant.
    pub fn show_device(&self, command: &ShowDevice) -> Result<Device, Refusal> {
        self.device(&command.tenant, &command.device).cloned()
    }

    /// How many tenants and devices there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.tenants.len(), self.devices.len())
    }

    /// The row to write when the peer may act and thereby ends its previous certificate.
    fn admission(&self, now_s: u64, leaf: &Leaf) -> Result<Option<Device>, AdmitReason> {
        let principal = &leaf.principal;
        if leaf.not_after_s < now_s {
            return Err(AdmitReason::Expired);
        }
        if principal.tenant != Principal::operator_tenant() {
            let tenant = self.tenants.get(&principal.tenant).ok_or(AdmitReason::TenantUnknown)?;
            check_active(tenant.state, AdmitReason::TenantSuspended)?;
        }
        if principal.kind == Kind::Device {
            let row = self.devices.get(&principal.id).filter(|row| row.tenant == principal.tenant);
            let row = row.ok_or(AdmitReason::Unknown)?;
            check_active(row.state, AdmitReason::Suspended)?;
            let current = row.certificate.is(leaf);
            if !current && !row.previous.as_ref().is_some_and(|previous| previous.is(leaf)) {
                return Err(AdmitReason::NotCurrent);
            }
            let settles = current && row.previous.is_some();
            return Ok(settles.then(|| Device { previous: None, ..row.clone() }));
        }
        let kind = ClientKind::of(principal.kind).ok_or(AdmitReason::Kind)?;
        let key = (principal.tenant.clone(), kind, principal.id.clone());
        let row = self.clients.get(&key).ok_or(AdmitReason::Unknown)?;
        check_active(row.state, AdmitReason::Suspended)?;
        if row.certificate.is(leaf) { Ok(None) } else { Err(AdmitReason::NotCurrent) }
    }

    pub(super) fn usable_claim(&self, now_s: u64, chip: &FindOwner) -> Result<&Claim, OwnerRefusal> {
        let text = chip.claim.as_deref().ok_or(OwnerRefusal::UnknownChip)?;
        let claim = self.claim(text).ok_or(OwnerRefusal::ClaimUnknown)?;
        // The very chip that used it has a row, and needs no claim: whoever comes here is another, or was removed.
        if claim.used_by.as_ref().is_some_and(|device| *device != chip.device) {
            return Err(OwnerRefusal::ClaimUsed);
        }
        if claim.expires_at_s < now_s {
            return Err(OwnerRefusal::ClaimExpired);
        }
        if claim.model.as_ref().is_some_and(|model| *model != chip.model) {
            return Err(OwnerRefusal::ClaimModelMismatch);
        }
        Ok(claim)
    }

    pub(super) fn claim(&self, text: &str) -> Option<&Claim> {
        let code: ClaimCode = text.parse().ok()?;
        self.claims.get(&code.sha256())
    }

    pub(super) fn active_tenant(&self, id: &TenantId) -> Result<&Tenant, Refusal> {
        let tenant = self.tenants.get(id).ok_or_else(|| Refusal::TenantUnknown(id.clone()))?;
        match tenant.state {
            State::Active => Ok(tenant),
            State::Suspended | State::Retired => Err(Refusal::TenantSuspended(id.clone())),
        }
    }

    fn device(&self, tenant: &TenantId, device: &DeviceId) -> Result<&Device, Refusal> {
        let row = self.devices.get(device).filter(|row| row.tenant == *tenant);
        row.ok_or_else(|| Refusal::DeviceUnknown { tenant: tenant.clone(), device: device.clone() })
    }

    fn forget_old_claims(&mut self, now_s: u64, tenant: &TenantId, effects: &mut Vec<Effect>) {
        let old = |claim: &Claim| {
            claim.tenant == *tenant && claim.expires_at_s.saturating_add(CLAIM_KEPT_S) < now_s
        };
        let forgotten: Vec<Claim> = self.claims.values().filter(|claim| old(claim)).cloned().collect();
        for claim in forgotten {
            self.claims.remove(&claim.sha256);
            effects.push(Effect::Delete(Row::Claim(claim).key()));
        }
    }

    pub(super) fn put(&mut self, row: Row, effects: &mut Vec<Effect>) {
        self.insert(row.clone());
        effects.push(Effect::Put(row));
    }

    fn insert(&mut self, row: Row) {
        match row {
            Row::Tenant(tenant) => {
                self.tenants.insert(tenant.id.clone(), tenant);
            }
            Row::Device(device) => {
                let (tenant, id) = (device.tenant.clone(), device.id.clone());
                if let Some(before) = self.devices.insert(id.clone(), device)
                    && let Some(fleet) = self.fleets.get_mut(&before.tenant)
                {
                    fleet.remove(&id);
                }
                self.fleets.entry(tenant).or_default().insert(id);
            }
            Row::Claim(claim) => {
                self.claims.insert(claim.sha256, claim);
            }
            Row::Client(client) => {
                let key = (client.tenant.clone(), client.kind, client.id.clone());
                self.clients.insert(key, client);
            }
            Row::Listed(row) => self.admissions.insert(AdmissionRow::Listed(row)),
            Row::Held(row) => self.admissions.insert(AdmissionRow::Held(row)),
            Row::Profile(row) => self.admissions.insert(AdmissionRow::Profile(row)),
            Row::Accepted(row) => self.admissions.insert(AdmissionRow::Accepted(row)),
            Row::Revocation(revocation) => self.revocations.insert(revocation),
            Row::Alarm(alarm) => self.alarms.insert(alarm),
            Row::RevocationVersion(version) => self.revocations.continue_from(version),
        }
    }
}

fn check_active(state: State, suspended: AdmitReason) -> Result<(), AdmitReason> {
    match state {
        State::Active => Ok(()),
        State::Suspended => Err(suspended),
        State::Retired => Err(AdmitReason::Retired),
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
