//! Messages for those who share a filter: who gets which, and who gets it next when one goes without having taken it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use muster_schemas::{Message, Publisher, Qos, TopicFilter, stored::COPY};
use smallvec::SmallVec;

use super::{Member, Router};
use crate::{
    durable::{Record, Then, Wanted},
    effect::{Delivery, Effect, expires_ms},
    groups::{Share, Sharer},
    index::Match,
    limits::SHARED_FLIGHTS_MAX,
    subscription::SubscriberId,
};

/// How well a member can take one more message; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Readiness {
    /// It is connected and not behind.
    Ready,
    /// It is connected, and has enough to do.
    Behind,
    /// It will be back, and what it is to get is kept for it.
    Away,
}

/// A member of a share that was chosen for a message.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) member: Sharer,
    readiness: Readiness,
    /// The filter as the members asked for it.
    pub(super) filter: TopicFilter,
}

/// What a connection got as a member of shares and has not acknowledged. A durable session keeps this on disk instead.
#[derive(Debug, Default)]
pub(super) struct SharedFlights {
    last_tag: u64,
    /// By tag, which is the order in which they were delivered.
    flights: BTreeMap<u64, SharedFlight>,
}

#[derive(Debug)]
struct SharedFlight {
    /// The share's, as its members asked for it.
    filter: TopicFilter,
    message: Arc<Message>,
    qos: Qos,
    publisher: Publisher,
    expires_ms: Option<u64>,
}

/// A message as it goes to a member.
pub(super) struct Shared<'a> {
    pub(super) message: &'a Arc<Message>,
    pub(super) publisher: &'a Publisher,
    pub(super) expires_ms: Option<u64>,
}

impl<'a> From<&'a Record> for Shared<'a> {
    fn from(record: &'a Record) -> Self {
        Self { message: &record.message, publisher: &record.publisher, expires_ms: record.expires_ms() }
    }
}

impl Chosen {
    /// The member's part in a message, as one more match.
    pub(super) fn as_match(&self) -> Match {
        let Sharer { subscriber, subscription } = self.member;
        Match {
            subscriber,
            qos: subscription.options.qos,
            retain_as_published: subscription.options.retain_as_published,
            subscription_ids: subscription.id.into_iter().collect(),
        }
    }

    /// Whether its durable session keeps a message of this quality of service until it is acknowledged.
    fn is_kept(&self, qos: Qos) -> bool {
        self.member.subscriber.is_durable() && self.member.subscription.options.qos.min(qos) > Qos::AtMostOnce
    }
}

impl Router {
    /// Chooses a member of each share whose filter the message on hand matches.
    pub(super) fn choose(&mut self, groups: SmallVec<[u64; 2]>, qos: Qos) -> SmallVec<[Chosen; 2]> {
        groups.into_iter().filter_map(|group| self.choose_of(group, qos)).collect()
    }

    /// In turn among those who are connected and not behind; then among those who are; then, for a message that is kept,
    /// among those who will be back.
    fn choose_of(&mut self, group: u64, qos: Qos) -> Option<Chosen> {
        let (members, sessions) = (&self.members, &self.sessions);
        let readiness = |Sharer { subscriber, subscription }: &Sharer| {
            if subscriber.is_durable() {
                let session = sessions.session(subscriber.durable_number())?;
                return match session.here() {
                    Some(_) if session.is_caught_up() => Some(Readiness::Ready),
                    Some(_) => Some(Readiness::Behind),
                    None => (subscription.options.qos.min(qos) > Qos::AtMostOnce).then_some(Readiness::Away),
                };
            }
            let member = members.get(subscriber).filter(|member| !member.leaving)?;
            let waiting = member.shared.as_ref().map_or(0, |shared| shared.flights.len());
            Some(if waiting < SHARED_FLIGHTS_MAX { Readiness::Ready } else { Readiness::Behind })
        };
        let (readiness, member, filter) = self.groups.pick(group, readiness)?;
        Some(Chosen { member, readiness, filter })
    }

    /// Hands a message to a member of whom it is not kept.
    pub(super) fn give_shared(
        &mut self,
        Chosen { member: Sharer { subscriber, subscription }, filter, .. }: &Chosen,
        Shared { message, publisher, expires_ms }: Shared<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut qos = subscription.options.qos.min(message.qos);
        let (mut to, mut tag) = (*subscriber, None);
        if subscriber.is_durable() {
            let session = self.sessions.session(subscriber.durable_number());
            let Some(here) = session.and_then(|session| session.here()) else { return };
            (to, qos) = (here, Qos::AtMostOnce);
        } else if qos > Qos::AtMostOnce {
            let Some(member) = self.members.get_mut(subscriber) else { return };
            let (filter, message, publisher) = (filter.clone(), message.clone(), publisher.clone());
            let flight = SharedFlight { filter, message, qos, publisher, expires_ms };
            tag = Some(member.shared.get_or_insert_default().note(flight));
        }
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: message.retain && subscription.options.retain_as_published,
            subscription_ids: subscription.id.into_iter().collect(),
            tag,
            resent_as: None,
            expires_ms,
        };
        effects.push(Effect::Deliver { to, delivery });
    }

    /// A delivery to a member without a durable session is over.
    pub(super) fn complete_shared(&mut self, subscriber: SubscriberId, tag: u64) {
        if let Some(shared) = self.members.get_mut(&subscriber).and_then(|member| member.shared.as_mut()) {
            shared.flights.remove(&tag);
        }
    }

    /// A member has gone: what it did not acknowledge at QoS 1 goes to others. QoS 2 does not [MQTT-4.8.2-5].
    pub(super) fn hand_on(&mut self, member: Member, effects: &mut Vec<Effect>) {
        let Some(shared) = member.shared else { return };
        for (_, flight) in shared.flights {
            if flight.qos == Qos::AtLeastOnce && flight.expires_ms.is_none_or(|at| at > self.now_ms) {
                self.share_again(flight, effects);
            }
        }
    }

    fn share_again(&mut self, flight: SharedFlight, effects: &mut Vec<Effect>) {
        let SharedFlight { filter, message, publisher, expires_ms, .. } = flight;
        let Some(group) = self.group_of(&filter) else { return };
        let Some(chosen) = self.choose_of(group, message.qos) else { return };
        if !chosen.is_kept(message.qos) {
            let shared = Shared { message: &message, publisher: &publisher, expires_ms };
            return self.give_shared(&chosen, shared, effects);
        }
        if let Err(refusal) = self.commits.check_room() {
            return effects.push(Effect::Lost { publisher, refusal });
        }
        // A copy, for those who want it otherwise have it.
        let (sequence, received_ms, session) = (self.commits.assign(), self.now_ms, Some(COPY));
        let record = Record { sequence, received_ms, publisher: publisher.clone(), session, message };
        effects.push(Effect::Append { sequence, publisher, session, message: record.message.clone() });
        self.sessions.expect(record, std::iter::once(chosen.as_match()).collect());
        let number = chosen.member.subscriber.durable_number();
        self.sessions.assign(number, sequence, &chosen.filter, effects);
    }

    /// A durable session leaves a share: what was assigned to it and is not in its hands is for others.
    pub(super) fn reassign(&mut self, number: u64, filter: &TopicFilter, effects: &mut Vec<Effect>) {
        let taken = self.sessions.take_assigned(number, filter, effects);
        // Without a group nobody shares it any more.
        let Some(group) = self.group_of(filter).filter(|_| !taken.is_empty()) else { return };
        self.sessions.strays.entry(group).or_default().sequences.extend(taken);
    }

    /// Finds members for records of shares that nobody has. One who has a durable session gets them at once, for it is kept
    /// there; a connection as it has room for them, from memory or from the log.
    pub(super) fn hand_out_strays(&mut self, effects: &mut Vec<Effect>) {
        for (filter, sequence) in self.sessions.take_unclaimed() {
            if let Some(group) = self.group_of(&filter) {
                self.sessions.strays.entry(group).or_default().sequences.insert(sequence);
            }
        }
        if self.sessions.strays.is_empty() {
            return;
        }
        let groups: Vec<u64> = self.sessions.strays.keys().copied().collect();
        let before = groups.len();
        let mut longer = BTreeSet::new();
        for group in groups {
            self.hand_out_strays_of(group, &mut longer, effects);
        }
        for number in longer {
            // At once, for what was listed by then is not looked for after a crash.
            self.sessions.store_queue(number, effects);
        }
        self.sessions.strays.retain(|_, strays| !strays.sequences.is_empty());
        if self.sessions.strays.len() < before {
            let from = self.sessions.needed_from();
            self.sessions.wait(0, Then::Need(from));
        }
    }

    fn hand_out_strays_of(&mut self, group: u64, longer: &mut BTreeSet<u64>, effects: &mut Vec<Effect>) {
        let next = |router: &Self| router.sessions.strays.get(&group)?.sequences.first().copied();
        while let Some(sequence) = next(self) {
            let Some(chosen) = self.choose_of(group, Qos::AtLeastOnce) else {
                // Nobody shares it any more.
                self.sessions.strays.remove(&group);
                return;
            };
            if chosen.is_kept(Qos::AtLeastOnce) {
                let found = chosen.as_match();
                longer.insert(found.subscriber.durable_number());
                self.sessions.assign_late(sequence, &chosen.filter, found, self.now_ms, effects);
            } else if chosen.readiness > Readiness::Ready && !chosen.member.subscriber.is_durable() {
                return;
            } else if let Some(record) = self.sessions.recent(sequence).cloned() {
                self.give_record(&chosen, &record, effects);
            } else {
                if let Some(wanted) = self.sessions.ask_for_strays(group) {
                    let session = SubscriberId::group(group).0;
                    effects.push(Effect::Read { session, epoch: 0, wanted });
                }
                return;
            }
            if let Some(strays) = self.sessions.strays.get_mut(&group) {
                strays.sequences.remove(&sequence);
            }
        }
    }

    /// The log's answer for a share: what it has goes out at once, and what it no longer has is missed.
    pub(super) fn take_strays(
        &mut self,
        reader: u64,
        wanted: &Wanted,
        records: Vec<Record>,
        effects: &mut Vec<Effect>,
    ) {
        let group = SubscriberId(reader).group_number();
        let Some(strays) = self.sessions.strays.get_mut(&group) else { return };
        strays.is_asked = false;
        let Wanted::These(asked) = wanted else { return };
        // Some may have found a member meanwhile.
        let mut asked: BTreeSet<u64> =
            asked.iter().copied().filter(|s| strays.sequences.contains(s)).collect();
        for record in records.iter().filter(|record| asked.contains(&record.sequence)) {
            let Some(chosen) = self.choose_of(group, record.message.qos) else { return };
            if chosen.is_kept(record.message.qos) {
                // It gets this one with the others.
                return;
            }
            self.give_record(&chosen, record, effects);
            if let Some(strays) = self.sessions.strays.get_mut(&group) {
                strays.sequences.remove(&record.sequence);
            }
        }
        asked.retain(|sequence| records.iter().all(|record| record.sequence != *sequence));
        self.sessions.missed += asked.len() as u64;
        if let Some(strays) = self.sessions.strays.get_mut(&group) {
            strays.sequences.retain(|sequence| !asked.contains(sequence));
        }
    }

    fn give_record(&mut self, chosen: &Chosen, record: &Record, effects: &mut Vec<Effect>) {
        if expires_ms(&record.message, record.received_ms).is_none_or(|at| at > self.now_ms) {
            self.give_shared(chosen, record.into(), effects);
        } else {
            self.sessions.messages_expired += 1;
        }
    }

    /// A share that nobody is in any more.
    pub(super) fn drop_group(&mut self, group: u64, share: &Share) {
        self.index.unsubscribe(SubscriberId::group(group), &share.filter);
        self.sessions.strays.remove(&group);
    }

    fn group_of(&self, filter: &TopicFilter) -> Option<u64> {
        self.groups.find(&Share::of(filter).ok()??)
    }
}

impl SharedFlights {
    fn note(&mut self, flight: SharedFlight) -> u64 {
        self.last_tag += 1;
        self.flights.insert(self.last_tag, flight);
        self.last_tag
    }
}

/// Whether the log is asked for a share, and not for a durable session.
pub(super) fn is_of_group(reader: u64) -> bool {
    let reader = SubscriberId(reader);
    !reader.is_connection() && !reader.is_durable()
}
