//! Subscriptions that are made, changed and ended.

use muster_schemas::{Qos, RetainHandling, TopicFilter};

use super::Router;
use crate::{
    access::Access,
    durable::{Kept, Then},
    effect::{Effect, Wish},
    groups::{Share, Sharer},
    input::Request,
    refusal::Refusal,
    subscription::{SubscriberId, Subscription, weight},
};

impl Router {
    pub(super) fn subscribe(
        &mut self,
        to: SubscriberId,
        ticket: u16,
        filters: Vec<Request>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get(&to).filter(|member| !member.leaving) else { return };
        if member.quarantine.is_some() {
            let outcomes = vec![Err(Refusal::Quarantined); filters.len()];
            effects.extend(filters.into_iter().map(|request| {
                let wish = Wish::Subscribe(request.filter);
                Effect::Denied { to, wish, refusal: Refusal::Quarantined }
            }));
            return effects.push(Effect::Subscribed { to, ticket, outcomes });
        }
        let access = member.access.clone();
        let subscribe_one = |request: Request| {
            let before = self.subscriptions_of(self.index_id(to));
            let filter = request.filter.clone();
            let outcome = self.subscribe_to(to, &access, request);
            self.count_subscriptions(to, before);
            if let Err(refusal) = &outcome {
                let (wish, refusal) = (Wish::Subscribe(filter), refusal.clone());
                effects.push(Effect::Denied { to, wish, refusal });
            }
            outcome
        };
        let outcomes = filters.into_iter().map(subscribe_one).collect();
        self.tell_when_kept(to, Effect::Subscribed { to, ticket, outcomes }, effects);
    }

    fn subscribe_to(&mut self, to: SubscriberId, access: &Access, request: Request) -> Result<Qos, Refusal> {
        let Request { filter, options, subscription_id } = request;
        let share = Share::of(&filter).map_err(Refusal::ShareInvalid)?;
        let wanted = share.as_ref().map_or(&filter, |share| &share.filter);
        access.check_subscribe(wanted).map_err(|denial| Refusal::NotAuthorized { rule: denial.rule })?;
        let subscription = Subscription { options, id: subscription_id };
        let id = self.index_id(to);
        let (all, own) = (self.limits.subscriptions_max, self.limits.subscriptions_per_subscriber_max);
        let has = self.subscriptions_of(id);
        let more = weight(wanted.as_str());
        let refusal = if has + more > own {
            Some(Refusal::SubscriptionQuota { max: own })
        } else if self.index.weight() + more > all {
            Some(Refusal::TenantSubscriptionQuota { max: all })
        } else {
            self.principal_subscription_quota(to, more)
        };
        let is_there = match &share {
            Some(share) => self.groups.contains(share, id),
            None => self.index.contains(id, &filter),
        };
        if let Some(refusal) = refusal.filter(|_| !is_there) {
            return Err(refusal);
        }
        if let Some(share) = share {
            // A share is sent nothing that is retained (MQTT 5 §4.8.2).
            let shared = share.filter.clone();
            let joined = self.groups.join(share, &filter, Sharer { subscriber: id, subscription });
            if joined.is_first {
                self.index.subscribe(SubscriberId::group(joined.group), &shared, Subscription::of_group());
            }
            self.keep(to, &filter, subscription);
            return Ok(options.qos);
        }
        let is_new = self.index.subscribe(id, &filter, subscription).is_none();
        if !is_new {
            self.replays.end(to, &filter);
        }
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && !self.retained.is_empty() {
            self.replays.begin(to, subscription, &filter);
        }
        self.keep(to, &filter, subscription);
        Ok(options.qos)
    }

    /// Notes a subscription with its durable session: it is for what comes from now on.
    fn keep(&mut self, to: SubscriberId, filter: &TopicFilter, subscription: Subscription) {
        let since = self.commits.next_sequence();
        let number = self.session_of(to);
        let Some(session) = number.and_then(|number| self.sessions.session_mut(number)) else { return };
        session.change_subscriptions(|all| match all.iter_mut().find(|kept| kept.filter == *filter) {
            Some(kept) => kept.subscription = subscription,
            None => {
                // A copy, for the filter's own bytes are part of a read buffer.
                let filter = filter.as_str().parse().unwrap_or_else(|_| filter.clone());
                all.push(Kept::new(filter, subscription, since));
            }
        });
    }

    pub(super) fn unsubscribe(
        &mut self,
        to: SubscriberId,
        ticket: u16,
        filters: &[TopicFilter],
        effects: &mut Vec<Effect>,
    ) {
        if self.members.get(&to).is_none_or(|member| member.leaving) {
            return;
        }
        let id = self.index_id(to);
        let before = self.subscriptions_of(id);
        let mut existed = Vec::with_capacity(filters.len());
        for filter in filters {
            let did_exist = self.drop_subscription(id, filter);
            if did_exist {
                self.replays.end(to, filter);
                if let Some(number) = self.session_of(to) {
                    if let Some(session) = self.sessions.session_mut(number) {
                        session.change_subscriptions(|all| all.retain(|kept| kept.filter != *filter));
                    }
                    self.reassign(number, filter, effects);
                }
            }
            existed.push(did_exist);
        }
        self.count_subscriptions(to, before);
        self.tell_when_kept(to, Effect::Unsubscribed { to, ticket, existed }, effects);
    }

    /// Takes a subscription out of the index, or a subscriber out of a share.
    pub(super) fn drop_subscription(&mut self, id: SubscriberId, filter: &TopicFilter) -> bool {
        let Ok(Some(share)) = Share::of(filter) else { return self.index.unsubscribe(id, filter) };
        match self.groups.leave(&share, id) {
            Some((did_exist, gone)) => {
                if let Some(group) = gone {
                    self.drop_group(group, &share);
                }
                did_exist
            }
            None => false,
        }
    }

    /// Answers at once, or for a durable session when its subscriptions are on disk.
    fn tell_when_kept(&mut self, to: SubscriberId, answer: Effect, effects: &mut Vec<Effect>) {
        match self.session_of(to) {
            None => effects.push(answer),
            Some(number) => {
                self.sessions.store_head(number, effects);
                self.sessions.wait(number, Then::Say(Box::new(answer)));
            }
        }
    }
}
