//! The durable sessions of a tenant: who they are, and when they end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use muster_schemas::{Qos, TopicFilter};

use super::{
    SessionKey,
    assigned::Strays,
    batch::{Waiting, Written},
    records::Uncommitted,
    row::RowKind,
    session::{Link, Session, Will},
    tail::Tail,
};
use crate::{effect::Effect, limits::Limits, subscription::SubscriberId};

/// All of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// By number, which is never used again while rows of it are on disk.
    pub(super) all: BTreeMap<u64, Session>,
    pub(super) by_key: HashMap<SessionKey, u64>,
    pub(super) next_number: u64,
    pub(super) limits: Limits,
    pub(super) tail: Tail,
    pub(super) uncommitted: VecDeque<Uncommitted>,
    /// Sessions that have something to get, in turn.
    pub(super) line: VecDeque<u64>,
    /// The batch that is being filled.
    pub(super) batch: u64,
    pub(super) is_open: bool,
    /// In the order of batches; bounded by what packets in progress, commits and flushes make wait.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) written: VecDeque<Written>,
    /// Rows of sessions that are no more, whose removal failed.
    pub(super) orphans: BTreeSet<(u64, RowKind)>,
    /// Sessions whose queue row is older than their queue.
    pub(super) changed: BTreeSet<u64>,
    pub(super) flush_ms: Option<u64>,
    /// Every queue row holds as of this sequence.
    pub(super) checkpoint: u64,
    /// The row that says so may not be on disk.
    pub(super) is_checkpoint_lost: bool,
    /// The last sequence that is on disk.
    pub(crate) committed: u64,
    /// The log has given up what is below.
    pub(super) low: u64,
    /// What sessions passed over as members of shares that they have left, until the router finds others for it.
    pub(super) unclaimed: Vec<(TopicFilter, u64)>,
    /// By group. Bounded by what the log keeps for durable sessions, for it was assigned to one.
    pub(crate) strays: BTreeMap<u64, Strays>,
    /// Ends and wills, by their time.
    pub(super) timers: BTreeSet<(u64, u64)>,
    /// Messages that no session will get any more because the log no longer had them.
    pub(crate) missed: u64,
    /// Messages that lost their meaning before their session could have them.
    pub(crate) messages_expired: u64,
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
            unclaimed: Vec::new(),
            strays: BTreeMap::new(),
            timers: BTreeSet::new(),
            missed: 0,
            messages_expired: 0,
            connected: 0,
            expired: 0,
        }
    }

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

    /// Whether a session is not to get back what it publishes on some topic.
    pub(crate) fn has_no_local(&self, number: u64) -> bool {
        self.session(number).is_some_and(|session| session.has_no_local)
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

    /// A connection has it from now on, and leaves this will. Returns the one before. Its head is the caller's to write.
    pub(crate) fn take_up(
        &mut self,
        number: u64,
        to: SubscriberId,
        expiry_s: u32,
        will: Option<Will>,
    ) -> Option<Will> {
        self.set_timers(number, None, None);
        let session = self.all.get_mut(&number)?;
        session.link = Link::Coming(to);
        session.expiry_s = expiry_s;
        session.suspect.remove(&RowKind::Head);
        self.connected += 1;
        std::mem::replace(&mut session.will, will)
    }

    /// Its connection is gone, and nobody has it. What the log no longer has it misses.
    pub(crate) fn put_down(
        &mut self,
        number: u64,
        expiry_s: Option<u32>,
        unacknowledged: &[(u16, u64)],
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.all.get_mut(&number) else { return };
        self.connected -= usize::from(session.online().is_some());
        session.ground(unacknowledged);
        session.expiry_s = expiry_s.unwrap_or(session.expiry_s);
        self.lose(number, effects);
    }

    /// Its time begins: that to its end, and that to its will.
    pub(crate) fn begin_to_wait(&mut self, number: u64, now_ms: u64) {
        let Some(session) = self.all.get(&number) else { return };
        let ends_ms = ends_ms(session.expiry_s, now_ms);
        let will_due_ms = session.will.as_ref().map(|will| will.due_ms(now_ms, ends_ms));
        self.set_timers(number, ends_ms, will_due_ms);
    }

    /// Ends a session: its rows go.
    pub(crate) fn end(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.all.remove(&number) else { return };
        if session.has_suspect_assignment() {
            self.store_heirs(effects);
        }
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
}

/// When a session ends that nobody has from now on; none if it never does.
pub(super) fn ends_ms(expiry_s: u32, now_ms: u64) -> Option<u64> {
    (expiry_s != u32::MAX).then(|| now_ms.saturating_add(u64::from(expiry_s) * 1_000))
}
