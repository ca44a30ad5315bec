//! A tenant's policies, version by version. What is wrong is refused, and what held goes on to hold; what was replaced can
//! be put back.

use std::sync::Arc;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_policy::Policies;
use muster_schemas::TenantId;
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::POLICY_VERSIONS_PER_TENANT_MAX,
    message::Refusal,
    row::Row,
    rules::RuleRefusal,
};

/// A version of a tenant's policies. The last one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyVersion {
    /// Whose.
    pub tenant: TenantId,
    /// Its number, from 1 on.
    pub version: u64,
    /// The text; none if there are no policies from here on.
    pub text: Option<String>,
    /// The names of its policies, in order.
    pub names: Vec<String>,
    /// When it was put, in seconds since 1970.
    pub put_at_s: u64,
    /// Who put it.
    pub put_by: String,
    /// The version whose text this is, if it was rolled back to.
    #[serde(default)]
    pub restores: Option<u64>,
}

impl PolicyVersion {
    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("policies/{}/{:020}", self.tenant, self.version).into_bytes()
    }
}

/// Puts policies in place of those that there are.
#[derive(Debug, Clone)]
pub struct PutPolicies {
    /// Whose.
    pub tenant: TenantId,
    /// The text, and what it says, parsed by whoever sends this; none for no policies.
    pub policies: Option<(String, Arc<Policies>)>,
    /// The version that they are made from; any, if it is none.
    pub after: Option<u64>,
    /// The version whose text this is.
    pub restores: Option<u64>,
    /// Who puts them.
    pub by: String,
}

impl Message for PutPolicies {
    type Result = Result<PolicyVersion, Refusal>;
}

impl Registry {
    /// Puts policies in place of those that there are.
    ///
    /// # Errors
    /// The tenant is unknown or suspended, or somebody else has put other ones meanwhile.
    pub fn put_policies(
        &mut self,
        now_s: u64,
        command: PutPolicies,
        effects: &mut Vec<Effect>,
    ) -> Result<PolicyVersion, Refusal> {
        let PutPolicies { tenant, policies, after, restores, by } = command;
        self.active_tenant(&tenant)?;
        let last = self.rules.last_version(&tenant).map_or(0, |last| last.version);
        if let Some(after) = after.filter(|after| *after != last) {
            return Err(RuleRefusal::PolicyVersionPassed { after, last }.into());
        }
        let names = policies.iter().flat_map(|(_, parsed)| parsed.names().map(str::to_owned)).collect();
        let (text, parsed) = policies.unzip();
        let version = last + 1;
        let row = PolicyVersion {
            tenant: tenant.clone(),
            version,
            text,
            names,
            put_at_s: now_s,
            put_by: by,
            restores,
        };
        self.rules.parsed.insert(tenant.clone(), (version, parsed));
        self.put(Row::Policies(row.clone()), effects);
        let kept = version.saturating_sub(POLICY_VERSIONS_PER_TENANT_MAX as u64);
        let old: Vec<_> =
            self.rules.versions_of(&tenant).filter(|row| row.version <= kept).cloned().collect();
        for old in old {
            self.rules.versions.remove(&(tenant.clone(), old.version));
            effects.push(Effect::Delete(old.key()));
        }
        Ok(row)
    }
}

impl Handler<PutPolicies> for RegistryActor {
    type Result = ResponseFuture<Result<PolicyVersion, Refusal>>;

    fn handle(&mut self, command: PutPolicies, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = command.tenant.clone();
        let put = |core: &mut Registry, now_s, effects: &mut Vec<Effect>| {
            core.put_policies(now_s, command, effects)
        };
        let answer = self.change(ctx, |refusal| refusal, put);
        self.tell_rules(&tenant);
        answer
    }
}
