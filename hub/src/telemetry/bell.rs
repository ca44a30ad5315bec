//! Rings the telemetry actor when a tenant's log grew, wherever it is: the bus holds the bell for as long as it runs,
//! while the actor may be restarted. An announcement that nobody heard is taken back, so that it is made again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use muster_broker::{LogGrew, LogWatch};
use muster_schemas::TenantId;

use super::actor::TelemetryActor;
use crate::place::Place;

/// For each tenant, whether its log was announced and not read since: a router announces once until then.
#[derive(Debug, Clone, Default)]
pub struct Announcements(Arc<Mutex<BTreeMap<TenantId, Arc<AtomicBool>>>>);

impl Announcements {
    /// What the bus tells of a log that grew: it goes to the actor of the moment. These are to be those of its options.
    pub fn bell(&self, telemetry: Place<TelemetryActor>) -> LogWatch {
        let announcements = self.clone();
        Arc::new(move |grew| {
            announcements.keep(&grew);
            let mark = grew.announced.clone();
            // There is one for each tenant at most, and the mailbox holds as many.
            let rung = telemetry.address().is_some_and(|telemetry| telemetry.try_send(grew).is_ok());
            if !rung {
                // It reads every log when it starts; what comes after that has to be announced anew.
                mark.store(false, Ordering::Release);
            }
        })
    }

    /// Keeps the mark of a tenant's router; a router that was restarted has another one.
    fn keep(&self, grew: &LogGrew) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.get(&grew.tenant).is_some_and(|mark| Arc::ptr_eq(mark, &grew.announced)) {
            kept.insert(grew.tenant.clone(), grew.announced.clone());
        }
    }

    /// Takes all marks back: whoever read before is gone, and announcements to it are lost.
    pub(super) fn take_back(&self) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in kept.values() {
            mark.store(false, Ordering::Release);
        }
    }
}
