//! What is counted of enrolment, for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use muster_schemas::enrolment::RefusalCode;

/// Counters that only grow; shared with whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicU64,
    challenged: AtomicU64,
    issued: AtomicU64,
    renewed: AtomicU64,
    cleared: AtomicU64,
    held: AtomicU64,
    timed_out: AtomicU64,
    refused: ByReason,
}

/// Most reasons that are counted.
const REASONS_MAX: usize = 64;

/// One for each of [`RefusalCode::ALL`], in that order.
#[derive(Debug)]
struct ByReason([AtomicU64; REASONS_MAX]);

impl Default for ByReason {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; REASONS_MAX])
    }
}

/// What was counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// First frames of an exchange.
    pub begun: u64,
    /// Challenges sent.
    pub challenged: u64,
    /// Certificates issued to enrolling devices.
    pub issued: u64,
    /// Certificates issued to renewing devices.
    pub renewed: u64,
    /// Enrolments of known chips with a new identity key: cleared chips, or replaced disks.
    pub cleared: u64,
    /// Answers to devices that wait until a person has decided.
    pub held: u64,
    /// Connections closed because the peer was silent or did not read.
    pub timed_out: u64,
    /// Refusals, each reason that occurred by its name.
    pub refused: Vec<(&'static str, u64)>,
}

impl Counters {
    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = RefusalCode::ALL.iter().zip(&self.0.refused.0);
        Counted {
            begun: of(&self.0.begun),
            challenged: of(&self.0.challenged),
            issued: of(&self.0.issued),
            renewed: of(&self.0.renewed),
            cleared: of(&self.0.cleared),
            held: of(&self.0.held),
            timed_out: of(&self.0.timed_out),
            refused: refused.map(|(code, n)| (code.as_str(), of(n))).filter(|(_, n)| *n > 0).collect(),
        }
    }

    pub(super) fn begun(&self) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn challenged(&self) {
        self.0.challenged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn issued(&self) {
        self.0.issued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn renewed(&self) {
        self.0.renewed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn held(&self) {
        self.0.held.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cleared(&self) {
        self.0.cleared.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn timed_out(&self) {
        self.0.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, code: RefusalCode) {
        let index = RefusalCode::ALL.iter().position(|known| *known == code);
        if let Some(counter) = index.and_then(|index| self.0.refused.0.get(index)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const _: () = assert!(RefusalCode::ALL.len() <= REASONS_MAX, "every reason has a counter");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let counters = Counters::default();
        counters.refused(RefusalCode::ClaimUsed);
        counters.refused(RefusalCode::ClaimUsed);
        counters.refused(RefusalCode::HubUnavailable);
        assert_eq!(counters.counted().refused, [("claim_used", 2), ("hub_unavailable", 1)]);
    }
}
