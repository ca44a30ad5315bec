//! A tenant whose keys were destroyed: it never comes back, and nobody else gets its name.
//!
//! What the registry knows of it besides goes with the keys: its people and apps with their keys, passwords, claims, lists,
//! names, rules and what its devices are said to be. What stays is what others rest on: that there was such a tenant, which
//! chips were its devices (none of them enrols under an old claim), what was revoked, which certificates the authorities
//! issued, and the alarms that were raised.

use std::collections::BTreeMap;

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::TenantId;

use super::{
    actor::RegistryActor,
    admissions::row::EnrolmentPolicy,
    core::{Effect, Registry},
    life::{Ended, Precautions},
    limits::FORGET_ROWS_MAX,
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

/// Removes rows of a retired tenant; says how many. It is asked again until there is none.
#[derive(Debug, Clone)]
pub struct ForgetTenant(pub TenantId);

impl Message for ForgetTenant {
    type Result = Result<usize, Refusal>;
}

impl Registry {
    /// Removes rows of a retired tenant, at most so many as one commit takes; says how many there were.
    ///
    /// # Errors
    /// There is no such tenant, or it is not retired.
    pub fn forget_tenant(&mut self, id: &TenantId, effects: &mut Vec<Effect>) -> Result<usize, Refusal> {
        let tenant = self.tenant(id).ok_or_else(|| Refusal::TenantUnknown(id.clone()))?;
        if tenant.state != State::Retired {
            return Err(Refusal::TenantUnknown(id.clone()));
        }
        let bare = Tenant {
            telemetry_schema: String::new(),
            policy: EnrolmentPolicy::default(),
            precautions: Precautions::default(),
            ..tenant.clone()
        };
        if bare != *tenant {
            self.put(Row::Tenant(bare), effects);
        }
        let mut rows: Vec<Row> = Vec::new();
        let room = |rows: &Vec<Row>| FORGET_ROWS_MAX.saturating_sub(rows.len());
        // Those first who might do something.
        let found = take(&mut self.clients, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::Client));
        let found = take(&mut self.keys, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::Key));
        let found = take(&mut self.legacy, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::Legacy));
        let found = take(&mut self.claims, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::Claim));
        let most = room(&rows);
        rows.extend(self.admissions.take_of(id, most).into_iter().map(Row::from));
        let found = take(&mut self.firmware_approvals, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::FirmwareApproval));
        if let Some(authorities) = self.firmware_authorities.get_mut(id) {
            let found = take(authorities, room(&rows), |_| true);
            rows.extend(found.into_iter().map(Row::FirmwareAuthority));
        }
        let found = take(&mut self.sensitive, room(&rows), |row| row.tenant == *id);
        rows.extend(found.into_iter().map(Row::Sensitive));
        let most = room(&rows);
        rows.extend(self.rules.take_of(id, most));
        effects.extend(rows.iter().map(|row| Effect::Delete(row.key())));
        Ok(rows.len())
    }
}

/// Takes some rows out.
pub(super) fn take<K: Ord + Clone, V>(
    rows: &mut BTreeMap<K, V>,
    most: usize,
    is_wanted: impl Fn(&V) -> bool,
) -> Vec<V> {
    let wanted = rows.iter().filter(|(_, row)| is_wanted(row)).map(|(key, _)| key.clone());
    let keys: Vec<K> = wanted.take(most).collect();
    keys.iter().filter_map(|key| rows.remove(key)).collect()
}

impl Handler<ForgetTenant> for RegistryActor {
    type Result = ResponseFuture<Result<usize, Refusal>>;

    fn handle(&mut self, ForgetTenant(tenant): ForgetTenant, ctx: &mut Context<Self>) -> Self::Result {
        let answer =
            self.change(ctx, |refusal| refusal, |core, _, effects| core.forget_tenant(&tenant, effects));
        self.tell_rules(&tenant);
        answer
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
    use serde_json::json;

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

    #[test]
    fn what_is_known_of_a_shredded_tenant_goes_but_for_what_others_rest_on() {
        let rows = |tenant: &str| -> Vec<Row> {
            let hash = |byte: u8| data_encoding::HEXLOWER.encode(&[byte; 32]);
            let byte = tenant.as_bytes()[0];
            let certificate = json!({ "serial": "01".repeat(16), "spki_sha256": hash(1), "not_after_s": 9 });
            [
                json!({ "row": "client", "tenant": tenant, "kind": "user", "id": "ann", "certificate": certificate,
                    "state": "active" }),
                json!({ "row": "claim", "sha256": hash(byte), "tenant": tenant, "model": null, "expires_at_s": 9,
                    "used_by": null }),
                json!({ "row": "dataset", "tenant": tenant, "set": { "name": "roads" } }),
                json!({ "row": "sensitive", "tenant": tenant, "off": ["place"] }),
            ]
            .into_iter()
            .map(|row| serde_json::from_value(row).expect("a row"))
            .collect()
        };
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        for tenant in ["acme", "globex"] {
            let create = CreateTenant { tenant: tenant.parse().expect("id"), accept_simulated_tpms: false };
            registry.create_tenant(0, create, &mut effects).expect("created");
            rows(tenant).into_iter().for_each(|row| registry.put(row, &mut effects));
        }
        let id: TenantId = "acme".parse().expect("id");
        assert!(registry.forget_tenant(&id, &mut effects).is_err(), "not while it lives");
        registry.retire_tenant(id.clone(), &mut effects).expect("retired");
        effects.clear();
        assert_eq!(registry.forget_tenant(&id, &mut effects), Ok(rows("acme").len()));
        for row in rows("acme") {
            assert!(effects.contains(&Effect::Delete(row.key())), "{row:?}");
        }
        for row in rows("globex") {
            assert!(!effects.contains(&Effect::Delete(row.key())), "{row:?}");
        }
        effects.clear();
        assert_eq!(registry.forget_tenant(&id, &mut effects), Ok(0));
        assert_eq!(effects, []);
        assert!(registry.tenant(&id).is_some_and(|tenant| tenant.state == State::Retired));
        assert_eq!(registry.clients.len(), 1, "the neighbour has its own");
    }
}
