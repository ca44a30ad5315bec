//! Who approves firmware of a tenant's device classes. An identity key of a class that has an authority must be bound to
//! what one of its authorities approves; a class without one demands nothing.

use actix::{Context, Handler, Message, ResponseFuture};
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use muster_schemas::{DeviceId, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::{FIRMWARE_AUTHORITIES_MAX, MODEL_BYTES_MAX},
    message::{Bound, Refusal},
    row::Row,
};

/// An authority of one class of a tenant's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareAuthority {
    /// The tenant.
    pub tenant: TenantId,
    /// The class: the model that devices enrol as.
    pub class: String,
    /// The public key, an uncompressed point in lower-case hex.
    pub key: String,
    /// When it was added, in seconds since 1970.
    pub added_at_s: u64,
}

impl FirmwareAuthority {
    /// SHA-256 of class and key: names the row, and is short enough for a person.
    pub fn fingerprint(&self) -> String {
        let named = [self.class.as_bytes(), &[0], self.key.as_bytes()].concat();
        HEXLOWER.encode(digest(&SHA256, &named).as_ref())
    }

    /// Where its row is kept.
    pub(super) fn row_key(&self) -> Vec<u8> {
        format!("f/{}/{}", self.tenant, self.fingerprint()).into_bytes()
    }

    /// The key's point.
    pub fn sec1(&self) -> Option<[u8; 65]> {
        HEXLOWER.decode(self.key.as_bytes()).ok()?.try_into().ok()
    }
}

/// Adds an authority to a class. Adding it again changes nothing.
#[derive(Debug, Clone)]
pub struct AddFirmwareAuthority {
    /// The tenant.
    pub tenant: TenantId,
    /// The class.
    pub class: String,
    /// The public key, an uncompressed point that lies on the curve.
    pub key: [u8; 65],
}

impl Message for AddFirmwareAuthority {
    type Result = Result<FirmwareAuthority, Refusal>;
}

/// Takes an authority from a class. Keys that are bound to it are refused at the next enrolment or renewal, unless the class
/// demands nothing any more.
#[derive(Debug, Clone)]
pub struct RemoveFirmwareAuthority {
    /// The tenant.
    pub tenant: TenantId,
    /// The class.
    pub class: String,
    /// The public key.
    pub key: [u8; 65],
}

impl Message for RemoveFirmwareAuthority {
    type Result = Result<FirmwareAuthority, Refusal>;
}

/// Asks for a tenant's authorities.
#[derive(Debug, Clone)]
pub struct ListFirmwareAuthorities {
    /// The tenant.
    pub tenant: TenantId,
}

impl Message for ListFirmwareAuthorities {
    type Result = Result<Vec<FirmwareAuthority>, Refusal>;
}

/// Asks what an identity key must be bound to: by the model that the registry has of the device, and, for one that is new or
/// says it is another, by what it says. So a device does not leave its class by changing its name.
#[derive(Debug, Clone)]
pub struct FindFirmwareAuthorities {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// What it says it is, if it says so.
    pub model: Option<String>,
}

impl Message for FindFirmwareAuthorities {
    /// None of one class, or all of one class; nothing is demanded if there are none.
    type Result = Result<Vec<FirmwareAuthority>, Refusal>;
}

impl Registry {
    /// Adds an authority.
    ///
    /// # Errors
    /// The tenant is unknown or has too many, or the class is no name of one.
    pub fn add_firmware_authority(
        &mut self,
        now_s: u64,
        command: AddFirmwareAuthority,
        effects: &mut Vec<Effect>,
    ) -> Result<FirmwareAuthority, Refusal> {
        let AddFirmwareAuthority { tenant, class, key } = command;
        self.list_firmware_authorities(&tenant)?;
        if !(1..=MODEL_BYTES_MAX).contains(&class.len()) || class.chars().any(char::is_control) {
            return Err(Refusal::Model);
        }
        let row = FirmwareAuthority { tenant, class, key: HEXLOWER.encode(&key), added_at_s: now_s };
        let of_tenant = self.firmware_authorities.entry(row.tenant.clone()).or_default();
        if let Some(found) = of_tenant.get(&row.fingerprint()) {
            return Ok(found.clone());
        }
        if of_tenant.len() >= FIRMWARE_AUTHORITIES_MAX {
            return Err(Refusal::Full(Bound::FirmwareAuthorities));
        }
        self.put(Row::FirmwareAuthority(row.clone()), effects);
        Ok(row)
    }

    /// Takes an authority away.
    ///
    /// # Errors
    /// The tenant or the authority is unknown.
    pub fn remove_firmware_authority(
        &mut self,
        command: RemoveFirmwareAuthority,
        effects: &mut Vec<Effect>,
    ) -> Result<FirmwareAuthority, Refusal> {
        let RemoveFirmwareAuthority { tenant, class, key } = command;
        self.list_firmware_authorities(&tenant)?;
        let key = HEXLOWER.encode(&key);
        let of_tenant = self.firmware_authorities.entry(tenant).or_default();
        let found = of_tenant.iter().find(|(_, row)| row.class == class && row.key == key);
        let Some(fingerprint) = found.map(|(fingerprint, _)| fingerprint.clone()) else {
            return Err(Refusal::FirmwareAuthorityUnknown(class));
        };
        let row = of_tenant.remove(&fingerprint).ok_or(Refusal::FirmwareAuthorityUnknown(class))?;
        effects.push(Effect::Delete(row.row_key()));
        Ok(row)
    }

    /// A tenant's authorities.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_firmware_authorities(&self, tenant: &TenantId) -> Result<Vec<FirmwareAuthority>, Refusal> {
        if !self.tenants.contains_key(tenant) {
            return Err(Refusal::TenantUnknown(tenant.clone()));
        }
        let of_tenant = self.firmware_authorities.get(tenant);
        Ok(of_tenant.into_iter().flat_map(|of_tenant| of_tenant.values().cloned()).collect())
    }

    /// What an identity key must be bound to.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn find_firmware_authorities(
        &self,
        command: &FindFirmwareAuthorities,
    ) -> Result<Vec<FirmwareAuthority>, Refusal> {
        let FindFirmwareAuthorities { tenant, device, model } = command;
        let all = self.list_firmware_authorities(tenant)?;
        let known = self.devices.get(device).filter(|row| row.tenant == *tenant).map(|row| &row.model);
        for class in known.into_iter().chain(model) {
            let found: Vec<_> = all.iter().filter(|row| row.class == *class).cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    pub(super) fn insert_firmware_authority(&mut self, row: FirmwareAuthority) {
        self.firmware_authorities.entry(row.tenant.clone()).or_default().insert(row.fingerprint(), row);
    }
}

impl Handler<AddFirmwareAuthority> for RegistryActor {
    type Result = ResponseFuture<Result<FirmwareAuthority, Refusal>>;

    fn handle(&mut self, command: AddFirmwareAuthority, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.add_firmware_authority(now_s, command, effects),
        )
    }
}

impl Handler<RemoveFirmwareAuthority> for RegistryActor {
    type Result = ResponseFuture<Result<FirmwareAuthority, Refusal>>;

    fn handle(&mut self, command: RemoveFirmwareAuthority, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, _, effects| core.remove_firmware_authority(command, effects),
        )
    }
}

impl Handler<ListFirmwareAuthorities> for RegistryActor {
    type Result = Result<Vec<FirmwareAuthority>, Refusal>;

    fn handle(&mut self, command: ListFirmwareAuthorities, _: &mut Context<Self>) -> Self::Result {
        self.core().list_firmware_authorities(&command.tenant)
    }
}

impl Handler<FindFirmwareAuthorities> for RegistryActor {
    type Result = Result<Vec<FirmwareAuthority>, Refusal>;

    fn handle(&mut self, command: FindFirmwareAuthorities, _: &mut Context<Self>) -> Self::Result {
        self.core().find_firmware_authorities(&command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::message::CreateTenant;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        let command = CreateTenant { tenant: acme(), accept_simulated_tpms: true };
        registry.create_tenant(1, command, &mut Vec::new()).expect("created");
        registry
    }

    fn acme() -> TenantId {
        "acme".parse().expect("id")
    }

    fn add(registry: &mut Registry, class: &str, key: u8) -> Result<FirmwareAuthority, Refusal> {
        let command = AddFirmwareAuthority { tenant: acme(), class: class.to_owned(), key: [key; 65] };
        registry.add_firmware_authority(5, command, &mut Vec::new())
    }

    fn wanted(registry: &Registry, model: &str) -> usize {
        let device = "abcdefghij234567abcd".parse().expect("id");
        let find = FindFirmwareAuthorities { tenant: acme(), device, model: Some(model.to_owned()) };
        registry.find_firmware_authorities(&find).expect("a tenant").len()
    }

    #[test]
    fn a_class_demands_what_its_authorities_approve_and_others_demand_nothing() {
        let mut registry = registry();
        let row = add(&mut registry, "pump", 4).expect("added");
        assert_eq!(add(&mut registry, "pump", 4).expect("again"), row);
        add(&mut registry, "pump", 5).expect("a second");
        assert_eq!((wanted(&registry, "pump"), wanted(&registry, "valve")), (2, 0));
        let remove = RemoveFirmwareAuthority { tenant: acme(), class: "pump".to_owned(), key: [4; 65] };
        let mut effects = Vec::new();
        registry.remove_firmware_authority(remove.clone(), &mut effects).expect("removed");
        assert_eq!(effects, [Effect::Delete(row.row_key())]);
        assert_eq!(wanted(&registry, "pump"), 1);
        assert!(registry.remove_firmware_authority(remove, &mut effects).is_err());
        let row = Row::FirmwareAuthority(row);
        assert_eq!(Row::decode(&row.encode().expect("encodes")).expect("decodes"), row);
    }

    #[test]
    fn authorities_are_bounded_and_classes_are_names() {
        let mut registry = registry();
        for key in 0..FIRMWARE_AUTHORITIES_MAX {
            add(&mut registry, "pump", u8::try_from(key).expect("small")).expect("room");
        }
        assert!(matches!(add(&mut registry, "pump", 255), Err(Refusal::Full(Bound::FirmwareAuthorities))));
        assert_eq!(add(&mut registry, "", 1), Err(Refusal::Model));
        assert_eq!(add(&mut registry, &"c".repeat(65), 1), Err(Refusal::Model));
    }
}
