//! Connections that come and go, the durable sessions that they take up, and wills.

use std::sync::Arc;

use muster_schemas::{ClientId, Message, Publisher, TopicFilter};

use super::{Ending, Member, Router, refuse_attach};
use crate::{
    access::Access,
    durable::{Attached, HEAD, Kept, Link, Session, SessionKey, Then, Will, ends_ms},
    effect::Effect,
    input::Input,
    refusal::Refusal,
    subscription::SubscriberId,
};

impl Router {
    pub(super) fn join(
        &mut self,
        subscriber: SubscriberId,
        publisher: Publisher,
        access: Arc<Access>,
        effects: &mut Vec<Effect>,
    ) {
        self.leave(subscriber, effects);
        self.memberships += 1;
        let membership = self.memberships;
        let member = Member {
            publisher,
            access,
            membership,
            recent: None,
            leaving: false,
            session: None,
            will: None,
            ending: None,
            shared: None,
        };
        self.members.insert(subscriber, member);
    }

    pub(super) fn leave(&mut self, subscriber: SubscriberId, effects: &mut Vec<Effect>) {
        self.end_subscriptions(subscriber);
        let Some(member) = self.members.remove(&subscriber) else { return };
        if self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(2 * self.members.len());
        }
        let session = member.session;
        if session.is_none() {
            self.leave_shares(subscriber);
        }
        let mut member = member;
        let (publisher, will) = (member.publisher.clone(), member.will.take().map(|will| *will));
        self.usage.will(&publisher, will.as_ref().map_or(0, Will::bytes), 0);
        let ending = member.ending.take().unwrap_or_default();
        self.hand_on(member, effects);
        match session {
            Some(number) => self.detach(number, &ending, effects),
            None if ending.graceful => {}
            None => self.publish_will(publisher, will, effects),
        }
    }

    /// CONNECT: ends, takes up or begins a session (MQTT 5 §3.1.2.4, §3.1.2.11.2). What is new is on disk before the
    /// client hears of it.
    pub(super) fn attach(
        &mut self,
        to: SubscriberId,
        client_id: ClientId,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get(&to).filter(|member| !member.leaving) else { return };
        let expiry_s = expiry_s.min(self.limits.session_expiry_s_max);
        let key = SessionKey { publisher: member.publisher.clone(), client_id };
        let judged = check_will(&member.access, will.as_ref());
        let mut existing = self.sessions.find(&key);
        let before = existing.and_then(|number| self.sessions.session(number)?.will.as_ref());
        let before = before.map_or(0, Will::bytes);
        if let Err(refusal) =
            judged.and_then(|()| self.check_will_bytes(&key.publisher, before, will.as_ref()))
        {
            return refuse_attach(to, will.as_ref(), refusal, effects);
        }
        let mut has_ended = false;
        if let Some(number) = existing {
            if let Some(other) = self.sessions.session(number).and_then(Session::online) {
                // Its connection should have left before; whatever it still says is void.
                if let Some(other) = self.members.get_mut(&other) {
                    other.session = None;
                }
                self.detach(number, &Ending::default(), effects);
                existing = self.sessions.find(&key);
            }
            if let Some(number) = existing.filter(|_| clean_start) {
                self.end_session(number, effects);
                existing = None;
                has_ended = true;
            }
        }
        let number = match existing {
            Some(number) => number,
            None if expiry_s == 0 => {
                if let Some(member) = self.members.get_mut(&to) {
                    self.usage.will(&member.publisher, 0, will.as_ref().map_or(0, Will::bytes));
                    member.will = will.map(Box::new);
                }
                let attached = Effect::Attached { to, outcome: Ok(Box::new(Attached::default())) };
                if has_ended {
                    self.sessions.wait(0, Then::Say(Box::new(attached)));
                } else {
                    effects.push(attached);
                }
                return;
            }
            None if self.sessions.len() >= self.limits.durable_sessions_max => {
                let refusal = Refusal::SessionQuota { max: self.limits.durable_sessions_max };
                return refuse_attach(to, will.as_ref(), refusal, effects);
            }
            None if self.has_all_sessions(&key.publisher) => {
                let (who, max) =
                    (key.publisher.kind, self.limits.of(key.publisher.kind).durable_sessions_max);
                let refusal = Refusal::PrincipalSessionQuota { who, max };
                return refuse_attach(to, will.as_ref(), refusal, effects);
            }
            None => self.begin(key, effects),
        };
        self.take_up(number, to, expiry_s, will, existing.is_some(), effects);
    }

    fn begin(&mut self, key: SessionKey, effects: &mut Vec<Effect>) -> u64 {
        let is_first = self.sessions.is_empty();
        self.usage.session_began(&key.publisher);
        let number = self.sessions.create(key);
        if is_first {
            // Queue rows of nobody hold as of now, and from now on the log is needed.
            self.sessions.move_checkpoint(effects);
            effects.push(Effect::Need { from: self.sessions.needed_from() });
        }
        self.sessions.store_queue(number, effects);
        number
    }

    fn take_up(
        &mut self,
        number: u64,
        to: SubscriberId,
        expiry_s: u32,
        will: Option<Will>,
        session_present: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&to) else { return };
        member.session = Some(number);
        let access = member.access.clone();
        self.sessions.set_timers(number, None, None);
        let Some(session) = self.sessions.session_mut(number) else { return };
        session.link = Link::Coming(to);
        self.sessions.connected += 1;
        let Some(session) = self.sessions.session_mut(number) else { return };
        session.expiry_s = expiry_s;
        let before = std::mem::replace(&mut session.will, will);
        let after = session.will.as_ref().map_or(0, Will::bytes);
        self.usage.will(&session.key.publisher, before.as_ref().map_or(0, Will::bytes), after);
        // What it may no longer subscribe to is taken from it.
        let id = SubscriberId::durable(number);
        let is_allowed =
            |kept: &Kept| access.check_subscribe(kept.share.as_ref().unwrap_or(&kept.filter)).is_ok();
        let (kept, lost) = std::mem::take(&mut session.subscriptions).into_iter().partition(is_allowed);
        session.subscriptions = kept;
        let lost: Vec<Kept> = lost;
        let (publisher, before) = (session.key.publisher.clone(), self.subscriptions_of(id));
        for Kept { filter, .. } in &lost {
            self.drop_subscription(id, filter);
        }
        self.usage.subscriptions(&publisher, before, self.subscriptions_of(id));
        if let Some(session) = self.sessions.session_mut(number) {
            session.suspect.remove(&HEAD);
        }
        self.sessions.store_head(number, effects);
        self.sessions.store_suspects(number, effects);
        self.sessions.wait(number, Then::Start { to, session_present });
    }

    /// A session's connection is gone: the session waits for the next, or ends.
    fn detach(&mut self, number: u64, ending: &Ending, effects: &mut Vec<Effect>) {
        let (now_ms, expiry_s_max) = (self.now_ms, self.limits.session_expiry_s_max);
        let Some(session) = self.sessions.session_mut(number) else { return };
        if session.online().is_some() {
            self.sessions.connected -= 1;
        }
        let Some(session) = self.sessions.session_mut(number) else { return };
        session.ground(&ending.unacknowledged);
        self.sessions.lose(number, effects);
        let Some(session) = self.sessions.session_mut(number) else { return };
        if ending.graceful
            && let Some(discarded) = session.will.take()
        {
            self.usage.will(&session.key.publisher, discarded.bytes(), 0);
        }
        session.expiry_s = ending.expiry_s.map_or(session.expiry_s, |seconds| seconds.min(expiry_s_max));
        let ends = ends_ms(session.expiry_s, now_ms);
        let will_due = session.will.as_ref().map(|will| {
            let due = now_ms.saturating_add(u64::from(will.delay_s) * 1_000);
            due.min(ends.unwrap_or(u64::MAX))
        });
        self.sessions.set_timers(number, ends, will_due);
        self.sessions.store_head(number, effects);
        self.sessions.store_queue(number, effects);
        self.end_what_is_due(effects);
    }

    /// Publishes wills and ends sessions whose time has come.
    pub(super) fn end_what_is_due(&mut self, effects: &mut Vec<Effect>) {
        while let Some(number) = self.sessions.due(self.now_ms) {
            let Some(session) = self.sessions.session_mut(number) else { return };
            let ends_ms = session.ends_ms;
            if session.will_due_ms.is_some_and(|due| due <= self.now_ms) {
                let (publisher, will) = (session.key.publisher.clone(), session.will.take());
                self.usage.will(&publisher, will.as_ref().map_or(0, Will::bytes), 0);
                self.sessions.set_timers(number, ends_ms, None);
                if ends_ms.is_none_or(|ends| ends > self.now_ms) {
                    self.sessions.store_head(number, effects);
                }
                self.publish_will(publisher, will, effects);
            } else {
                self.sessions.expired += 1;
                self.end_session(number, effects);
            }
        }
    }

    /// Ends a session for good; a will that still waits is published [MQTT-3.1.2-8].
    fn end_session(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let shares: Vec<TopicFilter> = match self.sessions.session(number) {
            Some(session) => {
                let shared = session.subscriptions.iter().filter(|kept| kept.share.is_some());
                shared.map(|kept| kept.filter.clone()).collect()
            }
            None => return,
        };
        let id = SubscriberId::durable(number);
        if let Some(session) = self.sessions.session(number) {
            let had = self.subscriptions_of(id);
            self.usage.subscriptions(&session.key.publisher, had, 0);
            self.usage.session_ended(&session.key.publisher);
        }
        self.index.remove(id);
        self.leave_shares(id);
        for filter in &shares {
            self.reassign(number, filter, effects);
        }
        if let Some((key, will)) = self.sessions.end(number, effects) {
            self.usage.will(&key.publisher, will.bytes(), 0);
            self.publish_will(key.publisher, Some(will), effects);
        }
        if self.sessions.is_empty() {
            self.sessions.wait(0, Then::Need(u64::MAX));
        }
    }

    fn publish_will(&mut self, publisher: Publisher, will: Option<Will>, effects: &mut Vec<Effect>) {
        let Some(Will { message, .. }) = will else { return };
        if self.is_behind() {
            let input = Input::Will { publisher, message };
            // One for each session at most, so it is not asked whether there is room.
            self.line_bytes += input.bytes();
            self.line.push_back(input);
        } else {
            self.will(&publisher, message, effects);
        }
    }

    /// Takes a subscriber out of all shares, and out of the index those that are empty now.
    fn leave_shares(&mut self, subscriber: SubscriberId) {
        for (group, share) in self.groups.leave_all(subscriber) {
            self.index.unsubscribe(SubscriberId::group(group), &share.filter);
        }
    }

    pub(super) fn end_subscriptions(&mut self, subscriber: SubscriberId) {
        self.fanout.leave_out(subscriber);
        if let Some(member) = self.members.get(&subscriber) {
            self.usage.subscriptions(&member.publisher, self.subscriptions_of(subscriber), 0);
        }
        self.index.remove(subscriber);
        self.replays.end_all(subscriber);
    }
}

/// What a principal may have over all of its sessions.
impl Router {
    /// The refusal of one more subscription, if its principal has as many as it may.
    pub(super) fn principal_subscription_quota(
        &self,
        subscriber: SubscriberId,
        more: usize,
    ) -> Option<Refusal> {
        let publisher = &self.members.get(&subscriber)?.publisher;
        let (who, max) = (publisher.kind, self.limits.of(publisher.kind).subscriptions_max);
        let is_reached = self.usage.of(publisher).subscriptions + more > max;
        is_reached.then_some(Refusal::PrincipalSubscriptionQuota { who, max })
    }

    /// A connection's session had `before` subscriptions until now.
    pub(super) fn count_subscriptions(&mut self, subscriber: SubscriberId, before: usize) {
        let after = self.subscriptions_of(self.index_id(subscriber));
        if let Some(member) = self.members.get(&subscriber) {
            self.usage.subscriptions(&member.publisher, before, after);
        }
    }

    /// The refusal of a will in place of one of `before` bytes, if there is no room for it.
    fn check_will_bytes(
        &self,
        publisher: &Publisher,
        before: usize,
        will: Option<&Will>,
    ) -> Result<(), Refusal> {
        let Some(after) = will.map(Will::bytes) else { return Ok(()) };
        let (who, max) = (publisher.kind, self.limits.of(publisher.kind).will_bytes_max);
        if (self.usage.of(publisher).will_bytes + after).saturating_sub(before) > max {
            return Err(Refusal::PrincipalWillBytesQuota { who, max });
        }
        let max = self.limits.will_bytes_max;
        if (self.usage.will_bytes() + after).saturating_sub(before) > max {
            return Err(Refusal::WillBytesQuota { max });
        }
        Ok(())
    }

    fn has_all_sessions(&self, publisher: &Publisher) -> bool {
        self.usage.of(publisher).sessions >= self.limits.of(publisher.kind).durable_sessions_max
    }
}

/// A will is judged when it is left, for nobody is there to be told later.
fn check_will(access: &Access, will: Option<&Will>) -> Result<(), Refusal> {
    let Some(Will { message: Message { topic, .. }, .. }) = will else { return Ok(()) };
    if topic.is_reserved() {
        return Err(Refusal::TopicReserved);
    }
    access.check_publish(topic).map_err(|denial| Refusal::NotAuthorized { rule: denial.rule })
}
