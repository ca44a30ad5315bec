//! The detector of odd rates: looks every ten seconds at how much each device said, and tells of those that fell silent or
//! flood. Nothing of it is stored: after a start of the hub it learns anew.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use muster_actors::SharedClock;
use muster_schemas::{DeviceId, TenantId};
use muster_screen::{Odd, Pace, Seen, limits::TICK_MS};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use super::{
    Device, Screens,
    limits::{ALARMS_PER_TICK_MAX, FORGET_MS, NAMED_IN_ALARM_MAX, TICK, TICK_SLICE_DEVICES},
    lock,
};
use crate::registry::AlarmKind;

/// Devices of a tenant that are odd in one way: what the registry makes an alarm of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddDevices {
    /// Whose devices.
    pub tenant: TenantId,
    /// The one, or none if there are too many to be told one by one.
    pub device: Option<DeviceId>,
    /// In which way.
    pub kind: AlarmKind,
    /// In plain words.
    pub detail: String,
}

/// Watches for ever, and tells what is odd. Telling must not wait.
pub async fn watch(screens: Screens, clock: SharedClock, tell: impl Fn(Vec<OddDevices>)) {
    let mut watched = Watched::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let odd = watched.tick(&screens, clock.unix_ms());
        if !odd.is_empty() {
            tell(odd);
        }
    }
}

type Key = (TenantId, DeviceId);

/// The paces of all devices that are known.
#[derive(Default)]
pub(super) struct Watched {
    paces: BTreeMap<Key, Pace>,
    last_ms: u64,
}

impl Watched {
    /// One tick: what begins to be odd.
    pub(super) fn tick(&mut self, screens: &Screens, now_ms: u64) -> Vec<OddDevices> {
        // The hub, or its clock, was away: nobody can have been heard meanwhile.
        let was_away = now_ms < self.last_ms || now_ms > self.last_ms + 3 * TICK_MS;
        self.last_ms = now_ms;
        let mut found: BTreeMap<(TenantId, AlarmKind), Vec<(DeviceId, String)>> = BTreeMap::new();
        let tenants: Vec<_> =
            lock(&screens.0.tenants).iter().map(|(id, it)| (id.clone(), it.clone())).collect();
        for (tenant, known) in tenants {
            let mut after = None;
            loop {
                let slice = slice(&known.devices, after.as_ref());
                let Some((last, _)) = slice.last() else { break };
                after = Some(last.clone());
                for (id, device) in slice {
                    let messages = device.messages.swap(0, Relaxed);
                    let key = (tenant.clone(), id.clone());
                    let pace = self.paces.entry(key).or_insert_with(|| Pace::new(now_ms));
                    if was_away {
                        pace.resume(now_ms);
                    }
                    if let Some((kind, detail)) =
                        said(&tenant, &id, pace.tick(now_ms, Seen { messages, last_ms: now_ms }))
                    {
                        found.entry((tenant.clone(), kind)).or_default().push((id.clone(), detail));
                    }
                    if pace.is_older_than(now_ms, FORGET_MS) {
                        self.forget(screens, &tenant, &known, &id);
                    }
                }
            }
        }
        found.into_iter().flat_map(|((tenant, kind), devices)| gathered(&tenant, kind, devices)).collect()
    }

    /// How many devices it watches.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.paces.len()
    }

    /// A device without a session that has said nothing for long. Whoever has a session is known as long as that.
    fn forget(&mut self, screens: &Screens, tenant: &TenantId, known: &super::Tenant, id: &DeviceId) {
        let mut devices = lock(&known.devices);
        // Here, and in the slice that is looked at.
        if devices.get(id).is_none_or(|device| Arc::strong_count(device) > 2) {
            return;
        }
        if let Some(device) = devices.remove(id) {
            known.series.fetch_sub(lock(&device.series).len() as u64, Relaxed);
            screens.0.devices.fetch_sub(1, Relaxed);
        }
        self.paces.remove(&(tenant.clone(), id.clone()));
    }
}

type Devices = std::sync::Mutex<BTreeMap<DeviceId, Arc<Device>>>;

/// The next devices, so that sessions which open meanwhile need not wait for all of them.
fn slice(devices: &Devices, after: Option<&DeviceId>) -> Vec<(DeviceId, Arc<Device>)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let devices = lock(devices);
    let range = devices.range::<DeviceId, _>((from, Bound::Unbounded));
    range.take(TICK_SLICE_DEVICES).map(|(id, device)| (id.clone(), device.clone())).collect()
}

/// What is odd, in plain words.
fn said(tenant: &TenantId, device: &DeviceId, odd: Option<Odd>) -> Option<(AlarmKind, String)> {
    match odd? {
        Odd::Silent { for_ms, usual_ms } => {
            let (silent_s, usual_s) = (for_ms / 1_000, usual_ms / 1_000);
            let detail = format!(
                "it has said nothing for {silent_s} s, and usually speaks every {usual_s} s or more often"
            );
            Some((AlarmKind::FellSilent, detail))
        }
        Odd::Flood { rate, usual } => {
            let detail = format!("it publishes {rate:.1} messages in a second, and usually {usual:.1}");
            Some((AlarmKind::Flood, detail))
        }
        Odd::Back => {
            info!(%tenant, %device, "a device is as usual again");
            None
        }
    }
}

/// One by one as far as that helps, and else together: when a network fails, all of it falls silent.
fn gathered(tenant: &TenantId, kind: AlarmKind, mut devices: Vec<(DeviceId, String)>) -> Vec<OddDevices> {
    let odd = |device, detail| OddDevices { tenant: tenant.clone(), device, kind, detail };
    if devices.len() <= ALARMS_PER_TICK_MAX {
        return devices.into_iter().map(|(id, detail)| odd(Some(id), detail)).collect();
    }
    let count = devices.len();
    devices.truncate(NAMED_IN_ALARM_MAX);
    let named: Vec<_> = devices.iter().map(|(id, _)| id.as_str()).collect();
    let what = if kind == AlarmKind::Flood { "flood" } else { "fell silent" };
    vec![odd(None, format!("{count} devices {what} at once, among them {}", named.join(", ")))]
}
