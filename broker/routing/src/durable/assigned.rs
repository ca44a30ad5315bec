//! What durable sessions got as members of shares: whose a record is, until it is over or somebody else's.
//!
//! A record that its member did not take is a stray until another member has it. Strays are not on disk: they come up in
//! the turn in which a session leaves its share, and if one with a durable session is left, it has them in that turn.

use std::collections::{BTreeMap, BTreeSet};

use muster_schemas::{Qos, TopicFilter};
use smallvec::SmallVec;

use super::{
    Record, Wanted,
    row::{self, RowKind},
    sessions::Sessions,
};
use crate::{effect::Effect, index::Match};

/// By which shares a record was assigned to a session, by its sequence.
pub(crate) type Assigned = BTreeMap<u64, SmallVec<[TopicFilter; 1]>>;

/// Records of a share that nobody has.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) sequences: BTreeSet<u64>,
    /// The log is asked for some of them.
    pub(crate) is_asked: bool,
}

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
        let filters = session.assigned.entry(sequence).or_default();
        if !filters.contains(filter) {
            filters.push(filter.clone());
        }
        let value = row::encode_assigned(filters);
        self.store(number, RowKind::Assigned(sequence), Some(value), effects);
    }

    /// A record that another member did not take is for this one, who asks for it as told. Its queue is the caller's to
    /// store.
    pub(crate) fn assign_late(
        &mut self,
        sequence: u64,
        filter: &TopicFilter,
        found: Match,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let number = found.subscriber.durable_number();
        self.assign(number, sequence, filter, effects);
        if let Some(uncommitted) = self.uncommitted_mut(sequence) {
            uncommitted.want(found);
        } else if let Some(session) = self.all.get_mut(&number)
            // If its other subscriptions have brought it, and it is not over, that is as well.
            && session.flights.values().all(|flight| flight.sequence != sequence)
        {
            session.queue.put_back(sequence);
            self.note_change(number, now_ms);
            self.line_up(number);
        }
    }

    /// A record that was for this member of shares is over.
    pub(super) fn unassign(&mut self, number: u64, sequence: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        if session.assigned.remove(&sequence).is_some() {
            self.store(number, RowKind::Assigned(sequence), None, effects);
        }
    }

    /// A session does not take a record: if it was assigned to it by a share that it has left meanwhile, it is for others.
    pub(super) fn pass_over(&mut self, number: u64, sequence: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get(&number) else { return };
        let filters = session.assigned.get(&sequence).into_iter().flatten();
        let has_left =
            |filter: &&TopicFilter| session.subscriptions.iter().all(|kept| kept.filter != **filter);
        let left: Vec<_> = filters.filter(has_left).map(|filter| (filter.clone(), sequence)).collect();
        self.unclaimed.extend(left);
        self.unassign(number, sequence, effects);
    }

    /// Takes from a member what was assigned to it by a share, but for what it has in its hands: while it is connected all
    /// that is in flight, and else what is begun at QoS 2 [MQTT-4.8.2-5].
    pub(crate) fn take_assigned(
        &mut self,
        number: u64,
        filter: &TopicFilter,
        effects: &mut Vec<Effect>,
    ) -> Vec<u64> {
        let Some(session) = self.all.get_mut(&number) else { return Vec::new() };
        let is_connected = session.online().is_some();
        let in_hands = session
            .flights
            .values()
            .filter(|flight| is_connected || (flight.qos == Qos::ExactlyOnce && flight.packet_id.is_some()));
        let in_hands: BTreeSet<u64> = in_hands.map(|flight| flight.sequence).collect();
        let of_share = session.assigned.iter().filter(|(_, by)| by.contains(filter));
        let taken = of_share.map(|(sequence, _)| *sequence).filter(|sequence| !in_hands.contains(sequence));
        let taken: Vec<u64> = taken.collect();
        for sequence in &taken {
            self.unassign_by(number, *sequence, filter, effects);
        }
        taken
    }

    fn unassign_by(&mut self, number: u64, sequence: u64, filter: &TopicFilter, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        let Some(filters) = session.assigned.get_mut(&sequence) else { return };
        filters.retain(|by| by != filter);
        if filters.is_empty() {
            self.unassign(number, sequence, effects);
        } else {
            let value = row::encode_assigned(filters);
            self.store(number, RowKind::Assigned(sequence), Some(value), effects);
        }
        let (all, uncommitted) = (&self.all, &mut self.uncommitted);
        let found = uncommitted.binary_search_by_key(&sequence, |uncommitted| uncommitted.record.sequence);
        if let Some(uncommitted) = found.ok().and_then(|at| uncommitted.get_mut(at))
            && let Some(session) = all.get(&number)
        {
            uncommitted.revise(number, session);
        }
    }

    /// The shares by which something is assigned to a session.
    pub(crate) fn shares_of(&self, number: u64) -> BTreeSet<TopicFilter> {
        let assigned = self.all.get(&number).into_iter().flat_map(|session| session.assigned.values());
        assigned.flatten().cloned().collect()
    }

    /// Takes what sessions passed over, and by which shares it was theirs.
    pub(crate) fn take_unclaimed(&mut self) -> Vec<(TopicFilter, u64)> {
        std::mem::take(&mut self.unclaimed)
    }

    /// A record that is not yet on disk, or among the newest.
    pub(crate) fn recent(&self, sequence: u64) -> Option<&Record> {
        let uncommitted = &self.uncommitted;
        let at = uncommitted.binary_search_by_key(&sequence, |uncommitted| uncommitted.record.sequence);
        let uncommitted = at.ok().and_then(|at| uncommitted.get(at)).map(|uncommitted| &uncommitted.record);
        uncommitted.or_else(|| self.tail.find(sequence))
    }

    /// What the log is to be asked for, for a share.
    pub(crate) fn ask_for_strays(&mut self, group: u64) -> Option<Wanted> {
        // What is not known to be committed yet is still in memory.
        let (records_max, committed) = (self.limits.read_records_max, self.committed);
        let strays = self.strays.get_mut(&group).filter(|strays| !strays.is_asked)?;
        strays.is_asked = true;
        let on_disk = strays.sequences.range(..=committed).copied();
        Some(Wanted::These(on_disk.take(records_max).collect()))
    }
}
