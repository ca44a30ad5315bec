//! Approvals of firmware that the hub hands to devices in quarantine: what an authority of the class signed, and nothing
//! that the hub could make.

use actix::{Context, Handler, Message, ResponseFuture};
use data_encoding::HEXLOWER;
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::policy::{ApprovedPolicy, FirmwareAuthority};
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::{FIRMWARE_APPROVALS_MAX, FIRMWARE_APPROVALS_OF_CLASS_MAX},
    message::{Bound, Refusal},
    row::{Row, State},
};

/// An approval, kept for devices of its class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareApproval {
    /// The tenant.
    pub tenant: TenantId,
    /// The class.
    pub class: String,
    /// The release, for people.
    pub release: String,
    /// The policy that is approved, in lower-case hex: names it within its class.
    pub approved: String,
    /// The file, in lower-case hex.
    pub file: String,
    /// When it was published, in seconds since 1970.
    pub published_at_s: u64,
}

impl FirmwareApproval {
    /// Where its row is kept.
    pub(super) fn row_key(&self) -> Vec<u8> {
        format!("a/{}/{}/{}", self.tenant, HEXLOWER.encode(self.class.as_bytes()), self.approved).into_bytes()
    }
}

/// Publishes an approval. Beyond the bound of its class the oldest goes.
#[derive(Debug, Clone)]
pub struct PublishApproval {
    /// The tenant.
    pub tenant: TenantId,
    /// What was approved.
    pub policy: ApprovedPolicy,
}

impl Message for PublishApproval {
    type Result = Result<FirmwareApproval, Refusal>;
}

/// Asks for the approvals of a device's class, newest first.
#[derive(Debug, Clone)]
pub struct FindApprovals {
    /// The device.
    pub device: DeviceId,
    /// Its endorsement key.
    pub ek_hash: [u8; 32],
}

impl Message for FindApprovals {
    /// Nothing, if there is no such device, or it may not act.
    type Result = Option<Vec<Vec<u8>>>;
}

impl Registry {
    /// Publishes an approval.
    ///
    /// # Errors
    /// The tenant is unknown or has too many, or no authority of the class signed it.
    pub fn publish_approval(
        &mut self,
        now_s: u64,
        command: PublishApproval,
        effects: &mut Vec<Effect>,
    ) -> Result<FirmwareApproval, Refusal> {
        let PublishApproval { tenant, policy } = command;
        let authorities = self.list_firmware_authorities(&tenant)?;
        let mut keys =
            authorities.iter().filter(|row| row.class == policy.class()).filter_map(|row| row.sec1());
        if !keys.any(|sec1| policy.verify(&FirmwareAuthority::new(sec1)).is_ok()) {
            return Err(Refusal::ApprovalUnsigned(policy.class().to_owned()));
        }
        let row = FirmwareApproval {
            tenant: tenant.clone(),
            class: policy.class().to_owned(),
            release: policy.release().to_owned(),
            approved: HEXLOWER.encode(&policy.approved()),
            file: HEXLOWER.encode(&policy.encode()),
            published_at_s: now_s,
        };
        let is_new = !self.firmware_approvals.contains_key(&row.row_key());
        let of_tenant = self.firmware_approvals.values().filter(|kept| kept.tenant == tenant);
        let mut of_class: Vec<_> = of_tenant.clone().filter(|kept| kept.class == row.class).collect();
        of_class.sort_by_key(|kept| kept.published_at_s);
        let oldest = of_class.first().filter(|_| is_new && of_class.len() >= FIRMWARE_APPROVALS_OF_CLASS_MAX);
        if oldest.is_none() && is_new && of_tenant.count() >= FIRMWARE_APPROVALS_MAX {
            return Err(Refusal::Full(Bound::FirmwareApprovals));
        }
        if let Some(key) = oldest.map(|kept| kept.row_key()) {
            self.firmware_approvals.remove(&key);
            effects.push(Effect::Delete(key));
        }
        self.put(Row::FirmwareApproval(row.clone()), effects);
        Ok(row)
    }

    /// The approvals of a device's class, newest first.
    pub fn find_approvals(&self, command: &FindApprovals) -> Option<Vec<Vec<u8>>> {
        let row = self.devices.get(&command.device).filter(|row| row.ek_hash == command.ek_hash)?;
        if row.state != State::Active {
            return None;
        }
        let of_class = |kept: &&FirmwareApproval| kept.tenant == row.tenant && kept.class == row.model;
        let mut found: Vec<_> = self.firmware_approvals.values().filter(of_class).collect();
        found.sort_by_key(|kept| std::cmp::Reverse(kept.published_at_s));
        Some(found.into_iter().filter_map(|kept| HEXLOWER.decode(kept.file.as_bytes()).ok()).collect())
    }
}

impl Handler<PublishApproval> for RegistryActor {
    type Result = ResponseFuture<Result<FirmwareApproval, Refusal>>;

    fn handle(&mut self, command: PublishApproval, ctx: &mut Context<Self>) -> Self::Result {
        self.change(
            ctx,
            |refusal| refusal,
            |core, now_s, effects| core.publish_approval(now_s, command, effects),
        )
    }
}

impl Handler<FindApprovals> for RegistryActor {
    type Result = Option<Vec<Vec<u8>>>;

    fn handle(&mut self, command: FindApprovals, _: &mut Context<Self>) -> Self::Result {
        self.core().find_approvals(&command)
    }
}

#[cfg(test)]
mod tests {
    use muster_tpm::{
        manufacturer::SimulatedManufacturer, policy::fixed_signature, soft::SimulatedSoftwareKeys,
    };

    use super::*;
    use crate::registry::{firmware_authority::AddFirmwareAuthority, message::CreateTenant};

    fn acme() -> TenantId {
        "acme".parse().expect("id")
    }

    fn signed(seed: u8, class: &str, register: u8) -> (ApprovedPolicy, [u8; 65]) {
        let manufacturer = SimulatedManufacturer::well_known().expect("a manufacturer");
        let keys = SimulatedSoftwareKeys::new(&[seed; 32], &manufacturer).expect("soft keys");
        let signer = keys.stolen_ak();
        let sign = |message: &[u8]| fixed_signature(&muster_tpm::soft::p256_sign(signer, message));
        let policy = ApprovedPolicy::approve(class, "1", &[0], [register; 32], sign).expect("approved");
        let mut sec1 = [0; 65];
        sec1.copy_from_slice(signer.verifying_key().to_sec1_point(false).as_bytes());
        (policy, sec1)
    }

    #[test]
    fn only_what_an_authority_of_the_class_signed_is_kept_and_of_that_the_newest() {
        let mut registry = Registry::default();
        let command = CreateTenant { tenant: acme(), accept_simulated_tpms: true };
        registry.create_tenant(1, command, &mut Vec::new()).expect("created");
        let (_, key) = signed(1, "pump", 0);
        let add = AddFirmwareAuthority { tenant: acme(), class: "pump".to_owned(), key };
        registry.add_firmware_authority(1, add, &mut Vec::new()).expect("added");
        let mut publish = |now_s, policy| {
            let mut effects = Vec::new();
            let outcome =
                registry.publish_approval(now_s, PublishApproval { tenant: acme(), policy }, &mut effects);
            (outcome.is_ok(), effects.len())
        };
        assert_eq!(publish(2, signed(2, "pump", 0).0), (false, 0), "another key");
        assert_eq!(publish(2, signed(1, "valve", 0).0), (false, 0), "another class");
        let most = u8::try_from(FIRMWARE_APPROVALS_OF_CLASS_MAX).expect("few");
        for number in 0..most {
            assert_eq!(publish(2 + u64::from(number), signed(1, "pump", number).0), (true, 1));
        }
        assert_eq!(publish(99, signed(1, "pump", most).0), (true, 2), "the oldest goes");
        assert_eq!(publish(99, signed(1, "pump", most).0), (true, 1), "again, in its place");
        assert_eq!(registry.firmware_approvals.len(), FIRMWARE_APPROVALS_OF_CLASS_MAX);
        let device = "abcdefghij234567abcd".parse().expect("id");
        assert_eq!(registry.find_approvals(&FindApprovals { device, ek_hash: [0; 32] }), None);
    }
}
