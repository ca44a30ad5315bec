//! What is counted of telemetry, for `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Counters that only grow; shared with whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<Counted>>);

/// What was counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Messages read from tenant logs, whatever their topic.
    pub messages: u64,
    /// Readings stored; one that is delivered again is counted again.
    pub readings: u64,
    /// Messages on telemetry topics that were kept out, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Log records that could not be read and were passed over. Each is an alarm.
    pub damaged: u64,
    /// Steps that failed and are tried again.
    pub failed: u64,
}

impl Counters {
    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts. Called once per step, so the lock costs nothing.
    pub(super) fn count(&self, count: impl FnOnce(&mut Counted)) {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
