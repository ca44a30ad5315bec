//! What a principal may be shown: its own tenant's telemetry by that tenant's rules, and another's by a grant.

use std::sync::Arc;

use muster_items::View;
use muster_policy::{Decision, OPEN, OUTSIDE, Reader, Tally, WALL};
use muster_schemas::{Kind, Principal, TenantId};
use tracing::info;

use super::{
    denials::{Denial, What},
    known::{Known, OfTenant},
};

/// Why somebody is shown nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotShown {
    /// An operator of the hub: operators read no tenant's data.
    Operator,
    /// Somebody of another tenant, with whom nothing is shared. To it there is no such tenant.
    Stranger,
    /// A device, or another kind that reads nothing.
    Kind,
    /// There is no such data set, or it is not shared with whoever asks.
    DataSetUnknown(String),
    /// A rule keeps the data set closed.
    Closed {
        /// The data set.
        data_set: String,
        /// The rule.
        rule: String,
    },
}

impl Known {
    /// A principal as rules see it: by what its own tenant says of it.
    pub fn reader(&self, principal: &Principal) -> Reader {
        self.tenant(&principal.tenant).reader(principal.kind, &principal.id)
    }

    /// What `principal` may be shown of what `tenant` has, at this instant; of one data set, if it is named. To be asked
    /// anew for each question: a rule, an attribute or a grant that changes holds from the next question on.
    ///
    /// # Errors
    /// It is shown nothing at all.
    pub fn view(
        &self,
        principal: &Principal,
        tenant: &TenantId,
        data_set: Option<&str>,
        now_ms: i64,
    ) -> Result<View, NotShown> {
        if principal.is_operator() {
            return Err(NotShown::Operator);
        }
        let of = self.tenant(tenant);
        let deny = |what, rule: &str| {
            let (from, who) = (&principal.tenant, (principal.kind, &principal.id));
            self.note(Denial { tenant, from, who, what, topic: None, rule, now_ms }, 1);
        };
        let within = match principal.tenant == *tenant {
            true => None,
            false => Some(of.shared_with(&principal.tenant, now_ms).ok_or_else(|| {
                deny(What::Tenant, WALL);
                NotShown::Stranger
            })?),
        };
        if !matches!(principal.kind, Kind::App | Kind::User | Kind::Service) {
            return Err(NotShown::Kind);
        }
        let reader = self.reader(principal);
        let names: Option<Vec<&str>> = match (data_set, within) {
            (None, None) => None,
            (None, Some(shared)) => Some(shared),
            (Some(name), None) => Some(vec![name]),
            (Some(name), Some(shared)) => Some(shared.into_iter().filter(|known| *known == name).collect()),
        };
        let tally = Arc::new(Tally::told(teller(self.clone(), principal, tenant, now_ms)));
        let Some(names) = names else { return Ok(of.rules.view(&reader, now_ms, None, tally)) };
        let mut sets = Vec::new();
        let mut closed = None;
        for name in names {
            let Some(row) = of.data_sets.get(name) else { continue };
            let opened = of.rules.may_open(&reader, name, now_ms);
            // Without policies whoever got here is a member, or the set is shared with it.
            if of.rules.are_open() || opened.allowed {
                sets.push(row.set());
            } else {
                let (data_set, rule) = (name.to_owned(), opened.rule());
                info!(target: "muster::audit", %tenant, %principal, data_set, rule, "data set denied");
                deny(What::DataSet, &rule);
                closed = Some(NotShown::Closed { data_set, rule });
            }
        }
        if sets.is_empty() {
            let unknown = || NotShown::DataSetUnknown(data_set.unwrap_or_default().to_owned());
            return Err(closed.unwrap_or_else(unknown));
        }
        Ok(of.rules.view(&reader, now_ms, Some(sets), tally))
    }
}

impl OfTenant {
    /// The names of the data sets that are shared with a tenant now; none if there are none.
    fn shared_with(&self, guest: &TenantId, now_ms: i64) -> Option<Vec<&str>> {
        let now_s = u64::try_from(now_ms.div_euclid(1_000)).unwrap_or(0);
        let mut names: Vec<&str> = self
            .grants
            .iter()
            .filter(|grant| grant.to == *guest && grant.expires_at_s > now_s)
            .map(|grant| grant.data_set.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        Some(names).filter(|names| !names.is_empty())
    }

    /// The rule that a decision names: where there are no policies, that there are none.
    pub fn rule_of(&self, decision: &Decision) -> String {
        if self.rules.are_open() { OPEN.to_owned() } else { decision.rule() }
    }
}

/// Writes one line when a question was answered that some items were kept back from.
fn teller(
    known: Known,
    principal: &Principal,
    tenant: &TenantId,
    now_ms: i64,
) -> impl Fn(&Tally) + Send + Sync + use<> {
    let (principal, tenant) = (principal.clone(), tenant.clone());
    move |tally| {
        let Some(first) = tally.first_hidden() else { return };
        let (shown, hidden) = (tally.shown(), tally.hidden());
        // Topics are the tenant's own affair: the log, which operators read, tells the device and not the stream.
        let (device, rule) = (&first.stream.device, &first.rule);
        info!(target: "muster::audit", %tenant, %principal, shown, hidden, rule, %device, "items denied");
        if rule == OUTSIDE {
            // It was not asked for, or not shared: nobody was denied anything.
            return;
        }
        let topic = format!("devices/{device}/telemetry/{}", first.stream.stream);
        let (from, who, what) = (&principal.tenant, (principal.kind, &principal.id), What::Items);
        known.note(Denial { tenant: &tenant, from, who, what, topic: Some(&topic), rule, now_ms }, hidden);
    }
}
