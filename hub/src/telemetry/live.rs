//! What is not stored yet, shared between the actor that fills it and whoever asks for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use muster_schemas::TenantId;

use super::core::Filling;

/// The open streams of all tenants that are being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Live(Arc<RwLock<BTreeMap<TenantId, Tenant>>>);

/// The open streams of one tenant. Held for one step of the log, or for a copy of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Tenant {
    filling: Arc<Mutex<Filling>>,
    bytes: Arc<AtomicUsize>,
}

impl Live {
    /// Begins anew with a tenant.
    pub fn put(&self, tenant: TenantId, filling: Filling) -> Tenant {
        let put = Tenant { filling: Arc::new(Mutex::new(filling)), bytes: Arc::default() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, put.clone());
        put
    }

    /// Forgets a tenant.
    pub fn remove(&self, tenant: &TenantId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }

    /// A tenant, if its log is read.
    pub fn tenant(&self, tenant: &TenantId) -> Option<Tenant> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// About how many bytes all open streams take.
    pub fn bytes(&self) -> usize {
        let tenants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().map(|tenant| tenant.bytes.load(Ordering::Relaxed)).sum()
    }
}

impl Tenant {
    /// Nobody changes it meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others how much memory it takes.
    pub fn weigh(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How much memory it was told to take.
    pub fn weight(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}
