//! What a tenant's actors hold of the store: its keys and its log. It reaches no other tenant's.

use std::{fmt, sync::Arc};

use fjall::Keyspace;
use muster_schemas::TenantId;

use super::{
    KEYS_TABLE,
    committer::Orders,
    error::{StoreError, Unsealable},
    field::FieldSealer,
    grants::{self, GrantedKeys},
    log::{Place, TenantLog},
    ring::KeyRing,
    sealing::{Keys, Purpose, Sealer},
    table::Table,
};

/// The keys and the log of one tenant. Cheap to clone; made by `Store::create_tenant` and `Store::tenant`.
#[derive(Clone)]
pub struct TenantStore {
    pub(super) tenant: TenantId,
    pub(super) keys: Arc<KeyRing>,
    pub(super) log: Table,
    pub(super) marks: Keyspace,
    pub(super) orders: Orders,
}

impl TenantStore {
    /// Whose store this is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Seals and opens the tenant's records for one purpose.
    pub fn sealer(&self, purpose: Purpose) -> Sealer {
        self.keys.sealer(purpose)
    }

    /// A name as it stands on the disk: the first 16 bytes of an HMAC-SHA-256 of the parts under the tenant's index key.
    /// Equal parts give equal bytes, also after a restart; without the key they say nothing. Use it in keys of rows, with
    /// a first part that tells what is named.
    pub fn blind(&self, parts: &[&[u8]]) -> [u8; 16] {
        self.keys.blind(parts)
    }

    /// What the tenant's rows in a shared table begin with: the same 16 bytes for ever, and for nobody else.
    pub fn handle(&self) -> [u8; 16] {
        self.keys.handle()
    }

    /// Opens the log at its end on the disk, after what is on the way there. Blocks meanwhile: for the start of a router.
    ///
    /// # Errors
    /// The log has lost its tail, which the error names; the store is closed or cannot be read.
    pub fn log(&self) -> Result<TenantLog, StoreError> {
        TenantLog::open(self.place(), &self.orders)
    }

    /// As [`TenantStore::log`], but goes on after a lost tail, once a person has decided so. Readers still name the gap.
    ///
    /// # Errors
    /// The store is closed, cannot be read, or has lost the log's mark.
    pub fn log_past_damage(&self) -> Result<TenantLog, StoreError> {
        TenantLog::open_past_damage(self.place(), &self.orders)
    }

    /// Whether the tenant has withdrawn its own key: nothing of it is sealed or opened until it gives it back.
    pub fn is_withdrawn(&self) -> bool {
        self.keys.is_locked()
    }

    /// Seals and opens single fields of one stream, for what leaves the store as text.
    pub fn field_sealer(&self, stream: &str) -> FieldSealer {
        FieldSealer::new(self.clone(), stream)
    }

    /// Lends the tenant's data keys of one purpose to another tenant, those that there are and those that begin later, and
    /// says how many there are. It opens **all** that they sealed: what of it may be read is for a rule to say. Making a
    /// grant that exists completes it. Blocks.
    ///
    /// # Errors
    /// One of the two keys is withdrawn, or the commit was refused.
    pub fn grant(&self, to: &Self, purpose: Purpose) -> Result<usize, StoreError> {
        grants::give(&self.keys, &to.keys, purpose, (&self.keys_table(), &self.orders))
    }

    /// Takes a grant back; says whether there was one. What the other tenant holds opens nothing from then on. Blocks.
    ///
    /// # Errors
    /// The commit was refused: until the hub restarts nothing opens all the same.
    pub fn revoke(&self, from: &Self, purpose: Purpose) -> Result<bool, StoreError> {
        self.revoke_handle(from.keys.handle(), purpose)
    }

    /// As [`TenantStore::revoke`], from whom that handle is: a tenant that may be no more.
    ///
    /// # Errors
    /// The commit was refused: until the hub restarts nothing opens all the same.
    pub fn revoke_handle(&self, from: [u8; 16], purpose: Purpose) -> Result<bool, StoreError> {
        grants::take_back(&self.keys, from, purpose, (&self.keys_table(), &self.orders))
    }

    /// Whether the tenant lends another one all its data keys of a purpose. What a grant lacks, [`TenantStore::grant`] adds.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn lends(&self, to: &Self, purpose: Purpose) -> Result<bool, StoreError> {
        grants::is_whole(&self.keys, &to.keys, purpose)
    }

    /// Opens what `lender` lends to this tenant. It seals nothing: what it is given to seal is refused by the store.
    ///
    /// # Errors
    /// Nothing of this kind is lent, or the key of either is withdrawn.
    pub fn granted_sealer(&self, lender: &Self, purpose: Purpose) -> Result<Sealer, StoreError> {
        let not_lent =
            || StoreError::NotLent { lender: lender.tenant.clone(), borrower: self.tenant.clone() };
        let withdrawn = |whose: &Self| StoreError::Withdrawn { tenant: whose.tenant.to_string() };
        let lent = GrantedKeys::open(&self.keys, &lender.keys, purpose)?.ok_or_else(not_lent)?;
        match lent.stands() {
            Ok(()) => Ok(Sealer(Keys::Granted(Arc::new(lent)))),
            Err(Unsealable::BorrowerWithdrawn) => Err(withdrawn(self)),
            Err(Unsealable::Withdrawn) => Err(withdrawn(lender)),
            Err(_) => Err(not_lent()),
        }
    }

    pub(super) fn keys_table(&self) -> Table {
        self.log.sibling(KEYS_TABLE, self.keys.owner().table.clone())
    }

    fn place(&self) -> Place {
        Place {
            handle: self.keys.handle(),
            table: self.log.clone(),
            marks: self.marks.clone(),
            sealer: self.keys.sealer(Purpose::Log),
        }
    }
}

impl fmt::Debug for TenantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TenantStore").field(&self.tenant).finish()
    }
}
