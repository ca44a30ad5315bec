//! The core of one tenant's router: who may publish, who gets it, what must be on disk before the publisher hears of it.

mod membership;
mod publish;
mod shared;
mod subscribe;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use muster_schemas::{Message, Publisher, TopicFilter, TopicName};

use crate::{
    access::Access,
    commit::{Answer, Commits},
    durable::{Kept, Record, RestoreError, Sessions, Will},
    effect::{Effect, Outcome, Wish},
    fanout::Fanout,
    groups::{Groups, Joined, Share, Sharer},
    held::Held,
    index::{Index, Matches},
    input::Input,
    limits::{Limits, REPLAY_SHARE_DIVISOR},
    numbers::SubscriberMap,
    recent::Recent,
    refusal::Refusal,
    replays::Replays,
    retained::Retained,
    subscription::{SubscriberId, Subscription},
    usage::Usage,
};
use shared::{SharedFlights, is_of_group};

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

/// A live session. What few of them have is boxed: there are thousands.
#[derive(Debug)]
struct Member {
    publisher: Publisher,
    access: Arc<Access>,
    /// What it may do until it is cleared, if it is in quarantine.
    quarantine: Option<Arc<Access>>,
    /// Which joining this is; answers to an earlier one are void.
    membership: u64,
    /// None before it has published.
    recent: Option<Box<Recent>>,
    /// It left, and what it published before is still in line.
    leaving: bool,
    /// The durable session that it has, by number.
    session: Option<u64>,
    /// What to publish should it vanish, where no durable session keeps it.
    will: Option<Box<Will>>,
    /// How it ended, once it said so.
    ending: Option<Box<Ending>>,
    /// What it got as a member of shares, where no durable session keeps it.
    shared: Option<Box<SharedFlights>>,
}

/// How a connection ended.
#[derive(Debug, Default)]
struct Ending {
    graceful: bool,
    expiry_s: Option<u32>,
    unacknowledged: Vec<(u16, u64)>,
}

/// One tenant's router.
#[derive(Debug)]
pub struct Router {
    limits: Limits,
    durable: Vec<TopicFilter>,
    /// Only ever asked for one member.
    members: SubscriberMap<Member>,
    memberships: u64,
    index: Index,
    groups: Groups,
    retained: Retained,
    sessions: Sessions,
    usage: Usage,
    held: Held,
    commits: Commits,
    fanout: Fanout,
    /// What waits behind an unfinished fan-out, in order.
    line: VecDeque<Input>,
    line_bytes: usize,
    replays: Replays,
    /// [`Effect::Continue`] is on its way.
    asked_to_continue: bool,
    /// The time of the current input, in Unix milliseconds.
    now_ms: u64,
}

impl Router {
    /// A router without members and retained messages.
    pub fn new(RouterOptions { limits, durable, next_sequence }: RouterOptions) -> Self {
        Self {
            durable,
            members: SubscriberMap::default(),
            memberships: 0,
            index: Index::new(),
            groups: Groups::default(),
            retained: Retained::new(limits.retained_messages_max, limits.retained_bytes_max),
            sessions: Sessions::new(limits.clone(), next_sequence),
            usage: Usage::default(),
            held: Held::default(),
            commits: Commits::new(next_sequence, limits.uncommitted_records_max, limits.undo_bytes_max),
            fanout: Fanout::default(),
            line: VecDeque::new(),
            line_bytes: 0,
            replays: Replays::default(),
            asked_to_continue: false,
            now_ms: 0,
            limits,
        }
    }

    /// Puts back a retained message from storage, before the first input. It was accepted once and is not refused now.
    /// It came from `publisher` at `received_ms`, in Unix milliseconds.
    pub fn restore_retained(&mut self, publisher: &Publisher, message: &Message, received_ms: u64) {
        if !message.payload.is_empty() {
            self.retained.restore(Some(publisher), message, received_ms);
        }
    }

    /// Puts back the durable sessions from their rows, before the first input; the log's first record is `low`. The
    /// records from [`Restoring::from`] on are then to be handed in with [`Router::restore_record`].
    ///
    /// # Errors
    /// A row is not what was written.
    pub fn restore_sessions(
        &mut self,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        low: u64,
        now_ms: u64,
    ) -> Result<Restoring, RestoreError> {
        let as_of = self.sessions.restore(rows, low, now_ms)?;
        for (number, session) in self.sessions.iter() {
            let subscriber = SubscriberId::durable(number);
            for Kept { filter, subscription, .. } in &session.subscriptions {
                match Share::of(filter) {
                    Ok(Some(share)) => {
                        let member = Sharer { subscriber, subscription: *subscription };
                        let Joined { group, is_first } = self.groups.join(share.clone(), filter, member);
                        if is_first {
                            self.index.subscribe(
                                SubscriberId::group(group),
                                &share.filter,
                                Subscription::of_group(),
                            );
                        }
                    }
                    _ => drop(self.index.subscribe(subscriber, filter, *subscription)),
                }
            }
            let kept = self.index.weight_of(subscriber) + self.groups.weight_of(subscriber);
            self.usage.subscriptions(&session.key.publisher, 0, kept);
            self.usage.session_began(&session.key.publisher);
            self.usage.will(&session.key.publisher, 0, session.will.as_ref().map_or(0, Will::bytes));
        }
        Ok(Restoring { from: Sessions::restore_from(&as_of), as_of, matches: Matches::default() })
    }

    /// Hands in a record of the log, in order.
    pub fn restore_record(&mut self, record: &Record, restoring: &mut Restoring) {
        let from = record.session.map(SubscriberId::durable);
        self.index.all_matches(&record.message.topic, from, &mut restoring.matches);
        self.sessions.restore_record(record, &mut restoring.matches, &restoring.as_of);
    }

    /// Takes one input at `now_ms`, in Unix milliseconds, and appends what it wants done to `effects`.
    pub fn handle(&mut self, now_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        self.now_ms = now_ms;
        self.take_input(input, effects);
        self.hand_out_strays(effects);
    }

    fn take_input(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let now_ms = self.now_ms;
        match input {
            // News of the disk never waits in line: publishers wait for it.
            Input::Committed { up_to } => {
                let members = &self.members;
                self.commits.committed(up_to, |to, matched| {
                    answer(members, to, Outcome::Routed { matched }, effects);
                });
                self.sessions.committed(up_to, now_ms, effects);
                self.feed(effects);
            }
            Input::CommitFailed { from, reason } => {
                let members = &self.members;
                self.commits.failed(from, &mut self.retained, |asked| {
                    let wish = Wish::Publish(None);
                    effects.push(Effect::Denied { to: asked.to, wish, refusal: reason.clone() });
                    answer(members, asked, Outcome::Refused(reason.clone()), effects);
                });
                self.sessions.uncommitted_failed(from);
                self.held.failed(from);
            }
            Input::Stored { batch } => {
                self.sessions.stored(batch, effects);
                self.feed(effects);
            }
            Input::StoreFailed { batch, reason } => {
                for to in self.sessions.failed(batch, now_ms) {
                    effects.push(Effect::Close { to, refusal: reason.clone() });
                }
            }
            Input::Trimmed { below } => self.sessions.trimmed(below, now_ms, effects),
            Input::Records { session, wanted, records, .. } if is_of_group(session) => {
                self.take_strays(session, &wanted, records, effects);
            }
            Input::Records { session, epoch, wanted, records, next } => {
                self.sessions.records((session, epoch), wanted, records, next, now_ms, effects);
                self.feed(effects);
            }
            Input::Complete { subscriber, tag } => match self.session_of(subscriber) {
                Some(number) => {
                    self.sessions.complete(number, tag, now_ms, effects);
                    self.feed(effects);
                }
                None => self.complete_shared(subscriber, tag),
            },
            Input::Bind { subscriber, packet_id, tag } => {
                if let Some(number) = self.session_of(subscriber) {
                    self.sessions.bind(number, packet_id, tag, effects);
                }
            }
            Input::Release { subscriber, packet_id, tag } => {
                if let Some(number) = self.session_of(subscriber) {
                    self.sessions.release(number, packet_id, tag, effects);
                }
            }
            Input::Forget { subscriber, packet_id } => {
                if let Some(number) = self.session_of(subscriber) {
                    self.sessions.forget(number, packet_id, effects);
                }
            }
            Input::CaughtUp { subscriber } => {
                self.replays.caught_up(subscriber);
                self.ask_to_continue(effects);
            }
            Input::DeadlineReached => {
                self.sessions.flush(now_ms, effects);
                self.end_what_is_due(effects);
                self.clear_expired(effects);
                // A will that was due is delivered, or all that comes would wait behind it.
                if !self.asked_to_continue {
                    self.work(effects);
                }
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
                    if let Some(session) = member.session.and_then(|number| self.sessions.session_mut(number))
                    {
                        session.goes();
                    }
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

    /// Closes the batch of rows that this turn's effects make, for the shell that is about to commit them, and returns its
    /// number and whether there is anything in it: rows, or somebody who waits for those before. The outcome is told with
    /// [`Input::Stored`] or [`Input::StoreFailed`].
    pub fn seal(&mut self) -> (u64, bool) {
        self.sessions.seal()
    }

    /// When to hand in [`Input::DeadlineReached`], in Unix milliseconds, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<u64> {
        // While the log has no room, what expired is not cleared; it is not delivered either.
        let expiry = self.retained.next_expiry().filter(|_| self.commits.check_room().is_ok());
        [self.sessions.next_deadline(), expiry].into_iter().flatten().min()
    }

    /// The lowest sequence of the log that durable sessions need; `u64::MAX` if they need nothing.
    pub fn needed_from(&self) -> u64 {
        self.sessions.needed_from()
    }

    /// How many durable sessions have no connection, and how many have ended because none came in time.
    pub fn sessions_waiting(&self) -> (usize, u64) {
        (self.sessions.len() - self.sessions.connected, self.sessions.expired)
    }

    /// How many messages durable sessions have not got, because the log no longer had them.
    pub fn messages_missed(&self) -> u64 {
        self.sessions.missed
    }

    /// How many messages durable sessions have not got, because their time was over before.
    pub fn messages_expired(&self) -> u64 {
        self.sessions.messages_expired
    }

    /// The last sequence that is known to be on disk.
    pub fn committed(&self) -> u64 {
        self.sessions.committed
    }

    /// How many durable sessions there are, connected or not.
    pub fn durable_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a durable session, or a share, still waits for what it wanted of the log with [`Effect::Read`].
    pub fn is_reading(&self, session: u64, epoch: u64) -> bool {
        match is_of_group(session) {
            true => self.sessions.strays.contains_key(&SubscriberId(session).group_number()),
            false => self.sessions.session(session).is_some_and(|s| s.epoch == epoch && s.reading),
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

    #[cfg(test)]
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
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
        let others_wait = !self.replays.is_empty() || self.sessions.has_line();
        let reserve = if others_wait && !self.asked_to_continue { slice / REPLAY_SHARE_DIVISOR } else { 0 };
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
            && let Some(to) = self.replays.next()
        {
            let number = self.members.get(&to).and_then(|member| member.session);
            let session = number.and_then(|number| self.sessions.session_mut(number));
            self.replays.serve(&self.retained, self.now_ms, session, &mut budget, effects);
        }
        if self.line.is_empty() && self.line.capacity() > self.limits.fanout_slice_max {
            self.line.shrink_to(self.limits.fanout_slice_max);
        }
        if !self.asked_to_continue {
            self.sessions.feed(self.now_ms, &mut budget, effects);
        }
        self.ask_to_continue(effects);
    }

    /// Feeds durable sessions outside of the line of inputs: what they wait for came from elsewhere.
    fn feed(&mut self, effects: &mut Vec<Effect>) {
        if self.sessions.has_line() && !self.asked_to_continue {
            let mut budget = self.limits.fanout_slice_max.max(1);
            self.sessions.feed(self.now_ms, &mut budget, effects);
            self.ask_to_continue(effects);
        }
    }

    fn ask_to_continue(&mut self, effects: &mut Vec<Effect>) {
        let is_unfinished = self.is_behind() || !self.replays.is_empty() || self.sessions.has_line();
        if is_unfinished && !self.asked_to_continue {
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
            (Input::Publish { subscriber, ticket, message }, Some(refusal)) => {
                refuse_publish(subscriber, ticket, message.topic.clone(), refusal, effects);
            }
            (Input::Subscribe { subscriber: to, ticket, filters }, Some(refusal)) => {
                let outcomes = vec![Err(refusal.clone()); filters.len()];
                effects.extend(filters.into_iter().map(|request| {
                    let wish = Wish::Subscribe(request.filter);
                    Effect::Denied { to, wish, refusal: refusal.clone() }
                }));
                effects.push(Effect::Subscribed { to, ticket, outcomes });
            }
            (Input::Attach { subscriber, will, .. }, Some(refusal)) => {
                refuse_attach(subscriber, will.as_ref(), refusal, effects);
            }
            (Input::Announce { .. } | Input::Letter { .. }, Some(_)) => {}
            (input, _) => {
                self.line_bytes += bytes;
                self.line.push_back(input);
            }
        }
    }

    fn take(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Join { subscriber, publisher, access } => {
                self.join(subscriber, publisher, access, effects)
            }
            Input::Quarantine { subscriber, access } => {
                if let Some(member) = self.members.get_mut(&subscriber) {
                    member.quarantine = Some(access);
                }
            }
            Input::Clear { subscriber } => self.clear(subscriber, effects),
            Input::Attach { subscriber, client_id, clean_start, expiry_s, will } => {
                self.attach(subscriber, client_id, clean_start, expiry_s, will, effects);
            }
            Input::Detach { subscriber, graceful, expiry_s, unacknowledged } => {
                if let Some(member) = self.members.get_mut(&subscriber) {
                    member.ending = Some(Box::new(Ending { graceful, expiry_s, unacknowledged }));
                }
            }
            Input::Leave { subscriber } => self.leave(subscriber, effects),
            Input::Subscribe { subscriber, ticket, filters } => {
                self.subscribe(subscriber, ticket, filters, effects);
            }
            Input::Unsubscribe { subscriber, ticket, filters } => {
                self.unsubscribe(subscriber, ticket, &filters, effects);
            }
            Input::Publish { subscriber, ticket, message } => {
                self.publish(subscriber, ticket, message, effects);
            }
            Input::Will { publisher, session, message } => self.will((&publisher, session), message, effects),
            Input::Letter { publisher, message } => self.will((&publisher, None), message, effects),
            Input::Announce { message } => self.announce(message, effects),
            // The rest never stands in line.
            _ => {}
        }
    }

    /// The durable session that a connection has.
    fn session_of(&self, subscriber: SubscriberId) -> Option<u64> {
        self.members.get(&subscriber).and_then(|member| member.session)
    }

    /// For how many subscriptions those of somebody count, shared ones included.
    fn subscriptions_of(&self, id: SubscriberId) -> usize {
        self.index.weight_of(id) + self.groups.weight_of(id)
    }

    /// Under which number the index knows a connection: its own, or that of its durable session.
    fn index_id(&self, subscriber: SubscriberId) -> SubscriberId {
        self.session_of(subscriber).map_or(subscriber, SubscriberId::durable)
    }
}

/// Where a restoration stands.
#[derive(Debug)]
pub struct Restoring {
    /// The first record that has to be handed in; none if none has.
    pub from: Option<u64>,
    /// Up to where each session's queue row has listed what it wants.
    as_of: BTreeMap<u64, u64>,
    matches: Matches,
}

/// Answers a publisher that is still the one who asked.
fn answer(
    members: &SubscriberMap<Member>,
    Answer { to, ticket, membership }: Answer,
    outcome: Outcome,
    effects: &mut Vec<Effect>,
) {
    if members.get(&to).is_some_and(|member| member.membership == membership && !member.leaving) {
        effects.push(Effect::Published { to, ticket, outcome });
    }
}

fn refuse_publish(
    to: SubscriberId,
    ticket: Option<u16>,
    topic: TopicName,
    refusal: Refusal,
    effects: &mut Vec<Effect>,
) {
    effects.push(Effect::Denied { to, wish: Wish::Publish(Some(topic)), refusal: refusal.clone() });
    if let Some(ticket) = ticket {
        effects.push(Effect::Published { to, ticket, outcome: Outcome::Refused(refusal) });
    }
}

fn refuse_attach(to: SubscriberId, will: Option<&Will>, refusal: Refusal, effects: &mut Vec<Effect>) {
    let wish = Wish::Attach(will.map(|will| will.message.topic.clone()));
    effects.push(Effect::Denied { to, wish, refusal: refusal.clone() });
    effects.push(Effect::Attached { to, outcome: Err(refusal) });
}
