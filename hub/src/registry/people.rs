//! Apps and users beyond those that the hub gave a certificate: certificates of their own that are pinned, and being
//! admitted by name once somebody else has proved who they are.

use actix::{Context, Handler, Message, ResponseFuture};
use muster_schemas::{DeviceId, Kind, Principal, TenantId};

use super::{
    actor::RegistryActor,
    attributes::Party,
    core::{Effect, Registry},
    keys::ListKeys,
    message::{AdmitReason, AdmitRefusal, Admitted, Refusal},
    row::{Certificate, Client, ClientKind, Row},
};
use crate::pinned::PinnedFor;

/// Registers an app or a user by a certificate that somebody else made.
#[derive(Debug, Clone)]
pub struct PinClient {
    /// Its tenant; the operator tenant only for a user.
    pub tenant: TenantId,
    /// App or user.
    pub kind: ClientKind,
    /// Its id.
    pub id: DeviceId,
    /// What the registry remembers of the certificate.
    pub certificate: Certificate,
    /// SHA-256 of the certificate, DER.
    pub fingerprint: [u8; 32],
    /// Whether it may take the place of the certificate that the client has, which then ends at once.
    pub replace: bool,
}

impl Message for PinClient {
    type Result = Result<Client, Refusal>;
}

/// Forgets an app or a user: from the next request on it is not admitted.
#[derive(Debug, Clone)]
pub struct RemoveClient {
    /// Its tenant.
    pub tenant: TenantId,
    /// App or user.
    pub kind: ClientKind,
    /// Its id.
    pub id: DeviceId,
}

impl Message for RemoveClient {
    type Result = Result<Client, Refusal>;
}

/// Asks for the apps or the users of a tenant, by id.
#[derive(Debug, Clone)]
pub struct ListClients {
    /// The tenant.
    pub tenant: TenantId,
    /// Apps or users.
    pub kind: ClientKind,
}

impl Message for ListClients {
    type Result = Result<Vec<Client>, Refusal>;
}

/// Asks whether somebody may act who was proved to be this principal by other means than a certificate.
#[derive(Debug, Clone)]
pub struct AdmitNamed(pub Principal);

impl Message for AdmitNamed {
    type Result = Result<Admitted, AdmitRefusal>;
}

impl Registry {
    /// Registers a client by a certificate that is not ours.
    ///
    /// # Errors
    /// As [`Registry::register_client`]; and a certificate speaks for one client only.
    pub fn pin_client(&mut self, command: PinClient, effects: &mut Vec<Effect>) -> Result<Client, Refusal> {
        let PinClient { tenant, kind, id, certificate, fingerprint, replace } = command;
        self.check_client(&tenant, kind, &id, replace)?;
        let other = |client: &&Client| {
            client.pinned == Some(fingerprint)
                && (&client.tenant, client.kind, &client.id) != (&tenant, kind, &id)
        };
        if self.clients.values().any(|client| other(&client)) {
            return Err(Refusal::PinTaken);
        }
        let state = self.state_of_replaced(&tenant, kind, &id);
        let client = Client { tenant, kind, id, certificate, pinned: Some(fingerprint), state };
        self.put(Row::Client(client.clone()), effects);
        Ok(client)
    }

    /// Forgets a client.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_client(
        &mut self,
        command: RemoveClient,
        effects: &mut Vec<Effect>,
    ) -> Result<Client, Refusal> {
        let RemoveClient { tenant, kind, id } = command;
        let client = self.clients.remove(&(tenant.clone(), kind, id.clone()));
        let client = client.ok_or(Refusal::ClientUnknown { kind: kind.kind(), id, tenant })?;
        effects.push(Effect::Delete(Row::Client(client.clone()).key()));
        if let Some(party) = Party::of(client.kind.kind()) {
            self.forget_description(&client.tenant, party, &client.id, effects);
        }
        if client.kind == ClientKind::User {
            // Whoever is given that name later is somebody else.
            let asked = ListKeys { tenant: client.tenant.clone(), user: client.id.clone() };
            for key in self.list_keys(&asked) {
                self.keys.remove(&key.hash());
                effects.push(Effect::Delete(key.key()));
            }
        }
        Ok(client)
    }

    /// The apps or the users of a tenant, by id.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn list_clients(&self, command: &ListClients) -> Result<Vec<Client>, Refusal> {
        let ListClients { tenant, kind } = command;
        if *tenant != Principal::operator_tenant() && !self.tenants.contains_key(tenant) {
            return Err(Refusal::TenantUnknown(tenant.clone()));
        }
        let theirs = |client: &&Client| client.tenant == *tenant && client.kind == *kind;
        Ok(self.clients.values().filter(theirs).cloned().collect())
    }

    /// Says whether an app or a user may act that was proved to be who it is by other means than a certificate.
    ///
    /// # Errors
    /// It may not; the refusal says why.
    pub fn admit_named(&self, principal: &Principal) -> Result<Admitted, AdmitRefusal> {
        if principal.kind == Kind::Device {
            return Err(AdmitRefusal { reason: AdmitReason::Kind });
        }
        let may_act = self.may_act(&principal.tenant, principal.kind, &principal.id);
        may_act.map_err(|reason| AdmitRefusal { reason })?;
        // Whoever answers for it says at each request how long that holds.
        Ok(Admitted { tenant: principal.tenant.clone(), principal: principal.clone(), left_s: u64::MAX })
    }

    /// For whom certificates of others are pinned.
    pub fn pins(&self) -> PinnedFor {
        let pinned = self.clients.values().filter_map(|client| {
            client.pinned.map(|pin| (pin, (client.tenant.clone(), client.kind.kind(), client.id.clone())))
        });
        pinned.collect()
    }
}

impl Handler<PinClient> for RegistryActor {
    type Result = ResponseFuture<Result<Client, Refusal>>;

    fn handle(&mut self, command: PinClient, ctx: &mut Context<Self>) -> Self::Result {
        let answer =
            self.change(ctx, |refusal| refusal, |core, _, effects| core.pin_client(command, effects));
        self.tell_pins();
        answer
    }
}

impl Handler<RemoveClient> for RegistryActor {
    type Result = ResponseFuture<Result<Client, Refusal>>;

    fn handle(&mut self, command: RemoveClient, ctx: &mut Context<Self>) -> Self::Result {
        let tenant = command.tenant.clone();
        let remove = |core: &mut Registry, _, effects: &mut Vec<Effect>| core.remove_client(command, effects);
        let answer = self.change(ctx, |refusal| refusal, remove);
        self.tell_pins();
        self.tell_rules(&tenant);
        answer
    }
}

impl Handler<ListClients> for RegistryActor {
    type Result = Result<Vec<Client>, Refusal>;

    fn handle(&mut self, command: ListClients, _: &mut Context<Self>) -> Self::Result {
        self.core().list_clients(&command)
    }
}

impl Handler<AdmitNamed> for RegistryActor {
    type Result = Result<Admitted, AdmitRefusal>;

    fn handle(&mut self, AdmitNamed(principal): AdmitNamed, _: &mut Context<Self>) -> Self::Result {
        if self.loaded_now_s().is_none() {
            return Err(AdmitRefusal { reason: AdmitReason::Unavailable });
        }
        self.core().admit_named(&principal)
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
