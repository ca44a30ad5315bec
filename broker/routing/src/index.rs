//! The subscriptions of a tenant as a tree of topic levels: who wants a message. Not for how it reaches them.

use std::{collections::HashMap, str::Split};

use muster_schemas::{Qos, TopicFilter, TopicName};
use smallvec::{SmallVec, smallvec};

use crate::{
    children::Children,
    limits::{RECENT_MATCHES_MAX, SEARCH_NODES_MAX},
    subscription::{SubscriberId, Subscription, weight},
};

/// One subscriber's subscription at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    subscriber: SubscriberId,
    subscription: Subscription,
}

/// A level of the tree. Entries are sorted by subscriber, one per subscriber.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Levels spelled out.
    children: Children,
    /// The level `+`.
    any: Option<Box<Node>>,
    /// Filters that end here.
    here: Vec<Entry>,
    /// Filters that end here with `#`: they want this level and all below [MQTT-4.7.1-2].
    below: Vec<Entry>,
}

impl Node {
    fn insert(&mut self, mut levels: Split<'_, char>, entry: Entry) -> Option<Subscription> {
        match levels.next() {
            None => insert_sorted(&mut self.here, entry),
            Some("#") => insert_sorted(&mut self.below, entry),
            Some("+") => self.any.get_or_insert_default().insert(levels, entry),
            Some(level) => self.children.entry(level).insert(levels, entry),
        }
    }

    /// Takes the entry out and gives back the nodes that only it needed.
    fn remove(&mut self, mut levels: Split<'_, char>, subscriber: SubscriberId) -> bool {
        match levels.next() {
            None => remove_sorted(&mut self.here, subscriber),
            Some("#") => remove_sorted(&mut self.below, subscriber),
            Some("+") => {
                let Some(any) = &mut self.any else { return false };
                let existed = any.remove(levels, subscriber);
                if any.is_empty() {
                    self.any = None;
                }
                existed
            }
            Some(level) => self.children.prune(level, |child| child.remove(levels, subscriber)),
        }
    }

    fn contains(&self, mut levels: Split<'_, char>, subscriber: SubscriberId) -> bool {
        let has = |list: &[Entry]| list.binary_search_by_key(&subscriber, |e| e.subscriber).is_ok();
        match levels.next() {
            None => has(&self.here),
            Some("#") => has(&self.below),
            Some("+") => self.any.as_ref().is_some_and(|any| any.contains(levels, subscriber)),
            Some(level) => self.children.find(level).is_some_and(|child| child.contains(levels, subscriber)),
        }
    }

    fn collect(&self, mut levels: Split<'_, char>, matches: &mut Matches) {
        let Some(left) = matches.nodes_left.checked_sub(1) else {
            matches.is_cut = true;
            return;
        };
        matches.nodes_left = left;
        matches.add(&self.below);
        let Some(level) = levels.next() else { return matches.add(&self.here) };
        if let Some(child) = self.children.find(level) {
            child.collect(levels.clone(), matches);
        }
        if let Some(any) = &self.any {
            any.collect(levels, matches);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty() && self.any.is_none() && self.children.is_empty()
    }
}

fn insert_sorted(entries: &mut Vec<Entry>, entry: Entry) -> Option<Subscription> {
    match entries.binary_search_by_key(&entry.subscriber, |e| e.subscriber) {
        Ok(at) => entries.get_mut(at).map(|old| std::mem::replace(&mut old.subscription, entry.subscription)),
        Err(at) => {
            if entries.is_empty() {
                entries.reserve_exact(1);
            }
            entries.insert(at, entry);
            None
        }
    }
}

fn remove_sorted(entries: &mut Vec<Entry>, subscriber: SubscriberId) -> bool {
    let Ok(at) = entries.binary_search_by_key(&subscriber, |e| e.subscriber) else { return false };
    entries.remove(at);
    if entries.len() <= entries.capacity() / 4 {
        entries.shrink_to(2 * entries.len());
    }
    true
}

/// One subscriber's filters, and for how many subscriptions they count.
#[derive(Debug, Default)]
struct Filters {
    list: Vec<Box<str>>,
    weight: usize,
}

/// The subscription index. Its memory follows what is subscribed now: an unsubscribe gives back what only it needed.
#[derive(Debug, Default)]
pub struct Index {
    root: Node,
    /// Each subscriber's filters, in no particular order. Only ever asked for one subscriber.
    filters: HashMap<SubscriberId, Filters>,
    subscriptions: usize,
    weight: usize,
    /// Grows with every change, so that what was found before it is known to be old.
    generation: u64,
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription or replaces the one with the same filter, which is returned [MQTT-3.8.4-3].
    pub fn subscribe(
        &mut self,
        subscriber: SubscriberId,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> Option<Subscription> {
        self.generation += 1;
        let previous = self.root.insert(filter.levels(), Entry { subscriber, subscription });
        if previous.is_none() {
            // A copy, for the filter's own bytes are part of a read buffer.
            let weight = weight(filter.as_str());
            let filters = self.filters.entry(subscriber).or_default();
            filters.list.push(filter.as_str().into());
            filters.weight += weight;
            self.subscriptions += 1;
            self.weight += weight;
        }
        previous
    }

    /// Removes a subscription; false if there was none with exactly this filter [MQTT-3.10.4-1].
    pub fn unsubscribe(&mut self, subscriber: SubscriberId, filter: &TopicFilter) -> bool {
        if !self.root.remove(filter.levels(), subscriber) {
            return false;
        }
        self.generation += 1;
        self.subscriptions -= 1;
        let weight = weight(filter.as_str());
        self.weight -= weight;
        if let Some(filters) = self.filters.get_mut(&subscriber) {
            if let Some(at) = filters.list.iter().position(|f| **f == *filter.as_str()) {
                filters.list.swap_remove(at);
                filters.weight -= weight;
            }
            if filters.list.is_empty() {
                self.filters.remove(&subscriber);
                self.shrink();
            }
        }
        true
    }

    /// Removes all subscriptions of a subscriber and says how many there were.
    pub fn remove(&mut self, subscriber: SubscriberId) -> usize {
        let Some(filters) = self.filters.remove(&subscriber) else { return 0 };
        self.generation += 1;
        for filter in &filters.list {
            self.root.remove(filter.split('/'), subscriber);
        }
        self.subscriptions -= filters.list.len();
        self.weight -= filters.weight;
        self.shrink();
        filters.list.len()
    }

    /// Finds who wants a message on `topic`. What `publisher` subscribed with No Local is left out [MQTT-3.8.3-3].
    /// The matches come in the order of their subscriber ids. What `matches` held before is dropped. After
    /// [`SEARCH_NODES_MAX`] nodes the search is given up, which [`Matches::is_cut`] tells.
    pub fn matches(&self, topic: &TopicName, publisher: Option<SubscriberId>, matches: &mut Matches) {
        self.search(topic, publisher, SEARCH_NODES_MAX, matches);
    }

    /// Does so for a message that was accepted once: the search has no end but its own.
    pub(crate) fn all_matches(
        &self,
        topic: &TopicName,
        publisher: Option<SubscriberId>,
        matches: &mut Matches,
    ) {
        self.search(topic, publisher, usize::MAX, matches);
    }

    fn search(
        &self,
        topic: &TopicName,
        publisher: Option<SubscriberId>,
        nodes_max: usize,
        matches: &mut Matches,
    ) {
        matches.clear();
        matches.publisher = publisher;
        matches.nodes_left = nodes_max;
        if topic.is_reserved() {
            // Wildcards at the first level pass it by [MQTT-4.7.2-1].
            let mut levels = topic.levels();
            if let Some(child) = levels.next().and_then(|first| self.root.children.find(first)) {
                child.collect(levels, matches);
            }
        } else {
            self.root.collect(topic.levels(), matches);
        }
        matches.sort();
    }

    /// What was just found, to be found again without a search; none if that is more than is worth keeping.
    pub(crate) fn remember(&self, matches: &Matches) -> Option<Known> {
        let entries = (matches.entries.len() <= RECENT_MATCHES_MAX).then(|| matches.entries[..].into())?;
        Some(Known { generation: self.generation, entries })
    }

    /// Finds again what was remembered. False if subscriptions have changed since: then nothing is found.
    pub(crate) fn recall(&self, known: &Known, matches: &mut Matches) -> bool {
        let is_new = known.generation == self.generation;
        if is_new {
            matches.clear();
            matches.entries.extend_from_slice(&known.entries);
        }
        is_new
    }

    /// Whether the subscriber has a subscription with exactly this filter.
    pub fn contains(&self, subscriber: SubscriberId, filter: &TopicFilter) -> bool {
        self.root.contains(filter.levels(), subscriber)
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether nobody subscribes to anything.
    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// How many subscriptions one subscriber has.
    pub fn subscriptions_of(&self, subscriber: SubscriberId) -> usize {
        self.filters.get(&subscriber).map_or(0, |filters| filters.list.len())
    }

    /// For how many subscriptions those of one subscriber count.
    pub(crate) fn weight_of(&self, subscriber: SubscriberId) -> usize {
        self.filters.get(&subscriber).map_or(0, |filters| filters.weight)
    }

    /// For how many subscriptions all of them count.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Whether any filter begins with this level, spelled out.
    pub fn begins_with(&self, level: &str) -> bool {
        self.root.children.find(level).is_some()
    }

    /// Everybody who subscribes to something, ascending.
    pub fn subscribers(&self) -> Vec<SubscriberId> {
        let mut subscribers: Vec<_> = self.filters.keys().copied().collect();
        subscribers.sort_unstable();
        subscribers
    }

    /// What one subscriber subscribes to, in no particular order.
    pub fn filters_of(&self, subscriber: SubscriberId) -> impl Iterator<Item = &str> {
        self.filters.get(&subscriber).into_iter().flat_map(|filters| &filters.list).map(|filter| &**filter)
    }

    fn shrink(&mut self) {
        if self.filters.len() < self.filters.capacity() / 4 {
            self.filters.shrink_to(2 * self.filters.len());
        }
    }
}

/// One subscriber's share in a message: what its overlapping subscriptions ask for together [MQTT-3.3.4-2].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Who.
    pub subscriber: SubscriberId,
    /// The highest quality of service among its subscriptions.
    pub qos: Qos,
    /// Whether one of its subscriptions wants the retain flag as published.
    pub retain_as_published: bool,
    /// The identifiers of all its subscriptions that have one, ascending, equal ones repeated
    /// [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5].
    pub subscription_ids: SmallVec<[u32; 2]>,
}

impl Match {
    /// More of its subscriptions ask for the same message.
    pub(crate) fn merge(&mut self, more: Match) {
        self.qos = self.qos.max(more.qos);
        self.retain_as_published |= more.retain_as_published;
        self.subscription_ids.extend(more.subscription_ids);
    }
}

/// What one publisher's topic matched, while subscriptions stay as they are.
#[derive(Debug)]
pub(crate) struct Known {
    generation: u64,
    entries: SmallVec<[Entry; 1]>,
}

/// The matches of one publish, taken one by one; its memory is reused from publish to publish.
#[derive(Debug, Default)]
pub struct Matches {
    entries: Vec<Entry>,
    lists: usize,
    taken: usize,
    publisher: Option<SubscriberId>,
    /// Nodes that the search may still look at.
    nodes_left: usize,
    is_cut: bool,
}

impl Matches {
    /// Forgets what is left.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.lists = 0;
        self.taken = 0;
        self.is_cut = false;
    }

    /// Whether the search was given up, so that these are not all.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// At how many nodes the search looked, where that was bounded.
    pub(crate) fn nodes(&self) -> usize {
        SEARCH_NODES_MAX.saturating_sub(self.nodes_left)
    }

    /// Leaves out a subscriber that went away.
    pub fn leave_out(&mut self, subscriber: SubscriberId) {
        self.entries.drain(..self.taken);
        self.taken = 0;
        self.entries.retain(|e| e.subscriber != subscriber);
    }

    /// Takes out the matches of durable sessions, which come after all others.
    pub(crate) fn take_durable(&mut self) -> SmallVec<[Match; 2]> {
        let first = self.entries.partition_point(|e| !e.subscriber.is_durable());
        let mut durable = SmallVec::new();
        if first < self.entries.len() {
            let taken = std::mem::replace(&mut self.taken, first);
            durable.extend(&mut *self);
            self.taken = taken;
            self.entries.truncate(first);
        }
        durable
    }

    /// Takes out the groups that share a matching filter, after durable sessions were taken out.
    pub(crate) fn take_groups(&mut self) -> SmallVec<[u64; 2]> {
        let first = self.entries.partition_point(|e| e.subscriber.is_connection());
        if first == self.entries.len() {
            return SmallVec::new();
        }
        let groups = self.entries.drain(first..).map(|e| e.subscriber.group_number());
        let mut groups: SmallVec<[u64; 2]> = groups.collect();
        groups.dedup();
        groups
    }

    /// Gives back memory beyond `entries_max`, after an unusually large match.
    pub fn shrink_to(&mut self, entries_max: usize) {
        self.entries.shrink_to(entries_max);
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.taken >= self.entries.len()
    }

    fn add(&mut self, list: &[Entry]) {
        if list.is_empty() {
            return;
        }
        self.lists += 1;
        let publisher = self.publisher;
        self.entries.extend(
            list.iter().filter(|e| !(e.subscription.options.no_local && Some(e.subscriber) == publisher)),
        );
    }

    /// Brings the entries of a subscriber together. One list alone is sorted already.
    fn sort(&mut self) {
        if self.lists > 1 {
            self.entries.sort_unstable_by_key(|e| (e.subscriber, e.subscription.id));
        }
    }
}

impl Iterator for Matches {
    type Item = Match;

    fn next(&mut self) -> Option<Match> {
        let mut rest = self.entries.get(self.taken..)?.iter();
        let first = rest.next()?;
        let mut found = Match {
            subscriber: first.subscriber,
            qos: first.subscription.options.qos,
            retain_as_published: first.subscription.options.retain_as_published,
            subscription_ids: first.subscription.id.map_or_else(SmallVec::new, |id| smallvec![id]),
        };
        self.taken += 1;
        for Entry { subscription, .. } in rest.take_while(|e| e.subscriber == found.subscriber) {
            found.qos = found.qos.max(subscription.options.qos);
            found.retain_as_published |= subscription.options.retain_as_published;
            found.subscription_ids.extend(subscription.id);
            self.taken += 1;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SubscriptionOptions;

    const A: SubscriberId = SubscriberId(1);
    const B: SubscriberId = SubscriberId(2);

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect("filter")
    }

    fn wish(qos: Qos, id: Option<u32>) -> Subscription {
        Subscription { options: SubscriptionOptions { qos, ..Default::default() }, id }
    }

    fn found(index: &Index, topic: &str) -> Vec<Match> {
        let mut matches = Matches::default();
        index.matches(&topic.parse().expect("topic"), None, &mut matches);
        matches.collect()
    }

    #[test]
    fn overlapping_subscriptions_become_one_match_with_the_highest_qos_and_all_ids() {
        let mut index = Index::new();
        index.subscribe(A, &filter("#"), wish(Qos::AtMostOnce, Some(9)));
        index.subscribe(A, &filter("a/+"), wish(Qos::ExactlyOnce, Some(3)));
        index.subscribe(A, &filter("a/b"), wish(Qos::AtLeastOnce, Some(9)));
        index.subscribe(B, &filter("a/b"), wish(Qos::AtLeastOnce, None));
        let found = found(&index, "a/b");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].subscriber, found[0].qos, &found[0].subscription_ids[..]),
            (A, Qos::ExactlyOnce, &[3, 9, 9][..])
        );
        assert_eq!((found[1].subscriber, found[1].qos), (B, Qos::AtLeastOnce));
    }

    #[test]
    fn a_second_subscription_to_a_filter_replaces_the_first() {
        let mut index = Index::new();
        assert_eq!(index.subscribe(A, &filter("a"), wish(Qos::ExactlyOnce, Some(1))), None);
        let first = index.subscribe(A, &filter("a"), wish(Qos::AtMostOnce, None));
        assert_eq!(first, Some(wish(Qos::ExactlyOnce, Some(1))));
        assert_eq!(index.len(), 1);
        assert_eq!(found(&index, "a")[0].qos, Qos::AtMostOnce);
    }

    #[test]
    fn an_index_that_empties_gives_its_memory_back() {
        let mut index = Index::new();
        for device in 0..1_000_u64 {
            for rest in ["commands/#", "twin/+/desired", ""] {
                let text = format!("devices/{device}/{rest}");
                index.subscribe(SubscriberId(device), &filter(&text), Subscription::default());
            }
        }
        assert_eq!(index.len(), 3_000);
        assert!(matches!(index.root.children.find("devices").expect("node").children, Children::Many(_)));
        for device in 0..990_u64 {
            assert_eq!(index.remove(SubscriberId(device)), 3);
        }
        assert!(index.filters.capacity() < 200);
        for device in 990..1_000_u64 {
            for rest in ["commands/#", "twin/+/desired", ""] {
                assert!(
                    index.unsubscribe(SubscriberId(device), &filter(&format!("devices/{device}/{rest}")))
                );
            }
        }
        assert!(index.is_empty() && index.root.is_empty() && index.filters.is_empty());
        let Children::Few(few) = &index.root.children else { panic!("still a map") };
        assert_eq!((few.capacity(), index.filters.capacity()), (0, 0));
    }

    #[test]
    fn who_goes_away_in_the_middle_is_left_out_of_what_remains() {
        let mut index = Index::new();
        for n in 0..4 {
            index.subscribe(SubscriberId(n), &filter("a"), Subscription::default());
        }
        let mut matches = Matches::default();
        index.matches(&"a".parse().expect("topic"), None, &mut matches);
        assert_eq!(matches.next().map(|m| m.subscriber.0), Some(0));
        matches.leave_out(SubscriberId(2));
        assert_eq!(matches.map(|m| m.subscriber.0).collect::<Vec<_>>(), [1, 3]);
    }
}
