//! The durable sessions of a tenant, what of them has to be on disk, and who waits for that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use muster_schemas::{Message, Qos, TopicFilter};
use smallvec::SmallVec;

use super::{
    Attached, Record, SessionKey,
    row::{self, RowKind},
    session::{Flight, Session, Stage, Will},
    tail::Tail,
};
use crate::{
    effect::Effect,
    index::Match,
    limits::{CHECKPOINT_RECORDS_MAX, FLUSH_INTERVAL_MS, FLUSH_SESSIONS_MAX, Limits},
    subscription::SubscriberId,
};

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
struct Waiting {
    batch: u64,
    /// Whose row it is; 0 is nobody's.
    number: u64,
    then: Then,
}

/// A row of a batch that is not yet on disk.
#[derive(Debug)]
struct Written {
    batch: u64,
    number: u64,
    kind: RowKind,
    is_kept: bool,
}

/// A record that is not yet on disk, and which sessions want it.
#[derive(Debug)]
struct Uncommitted {
    record: Record,
    wanted: SmallVec<[Match; 2]>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// By number, which is never used again while rows of it are on disk.
    all: BTreeMap<u64, Session>,
    by_key: HashMap<SessionKey, u64>,
    next_number: u64,
    pub(super) limits: Limits,
    pub(super) tail: Tail,
    uncommitted: VecDeque<Uncommitted>,
    /// Sessions that have something to get, in turn.
    pub(super) line: VecDeque<u64>,
    /// The batch that is being filled.
    batch: u64,
    is_open: bool,
    /// In the order of batches; bounded by what packets in progress, commits and flushes make wait.
    waiting: VecDeque<Waiting>,
    written: VecDeque<Written>,
    /// Rows of sessions that are no more, whose removal failed.
    orphans: BTreeSet<(u64, RowKind)>,
    /// Sessions whose queue row is older than their queue.
    changed: BTreeSet<u64>,
    flush_ms: Option<u64>,
    /// Every queue row holds as of this sequence.
    checkpoint: u64,
    /// The row that says so may not be on disk.
    is_checkpoint_lost: bool,
    /// The last sequence that is on disk.
    pub(crate) committed: u64,
    /// The log has given up what is below.
    low: u64,
    /// Ends and wills, by their time.
    timers: BTreeSet<(u64, u64)>,
    /// Messages that no session will get any more because the log no longer had them.
    pub(crate) missed: u64,
    /// How many have a connection.
    pub(crate) connected: usize,
    /// How many ended because no connection came in time.
    pub(crate) expired: u64,
}

impl Sessions {
    pub(crate) fn new(limits: Limits, next_sequence: u64) -> Self {
        Self {
            all: BTreeMap::new(),
            by_key: HashMap::new(),
            next_number: 1,
            limits,
            tail: Tail::default(),
            uncommitted: VecDeque::new(),
            line: VecDeque::new(),
            batch: 0,
            is_open: false,
            waiting: VecDeque::new(),
            written: VecDeque::new(),
            orphans: BTreeSet::new(),
            changed: BTreeSet::new(),
            flush_ms: None,
            checkpoint: next_sequence.saturating_sub(1),
            is_checkpoint_lost: false,
            committed: next_sequence.saturating_sub(1),
            low: 0,
            timers: BTreeSet::new(),
            missed: 0,
            connected: 0,
            expired: 0,
        }
    }

    // --- Who they are -------------------------------------------------------------------------------------------------

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn find(&self, key: &SessionKey) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn session(&self, number: u64) -> Option<&Session> {
        self.all.get(&number)
    }

    pub(crate) fn session_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.all.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Session)> {
        self.all.iter().map(|(number, session)| (*number, session))
    }

    /// Begins a session. Its rows are the caller's to write.
    pub(crate) fn create(&mut self, key: SessionKey) -> u64 {
        let number = self.next_number;
        self.insert(number, Session::new(key));
        number
    }

    /// Puts a session in its place, new or from the disk.
    pub(super) fn insert(&mut self, number: u64, session: Session) {
        self.next_number = self.next_number.max(number + 1);
        self.by_key.insert(session.key.clone(), number);
        self.all.insert(number, session);
    }

    /// Ends a session: its rows go. Returns the will that it leaves.
    pub(crate) fn end(&mut self, number: u64, effects: &mut Vec<Effect>) -> Option<(SessionKey, Will)> {
        let session = self.all.remove(&number)?;
        self.by_key.remove(&session.key);
        self.changed.remove(&number);
        for at in [session.ends_ms, session.will_due_ms].into_iter().flatten() {
            self.timers.remove(&(at, number));
        }
        let outbound = session.flights.values().filter(|flight| flight.qos == Qos::ExactlyOnce);
        let outbound = outbound.filter_map(|flight| flight.packet_id).map(RowKind::Outbound);
        let inbound = session.received.iter().map(|id| RowKind::Inbound(*id));
        let assigned = session.assigned.keys().map(|sequence| RowKind::Assigned(*sequence));
        let rows = [RowKind::Head, RowKind::Queue].into_iter().chain(outbound).chain(inbound).chain(assigned);
        for kind in rows.chain(session.suspect.iter().copied()) {
            self.store(number, kind, None, effects);
        }
        session.will.map(|will| (session.key, will))
    }

    /// When it ends, and when its will is published, while nobody has it.
    pub(crate) fn set_timers(&mut self, number: u64, ends_ms: Option<u64>, will_due_ms: Option<u64>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        for at in [session.ends_ms, session.will_due_ms].into_iter().flatten() {
            self.timers.remove(&(at, number));
        }
        (session.ends_ms, session.will_due_ms) = (ends_ms, will_due_ms);
        self.timers.extend([ends_ms, will_due_ms].into_iter().flatten().map(|at| (at, number)));
    }

    /// The next session whose end or will has come.
    pub(crate) fn due(&self, now_ms: u64) -> Option<u64> {
        self.timers.first().filter(|(at, _)| *at <= now_ms).map(|(_, number)| *number)
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        [self.timers.first().map(|(at, _)| *at), self.flush_ms].into_iter().flatten().min()
    }

    // --- Rows ---------------------------------------------------------------------------------------------------------

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
                    session.assigned.get(&sequence).map(|filter| filter.as_str().as_bytes().to_vec())
                }
                RowKind::Checkpoint => None,
            };
            self.store(number, kind, value, effects);
        }
    }

    /// Removes again what an earlier commit may have failed to remove.
    fn store_orphans(&mut self, effects: &mut Vec<Effect>) {
        if self.orphans.is_empty() {
            return;
        }
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
        closing.extend(lost.iter().filter_map(|number| self.all.get(number)?.online));
        self.ask_for_flush(now_ms);
        closing
    }

    fn start(&mut self, number: u64, to: SubscriberId, session_present: bool, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number).filter(|session| session.online == Some(to)) else {
            return;
        };
        session.started = true;
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

    // --- Records ------------------------------------------------------------------------------------------------------

    /// Keeps a record that is on its way to the disk for the sessions that want it.
    pub(crate) fn expect(
        &mut self,
        sequence: u64,
        received_ms: u64,
        message: &Arc<Message>,
        wanted: SmallVec<[Match; 2]>,
    ) {
        let record = Record { sequence, received_ms, message: message.clone() };
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
                    if session.started && !session.in_line && !session.reading {
                        session.in_line = true;
                        self.line.push_back(number);
                    }
                }
                self.changed.insert(number);
            }
            let Limits { tail_records_max, tail_bytes_max, .. } = self.limits;
            self.tail.push(record, tail_records_max, tail_bytes_max);
        }
        for (number, sequence) in over {
            self.unassign(number, sequence, effects);
        }
        self.ask_for_flush(now_ms);
    }

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
    }

    /// Puts a session into the line of those to be fed.
    pub(crate) fn line_up(&mut self, number: u64) {
        if let Some(session) = self.all.get_mut(&number)
            && session.started
            && !session.in_line
        {
            session.in_line = true;
            self.line.push_back(number);
        }
    }

    /// Notes that a session's queue row is older than its queue.
    pub(crate) fn note_change(&mut self, number: u64, now_ms: u64) {
        self.changed.insert(number);
        self.ask_for_flush(now_ms);
    }

    fn ask_for_flush(&mut self, now_ms: u64) {
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
        if self.all.is_empty() {
            return u64::MAX;
        }
        let sessions = self.all.values().filter_map(Session::needed_from).min();
        sessions.unwrap_or(u64::MAX).min(self.checkpoint + 1)
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
            for (packet_id, sequence) in released {
                let row = row::encode_outbound(sequence, true);
                self.store(number, RowKind::Outbound(packet_id), Some(row), effects);
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

/// When a session ends that nobody has from now on; none if it never does.
pub(crate) fn ends_ms(expiry_s: u32, now_ms: u64) -> Option<u64> {
    (expiry_s != u32::MAX).then(|| now_ms.saturating_add(u64::from(expiry_s) * 1_000))
}
