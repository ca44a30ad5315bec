//! A router core with its disk, its clients and everything that can go wrong between them.

mod judge;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use muster_schemas::{TopicFilter, TopicName};

use super::client::{Client, Line, News, Packet, Subscription};
use crate::{
    Access, Effect, Input, Limits, Record, Refusal, Router, RouterOptions, SubscriberId, Wanted,
    tests::{NOW_MS, publisher},
};

/// The last of them has sessions that end with its connections.
pub(super) const CLIENTS: usize = 4;
pub(super) const TOPICS: [&str; 4] = ["a/1", "a/2", "b", "s"];
/// A subscription's identifier is the place of its filter, and one more.
pub(super) const FILTERS: [&str; 6] = ["a/1", "a/+", "#", "b", "$share/g/s", "$share/h/+"];
/// The one that everybody subscribes to with No Local.
const NO_LOCAL: &str = "b";
/// Which of them are shares, and what they share.
const SHARES: [(u32, &str); 2] = [(5, "s"), (6, "+")];
const EXPIRY_S: u32 = 1_000_000;
/// More rounds than this are not needed by anything that ends.
const ROUNDS_MAX: usize = 400;

/// What one turn writes.
#[derive(Debug)]
struct Commit {
    records: Vec<Record>,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    first: u64,
    last: Option<u64>,
    batch: u64,
    has_batch: bool,
    generation: u64,
}

/// What the disk said of a commit.
#[derive(Debug)]
struct Answer {
    commit: Commit,
    is_stored: bool,
}

/// What is on disk.
#[derive(Debug, Default)]
struct Disk {
    log: BTreeMap<u64, Record>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    low: u64,
    high: u64,
}

/// A message and who published it.
#[derive(Debug)]
struct Published {
    by: usize,
    topic: TopicName,
    qos: u8,
    is_accepted: bool,
    /// The router refused it once: what was sent after it may have been accepted before it.
    is_refused: bool,
    /// Its publisher sent it again, not knowing whether it had come: the router may have routed it twice.
    is_repeated: bool,
    /// Whose subscriptions were acknowledged before it was sent, and were not given up since.
    wanted_by: BTreeSet<usize>,
    /// The same for each share.
    shared_by: BTreeMap<u32, BTreeSet<usize>>,
    /// Shares by which it may have been in the hands of a connection without a durable session.
    at_risk: BTreeSet<u32>,
    /// Shares by which it may be over without having come: it was, for all we know, with a session that ended or crashed.
    excused: BTreeSet<u32>,
}

/// The identifier of subscriptions with a filter.
fn id_of(filter: &str) -> u32 {
    let at = FILTERS.iter().position(|known| *known == filter).expect("known");
    u32::try_from(at + 1).expect("few")
}

/// What a filter shares, and the identifier of its subscriptions.
fn share(filter: &TopicFilter) -> Option<(u32, TopicFilter)> {
    let at = FILTERS.iter().position(|known| *known == filter.as_str())?;
    let (id, shared) = SHARES.into_iter().find(|(id, _)| *id as usize == at + 1)?;
    Some((id, shared.parse().expect("filter")))
}

pub(super) struct World {
    pub(super) router: Router,
    pub(super) clients: Vec<Client>,
    limits: Limits,
    now_ms: u64,
    disk: Disk,
    commits: VecDeque<Commit>,
    answers: VecDeque<Answer>,
    reads: VecDeque<(u64, u64, Wanted)>,
    generation: u64,
    next: u64,
    need: u64,
    asked_to_continue: bool,
    subscribers: u64,
    wishes: u64,
    published: Vec<Published>,
    /// What a judge found.
    pub(super) faults: Vec<String>,
    is_told: bool,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let disk = Disk { low: 1, ..Disk::default() };
        let options = RouterOptions { limits: limits.clone(), durable: Vec::new(), next_sequence: 1 };
        Self {
            router: Router::new(options),
            clients: (0..CLIENTS).map(|who| Client::new(who + 1 == CLIENTS)).collect(),
            limits,
            now_ms: NOW_MS,
            disk,
            commits: VecDeque::new(),
            answers: VecDeque::new(),
            reads: VecDeque::new(),
            generation: 0,
            next: 1,
            need: 1,
            asked_to_continue: false,
            subscribers: 0,
            wishes: 0,
            published: Vec::new(),
            faults: Vec::new(),
            is_told: std::env::var_os("TELL").is_some(),
        }
    }

    /// Says what happens, if asked to by the environment.
    #[expect(clippy::print_stderr, reason = "for whoever looks into a failure")]
    pub(super) fn tell(&self, what: &dyn std::fmt::Debug) {
        if self.is_told {
            eprintln!("{what:?}");
        }
    }

    pub(super) fn connect(&mut self, who: usize, anew: bool) {
        self.cut(who);
        if anew {
            self.begins_anew(who);
        }
        self.subscribers += 1;
        let subscriber = SubscriberId(self.subscribers);
        let client = &mut self.clients[who];
        client.line = Some(Line::new(subscriber, client.is_brief));
        let clean_start = client.begins_anew || client.is_brief;
        let expiry_s = if client.is_brief { 0 } else { EXPIRY_S };
        let (publisher, access) = (publisher(who as u64), Arc::new(Access::app()));
        let client_id = "c".parse().expect("client id");
        let attach = Input::Attach { subscriber, client_id, clean_start, expiry_s, will: None };
        self.turn(vec![Input::Join { subscriber, publisher, access }]);
        self.turn(vec![attach]);
    }

    pub(super) fn cut(&mut self, who: usize) {
        let Some(line) = self.clients[who].line.take() else { return };
        self.is_alone(who);
        let (subscriber, unacknowledged) = (line.subscriber, line.unacknowledged());
        self.turn(vec![Input::Detach { subscriber, graceful: false, expiry_s: None, unacknowledged }]);
        self.turn(vec![Input::Leave { subscriber }]);
    }

    fn is_alone(&mut self, who: usize) {
        if self.clients[who].is_brief {
            self.begins_anew(who);
        }
        self.clients[who].is_alone();
    }

    /// A client's session ends, and with it what was begun there.
    fn begins_anew(&mut self, who: usize) {
        self.clients[who].begin_anew();
        for published in &mut self.published {
            published.wanted_by.remove(&who);
            published.shared_by.values_mut().for_each(|by| _ = by.remove(&who));
            if published.qos == 2 {
                // What was begun at QoS 2 is not for others.
                published.excused.extend(SHARES.map(|(id, _)| id));
            }
        }
    }

    /// What only connections without a durable session had is gone.
    fn excuse_what_is_at_risk(&mut self) {
        self.published.iter_mut().for_each(|published| published.excused.extend(&published.at_risk));
    }

    pub(super) fn publish(&mut self, who: usize, topic: usize, qos: u8) {
        let client = &self.clients[who];
        if !client.online || client.sending.len() > 8 {
            return;
        }
        let (by, number) = (who, self.published.len());
        let topic: TopicName = TOPICS[topic].parse().expect("topic");
        let wants = |who: usize, client: &Client| {
            let mut held = client.subscriptions.iter().filter(|(_, subscription)| subscription.is_held);
            held.any(|(filter, _)| {
                let is_own = by == who && filter.as_str() == NO_LOCAL;
                share(filter).is_none() && !is_own && filter.matches(&topic)
            })
        };
        let members = |id: u32| {
            let is_in = |client: &Client| {
                client.subscriptions.iter().any(|(filter, subscription)| {
                    let is_it = share(filter).is_some_and(|(of, shared)| of == id && shared.matches(&topic));
                    is_it && subscription.is_held
                })
            };
            (0..CLIENTS).filter(|who| is_in(&self.clients[*who])).collect::<BTreeSet<usize>>()
        };
        let shared_by = SHARES.into_iter().filter(|_| qos > 0).map(|(id, _)| (id, members(id)));
        let shared_by = shared_by.collect();
        let brief = CLIENTS - 1;
        let at_risk =
            SHARES.into_iter().map(|(id, _)| id).filter(|id| self.clients[brief].shared.contains(id));
        let at_risk = at_risk.collect();
        let wanted_by = (0..CLIENTS).filter(|who| qos > 0 && wants(*who, &self.clients[*who])).collect();
        self.clients[who].publish(number, qos, topic.as_str());
        self.published.push(Published {
            by: who,
            topic,
            qos,
            is_accepted: false,
            is_refused: false,
            is_repeated: false,
            wanted_by,
            shared_by,
            at_risk,
            excused: BTreeSet::new(),
        });
    }

    pub(super) fn subscribe(&mut self, who: usize, filter: usize, qos: Option<u8>) {
        let id = u32::try_from(filter + 1).expect("few");
        let filter: TopicFilter = FILTERS[filter].parse().expect("filter");
        let share = share(&filter);
        // Whoever shares at QoS 0 may take a message and lose it, so nobody does.
        let qos = qos.filter(|qos| *qos > 0 || share.is_none());
        let client = &mut self.clients[who];
        let Some(line) = client.line.as_mut().filter(|_| client.online) else { return };
        self.wishes += 1;
        let wish = self.wishes;
        if let Some(qos) = qos {
            line.to_server.push_back(Packet::Subscribe {
                filter: filter.clone(),
                qos,
                wish,
                id,
                no_local: filter.as_str() == NO_LOCAL,
            });
            if qos > 0 {
                let subscription = Subscription { wish, is_held: false };
                client.subscriptions.entry(filter).or_insert(subscription).wish = wish;
                client.shared.extend(share.as_ref().map(|(id, _)| *id));
                if let Some((id, shared)) = share.filter(|_| client.is_brief) {
                    let published = self.published.iter_mut().filter(|p| shared.matches(&p.topic));
                    published.for_each(|published| _ = published.at_risk.insert(id));
                }
                return;
            }
        } else {
            line.to_server.push_back(Packet::Unsubscribe { filter: filter.clone() });
        }
        client.subscriptions.remove(&filter);
        if let Some((id, _)) = share {
            let shared_by = self.published.iter_mut().filter_map(|p| p.shared_by.get_mut(&id));
            return shared_by.for_each(|by| _ = by.remove(&who));
        }
        for published in self.published.iter_mut().filter(|published| filter.matches(&published.topic)) {
            published.wanted_by.remove(&who);
        }
    }

    pub(super) fn broker_hears(&mut self, who: usize) {
        let mut inputs = Vec::new();
        if let Some(line) = &mut self.clients[who].line {
            line.read(&mut inputs);
        }
        self.turn(inputs);
    }

    pub(super) fn client_hears(&mut self, who: usize) {
        match self.clients[who].hear() {
            Some(News::Accepted(number)) => self.published[number].is_accepted = true,
            Some(News::Repeats(numbers)) => {
                numbers.into_iter().for_each(|number| self.published[number].is_repeated = true);
            }
            Some(News::LostSession) => self.faults.push(format!("the session of {who} was lost")),
            None => {}
        }
    }

    fn turn(&mut self, inputs: Vec<Input>) {
        let mut inputs = inputs;
        while !inputs.is_empty() {
            let mut effects = Vec::new();
            for input in inputs.drain(..) {
                self.tell(&input);
                self.router.handle(self.now_ms, input, &mut effects);
            }
            self.carry_out(effects, &mut inputs);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, inputs: &mut Vec<Input>) {
        let (mut records, mut rows) = (Vec::new(), Vec::new());
        let first = self.next;
        let mut closing = Vec::new();
        for effect in effects {
            self.tell(&effect);
            match effect {
                Effect::Append { sequence, publisher, session, message } => {
                    assert_eq!(sequence, self.next, "a log is appended to in order");
                    self.next += 1;
                    records.push(Record { sequence, received_ms: NOW_MS, publisher, session, message });
                }
                Effect::StoreRow { key, value } => rows.push((key, value)),
                Effect::Read { session, epoch, wanted } => self.reads.push_back((session, epoch, wanted)),
                Effect::Need { from } => self.need = from,
                Effect::Continue => self.asked_to_continue = true,
                Effect::Deliver { to, .. }
                | Effect::Published { to, .. }
                | Effect::Subscribed { to, .. }
                | Effect::Attached { to, .. }
                | Effect::Bound { to, .. }
                | Effect::Released { to, .. }
                | Effect::Forgotten { to, .. }
                | Effect::Close { to, .. } => {
                    if let Effect::Deliver { to, delivery } = &effect {
                        self.check_alone(*to, delivery);
                    }
                    let is_it =
                        |client: &&mut Client| client.line.as_ref().is_some_and(|l| l.subscriber == to);
                    if let Some(line) = self.clients.iter_mut().find(is_it).and_then(|c| c.line.as_mut()) {
                        if !line.told(effect, inputs) {
                            closing.push(to);
                        }
                        for number in line.refused.drain(..) {
                            self.published[number].is_refused = true;
                        }
                    }
                }
                _ => {}
            }
        }
        let (batch, has_batch) = self.router.seal();
        let last = records.last().map(|record| record.sequence);
        if last.is_some() || has_batch {
            let generation = self.generation;
            self.commits.push_back(Commit { records, rows, first, last, batch, has_batch, generation });
        }
        for to in closing {
            let is_it = |client: &Client| client.line.as_ref().is_some_and(|line| line.subscriber == to);
            if let Some(who) = self.clients.iter().position(is_it) {
                self.cut(who);
            }
        }
    }

    /// The disk takes the next commit, or refuses it and all that were made before the router hears of it.
    pub(super) fn commit(&mut self, is_stored: bool) {
        let Some(commit) = self.commits.pop_front() else { return };
        let failed = self.answers.iter().any(|a| !a.is_stored && a.commit.generation == commit.generation);
        let is_stored = is_stored && !failed && commit.generation == self.generation;
        if is_stored {
            for record in &commit.records {
                assert_eq!(record.sequence, self.disk.high + 1, "a log has no gaps");
                self.disk.high = record.sequence;
                self.disk.log.insert(record.sequence, record.clone());
            }
            for (key, value) in &commit.rows {
                match value {
                    Some(value) => drop(self.disk.rows.insert(key.clone(), value.clone())),
                    None => drop(self.disk.rows.remove(key)),
                }
            }
        }
        self.answers.push_back(Answer { commit, is_stored });
    }

    /// The disk takes all commits, and the router hears of them.
    pub(super) fn commit_all(&mut self) {
        while !self.commits.is_empty() || !self.answers.is_empty() {
            self.commit(true);
            self.answer();
        }
    }

    /// How many answers of the log are on their way.
    pub(super) fn reads(&self) -> usize {
        self.reads.len()
    }

    /// The router hears of a commit.
    pub(super) fn answer(&mut self) {
        let Some(Answer { commit, is_stored }) = self.answers.pop_front() else { return };
        let Commit { first, last, batch, has_batch, generation, .. } = commit;
        let mut inputs = Vec::new();
        if is_stored {
            inputs.extend(last.map(|up_to| Input::Committed { up_to }));
            inputs.extend(has_batch.then_some(Input::Stored { batch }));
        } else if generation == self.generation {
            self.generation += 1;
            self.next = first;
            self.excuse_what_is_at_risk();
            let reason = Refusal::DiskFull;
            inputs.push(Input::CommitFailed { from: first, reason: reason.clone() });
            inputs.push(Input::StoreFailed { batch, reason });
        }
        self.turn(inputs);
    }

    pub(super) fn read(&mut self) {
        let Some((session, epoch, wanted)) = self.reads.pop_front() else { return };
        let (records, next) = match &wanted {
            Wanted::These(sequences) => {
                assert!(sequences.len() <= self.limits.read_records_max && !sequences.is_empty());
                let found = sequences.iter().filter_map(|sequence| self.disk.log.get(sequence)).cloned();
                (found.collect(), 0)
            }
            Wanted::From(from) => {
                let from = (*from).max(self.disk.low);
                let records: Vec<Record> =
                    self.disk.log.range(from..).take(2).map(|(_, record)| record.clone()).collect();
                let next = records.last().map_or(from, |record| record.sequence + 1);
                (records, next)
            }
        };
        self.turn(vec![Input::Records { session, epoch, wanted, records, next }]);
    }

    pub(super) fn go_on(&mut self) {
        if std::mem::take(&mut self.asked_to_continue) {
            self.turn(vec![Input::Continue]);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        if self.router.next_deadline().is_some_and(|at| at <= self.now_ms) {
            self.turn(vec![Input::DeadlineReached]);
        }
    }

    /// Removes what nobody needs any more.
    pub(super) fn trim(&mut self) {
        let low = self.need.min(self.disk.high + 1).max(self.disk.low);
        self.disk.low = low;
        self.disk.log.retain(|sequence, _| *sequence >= low);
    }

    /// Everything that is not on disk is gone, and the router begins again.
    pub(super) fn crash(&mut self) {
        (self.commits, self.answers, self.reads) = Default::default();
        self.asked_to_continue = false;
        self.excuse_what_is_at_risk();
        (0..CLIENTS).for_each(|who| self.is_alone(who));
        let Disk { log, rows, low, high } = &self.disk;
        self.next = high + 1;
        self.generation += 1;
        let limits = self.limits.clone();
        let mut router = Router::new(RouterOptions { limits, durable: Vec::new(), next_sequence: self.next });
        let rows = rows.clone();
        let low = if low <= high { *low } else { self.next };
        let mut restoring = router.restore_sessions(rows, low, self.now_ms).expect("rows as they were");
        if let Some(from) = restoring.from {
            for (_, record) in log.range(from..) {
                router.restore_record(record, &mut restoring);
            }
        }
        self.need = router.needed_from();
        self.router = router;
    }

    /// Nothing goes wrong any more until nothing happens any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for who in 0..CLIENTS {
                if self.clients[who].line.is_none() {
                    self.connect(who, false);
                }
                for _ in 0..20 {
                    self.broker_hears(who);
                    self.client_hears(who);
                }
            }
            self.commit_all();
            self.read();
            self.go_on();
            self.pass(500);
            let quiet = |client: &Client| client.online && client.line.as_ref().is_some_and(Line::is_quiet);
            if self.clients.iter().all(quiet)
                && self.commits.is_empty()
                && self.reads.is_empty()
                && !self.asked_to_continue
                && self.router.next_deadline().is_none()
            {
                return;
            }
        }
        self.faults.push("it never gets quiet".to_owned());
    }
}
