//! Data keys that one tenant lends to another, so that what is shared is read where it lies and no byte is copied.
//!
//! A grant has a key of its own. The lender's data keys of one purpose are wrapped with it, those that there are and each
//! that begins later; the grant's key is wrapped for the lender, who goes on lending, and for the borrower, who opens. A
//! borrowed sealer opens **everything** of that purpose in the lent epochs: what of it may be read is for the rules above
//! to say. Taking a grant back removes all of it, and a borrowed sealer opens nothing from that moment on. It opens nothing
//! either while the lender's or the borrower's own key is withdrawn.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_lc_rs::aead::{LessSafeKey, NONCE_LEN};

use super::{
    committer::Orders,
    error::{StoreError, Unsealable},
    keys::{self, Handle, SecretKey},
    limits::EPOCHS_OPEN_MAX,
    locked,
    log::commit_blocking,
    ring::{Epoch, KeyRing, Owner, damaged, epoch_of_row, open_data_key, purpose_of_row},
    sealing::Purpose,
    table::{Row, Table, Write},
};

/// `o`, lender, borrower, purpose: the grant's key, wrapped for the lender.
const OWN: u8 = b'o';
/// `i`, borrower, lender, purpose: the grant's key, wrapped for the borrower.
const IN: u8 = b'i';
/// `l`, lender, borrower, purpose, epoch: a data key, wrapped with the grant's key.
const LENT: u8 = b'l';

/// What a tenant lends, and to whom.
pub(super) struct Grant {
    lender: Handle,
    borrower: Handle,
    purpose: Purpose,
    key: LessSafeKey,
}

impl Grant {
    /// The row by which the borrower gets a data key.
    pub fn lend(&self, epoch: &Epoch, nonce: [u8; NONCE_LEN], key: &SecretKey) -> (Vec<u8>, Vec<u8>) {
        let wrapped = keys::wrap(&self.key, nonce, &epoch.context, key.as_slice());
        let row = [epoch.fingerprint.as_slice(), wrapped.as_slice()].concat();
        (lent_key(&self.lender, &self.borrower, self.purpose, Some(epoch.id)), row)
    }
}

/// The grants that a tenant made, for when its keys are opened.
pub(super) fn grants_of(owner: &Owner, wrapping: &LessSafeKey) -> Result<Grants, StoreError> {
    let mut grants = BTreeMap::new();
    for (row, wrapped) in owner.rows(&[&[OWN][..], &owner.handle].concat())? {
        let (borrower, purpose) = parse(&row).ok_or_else(|| damaged(owner))?;
        let key = keys::unwrap(wrapping, &context(OWN, &owner.handle, &borrower, purpose), &wrapped);
        let key = key.and_then(|key| SecretKey::copy_of(&key)).ok_or_else(|| damaged(owner))?;
        let grant = Grant { lender: owner.handle, borrower, purpose, key: keys::aes(&key) };
        grants.insert((purpose, borrower), grant);
    }
    Ok(grants)
}

/// Who lends to whom, by the handles of the tenants: lender, borrower.
pub type Lent = (Handle, Handle);

/// By purpose and borrower.
pub(super) type Grants = BTreeMap<(Purpose, Handle), Grant>;

/// The keys of grants, made and taken, that a tenant's wrapping key wraps, wrapped with the next one.
pub(super) fn rewrap(owner: &Owner, from: &LessSafeKey, to: &LessSafeKey) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for kind in [OWN, IN] {
        for (row, wrapped) in owner.rows(&[&[kind][..], &owner.handle].concat())? {
            let (other, purpose) = parse(&row).ok_or_else(|| damaged(owner))?;
            let context = context(kind, &owner.handle, &other, purpose);
            let key = keys::unwrap(from, &context, &wrapped).ok_or_else(|| damaged(owner))?;
            rows.push((row, keys::wrap(to, keys::random_nonce()?, &context, &key)));
        }
    }
    Ok(rows)
}

/// Makes a grant, or adds to it what it lacks.
pub(super) fn give(
    lender: &KeyRing,
    borrower: &KeyRing,
    purpose: Purpose,
    (table, orders): (&Table, &Orders),
) -> Result<usize, StoreError> {
    let (from, to) = (lender.owner(), borrower.owner());
    if from.handle == to.handle {
        return Err(StoreError::LentToItself { tenant: from.label.clone() });
    }
    // Neither key is replaced until the rows are on disk. Both locks are taken in the order of the handles: two tenants may
    // grant to one another at the same moment.
    let (mut held, borrowing) = if from.handle < to.handle {
        let held = from.held_mut();
        (held, to.held())
    } else {
        let borrowing = to.held();
        (from.held_mut(), borrowing)
    };
    let borrowing = &borrowing.as_ref().ok_or_else(|| withdrawn(to))?.wrapping;
    let held = held.as_mut().ok_or_else(|| withdrawn(from))?;
    let own = grant_key(OWN, &from.handle, &to.handle, purpose);
    let own_context = context(OWN, &from.handle, &to.handle, purpose);
    let mut rows = Vec::new();
    let key = match row(from, &own)? {
        None => {
            let key = keys::random()?;
            rows.push((own, keys::wrap(&held.wrapping, keys::random_nonce()?, &own_context, key.as_slice())));
            key
        }
        Some(wrapped) => keys::unwrap(&held.wrapping, &own_context, &wrapped)
            .and_then(|key| SecretKey::copy_of(&key))
            .ok_or_else(|| damaged(from))?,
    };
    let in_context = context(IN, &to.handle, &from.handle, purpose);
    let wrapped = keys::wrap(borrowing, keys::random_nonce()?, &in_context, key.as_slice());
    rows.push((grant_key(IN, &to.handle, &from.handle, purpose), wrapped));
    let grant = Grant { lender: from.handle, borrower: to.handle, purpose, key: keys::aes(&key) };
    let mut lent = 0;
    for (row, wrapped) in from.data_key_rows(Some(purpose))? {
        let id = epoch_of_row(&row).ok_or_else(|| damaged(from))?;
        let (epoch, key) =
            open_data_key(&held.wrapping, &from.label, purpose, id, &wrapped).ok_or_else(|| damaged(from))?;
        rows.push(grant.lend(&epoch, keys::random_nonce()?, &key));
        lent += 1;
    }
    let put = |(key, value)| Write::Put { table: table.clone(), key, value };
    commit_blocking(orders, rows.into_iter().map(put).collect())?;
    // No epoch began meanwhile: that takes the lender's lock.
    held.grants.insert((purpose, to.handle), grant);
    Ok(lent)
}

/// Whether a grant is whole: there for both, with every data key that there is.
pub(super) fn is_whole(lender: &KeyRing, borrower: &KeyRing, purpose: Purpose) -> Result<bool, StoreError> {
    let (from, to) = (lender.owner(), borrower.owner());
    let held = from.held();
    if held.as_ref().is_some_and(|held| !held.grants.contains_key(&(purpose, to.handle))) {
        return Ok(false);
    }
    for key in
        [grant_key(OWN, &from.handle, &to.handle, purpose), grant_key(IN, &to.handle, &from.handle, purpose)]
    {
        if row(from, &key)?.is_none() {
            return Ok(false);
        }
    }
    let lent = from.rows(&lent_key(&from.handle, &to.handle, purpose, None))?;
    let is_lent = |id| lent.contains_key(&lent_key(&from.handle, &to.handle, purpose, id));
    Ok(from.data_key_rows(Some(purpose))?.keys().all(|row| is_lent(epoch_of_row(row))))
}

/// Who lends data keys of a purpose to whom.
pub(super) fn all(table: &Table, purpose: Purpose) -> Result<Vec<Lent>, StoreError> {
    let mut found = Vec::new();
    for row in table.prefix(&[OWN]) {
        let (key, _) = row?;
        let lender = key.get(1..).and_then(|key| key.first_chunk());
        if let (Some(lender), Some((borrower, of))) = (lender, parse(&key))
            && of == purpose
        {
            found.push((*lender, borrower));
        }
    }
    Ok(found)
}

/// Takes a grant back. Says whether there was one.
pub(super) fn take_back(
    lender: &KeyRing,
    borrower: Handle,
    purpose: Purpose,
    (table, orders): (&Table, &Orders),
) -> Result<bool, StoreError> {
    let owner = lender.owner();
    let mut held = owner.held_mut();
    // First of all nothing more is lent, and borrowed sealers open nothing.
    let had = held.as_mut().is_some_and(|held| held.grants.remove(&(purpose, borrower)).is_some());
    // What waits for a batch must not come after its own removal.
    owner.flush(table, orders)?;
    let mut gone: Vec<Vec<u8>> =
        owner.rows(&lent_key(&owner.handle, &borrower, purpose, None))?.into_keys().collect();
    gone.push(grant_key(OWN, &owner.handle, &borrower, purpose));
    gone.push(grant_key(IN, &borrower, &owner.handle, purpose));
    let delete = |key| Write::Delete { table: table.clone(), key };
    commit_blocking(orders, gone.into_iter().map(delete).collect())?;
    Ok(had)
}

/// Lends nothing more to a tenant that is no more.
pub(super) fn forget(lender: &Owner, borrower: &Handle) {
    if let Some(held) = lender.held_mut().as_mut() {
        held.grants.retain(|(_, other), _| other != borrower);
    }
}

/// What a borrower opens with.
pub(super) struct GrantedKeys {
    lender: Arc<Owner>,
    borrower: Arc<Owner>,
    purpose: Purpose,
    key: LessSafeKey,
    /// Epochs that were read. The oldest makes room.
    opened: Mutex<BTreeMap<u32, Arc<Epoch>>>,
}

impl GrantedKeys {
    /// The keys that `lender` lent to `borrower`; none if it lent none.
    pub fn open(borrower: &KeyRing, lender: &KeyRing, purpose: Purpose) -> Result<Option<Self>, StoreError> {
        let (to, from) = (borrower.owner(), lender.owner());
        let found = row(to, &grant_key(IN, &to.handle, &from.handle, purpose))?;
        let Some(wrapped) = found else { return Ok(None) };
        let held = to.held();
        let held = held.as_ref().ok_or_else(|| withdrawn(to))?;
        let context = context(IN, &to.handle, &from.handle, purpose);
        let key = keys::unwrap(&held.wrapping, &context, &wrapped).and_then(|key| SecretKey::copy_of(&key));
        let key = keys::aes(&key.ok_or_else(|| damaged(to))?);
        let (lender, borrower) = (Arc::clone(from), Arc::clone(to));
        Ok(Some(Self { lender, borrower, purpose, key, opened: Mutex::default() }))
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether it opens anything now.
    pub fn stands(&self) -> Result<(), Unsealable> {
        if self.borrower.held().is_none() {
            return Err(Unsealable::BorrowerWithdrawn);
        }
        let lending = self.lender.held();
        let lending = lending.as_ref().ok_or(Unsealable::Withdrawn)?;
        let is_lent = lending.grants.contains_key(&(self.purpose, self.borrower.handle));
        is_lent.then_some(()).ok_or(Unsealable::Revoked)
    }

    /// The epoch that a record names, if it is lent.
    pub fn epoch(&self, id: u32) -> Result<Arc<Epoch>, Unsealable> {
        self.stands()?;
        if let Some(epoch) = locked(&self.opened).get(&id) {
            return Ok(Arc::clone(epoch));
        }
        let row = lent_key(&self.lender.handle, &self.borrower.handle, self.purpose, Some(id));
        let row = self.lender.row(&row)?.ok_or(Unsealable::Key { epoch: id })?;
        let (epoch, _) = open_data_key(&self.key, &self.lender.label, self.purpose, id, &row)
            .ok_or(Unsealable::Key { epoch: id })?;
        let epoch = Arc::new(epoch);
        let mut opened = locked(&self.opened);
        opened.insert(id, Arc::clone(&epoch));
        while opened.len() > EPOCHS_OPEN_MAX {
            opened.pop_first();
        }
        Ok(epoch)
    }
}

/// The rows of all grants that a tenant made or took, for when it is no more.
pub(super) fn rows_of(owner: &Owner) -> Result<Vec<Vec<u8>>, StoreError> {
    // What it lent, also to those who are no more.
    let mut found: Vec<_> = owner.rows(&[&[LENT][..], &owner.handle].concat())?.into_keys().collect();
    for kind in [OWN, IN] {
        for row in owner.rows(&[&[kind][..], &owner.handle].concat())?.into_keys() {
            let (other, purpose) = parse(&row).ok_or_else(|| damaged(owner))?;
            let (lender, borrower) = if kind == OWN { (owner.handle, other) } else { (other, owner.handle) };
            if kind == IN {
                found.extend(owner.rows(&lent_key(&lender, &borrower, purpose, None))?.into_keys());
            }
            found.push(grant_key(OWN, &lender, &borrower, purpose));
            found.push(grant_key(IN, &borrower, &lender, purpose));
        }
    }
    Ok(found)
}

/// A row of the key table that never waits for a batch.
fn row(owner: &Owner, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let row = owner.table.get(key).map_err(|error| StoreError::engine("read a grant", &error))?;
    Ok(row.map(|row| row.to_vec()))
}

fn withdrawn(owner: &Owner) -> StoreError {
    StoreError::Withdrawn { tenant: owner.label.clone() }
}

fn context(kind: u8, whose: &Handle, other: &Handle, purpose: Purpose) -> Vec<u8> {
    [b"muster/grant/1|".as_slice(), &grant_key(kind, whose, other, purpose)].concat()
}

fn grant_key(kind: u8, whose: &Handle, other: &Handle, purpose: Purpose) -> Vec<u8> {
    [&[kind][..], whose, other, &[purpose as u8]].concat()
}

fn lent_key(lender: &Handle, borrower: &Handle, purpose: Purpose, epoch: Option<u32>) -> Vec<u8> {
    let mut key = grant_key(LENT, lender, borrower, purpose);
    if let Some(epoch) = epoch {
        key.extend_from_slice(&epoch.to_be_bytes());
    }
    key
}

/// The other tenant and the purpose in the key of a grant's row.
fn parse(row: &[u8]) -> Option<(Handle, Purpose)> {
    const HANDLE: usize = size_of::<Handle>();
    let other = row.get(1 + HANDLE..1 + 2 * HANDLE)?.try_into().ok()?;
    Some((other, purpose_of_row(row.get(HANDLE..)?)?))
}
