//! Connections that come and go, the durable sessions that they take up, and wills.

use std::sync::Arc;

use muster_schemas::{ClientId, Message, Publisher};

use super::{Ending, Member, Router, refuse_attach};
use crate::{
    access::Access,
    durable::{Attached, Kept, Session, SessionKey, Then, Will},
    effect::Effect,
    input::Input,
    refusal::Refusal,
    subscription::SubscriberId,
};

/// What a connection wants of the session that it takes up.
struct Taking {
    expiry_s: u32,
    will: Option<Will>,
    session_present: bool,
}

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
            quarantine: None,
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
        // What was left in quarantine was never left: nobody knows who spoke there.
        let is_void = member.quarantine.is_some();
        self.hand_on(member, effects);
        match session {
            Some(number) => self.detach(number, *ending, effects),
            None if ending.graceful || is_void => {}
            None => {
                if let Some(will) = will {
                    self.publish_will((publisher, None), will, effects);
                }
            }
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
                self.detach(number, Ending::default(), effects);
                existing = self.sessions.find(&key);
            }
            if let Some(number) = existing.filter(|_| clean_start) {
                self.end_session(number, effects);
                existing = None;
                has_ended = true;
            }
        }
        let is_quarantined = self.members.get(&to).is_some_and(|member| member.quarantine.is_some());
        let number = match existing {
            Some(number) => number,
            None if expiry_s == 0 => {
                self.set_aside(to, will);
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
        // The row of a session has no will that may not hold.
        let will = if is_quarantined {
            self.set_aside(to, will);
            None
        } else {
            will
        };
        let taking = Taking { expiry_s, will, session_present: existing.is_some() };
        self.take_up(number, to, taking, effects);
    }

    /// Keeps a will with its connection.
    fn set_aside(&mut self, to: SubscriberId, will: Option<Will>) {
        if let Some(member) = self.members.get_mut(&to) {
            self.usage.will(&member.publisher, 0, will.as_ref().map_or(0, Will::bytes));
            member.will = will.map(Box::new);
        }
    }

    /// A quarantine ends well: what was held back for it comes, and its will holds from now on.
    pub(super) fn clear(&mut self, subscriber: SubscriberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&subscriber) else { return };
        if member.quarantine.take().is_none() {
            return;
        }
        // What it came to was as the other list has it.
        member.recent = None;
        let Some(number) = member.session else { return };
        if let Some(will) = member.will.take()
            && let Some(session) = self.sessions.session_mut(number)
        {
            // It is counted already; the session has none, for it was taken up without.
            session.will = Some(*will);
            self.sessions.store_head(number, effects);
        }
        self.sessions.release_held(number);
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

    /// A connection has a session from now on, and is told so when that is on disk.
    fn take_up(&mut self, number: u64, to: SubscriberId, taking: Taking, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&to) else { return };
        member.session = Some(number);
        let (publisher, access) = (member.publisher.clone(), member.access.clone());
        self.take_what_is_forbidden(number, &publisher, &access, effects);
        let Taking { expiry_s, will, session_present } = taking;
        let after = will.as_ref().map_or(0, Will::bytes);
        let is_held = self.members.get(&to).is_some_and(|member| member.quarantine.is_some());
        let before = self.sessions.take_up(number, to, expiry_s, will).map_or(0, |will| will.bytes());
        if let Some(session) = self.sessions.session_mut(number) {
            session.is_held = is_held;
        }
        self.usage.will(&publisher, before, after);
        self.sessions.store_head(number, effects);
        self.sessions.store_suspects(number, effects);
        self.sessions.wait(number, Then::Start { to, session_present });
    }

    /// What a session may no longer subscribe to is taken from it.
    fn take_what_is_forbidden(
        &mut self,
        number: u64,
        publisher: &Publisher,
        access: &Access,
        effects: &mut Vec<Effect>,
    ) {
        let id = SubscriberId::durable(number);
        let Some(session) = self.sessions.session_mut(number) else { return };
        let is_forbidden =
            |kept: &mut Kept| access.check_subscribe(kept.share.as_ref().unwrap_or(&kept.filter)).is_err();
        let lost: Vec<Kept> = session.change_subscriptions(|all| all.extract_if(.., is_forbidden).collect());
        let before = self.subscriptions_of(id);
        for Kept { filter, .. } in &lost {
            self.drop_subscription(id, filter);
            self.reassign(number, filter, effects);
        }
        self.usage.subscriptions(publisher, before, self.subscriptions_of(id));
    }

    /// A session's connection is gone: the session waits for the next, or ends.
    fn detach(&mut self, number: u64, ending: Ending, effects: &mut Vec<Effect>) {
        let Ending { graceful, expiry_s, unacknowledged } = ending;
        let expiry_s = expiry_s.map(|seconds| seconds.min(self.limits.session_expiry_s_max));
        self.sessions.put_down(number, expiry_s, &unacknowledged, effects);
        if graceful {
            self.take_will(number);
        }
        self.sessions.begin_to_wait(number, self.now_ms);
        self.sessions.store_head(number, effects);
        self.sessions.store_queue(number, effects);
        self.end_what_is_due(effects);
    }

    /// Takes the will of a session, to publish it or not.
    fn take_will(&mut self, number: u64) -> Option<(Publisher, Will)> {
        let session = self.sessions.session_mut(number)?;
        let (publisher, will) = (session.key.publisher.clone(), session.will.take()?);
        self.usage.will(&publisher, will.bytes(), 0);
        Some((publisher, will))
    }

    /// Publishes wills and ends sessions whose time has come.
    pub(super) fn end_what_is_due(&mut self, effects: &mut Vec<Effect>) {
        while let Some(number) = self.sessions.due(self.now_ms) {
            let Some(session) = self.sessions.session(number) else { return };
            let (ends_ms, will_due_ms) = (session.ends_ms, session.will_due_ms);
            if will_due_ms.is_some_and(|due| due <= self.now_ms) {
                let will = self.take_will(number);
                self.sessions.set_timers(number, ends_ms, None);
                if ends_ms.is_none_or(|ends| ends > self.now_ms) {
                    self.sessions.store_head(number, effects);
                }
                if let Some((publisher, will)) = will {
                    self.publish_will((publisher, Some(number)), will, effects);
                }
            } else {
                self.sessions.expired += 1;
                self.end_session(number, effects);
            }
        }
    }

    /// Ends a session for good; a will that still waits is published [MQTT-3.1.2-8].
    fn end_session(&mut self, number: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.session(number) else { return };
        let id = SubscriberId::durable(number);
        let publisher = session.key.publisher.clone();
        self.usage.subscriptions(&publisher, self.subscriptions_of(id), 0);
        self.usage.session_ended(&publisher);
        self.index.remove(id);
        self.leave_shares(id);
        for filter in self.sessions.shares_of(number) {
            self.reassign(number, &filter, effects);
        }
        let will = self.take_will(number);
        self.sessions.end(number, effects);
        if let Some((publisher, will)) = will {
            self.publish_will((publisher, None), will, effects);
        }
        if self.sessions.is_empty() {
            self.sessions.wait(0, Then::Need(u64::MAX));
        }
    }

    fn publish_will(
        &mut self,
        (publisher, session): (Publisher, Option<u64>),
        Will { message, .. }: Will,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_behind() {
            let input = Input::Will { publisher, session, message };
            // One for each session at most, so it is not asked whether there is room.
            self.line_bytes += input.bytes();
            self.line.push_back(input);
        } else {
            self.will((&publisher, session), message, effects);
        }
    }

    /// Takes a subscriber out of all shares, and out of the index those that are empty now.
    fn leave_shares(&mut self, subscriber: SubscriberId) {
        for (group, share) in self.groups.leave_all(subscriber) {
            self.drop_group(group, &share);
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
