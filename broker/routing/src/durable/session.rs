//! One durable session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_schemas::{Message, Qos, TopicFilter};
use smallvec::SmallVec;

use super::{
    Record, SessionKey,
    assigned::Assigned,
    queue::Queue,
    row::{Head, RowKind},
};
use crate::{
    groups::Share,
    index::Match,
    subscription::{SubscriberId, Subscription},
};

/// What to publish should a client vanish (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message.
    pub message: Message,
    /// Seconds to wait for the client's return before that.
    pub delay_s: u32,
}

impl Will {
    /// What it counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        crate::retained::size(&self.message)
    }

    /// When it is published if nobody comes, in Unix milliseconds: after its delay, or with its session.
    pub(super) fn due_ms(&self, now_ms: u64, ends_ms: Option<u64>) -> u64 {
        let due = now_ms.saturating_add(u64::from(self.delay_s) * 1_000);
        due.min(ends_ms.unwrap_or(u64::MAX))
    }
}

/// A subscription, and the first sequence that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// As it was asked for.
    pub(crate) filter: TopicFilter,
    /// What is shared, if it is a shared one.
    pub(crate) share: Option<TopicFilter>,
    pub(crate) subscription: Subscription,
    pub(crate) since: u64,
}

impl Kept {
    pub(crate) fn new(filter: TopicFilter, subscription: Subscription, since: u64) -> Self {
        let share = Share::of(&filter).ok().flatten().map(|share| share.filter);
        Self { filter, share, subscription, since }
    }
}

/// How far a message in flight has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The connection has it; whether it was sent nobody knows here.
    Given,
    /// It was sent under its packet id by an earlier connection, or is bound to it.
    Sent,
    /// PUBREC has come for it.
    Released,
}

/// The sequence of a flight that is not on the log: a retained message that a new subscription asked for. Its packet id is
/// kept like any other's, for the client takes what comes under it for a repetition until the exchange is over.
pub(crate) const OFF_LOG: u64 = 0;

/// A message between its delivery and its last acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) sequence: u64,
    pub(crate) qos: Qos,
    pub(crate) packet_id: Option<u16>,
    pub(crate) stage: Stage,
    /// What it takes in the connection's memory.
    pub(crate) bytes: usize,
}

/// Who has a session, and how far that has come. Only who is on its way becomes somebody who is here, so that nobody who
/// has gone meanwhile is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Link {
    /// Nobody.
    #[default]
    Away,
    /// A connection that is told so once that is on disk.
    Coming(SubscriberId),
    /// A connection that was told, and is fed.
    Here(SubscriberId),
    /// A connection that is gone, while what it said before still stands in line.
    Going(SubscriberId),
}

/// A session, with or without a connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) expiry_s: u32,
    pub(crate) link: Link,
    /// Which connection this is; answers of the log to an earlier one are void.
    pub(crate) epoch: u64,
    /// When it ends, if nobody has it, in Unix milliseconds.
    pub(crate) ends_ms: Option<u64>,
    pub(crate) will: Option<Will>,
    /// When its will is published, if nobody has it, in Unix milliseconds.
    pub(crate) will_due_ms: Option<u64>,
    pub(crate) subscriptions: Vec<Kept>,
    /// One of them is with No Local.
    pub(crate) has_no_local: bool,
    pub(crate) queue: Queue,
    /// What was last written as the queue's row: as of which sequence, and from where on it leaves all to a search.
    pub(crate) row: (u64, Option<u64>),
    /// By tag, which is the order in which they were delivered.
    pub(crate) flights: BTreeMap<u64, Flight>,
    pub(crate) flight_bytes: usize,
    pub(crate) next_tag: u64,
    /// Tags of flights that this connection has yet to send again.
    pub(crate) resend: VecDeque<u64>,
    /// What the log answered; none for what it no longer has.
    pub(crate) fetched: BTreeMap<u64, Option<Record>>,
    /// An answer of the log is on its way.
    pub(crate) reading: bool,
    /// Packet ids of the client's QoS 2 messages between PUBREC and PUBCOMP.
    pub(crate) received: BTreeSet<u16>,
    /// Messages that the log no longer had; told at the next connection.
    pub(crate) missed: u64,
    /// Rows that may differ from what stands here, because their commit failed.
    pub(crate) suspect: BTreeSet<RowKind>,
    /// What it got as a member of shares, by sequence, and the filters of these shares.
    pub(crate) assigned: Assigned,
    /// It stands in the line of those to be fed.
    pub(crate) in_line: bool,
    /// Its connection is in quarantine: it gets nothing until that ends.
    pub(crate) is_held: bool,
}

impl Session {
    pub(crate) fn new(key: SessionKey) -> Self {
        Self {
            key,
            expiry_s: 0,
            link: Link::Away,
            epoch: 0,
            ends_ms: None,
            will: None,
            will_due_ms: None,
            subscriptions: Vec::new(),
            has_no_local: false,
            queue: Queue::default(),
            row: (0, None),
            flights: BTreeMap::new(),
            flight_bytes: 0,
            next_tag: 1,
            resend: VecDeque::new(),
            fetched: BTreeMap::new(),
            reading: false,
            received: BTreeSet::new(),
            missed: 0,
            suspect: BTreeSet::new(),
            assigned: Assigned::new(),
            in_line: false,
            is_held: false,
        }
    }

    /// The connection that has it.
    pub(crate) fn online(&self) -> Option<SubscriberId> {
        match self.link {
            Link::Away => None,
            Link::Coming(to) | Link::Here(to) | Link::Going(to) => Some(to),
        }
    }

    /// The connection that is fed.
    pub(crate) fn here(&self) -> Option<SubscriberId> {
        match self.link {
            Link::Here(to) if !self.is_held => Some(to),
            _ => None,
        }
    }

    /// Whether a row that says what was assigned to it may differ from what is.
    pub(crate) fn has_suspect_assignment(&self) -> bool {
        self.suspect.iter().any(|kind| matches!(kind, RowKind::Assigned(_)))
    }

    /// Its connection is gone, and what it said before is still in line.
    pub(crate) fn goes(&mut self) {
        if let Some(to) = self.online() {
            self.link = Link::Going(to);
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            key: self.key.clone(),
            expiry_s: self.expiry_s,
            ends_ms: self.ends_ms,
            will: self.will.clone(),
            subscriptions: self.subscriptions.clone(),
        }
    }

    /// What is to be on disk as the queue: what is listed, and what is in flight without a row of its own.
    pub(crate) fn queue_on_disk(&self) -> Queue {
        let mut queue = self.queue.clone();
        let bound = |flight: &&Flight| flight.qos == Qos::ExactlyOnce && flight.packet_id.is_some();
        let listed = |flight: &&Flight| !bound(flight) && flight.sequence != OFF_LOG;
        for flight in self.flights.values().rev().filter(listed) {
            queue.put_back(flight.sequence);
        }
        queue
    }

    /// Whether the queue row is to be written again before this sequence gets a row of its own: a recovery lists what the
    /// row does not, up to the last flight, so as not to search for what is in flight and deliver it twice.
    pub(crate) fn is_row_too_old(&self, sequence: u64, runs_max: usize) -> bool {
        let (as_of, search_from) = self.row;
        search_from.is_some_and(|from| from <= sequence) || sequence > as_of.saturating_add(runs_max as u64)
    }

    /// Changes its subscriptions.
    pub(crate) fn change_subscriptions<T>(&mut self, change: impl FnOnce(&mut Vec<Kept>) -> T) -> T {
        let changed = change(&mut self.subscriptions);
        self.has_no_local = self.subscriptions.iter().any(|kept| kept.subscription.options.no_local);
        changed
    }

    /// What the session's subscriptions together ask for a record, as `Index::matches` would say: its shared ones if the
    /// record was assigned to it by them, and of the others, for a search, those that are old enough for it. What the
    /// session itself published is not for those with No Local [MQTT-3.8.3-3].
    pub(crate) fn wants(&self, record: &Record, is_own: bool, is_search: bool) -> Option<Match> {
        let Record { sequence, message, .. } = record;
        let topic = &message.topic;
        let mut found: Option<Match> = None;
        let assigned = self.assigned.get(sequence).map(SmallVec::as_slice).unwrap_or_default();
        for Kept { filter, share, subscription, since } in &self.subscriptions {
            let is_for_it = match share {
                Some(_) => assigned.contains(filter),
                None => {
                    // Whose a record is that was there before a subscription with No Local may not be known.
                    let no_local = subscription.options.no_local;
                    let is_old_enough = since <= sequence || !(is_search || no_local);
                    is_old_enough && !record.is_copy() && !(is_own && no_local) && filter.matches(topic)
                }
            };
            if !is_for_it {
                continue;
            }
            let options = subscription.options;
            let found = found.get_or_insert_with(|| Match {
                subscriber: SubscriberId(0),
                qos: options.qos,
                retain_as_published: false,
                subscription_ids: Default::default(),
            });
            found.qos = found.qos.max(options.qos);
            found.retain_as_published |= options.retain_as_published;
            found.subscription_ids.extend(subscription.id);
        }
        found
    }

    /// The connection is gone. What it had and did not send is queued again; what it sent keeps its packet id.
    pub(crate) fn ground(&mut self, unacknowledged: &[(u16, u64)]) {
        self.link = Link::Away;
        self.is_held = false;
        self.epoch += 1;
        self.reading = false;
        self.resend.clear();
        self.fetched.clear();
        for (packet_id, tag) in unacknowledged {
            if let Some(flight) = self.flights.get_mut(tag) {
                flight.packet_id = Some(*packet_id);
                flight.stage = Stage::Sent;
            }
        }
        let unsent: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.packet_id.is_none())
            .map(|(tag, _)| *tag)
            .collect();
        for tag in unsent.into_iter().rev() {
            if let Some(flight) = self.flights.remove(&tag)
                && flight.sequence != OFF_LOG
            {
                self.queue.put_back(flight.sequence);
            }
        }
        self.flight_bytes = 0;
        self.flights.values_mut().for_each(|flight| flight.bytes = 0);
    }

    /// The log no longer has what is below `low`. What an earlier connection sent and nobody can send again any more is
    /// brought to its end: at QoS 1 it is forgotten, at QoS 2 the client gets PUBREL. What this connection has in memory
    /// goes on. Returns how many messages the client may have missed, and packet ids and sequences that are released now.
    pub(crate) fn lose_below(&mut self, low: u64) -> (u64, Vec<(u16, u64)>) {
        self.fetched.retain(|sequence, _| *sequence >= low);
        let is_in_memory = self.online().is_some();
        let waits: BTreeSet<u64> = self.resend.iter().copied().collect();
        let (mut missed, mut released) = (0, Vec::new());
        self.flights.retain(|tag, flight| {
            let is_lost = flight.sequence < low
                && flight.stage == Stage::Sent
                && (!is_in_memory || waits.contains(tag));
            if !is_lost {
                return true;
            }
            missed += 1;
            if let (Qos::ExactlyOnce, Some(packet_id)) = (flight.qos, flight.packet_id) {
                flight.stage = Stage::Released;
                released.push((packet_id, flight.sequence));
                return true;
            }
            self.flight_bytes = self.flight_bytes.saturating_sub(flight.bytes);
            false
        });
        (missed, released)
    }

    /// The lowest sequence of the log that the session may still ask for. What is released, or in the connection's memory,
    /// it will not ask for; but a connection that fails puts it back.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        let flights = self.flights.values().filter(|flight| flight.stage != Stage::Released);
        let flight = flights.map(|flight| flight.sequence).filter(|at| *at != OFF_LOG).min();
        [flight, self.queue.needed_from()].into_iter().flatten().min()
    }

    /// Whether a delivery may go straight to the connection, because nothing is before it.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.here().is_some() && !self.reading && self.resend.is_empty() && self.queue.is_empty()
    }
}
