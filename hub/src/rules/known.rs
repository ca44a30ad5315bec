//! What the registry says that access rules depend on.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use muster_items::Attributes;
use muster_policy::{Reader, Rules};
use muster_schemas::{DeviceId, Kind, TenantId};

use super::denials::{Counted, Denial, Denials, Tell, What};
use crate::registry::{
    attributes::{Described, Party},
    grants::{DataSetRow, Grant},
    policies::PolicyVersion,
};

/// What is known of a tenant, but for its devices. Never changed: what changes is told as another.
#[derive(Debug)]
pub struct OfTenant {
    /// Its policies.
    pub rules: Rules,
    /// What is said of its apps, users and services.
    pub readers: BTreeMap<(Party, DeviceId), Arc<Described>>,
    /// The versions of its policies that are kept; the last one holds.
    pub versions: Vec<PolicyVersion>,
    /// Its data sets, by name.
    pub data_sets: BTreeMap<String, DataSetRow>,
    /// What it shares.
    pub grants: Vec<Grant>,
}

impl OfTenant {
    /// A tenant of which nothing was said: its own apps and users read everything.
    fn new(tenant: TenantId) -> Self {
        Self {
            rules: Rules::new(tenant, None),
            readers: BTreeMap::new(),
            versions: Vec::new(),
            data_sets: BTreeMap::new(),
            grants: Vec::new(),
        }
    }

    /// One of its own, as rules see it.
    pub fn reader(&self, kind: Kind, id: &DeviceId) -> Reader {
        let described = Party::of(kind).and_then(|party| self.readers.get(&(party, id.clone())));
        Reader {
            tenant: self.rules.home().clone(),
            kind,
            id: id.clone(),
            attributes: Arc::new(described.map(|row| row.attributes()).unwrap_or_default()),
            groups: Arc::new(described.map(|row| row.groups.clone()).unwrap_or_default()),
        }
    }
}

/// The rules of the moment: told by the registry, read by everybody who shows telemetry. All clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tenants: ArcSwap<BTreeMap<TenantId, Arc<OfTenant>>>,
    /// Locked for as long as it takes to look one up, or to put one in.
    devices: RwLock<HashMap<TenantId, HashMap<DeviceId, Arc<Attributes>>>>,
    denials: Denials,
}

impl Known {
    /// What is known of a tenant.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<OfTenant> {
        self.told(tenant).unwrap_or_else(|| Arc::new(OfTenant::new(tenant.clone())))
    }

    /// What was told of a tenant; none if nothing was.
    pub fn told(&self, tenant: &TenantId) -> Option<Arc<OfTenant>> {
        self.0.tenants.load().get(tenant).cloned()
    }

    /// What a tenant shares, and what is shared with it.
    pub fn grants_about(&self, tenant: &TenantId) -> Vec<Grant> {
        let tenants = self.0.tenants.load();
        let all = tenants.values().flat_map(|of| &of.grants);
        all.filter(|grant| grant.tenant == *tenant || grant.to == *tenant).cloned().collect()
    }

    /// Says where denials are told, for good.
    pub fn tell_denials(&self, tell: Tell) {
        self.0.denials.tell_to(tell);
    }

    /// Counts that so many things were not shown, and tells of the first. A tenant that is not there has nothing to hide.
    pub fn note(&self, denial: Denial<'_>, times: u64) {
        if self.told(denial.tenant).is_some() {
            self.0.denials.note(denial, times);
        }
    }

    /// Counts live messages that were kept back.
    pub(super) fn live_counter(&self, tenant: &TenantId) -> Arc<AtomicU64> {
        self.0.denials.counter(tenant, What::Live)
    }

    /// How often what was kept back, by tenant.
    pub fn denied(&self) -> Vec<(TenantId, Counted)> {
        self.0.denials.counted()
    }

    /// The attributes of a device; none, for most.
    pub fn attributes(&self, tenant: &TenantId, device: &DeviceId) -> Arc<Attributes> {
        let devices = self.0.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices.get(tenant).and_then(|theirs| theirs.get(device)).cloned().unwrap_or_default()
    }

    /// Puts everything in the place of what was told before.
    pub fn replace_all<'a>(
        &self,
        tenants: BTreeMap<TenantId, OfTenant>,
        devices: impl Iterator<Item = &'a Described>,
    ) {
        let mut of_all: HashMap<TenantId, HashMap<DeviceId, Arc<Attributes>>> = HashMap::new();
        for row in devices {
            let theirs = of_all.entry(row.tenant.clone()).or_default();
            theirs.insert(row.id.clone(), Arc::new(row.attributes()));
        }
        *self.0.devices.write().unwrap_or_else(PoisonError::into_inner) = of_all;
        let tenants = tenants.into_iter().map(|(tenant, of)| (tenant, Arc::new(of)));
        self.0.tenants.store(Arc::new(tenants.collect()));
    }

    /// Puts what is known of a tenant in the place of what was told before.
    pub fn replace(&self, tenant: &TenantId, of: OfTenant) {
        // One writes: the registry.
        let mut tenants = BTreeMap::clone(&self.0.tenants.load());
        tenants.insert(tenant.clone(), Arc::new(of));
        self.0.tenants.store(Arc::new(tenants));
    }

    /// Puts a device's attributes in the place of those that it had.
    pub fn describe(&self, tenant: &TenantId, device: &DeviceId, attributes: Attributes) {
        let mut devices = self.0.devices.write().unwrap_or_else(PoisonError::into_inner);
        let theirs = devices.entry(tenant.clone()).or_default();
        if attributes.is_empty() {
            theirs.remove(device);
        } else {
            theirs.insert(device.clone(), Arc::new(attributes));
        }
    }
}
