//! Which tenant is served where: the one table that connections of all tenants read.
//!
//! An entry is an address to knock at, not a way in: what a connection gets from its tenant is a session of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use actix::{ArbiterHandle, Recipient};
use muster_actors::{Credit, Permit};
use muster_mqtt::ReasonCode;
use muster_schemas::TenantId;

use crate::{
    admission::NotAdmitted,
    inspection::Inspector,
    limits::{HUB_BATCHES_MAX, HUB_BYTES_MAX},
    session::CloseSession,
    tenant::{CloseMatching, OpenSession},
};

/// How to reach one tenant.
pub(crate) struct Entry {
    /// Opens sessions.
    pub(crate) supervisor: Recipient<OpenSession>,
    /// Closes sessions.
    pub(crate) closer: Recipient<CloseMatching>,
    /// Looks into the tenant.
    pub(crate) inspector: Inspector,
    /// What the tenant may have under way in all.
    pub(crate) credit: Credit,
    /// The arbiter it lives on, if it lives on one, and the places there for its connections.
    pub(crate) home: Option<(ArbiterHandle, Credit)>,
}

/// The tenants of this hub, and what all of them together may have under way.
pub(crate) struct Directory {
    tenants: RwLock<Tenants>,
    /// How often sessions were told to close.
    endings: AtomicU64,
    hub: Credit,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            tenants: RwLock::default(),
            endings: AtomicU64::new(0),
            hub: Credit::new("hub", HUB_BATCHES_MAX, HUB_BYTES_MAX),
        }
    }
}

#[derive(Default)]
struct Tenants {
    /// None for a tenant that is about to start.
    entries: BTreeMap<TenantId, Option<Arc<Entry>>>,
    /// Those that are suspended.
    barred: BTreeSet<TenantId>,
    /// Those that have withdrawn their key: they are not served at all.
    withdrawn: BTreeSet<TenantId>,
    /// The hub shuts down: nobody is let in any more.
    closed: bool,
}

impl Directory {
    /// What all tenants together may have under way.
    pub(crate) fn hub(&self) -> &Credit {
        &self.hub
    }

    /// Names a tenant whose supervisor is about to start. Says false if it was named before.
    pub(crate) fn expect(&self, tenant: &TenantId) -> bool {
        let entries = &mut self.write().entries;
        let is_new = !entries.contains_key(tenant);
        if is_new {
            entries.insert(tenant.clone(), None);
        }
        is_new
    }

    /// Adds a tenant's address, or replaces it after a restart.
    pub(crate) fn announce(&self, tenant: TenantId, entry: Entry) {
        self.write().entries.insert(tenant, Some(Arc::new(entry)));
    }

    /// The tenant's address, whether or not anybody is let in.
    pub(crate) fn entry(&self, tenant: &TenantId) -> Option<Arc<Entry>> {
        self.read().entries.get(tenant)?.clone()
    }

    /// The tenant's address, or what to tell its peer.
    pub(crate) fn find(&self, tenant: &TenantId) -> Result<Arc<Entry>, NotAdmitted> {
        let tenants = self.read();
        let (code, reason) = match tenants.entries.get(tenant) {
            _ if tenants.closed => (
                ReasonCode::ServerUnavailable,
                "the hub is shutting down; connect again in a moment".to_owned(),
            ),
            _ if tenants.withdrawn.contains(tenant) => (
                ReasonCode::ServerUnavailable,
                format!(
                    "tenant {tenant} has withdrawn its key: nothing of it is read or stored until it gives the key back; \
                     keep what you have and try again later"
                ),
            ),
            Some(_) if tenants.barred.contains(tenant) => {
                (ReasonCode::Banned, format!("tenant {tenant} is suspended; ask the operator of the hub"))
            }
            Some(Some(entry)) => return Ok(entry.clone()),
            Some(None) => return Err(NotAdmitted::restarting(tenant)),
            None => (
                ReasonCode::ServerUnavailable,
                format!("tenant {tenant} is not served by this hub; ask its operator which hub serves it"),
            ),
        };
        Err(NotAdmitted { code, reason })
    }

    /// A place for one more of the tenant's connections on the arbiter of its router, while there are any: then nothing that
    /// it sends or gets crosses threads. The connections beyond that use all arbiters.
    pub(crate) fn home(&self, tenant: &TenantId) -> Option<(ArbiterHandle, Permit)> {
        let tenants = self.read();
        let (arbiter, places) = tenants.entries.get(tenant)?.as_ref()?.home.as_ref()?;
        Some((arbiter.clone(), places.try_acquire(0)?))
    }

    /// How often sessions were told to close. It is counted before they are told.
    pub(crate) fn endings(&self) -> u64 {
        self.endings.load(Ordering::SeqCst)
    }

    /// Lets nobody of a tenant in, or lets them in again: also those who come without a certificate.
    pub(crate) fn bar(&self, tenant: &TenantId, is_barred: bool) {
        let barred = &mut self.write().barred;
        if is_barred {
            barred.insert(tenant.clone());
        } else {
            barred.remove(tenant);
        }
    }

    /// Forgets a tenant that has withdrawn its key, and tells its sessions to close.
    pub(crate) fn withdraw(&self, tenant: &TenantId, closing: CloseSession) {
        self.close(tenant, CloseMatching { kind: None, principal: None, closing });
        let mut tenants = self.write();
        tenants.withdrawn.insert(tenant.clone());
        tenants.entries.remove(tenant);
    }

    /// A tenant that gave its key back is served again as soon as it is added.
    pub(crate) fn restore(&self, tenant: &TenantId) {
        self.write().withdrawn.remove(tenant);
    }

    /// Tells a tenant to close sessions, if it is served.
    pub(crate) fn close(&self, tenant: &TenantId, message: CloseMatching) {
        self.endings.fetch_add(1, Ordering::SeqCst);
        if let Some(Some(entry)) = self.read().entries.get(tenant) {
            entry.closer.do_send(message);
        }
    }

    /// Tells every tenant to close every session, and finds none from now on.
    pub(crate) fn close_all(&self, closing: &CloseSession) {
        let mut tenants = self.write();
        tenants.closed = true;
        for entry in tenants.entries.values().flatten() {
            entry.closer.do_send(CloseMatching { kind: None, principal: None, closing: closing.clone() });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tenants> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tenants> {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner)
    }
}
