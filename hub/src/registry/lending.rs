//! What one tenant lends to another, so that a grant opens what it shows: the lender's data keys of telemetry, wrapped
//! for the borrower, for as long as a grant of the one to the other stands.
//!
//! The keys are lent before the row of a grant is stored, and taken back before the row of the last one is removed. Whatever
//! a crash leaves between the two is put right when the rows are loaded: **the rows say what is lent**. They are looked at
//! again every few seconds, for grants that end by themselves and for keys that were withdrawn when it was their turn.

use std::collections::{BTreeMap, BTreeSet};

use actix::Context;
use muster_broker::store::{Purpose, Store, StoreError, TenantStore};
use muster_schemas::TenantId;
use tracing::{info, warn};

use super::{
    actor::RegistryActor,
    message::Refusal,
    rules::{RuleRefusal, RuleRows},
};

/// Who lends to whom.
pub(super) type Lending = BTreeSet<(TenantId, TenantId)>;

/// What is lent: telemetry is all that a grant shows.
const LENT: Purpose = Purpose::Telemetry;

impl RuleRows {
    /// Who lends to whom by the grants that stand at a time.
    pub(super) fn lending(&self, now_s: u64) -> Lending {
        let standing = self.grants.values().filter(|grant| grant.expires_at_s > now_s);
        standing.map(|grant| (grant.tenant.clone(), grant.to.clone())).collect()
    }
}

impl RegistryActor {
    /// Forgets grants that have ended by themselves.
    pub(super) fn forget_ended_grants(&mut self, ctx: &mut Context<Self>) {
        let now_s = self.now_s();
        let mut ended = Vec::new();
        self.note(ctx, |core, effects| ended = core.end_grants(|grant| grant.expires_at_s <= now_s, effects));
        let lenders: BTreeSet<TenantId> = ended.into_iter().map(|grant| grant.tenant).collect();
        lenders.iter().for_each(|lender| self.tell_rules(lender));
    }

    /// Sees to it that the store lends what the grants say, and nothing else. Blocks if there is something to do.
    pub(super) fn settle_lending(&mut self) {
        let now_s = self.now_s();
        let wanted = self.core.rules.lending(now_s);
        if self.lending.as_ref() == Some(&wanted) {
            return;
        }
        let settled = settle(&self.store, self.core.tenants.keys(), &wanted);
        let is_whole = settled.unwrap_or_else(|error| {
            warn!(%error, "failed to see to what tenants lend to one another; it is tried again");
            false
        });
        self.lending = is_whole.then_some(wanted);
    }
}

/// Makes the store lend what is wanted. Says whether all of it is lent: not what is to be lent by or to a tenant whose own
/// key is withdrawn.
fn settle<'a>(
    store: &Store,
    tenants: impl Iterator<Item = &'a TenantId>,
    wanted: &Lending,
) -> Result<bool, StoreError> {
    let known: BTreeMap<[u8; 16], &TenantId> = tenants.map(|tenant| (store.handle(tenant), tenant)).collect();
    for (lender, borrower) in store.lent(LENT)? {
        let Some(lender) = known.get(&lender).copied() else { continue };
        let is_wanted = known
            .get(&borrower)
            .is_some_and(|borrower| wanted.contains(&(lender.clone(), TenantId::clone(borrower))));
        if !is_wanted && let Some(keys) = store.tenant(lender)? {
            keys.revoke_handle(borrower, LENT)?;
            info!(%lender, "keys were lent without a grant, and are no longer");
        }
    }
    let mut is_whole = true;
    for (lender, borrower) in wanted {
        let Some((from, to)) = both(store, lender, borrower)? else { continue };
        if from.is_withdrawn() || to.is_withdrawn() {
            is_whole = false;
        } else if !from.lends(&to, LENT)? {
            from.grant(&to, LENT)?;
            info!(%lender, %borrower, "a grant stands, and its keys are lent again");
        }
    }
    Ok(is_whole)
}

/// Lends all data keys, unless they are.
pub(super) fn lend(store: &Store, lender: &TenantId, borrower: &TenantId) -> Result<(), StoreError> {
    let Some((from, to)) = both(store, lender, borrower)? else {
        return Err(StoreError::NotLent { lender: lender.clone(), borrower: borrower.clone() });
    };
    if !from.lends(&to, LENT)? {
        from.grant(&to, LENT)?;
    }
    Ok(())
}

/// Takes them back.
pub(super) fn unlend(store: &Store, lender: &TenantId, borrower: &TenantId) -> Result<(), StoreError> {
    // Without keys there is nothing to lend.
    let Some(from) = store.tenant(lender)? else { return Ok(()) };
    from.revoke_handle(store.handle(borrower), LENT).map(drop)
}

/// Whether keys can be lent now.
pub(super) fn may_lend(store: &Store, between: [&TenantId; 2]) -> Result<(), Refusal> {
    for tenant in between {
        let keys = store.tenant(tenant).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        if keys.is_some_and(|keys| keys.is_withdrawn()) {
            return Err(RuleRefusal::KeyWithdrawn(tenant.clone()).into());
        }
    }
    Ok(())
}

fn both(
    store: &Store,
    lender: &TenantId,
    borrower: &TenantId,
) -> Result<Option<(TenantStore, TenantStore)>, StoreError> {
    Ok(store.tenant(lender)?.zip(store.tenant(borrower)?))
}

#[cfg(test)]
#[path = "lending_tests.rs"]
mod tests;
