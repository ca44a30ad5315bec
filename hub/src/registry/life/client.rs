//! Commands on apps, users and tenants.

use super::{ChangeClient, ChangeTenant, ClientChange, Ended, revocation};
use crate::{
    authority::Role,
    registry::{
        core::{Effect, Registry},
        message::Refusal,
        row::{Client, Row, State, Tenant},
    },
};

impl Registry {
    /// Carries out a command on an app or a user.
    ///
    /// # Errors
    /// There is no such client, or it is revoked and cannot be resumed.
    pub fn change_client(
        &mut self,
        now_s: u64,
        command: ChangeClient,
        effects: &mut Vec<Effect>,
    ) -> Result<(Client, bool), Refusal> {
        let ChangeClient { tenant, kind, id, change } = command;
        let unknown = || Refusal::ClientUnknown { kind: kind.kind(), id: id.clone(), tenant: tenant.clone() };
        let mut client = self.client(&tenant, kind, &id).ok_or_else(unknown)?.clone();
        let state = match (change, client.state) {
            (ClientChange::Suspend, State::Active) => State::Suspended,
            (ClientChange::Resume, State::Suspended) => State::Active,
            (ClientChange::Resume, State::Revoked | State::Retired) => {
                return Err(Refusal::ClientRevoked { kind: kind.kind(), id });
            }
            (ClientChange::Revoke { reason, compromised_since_s }, state) => {
                if compromised_since_s.is_some_and(|since| since > now_s) {
                    return Err(Refusal::CompromiseAhead);
                }
                let principal = self.principal(&tenant, kind.kind(), &id);
                let row = revocation(
                    Role::Client,
                    &client.certificate,
                    principal,
                    now_s,
                    reason,
                    compromised_since_s,
                );
                let news = self.record_revocation(now_s, row, effects);
                if state == State::Revoked {
                    return Ok((client, news));
                }
                State::Revoked
            }
            (ClientChange::Suspend, _) | (ClientChange::Resume, State::Active) => return Ok((client, false)),
        };
        if state != State::Active {
            let verb = if state == State::Suspended { "suspended" } else { "revoked" };
            let reason =
                format!("the certificate of this {} was {verb}; ask the operator of the hub", kind.kind());
            effects.push(Effect::End(Ended { tenant, whom: Some((kind.kind(), id)), reason }));
        }
        client.state = state;
        self.put(Row::Client(client.clone()), effects);
        Ok((client, true))
    }

    /// Carries out a command on a tenant.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn change_tenant(
        &mut self,
        command: ChangeTenant,
        effects: &mut Vec<Effect>,
    ) -> Result<(Tenant, bool), Refusal> {
        let ChangeTenant { tenant: id, active, precautions } = command;
        let before = self.tenant(&id).ok_or_else(|| Refusal::TenantUnknown(id.clone()))?;
        if before.state == State::Retired {
            return Err(Refusal::TenantRetired(id));
        }
        let mut tenant = before.clone();
        if let Some(active) = active {
            tenant.state = if active { State::Active } else { State::Suspended };
        }
        tenant.precautions = precautions.unwrap_or(tenant.precautions);
        if tenant == *before {
            return Ok((tenant, false));
        }
        if tenant.state == State::Suspended && before.state == State::Active {
            let reason = "this tenant was suspended; ask the operator of the hub".to_owned();
            effects.push(Effect::End(Ended { tenant: id, whom: None, reason }));
        }
        self.put(Row::Tenant(tenant.clone()), effects);
        Ok((tenant, true))
    }
}
