//! Data sets, and grants of them: what one tenant shares with another, and until when. Nothing is copied for a grant, and
//! its end is the end of what it showed.

use std::future::ready;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_items::Attributes;
use muster_policy as policy;
use muster_schemas::{Principal, TenantId, api::rules as api};
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    lending::{self, Lending},
    limits::{DATA_SETS_PER_TENANT_MAX, GRANT_LIFE_S_MAX, GRANTS_PER_TENANT_MAX},
    message::Refusal,
    row::Row,
    rules::RuleRefusal,
};

/// A data set of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSetRow {
    /// Whose.
    pub tenant: TenantId,
    /// What is in it.
    pub set: api::DataSet,
}

impl DataSetRow {
    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("dataset/{}/{}", self.tenant, self.set.name).into_bytes()
    }

    /// As rules see it.
    pub fn set(&self) -> policy::DataSet {
        let api::DataSet { name, devices, streams, attributes, from_ms, to_ms } = self.set.clone();
        policy::DataSet { name, devices, streams, attributes: Attributes(attributes), from_ms, to_ms }
    }
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its number within the tenant that gave it.
    pub number: u64,
    /// Who shares.
    pub tenant: TenantId,
    /// With whom.
    pub to: TenantId,
    /// Which data set.
    pub data_set: String,
    /// When it ends, in seconds since 1970.
    pub expires_at_s: u64,
    /// Who gave it.
    pub given_by: String,
    /// When, in seconds since 1970.
    pub given_at_s: u64,
}

impl Grant {
    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("grant/{}/{:020}", self.tenant, self.number).into_bytes()
    }
}

/// Names a part of what a tenant has, or names another part so.
#[derive(Debug, Clone)]
pub struct PutDataSet(pub DataSetRow);

impl Message for PutDataSet {
    type Result = Result<DataSetRow, Refusal>;
}

/// Forgets a data set.
#[derive(Debug, Clone)]
pub struct RemoveDataSet {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
}

impl Message for RemoveDataSet {
    type Result = Result<DataSetRow, Refusal>;
}

/// Shares a data set.
#[derive(Debug, Clone)]
pub struct Give {
    /// Who shares.
    pub tenant: TenantId,
    /// With whom.
    pub to: TenantId,
    /// Which data set.
    pub data_set: String,
    /// For how long, in seconds.
    pub expires_in_s: u64,
    /// Who gives it.
    pub by: String,
}

impl Message for Give {
    type Result = Result<Grant, Refusal>;
}

/// Takes a grant back.
#[derive(Debug, Clone)]
pub struct TakeBack {
    /// Who gave it.
    pub tenant: TenantId,
    /// Its number.
    pub number: u64,
}

impl Message for TakeBack {
    type Result = Result<Grant, Refusal>;
}

impl Registry {
    /// Names a part of what a tenant has.
    ///
    /// # Errors
    /// It cannot be named so, or there are too many.
    pub fn put_data_set(
        &mut self,
        row: DataSetRow,
        effects: &mut Vec<Effect>,
    ) -> Result<DataSetRow, Refusal> {
        self.active_tenant(&row.tenant)?;
        row.set().check().map_err(RuleRefusal::from)?;
        let key = (row.tenant.clone(), row.set.name.clone());
        let theirs = self.rules.sets.keys().filter(|(tenant, _)| *tenant == row.tenant).count();
        if !self.rules.sets.contains_key(&key) && theirs >= DATA_SETS_PER_TENANT_MAX {
            return Err(RuleRefusal::FullOfDataSets.into());
        }
        self.put(Row::DataSet(row.clone()), effects);
        Ok(row)
    }

    /// Forgets a data set.
    ///
    /// # Errors
    /// There is none of that name, or it is shared.
    pub fn remove_data_set(
        &mut self,
        RemoveDataSet { tenant, name }: RemoveDataSet,
        effects: &mut Vec<Effect>,
    ) -> Result<DataSetRow, Refusal> {
        if self.rules.grants_of(&tenant).any(|grant| grant.data_set == name) {
            return Err(RuleRefusal::DataSetShared(name).into());
        }
        let row = self.rules.sets.remove(&(tenant, name.clone())).ok_or(RuleRefusal::DataSetUnknown(name))?;
        effects.push(Effect::Delete(row.key()));
        Ok(row)
    }

    /// Shares a data set. Grants that have ended make room for it.
    ///
    /// # Errors
    /// There is no such data set or no such tenant, or there are too many grants.
    pub fn give(&mut self, now_s: u64, command: Give, effects: &mut Vec<Effect>) -> Result<Grant, Refusal> {
        let Give { tenant, to, data_set, expires_in_s, by } = command;
        self.active_tenant(&tenant)?;
        if to == tenant || to == Principal::operator_tenant() || self.tenant(&to).is_none() {
            return Err(Refusal::TenantUnknown(to));
        }
        if !self.rules.sets.contains_key(&(tenant.clone(), data_set.clone())) {
            return Err(RuleRefusal::DataSetUnknown(data_set).into());
        }
        if expires_in_s == 0 || expires_in_s > GRANT_LIFE_S_MAX {
            return Err(RuleRefusal::GrantLife(expires_in_s).into());
        }
        let number = self.rules.grants_of(&tenant).map(|grant| grant.number).max().unwrap_or(0) + 1;
        let standing = self.rules.grants_of(&tenant).filter(|grant| grant.expires_at_s > now_s);
        if standing.count() >= GRANTS_PER_TENANT_MAX {
            return Err(RuleRefusal::FullOfGrants.into());
        }
        effects.push(Effect::Lend(tenant.clone(), to.clone()));
        let expires_at_s = now_s.saturating_add(expires_in_s);
        let grant = Grant { number, tenant, to, data_set, expires_at_s, given_by: by, given_at_s: now_s };
        self.put(Row::Grant(grant.clone()), effects);
        self.end_grants(|ended| ended.tenant == grant.tenant && ended.expires_at_s <= now_s, effects);
        Ok(grant)
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn take_back(
        &mut self,
        TakeBack { tenant, number }: TakeBack,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, Refusal> {
        let gone = self.end_grants(|grant| grant.tenant == tenant && grant.number == number, effects);
        Ok(gone.into_iter().next().ok_or(RuleRefusal::GrantUnknown(number))?)
    }

    /// Ends grants. With the last one to a tenant ends what is lent to it.
    pub(super) fn end_grants(
        &mut self,
        is_over: impl Fn(&Grant) -> bool,
        effects: &mut Vec<Effect>,
    ) -> Vec<Grant> {
        let gone: Vec<Grant> =
            self.rules.grants.extract_if(.., |_, grant| is_over(grant)).map(|(_, grant)| grant).collect();
        let standing = self.rules.lending(0);
        let between = gone.iter().map(|grant| (grant.tenant.clone(), grant.to.clone()));
        for (lender, borrower) in between.collect::<Lending>().difference(&standing) {
            effects.push(Effect::Unlend(lender.clone(), borrower.clone()));
        }
        effects.extend(gone.iter().map(|grant| Effect::Delete(grant.key())));
        gone
    }
}

impl Handler<PutDataSet> for RegistryActor {
    type Result = ResponseFuture<Result<DataSetRow, Refusal>>;

    fn handle(&mut self, PutDataSet(row): PutDataSet, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = row.tenant.clone();
        let answer = self.change(ctx, |refusal| refusal, |core, _, effects| core.put_data_set(row, effects));
        self.tell_rules(&tenant);
        answer
    }
}

impl Handler<RemoveDataSet> for RegistryActor {
    type Result = ResponseFuture<Result<DataSetRow, Refusal>>;

    fn handle(&mut self, command: RemoveDataSet, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = command.tenant.clone();
        let answer =
            self.change(ctx, |refusal| refusal, |core, _, effects| core.remove_data_set(command, effects));
        self.tell_rules(&tenant);
        answer
    }
}

impl Handler<Give> for RegistryActor {
    type Result = ResponseFuture<Result<Grant, Refusal>>;

    fn handle(&mut self, command: Give, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = command.tenant.clone();
        if let Err(refusal) = lending::may_lend(&self.store, [&tenant, &command.to]) {
            return Box::pin(ready(Err(refusal)));
        }
        let answer =
            self.change(ctx, |refusal| refusal, |core, now_s, effects| core.give(now_s, command, effects));
        self.tell_rules(&tenant);
        answer
    }
}

impl Handler<TakeBack> for RegistryActor {
    type Result = ResponseFuture<Result<Grant, Refusal>>;

    fn handle(&mut self, command: TakeBack, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = command.tenant.clone();
        let answer = self.change(ctx, |refusal| refusal, |core, _, effects| core.take_back(command, effects));
        self.tell_rules(&tenant);
        answer
    }
}
