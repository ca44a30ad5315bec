//! What a tenant has said of who may enrol and in which state, and who waits for a person: lists of chips, devices that are
//! held, what is known of each device, accepted measurements. Not for the decision on a certificate: that is
//! [`super::core::Registry::admit`].
//!
//! ```text
//!   find_owner:  device row ─▶ claim ─▶ held before ─▶ list of chips ─▶ refused
//!   enrol:       denied? ─▶ measurements ─▶ identity known? claim to approve? ─▶ held, or written
//! ```

pub mod claims;
pub mod holding;
pub mod listing;
pub mod measuring;
pub mod policy;
pub mod row;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use muster_schemas::{DeviceId, TenantId};
use muster_tpm::verifier::device_id;

use self::row::{Accepted, ChipName, Held, Identity, Listed, Profile};
use super::{message::FindOwner, row::Row, shredded::take};

/// The rows, by what identifies them, and what follows from them.
#[derive(Debug, Default)]
pub struct Admissions {
    /// A chip is on the list of one tenant.
    listed: BTreeMap<ChipName, Listed>,
    /// Which chips a tenant has listed: follows from `listed`.
    lists: BTreeMap<TenantId, BTreeSet<ChipName>>,
    /// Which chip a tenant has bound an identity to: follows from `listed`.
    bound: BTreeMap<(TenantId, Identity), ChipName>,
    held: BTreeMap<DeviceId, Held>,
    /// Which devices of a tenant are held: follows from `held`.
    queues: BTreeMap<TenantId, BTreeSet<DeviceId>>,
    profiles: BTreeMap<DeviceId, Profile>,
    /// Which device of a tenant has an identity: follows from `profiles`.
    known: BTreeMap<(TenantId, Identity), DeviceId>,
    accepted: BTreeMap<(TenantId, String), Accepted>,
}

/// A row of this part of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionRow {
    /// A chip on a tenant's list.
    Listed(Listed),
    /// A device that waits for a person, or was denied.
    Held(Held),
    /// What is known of an enrolled device.
    Profile(Profile),
    /// Measurements that a tenant accepts.
    Accepted(Accepted),
}

impl From<AdmissionRow> for Row {
    fn from(row: AdmissionRow) -> Self {
        match row {
            AdmissionRow::Listed(row) => Self::Listed(row),
            AdmissionRow::Held(row) => Self::Held(row),
            AdmissionRow::Profile(row) => Self::Profile(row),
            AdmissionRow::Accepted(row) => Self::Accepted(row),
        }
    }
}

impl Admissions {
    /// Takes a row in, in place of the one with its key.
    pub fn insert(&mut self, row: AdmissionRow) {
        match row {
            AdmissionRow::Listed(row) => {
                self.remove_listed(&row.chip);
                self.lists.entry(row.tenant.clone()).or_default().insert(row.chip.clone());
                for identity in row.identities() {
                    self.bound.insert((row.tenant.clone(), identity), row.chip.clone());
                }
                self.listed.insert(row.chip.clone(), row);
            }
            AdmissionRow::Held(row) => {
                self.remove_held(&row.device);
                self.queues.entry(row.tenant.clone()).or_default().insert(row.device.clone());
                self.held.insert(row.device.clone(), row);
            }
            AdmissionRow::Profile(row) => {
                self.remove_profile(&row.device);
                for identity in row.identities() {
                    self.known.insert((row.tenant.clone(), identity), row.device.clone());
                }
                self.profiles.insert(row.device.clone(), row);
            }
            AdmissionRow::Accepted(row) => {
                self.accepted.insert((row.tenant.clone(), row.label.clone()), row);
            }
        }
    }

    fn remove_listed(&mut self, chip: &ChipName) -> Option<Listed> {
        let row = self.listed.remove(chip)?;
        if let Some(list) = self.lists.get_mut(&row.tenant) {
            list.remove(chip);
        }
        for identity in row.identities() {
            let key = (row.tenant.clone(), identity);
            if self.bound.get(&key) == Some(chip) {
                self.bound.remove(&key);
            }
        }
        Some(row)
    }

    fn remove_held(&mut self, device: &DeviceId) -> Option<Held> {
        let row = self.held.remove(device)?;
        if let Some(queue) = self.queues.get_mut(&row.tenant) {
            queue.remove(device);
        }
        Some(row)
    }

    fn remove_profile(&mut self, device: &DeviceId) -> Option<Profile> {
        let row = self.profiles.remove(device)?;
        for identity in row.identities() {
            let key = (row.tenant.clone(), identity);
            if self.known.get(&key) == Some(device) {
                self.known.remove(&key);
            }
        }
        Some(row)
    }

    /// Takes rows of a tenant out, at most so many; none when there is none any more.
    pub(super) fn take_of(&mut self, tenant: &TenantId, most: usize) -> Vec<AdmissionRow> {
        let mut rows: Vec<AdmissionRow> = Vec::new();
        let chips = self.lists.get(tenant).into_iter().flatten().take(most).cloned();
        for chip in chips.collect::<Vec<_>>() {
            rows.extend(self.remove_listed(&chip).map(AdmissionRow::Listed));
        }
        let held =
            self.queues.get(tenant).into_iter().flatten().take(most.saturating_sub(rows.len())).cloned();
        for device in held.collect::<Vec<_>>() {
            rows.extend(self.remove_held(&device).map(AdmissionRow::Held));
        }
        let theirs = self.profiles.values().filter(|row| row.tenant == *tenant).map(|row| row.device.clone());
        for device in theirs.take(most.saturating_sub(rows.len())).collect::<Vec<_>>() {
            rows.extend(self.remove_profile(&device).map(AdmissionRow::Profile));
        }
        let accepted = take(&mut self.accepted, most.saturating_sub(rows.len()), |row| row.tenant == *tenant);
        rows.extend(accepted.into_iter().map(AdmissionRow::Accepted));
        rows
    }

    /// The device of this id that is held, of whichever tenant.
    pub fn held_device(&self, device: &DeviceId) -> Option<&Held> {
        self.held.get(device)
    }

    /// The list that a chip is on: by its endorsement key, or by its certificate. Should two tenants have listed it, each
    /// by another of the two, it is on the list that it was put on first.
    pub fn listing(&self, chip: &FindOwner) -> Option<&Listed> {
        let by_key = self.listed.get(&ChipName::EkHash(chip.ek_hash));
        let certificate = chip.shown.certificate.as_ref();
        let by_certificate = certificate.and_then(|name| self.listed.get(name));
        by_key.into_iter().chain(by_certificate).min_by_key(|listed| listed.listed_at_s)
    }

    /// The device that is held under this id, if it is this very chip.
    pub fn held(&self, chip: &FindOwner) -> Option<&Held> {
        self.held.get(&chip.device).filter(|held| held.ek_hash == chip.ek_hash)
    }

    /// What is known of a device.
    pub fn profile(&self, device: &DeviceId) -> Option<&Profile> {
        self.profiles.get(device)
    }

    /// Who else in the tenant has an identity: a device, or a chip that was listed with it and has not come yet.
    fn holder(&self, tenant: &TenantId, identity: &Identity, chip: &FindOwner) -> Option<Option<DeviceId>> {
        let key = (tenant.clone(), identity.clone());
        if let Some(device) = self.known.get(&key).filter(|device| **device != chip.device) {
            return Some(Some(device.clone()));
        }
        match self.bound.get(&key)? {
            ChipName::EkHash(hash) if *hash == chip.ek_hash => None,
            name if chip.shown.certificate.as_ref() == Some(name) => None,
            ChipName::EkHash(hash) => Some(Some(device_id(hash))),
            ChipName::Certificate { .. } => Some(None),
        }
    }
}
