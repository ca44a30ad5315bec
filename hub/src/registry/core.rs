//! The registry's decisions over its rows: one input, the answer, and the writes that must be durable before the answer
//! leaves. No clock, no randomness of its own, no store.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound as Range,
};

use muster_schemas::{DeviceId, InvalidPrincipal, Principal, TenantId, TrustDomain};

use super::{
    admissions::{AdmissionRow, Admissions, row::EnrolmentPolicy},
    alarm::{Alarm, Alarms},
    attest::AttestSessions,
    boots::Boot,
    clock::Latest,
    firmware_approval::FirmwareApproval,
    firmware_authority::FirmwareAuthority,
    issued::IssuedRows,
    keys::SecurityKey,
    legacy::LegacyDevice,
    life::{Ended, Life, Precautions, Released, Successor},
    limits::{
        CLAIM_CODE_BYTES, CLAIM_KEPT_S, CLAIM_LIFE_S_MAX, CLAIM_LIFE_S_MIN, CLAIMS_PER_TENANT_MAX,
        CLIENTS_PER_TENANT_MAX, DEVICES_MAX, LISTED_DEVICES_MAX, MODEL_BYTES_MAX, TENANTS_MAX,
    },
    message::{
        Bound, CreateClaim, CreateTenant, CreatedClaim, Enrol, Enrolled, FindOwner, ListDevices,
        OwnerRefusal, Ownership, Refusal, RegisterClient, Renewed, ShowDevice, Title,
    },
    revocation::{RevocationReason, Revocations},
    row::{AcceptedClasses, Claim, ClaimCode, Client, ClientKind, Device, Row, State, Tenant},
    rules::{RuleRow, RuleRows},
    sensitive::SensitiveFields,
    ways_in::WaysIn,
};

/// What must be durable before an answer leaves.
#[expect(clippy::large_enum_variant, reason = "a command has a few of them, while it is carried out")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give the tenant its key, unless it has one.
    CreateTenantKey(TenantId),
    /// Lend the first tenant's data keys to the second, before anything else is stored.
    Lend(TenantId, TenantId),
    /// Take back what the first tenant lends to the second, before anything else is stored.
    Unlend(TenantId, TenantId),
    /// Insert or replace a row.
    Put(Row),
    /// Remove the row of this key.
    Delete(Vec<u8>),
    /// Write a line about an alarm to the log.
    Tell(Alarm),
    /// Close sessions, once everything else is durable.
    End(Ended),
}

/// All rows, by what identifies them.
#[derive(Debug)]
pub struct Registry {
    /// The installation whose certificates these are.
    pub(super) trust_domain: TrustDomain,
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    /// Which devices a tenant has: follows from `devices`.
    pub(super) fleets: BTreeMap<TenantId, BTreeSet<DeviceId>>,
    pub(super) claims: BTreeMap<[u8; 32], Claim>,
    /// Who may enrol, and who waits for a person.
    pub(super) admissions: Admissions,
    pub(super) clients: BTreeMap<(TenantId, ClientKind, DeviceId), Client>,
    /// By tenant and fingerprint.
    pub(super) firmware_authorities: BTreeMap<TenantId, BTreeMap<String, FirmwareAuthority>>,
    /// By the keys of their rows.
    pub(super) firmware_approvals: BTreeMap<Vec<u8>, FirmwareApproval>,
    pub(super) legacy: BTreeMap<(TenantId, DeviceId), LegacyDevice>,
    pub(super) keys: BTreeMap<[u8; 32], SecurityKey>,
    /// What access rules are made of.
    pub(super) rules: RuleRows,
    pub(super) sensitive: BTreeMap<TenantId, SensitiveFields>,
    pub(super) revocations: Revocations,
    pub(super) issued: IssuedRows,
    pub(super) alarms: Alarms,
    /// Devices that were released, by tenant and time.
    pub(super) released: BTreeMap<(TenantId, u64, DeviceId), Released>,
    /// Chips that are waited for.
    pub(super) successors: BTreeMap<[u8; 32], Successor>,
    pub(super) latest: Latest,
    /// How often each device has connected since its last quote. In memory only: a device without an entry has not been
    /// quoted since the hub started, and nothing is concluded of it.
    pub(super) connections: BTreeMap<DeviceId, u32>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            trust_domain: "unset"
                .parse()
                .unwrap_or_else(|_: InvalidPrincipal| unreachable!("the constant is a DNS label")),
            tenants: BTreeMap::new(),
            devices: BTreeMap::new(),
            fleets: BTreeMap::new(),
            claims: BTreeMap::new(),
            admissions: Admissions::default(),
            clients: BTreeMap::new(),
            firmware_authorities: BTreeMap::new(),
            firmware_approvals: BTreeMap::new(),
            legacy: BTreeMap::new(),
            keys: BTreeMap::new(),
            rules: RuleRows::default(),
            sensitive: BTreeMap::new(),
            revocations: Revocations::default(),
            issued: IssuedRows::default(),
            alarms: Alarms::default(),
            released: BTreeMap::new(),
            successors: BTreeMap::new(),
            latest: Latest::default(),
            connections: BTreeMap::new(),
        }
    }
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

    /// The registry as that of an installation.
    #[must_use]
    pub fn of(mut self, trust_domain: TrustDomain) -> Self {
        self.trust_domain = trust_domain;
        self
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
            attest_sessions: AttestSessions::Off,
            ways_in: WaysIn::default(),
            precautions: Precautions::default(),
            policy: EnrolmentPolicy::default(),
            telemetry_schema: String::new(),
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
        self.check_client(&tenant, kind, &id, replace)?;
        let state = self.state_of_replaced(&tenant, kind, &id);
        let client = Client { tenant, kind, id, certificate, pinned: None, state };
        self.put(Row::Client(client.clone()), effects);
        Ok(client)
    }

    /// What state a client has with another certificate: that does not resume whoever is suspended.
    pub(super) fn state_of_replaced(&self, tenant: &TenantId, kind: ClientKind, id: &DeviceId) -> State {
        match self.client(tenant, kind, id).map(|client| client.state) {
            Some(State::Suspended) => State::Suspended,
            _ => State::Active,
        }
    }

    /// Whether a client may be registered: there is room for it, and it takes nobody's place unless it is to.
    pub(super) fn check_client(
        &self,
        tenant: &TenantId,
        kind: ClientKind,
        id: &DeviceId,
        replace: bool,
    ) -> Result<(), Refusal> {
        let operator = *tenant == Principal::operator_tenant();
        match (operator, kind) {
            (true, ClientKind::User) => {}
            (true, ClientKind::App | ClientKind::Service) => {
                return Err(Refusal::TenantReserved(tenant.clone()));
            }
            (false, _) => self.active_tenant(tenant).map(|_| ())?,
        }
        let exists = self.clients.contains_key(&(tenant.clone(), kind, id.clone()));
        if exists && !replace {
            return Err(Refusal::ClientExists { kind: kind.kind(), id: id.clone() });
        }
        let theirs = |(owner, _, _): &&(TenantId, ClientKind, DeviceId)| owner == tenant;
        if !exists && self.clients.keys().filter(theirs).count() >= CLIENTS_PER_TENANT_MAX {
            return Err(Refusal::Full(Bound::Clients));
        }
        Ok(())
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
            quote,
            measured,
        } = command;
        let ownership = self.find_owner(now_s, &chip)?;
        if ownership.tenant != tenant {
            return Err(OwnerRefusal::OwnerChanged);
        }
        if certificate.not_after_s <= now_s {
            return Err(OwnerRefusal::Unavailable(Refusal::ClockBehind));
        }
        if !self.devices.contains_key(&chip.device) && self.devices.len() >= DEVICES_MAX {
            return Err(OwnerRefusal::Unavailable(Refusal::Full(Bound::Devices)));
        }
        let measured = self.examine(now_s, &chip, &ownership, measured, effects)?;
        let verdict = measured.verdict.clone();
        let before = self.devices.get(&chip.device).cloned();
        let enrolled_at_s = before.as_ref().map_or(now_s, |device| device.enrolled_at_s);
        let revoked = before.as_ref().map(|device| device.certificate.serial);
        let key_replaced =
            before.as_ref().is_some_and(|device| device.certificate.spki_sha256 != certificate.spki_sha256);
        let boot = Boot { reset_count, restart_count: quote.restart_count, clock_ms };
        let mut life = Life::default();
        if let Some(before) = before {
            // It announces a boot, as a connection with its certificate does.
            self.count_connection(&before.id);
            if self.judge_quote(now_s, &before, boot, key_replaced, effects) {
                return Err(OwnerRefusal::DeviceNotActive(State::Suspended));
            }
            self.revoke_certificates(now_s, &before, RevocationReason::Superseded, None, effects);
            self.end(
                &before,
                "another certificate took the place of this session's; connect with it",
                effects,
            );
            life = Life { may_return_cleared: false, ..before.life };
        }
        if let Some(replaced) = self.succeeded(&chip.ek_hash, effects) {
            life.replaces = Some(replaced);
        }
        let life = life.quoted(now_s, quote);
        self.settle(&chip, &ownership, measured, effects);
        if let Some(replaced) = &life.replaces {
            self.inherit_name(replaced, &chip.device, effects);
        }
        self.connections.insert(chip.device.clone(), 0);
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
            life,
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
            quote,
        } = command;
        let row = self.device(&tenant, &device)?;
        // Much may have happened since the challenge.
        if row.state != State::Active {
            return Err(Refusal::NotItsCertificate);
        }
        if certificate.not_after_s <= now_s {
            return Err(Refusal::ClockBehind);
        }
        let presented = [Some(&row.certificate), row.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|held| held.serial == presented)
            .cloned()
            .ok_or(Refusal::NotItsCertificate)?;
        let mut row = row.clone();
        let boot = Boot { reset_count, restart_count: quote.restart_count, clock_ms };
        if self.judge_quote(now_s, &row, boot, false, effects) {
            return Err(Refusal::NotItsCertificate);
        }
        self.remeasure(now_s, &tenant, &device, measured, effects)?;
        self.connections.insert(device, 0);
        row.life = row.life.quoted(now_s, quote);
        row.previous = Some(presented);
        row.certificate = certificate;
        (row.reset_count, row.clock_ms, row.agent_version) = (reset_count, clock_ms, agent_version);
        self.put(Row::Device(row.clone()), effects);
        Ok(row)
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
            None => match self.successor(&chip.ek_hash) {
                Some(successor) => (&successor.tenant, Title::Listed),
                None => self.newcomer(now_s, chip)?,
            },
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
            State::Suspended | State::Revoked | State::Retired => Err(Refusal::TenantSuspended(id.clone())),
        }
    }

    pub(super) fn tenant(&self, id: &TenantId) -> Option<&Tenant> {
        self.tenants.get(id)
    }

    pub(super) fn client(&self, tenant: &TenantId, kind: ClientKind, id: &DeviceId) -> Option<&Client> {
        self.clients.get(&(tenant.clone(), kind, id.clone()))
    }

    /// Whether there is a device of this id, of any tenant.
    pub(super) fn known(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    pub(super) fn device(&self, tenant: &TenantId, device: &DeviceId) -> Result<&Device, Refusal> {
        self.device_of(Some(tenant), device)
            .ok_or_else(|| Refusal::DeviceUnknown { tenant: tenant.clone(), device: device.clone() })
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
            Row::Issued(row) => self.issued.insert(*row),
            Row::Revocation(revocation) => self.revocations.insert(revocation),
            Row::Released(row) => {
                let key = (row.tenant.clone(), row.released.at_s, row.device.clone());
                self.released.insert(key, row);
            }
            Row::Successor(row) => {
                self.successors.insert(row.ek_hash, row);
            }
            Row::LatestTime(time) => self.latest.restore(time),
            Row::Alarm(alarm) => self.alarms.insert(alarm),
            Row::Described(row) => self.rules.insert(RuleRow::Described(row)),
            Row::Policies(row) => self.rules.insert(RuleRow::Policies(row)),
            Row::DataSet(row) => self.rules.insert(RuleRow::DataSet(row)),
            Row::Grant(row) => self.rules.insert(RuleRow::Grant(row)),
            Row::RevocationVersion(version) => self.revocations.continue_from(version),
            Row::FirmwareApproval(approval) => {
                self.firmware_approvals.insert(approval.row_key(), approval);
            }
            Row::FirmwareAuthority(authority) => self.insert_firmware_authority(authority),
            Row::Sensitive(fields) => {
                self.sensitive.insert(fields.tenant.clone(), fields);
            }
            Row::Key(key) => {
                self.keys.insert(key.hash(), key);
            }
            Row::Legacy(device) => {
                self.legacy.insert((device.tenant.clone(), device.id.clone()), device);
            }
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
