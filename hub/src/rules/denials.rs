//! What rules kept from whom: counted for the metrics, and told to the audit trail of the tenant whose it is.
//!
//! Owner: `Known`. Bound: [`DENIALS_REMEMBERED_MAX`] of a tenant, for [`DENIAL_QUIET_MS`] each: the same to the same is
//! told once in that time, and when there are too many, nothing more is told until the first of them are over. All are
//! counted.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use muster_schemas::{DeviceId, Kind, TenantId};

use crate::limits::{DENIAL_QUIET_MS, DENIALS_REMEMBERED_MAX};

/// What was kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Stored items.
    Items,
    /// A data set as a whole.
    DataSet,
    /// A message as it was published.
    Live,
    /// All of a tenant, from a stranger.
    Tenant,
}

impl What {
    /// All of them, in the order of [`Counted`].
    const ALL: [Self; 4] = [Self::Items, Self::DataSet, Self::Live, Self::Tenant];

    /// As metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::DataSet => "data_set",
            Self::Live => "live",
            Self::Tenant => "tenant",
        }
    }
}

/// One denial.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// Whose telemetry.
    pub tenant: &'a TenantId,
    /// Of which tenant whoever asked is.
    pub from: &'a TenantId,
    /// Who asked.
    pub who: (Kind, &'a DeviceId),
    /// What was kept back.
    pub what: What,
    /// The topic of the first item.
    pub topic: Option<&'a str>,
    /// The rule that kept it back.
    pub rule: &'a str,
    /// When.
    pub now_ms: i64,
}

/// Where a denial is told: whose, to whom, of what, and why.
pub type Tell = Box<dyn Fn(&TenantId, (Kind, &DeviceId), Option<&str>, &str) + Send + Sync>;

/// How often something was kept back.
pub type Counted = [(What, u64); 4];

#[derive(Default)]
pub(super) struct Denials {
    tell: OnceLock<Tell>,
    tenants: Mutex<BTreeMap<TenantId, OfTenant>>,
}

#[derive(Default)]
struct OfTenant {
    counts: [Arc<AtomicU64>; 4],
    /// What was told, and until when it is not told again.
    told: BTreeMap<(TenantId, Kind, DeviceId, What, String), i64>,
}

impl Denials {
    pub fn tell_to(&self, tell: Tell) {
        // Only the first call counts: there is one bus.
        let _ = self.tell.set(tell);
    }

    /// Counts so many, and tells of the first.
    pub fn note(&self, denial: Denial<'_>, times: u64) {
        let Denial { tenant, from, who: (kind, id), what, topic, rule, now_ms } = denial;
        let is_new = self.with(tenant, |of| {
            of.count(what).fetch_add(times, Ordering::Relaxed);
            of.is_new((from.clone(), kind, id.clone(), what, rule.to_owned()), now_ms)
        });
        if is_new && let Some(tell) = self.tell.get() {
            let guest =
                if from == tenant { String::new() } else { format!(" from {kind} {id} of tenant {from}") };
            let kept = match what {
                What::Items => "stored items were kept back",
                What::DataSet => "a data set was kept closed",
                What::Live => "live messages were kept back",
                What::Tenant => "all was kept back",
            };
            tell(tenant, (kind, id), topic, &format!("{kept}{guest} by the rule {rule:?}"));
        }
    }

    /// Counts what is kept back of a tenant, without a lock.
    pub fn counter(&self, tenant: &TenantId, what: What) -> Arc<AtomicU64> {
        self.with(tenant, |of| of.count(what).clone())
    }

    pub fn counted(&self) -> Vec<(TenantId, Counted)> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = tenants.iter().map(|(tenant, of)| {
            (tenant.clone(), What::ALL.map(|what| (what, of.count(what).load(Ordering::Relaxed))))
        });
        counted.collect()
    }

    fn with<T>(&self, tenant: &TenantId, change: impl FnOnce(&mut OfTenant) -> T) -> T {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        change(tenants.entry(tenant.clone()).or_default())
    }
}

impl OfTenant {
    fn count(&self, what: What) -> &Arc<AtomicU64> {
        let [items, data_set, live, tenant] = &self.counts;
        match what {
            What::Items => items,
            What::DataSet => data_set,
            What::Live => live,
            What::Tenant => tenant,
        }
    }

    fn is_new(&mut self, told: (TenantId, Kind, DeviceId, What, String), now_ms: i64) -> bool {
        if self.told.get(&told).is_some_and(|until_ms| now_ms < *until_ms) {
            return false;
        }
        if self.told.len() >= DENIALS_REMEMBERED_MAX {
            self.told.retain(|_, until_ms| now_ms < *until_ms);
            if self.told.len() >= DENIALS_REMEMBERED_MAX {
                return false;
            }
        }
        self.told.insert(told, now_ms.saturating_add(DENIAL_QUIET_MS));
        true
    }
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Denials")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_told_once_in_a_while_and_always_counted() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let denials = Denials::default();
        let say = told.clone();
        denials.tell_to(Box::new(move |tenant, (kind, id), topic, reason| {
            let line = format!("{tenant} {kind} {id} {} {reason}", topic.unwrap_or("-"));
            say.lock().expect("unlocked").push(line);
        }));
        let (acme, globex) = ("acme".parse().expect("id"), "globex".parse().expect("id"));
        let deny = |id: &str, from, rule: &str, now_ms| {
            let id = id.parse().expect("id");
            let (who, topic) = ((Kind::User, &id), Some("devices/a/telemetry/b"));
            denials.note(Denial { tenant: &acme, from, who, what: What::Items, topic, rule, now_ms }, 3);
        };
        deny("anna", &acme, "x", 0);
        deny("anna", &acme, "x", DENIAL_QUIET_MS - 1);
        deny("anna", &globex, "x", 1);
        deny("anna", &acme, "y", 1);
        deny("anna", &acme, "x", DENIAL_QUIET_MS);
        let [first, guest, ..] = &told.lock().expect("unlocked").clone()[..] else { panic!("two or more") };
        assert_eq!(
            first,
            "acme user anna devices/a/telemetry/b stored items were kept back by the rule \"x\""
        );
        assert!(guest.contains("from user anna of tenant globex"), "{guest}");
        assert_eq!(told.lock().expect("unlocked").len(), 4);
        assert_eq!(
            denials.counted(),
            [(acme.clone(), {
                let mut all = What::ALL.map(|what| (what, 0));
                all[0].1 = 15;
                all
            })]
        );
        for number in 0..2 * DENIALS_REMEMBERED_MAX {
            deny(&format!("u{number}"), &acme, "x", DENIAL_QUIET_MS + 2);
        }
        assert!(told.lock().expect("unlocked").len() <= DENIALS_REMEMBERED_MAX + 4, "a flood is bounded");
    }
}
