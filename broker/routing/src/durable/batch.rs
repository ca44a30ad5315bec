//! Rows of durable sessions on their way to the disk: one batch goes with each commit, and whoever waits for it is told
//! when it is there.

use std::collections::BTreeSet;

use muster_schemas::Qos;

use super::{
    Attached,
    row::{self, RowKind},
    session::{Flight, Link, Session, Stage},
    sessions::Sessions,
};
use crate::{effect::Effect, subscription::SubscriberId};

/// What happens once a batch of rows is on disk.
#[derive(Debug)]
pub(crate) enum Then {
    /// Somebody is told.
    Say(Box<Effect>),
    /// A connection is told that it has its session, and is fed from then on.
    Start { to: SubscriberId, session_present: bool },
    /// The log is no longer needed below this.
    Need(u64),
}

#[derive(Debug)]
pub(super) struct Waiting {
    batch: u64,
    /// Whose row it is; 0 is nobody's.
    number: u64,
    then: Then,
}

/// A row of a batch that is not yet on disk.
#[derive(Debug)]
pub(super) struct Written {
    batch: u64,
    number: u64,
    kind: RowKind,
    is_kept: bool,
}

impl Sessions {
    /// Writes or removes a row with this turn's commit.
    pub(super) fn store(
        &mut self,
        number: u64,
        kind: RowKind,
        value: Option<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) {
        self.is_open = true;
        self.written.push_back(Written { batch: self.batch, number, kind, is_kept: value.is_some() });
        effects.push(Effect::StoreRow { key: row::key(number, kind), value });
    }

    pub(crate) fn store_head(&mut self, number: u64, effects: &mut Vec<Effect>) {
        // An earlier session of the same client may still be on disk; there is never more than one.
        self.store_orphans(effects);
        if let Some(session) = self.all.get(&number) {
            let head = session.head().encode();
            self.store(number, RowKind::Head, Some(head), effects);
        }
    }

    pub(crate) fn store_queue(&mut self, number: u64, effects: &mut Vec<Effect>) {
        // It leaves out what has a row of its own, so that these rows have to be there.
        self.store_suspects(number, effects);
        self.write_queue(number, effects);
    }

    fn write_queue(&mut self, number: u64, effects: &mut Vec<Effect>) {
        if let Some(queue) = self.queue_row(number) {
            self.store(number, RowKind::Queue, Some(queue), effects);
            self.changed.remove(&number);
        }
    }

    fn queue_row(&mut self, number: u64) -> Option<Vec<u8>> {
        let session = self.all.get_mut(&number)?;
        let queue = session.queue_on_disk();
        session.row = (self.committed, queue.search_from());
        Some(row::encode_queue(self.committed, &queue, session.missed))
    }

    /// Writes again what an earlier commit may have failed to write.
    pub(crate) fn store_suspects(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get(&number) else { return };
        let has_heirs = session.has_suspect_assignment();
        self.write_suspects(number, effects);
        if has_heirs {
            self.store_heirs(effects);
        }
    }

    /// Whose a record of a share is must be on disk with whose it no longer is: all rows that say so are written together.
    pub(super) fn store_heirs(&mut self, effects: &mut Vec<Effect>) {
        let is_heir = |number: &u64| self.all.get(number).is_some_and(Session::has_suspect_assignment);
        let heirs: Vec<u64> = self.changed.iter().copied().filter(is_heir).collect();
        for number in heirs {
            self.write_suspects(number, effects);
            self.write_queue(number, effects);
        }
    }

    fn write_suspects(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        for kind in std::mem::take(&mut session.suspect) {
            let Some(session) = self.all.get(&number) else { return };
            let value = match kind {
                RowKind::Head => Some(session.head().encode()),
                RowKind::Queue => self.queue_row(number),
                RowKind::Outbound(id) => {
                    let is_it =
                        |flight: &&Flight| flight.packet_id == Some(id) && flight.qos == Qos::ExactlyOnce;
                    let flight = session.flights.values().find(is_it);
                    flight.map(|f| row::encode_outbound(f.sequence, f.stage == Stage::Released))
                }
                RowKind::Inbound(id) => session.received.contains(&id).then(Vec::new),
                RowKind::Assigned(sequence) => {
                    session.assigned.get(&sequence).map(|filters| row::encode_assigned(filters))
                }
                RowKind::Checkpoint => None,
            };
            self.store(number, kind, value, effects);
        }
    }

    /// Removes again what an earlier commit may have failed to remove.
    pub(super) fn store_orphans(&mut self, effects: &mut Vec<Effect>) {
        if self.orphans.is_empty() {
            return;
        }
        self.store_heirs(effects);
        for (number, kind) in std::mem::take(&mut self.orphans) {
            self.store(number, kind, None, effects);
        }
        if self.all.is_empty() {
            self.wait(0, Then::Need(u64::MAX));
        }
    }

    /// Does something once this turn's rows are on disk.
    pub(crate) fn wait(&mut self, number: u64, then: Then) {
        self.is_open = true;
        self.waiting.push_back(Waiting { batch: self.batch, number, then });
    }

    /// Closes the batch that the shell is about to commit. Its number, and whether there is anything in it.
    pub(crate) fn seal(&mut self) -> (u64, bool) {
        let batch = self.batch;
        let is_open = std::mem::take(&mut self.is_open);
        self.batch += u64::from(is_open);
        (batch, is_open)
    }

    /// A batch is on disk, and all before it.
    pub(crate) fn stored(&mut self, batch: u64, effects: &mut Vec<Effect>) {
        while self.written.pop_front_if(|row| row.batch <= batch).is_some() {}
        while let Some(Waiting { number, then, .. }) = self.waiting.pop_front_if(|w| w.batch <= batch) {
            match then {
                Then::Say(effect) => effects.push(*effect),
                Then::Start { to, session_present } => self.start(number, to, session_present, effects),
                Then::Need(sequence) => {
                    // A session that began since may need more than those of then.
                    effects.push(Effect::Need { from: sequence.min(self.needed_from()) });
                }
            }
        }
    }

    /// A batch is not on disk, nor is any after it. Whoever waits for it is to be closed, and whoever has one of its
    /// sessions: returns them. The rows are written again before long.
    pub(crate) fn failed(&mut self, batch: u64, now_ms: u64) -> BTreeSet<SubscriberId> {
        let (mut lost, mut closing) = (BTreeSet::new(), BTreeSet::new());
        let (open, written) = (self.batch, &mut self.written);
        let failed =
            written.partition_point(|row| row.batch < batch)..written.partition_point(|row| row.batch < open);
        for Written { number, kind, is_kept, .. } in written.drain(failed).rev() {
            lost.insert(number);
            match self.all.get_mut(&number) {
                Some(session) => {
                    if let (RowKind::Inbound(id), true) = (kind, is_kept) {
                        session.received.remove(&id);
                    }
                    session.suspect.insert(kind);
                    self.changed.insert(number);
                }
                None if kind == RowKind::Checkpoint => self.is_checkpoint_lost = true,
                None if number > 0 => drop(self.orphans.insert((number, kind))),
                None => {}
            }
        }
        let waiting = &mut self.waiting;
        let failed =
            waiting.partition_point(|w| w.batch < batch)..waiting.partition_point(|w| w.batch < open);
        for Waiting { number, then, .. } in waiting.drain(failed) {
            lost.insert(number);
            closing.extend(match then {
                Then::Say(effect) => effect.addressee(),
                Then::Start { to, .. } => Some(to),
                Then::Need(_) => None,
            });
        }
        closing.extend(lost.iter().filter_map(|number| self.all.get(number)?.online()));
        self.ask_for_flush(now_ms);
        closing
    }

    /// A quarantine is over: the connection gets what waits.
    pub(crate) fn release_held(&mut self, number: u64) {
        if let Some(session) = self.all.get_mut(&number)
            && std::mem::take(&mut session.is_held)
        {
            self.line_up(number);
        }
    }

    fn start(&mut self, number: u64, to: SubscriberId, session_present: bool, effects: &mut Vec<Effect>) {
        let is_waiting = |session: &&mut Session| session.link == Link::Coming(to);
        let Some(session) = self.all.get_mut(&number).filter(is_waiting) else { return };
        session.link = Link::Here(to);
        session.resend = session.flights.keys().copied().collect();
        let attached = Attached {
            session_present,
            expiry_s: session.expiry_s,
            in_flight: session.flights.values().filter_map(|flight| flight.packet_id).collect(),
            received: session.received.iter().copied().collect(),
            missed: std::mem::take(&mut session.missed),
        };
        if attached.missed > 0 {
            // It is told once.
            self.changed.insert(number);
        }
        effects.push(Effect::Attached { to, outcome: Ok(Box::new(attached)) });
        self.line_up(number);
    }
}
