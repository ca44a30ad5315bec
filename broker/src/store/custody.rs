//! Who keeps a tenant's key: the hub alone, or the tenant with it. Making, rotating, bringing, withdrawing and giving back;
//! and putting another root key above all of them.
//!
//! The row of a tenant's secret is `2 | generation, 4 bytes | when, 8 bytes | origin, 1 byte | commitment, 32 bytes |
//! wrapped`. All before what is wrapped is associated data, with the handle. Where the tenant brought its own key, what
//! the root key wraps is itself wrapped by that key, and the commitment says which key it was without showing it: neither
//! the hub's root key nor the tenant's key opens anything alone.
//!
//! Every change of keys is one commit: it is there as a whole, or not at all.

use std::collections::BTreeMap;

use muster_schemas::TenantId;
use zeroize::Zeroizing;

use super::{
    PLATFORM, ROOT_ROW, Store, Write, carried,
    committer::Orders,
    error::StoreError,
    grants,
    keys::{self, Handle, KEY_BYTES, RootKey, RootKeys, SecretKey, TenantSecret},
    locked, reading,
    ring::{Held, KeyRing, Owner, damaged, epoch_of_row, open_data_key, purpose_of_row},
    sealing::Purpose,
    table::Table,
    tenant::TenantStore,
    writing,
};

const FORMAT: u8 = 2;
const HEAD_BYTES: usize = 1 + 4 + 8 + 1 + KEY_BYTES;
/// The rows of tenants' secrets, of keys that tenants brought and let us keep, and of what was destroyed.
pub(super) const SECRET: u8 = b't';
pub(super) const GUARD: u8 = b'g';
pub(super) const GONE: u8 = b'x';

/// Who made a tenant's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The hub.
    Hub,
    /// The tenant brought one, without which the hub's own opens nothing.
    Tenant {
        /// Whether the hub keeps it, wrapped by the root key, so that it survives a restart.
        kept: bool,
    },
}

/// What may be told of a tenant's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Names the tenant key without showing it: 16 hexadecimal digits. Empty while it is withdrawn.
    pub key_id: String,
    /// How often the tenant key was made anew: from 1 on.
    pub generation: u32,
    /// When this generation was made, in Unix seconds; 0 if that was before such things were noted.
    pub made_at_s: u64,
    /// Who made it.
    pub origin: KeyOrigin,
    /// Whether the tenant has withdrawn its key.
    pub is_withdrawn: bool,
    /// The newest data key of each purpose; 0 if there is none yet.
    pub data_keys: BTreeMap<Purpose, u32>,
    /// How many data keys there are, which the tenant key wraps.
    pub data_keys_stored: usize,
}

/// What may be told of the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootStatus {
    /// How often it was replaced, and one.
    pub generation: u32,
    /// When it was put in place, in Unix seconds; 0 if that was before such things were noted.
    pub made_at_s: u64,
}

impl Store {
    /// What may be told of a tenant's keys.
    ///
    /// # Errors
    /// There is no such tenant, it was shredded, or its keys cannot be read.
    pub fn key_status(&self, tenant: &TenantId) -> Result<KeyStatus, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let store = self.known(tenant, &mut tenants)?;
        self.status_of(&store.keys)
    }

    /// Draws another tenant key and wraps all data keys with it. Nothing that they sealed is touched. Blocks.
    ///
    /// # Errors
    /// There is no such tenant, its key is withdrawn, or the commit was refused; then all is as before.
    pub fn rotate_tenant_key(&self, tenant: &TenantId, now_s: u64) -> Result<KeyStatus, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let store = self.known(tenant, &mut tenants)?;
        let before = self.needles_of(store.keys.owner())?;
        self.rekey(&store.keys, now_s, None)?;
        let after = self.needles_of(store.keys.owner())?;
        let status = self.status_of(&store.keys);
        drop(tenants);
        self.leave_nothing_of("tenant key", &before, &after);
        status
    }

    /// Ends the data keys of a tenant: each purpose begins another with its next record, and the earlier ones only open.
    ///
    /// # Errors
    /// There is no such tenant, or it was shredded.
    pub fn rotate_data_keys(&self, tenant: &TenantId) -> Result<KeyStatus, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let store = self.known(tenant, &mut tenants)?;
        store.keys.turn();
        self.status_of(&store.keys)
    }

    /// As [`Store::rotate_data_keys`], of all tenants in use and the platform.
    pub fn rotate_all_data_keys(&self) {
        self.platform_keys().turn();
        locked(&self.0.tenants).values().for_each(|store| store.keys.turn());
    }

    /// Puts a tenant's own key between the root key and the tenant's, or gives back the one that it has withdrawn. Another
    /// key than the one in place takes its place. With `keep` the hub keeps it, wrapped; without, it has it only until it
    /// stops. Blocks.
    ///
    /// # Errors
    /// There is no such tenant, the key is withdrawn and this is another one, or the commit was refused.
    pub fn bring_key(
        &self,
        tenant: &TenantId,
        key: SecretKey,
        keep: bool,
        now_s: u64,
    ) -> Result<KeyStatus, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let store = self.known(tenant, &mut tenants)?;
        let ring = &store.keys;
        let (head, wrapped) = self.secret_of(ring.owner())?;
        let is_same = head.commitment == *commitment(&key);
        let before = self.needles_of(ring.owner())?;
        if ring.is_locked() {
            if !is_same {
                return Err(StoreError::OtherOwnKey(tenant.clone()));
            }
            let owner = ring.owner();
            let inner = reading(&self.0.root).unwrap(&head.context(&owner.handle), &wrapped);
            let secret = inner.and_then(|inner| open_inner(&owner.handle, &head, &inner, Some(&key)));
            let held = Held::new(secret.ok_or_else(|| damaged(owner))?, Some(key.clone()))?;
            self.keep_guard(owner, keep.then_some(&key))?;
            ring.unlock(held)?;
        } else if is_same {
            self.keep_guard(ring.owner(), keep.then_some(&key))?;
        } else {
            self.rekey(ring, now_s, Some((&key, keep)))?;
        }
        let after = self.needles_of(ring.owner())?;
        let status = self.status_of(ring);
        drop(tenants);
        if !is_same || !keep {
            // Before, the tenant key was wrapped without the tenant's own, or with another one.
            self.leave_nothing_of("own key", &before, &after);
        }
        status
    }

    /// Forgets a tenant's own key, and with it everything that it opens. Nothing of the tenant is read or written until the
    /// key is given back with [`Store::bring_key`]. Blocks.
    ///
    /// # Errors
    /// There is no such tenant, it brought no key, or the removal of the kept one was refused: then the key is forgotten
    /// until the hub restarts.
    pub fn withdraw_key(&self, tenant: &TenantId) -> Result<KeyStatus, StoreError> {
        let mut tenants = locked(&self.0.tenants);
        let store = self.known(tenant, &mut tenants)?;
        let (head, _) = self.secret_of(store.keys.owner())?;
        if !head.is_own {
            return Err(StoreError::NotOwnKey(tenant.clone()));
        }
        let before = self.needles_of(store.keys.owner())?;
        store.keys.lock();
        self.keep_guard(store.keys.owner(), None)?;
        let after = self.needles_of(store.keys.owner())?;
        let status = self.status_of(&store.keys);
        drop(tenants);
        self.leave_nothing_of("withdrawn key", &before, &after);
        status
    }

    /// What may be told of the root key.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn root_status(&self) -> Result<RootStatus, StoreError> {
        let row = self.keys_table().get(ROOT_ROW)?.unwrap_or_default();
        Ok(root_status(&row))
    }

    /// Puts another root key in place of the present one. `tenants` are all that there are: rows of the first format name
    /// nobody, and have to be looked for. Stopped at any point, the store opens with the old root key or with the new one,
    /// and with nothing lost; whoever keeps the root key keeps both until this returns. Blocks.
    ///
    /// # Errors
    /// A key is damaged or belongs to a tenant that was not named, or the commit was refused; then the old one is in place.
    pub fn rotate_root_key(
        &self,
        new: &RootKey,
        tenants: &[TenantId],
        now_s: u64,
    ) -> Result<RootStatus, StoreError> {
        let tenants_held = locked(&self.0.tenants);
        let before = self.needles_of_root()?;
        let mut root = writing(&self.0.root);
        let next = RootKeys::derive(new).with_lasting(root.lasting().clone());
        let directory = &self.0.shared.directory;
        let table = self.keys_table();
        let labels: BTreeMap<Handle, &str> = tenants
            .iter()
            .map(TenantId::as_str)
            .chain([PLATFORM])
            .map(|label| (root.handle(label), label))
            .collect();
        let mut writes = Vec::new();
        for kind in [SECRET, GUARD, GONE] {
            for row in table.prefix(&[kind]) {
                let (key, value) = row?;
                let label = key.get(1..).and_then(|handle| Handle::try_from(handle).ok());
                let label = label.and_then(|handle| labels.get(&handle)).copied();
                let owner = || StoreError::KeyDamaged {
                    owner: label.map_or("a tenant that is not in the registry", |l| l).to_owned(),
                };
                let value = rewrap(&root, &next, (kind, &key, label), &value)?.ok_or_else(owner)?;
                writes.push(Write::Put { table: table.clone(), key, value });
            }
        }
        let status = RootStatus { generation: self.root_status()?.generation + 1, made_at_s: now_s };
        writes.push(Write::Put { table, key: ROOT_ROW.to_vec(), value: root_row(&next, status) });
        carried::store(directory, &[&*root, &next])?;
        if let Err(error) = self.commit_blocking(writes) {
            carried::store(directory, &[&*root])?;
            return Err(error.into());
        }
        *root = next;
        // From here on the old key is good for nothing.
        carried::store(directory, &[&*root])?;
        drop((root, tenants_held));
        self.leave_nothing_of("root key", &before, &self.needles_of_root()?);
        Ok(status)
    }

    /// The first row of a new tenant.
    pub(super) fn first_secret_row(
        &self,
        label: &str,
        secret: &TenantSecret,
        now_s: u64,
    ) -> Result<Write, StoreError> {
        let head = Head { generation: 1, made_at_s: now_s, is_own: false, commitment: [0; KEY_BYTES] };
        let handle = reading(&self.0.root).handle(label);
        self.secret_write(&handle, &head, secret, None)
    }

    /// Unwraps what the row of a tenant, or of the platform, holds. None inside if its own key is withdrawn.
    pub(super) fn held(&self, label: &str, row: &[u8]) -> Result<Option<Held>, StoreError> {
        let root = reading(&self.0.root);
        let handle = root.handle(label);
        let lost = || {
            let owner = if label.is_empty() { "the platform".to_owned() } else { format!("tenant {label}") };
            StoreError::KeyDamaged { owner }
        };
        let Some((head, wrapped)) = Head::read(row) else {
            let plain = root.unwrap(&keys::tenant_context(label), row).ok_or_else(lost)?;
            return Held::new(TenantSecret::from_bytes(&plain).ok_or_else(lost)?, None).map(Some);
        };
        let inner = root.unwrap(&head.context(&handle), wrapped).ok_or_else(lost)?;
        let guard = match head.is_own {
            false => None,
            true => match self.keys_table().get(&row_key(GUARD, &handle))? {
                None => return Ok(None),
                Some(row) => {
                    let guard = root.unwrap(&guard_context(&handle), &row).ok_or_else(lost)?;
                    Some(SecretKey::copy_of(&guard).ok_or_else(lost)?)
                }
            },
        };
        let secret = open_inner(&handle, &head, &inner, guard.as_ref()).ok_or_else(lost)?;
        Held::new(secret, guard).map(Some)
    }

    /// Another wrapping key for the ring, and another key of the tenant's above it if one is given.
    fn rekey(&self, ring: &KeyRing, now_s: u64, guard: Option<(&SecretKey, bool)>) -> Result<(), StoreError> {
        let owner = ring.owner();
        let (table, orders): (Table, &Orders) = (self.keys_table(), &self.0.orders);
        owner.flush(&table, orders)?;
        let mut held = owner.held_mut();
        let now = held.as_ref().ok_or_else(|| StoreError::Withdrawn { tenant: owner.label.clone() })?;
        let (head, _) = self.secret_of(owner)?;
        let secret = now.secret.rotated()?;
        let wrapping = secret.wrapping();
        let guarding = guard.map(|(key, _)| key).or(now.guard.as_ref()).cloned();
        let mut rows = grants::rewrap(owner, &now.wrapping, &wrapping)?;
        for (key, row) in owner.data_key_rows(None)? {
            let (Some(id), Some(purpose)) = (epoch_of_row(&key), purpose_of_row(&key)) else {
                return Err(damaged(owner));
            };
            let (epoch, data_key) = open_data_key(&now.wrapping, &owner.label, purpose, id, &row)
                .ok_or_else(|| damaged(owner))?;
            let wrapped = keys::wrap(&wrapping, keys::random_nonce()?, &epoch.context, data_key.as_slice());
            rows.push((key, [epoch.fingerprint.as_slice(), &wrapped].concat()));
        }
        let put = |(key, value)| Write::Put { table: table.clone(), key, value };
        let mut writes: Vec<Write> = rows.into_iter().map(put).collect();
        let head = Head {
            generation: head.generation.saturating_add(1),
            made_at_s: now_s,
            is_own: guarding.is_some(),
            commitment: guarding.as_ref().map_or([0; KEY_BYTES], |guard| *commitment(guard)),
        };
        writes.push(self.secret_write(&owner.handle, &head, &secret, guarding.as_ref())?);
        if let Some((key, keep)) = guard {
            writes.push(self.guard_write(&owner.handle, keep.then_some(key))?);
        }
        let mut next = Held::new(secret, guarding)?;
        self.commit_blocking(writes)?;
        next.grants = held.take().map(|held| held.grants).unwrap_or_default();
        *held = Some(next);
        Ok(())
    }

    /// Keeps a tenant's own key, wrapped, or removes it.
    fn keep_guard(&self, owner: &Owner, guard: Option<&SecretKey>) -> Result<(), StoreError> {
        let write = self.guard_write(&owner.handle, guard)?;
        Ok(self.commit_blocking(vec![write])?)
    }

    fn guard_write(&self, handle: &Handle, guard: Option<&SecretKey>) -> Result<Write, StoreError> {
        let (table, key) = (self.keys_table(), row_key(GUARD, handle));
        let Some(guard) = guard else { return Ok(Write::Delete { table, key }) };
        let value = reading(&self.0.root).wrap(&guard_context(handle), guard.as_slice())?;
        Ok(Write::Put { table, key, value })
    }

    fn secret_write(
        &self,
        handle: &Handle,
        head: &Head,
        secret: &TenantSecret,
        guard: Option<&SecretKey>,
    ) -> Result<Write, StoreError> {
        let plain = secret.to_bytes();
        let inner = match guard {
            None => Zeroizing::new(plain.to_vec()),
            Some(guard) => {
                let context = head.context(handle);
                Zeroizing::new(keys::wrap(
                    &keys::aes(guard),
                    keys::random_nonce()?,
                    &context,
                    plain.as_slice(),
                ))
            }
        };
        let wrapped = reading(&self.0.root).wrap(&head.context(handle), &inner)?;
        let value = [head.to_bytes().as_slice(), &wrapped].concat();
        Ok(Write::Put { table: self.keys_table(), key: row_key(SECRET, handle), value })
    }

    /// What the row of a tenant's secret says, and what it wraps.
    fn secret_of(&self, owner: &Owner) -> Result<(Head, Vec<u8>), StoreError> {
        let row = self.keys_table().get(&row_key(SECRET, &owner.handle))?.ok_or_else(|| damaged(owner))?;
        Ok(match Head::read(&row) {
            Some((head, wrapped)) => (head, wrapped.to_vec()),
            None => (Head { generation: 1, ..Head::default() }, row),
        })
    }

    /// A tenant that has keys. Whoever changes them holds the lock on all tenants meanwhile.
    pub(super) fn known(
        &self,
        tenant: &TenantId,
        tenants: &mut BTreeMap<TenantId, TenantStore>,
    ) -> Result<TenantStore, StoreError> {
        match self.find(tenant, tenants)? {
            Some(store) => Ok(store),
            None if self.is_shredded(tenant)? => Err(StoreError::Shredded(tenant.clone())),
            None => Err(StoreError::TenantUnknown(tenant.clone())),
        }
    }

    pub(super) fn status_of(&self, ring: &KeyRing) -> Result<KeyStatus, StoreError> {
        let owner = ring.owner();
        let (head, _) = self.secret_of(owner)?;
        let kept = self.keys_table().get(&row_key(GUARD, &owner.handle))?.is_some();
        let held = owner.held();
        Ok(KeyStatus {
            key_id: held.as_ref().map(|held| held.secret.key_id()).unwrap_or_default(),
            generation: head.generation,
            made_at_s: head.made_at_s,
            origin: if head.is_own { KeyOrigin::Tenant { kept } } else { KeyOrigin::Hub },
            is_withdrawn: held.is_none(),
            data_keys: Purpose::ALL
                .into_iter()
                .map(|purpose| (purpose, ring.keys(purpose).last_epoch()))
                .collect(),
            data_keys_stored: owner.data_key_rows(None)?.len(),
        })
    }
}

/// The first part of the row of a tenant's secret.
#[derive(Default)]
struct Head {
    generation: u32,
    made_at_s: u64,
    is_own: bool,
    commitment: [u8; KEY_BYTES],
}

impl Head {
    /// None for a row of the first format, which is shorter.
    fn read(row: &[u8]) -> Option<(Self, &[u8])> {
        let (head, wrapped) = row.split_first_chunk::<HEAD_BYTES>()?;
        let (format, head) = head.split_first()?;
        let (generation, head) = head.split_first_chunk()?;
        let (made_at, head) = head.split_first_chunk()?;
        let (origin, commitment) = head.split_first()?;
        // One of the first format has as many bytes as only the wrapped part of this one.
        (*format == FORMAT && wrapped.len() > keys::SECRET_BYTES).then_some(())?;
        let head = Self {
            generation: u32::from_be_bytes(*generation),
            made_at_s: u64::from_be_bytes(*made_at),
            is_own: *origin != 0,
            commitment: commitment.try_into().ok()?,
        };
        Some((head, wrapped))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut head = vec![FORMAT];
        head.extend_from_slice(&self.generation.to_be_bytes());
        head.extend_from_slice(&self.made_at_s.to_be_bytes());
        head.push(self.is_own.into());
        head.extend_from_slice(&self.commitment);
        head
    }

    fn context(&self, handle: &Handle) -> Vec<u8> {
        [b"muster/tenant/2|".as_slice(), handle, &self.to_bytes()].concat()
    }
}

/// The secret in what the root key wrapped; none if it does not open.
fn open_inner(handle: &Handle, head: &Head, inner: &[u8], guard: Option<&SecretKey>) -> Option<TenantSecret> {
    match (head.is_own, guard) {
        (false, _) => TenantSecret::from_bytes(inner),
        (true, Some(guard)) if *commitment(guard) == head.commitment => {
            TenantSecret::from_bytes(&keys::unwrap(&keys::aes(guard), &head.context(handle), inner)?)
        }
        (true, _) => None,
    }
}

/// Says which key it is without showing it.
fn commitment(guard: &SecretKey) -> SecretKey {
    keys::derive(&keys::mac(guard), &[b"muster/own key/1"])
}

/// What the next root key wraps in place of what the present one did; none if it does not open.
fn rewrap(
    root: &RootKeys,
    next: &RootKeys,
    (kind, key, label): (u8, &[u8], Option<&str>),
    value: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(handle) = key.get(1..).and_then(|handle| Handle::try_from(handle).ok()) else { return Ok(None) };
    let (head, context, wrapped) = match (kind, Head::read(value), label) {
        (SECRET, Some((head, wrapped)), _) => (head.to_bytes(), head.context(&handle), wrapped),
        (SECRET, None, Some(label)) => (Vec::new(), keys::tenant_context(label), value),
        (SECRET, None, None) => return Ok(None),
        (GUARD, _, _) => (Vec::new(), guard_context(&handle), value),
        _ => (Vec::new(), gone_context(&handle), value),
    };
    let Some(plain) = root.unwrap(&context, wrapped) else { return Ok(None) };
    Ok(Some([head.as_slice(), &next.wrap(&context, &plain)?].concat()))
}

/// The row of the root key: what tells it from others, and its status.
pub(super) fn root_row(root: &RootKeys, status: RootStatus) -> Vec<u8> {
    [root.check(), &status.generation.to_be_bytes(), &status.made_at_s.to_be_bytes()].concat()
}

fn root_status(row: &[u8]) -> RootStatus {
    let parts = row.get(KEY_BYTES..).and_then(|rest| {
        let (generation, made_at_s) = rest.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*generation), u64::from_be_bytes(made_at_s.try_into().ok()?)))
    });
    // A row of the first format ends before.
    let (generation, made_at_s) = parts.unwrap_or((1, 0));
    RootStatus { generation, made_at_s }
}

/// Kind and handle.
pub(super) fn row_key(kind: u8, handle: &Handle) -> Vec<u8> {
    [&[kind][..], handle].concat()
}

/// What of the row of a tenant's secret is wrapped.
pub(super) fn wrapped_of(row: &[u8]) -> &[u8] {
    Head::read(row).map_or(row, |(_, wrapped)| wrapped)
}

fn guard_context(handle: &Handle) -> Vec<u8> {
    [b"muster/guard/1|".as_slice(), handle].concat()
}

/// Binds the list of what was destroyed to its tenant.
pub(super) fn gone_context(handle: &Handle) -> Vec<u8> {
    [b"muster/gone/1|".as_slice(), handle].concat()
}
