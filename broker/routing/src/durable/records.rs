//! Records on their way to the disk, and from there to the durable sessions that want them.

use muster_schemas::Qos;
use smallvec::SmallVec;

use super::{Record, session::Session, sessions::Sessions};
use crate::{effect::Effect, index::Match, limits::Limits, subscription::SubscriberId};

/// A record that is not yet on disk, and which sessions want it.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub(super) record: Record,
    wanted: SmallVec<[Match; 2]>,
}

impl Uncommitted {
    /// One more wants it, or wants it otherwise as well.
    pub(super) fn want(&mut self, found: Match) {
        match self.wanted.iter_mut().find(|known| known.subscriber == found.subscriber) {
            Some(known) => known.merge(found),
            None => self.wanted.push(found),
        }
    }

    /// A session wants it as it says now, if it does.
    pub(super) fn revise(&mut self, number: u64, session: &Session) {
        let subscriber = SubscriberId::durable(number);
        let Some(at) = self.wanted.iter().position(|known| known.subscriber == subscriber) else { return };
        self.wanted.remove(at);
        let wants = session.wants(&self.record, self.record.session == Some(number), false);
        // At QoS 0 it is not for what comes from the log.
        let wants = wants.filter(|found| found.qos.min(self.record.message.qos) > Qos::AtMostOnce);
        self.wanted.extend(wants.map(|found| Match { subscriber, ..found }));
    }
}

impl Sessions {
    /// A record that is not yet on disk.
    pub(super) fn uncommitted_mut(&mut self, sequence: u64) -> Option<&mut Uncommitted> {
        let uncommitted = &mut self.uncommitted;
        let at = uncommitted.binary_search_by_key(&sequence, |uncommitted| uncommitted.record.sequence);
        uncommitted.get_mut(at.ok()?)
    }

    /// Keeps a record that is on its way to the disk for the sessions that want it.
    pub(crate) fn expect(&mut self, record: Record, wanted: SmallVec<[Match; 2]>) {
        self.uncommitted.push_back(Uncommitted { record, wanted });
    }

    /// Everything up to a sequence is on disk: sessions get what they want of it, those who are caught up at once.
    pub(crate) fn committed(&mut self, up_to: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        self.committed = self.committed.max(up_to);
        let mut budget = self.limits.fanout_slice_max;
        let mut over = Vec::new();
        while let Some(Uncommitted { record, wanted }) =
            self.uncommitted.pop_front_if(|uncommitted| uncommitted.record.sequence <= up_to)
        {
            for found in wanted {
                let number = found.subscriber.durable_number();
                let Some(session) = self.all.get_mut(&number) else { continue };
                if budget > 0 && session.is_caught_up() && session.has_room(&self.limits) {
                    budget -= 1;
                    if !session.give(&record, &found, now_ms, effects) {
                        over.push((number, record.sequence));
                    }
                } else {
                    session.queue.push(record.sequence, self.limits.queue_runs_max);
                    if session.here().is_some() && !session.in_line && !session.reading {
                        session.in_line = true;
                        self.line.push_back(number);
                    }
                }
                self.changed.insert(number);
            }
            let Limits { tail_records_max, tail_bytes_max, .. } = self.limits;
            self.tail.push(record, tail_records_max, tail_bytes_max);
        }
        self.messages_expired += over.len() as u64;
        for (number, sequence) in over {
            self.unassign(number, sequence, effects);
        }
        self.ask_for_flush(now_ms);
    }

    /// No record from a sequence on is or will be on disk, and the sequences are given out again: subscriptions that were
    /// made after those records are for the records that take their places.
    pub(crate) fn uncommitted_failed(&mut self, from: u64) {
        let subscriptions = self.all.values_mut().flat_map(|session| &mut session.subscriptions);
        subscriptions.for_each(|kept| kept.since = kept.since.min(from));
        while let Some(lost) = self.uncommitted.pop_back_if(|uncommitted| uncommitted.record.sequence >= from)
        {
            for found in lost.wanted {
                if let Some(session) = self.all.get_mut(&found.subscriber.durable_number()) {
                    session.assigned.remove(&lost.record.sequence);
                }
            }
        }
        for strays in self.strays.values_mut() {
            strays.sequences.split_off(&from);
        }
    }

    /// Puts a session into the line of those to be fed.
    pub(crate) fn line_up(&mut self, number: u64) {
        if let Some(session) = self.all.get_mut(&number)
            && session.here().is_some()
            && !session.in_line
        {
            session.in_line = true;
            self.line.push_back(number);
        }
    }
}
