//! A router core with its disk, its clients and everything that can go wrong between them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use muster_schemas::{Message, TopicFilter, TopicName};

use super::client::{Client, Line, News, Packet, Subscription};
use crate::{
    Access, Effect, Input, Limits, Record, Refusal, Router, RouterOptions, SubscriberId, Wanted,
    durable::Session,
    tests::{NOW_MS, publisher},
};

pub(super) const CLIENTS: usize = 3;
pub(super) const TOPICS: [&str; 3] = ["a/1", "a/2", "b"];
pub(super) const FILTERS: [&str; 4] = ["a/1", "a/+", "#", "b"];
const EXPIRY_S: u32 = 1_000_000;
/// More rounds than this are not needed by anything that ends.
const ROUNDS_MAX: usize = 400;

/// What one turn writes.
#[derive(Debug)]
struct Commit {
    records: Vec<(u64, Message)>,
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
    log: BTreeMap<u64, Message>,
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
    /// Whose subscriptions were acknowledged before it was sent, and were not given up since.
    wanted_by: BTreeSet<usize>,
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
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
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

    // --- What clients do ----------------------------------------------------------------------------------------------

    pub(super) fn connect(&mut self, who: usize, anew: bool) {
        self.cut(who);
        if anew {
            self.clients[who].begin_anew();
            self.published.iter_mut().for_each(|published| _ = published.wanted_by.remove(&who));
        }
        self.subscribers += 1;
        let subscriber = SubscriberId(self.subscribers);
        let client = &mut self.clients[who];
        client.line = Some(Line::new(subscriber));
        let clean_start = client.begins_anew;
        let (publisher, access) = (publisher(who as u64), Arc::new(Access::app()));
        let client_id = "c".parse().expect("client id");
        let attach = Input::Attach { subscriber, client_id, clean_start, expiry_s: EXPIRY_S, will: None };
        self.turn(vec![Input::Join { subscriber, publisher, access }]);
        self.turn(vec![attach]);
    }

    pub(super) fn cut(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.online = false;
        let Some(line) = client.line.take() else { return };
        let (subscriber, unacknowledged) = (line.subscriber, line.unacknowledged());
        self.turn(vec![Input::Detach { subscriber, graceful: false, expiry_s: None, unacknowledged }]);
        self.turn(vec![Input::Leave { subscriber }]);
    }

    pub(super) fn publish(&mut self, who: usize, topic: usize, qos: u8) {
        let client = &self.clients[who];
        if !client.online || client.sending.len() > 8 {
            return;
        }
        let number = self.published.len();
        let topic: TopicName = TOPICS[topic].parse().expect("topic");
        let wants = |client: &Client| {
            let mut held = client.subscriptions.iter().filter(|(_, subscription)| subscription.is_held);
            held.any(|(filter, _)| filter.matches(&topic))
        };
        let wanted_by = (0..CLIENTS).filter(|who| qos > 0 && wants(&self.clients[*who])).collect();
        self.clients[who].publish(number, qos, topic.as_str());
        self.published.push(Published {
            by: who,
            topic,
            qos,
            is_accepted: false,
            is_refused: false,
            wanted_by,
        });
    }

    pub(super) fn subscribe(&mut self, who: usize, filter: usize, qos: Option<u8>) {
        let filter: TopicFilter = FILTERS[filter].parse().expect("filter");
        let client = &mut self.clients[who];
        let Some(line) = client.line.as_mut().filter(|_| client.online) else { return };
        self.wishes += 1;
        let wish = self.wishes;
        if let Some(qos) = qos {
            line.to_server.push_back(Packet::Subscribe { filter: filter.clone(), qos, wish });
            if qos > 0 {
                let subscription = Subscription { wish, is_held: false };
                client.subscriptions.entry(filter).or_insert(subscription).wish = wish;
                return;
            }
        } else {
            line.to_server.push_back(Packet::Unsubscribe { filter: filter.clone() });
        }
        client.subscriptions.remove(&filter);
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
            Some(News::LostSession) => self.faults.push(format!("the session of {who} was lost")),
            None => {}
        }
    }

    // --- What the shell and the disk do -------------------------------------------------------------------------------

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
                Effect::Append { sequence, message, .. } => {
                    assert_eq!(sequence, self.next, "a log is appended to in order");
                    self.next += 1;
                    records.push((sequence, Message::clone(&message)));
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
        let last = records.last().map(|(sequence, _)| *sequence);
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
            for (sequence, message) in &commit.records {
                assert_eq!(*sequence, self.disk.high + 1, "a log has no gaps");
                self.disk.high = *sequence;
                self.disk.log.insert(*sequence, message.clone());
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
            let reason = Refusal::DiskFull;
            inputs.push(Input::CommitFailed { from: first, reason: reason.clone() });
            inputs.push(Input::StoreFailed { batch, reason });
        }
        self.turn(inputs);
    }

    pub(super) fn read(&mut self) {
        let Some((session, epoch, wanted)) = self.reads.pop_front() else { return };
        let record = |(sequence, message): (&u64, &Message)| Record {
            sequence: *sequence,
            received_ms: NOW_MS,
            message: Arc::new(message.clone()),
        };
        let (records, next) = match &wanted {
            Wanted::These(sequences) => {
                assert!(sequences.len() <= self.limits.read_records_max && !sequences.is_empty());
                let found = sequences.iter().filter_map(|s| self.disk.log.get_key_value(s)).map(record);
                (found.collect(), 0)
            }
            Wanted::From(from) => {
                let from = (*from).max(self.disk.low);
                let records: Vec<Record> = self.disk.log.range(from..).take(2).map(record).collect();
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
        for client in &mut self.clients {
            client.line = None;
            client.online = false;
        }
        let Disk { log, rows, low, high } = &self.disk;
        self.next = high + 1;
        self.generation += 1;
        let limits = self.limits.clone();
        let mut router = Router::new(RouterOptions { limits, durable: Vec::new(), next_sequence: self.next });
        let rows = rows.clone();
        let low = if low <= high { *low } else { self.next };
        let mut restoring = router.restore_sessions(rows, low, self.now_ms).expect("rows as they were");
        if let Some(from) = restoring.from {
            for (sequence, message) in log.range(from..) {
                router.restore_record(*sequence, message, &mut restoring);
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

    // --- Judges -------------------------------------------------------------------------------------------------------

    /// Says what is wrong once everything is quiet.
    pub(super) fn judge(&mut self) {
        for (who, client) in self.clients.iter().enumerate() {
            let mut before: BTreeMap<(usize, &str, u8, u8), usize> = BTreeMap::new();
            let (mut seen, mut once) = (BTreeSet::new(), BTreeSet::new());
            for (number, qos) in &client.got {
                let Published { by, topic, qos: sent_qos, wanted_by, is_refused, .. } =
                    &self.published[*number];
                if *qos == 2 && !once.insert(*number) {
                    self.faults.push(format!("{who} got {number} twice"));
                }
                // What was sent before the subscription, and again after it, may come behind what was sent once.
                if !seen.insert(*number) || !wanted_by.contains(&who) || *is_refused {
                    continue;
                }
                let last = before.insert((*by, topic.as_str(), *sent_qos, *qos), *number);
                if last.is_some_and(|last| last > *number) {
                    self.faults.push(format!("{who} got {number} of {by} after {last:?}"));
                }
            }
            for (number, published) in self.published.iter().enumerate() {
                if published.is_accepted && published.wanted_by.contains(&who) && !seen.contains(&number) {
                    self.faults.push(format!("{who} never got {number}"));
                }
            }
            if !client.sending.is_empty() {
                self.faults.push(format!("{who} still sends {:?}", client.sending));
            }
        }
        for (number, session) in self.router.sessions().iter() {
            let Session { flights, queue, missed, received, resend, fetched, .. } = session;
            if !flights.is_empty() || !queue.is_empty() || *missed > 0 {
                self.faults.push(format!("{number} is not through: {flights:?} {queue:?} {missed} missed"));
            }
            if !received.is_empty() || resend.len() + fetched.len() > 0 {
                self.faults.push(format!("{number} keeps what is over: {received:?} {resend:?} {fetched:?}"));
            }
        }
        if self.router.sessions().missed > 0 {
            self.faults.push("the log lost what sessions wanted".to_owned());
        }
        let rows = self.disk.rows.len();
        let sessions = self.router.sessions().len();
        if rows > 2 * sessions + 1 {
            self.faults.push(format!("{rows} rows of {sessions} sessions are on disk"));
        }
    }

    /// What holds at any time.
    pub(super) fn check_bounds(&mut self) {
        for (number, session) in self.router.sessions().iter() {
            if session.flights.len() > self.limits.flights_max {
                self.faults.push(format!("session {number} has {} flights", session.flights.len()));
            }
        }
    }
}
