//! Durable sessions after a restart: rows first, then the records of the log since the checkpoint.

use std::collections::BTreeMap;

use muster_schemas::{Message, Qos, TopicFilter};

use super::{
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
    outbound: Vec<(u16, u64, bool)>,
    inbound: Vec<u16>,
    assigned: BTreeMap<u64, TopicFilter>,
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
        for (number, rows) in found {
            // What is left of a session whose removal was cut short cannot be: rows go in one commit.
            let Rows { head: Some(head), .. } = &rows else { continue };
            let head = head.clone();
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
            RowKind::Queue => (rows.as_of, rows.queue) = row::decode_queue(value)?,
            RowKind::Outbound(id) => {
                let (sequence, is_released) = row::decode_outbound(value)?;
                rows.outbound.push((id, sequence, is_released));
            }
            RowKind::Inbound(id) => rows.inbound.push(id),
            RowKind::Assigned(sequence) => {
                rows.assigned.insert(sequence, row::decode_assigned(value)?);
            }
            RowKind::Checkpoint => {}
        }
        Ok(())
    }

    fn restore_one(&mut self, number: u64, head: Head, rows: Rows, (as_of, low, now_ms): (u64, u64, u64)) {
        let Rows { mut queue, mut outbound, inbound, mut assigned, .. } = rows;
        assigned.retain(|sequence, _| *sequence >= low);
        // What is older than the queue row stands in it, or is over.
        let since = assigned.range(as_of + 1..);
        since.for_each(|(sequence, _)| queue.put_back(*sequence));
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
        session.missed = queue.drop_below(low);
        self.missed += session.missed;
        session.expiry_s = head.expiry_s;
        session.will = head.will;
        session.subscriptions = head.subscriptions;
        session.row = (as_of, queue.search_from());
        session.queue = queue;
        session.assigned = assigned;
        session.received = inbound.into_iter().collect();
        let ends_ms = head.ends_ms.or_else(|| super::sessions::ends_ms(head.expiry_s, now_ms));
        let will_due_ms = session.will.as_ref().map(|will| {
            let due = now_ms.saturating_add(u64::from(will.delay_s) * 1_000);
            due.min(ends_ms.unwrap_or(u64::MAX))
        });
        self.insert(number, session);
        self.set_timers(number, ends_ms, will_due_ms);
    }

    /// Takes a record of the log since the checkpoint: whoever wants it and has not listed it lists it.
    pub(crate) fn restore_record(
        &mut self,
        sequence: u64,
        message: &Message,
        matches: &mut Matches,
        as_of: &BTreeMap<u64, u64>,
    ) {
        for found in matches.take_durable() {
            let number = found.subscriber.durable_number();
            if as_of.get(&number).is_some_and(|as_of| sequence <= *as_of) {
                continue;
            }
            let runs_max = self.limits.queue_runs_max;
            let Some(session) = self.session_mut(number) else { continue };
            let last_flight = session.flights.last_key_value().map_or(0, |(_, flight)| flight.sequence);
            let is_in_flight = session.flights.values().any(|flight| flight.sequence == sequence);
            let wanted = session.wants(&message.topic, sequence, true);
            let is_wanted = wanted.is_some_and(|found| found.qos.min(message.qos) > Qos::AtMostOnce);
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
