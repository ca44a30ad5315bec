//! The core of one tenant's router: who may publish, who gets it, what must be on disk before the publisher hears of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use muster_schemas::{Message, Publisher, Qos, RetainHandling, TopicFilter};

use crate::{
    access::Access,
    commit::{Answer, Commits},
    effect::{Effect, Outcome},
    fanout::{Fanout, Replay},
    index::Index,
    input::{Input, Request},
    limits::{Limits, REPLAY_SHARE_DIVISOR},
    refusal::Refusal,
    retained::Retained,
    subscription::{SubscriberId, Subscription},
};

/// What a router is made of.
#[derive(Debug, Clone, Default)]
pub struct RouterOptions {
    /// Its bounds.
    pub limits: Limits,
    /// Messages on these topics go to the log, because something reads them there.
    pub durable: Vec<TopicFilter>,
    /// The sequence that the log expects next.
    pub next_sequence: u64,
}

/// A live session.
#[derive(Debug)]
struct Member {
    publisher: Publisher,
    access: Arc<Access>,
    /// Which joining this is; answers to an earlier one are void.
    membership: u64,
    /// It left, and what it published before is still in line.
    leaving: bool,
}

/// One tenant's router.
#[derive(Debug)]
pub struct Router {
    limits: Limits,
    durable: Vec<TopicFilter>,
    /// Only ever asked for one member.
    members: HashMap<SubscriberId, Member>,
    memberships: u64,
    index: Index,
    retained: Retained,
    commits: Commits,
    fanout: Fanout,
    /// What waits behind an unfinished fan-out, in order.
    line: VecDeque<Input>,
    line_bytes: usize,
    /// One per subscription at most; the first is served next.
    replays: VecDeque<Replay>,
    /// [`Effect::Continue`] is on its way.
    asked_to_continue: bool,
}

impl Router {
    /// A router without members and retained messages.
    pub fn new(RouterOptions { limits, durable, next_sequence }: RouterOptions) -> Self {
        Self {
            durable,
            members: HashMap::new(),
            memberships: 0,
            index: Index::new(),
            retained: Retained::new(limits.retained_messages_max, limits.retained_bytes_max),
            commits: Commits::new(next_sequence, limits.uncommitted_records_max, limits.undo_bytes_max),
            fanout: Fanout::default(),
            line: VecDeque::new(),
            line_bytes: 0,
            replays: VecDeque::new(),
            asked_to_continue: false,
            limits,
        }
    }

    /// Puts back a retained message from storage, before the first input. It was accepted once and is not refused now.
    pub fn restore_retained(&mut self, message: Message) {
        if !message.payload.is_empty() {
            self.retained.restore(&message);
        }
    }

    /// Takes one input and appends what it wants done to `effects`.
    pub fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            // News of the disk never waits in line: publishers wait for it.
            Input::Committed { up_to } => {
                let members = &self.members;
                self.commits.committed(up_to, |to, matched| {
                    answer(members, to, Outcome::Routed { matched }, effects);
                });
            }
            Input::CommitFailed { from, reason } => {
                let members = &self.members;
                self.commits.failed(from, &mut self.retained, |to| {
                    answer(members, to, Outcome::Refused(reason.clone()), effects);
                });
            }
            Input::Continue => {
                self.asked_to_continue = false;
                self.work(effects);
            }
            input => {
                if let Input::Join { subscriber, .. } | Input::Leave { subscriber } = input
                    && let Some(member) = self.members.get_mut(&subscriber)
                {
                    // At once, so that nothing more is delivered; what it published may still be in line.
                    member.leaving = true;
                    self.end_subscriptions(subscriber);
                }
                if self.is_behind() {
                    self.wait_in_line(input, effects);
                } else {
                    self.take(input, effects);
                    self.work(effects);
                }
            }
        }
    }

    /// The subscriptions.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The retained messages.
    pub fn retained(&self) -> &Retained {
        &self.retained
    }

    /// The sequence that is given out next.
    pub fn next_sequence(&self) -> u64 {
        self.commits.next_sequence()
    }

    /// How many inputs wait behind an unfinished fan-out, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.line.len(), self.line_bytes)
    }

    /// Whether a new input has to wait in line.
    fn is_behind(&self) -> bool {
        self.fanout.is_pending() || !self.line.is_empty()
    }

    /// Works off one slice: the unfinished fan-out, then what is in line, then replays. Replays that wait are left a
    /// share of the slice; while we are to be called again anyway, they wait for that and hold up no new input.
    fn work(&mut self, effects: &mut Vec<Effect>) {
        let slice = self.limits.fanout_slice_max.max(1);
        let mut budget = slice;
        let with_replays = !self.replays.is_empty() && !self.asked_to_continue;
        let reserve = if with_replays { slice / REPLAY_SHARE_DIVISOR } else { 0 };
        loop {
            if self.fanout.is_pending() {
                if let Some((to, matched)) = self.fanout.deliver(&mut budget, reserve, effects) {
                    answer(&self.members, to, Outcome::Routed { matched }, effects);
                }
                if self.fanout.is_pending() {
                    break;
                }
            }
            if budget <= reserve {
                break;
            }
            let Some(input) = self.line.pop_front() else { break };
            budget -= 1;
            self.line_bytes -= input.bytes();
            self.take(input, effects);
        }
        while budget > 0
            && !self.asked_to_continue
            && let Some(replay) = self.replays.front_mut()
        {
            if replay.deliver(&self.retained, &mut budget, effects) {
                self.replays.pop_front();
                budget = budget.saturating_sub(1);
            } else {
                self.replays.rotate_left(1);
            }
        }
        if self.line.is_empty() && self.line.capacity() > self.limits.fanout_slice_max {
            self.line.shrink_to(self.limits.fanout_slice_max);
        }
        if (self.is_behind() || !self.replays.is_empty()) && !self.asked_to_continue {
            self.asked_to_continue = true;
            effects.push(Effect::Continue);
        }
    }

    /// Queues an input behind the unfinished fan-out, or refuses it at the bound. What frees something is never refused,
    /// nor is a joining: connections have a bound of their own.
    fn wait_in_line(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let bytes = input.bytes();
        let refusal = if self.line.len() >= self.limits.queued_inputs_max {
            Some(Refusal::RouterBehind { max: self.limits.queued_inputs_max })
        } else if self.line_bytes + bytes > self.limits.queued_bytes_max {
            Some(Refusal::RouterBehind { max: self.limits.queued_bytes_max })
        } else {
            None
        };
        match (input, refusal) {
            (Input::Publish { subscriber, ticket, .. }, Some(refusal)) => {
                effects.push(refused(subscriber, ticket, refusal));
            }
            (Input::Subscribe { subscriber, ticket, filters }, Some(refusal)) => {
                let outcomes = vec![Err(refusal); filters.len()];
                effects.push(Effect::Subscribed { to: subscriber, ticket, outcomes });
            }
            (Input::Announce { .. }, Some(_)) => {}
            (input, _) => {
                self.line_bytes += bytes;
                self.line.push_back(input);
            }
        }
    }

    fn take(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Join { subscriber, publisher, access } => {
                self.end_subscriptions(subscriber);
                self.memberships += 1;
                let membership = self.memberships;
                self.members.insert(subscriber, Member { publisher, access, membership, leaving: false });
            }
            Input::Leave { subscriber } => {
                self.end_subscriptions(subscriber);
                self.members.remove(&subscriber);
                if self.members.len() < self.members.capacity() / 4 {
                    self.members.shrink_to(2 * self.members.len());
                }
            }
            Input::Subscribe { subscriber, ticket, filters } => {
                self.subscribe(subscriber, ticket, filters, effects);
            }
            Input::Unsubscribe { subscriber, ticket, filters } => {
                self.unsubscribe(subscriber, ticket, &filters, effects);
            }
            Input::Publish { subscriber, ticket, message } => {
                self.publish(subscriber, ticket, message, effects);
            }
            Input::Announce { message } => {
                if message.retain {
                    self.retained.restore(&message);
                }
                self.index.matches(&message.topic, None, self.fanout.matches());
                self.fanout.begin(Arc::new(message), None);
            }
            Input::Committed { .. } | Input::CommitFailed { .. } | Input::Continue => {}
        }
    }

    fn publish(
        &mut self,
        subscriber: SubscriberId,
        ticket: Option<u16>,
        message: Message,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get(&subscriber) else { return };
        // Whoever left is not told; another session may hold the number and the ticket by now.
        let ticket = ticket.filter(|_| !member.leaving);
        let mut answer =
            ticket.map(|ticket| Answer { to: subscriber, ticket, membership: member.membership });
        let durable = self.durable.iter().any(|filter| filter.matches(&message.topic));
        let (retained, commits) = (&mut self.retained, &mut self.commits);
        let (message, wait_for) = match accept(member, retained, commits, message, durable, effects) {
            Ok(accepted) => accepted,
            Err(refusal) => return effects.push(refused(subscriber, ticket, refusal)),
        };
        self.index.matches(&message.topic, Some(subscriber), self.fanout.matches());
        let matched = durable || !self.fanout.matches().is_empty();
        if message.qos > Qos::AtMostOnce
            && let Some(sequence) = wait_for
            && let Some(answer) = answer.take()
        {
            self.commits.wait(sequence, answer, matched);
        }
        self.fanout.begin(message, answer.map(|answer| (answer, matched)));
    }

    fn subscribe(&mut self, to: SubscriberId, ticket: u16, filters: Vec<Request>, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get(&to).filter(|member| !member.leaving) else { return };
        let access = member.access.clone();
        let outcomes = filters.into_iter().map(|request| self.subscribe_to(to, &access, request)).collect();
        effects.push(Effect::Subscribed { to, ticket, outcomes });
    }

    fn subscribe_to(&mut self, to: SubscriberId, access: &Access, request: Request) -> Result<Qos, Refusal> {
        let Request { filter, options, subscription_id } = request;
        if filter.levels().next() == Some("$share") {
            return Err(Refusal::SharedNotSupported);
        }
        access.check_subscribe(&filter).map_err(|denial| Refusal::NotAuthorized { rule: denial.rule })?;
        let subscription = Subscription { options, id: subscription_id };
        let (all, own) = (self.limits.subscriptions_max, self.limits.subscriptions_per_subscriber_max);
        let refusal = if self.index.subscriptions_of(to) >= own {
            Some(Refusal::SubscriptionQuota { max: own })
        } else if self.index.len() >= all {
            Some(Refusal::TenantSubscriptionQuota { max: all })
        } else {
            None
        };
        if let Some(refusal) = refusal
            && !self.index.contains(to, &filter)
        {
            return Err(refusal);
        }
        let is_new = self.index.subscribe(to, &filter, subscription).is_none();
        if !is_new {
            self.end_replay(to, &filter);
        }
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && !self.retained.is_empty() {
            self.replays.push_back(Replay { to, subscription, cursor: Retained::matching(&filter) });
        }
        Ok(options.qos)
    }

    fn unsubscribe(
        &mut self,
        to: SubscriberId,
        ticket: u16,
        filters: &[TopicFilter],
        effects: &mut Vec<Effect>,
    ) {
        if self.members.get(&to).is_none_or(|member| member.leaving) {
            return;
        }
        let mut existed = Vec::with_capacity(filters.len());
        for filter in filters {
            let did_exist = self.index.unsubscribe(to, filter);
            if did_exist {
                self.end_replay(to, filter);
            }
            existed.push(did_exist);
        }
        effects.push(Effect::Unsubscribed { to, ticket, existed });
    }

    fn end_subscriptions(&mut self, subscriber: SubscriberId) {
        self.fanout.leave_out(subscriber);
        if self.index.remove(subscriber) > 0 {
            self.replays.retain(|replay| replay.to != subscriber);
        }
    }

    fn end_replay(&mut self, subscriber: SubscriberId, filter: &TopicFilter) {
        self.replays.retain(|replay| replay.to != subscriber || replay.cursor.filter() != filter);
    }
}

/// Checks a message, changes what is retained, and hands the log what it has to keep. Returns the message and the
/// sequence that must be on disk before it is acknowledged.
fn accept(
    member: &Member,
    retained: &mut Retained,
    commits: &mut Commits,
    message: Message,
    durable: bool,
    effects: &mut Vec<Effect>,
) -> Result<(Arc<Message>, Option<u64>), Refusal> {
    if message.topic.is_reserved() {
        return Err(Refusal::TopicReserved);
    }
    if let Err(denial) = member.access.check_publish(&message.topic) {
        return Err(Refusal::NotAuthorized { rule: denial.rule });
    }
    if !durable && !message.retain {
        return Ok((Arc::new(message), None));
    }
    commits.check_room()?;
    let (message, change) = if !message.retain {
        (Arc::new(message), None)
    } else if message.payload.is_empty() {
        let forgotten = retained.forget(&message.topic);
        (Arc::new(message), forgotten.map(Some))
    } else {
        let (kept, previous) = retained.keep(&message)?;
        (kept, Some(previous))
    };
    if !durable && change.is_none() {
        // Nothing to clear; but that may be so because of a change that is not yet on disk.
        return Ok((message, commits.last_uncommitted()));
    }
    let sequence = commits.assign();
    if durable {
        let (publisher, message) = (member.publisher.clone(), message.clone());
        effects.push(Effect::Append { sequence, publisher, message });
    }
    if let Some(previous) = change {
        // A compact topic, for the one that was read is part of a read buffer.
        let topic = previous.as_ref().unwrap_or(&message).topic.clone();
        effects.push(if message.payload.is_empty() {
            Effect::ForgetRetained { sequence, topic: topic.clone() }
        } else {
            Effect::KeepRetained { sequence, message: message.clone() }
        });
        commits.keep_previous(sequence, topic, previous);
    }
    Ok((message, Some(sequence)))
}

/// Answers a publisher that is still the one who asked.
fn answer(
    members: &HashMap<SubscriberId, Member>,
    Answer { to, ticket, membership }: Answer,
    outcome: Outcome,
    effects: &mut Vec<Effect>,
) {
    if members.get(&to).is_some_and(|member| member.membership == membership && !member.leaving) {
        effects.push(Effect::Published { to, ticket, outcome });
    }
}

fn refused(to: SubscriberId, ticket: Option<u16>, refusal: Refusal) -> Effect {
    match ticket {
        Some(ticket) => Effect::Published { to, ticket, outcome: Outcome::Refused(refusal) },
        None => Effect::Denied { to, refusal },
    }
}
