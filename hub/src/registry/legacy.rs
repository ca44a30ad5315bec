//! Devices that can do nothing but say a name and a password. Of the password there is an Argon2id hash and nothing else.
//! They are rows of their own: nothing that is asked of devices with a key can be answered for them.

use actix::{Context, Handler, Message, MessageResult, ResponseFuture};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TrustDomain};
use muster_tpm::verifier::is_chip_id;
use serde::{Deserialize, Serialize};

use super::{
    AttestSessions,
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::LEGACY_DEVICES_PER_TENANT_MAX,
    message::{Bound, Refusal},
    row::{Row, State},
};
use crate::people::PasswordHash;

/// A device that connects with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyDevice {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id within the tenant.
    pub id: DeviceId,
    /// What its password is checked against.
    pub hash: PasswordHash,
    /// When it was created, in seconds since 1970.
    pub created_at_s: u64,
    /// Whether it may connect.
    pub state: State,
}

impl LegacyDevice {
    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("l/{}/{}", self.tenant, self.id).into_bytes()
    }

    /// Who it is on the bus.
    pub fn principal(&self, trust_domain: &TrustDomain) -> Principal {
        let (tenant, id) = (self.tenant.clone(), self.id.clone());
        Principal { trust_domain: trust_domain.clone(), tenant, kind: Kind::Device, id }
    }
}

/// Gives a device a password, in place of the one that it has.
#[derive(Debug, Clone)]
pub struct SetPassword {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub id: DeviceId,
    /// What the password will be checked against.
    pub hash: PasswordHash,
}

impl Message for SetPassword {
    type Result = Result<LegacyDevice, Refusal>;
}

/// Forgets a device with a password.
#[derive(Debug, Clone)]
pub struct RemovePassword {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub id: DeviceId,
}

impl Message for RemovePassword {
    type Result = Result<LegacyDevice, Refusal>;
}

/// Asks for the devices of a tenant that have a password, by id.
#[derive(Debug, Clone)]
pub struct ListPasswords(pub TenantId);

impl Message for ListPasswords {
    type Result = Result<Vec<LegacyDevice>, Refusal>;
}

/// Asks what a password is to be checked against.
#[derive(Debug, Clone)]
pub struct FindPassword {
    /// The tenant that the peer says.
    pub tenant: TenantId,
    /// The device that it says it is.
    pub id: DeviceId,
}

impl Message for FindPassword {
    type Result = FoundPassword;
}

/// What there is to check a password against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundPassword {
    /// No tenant of this hub takes passwords.
    Nowhere,
    /// Nothing: this tenant takes none, or has no such device, or it may not connect.
    Nothing,
    /// This.
    Hash(PasswordHash),
}

impl Registry {
    /// Gives a device a password.
    ///
    /// # Errors
    /// The tenant is unknown, suspended, takes no passwords or has too many, or the id is such as chips have.
    pub fn set_password(
        &mut self,
        now_s: u64,
        command: SetPassword,
        effects: &mut Vec<Effect>,
    ) -> Result<LegacyDevice, Refusal> {
        let SetPassword { tenant, id, hash } = command;
        if !self.ways_in(&tenant)?.legacy_passwords {
            return Err(Refusal::PasswordsOff(tenant));
        }
        // It would be let in as the device whose chip has that id, now or once it comes.
        if is_chip_id(&id) {
            return Err(Refusal::ChipId(id));
        }
        let before = self.legacy.get(&(tenant.clone(), id.clone()));
        let theirs = self.legacy.keys().filter(|(owner, _)| *owner == tenant).count();
        if before.is_none() && theirs >= LEGACY_DEVICES_PER_TENANT_MAX {
            return Err(Refusal::Full(Bound::LegacyDevices));
        }
        let created_at_s = before.map_or(now_s, |device| device.created_at_s);
        let device = LegacyDevice { tenant, id, hash, created_at_s, state: State::Active };
        self.put(Row::Legacy(device.clone()), effects);
        Ok(device)
    }

    /// Forgets a device with a password.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn remove_password(
        &mut self,
        command: RemovePassword,
        effects: &mut Vec<Effect>,
    ) -> Result<LegacyDevice, Refusal> {
        let RemovePassword { tenant, id } = command;
        let device = self.legacy.remove(&(tenant.clone(), id.clone()));
        let device = device.ok_or(Refusal::DeviceUnknown { tenant, device: id })?;
        effects.push(Effect::Delete(device.key()));
        Ok(device)
    }

    /// The devices of a tenant that have a password, by id.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_passwords(&self, tenant: &TenantId) -> Result<Vec<LegacyDevice>, Refusal> {
        if !self.tenants.contains_key(tenant) {
            return Err(Refusal::TenantUnknown(tenant.clone()));
        }
        Ok(self.legacy.values().filter(|device| device.tenant == *tenant).cloned().collect())
    }

    /// What a password is to be checked against.
    pub fn find_password(&self, asked: &FindPassword) -> FoundPassword {
        if !self.tenants.values().any(|tenant| tenant.ways_in.legacy_passwords) {
            return FoundPassword::Nowhere;
        }
        // A password attests nothing, so a tenant whose sessions have to attest takes none.
        let takes = self.tenants.get(&asked.tenant).is_some_and(|tenant| {
            tenant.ways_in.legacy_passwords
                && tenant.state == State::Active
                && tenant.attest_sessions == AttestSessions::Off
        });
        let device = self.legacy.get(&(asked.tenant.clone(), asked.id.clone()));
        match device {
            Some(device) if takes && device.state == State::Active => {
                FoundPassword::Hash(device.hash.clone())
            }
            _ => FoundPassword::Nothing,
        }
    }
}

impl Handler<SetPassword> for RegistryActor {
    type Result = ResponseFuture<Result<LegacyDevice, Refusal>>;

    fn handle(&mut self, command: SetPassword, ctx: &mut Context<Self>) -> Self::Result {
        let set = |core: &mut Registry, now_s, effects: &mut Vec<Effect>| {
            core.set_password(now_s, command, effects)
        };
        self.change(ctx, |refusal| refusal, set)
    }
}

impl Handler<RemovePassword> for RegistryActor {
    type Result = ResponseFuture<Result<LegacyDevice, Refusal>>;

    fn handle(&mut self, command: RemovePassword, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.remove_password(command, effects))
    }
}

impl Handler<ListPasswords> for RegistryActor {
    type Result = Result<Vec<LegacyDevice>, Refusal>;

    fn handle(&mut self, ListPasswords(tenant): ListPasswords, _: &mut Context<Self>) -> Self::Result {
        self.core().list_passwords(&tenant)
    }
}

impl Handler<FindPassword> for RegistryActor {
    type Result = MessageResult<FindPassword>;

    fn handle(&mut self, asked: FindPassword, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.core().find_password(&asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_tpm::verifier::device_id;

    use crate::registry::{message::CreateTenant, ways_in::SetWaysIn};

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().expect("well formed")
    }

    fn hash(letter: &str) -> PasswordHash {
        let text = format!("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA${}", letter.repeat(43));
        text.parse().expect("a hash")
    }

    #[test]
    fn passwords_are_off_until_a_tenants_operator_switches_them_on() {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        let create = CreateTenant { tenant: id("acme"), accept_simulated_tpms: false };
        registry.create_tenant(0, create, &mut effects).expect("created");
        let set = SetPassword { tenant: id("acme"), id: id("meter"), hash: hash("A") };
        let find = FindPassword { tenant: id("acme"), id: id("meter") };
        let refused = registry.set_password(0, set.clone(), &mut effects);
        assert_eq!(refused, Err(Refusal::PasswordsOff(id("acme"))));
        assert_eq!(registry.find_password(&find), FoundPassword::Nowhere);
        let switch = |on| SetWaysIn { tenant: id("acme"), est: None, legacy_passwords: Some(on) };
        registry.set_ways_in(switch(true), &mut effects).expect("on");
        assert_eq!(registry.find_password(&find), FoundPassword::Nothing);
        let chips = device_id(&[7; 32]);
        let set_chips = SetPassword { id: chips.clone(), ..set.clone() };
        assert_eq!(registry.set_password(7, set_chips, &mut effects), Err(Refusal::ChipId(chips)));
        let device = registry.set_password(7, set, &mut effects).expect("set");
        assert_eq!(registry.find_password(&find), FoundPassword::Hash(hash("A")));
        let stored = Row::Legacy(device.clone());
        let bytes = stored.encode().expect("encodes");
        assert_eq!(Row::decode(&bytes).expect("decodes"), stored);
        registry.set_ways_in(switch(false), &mut effects).expect("off");
        assert_eq!(registry.find_password(&find), FoundPassword::Nowhere);
        registry.set_ways_in(switch(true), &mut effects).expect("on");
        let other = FindPassword { tenant: id("globex"), ..find.clone() };
        assert_eq!(registry.find_password(&other), FoundPassword::Nothing);
        let remove = RemovePassword { tenant: id("acme"), id: id("meter") };
        assert_eq!(registry.remove_password(remove, &mut effects), Ok(device));
        assert_eq!(registry.find_password(&find), FoundPassword::Nothing);
    }
}
