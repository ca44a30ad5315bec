//! A message on its way in: checked, matched, stored where it has to be, and handed to the fan-out.

use std::sync::Arc;

use muster_schemas::{Message, Publisher, Qos, TopicName};

use super::{
    Router, refuse_publish,
    shared::{Chosen, Shared},
};
use crate::{
    access::Denial,
    commit::{Answer, Commits},
    durable::{Record, Session, Then},
    effect::{Delivery, Effect, Outcome, expires_ms},
    index::Match,
    limits::{HELD_FURNITURE_BYTES, PrincipalLimits, SEARCH_NODES_MAX, SEARCH_NODES_OF_A_MESSAGE},
    refusal::Refusal,
    retained::Retained,
    subscription::SubscriberId,
};

/// Whose message it is.
#[derive(Clone, Copy)]
enum Author<'a> {
    /// That of a member.
    Member(SubscriberId),
    /// That of somebody who need not be there any more, and the number of its durable session.
    Gone(&'a Publisher, Option<u64>),
}

/// What the publisher of a message is owed.
#[derive(Default)]
struct Owed {
    answer: Option<Answer>,
    /// The number of its durable session and the packet id that stands for the message until PUBREL (QoS 2).
    received: Option<(u64, u16)>,
}

impl Router {
    pub(super) fn publish(
        &mut self,
        subscriber: SubscriberId,
        ticket: Option<u16>,
        message: Arc<Message>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&subscriber) else { return };
        let session = member.session.filter(|_| message.qos == Qos::ExactlyOnce);
        // Whoever left is not told, but does not publish it twice either.
        let received = session.zip(ticket);
        let ticket = ticket.filter(|_| !member.leaving);
        let answer = ticket.map(|ticket| Answer { to: subscriber, ticket, membership: member.membership });
        let from = member.session.map_or(subscriber, SubscriberId::durable);
        let (topic, index, matches) = (&message.topic, &self.index, self.fanout.matches());
        let known = member.recent.as_ref().and_then(|recent| recent.find(topic, from, index, matches));
        let is_logged = match known {
            Some(is_logged) => is_logged,
            None if member.quarantine.as_ref().is_some_and(|access| access.check_publish(topic).is_err()) => {
                return refuse_publish(subscriber, ticket, topic.clone(), Refusal::Quarantined, effects);
            }
            None if topic.is_reserved() => {
                let refusal = Refusal::TopicReserved;
                return refuse_publish(subscriber, ticket, topic.clone(), refusal, effects);
            }
            None => {
                if let Err(Denial { rule }) = member.access.check_publish(topic) {
                    let refusal = Refusal::NotAuthorized { rule };
                    return refuse_publish(subscriber, ticket, topic.clone(), refusal, effects);
                }
                index.matches(topic, Some(from), matches);
                let nodes = matches.nodes();
                if nodes >= 2 * SEARCH_NODES_OF_A_MESSAGE {
                    effects
                        .push(Effect::Searched { subscriber, messages: nodes / SEARCH_NODES_OF_A_MESSAGE });
                }
                if matches.is_cut() {
                    let refusal = Refusal::SearchTooWide { max: SEARCH_NODES_MAX };
                    return refuse_publish(subscriber, ticket, topic.clone(), refusal, effects);
                }
                let is_logged = self.durable.iter().any(|filter| filter.matches(topic));
                member.recent.get_or_insert_default().note(topic, from, is_logged, (index, matches));
                is_logged
            }
        };
        let (author, owed) = (Author::Member(subscriber), Owed { answer, received });
        if let Err((topic, refusal)) = self.route(author, is_logged, owed, message, effects) {
            refuse_publish(subscriber, ticket, topic, refusal, effects);
        }
    }

    /// What the broker itself has to say, such as a number of `$SYS`.
    pub(super) fn announce(&mut self, message: Message, effects: &mut Vec<Effect>) {
        if message.retain {
            self.retained.restore(None, &message, self.now_ms);
        }
        self.index.matches(&message.topic, None, self.fanout.matches());
        let wanted = self.fanout.matches().take_durable();
        let expires_ms = expires_ms(&message, self.now_ms);
        let message = Arc::new(message);
        self.give_at_once(&message, expires_ms, &wanted, effects);
        self.fanout.begin(message, expires_ms, None);
    }

    /// QoS 0 goes to durable sessions as to all others: to who is connected.
    fn give_at_once(
        &self,
        message: &Arc<Message>,
        expires_ms: Option<u64>,
        wanted: &[Match],
        effects: &mut Vec<Effect>,
    ) {
        for found in wanted.iter().filter(|found| found.qos.min(message.qos) == Qos::AtMostOnce) {
            let session = self.sessions.session(found.subscriber.durable_number());
            let Some(to) = session.and_then(Session::here) else { continue };
            let delivery = Delivery {
                message: message.clone(),
                qos: Qos::AtMostOnce,
                retain: message.retain && found.retain_as_published,
                subscription_ids: found.subscription_ids.clone(),
                tag: None,
                resent_as: None,
                expires_ms,
            };
            effects.push(Effect::Deliver { to, delivery });
        }
    }

    /// A message that nobody waits for; its access was checked when it was left.
    pub(super) fn will(
        &mut self,
        (publisher, session): (&Publisher, Option<u64>),
        message: Message,
        effects: &mut Vec<Effect>,
    ) {
        self.index.matches(&message.topic, session.map(SubscriberId::durable), self.fanout.matches());
        if self.fanout.matches().is_cut() {
            let refusal = Refusal::SearchTooWide { max: SEARCH_NODES_MAX };
            return effects.push(Effect::Lost { publisher: publisher.clone(), refusal });
        }
        let is_logged = self.durable.iter().any(|filter| filter.matches(&message.topic));
        let (author, message) = (Author::Gone(publisher, session), Arc::new(message));
        if let Err((_, refusal)) = self.route(author, is_logged, Owed::default(), message, effects) {
            effects.push(Effect::Lost { publisher: publisher.clone(), refusal });
        }
    }

    fn origin_of(&self, author: Author<'_>) -> Option<(Publisher, Option<u64>)> {
        let (publisher, session) = match author {
            Author::Member(subscriber) => {
                let member = self.members.get(&subscriber)?;
                (&member.publisher, member.session)
            }
            Author::Gone(publisher, session) => (publisher, session),
        };
        Some((publisher.clone(), session.filter(|number| self.sessions.has_no_local(*number))))
    }

    /// Routes a message whose matches have been found.
    fn route(
        &mut self,
        author: Author<'_>,
        is_logged: bool,
        Owed { mut answer, received }: Owed,
        message: Arc<Message>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), (TopicName, Refusal)> {
        let mut wanted = match self.sessions.is_empty() {
            true => Default::default(),
            false => self.fanout.matches().take_durable(),
        };
        let groups = self.fanout.matches().take_groups();
        let chosen = match groups.is_empty() {
            true => Default::default(),
            false => self.choose(groups, message.qos),
        };
        for found in
            chosen.iter().filter(|chosen| chosen.member.subscriber.is_durable()).map(Chosen::as_match)
        {
            match wanted.iter_mut().find(|known: &&mut Match| known.subscriber == found.subscriber) {
                Some(known) => known.merge(found),
                None => wanted.push(found),
            }
        }
        let matched =
            is_logged || !wanted.is_empty() || !chosen.is_empty() || !self.fanout.matches().is_empty();
        let qos = message.qos;
        let at_once = wanted.iter().filter(|found| found.qos.min(qos) == Qos::AtMostOnce).count();
        let is_kept = is_logged || at_once < wanted.len();
        let is_held = at_once < wanted.len();
        // Only what is kept or shared is asked whose it is.
        let origin = match is_kept || message.retain || !chosen.is_empty() {
            true => self.origin_of(author),
            false => None,
        };
        let needed_from = || self.sessions.needed_from();
        let (message, sequence) = match &origin {
            Some((publisher, session)) => {
                let limits = self.limits.of(publisher.kind);
                let bytes = message.topic.as_str().len() + message.payload.len() + HELD_FURNITURE_BYTES;
                let share = (publisher, bytes as u64, limits.log_bytes_max);
                if is_held && !self.held.has_room(share, self.now_ms, needed_from) {
                    let (who, max) = (publisher.kind, limits.log_bytes_max);
                    return Err((message.topic.clone(), Refusal::PrincipalLogBytesQuota { who, max }));
                }
                let (message, sequence) = accept(
                    (publisher, *session, limits),
                    &mut self.retained,
                    &mut self.commits,
                    message,
                    is_kept,
                    self.now_ms,
                    effects,
                )?;
                if let Some(sequence) = sequence.filter(|_| is_held) {
                    self.held.add(share, sequence, self.now_ms, needed_from);
                }
                (message, sequence)
            }
            None => (message, None),
        };
        let expires_ms = expires_ms(&message, self.now_ms);
        if at_once > 0 {
            self.give_at_once(&message, expires_ms, &wanted, effects);
            wanted.retain(|found| found.qos.min(qos) > Qos::AtMostOnce);
        }
        if let (Some(sequence), Some((publisher, session))) = (sequence, &origin)
            && !wanted.is_empty()
        {
            let kept_for =
                |chosen: &&Chosen| wanted.iter().any(|found| found.subscriber == chosen.member.subscriber);
            for Chosen { member, filter, .. } in chosen.iter().filter(kept_for) {
                self.sessions.assign(member.subscriber.durable_number(), sequence, filter, effects);
            }
            let (publisher, session, received_ms) = (publisher.clone(), *session, self.now_ms);
            let record = Record { sequence, received_ms, publisher, session, message: message.clone() };
            self.sessions.expect(record, wanted);
        }
        for chosen in chosen.iter().filter(|chosen| !chosen.member.subscriber.is_durable()) {
            let Some((publisher, _)) = &origin else { break };
            let shared = Shared { message: &message, publisher, expires_ms };
            self.give_shared(chosen, shared, effects);
        }
        if let Some((number, packet_id)) = received {
            self.sessions.receive(number, packet_id, effects);
        }
        if qos > Qos::AtMostOnce
            && let Some(asked) = answer
        {
            if let Some(sequence) = sequence {
                self.commits.wait(sequence, asked, matched);
                answer = None;
            } else if let Some((number, _)) = received {
                let Answer { to, ticket, .. } = asked;
                let published = Effect::Published { to, ticket, outcome: Outcome::Routed { matched } };
                self.sessions.wait(number, Then::Say(Box::new(published)));
                answer = None;
            }
        }
        self.fanout.begin(message, expires_ms, answer.map(|answer| (answer, matched)));
        Ok(())
    }
}

impl Router {
    /// Clears retained messages that have lost their meaning, a slice of them at a time, as if they had been cleared by
    /// hand. What the log has no room for stays until it has: it is not delivered any more.
    pub(super) fn clear_expired(&mut self, effects: &mut Vec<Effect>) {
        for _ in 0..self.limits.fanout_slice_max {
            let Some(topic) = self.retained.expired(self.now_ms) else { return };
            if !topic.is_reserved() {
                if self.commits.check_room().is_err() {
                    return;
                }
                let sequence = self.commits.assign();
                effects.push(Effect::ForgetRetained { sequence, topic: topic.clone() });
                let previous = self.retained.forget(&topic);
                self.commits.keep_previous(sequence, topic, previous);
            } else {
                self.retained.forget(&topic);
            }
        }
    }
}

/// Changes what is retained, and hands the log what it has to keep. Returns the message and the sequence that must be on
/// disk before it is acknowledged.
fn accept(
    (publisher, session, limits): (&Publisher, Option<u64>, &PrincipalLimits),
    retained: &mut Retained,
    commits: &mut Commits,
    message: Arc<Message>,
    is_kept: bool,
    now_ms: u64,
    effects: &mut Vec<Effect>,
) -> Result<(Arc<Message>, Option<u64>), (TopicName, Refusal)> {
    if !is_kept && !message.retain {
        return Ok((message, None));
    }
    if let Err(refusal) = commits.check_room() {
        return Err((message.topic.clone(), refusal));
    }
    let (message, change) = if !message.retain {
        (message, None)
    } else if message.payload.is_empty() {
        let forgotten = retained.forget(&message.topic);
        (message, forgotten.map(Some))
    } else {
        let kept = retained.keep_for(Some((publisher, limits)), &message, now_ms);
        let (kept, previous) = kept.map_err(|refusal| (message.topic.clone(), refusal))?;
        (kept, Some(previous))
    };
    if !is_kept && change.is_none() {
        // Nothing to clear; but that may be so because of a change that is not yet on disk.
        return Ok((message, commits.last_uncommitted()));
    }
    let sequence = commits.assign();
    if is_kept {
        let (publisher, message) = (publisher.clone(), message.clone());
        effects.push(Effect::Append { sequence, publisher, session, message });
    }
    if let Some(previous) = change {
        // A compact topic, for the one that was read is part of a read buffer.
        let topic = previous.as_ref().map_or(&message.topic, |previous| &previous.message.topic).clone();
        effects.push(if message.payload.is_empty() {
            Effect::ForgetRetained { sequence, topic: topic.clone() }
        } else {
            Effect::KeepRetained { sequence, publisher: publisher.clone(), message: message.clone() }
        });
        commits.keep_previous(sequence, topic, previous);
    }
    Ok((message, Some(sequence)))
}
