//! Shared subscriptions (MQTT 5 §4.8.2): who shares a filter with whom, and whose turn it is. Not for what became of a
//! message once it was handed to a member.

use std::collections::{BTreeMap, HashMap};

use muster_schemas::{InvalidTopic, TopicFilter};

use crate::subscription::{SubscriberId, Subscription, weight};

/// The first level of a shared subscription's filter.
const SHARE: &str = "$share/";

/// A filter of the form `$share/{name}/{filter}`, in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    pub(crate) name: Box<str>,
    /// What is shared.
    pub(crate) filter: TopicFilter,
}

impl Share {
    /// The parts of a filter that is one; none for an ordinary filter.
    ///
    /// # Errors
    /// It begins like one, and its name is empty or has a wildcard, or nothing that is a filter follows
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    pub(crate) fn of(filter: &TopicFilter) -> Result<Option<Self>, InvalidTopic> {
        let Some(rest) = filter.as_str().strip_prefix(SHARE) else { return Ok(None) };
        let (name, filter) = rest.split_once('/').ok_or(InvalidTopic::Empty)?;
        if name.is_empty() {
            return Err(InvalidTopic::Empty);
        }
        if name.contains(['+', '#']) {
            return Err(InvalidTopic::MisplacedWildcard);
        }
        Ok(Some(Self { name: name.into(), filter: filter.parse()? }))
    }

    fn weight(&self) -> usize {
        weight(self.filter.as_str())
    }
}

/// One who shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sharer {
    pub(crate) subscriber: SubscriberId,
    pub(crate) subscription: Subscription,
}

#[derive(Debug)]
struct Group {
    share: Share,
    /// As it was asked for.
    filter: TopicFilter,
    /// In the order in which they came.
    members: Vec<Sharer>,
    /// Whose turn it is.
    next: usize,
}

/// What joining a share came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The number of the group.
    pub(crate) group: u64,
    /// The group is new, and has to be entered into the index.
    pub(crate) is_first: bool,
}

/// All shares of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Only ever asked for one.
    by_share: HashMap<Share, u64>,
    all: BTreeMap<u64, Group>,
    /// For how many subscriptions the shares that each subscriber is in count. Only ever asked for one.
    of_subscriber: HashMap<SubscriberId, usize>,
    last: u64,
}

impl Groups {
    /// Adds a member, or gives it another subscription.
    pub(crate) fn join(&mut self, share: Share, filter: &TopicFilter, member: Sharer) -> Joined {
        let group = *self.by_share.entry(share.clone()).or_insert_with(|| {
            self.last += 1;
            self.last
        });
        let mut is_first = false;
        let shared = self.all.entry(group).or_insert_with(|| {
            is_first = true;
            // A copy, for the filter's own bytes may be part of a read buffer.
            let filter = filter.as_str().parse().unwrap_or_else(|_| filter.clone());
            Group { share, filter, members: Vec::new(), next: 0 }
        });
        match shared.members.iter_mut().find(|known| known.subscriber == member.subscriber) {
            Some(known) => *known = member,
            None => {
                shared.members.push(member);
                *self.of_subscriber.entry(member.subscriber).or_default() += shared.share.weight();
            }
        }
        Joined { group, is_first }
    }

    /// Takes a member out. With the last one the group goes: returns its number then.
    pub(crate) fn leave(&mut self, share: &Share, subscriber: SubscriberId) -> Option<(bool, Option<u64>)> {
        let group = *self.by_share.get(share)?;
        let shared = self.all.get_mut(&group)?;
        let at = shared.members.iter().position(|member| member.subscriber == subscriber);
        let Some(at) = at else { return Some((false, None)) };
        shared.members.remove(at);
        if shared.next > at {
            shared.next -= 1;
        }
        if let Some(count) = self.of_subscriber.get_mut(&subscriber) {
            *count -= share.weight();
            if *count == 0 {
                self.of_subscriber.remove(&subscriber);
            }
        }
        if !shared.members.is_empty() {
            return Some((true, None));
        }
        self.all.remove(&group);
        self.by_share.remove(share);
        Some((true, Some(group)))
    }

    /// Takes a subscriber out of all groups. Returns those that are empty now, and what they shared.
    pub(crate) fn leave_all(&mut self, subscriber: SubscriberId) -> Vec<(u64, Share)> {
        if !self.of_subscriber.contains_key(&subscriber) {
            return Vec::new();
        }
        let holds = |group: &&Group| group.members.iter().any(|member| member.subscriber == subscriber);
        let shares: Vec<Share> = self.all.values().filter(holds).map(|group| group.share.clone()).collect();
        let gone = shares.into_iter().filter_map(|share| {
            let (_, gone) = self.leave(&share, subscriber)?;
            gone.map(|group| (group, share))
        });
        gone.collect()
    }

    /// For how many subscriptions the shares that a subscriber is in count.
    pub(crate) fn weight_of(&self, subscriber: SubscriberId) -> usize {
        self.of_subscriber.get(&subscriber).copied().unwrap_or(0)
    }

    /// Whether a subscriber is in a share.
    pub(crate) fn contains(&self, share: &Share, subscriber: SubscriberId) -> bool {
        let group = self.by_share.get(share).and_then(|group| self.all.get(group));
        group.is_some_and(|group| group.members.iter().any(|member| member.subscriber == subscriber))
    }

    /// The group of a share.
    pub(crate) fn find(&self, share: &Share) -> Option<u64> {
        self.by_share.get(share).copied()
    }

    /// Chooses who gets the next message: in turn the first of those whom `rank` ranks lowest, and nobody whom it ranks
    /// none. With its rank, and the filter of the group as it was asked for.
    pub(crate) fn pick<R: Ord + Copy>(
        &mut self,
        group: u64,
        rank: impl Fn(&Sharer) -> Option<R>,
    ) -> Option<(R, Sharer, TopicFilter)> {
        let group = self.all.get_mut(&group)?;
        let count = group.members.len();
        let turn = (0..count).map(|step| (group.next + step) % count);
        let ranked = turn.filter_map(|at| {
            let member = group.members.get(at)?;
            Some((rank(member)?, at))
        });
        // The first of equals, for `min_by_key` keeps the first.
        let (rank, at) = ranked.min_by_key(|(rank, _)| *rank)?;
        group.next = (at + 1) % count;
        group.members.get(at).map(|member| (rank, *member, group.filter.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect("a filter")
    }

    fn share(text: &str) -> Share {
        Share::of(&filter(text)).expect("a share").expect("a share")
    }

    fn member(subscriber: u64) -> Sharer {
        Sharer { subscriber: SubscriberId(subscriber), subscription: Subscription::default() }
    }

    #[test]
    fn a_shared_filter_has_a_name_and_a_filter() {
        assert_eq!(share("$share/g/a/#").filter.as_str(), "a/#");
        assert_eq!(share("$share/g//a").filter.as_str(), "/a");
        for text in ["$share/g", "$share//a", "$share/g/", "$share/+/a"] {
            assert!(Share::of(&text.parse().expect("a filter")).is_err(), "{text}");
        }
        assert_eq!(Share::of(&"$shared/g/a".parse().expect("a filter")), Ok(None));
    }

    #[test]
    fn members_take_turns_and_who_is_behind_is_passed_over() {
        let mut groups = Groups::default();
        let joined = groups.join(share("$share/g/a"), &filter("$share/g/a"), member(1));
        assert!(joined.is_first);
        for subscriber in [2, 3, 3] {
            assert!(!groups.join(share("$share/g/a"), &filter("$share/g/a"), member(subscriber)).is_first);
        }
        let mut turn = |rank: fn(u64) -> Option<u8>| {
            let picked = groups.pick(joined.group, |member| rank(member.subscriber.0));
            picked.map(|(_, member, _)| member.subscriber.0)
        };
        assert_eq!([turn(|_| Some(0)), turn(|_| Some(0)), turn(|_| Some(0))], [Some(1), Some(2), Some(3)]);
        assert_eq!(turn(|id| Some(u8::from(id == 1))), Some(2));
        assert_eq!(turn(|id| (id == 2).then_some(0)), Some(2));
        assert_eq!(turn(|_| None), None);
    }

    #[test]
    fn the_last_to_leave_takes_the_group_with_it() {
        let mut groups = Groups::default();
        let group = groups.join(share("$share/g/a"), &filter("$share/g/a"), member(1)).group;
        groups.join(share("$share/g/a"), &filter("$share/g/a"), member(2));
        groups.join(share("$share/h/a"), &filter("$share/h/a"), member(2));
        assert_eq!(groups.leave(&share("$share/g/a"), SubscriberId(9)), Some((false, None)));
        assert_eq!(groups.leave(&share("$share/g/a"), SubscriberId(1)), Some((true, None)));
        let gone: Vec<_> = groups.leave_all(SubscriberId(2)).into_iter().map(|(group, _)| group).collect();
        assert_eq!(gone.len(), 2);
        assert!(gone.contains(&group) && groups.all.is_empty() && groups.of_subscriber.is_empty());
    }
}
