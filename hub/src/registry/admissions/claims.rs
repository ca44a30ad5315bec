//! A tenant's claims, after they were created: listed and revoked.

use actix::{Context, Handler, Message, ResponseFuture};
use data_encoding::HEXLOWER;
use muster_schemas::TenantId;

use crate::registry::{
    actor::RegistryActor,
    core::{Effect, Registry},
    message::Refusal,
    row::{Claim, Row},
};

/// Asks for the claims of a tenant, those that end first before the others.
#[derive(Debug, Clone)]
pub struct ListClaims(pub TenantId);

impl Message for ListClaims {
    type Result = Result<Vec<Claim>, Refusal>;
}

/// Takes a claim back. A device that enrolled with it stays enrolled.
#[derive(Debug, Clone)]
pub struct RevokeClaim {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id, as [`claim_id`] gives it.
    pub id: String,
}

impl Message for RevokeClaim {
    type Result = Result<Claim, Refusal>;
}

/// What a claim is called where its code must not stand: the first digits of the code's hash.
pub fn claim_id(claim: &Claim) -> String {
    HEXLOWER.encode(claim.sha256.get(..8).unwrap_or_default())
}

impl Registry {
    /// The claims of a tenant, those that end first before the others.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_claims(&self, tenant: &TenantId) -> Result<Vec<Claim>, Refusal> {
        self.known_tenant(tenant)?;
        let mut claims: Vec<Claim> =
            self.claims.values().filter(|claim| claim.tenant == *tenant).cloned().collect();
        claims.sort_by_key(|claim| (claim.expires_at_s, claim.sha256));
        Ok(claims)
    }

    /// Takes a claim back.
    ///
    /// # Errors
    /// The tenant is unknown, or has no such claim.
    pub fn revoke_claim(
        &mut self,
        command: &RevokeClaim,
        effects: &mut Vec<Effect>,
    ) -> Result<Claim, Refusal> {
        let RevokeClaim { tenant, id } = command;
        self.known_tenant(tenant)?;
        let theirs = |claim: &&Claim| claim.tenant == *tenant && claim_id(claim) == *id;
        let claim = self.claims.values().find(theirs).cloned();
        let claim = claim.ok_or_else(|| Refusal::ClaimUnknown(id.clone()))?;
        self.claims.remove(&claim.sha256);
        effects.push(Effect::Delete(Row::Claim(claim.clone()).key()));
        Ok(claim)
    }
}

impl Handler<ListClaims> for RegistryActor {
    type Result = Result<Vec<Claim>, Refusal>;

    fn handle(&mut self, command: ListClaims, _: &mut Context<Self>) -> Self::Result {
        self.core.list_claims(&command.0)
    }
}

impl Handler<RevokeClaim> for RegistryActor {
    type Result = ResponseFuture<Result<Claim, Refusal>>;

    fn handle(&mut self, command: RevokeClaim, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.revoke_claim(&command, effects))
    }
}
