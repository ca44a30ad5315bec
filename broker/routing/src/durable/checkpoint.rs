//! From where on the log is needed: queue rows follow their queues a moment later, and the checkpoint follows the rows.

use std::collections::BTreeSet;

use super::{
    batch::Then,
    row::{self, RowKind},
    session::Session,
    sessions::Sessions,
};
use crate::{
    effect::Effect,
    limits::{CHECKPOINT_RECORDS_MAX, FLUSH_INTERVAL_MS, FLUSH_SESSIONS_MAX},
};

impl Sessions {
    /// Notes that a session's queue row is older than its queue.
    pub(crate) fn note_change(&mut self, number: u64, now_ms: u64) {
        self.changed.insert(number);
        self.ask_for_flush(now_ms);
    }

    pub(super) fn ask_for_flush(&mut self, now_ms: u64) {
        let is_far = !self.all.is_empty() && self.committed >= self.checkpoint + CHECKPOINT_RECORDS_MAX;
        let is_behind = is_far || self.is_checkpoint_lost;
        let is_wanted = is_behind || !self.changed.is_empty() || !self.orphans.is_empty();
        if is_wanted && self.flush_ms.is_none() {
            self.flush_ms = Some(now_ms + FLUSH_INTERVAL_MS);
        }
    }

    /// Writes queue rows that are old, as many as one turn may, and moves the checkpoint when none is left.
    pub(crate) fn flush(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.flush_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.flush_ms = None;
        let old: Vec<u64> = self.changed.iter().copied().take(FLUSH_SESSIONS_MAX).collect();
        for number in old {
            self.store_queue(number, effects);
        }
        self.store_orphans(effects);
        if self.changed.is_empty() && (self.committed > self.checkpoint || self.is_checkpoint_lost) {
            self.move_checkpoint(effects);
        }
        self.ask_for_flush(now_ms);
    }

    /// Every queue row holds as of what is committed.
    pub(crate) fn move_checkpoint(&mut self, effects: &mut Vec<Effect>) {
        self.checkpoint = self.committed;
        self.is_checkpoint_lost = false;
        self.store(0, RowKind::Checkpoint, Some(row::encode_checkpoint(self.checkpoint)), effects);
        let from = self.needed_from();
        self.wait(0, Then::Need(from));
    }

    /// The lowest sequence that the log has to keep for them.
    pub(crate) fn needed_from(&self) -> u64 {
        let strays = self.strays.values().filter_map(|strays| strays.sequences.first()).min();
        let strays = strays.copied().unwrap_or(u64::MAX);
        if self.all.is_empty() {
            return strays;
        }
        let sessions = self.all.values().filter_map(Session::needed_from).min();
        sessions.unwrap_or(u64::MAX).min(self.checkpoint + 1).min(strays)
    }

    /// Retention has given up all records below `low`: whoever had yet to get one of them has missed it.
    pub(crate) fn trimmed(&mut self, low: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        self.low = self.low.max(low);
        let behind =
            self.all.iter().filter(|(_, session)| session.needed_from().is_some_and(|from| from < low));
        let behind: Vec<u64> = behind.map(|(number, _)| *number).collect();
        for number in behind {
            self.lose(number, effects);
        }
        for strays in self.strays.values_mut() {
            let kept = strays.sequences.split_off(&low);
            self.missed += std::mem::replace(&mut strays.sequences, kept).len() as u64;
        }
        self.ask_for_flush(now_ms);
    }

    /// A session misses what it had yet to get and the log no longer has.
    pub(crate) fn lose(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let low = self.low;
        let Some(session) = self.all.get_mut(&number) else { return };
        if session.needed_from().is_some_and(|from| from < low) {
            let (mut missed, released) = session.lose_below(low);
            missed += session.queue.drop_below(low);
            session.missed += missed;
            self.missed += missed;
            let in_hands: BTreeSet<u64> = session.flights.values().map(|flight| flight.sequence).collect();
            let gone = session.assigned.range(..low).map(|(sequence, _)| *sequence);
            let gone: Vec<u64> = gone.filter(|sequence| !in_hands.contains(sequence)).collect();
            for (packet_id, sequence) in released {
                let row = row::encode_outbound(sequence, true);
                self.store(number, RowKind::Outbound(packet_id), Some(row), effects);
            }
            for sequence in gone {
                self.unassign(number, sequence, effects);
            }
            self.changed.insert(number);
        }
    }

    pub(super) fn set_checkpoint(&mut self, sequence: u64) {
        self.checkpoint = sequence;
    }

    pub(super) fn checkpoint(&self) -> u64 {
        self.checkpoint
    }
}
