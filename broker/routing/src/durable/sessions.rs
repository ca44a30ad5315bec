//! The durable sessions of a tenant, what of them has to be on disk, and who waits for that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use muster_schemas::{Message, Qos};
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
    /// The last sequence that is on disk.
    pub(super) committed: u64,
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
        let rows = [RowKind::Head, RowKind::Queue].into_iter().chain(outbound).chain(inbound);
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
        if let Some(session) = self.all.get(&number) {
            let head = session.head().encode();
            self.store(number, RowKind::Head, Some(head), effects);
        }
    }

    pub(crate) fn store_queue(&mut self, number: u64, effects: &mut Vec<Effect>) {
        if let Some(session) = self.all.get(&number) {
            let queue = row::encode_queue(self.committed, &session.queue_on_disk(), session.missed);
            self.store(number, RowKind::Queue, Some(queue), effects);
            self.changed.remove(&number);
        }
    }

    /// Writes again what an earlier commit may have failed to write.
    pub(crate) fn store_suspects(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.get_mut(&number) else { return };
        for kind in std::mem::take(&mut session.suspect) {
            let Some(session) = self.all.get(&number) else { return };
            let value = match kind {
                RowKind::Head => Some(session.head().encode()),
                RowKind::Queue => {
                    Some(row::encode_queue(self.committed, &session.queue_on_disk(), session.missed))
                }
                RowKind::Outbound(id) => {
                    let is_it =
                        |flight: &&Flight| flight.packet_id == Some(id) && flight.qos == Qos::ExactlyOnce;
                    let flight = session.flights.values().find(is_it);
                    flight.map(|f| row::encode_outbound(f.sequence, f.stage == Stage::Released))
                }
                RowKind::Inbound(id) => session.received.contains(&id).then(Vec::new),
                RowKind::Checkpoint => None,
            };
            self.store(number, kind, value, effects);
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
                Then::Need(sequence) => effects.push(Effect::Need { from: sequence }),
            }
        }
    }

    /// A batch is not on disk, nor is any after it. Their sessions' connections are to be closed: returns them.
    pub(crate) fn failed(&mut self, batch: u64) -> Vec<SubscriberId> {
        let mut lost = BTreeSet::new();
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
                }
                None if number > 0 => drop(self.orphans.insert((number, kind))),
                None => {}
            }
        }
        let waiting = &mut self.waiting;
        let failed =
            waiting.partition_point(|w| w.batch < batch)..waiting.partition_point(|w| w.batch < open);
        lost.extend(waiting.drain(failed).map(|waiting| waiting.number));
        lost.iter().filter_map(|number| self.all.get(number)?.online).collect()
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
        while let Some(Uncommitted { record, wanted }) =
            self.uncommitted.pop_front_if(|uncommitted| uncommitted.record.sequence <= up_to)
        {
            for found in wanted {
                let number = found.subscriber.durable_number();
                let Some(session) = self.all.get_mut(&number) else { continue };
                if budget > 0 && session.is_caught_up() && session.has_room(&self.limits) {
                    budget -= 1;
                    session.give(&record, &found, now_ms, effects);
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
        self.ask_for_flush(now_ms);
    }

    /// No record from a sequence on is or will be on disk.
    pub(crate) fn uncommitted_failed(&mut self, from: u64) {
        while self.uncommitted.pop_back_if(|uncommitted| uncommitted.record.sequence >= from).is_some() {}
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
        let is_wanted = is_far || !self.changed.is_empty() || !self.orphans.is_empty();
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
        for (number, kind) in std::mem::take(&mut self.orphans) {
            self.store(number, kind, None, effects);
        }
        if self.changed.is_empty() && self.committed > self.checkpoint {
            self.move_checkpoint(effects);
        }
        self.ask_for_flush(now_ms);
    }

    /// Every queue row holds as of what is committed.
    pub(crate) fn move_checkpoint(&mut self, effects: &mut Vec<Effect>) {
        self.checkpoint = self.committed;
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
