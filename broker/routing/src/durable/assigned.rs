//! What durable sessions got as members of shares: whose a record is, until it is over or somebody else's.

use muster_schemas::{Qos, TopicFilter};

use super::{Record, row::RowKind, sessions::Sessions};
use crate::effect::Effect;

impl Sessions {
    /// A record is for this member of a share.
    pub(crate) fn assign(
        &mut self,
        number: u64,
        sequence: u64,
        filter: &TopicFilter,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.all.get_mut(&number) else { return };
        session.assigned.insert(sequence, filter.clone());
        let value = filter.as_str().as_bytes().to_vec();
        self.store(number, RowKind::Assigned(sequence), Some(value), effects);
    }

    /// A record that was for this member of a share is over.
    pub(super) fn unassign(&mut self, number: u64, sequence: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        if session.assigned.remove(&sequence).is_some() {
            self.store(number, RowKind::Assigned(sequence), None, effects);
        }
    }

    /// Takes from a member of a share what was assigned by it and not begun at QoS 2: it is for others now.
    pub(crate) fn take_assigned(
        &mut self,
        number: u64,
        filter: &TopicFilter,
        effects: &mut Vec<Effect>,
    ) -> Vec<u64> {
        let Some(session) = self.all.get_mut(&number) else { return Vec::new() };
        let begun = |sequence: &u64| {
            let flight = session.flights.values().find(|flight| flight.sequence == *sequence);
            flight.is_some_and(|flight| flight.qos == Qos::ExactlyOnce && flight.packet_id.is_some())
        };
        let of_share = session.assigned.iter().filter(|(_, by)| *by == filter).map(|(sequence, _)| *sequence);
        let taken: Vec<u64> = of_share.filter(|sequence| !begun(sequence)).collect();
        for sequence in &taken {
            self.unassign(number, *sequence, effects);
        }
        taken
    }

    /// The record of a sequence, if it is among the newest.
    pub(crate) fn recent(&self, sequence: u64) -> Option<&Record> {
        self.tail.find(sequence)
    }

    /// Lists a record for a session out of its order, as one that another member of a share did not take.
    pub(crate) fn list(&mut self, number: u64, sequence: u64, now_ms: u64) {
        if let Some(session) = self.all.get_mut(&number) {
            session.queue.put_back(sequence);
            self.note_change(number, now_ms);
            self.line_up(number);
        }
    }
}
