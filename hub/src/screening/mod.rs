//! Screening of devices' telemetry at the door, and the watch over how much they say. What is fit is `muster-screen`'s to
//! decide; here is what is known of each tenant and device, what the device is told, and the dead letter.
//!
//! ```text
//!  session ─▶ Door (one per session) ─▶ screen ─▶ Verdict          broker: PUBACK, and Input::Letter
//!               │ counts                              └─▶ letter on $SYS/dead/<topic>
//!               ▼
//!          Device (shared by its sessions) ◀── every 10 s ── watch ─▶ alarms of the registry
//! ```

mod door;
mod letter;
pub mod limits;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use muster_actors::SharedClock;
use muster_broker::{Screen, Screening};
use muster_schemas::{DeviceId, Kind, Principal, TenantId, api::TelemetrySchema};
use muster_screen::{Bounds, InvalidRules, Rules, Series};

use self::{door::Door, limits::DEVICES_MAX};
pub use watch::{OddDevices, watch};

/// How much each tenant and its devices may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantBounds {
    /// Of those that are not named.
    pub usual: Bounds,
    /// Of those that are.
    pub tenants: BTreeMap<TenantId, Bounds>,
}

impl TenantBounds {
    /// Those of a tenant.
    pub fn of(&self, tenant: &TenantId) -> Bounds {
        self.tenants.get(tenant).copied().unwrap_or(self.usual)
    }
}

/// What is known of all tenants' devices. Cheap to clone: all copies are one.
#[derive(Clone)]
pub struct Screens(Arc<Known>);

struct Known {
    tenants: Mutex<BTreeMap<TenantId, Arc<Tenant>>>,
    /// Devices that are known, of all tenants.
    devices: AtomicUsize,
    /// The number of the rules that were made last.
    rules: AtomicU64,
    bounds: Arc<TenantBounds>,
    clock: SharedClock,
}

/// What is known of one tenant.
struct Tenant {
    rules: ArcSwap<Rules>,
    bounds: Bounds,
    devices: Mutex<BTreeMap<DeviceId, Arc<Device>>>,
    /// How many series its devices have.
    series: AtomicU64,
    /// The number of the last dead letter.
    letters: AtomicU64,
}

/// What the sessions of one device share.
#[derive(Default)]
struct Device {
    series: Mutex<Series>,
    /// Messages since the last tick.
    messages: AtomicU32,
    /// When the window of dead letters began, and how many were written in it.
    letters: Mutex<(u64, u32)>,
}

impl Screens {
    /// Nothing is known yet.
    pub fn new(bounds: Arc<TenantBounds>, clock: SharedClock) -> Self {
        let (tenants, devices, rules) = Default::default();
        Self(Arc::new(Known { tenants, devices, rules, bounds, clock }))
    }

    /// What a tenant's readings are from now on.
    ///
    /// # Errors
    /// The schema makes no sense; what was said before stays.
    pub fn set(&self, tenant: &TenantId, schema: TelemetrySchema) -> Result<(), InvalidRules> {
        let rules = Arc::new(self.0.rules_of(schema)?);
        self.0.tenant(tenant).rules.store(rules);
        Ok(())
    }

    /// Whether a schema makes sense.
    ///
    /// # Errors
    /// It does not.
    pub fn check(schema: &TelemetrySchema) -> Result<(), InvalidRules> {
        Rules::new(schema.clone(), 0).map(drop)
    }
}

impl Screening for Screens {
    fn screen_of(&self, principal: &Principal) -> Option<Box<dyn Screen>> {
        if principal.kind != Kind::Device {
            return None;
        }
        let tenant = self.0.tenant(&principal.tenant);
        let device = self.0.device(&tenant, &principal.id);
        Some(Box::new(Door::new(principal.id.clone(), tenant, device, self.0.clock.clone())))
    }
}

impl Known {
    fn rules_of(&self, schema: TelemetrySchema) -> Result<Rules, InvalidRules> {
        Rules::new(schema, self.rules.fetch_add(1, Relaxed) + 1)
    }

    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        let mut tenants = lock(&self.tenants);
        if let Some(tenant) = tenants.get(id) {
            return tenant.clone();
        }
        let usual = self.rules_of(TelemetrySchema::default());
        let rules = usual.unwrap_or_else(|_| unreachable!("a schema without rules makes sense"));
        let (devices, series, letters) = Default::default();
        let (rules, bounds) = (ArcSwap::from_pointee(rules), self.bounds.of(id));
        let tenant = Arc::new(Tenant { rules, bounds, devices, series, letters });
        tenants.insert(id.clone(), tenant.clone());
        tenant
    }

    fn device(&self, tenant: &Tenant, id: &DeviceId) -> Arc<Device> {
        let mut devices = lock(&tenant.devices);
        if let Some(device) = devices.get(id) {
            return device.clone();
        }
        let device = Arc::<Device>::default();
        if self.devices.load(Relaxed) < DEVICES_MAX {
            self.devices.fetch_add(1, Relaxed);
            devices.insert(id.clone(), device.clone());
        }
        device
    }
}

/// What a panic elsewhere left behind is still counts and names.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
