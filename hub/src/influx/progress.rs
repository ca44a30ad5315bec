//! How far each tenant's telemetry has come, shared by the actor with those who ask: how much of the log is still needed,
//! `/metrics`, and the tenant itself.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use muster_influx::{answer::Trouble, courier::DeadLetter};
use muster_schemas::TenantId;

use super::limits::LETTERS_MAX;

/// Shared by all its clones. Without the backend it is empty.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<TenantId, Status>>>);

/// How far a tenant's telemetry has come.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Its bucket.
    pub bucket: String,
    /// The next record of its log that is to be sent: what is before it is stored there, or given up.
    pub cursor: u64,
    /// Records of the log that wait.
    pub waiting_records: u64,
    /// Bytes of the log that wait.
    pub waiting_bytes: u64,
    /// When what waits longest came in, in Unix milliseconds, to within a thousandth of what the log may hold.
    pub oldest_ms: Option<u64>,
    /// What is in the way now, and since when, in Unix milliseconds.
    pub trouble: Option<(Trouble, u64)>,
    /// When something was last stored, in Unix milliseconds.
    pub stored_ms: Option<u64>,
    /// Readings that are stored there.
    pub readings: u64,
    /// Those of them that were sealed.
    pub sealed: u64,
    /// Requests that were answered or not.
    pub requests: u64,
    /// Those of them that were not answered well.
    pub failed: u64,
    /// Lines and readings that the server will never store.
    pub refused: u64,
    /// Messages that were given up because the log was full or too old.
    pub given_up: u64,
    /// Records of the log that were damaged.
    pub damaged: u64,
    /// The newest lines that were refused, oldest first.
    pub letters: VecDeque<Letter>,
}

/// Lines that were refused.
#[derive(Debug, Clone)]
pub struct Letter {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Which, and why.
    pub letter: DeadLetter,
}

impl Status {
    /// Keeps letters, and counts what they are about.
    pub(super) fn letters(&mut self, letters: impl IntoIterator<Item = DeadLetter>, now_ms: u64) {
        for letter in letters {
            self.refused += letter.lines as u64;
            if self.letters.len() >= LETTERS_MAX {
                self.letters.pop_front();
            }
            self.letters.push_back(Letter { at_ms: now_ms, letter });
        }
    }
}

impl Progress {
    /// The log of this tenant is needed from its beginning on, until it is known how far it was sent.
    pub(super) fn expect(&self, tenant: &TenantId, bucket: &str) {
        let mut all = self.locked();
        let status = all.entry(tenant.clone()).or_default();
        bucket.clone_into(&mut status.bucket);
    }

    /// Nothing is sent for this tenant any more.
    pub(super) fn forget(&self, tenant: &TenantId) {
        self.locked().remove(tenant);
    }

    /// Changes what is known of a tenant that something is sent for.
    pub(super) fn change(&self, tenant: &TenantId, change: impl FnOnce(&mut Status)) {
        if let Some(status) = self.locked().get_mut(tenant) {
            change(status);
        }
    }

    /// The first record of a tenant's log that is still to be sent; `u64::MAX` if nothing is sent for it.
    pub fn needed_from(&self, tenant: &TenantId) -> u64 {
        self.locked().get(tenant).map_or(u64::MAX, |status| status.cursor)
    }

    /// What is known of a tenant; none if nothing is sent for it.
    pub fn of(&self, tenant: &TenantId) -> Option<Status> {
        self.locked().get(tenant).cloned()
    }

    /// What is known of all, by tenant.
    pub fn all(&self) -> Vec<(TenantId, Status)> {
        self.locked().iter().map(|(tenant, status)| (tenant.clone(), status.clone())).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TenantId, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
