//! Messages for those who share a filter: who gets which, and who gets it next when one goes without having taken it.

use std::{collections::BTreeMap, sync::Arc};

use muster_schemas::{Message, Publisher, Qos, TopicFilter};
use smallvec::SmallVec;

use super::{Member, Router};
use crate::{
    durable::Session,
    effect::{Delivery, Effect},
    groups::{Share, Sharer},
    index::Match,
    limits::SHARED_FLIGHTS_MAX,
    subscription::SubscriberId,
};

/// A member of a share that was chosen for a message.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) group: u64,
    pub(super) member: Sharer,
    /// The filter as the member asked for it.
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
    group: u64,
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

impl Router {
    /// Chooses a member of each share whose filter the message on hand matches.
    pub(super) fn choose(&mut self, groups: SmallVec<[u64; 2]>, qos: Qos) -> SmallVec<[Chosen; 2]> {
        groups.into_iter().filter_map(|group| self.choose_of(group, qos)).collect()
    }

    /// In turn among those who are connected and not behind; then among those who are; then, for a message that is kept,
    /// among those who will be back.
    fn choose_of(&mut self, group: u64, qos: Qos) -> Option<Chosen> {
        let (members, sessions) = (&self.members, &self.sessions);
        let rank = |subscriber: SubscriberId| {
            if subscriber.is_durable() {
                let session = sessions.session(subscriber.durable_number())?;
                return match (session.online(), session.is_caught_up()) {
                    (Some(_), true) => Some(0),
                    (Some(_), false) => Some(1),
                    (None, _) => (qos > Qos::AtMostOnce).then_some(2),
                };
            }
            let member = members.get(&subscriber).filter(|member| !member.leaving)?;
            let waiting = member.shared.as_ref().map_or(0, |shared| shared.flights.len());
            Some(u8::from(waiting >= SHARED_FLIGHTS_MAX))
        };
        let member = self.groups.pick(group, rank)?;
        let Share { name, filter } = self.groups.share(group)?;
        let filter = format!("$share/{name}/{filter}").parse().ok()?;
        Some(Chosen { group, member, filter })
    }

    /// Hands a message to a member that has no durable session.
    pub(super) fn give_shared(
        &mut self,
        Chosen { group, member: Sharer { subscriber: to, subscription }, .. }: &Chosen,
        Shared { message, publisher, expires_ms }: Shared<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(to) else { return };
        let qos = subscription.options.qos.min(message.qos);
        let tag = (qos > Qos::AtMostOnce).then(|| {
            let (message, publisher) = (message.clone(), publisher.clone());
            member.shared.get_or_insert_default().note(SharedFlight {
                group: *group,
                message,
                qos,
                publisher,
                expires_ms,
            })
        });
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: message.retain && subscription.options.retain_as_published,
            subscription_ids: subscription.id.into_iter().collect(),
            tag,
            resent_as: None,
            expires_ms,
        };
        effects.push(Effect::Deliver { to: *to, delivery });
    }

    /// A durable member's part in a message, as one more match.
    pub(super) fn as_match(member: &Sharer) -> Match {
        Match {
            subscriber: member.subscriber,
            qos: member.subscription.options.qos,
            retain_as_published: member.subscription.options.retain_as_published,
            subscription_ids: member.subscription.id.into_iter().collect(),
        }
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
        let SharedFlight { group, message, qos, publisher, expires_ms } = flight;
        let Some(chosen) = self.choose_of(group, qos) else { return };
        let subscriber = chosen.member.subscriber;
        if !subscriber.is_durable() {
            let shared = Shared { message: &message, publisher: &publisher, expires_ms };
            return self.give_shared(&chosen, shared, effects);
        }
        if self.commits.check_room().is_err() {
            return effects.push(Effect::Lost { publisher, refusal: crate::Refusal::StorageFailed });
        }
        let sequence = self.commits.assign();
        effects.push(Effect::Append { sequence, publisher, message: message.clone() });
        let wanted = std::iter::once(Self::as_match(&chosen.member)).collect();
        self.sessions.expect(sequence, self.now_ms, &message, wanted);
        self.sessions.assign(subscriber.durable_number(), sequence, &chosen.filter, effects);
    }

    /// A durable session leaves a share: what was assigned to it goes to others, as far as they can get it from the log,
    /// or it is still in memory.
    pub(super) fn reassign(&mut self, number: u64, filter: &TopicFilter, effects: &mut Vec<Effect>) {
        let Ok(Some(share)) = Share::of(filter) else { return };
        let Some(group) = self.groups.find(&share) else { return };
        for sequence in self.sessions.take_assigned(number, filter, effects) {
            let Some(chosen) = self.choose_of(group, Qos::AtLeastOnce) else { return };
            let subscriber = chosen.member.subscriber;
            if subscriber.is_durable() {
                let other = subscriber.durable_number();
                self.sessions.assign(other, sequence, &chosen.filter, effects);
                self.sessions.list(other, sequence, self.now_ms);
            } else if let Some(record) = self.sessions.recent(sequence).cloned() {
                let expires_ms = crate::effect::expires_ms(&record.message, record.received_ms);
                let Some(publisher) =
                    self.sessions.session(number).map(|s: &Session| s.key.publisher.clone())
                else {
                    return;
                };
                let shared = Shared { message: &record.message, publisher: &publisher, expires_ms };
                self.give_shared(&chosen, shared, effects);
            }
        }
    }
}

impl SharedFlights {
    fn note(&mut self, flight: SharedFlight) -> u64 {
        self.last_tag += 1;
        self.flights.insert(self.last_tag, flight);
        self.last_tag
    }
}
