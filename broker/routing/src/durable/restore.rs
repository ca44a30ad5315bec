//! Durable sessions after a restart: rows first, then the records of the log since the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use muster_schemas::Qos;

use super::{
    Record,
    assigned::Assigned,
    queue::Queue,
    row::{self, Head, InvalidRow, RowKind},
    session::{Flight, Session, Stage},
    sessions::Sessions,
};
use crate::index::Matches;

/// Why durable sessions could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("durable session {number}: {why}")]
pub struct RestoreError {
    /// Which.
    pub number: u64,
    /// Why.
    pub why: InvalidRow,
}

/// The rows of one session, as they are found.
#[derive(Default)]
struct Rows {
    head: Option<Head>,
    as_of: u64,
    queue: Queue,
    missed: u64,
    outbound: Vec<(u16, u64, bool)>,
    inbound: Vec<u16>,
    assigned: Assigned,
}

impl Sessions {
    /// Takes the rows of all sessions. A session was connected, for all we know, until now: its time begins now.
    /// Records below `low` are no longer in the log. Returns how far each session's queue row goes.
    pub(crate) fn restore(
        &mut self,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        low: u64,
        now_ms: u64,
    ) -> Result<BTreeMap<u64, u64>, RestoreError> {
        let mut found: BTreeMap<u64, Rows> = BTreeMap::new();
        self.set_checkpoint(0);
        for (key, value) in rows {
            let (number, kind) = row::split_key(&key).map_err(|why| RestoreError { number: 0, why })?;
            self.take_row(&mut found, number, kind, &value).map_err(|why| RestoreError { number, why })?;
        }
        let mut as_of = BTreeMap::new();
        let checkpoint = self.checkpoint();
        for (number, mut rows) in found {
            // What is left of a session whose removal was cut short cannot be: rows go in one commit.
            let Some(head) = rows.head.take() else { continue };
            let listed = rows.as_of.max(checkpoint);
            as_of.insert(number, listed);
            self.restore_one(number, head, rows, (listed, low, now_ms));
        }
        Ok(as_of)
    }

    fn take_row(
        &mut self,
        found: &mut BTreeMap<u64, Rows>,
        number: u64,
        kind: RowKind,
        value: &[u8],
    ) -> Result<(), InvalidRow> {
        if kind == RowKind::Checkpoint {
            self.set_checkpoint(row::decode_checkpoint(value)?);
            return Ok(());
        }
        let rows = found.entry(number).or_default();
        match kind {
            RowKind::Head => rows.head = Some(Head::decode(value)?),
            RowKind::Queue => (rows.as_of, rows.queue, rows.missed) = row::decode_queue(value)?,
            RowKind::Outbound(id) => {
                let (sequence, is_released) = row::decode_outbound(value)?;
                rows.outbound.push((id, sequence, is_released));
            }
            RowKind::Inbound(id) => rows.inbound.push(id),
            RowKind::Assigned(sequence) => {
                rows.assigned.insert(sequence, row::decode_assigned(value)?.into());
            }
            RowKind::Checkpoint => {}
        }
        Ok(())
    }

    fn restore_one(&mut self, number: u64, head: Head, rows: Rows, (as_of, low, now_ms): (u64, u64, u64)) {
        let Rows { mut queue, missed, mut outbound, inbound, mut assigned, .. } = rows;
        let lost = assigned.split_off(&low);
        let lost = std::mem::replace(&mut assigned, lost);
        // What is older than the queue row stands in it, or is over.
        let since: Vec<u64> = assigned.range(as_of + 1..).map(|(sequence, _)| *sequence).collect();
        since.iter().for_each(|sequence| queue.put_back(*sequence));
        let mut session = Session::new(head.key);
        outbound.sort_unstable_by_key(|(_, sequence, _)| *sequence);
        for (packet_id, sequence, is_released) in outbound {
            queue.remove(sequence);
            let stage = if is_released { Stage::Released } else { Stage::Sent };
            let flight =
                Flight { sequence, qos: Qos::ExactlyOnce, packet_id: Some(packet_id), stage, bytes: 0 };
            session.flights.insert(session.next_tag, flight);
            session.next_tag += 1;
        }
        let dropped = queue.drop_below(low);
        session.missed = missed + dropped;
        self.missed += dropped;
        session.expiry_s = head.expiry_s;
        session.will = head.will;
        session.change_subscriptions(|subscriptions| *subscriptions = head.subscriptions);
        session.row = (as_of, queue.search_from());
        let in_flight: BTreeSet<u64> = session.flights.values().map(|flight| flight.sequence).collect();
        let is_over = |sequence: &u64| {
            let is_searched = queue.search_from().is_some_and(|from| from <= *sequence);
            !is_searched && !in_flight.contains(sequence) && !queue.contains(*sequence)
        };
        let over = assigned.extract_if(.., |sequence, _| is_over(sequence));
        // What was not removed in time is removed with the next of its rows.
        session.suspect = over.chain(lost).map(|(sequence, _)| RowKind::Assigned(sequence)).collect();
        session.queue = queue;
        session.assigned = assigned;
        session.received = inbound.into_iter().collect();
        let ends_ms = head.ends_ms.or_else(|| super::sessions::ends_ms(head.expiry_s, now_ms));
        let will_due_ms = session.will.as_ref().map(|will| will.due_ms(now_ms, ends_ms));
        self.insert(number, session);
        self.set_timers(number, ends_ms, will_due_ms);
        if !since.is_empty() {
            // The row has to list them before the checkpoint goes past them.
            self.note_change(number, now_ms);
        }
    }

    /// Takes a record of the log since the checkpoint: whoever wants it and has not listed it lists it.
    pub(crate) fn restore_record(
        &mut self,
        record: &Record,
        matches: &mut Matches,
        as_of: &BTreeMap<u64, u64>,
    ) {
        let sequence = record.sequence;
        for found in matches.take_durable() {
            let number = found.subscriber.durable_number();
            if as_of.get(&number).is_some_and(|as_of| sequence <= *as_of) {
                continue;
            }
            let runs_max = self.limits.queue_runs_max;
            let Some(session) = self.session_mut(number) else { continue };
            let last_flight = session.flights.last_key_value().map_or(0, |(_, flight)| flight.sequence);
            let is_in_flight = session.flights.values().any(|flight| flight.sequence == sequence);
            let wanted = session.wants(record, record.session == Some(number), true);
            let is_wanted = wanted.is_some_and(|found| found.qos.min(record.message.qos) > Qos::AtMostOnce);
            if is_wanted && !is_in_flight && !session.assigned.contains_key(&sequence) {
                if sequence < last_flight && session.queue.search_from().is_none() {
                    // Not left to a search, which would find the flights after it as well. It is not far to the last.
                    session.queue.found(sequence);
                } else {
                    session.queue.push(sequence, runs_max);
                }
                self.note_change(number, 0);
            }
        }
    }

    /// From which record on [`Sessions::restore_record`] has to be called.
    pub(crate) fn restore_from(as_of: &BTreeMap<u64, u64>) -> Option<u64> {
        Some(as_of.values().copied().min()? + 1)
    }
}
