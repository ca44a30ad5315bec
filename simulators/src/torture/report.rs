//! What a run came to.

use std::{fmt, time::Duration};

use super::{
    TortureOptions,
    ledger::{Ledger, Numbers},
};

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Report {
    seed: u64,
    kills: u32,
    cuts: u32,
    /// Changes of files that were not synced at a power cut, and those of them that were lost.
    pub unsynced: (u64, u64),
    /// Torn batches that the hub found at a start, and cut off.
    pub torn: u64,
    /// Its numbers.
    pub numbers: Numbers,
    /// What must not be, in words; the first ones.
    pub violations: Vec<String>,
    /// Median of the times from start to ready, and the longest.
    pub restart: (Duration, Duration),
}

impl Report {
    pub(super) fn new(
        options: &TortureOptions,
        ledger: &Ledger,
        restarts: &[Duration],
        unsynced: (u64, u64),
        torn: u64,
    ) -> Self {
        let mut restarts = restarts.to_vec();
        restarts.sort_unstable();
        let median = restarts.get(restarts.len() / 2).copied().unwrap_or_default();
        let longest = restarts.last().copied().unwrap_or_default();
        Self {
            seed: options.seed,
            kills: options.kills,
            cuts: options.cuts,
            unsynced,
            torn,
            numbers: ledger.numbers,
            violations: ledger.violations.clone(),
            restart: (median, longest),
        }
    }

    /// Whether all that was promised was kept.
    pub fn is_well(&self) -> bool {
        self.numbers.violations == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { acknowledged: [qos_1, qos_2], delivered, packs, readings, .. } = self.numbers;
        let Numbers { duplicates_qos_1, repeated_qos_2, refused, turned_away, violations, .. } = self.numbers;
        let (median, longest) = self.restart;
        let Self { seed, kills, cuts, unsynced: (unsynced, lost), torn, .. } = self;
        writeln!(
            f,
            "seed {seed}: {kills} kills; {cuts} power cuts, {lost} of {unsynced} unsynced changes lost, {torn} \
             torn batches cut off"
        )?;
        writeln!(f, "  ready after {median:.0?} (median), {longest:.0?} (longest)")?;
        writeln!(
            f,
            "  acknowledged: {qos_1} at QoS 1, {qos_2} at QoS 2; refused: {refused}; connections told to wait: {turned_away}"
        )?;
        writeln!(
            f,
            "  delivered: {delivered}; again: {duplicates_qos_1} at QoS 1 (allowed), {repeated_qos_2} at QoS 2 \
             before PUBREL (recognised)"
        )?;
        writeln!(
            f,
            "  telemetry: {packs} packs acknowledged, {readings} readings of them in the history, once each"
        )?;
        write!(f, "  violations: {violations}")?;
        for violation in &self.violations {
            write!(f, "\n    {violation}")?;
        }
        Ok(())
    }
}
