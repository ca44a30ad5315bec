//! The rows that access rules are made of, and what is told of them to those who ask without asking the registry.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use muster_policy::{InvalidAttributes, Policies, Rules};
use muster_schemas::{DeviceId, TenantId};

use super::{
    actor::RegistryActor,
    attributes::{Described, Party},
    grants::{DataSetRow, Grant},
    limits::{DATA_SETS_PER_TENANT_MAX, GRANT_LIFE_S_MAX, GRANTS_PER_TENANT_MAX},
    message::Refusal,
    policies::PolicyVersion,
    row::Row,
    shredded::take,
};
use crate::rules::OfTenant;

/// A row that access rules are made of.
#[derive(Debug)]
pub(super) enum RuleRow {
    Described(Described),
    Policies(PolicyVersion),
    DataSet(DataSetRow),
    Grant(Grant),
}

/// What parsed policies there are: of which version, and what they say.
type Parsed = (u64, Option<Arc<Policies>>);

/// The rows of all tenants.
#[derive(Debug, Default)]
pub(super) struct RuleRows {
    described: BTreeMap<(TenantId, Party), BTreeMap<DeviceId, Described>>,
    pub(super) versions: BTreeMap<(TenantId, u64), PolicyVersion>,
    pub(super) sets: BTreeMap<(TenantId, String), DataSetRow>,
    pub(super) grants: BTreeMap<(TenantId, u64), Grant>,
    pub(super) parsed: HashMap<TenantId, Parsed>,
}

/// Why access rules are not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleRefusal {
    /// It cannot be named so.
    #[error(transparent)]
    Invalid(#[from] InvalidAttributes),
    /// Somebody else has put policies meanwhile.
    #[error("put policies that were made from version {after}: there is version {last} since")]
    PolicyVersionPassed {
        /// What they were made from.
        after: u64,
        /// The last.
        last: u64,
    },
    /// There is no such data set.
    #[error("find the data set {0:?}")]
    DataSetUnknown(String),
    /// It is shared.
    #[error("remove the data set {0:?}: it is shared")]
    DataSetShared(String),
    /// There are too many.
    #[error("keep more than {DATA_SETS_PER_TENANT_MAX} data sets of a tenant")]
    FullOfDataSets,
    /// There is no such grant.
    #[error("find the grant {0}")]
    GrantUnknown(u64),
    /// A grant ends.
    #[error("grant something for {0} s: a grant is for 1 to {GRANT_LIFE_S_MAX} s")]
    GrantLife(u64),
    /// There are too many.
    #[error("keep more than {GRANTS_PER_TENANT_MAX} grants of a tenant")]
    FullOfGrants,
    /// Its keys cannot be lent, or not to this tenant.
    #[error("lend keys of one tenant to another: {0} has withdrawn its own")]
    KeyWithdrawn(TenantId),
}

impl From<RuleRefusal> for Refusal {
    fn from(refusal: RuleRefusal) -> Self {
        Self::Rules(refusal)
    }
}

impl RuleRows {
    pub(super) fn insert(&mut self, row: RuleRow) {
        match row {
            RuleRow::Described(row) => {
                let theirs = self.described.entry((row.tenant.clone(), row.party)).or_default();
                theirs.insert(row.id.clone(), row);
            }
            RuleRow::Policies(row) => {
                self.versions.insert((row.tenant.clone(), row.version), row);
            }
            RuleRow::DataSet(row) => {
                self.sets.insert((row.tenant.clone(), row.set.name.clone()), row);
            }
            RuleRow::Grant(row) => {
                self.grants.insert((row.tenant.clone(), row.number), row);
            }
        }
    }

    /// Takes rows of a tenant out, at most so many; policies last, since without them members are shown all.
    pub(super) fn take_of(&mut self, tenant: &TenantId, most: usize) -> Vec<Row> {
        let mut rows: Vec<Row> =
            take(&mut self.grants, most, |row| row.tenant == *tenant).into_iter().map(Row::Grant).collect();
        let sets = take(&mut self.sets, most.saturating_sub(rows.len()), |row| row.tenant == *tenant);
        rows.extend(sets.into_iter().map(Row::DataSet));
        for ((of, _), described) in &mut self.described {
            if of == tenant {
                let theirs = take(described, most.saturating_sub(rows.len()), |_| true);
                rows.extend(theirs.into_iter().map(Row::Described));
            }
        }
        let versions = take(&mut self.versions, most.saturating_sub(rows.len()), |row| row.tenant == *tenant);
        rows.extend(versions.into_iter().map(Row::Policies));
        rows
    }

    pub(super) fn versions_of(&self, tenant: &TenantId) -> impl DoubleEndedIterator<Item = &PolicyVersion> {
        self.versions.range((tenant.clone(), 0)..=(tenant.clone(), u64::MAX)).map(|(_, row)| row)
    }

    pub(super) fn last_version(&self, tenant: &TenantId) -> Option<&PolicyVersion> {
        self.versions_of(tenant).next_back()
    }

    pub(super) fn grants_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Grant> {
        self.grants.range((tenant.clone(), 0)..=(tenant.clone(), u64::MAX)).map(|(_, row)| row)
    }

    pub(super) fn described(&self, tenant: &TenantId, party: Party, id: &DeviceId) -> Option<&Described> {
        self.described.get(&(tenant.clone(), party))?.get(id)
    }

    pub(super) fn undescribe(&mut self, tenant: &TenantId, party: Party, id: &DeviceId) -> Option<Described> {
        self.described.get_mut(&(tenant.clone(), party))?.remove(id)
    }

    fn readers_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Described> {
        let parties = [Party::App, Party::User, Party::Service].into_iter();
        parties.filter_map(|party| self.described.get(&(tenant.clone(), party))).flat_map(BTreeMap::values)
    }

    /// The policies that hold. What was stored and does not parse any more lets nobody in.
    fn policies(&mut self, tenant: &TenantId) -> Option<Arc<Policies>> {
        let Some(last) = self.last_version(tenant) else {
            self.parsed.remove(tenant);
            return None;
        };
        let version = last.version;
        if let Some((known, parsed)) = self.parsed.get(tenant)
            && *known == version
        {
            return parsed.clone();
        }
        let parsed = last.text.as_deref().map(|text| {
            Arc::new(Policies::parse(text).unwrap_or_else(|faults| {
                let why = faults.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%tenant, version, why, "the tenant's policies cannot be read: nobody is shown anything");
                Policies::none()
            }))
        });
        self.parsed.insert(tenant.clone(), (version, parsed.clone()));
        parsed
    }

    fn of_tenant(&mut self, tenant: &TenantId) -> OfTenant {
        let rules = Rules::new(tenant.clone(), self.policies(tenant));
        let readers = self.readers_of(tenant).map(|row| ((row.party, row.id.clone()), Arc::new(row.clone())));
        let sets = self.sets.range((tenant.clone(), String::new())..).map(|(_, row)| row);
        let sets = sets.take_while(|row| row.tenant == *tenant);
        OfTenant {
            rules,
            readers: readers.collect(),
            versions: self.versions_of(tenant).cloned().collect(),
            data_sets: sets.map(|row| (row.set.name.clone(), row.clone())).collect(),
            grants: self.grants_of(tenant).cloned().collect(),
        }
    }
}

impl RegistryActor {
    /// Tells everything that access rules are made of.
    pub(super) fn tell_all_rules(&mut self) {
        let rows = &mut self.core.rules;
        let tenants: Vec<TenantId> = self.core.tenants.keys().cloned().collect();
        let of_all = tenants.into_iter().map(|tenant| {
            let of = rows.of_tenant(&tenant);
            (tenant, of)
        });
        let of_all = of_all.collect();
        let devices = rows.described.iter().filter(|((_, party), _)| *party == Party::Device);
        let devices = devices.flat_map(|(_, theirs)| theirs.values());
        self.known.replace_all(of_all, devices);
    }

    /// Tells what a tenant's rules are made of, but for its devices.
    pub(super) fn tell_rules(&mut self, tenant: &TenantId) {
        let of = self.core.rules.of_tenant(tenant);
        self.known.replace(tenant, of);
    }

    /// Tells what is said of a device.
    pub(super) fn tell_device(&mut self, tenant: &TenantId, device: &DeviceId) {
        let described = self.core.rules.described(tenant, Party::Device, device);
        let attributes = described.map(Described::attributes).unwrap_or_default();
        self.known.describe(tenant, device, attributes);
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
