//! Hardware keys of users: public keys, and how often each has signed. What is secret is in the hardware.

use actix::{Context, Handler, Message, ResponseFuture};
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use muster_schemas::{DeviceId, Kind, Principal, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::{KEY_NAME_BYTES_MAX, KEYS_PER_USER_MAX},
    message::{AdmitReason, AdmitRefusal, Admitted, Bound, Refusal},
    row::Row,
};

/// A hardware key of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityKey {
    /// The user's tenant; the operator tenant for an operator.
    pub tenant: TenantId,
    /// The user.
    pub user: DeviceId,
    /// What the authenticator knows the key by, base64url.
    pub credential_id: String,
    /// The public key: an uncompressed point on P-256, base64url.
    pub point: String,
    /// How often it has signed, as it says. Never goes back.
    pub counter: u32,
    /// What its owner calls it.
    pub name: String,
    /// When it was registered, in seconds since 1970.
    pub created_at_s: u64,
}

impl SecurityKey {
    /// What sessions name the key by.
    pub fn hash(&self) -> [u8; 32] {
        key_hash(&self.credential_id)
    }

    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("k/{}", HEXLOWER.encode(&self.hash())).into_bytes()
    }

    /// The public key's point.
    pub fn point(&self) -> Vec<u8> {
        BASE64URL_NOPAD.decode(self.point.as_bytes()).unwrap_or_default()
    }

    fn is_of(&self, principal: &Principal) -> bool {
        principal.kind == Kind::User && self.tenant == principal.tenant && self.user == principal.id
    }
}

/// SHA-256 of a credential id, base64url.
pub fn key_hash(credential_id: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, credential_id.as_bytes()).as_ref());
    hash
}

/// Registers a key.
#[derive(Debug, Clone)]
pub struct AddKey(pub SecurityKey);

impl Message for AddKey {
    type Result = Result<SecurityKey, Refusal>;
}

/// Forgets a key: sessions that began with it end.
#[derive(Debug, Clone)]
pub struct RemoveKey {
    /// Whose it is.
    pub principal: Principal,
    /// Which: its credential id.
    pub credential_id: String,
}

impl Message for RemoveKey {
    type Result = Result<SecurityKey, Refusal>;
}

/// Asks for the keys of a user.
#[derive(Debug, Clone)]
pub struct ListKeys {
    /// The user's tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: DeviceId,
}

impl Message for ListKeys {
    type Result = Vec<SecurityKey>;
}

/// Asks for a key by its credential id.
#[derive(Debug, Clone)]
pub struct FindKey(pub String);

impl Message for FindKey {
    type Result = Option<SecurityKey>;
}

/// Says that a key has signed, and how often. Its user may then act, if nothing else is in the way.
#[derive(Debug, Clone)]
pub struct UseKey {
    /// Who it is said to be.
    pub principal: Principal,
    /// Which key.
    pub key_hash: [u8; 32],
    /// How often it has signed, if it has just done so; none for a session that goes on.
    pub counter: Option<u32>,
}

impl Message for UseKey {
    type Result = Result<Admitted, KeyRefusal>;
}

/// Why nobody may act by a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Its user may not act.
    #[error("its user may not act: {0}")]
    User(AdmitReason),
    /// It is not registered, or is somebody else's.
    #[error("the hardware key is not registered for this user")]
    NotTheirs,
    /// It has signed less often than before: there are two of it.
    #[error("the hardware key counts back, as a copy of it would")]
    CountsBack,
    /// The store did not take the write.
    #[error("the registry is unavailable")]
    Unavailable(Refusal),
}

impl From<AdmitRefusal> for KeyRefusal {
    fn from(refusal: AdmitRefusal) -> Self {
        Self::User(refusal.reason)
    }
}

impl Registry {
    /// Registers a key.
    ///
    /// # Errors
    /// The user is not there or may not act, has too many, or the key is registered.
    pub fn add_key(&mut self, key: SecurityKey, effects: &mut Vec<Effect>) -> Result<SecurityKey, Refusal> {
        if key.name.is_empty() || key.name.len() > KEY_NAME_BYTES_MAX {
            return Err(Refusal::KeyName);
        }
        if self.keys.contains_key(&key.hash()) {
            return Err(Refusal::KeyTaken);
        }
        let theirs = self.keys.values().filter(|other| other.tenant == key.tenant && other.user == key.user);
        if theirs.count() >= KEYS_PER_USER_MAX {
            return Err(Refusal::Full(Bound::Keys));
        }
        self.put(Row::Key(key.clone()), effects);
        Ok(key)
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// That user has no such key.
    pub fn remove_key(
        &mut self,
        command: &RemoveKey,
        effects: &mut Vec<Effect>,
    ) -> Result<SecurityKey, Refusal> {
        let hash = key_hash(&command.credential_id);
        let key = self.keys.get(&hash).filter(|key| key.is_of(&command.principal)).cloned();
        let key = key.ok_or(Refusal::KeyUnknown)?;
        self.keys.remove(&hash);
        effects.push(Effect::Delete(key.key()));
        Ok(key)
    }

    /// The keys of a user.
    pub fn list_keys(&self, asked: &ListKeys) -> Vec<SecurityKey> {
        let theirs = |key: &&SecurityKey| key.tenant == asked.tenant && key.user == asked.user;
        self.keys.values().filter(theirs).cloned().collect()
    }

    /// Whether the user may act by this key; its counter moves on.
    ///
    /// # Errors
    /// It may not: the user may not act, the key is not the user's, or its counter went back, as that of a copy does.
    pub fn use_key(&mut self, command: UseKey, effects: &mut Vec<Effect>) -> Result<Admitted, KeyRefusal> {
        let UseKey { principal, key_hash, counter } = command;
        let admitted = self.admit_named(&principal)?;
        let key = self.keys.get(&key_hash).filter(|key| key.is_of(&principal));
        let key = key.ok_or(KeyRefusal::NotTheirs)?;
        let Some(counter) = counter else { return Ok(admitted) };
        // Zero is of those that do not count.
        if counter <= key.counter && (counter, key.counter) != (0, 0) {
            tracing::warn!(%principal, counter, before = key.counter, "a hardware key counts back: it may be a copy");
            return Err(KeyRefusal::CountsBack);
        }
        if counter != key.counter {
            self.put(Row::Key(SecurityKey { counter, ..key.clone() }), effects);
        }
        Ok(admitted)
    }
}

impl Handler<AddKey> for RegistryActor {
    type Result = ResponseFuture<Result<SecurityKey, Refusal>>;

    fn handle(&mut self, AddKey(key): AddKey, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.add_key(key, effects))
    }
}

impl Handler<RemoveKey> for RegistryActor {
    type Result = ResponseFuture<Result<SecurityKey, Refusal>>;

    fn handle(&mut self, command: RemoveKey, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, |refusal| refusal, |core, _, effects| core.remove_key(&command, effects))
    }
}

impl Handler<ListKeys> for RegistryActor {
    type Result = actix::MessageResult<ListKeys>;

    fn handle(&mut self, asked: ListKeys, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(self.core().list_keys(&asked))
    }
}

impl Handler<FindKey> for RegistryActor {
    type Result = Option<SecurityKey>;

    fn handle(&mut self, FindKey(credential_id): FindKey, _: &mut Context<Self>) -> Self::Result {
        self.core().keys.get(&key_hash(&credential_id)).cloned()
    }
}

impl Handler<UseKey> for RegistryActor {
    type Result = ResponseFuture<Result<Admitted, KeyRefusal>>;

    fn handle(&mut self, command: UseKey, ctx: &mut Context<Self>) -> Self::Result {
        self.change(ctx, KeyRefusal::Unavailable, |core, _, effects| core.use_key(command, effects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        ClientKind,
        message::{CreateTenant, RegisterClient},
        people::RemoveClient,
        row::Certificate,
    };

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().expect("well formed")
    }

    fn key(user: &str, number: u8) -> SecurityKey {
        SecurityKey {
            tenant: id("acme"),
            user: id(user),
            credential_id: format!("key-{number}"),
            point: "AAAA".to_owned(),
            counter: 5,
            name: "blue".to_owned(),
            created_at_s: 1,
        }
    }

    fn registry() -> Registry {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        let create = CreateTenant { tenant: id("acme"), accept_simulated_tpms: false };
        registry.create_tenant(0, create, &mut effects).expect("created");
        for user in ["ann", "bob"] {
            let register = RegisterClient {
                tenant: id("acme"),
                kind: ClientKind::User,
                id: id(user),
                certificate: Certificate::none(),
                replace: false,
            };
            registry.register_client(register, &mut effects).expect("registered");
        }
        registry
    }

    fn by(user: &str, key: &SecurityKey, counter: Option<u32>) -> UseKey {
        let principal = id(&format!("spiffe://muster.example/t/acme/user/{user}"));
        UseKey { principal, key_hash: key.hash(), counter }
    }

    #[test]
    fn a_key_that_counts_back_is_refused() {
        let (mut registry, mut effects) = (registry(), Vec::new());
        let key = registry.add_key(key("ann", 1), &mut effects).expect("added");
        registry.use_key(by("ann", &key, Some(6)), &mut effects).expect("counts on");
        for counter in [6, 5, 0] {
            let refused = registry.use_key(by("ann", &key, Some(counter)), &mut effects);
            assert_eq!(refused, Err(KeyRefusal::CountsBack), "{counter}");
        }
        registry.use_key(by("ann", &key, Some(7)), &mut effects).expect("counts on");
        assert!(matches!(effects.last(), Some(Effect::Put(Row::Key(key))) if key.counter == 7));
    }

    #[test]
    fn a_key_is_its_users_alone_and_ends_with_the_user_or_by_itself() {
        let (mut registry, mut effects) = (registry(), Vec::new());
        let key = registry.add_key(key("ann", 1), &mut effects).expect("added");
        let refused = registry.use_key(by("bob", &key, None), &mut effects);
        assert_eq!(refused, Err(KeyRefusal::NotTheirs), "not bob's");
        let twice = SecurityKey { user: id("bob"), ..key.clone() };
        assert_eq!(registry.add_key(twice, &mut effects), Err(Refusal::KeyTaken));
        assert!(registry.use_key(by("ann", &key, None), &mut effects).is_ok());
        let ann: Principal = id("spiffe://muster.example/t/acme/user/ann");
        let bob: Principal = id("spiffe://muster.example/t/acme/user/bob");
        let remove = |principal: &Principal| RemoveKey {
            principal: principal.clone(),
            credential_id: key.credential_id.clone(),
        };
        assert_eq!(registry.remove_key(&remove(&bob), &mut effects), Err(Refusal::KeyUnknown));
        registry.remove_key(&remove(&ann), &mut effects).expect("removed");
        assert!(registry.use_key(by("ann", &key, None), &mut effects).is_err(), "its sessions have ended");
        registry.add_key(key.clone(), &mut effects).expect("added again");
        let gone = RemoveClient { tenant: id("acme"), kind: ClientKind::User, id: id("ann") };
        registry.remove_client(gone, &mut effects).expect("removed");
        assert!(registry.use_key(by("ann", &key, None), &mut effects).is_err());
        assert!(registry.list_keys(&ListKeys { tenant: id("acme"), user: id("ann") }).is_empty());
        assert!(registry.keys.is_empty(), "nobody who is given that name later has the key");
    }
}
