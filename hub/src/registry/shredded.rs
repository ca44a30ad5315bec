//! A tenant whose keys were destroyed: it never comes back, and nobody else gets its name.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::TenantId;

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    life::Ended,
    message::Refusal,
    row::{Row, State, Tenant},
};

/// Retires a tenant for good: nobody of it is let in any more.
#[derive(Debug, Clone)]
pub struct RetireTenant(pub TenantId);

impl Message for RetireTenant {
    type Result = Result<Tenant, Refusal>;
}

impl Registry {
    /// Retires a tenant. Told twice, it changes nothing.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn retire_tenant(&mut self, id: TenantId, effects: &mut Vec<Effect>) -> Result<Tenant, Refusal> {
        let before = self.tenant(&id).ok_or_else(|| Refusal::TenantUnknown(id.clone()))?;
        let tenant = Tenant { state: State::Retired, ..before.clone() };
        if tenant != *before {
            let reason = "the keys of this tenant were destroyed; it does not come back".to_owned();
            effects.push(Effect::End(Ended { tenant: id.clone(), whom: None, reason }));
            // What it shares is no more, and what was shared with it has no reader.
            self.end_grants(|grant| grant.tenant == id || grant.to == id, effects);
            self.put(Row::Tenant(tenant.clone()), effects);
        }
        Ok(tenant)
    }
}

impl Handler<RetireTenant> for RegistryActor {
    type Result = ResponseFuture<Result<Tenant, Refusal>>;

    fn handle(&mut self, RetireTenant(tenant): RetireTenant, ctx: &mut Context<Self>) -> Self::Result {
        let answer =
            self.change(ctx, |refusal| refusal, |core, _, effects| core.retire_tenant(tenant, effects));
        self.tell_all_rules();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{life::ChangeTenant, message::CreateTenant};

    #[test]
    fn a_retired_tenant_is_not_resumed_and_its_name_is_not_given_away() {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        let id: TenantId = "acme".parse().expect("id");
        let create = CreateTenant { tenant: id.clone(), accept_simulated_tpms: false };
        registry.create_tenant(0, create.clone(), &mut effects).expect("created");
        registry.retire_tenant(id.clone(), &mut effects).expect("retired");
        assert!(effects.iter().any(|effect| matches!(effect, Effect::End(_))));
        let count = effects.len();
        registry.retire_tenant(id.clone(), &mut effects).expect("again");
        assert_eq!(effects.len(), count);
        let resume = ChangeTenant { tenant: id.clone(), active: Some(true), precautions: None };
        assert_eq!(registry.change_tenant(resume, &mut effects), Err(Refusal::TenantRetired(id.clone())));
        assert_eq!(registry.create_tenant(0, create, &mut effects), Err(Refusal::TenantExists(id)));
    }
}
