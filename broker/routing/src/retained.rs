//! The last retained message of each topic, in memory. What is on disk is the shell's; it restores this at start.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use bytestring::ByteString;
use muster_schemas::{Message, MessageProperties, Publisher, TopicFilter, TopicName};

use crate::{
    effect::expires_ms,
    limits::{PrincipalLimits, RETAINED_FURNITURE_BYTES},
    refusal::Refusal,
    usage::Shares,
};

const STRIDE_BYTES: usize = 8;

/// A topic, or the beginning of one, ordered level by level, so that a topic and all below it stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(ByteString);

impl Key {
    fn of(topic: &TopicName) -> Self {
        Self(topic.clone().into())
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        // No topic has a null, so the separator may rank below every character of a level.
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        // Topics of a fleet begin alike: what is equal is passed in strides.
        let strides = ours.as_chunks::<STRIDE_BYTES>().0.iter().zip(theirs.as_chunks::<STRIDE_BYTES>().0);
        let equal = STRIDE_BYTES * strides.take_while(|(a, b)| a == b).count();
        match ours.iter().zip(theirs).skip(equal).find(|(a, b)| a != b) {
            Some((a, b)) => rank(a).cmp(&rank(b)),
            None => ours.len().cmp(&theirs.len()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A topic's retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// A compact copy of what was published.
    pub message: Arc<Message>,
    /// When it loses its meaning, in Unix milliseconds [MQTT-3.3.2-5].
    pub expires_ms: Option<u64>,
    /// Whose quota it counts for: who published it. None for what the broker itself says.
    pub owner: Option<Arc<Publisher>>,
}

impl RetainedMessage {
    fn new(message: Message, received_ms: u64, owner: Option<Arc<Publisher>>) -> Self {
        let expires_ms = expires_ms(&message, received_ms);
        Self { message: Arc::new(message), expires_ms, owner }
    }
}

/// What a change replaced, so that it can be undone.
pub type Previous = Option<RetainedMessage>;

/// The retained messages of a tenant, bounded in count and bytes.
#[derive(Debug)]
pub struct Retained {
    messages: BTreeMap<Key, RetainedMessage>,
    /// Those that expire, by when.
    expiring: BTreeSet<(u64, Key)>,
    bytes: usize,
    shares: Shares,
    messages_max: usize,
    bytes_max: usize,
}

impl Retained {
    /// None yet, and how many messages and bytes there may be.
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        let (messages, expiring, shares) = Default::default();
        Self { messages, expiring, bytes: 0, shares, messages_max, bytes_max }
    }

    /// Keeps a compact copy as its topic's retained message, and returns the copy and what it replaced. The message came in
    /// at `now_ms`, in Unix milliseconds.
    ///
    /// # Errors
    /// [`Refusal::RetainedQuota`] or [`Refusal::RetainedBytesQuota`] at the bound; then nothing has changed.
    pub fn keep(&mut self, message: &Message, now_ms: u64) -> Result<(Arc<Message>, Previous), Refusal> {
        self.keep_for(None, message, now_ms)
    }

    /// As [`Retained::keep`], on somebody's account.
    ///
    /// # Errors
    /// As [`Retained::keep`], and [`Refusal::PrincipalRetainedQuota`] or [`Refusal::PrincipalRetainedBytesQuota`].
    pub fn keep_for(
        &mut self,
        owner: Option<(&Publisher, &PrincipalLimits)>,
        message: &Message,
        now_ms: u64,
    ) -> Result<(Arc<Message>, Previous), Refusal> {
        let full = self.messages.len() >= self.messages_max;
        let after = size(message);
        let key = Key::of(&message.topic);
        if let Some((owner, limits)) = owner {
            self.check_share(owner, limits, self.messages.get(&key), after)?;
        }
        let topic = match self.messages.get(&key) {
            None if full => return Err(Refusal::RetainedQuota { max: self.messages_max }),
            None if self.bytes + after > self.bytes_max => {
                return Err(Refusal::RetainedBytesQuota { max: self.bytes_max });
            }
            None => compact_topic(&message.topic),
            Some(kept) => {
                let before = size(&kept.message);
                if after > before && self.bytes - before + after > self.bytes_max {
                    return Err(Refusal::RetainedBytesQuota { max: self.bytes_max });
                }
                kept.message.topic.clone()
            }
        };
        let owner = owner.map(|(owner, _)| self.shares.name(owner));
        let kept = RetainedMessage::new(compact(message, topic), now_ms, owner);
        let message = kept.message.clone();
        Ok((message, self.put(kept)))
    }

    /// Clears a topic, and returns what it held.
    pub fn forget(&mut self, topic: &TopicName) -> Previous {
        let previous = self.messages.remove(&Key::of(topic))?;
        self.bytes -= size(&previous.message);
        if let Some(owner) = &previous.owner {
            self.shares.take(owner, size(&previous.message));
        }
        if let Some(at) = previous.expires_ms {
            self.expiring.remove(&(at, Key::of(&previous.message.topic)));
        }
        Some(previous)
    }

    /// Puts back a compact copy of a message that storage kept. Not refused at the bound: it was accepted once.
    /// It came in at `received_ms`, in Unix milliseconds.
    pub fn restore(&mut self, owner: Option<&Publisher>, message: &Message, received_ms: u64) {
        let message = compact(message, compact_topic(&message.topic));
        let owner = owner.map(|owner| self.shares.name(owner));
        self.put(RetainedMessage::new(message, received_ms, owner));
    }

    /// Puts back what a change replaced.
    pub fn undo(&mut self, topic: &TopicName, previous: Previous) {
        match previous {
            Some(message) => drop(self.put(message)),
            None => drop(self.forget(topic)),
        }
    }

    /// The message of one topic.
    pub fn find(&self, topic: &TopicName) -> Option<&Arc<Message>> {
        self.messages.get(&Key::of(topic)).map(|kept| &kept.message)
    }

    /// When the next one loses its meaning, in Unix milliseconds.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// The topic of one that has lost its meaning by `now_ms`.
    pub fn expired(&self, now_ms: u64) -> Option<TopicName> {
        let (_, key) = self.expiring.first().filter(|(at, _)| *at <= now_ms)?;
        self.messages.get(key).map(|kept| kept.message.topic.clone())
    }

    /// A cursor over the messages whose topic the filter matches, level by level in byte order.
    pub fn matching(filter: &TopicFilter) -> Cursor {
        let literal = filter.as_str().split(['+', '#']).next().unwrap_or_default();
        let whole = literal.len() == filter.as_str().len();
        let parent = if whole { literal } else { literal.strip_suffix('/').unwrap_or(literal) };
        let from = Bound::Included(Key(parent.into()));
        // A copy, for the filter's own bytes are part of a read buffer.
        Cursor { filter: filter.as_str().parse().unwrap_or_else(|_| filter.clone()), from }
    }

    /// How many topics hold a message.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the owner may have one that takes `after` bytes in place of what is there.
    fn check_share(
        &self,
        owner: &Publisher,
        limits: &PrincipalLimits,
        before: Option<&RetainedMessage>,
        after: usize,
    ) -> Result<(), Refusal> {
        let (share, who) = (self.shares.of(owner), owner.kind);
        let own = before.filter(|kept| kept.owner.as_deref() == Some(owner));
        let own_bytes = own.map_or(0, |kept| size(&kept.message));
        if own.is_none() && share.messages >= limits.retained_messages_max {
            return Err(Refusal::PrincipalRetainedQuota { who, max: limits.retained_messages_max });
        }
        if after > own_bytes && share.bytes - own_bytes + after > limits.retained_bytes_max {
            return Err(Refusal::PrincipalRetainedBytesQuota { who, max: limits.retained_bytes_max });
        }
        Ok(())
    }

    fn put(&mut self, kept: RetainedMessage) -> Previous {
        // The key shares the compact topic. An old key would stay, so it goes first.
        let previous = self.forget(&kept.message.topic);
        let key = Key::of(&kept.message.topic);
        self.bytes += size(&kept.message);
        if let Some(owner) = &kept.owner {
            self.shares.add(owner, size(&kept.message));
        }
        self.expiring.extend(kept.expires_ms.map(|at| (at, key.clone())));
        self.messages.insert(key, kept);
        previous
    }
}

/// A place among the retained messages of one filter. It holds no reference, so messages may change between two reads:
/// each topic that stays is found exactly once, with the message it has at that moment.
#[derive(Debug, Clone)]
pub struct Cursor {
    filter: TopicFilter,
    from: Bound<Key>,
}

impl Cursor {
    /// The filter.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The same from behind a topic on, such as the last one of an earlier read.
    #[must_use]
    pub fn after(mut self, topic: &TopicName) -> Self {
        let behind = Bound::Excluded(Key::of(topic));
        if let (Bound::Included(from), Bound::Excluded(key)) = (&self.from, &behind)
            && from <= key
        {
            self.from = behind;
        }
        self
    }

    /// Reads on until the end, which it tells by true, or until `looks` is used up. Every message looked at costs one,
    /// whether it is found to match or not.
    pub fn read(
        &mut self,
        retained: &Retained,
        looks: &mut usize,
        mut found: impl FnMut(&RetainedMessage),
    ) -> bool {
        self.read_while(retained, looks, |kept| {
            found(kept);
            true
        })
    }

    /// Does so, and stops behind a message for which `found` says false.
    pub(crate) fn read_while(
        &mut self,
        retained: &Retained,
        looks: &mut usize,
        mut found: impl FnMut(&RetainedMessage) -> bool,
    ) -> bool {
        loop {
            let mut rest = retained.messages.range((self.from.clone(), Bound::Unbounded));
            let next = loop {
                let Some((key, kept)) = rest.next() else { return true };
                if *looks == 0 {
                    self.from = Bound::Included(key.clone());
                    return false;
                }
                *looks -= 1;
                match compare(&self.filter, &key.0) {
                    Step::Match if found(kept) => {}
                    Step::Match => {
                        self.from = Bound::Excluded(key.clone());
                        return false;
                    }
                    Step::Seek(next) => break next,
                    Step::End => return true,
                }
            };
            self.from = Bound::Included(Key(next.into()));
        }
    }
}

enum Step {
    Match,
    /// Nothing before this can match.
    Seek(String),
    /// Nothing from here on can match.
    End,
}

/// Compares a topic that is not before the filter's first candidate with the filter.
fn compare(filter: &TopicFilter, topic: &str) -> Step {
    if topic.starts_with('$') && filter.as_str().starts_with(['+', '#']) {
        // Past all topics that wildcards at the first level do not see [MQTT-4.7.2-1].
        return Step::Seek("%".to_owned());
    }
    let mut levels = topic.split('/');
    let mut matched_bytes = 0;
    for wanted in filter.levels() {
        let Some(level) = levels.next().filter(|_| wanted != "#") else {
            return match wanted {
                "#" => Step::Match,
                "+" => Step::Seek(format!("{topic}/")),
                wanted => Step::Seek(format!("{topic}/{wanted}")),
            };
        };
        if wanted != "+" {
            match level.cmp(wanted) {
                Ordering::Less => {
                    let before = topic.get(..matched_bytes).unwrap_or_default();
                    return Step::Seek(format!("{before}{wanted}"));
                }
                Ordering::Greater => return past(topic, matched_bytes),
                Ordering::Equal => {}
            }
        }
        matched_bytes += level.len() + 1;
    }
    if levels.next().is_none() { Step::Match } else { past(topic, matched_bytes) }
}

/// Past everything below the levels that end before `bytes`, separator included.
fn past(topic: &str, bytes: usize) -> Step {
    match bytes.checked_sub(1).and_then(|end| topic.get(..end)) {
        // U+0001 ranks right above the separator.
        Some(parent) => Step::Seek(format!("{parent}\u{1}")),
        None => Step::End,
    }
}

/// What a message counts for, in bytes.
pub(crate) fn size(message: &Message) -> usize {
    let properties = message.properties.as_deref().map_or(0, |p| {
        size_of::<MessageProperties>()
            + p.content_type.as_ref().map_or(0, |text| text.len())
            + p.response_topic.as_ref().map_or(0, |topic| topic.as_str().len())
            + p.correlation_data.as_ref().map_or(0, Bytes::len)
            + p.user_properties
                .iter()
                .map(|(name, value)| 2 * size_of::<ByteString>() + name.len() + value.len())
                .sum::<usize>()
    });
    RETAINED_FURNITURE_BYTES + message.topic.as_str().len() + message.payload.len() + properties
}

fn compact_topic(topic: &TopicName) -> TopicName {
    topic.as_str().parse().unwrap_or_else(|_| topic.clone())
}

/// A copy that shares nothing with the buffer the message was read into, so that it does not keep it alive. The topic is
/// one that is compact already.
fn compact(message: &Message, topic: TopicName) -> Message {
    let text = |text: &ByteString| ByteString::from(&**text);
    let properties = message.properties.as_deref().map(|p| {
        Box::new(MessageProperties {
            payload_is_utf8: p.payload_is_utf8,
            expiry_interval_s: p.expiry_interval_s,
            content_type: p.content_type.as_ref().map(text),
            response_topic: p.response_topic.as_ref().map(compact_topic),
            correlation_data: p.correlation_data.as_deref().map(Bytes::copy_from_slice),
            user_properties: p.user_properties.iter().map(|(n, v)| (text(n), text(v))).collect(),
        })
    });
    Message {
        topic,
        qos: message.qos,
        retain: true,
        payload: Bytes::copy_from_slice(&message.payload),
        properties,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::model::{self, message};

    fn topics(retained: &Retained, filter: &str, slice: usize) -> Vec<String> {
        let mut cursor = Retained::matching(&filter.parse().expect("filter"));
        let mut found = Vec::new();
        while !cursor.read(retained, &mut { slice }, |m| found.push(m.message.topic.to_string())) {}
        found
    }

    #[test]
    fn a_kept_message_shares_no_buffer_with_what_was_read() {
        let buffer = ByteString::from("devices/a/twin/desired");
        let topic = TopicName::try_from(buffer.slice_ref(&buffer[..9])).expect("topic");
        let payload = buffer.as_bytes().slice(10..14);
        let properties = MessageProperties {
            content_type: Some(buffer.slice_ref(&buffer[1..3])),
            response_topic: Some(topic.clone()),
            correlation_data: Some(payload.clone()),
            user_properties: vec![(buffer.slice_ref(&buffer[2..3]), buffer.clone())],
            ..Default::default()
        };
        let read =
            Message { payload, properties: Some(Box::new(properties)), ..message(topic.as_str(), "", 0) };
        let read = Message { topic, ..read };
        let mut retained = Retained::new(1, 10_000);
        let (kept, _) = retained.keep(&read, 0).expect("room");
        assert_eq!(*kept, Message { retain: true, ..read });
        let inside = buffer.as_bytes().as_ptr_range();
        let p = kept.properties.as_ref().expect("properties");
        for bytes in [
            kept.topic.as_str().as_bytes(),
            &kept.payload,
            p.content_type.as_ref().expect("type").as_bytes(),
            p.response_topic.as_ref().expect("topic").as_str().as_bytes(),
            p.correlation_data.as_ref().expect("data"),
            p.user_properties[0].0.as_bytes(),
            p.user_properties[0].1.as_bytes(),
        ] {
            assert!(!inside.contains(&bytes.as_ptr()));
        }
    }

    #[test]
    fn the_bound_in_count_refuses_a_new_topic_and_lets_an_old_one_change() {
        let mut retained = Retained::new(2, 10_000);
        retained.keep(&message("a", "1", 1), 0).expect("room");
        retained.keep(&message("b", "1", 1), 0).expect("room");
        assert_eq!(retained.keep(&message("c", "1", 1), 0), Err(Refusal::RetainedQuota { max: 2 }));
        let (_, previous) = retained.keep(&message("a", "22", 1), 0).expect("a change");
        assert_eq!(previous.expect("previous").message.payload, "1");
        retained.forget(&"b".parse().expect("topic"));
        retained.keep(&message("c", "1", 1), 0).expect("room again");
    }

    #[test]
    fn the_bound_in_bytes_refuses_growth_and_lets_a_message_shrink() {
        let max = 2 * (RETAINED_FURNITURE_BYTES + 1 + 10);
        let mut retained = Retained::new(10, max);
        retained.keep(&message("a", "0123456789", 1), 0).expect("room");
        retained.keep(&message("b", "0123456789", 1), 0).expect("room");
        assert_eq!(retained.bytes(), max);
        let grown = retained.keep(&message("a", "0123456789+", 1), 0);
        assert_eq!(grown, Err(Refusal::RetainedBytesQuota { max }));
        retained.keep(&message("a", "9876543210", 1), 0).expect("the same size");
        retained.keep(&message("a", "0", 1), 0).expect("smaller");
        for topic in ["a", "b"] {
            retained.forget(&topic.parse().expect("topic"));
        }
        assert_eq!(retained.bytes(), 0);
    }

    #[test]
    fn a_filter_jumps_over_what_it_cannot_match() {
        let mut retained = Retained::new(100_000, usize::MAX);
        for device in 0..100 {
            for stream in 0..100 {
                retained
                    .keep(&message(&format!("devices/{device}/telemetry/{stream}"), "", 0), 0)
                    .expect("room");
            }
            retained.keep(&message(&format!("devices/{device}/twin/desired"), "", 0), 0).expect("room");
        }
        let mut cursor = Retained::matching(&"devices/+/twin/desired".parse().expect("filter"));
        let (mut looks, mut found) = (100_000, 0);
        assert!(cursor.read(&retained, &mut looks, |_| found += 1));
        assert_eq!(found, 100);
        assert!(100_000 - looks <= 300, "looked at {}", 100_000 - looks);
    }

    #[test]
    fn a_reserved_topic_is_found_only_by_its_name() {
        let mut retained = Retained::new(10, 10_000);
        for topic in ["!", "$SYS/a", "a", "~"] {
            retained.restore(None, &message(topic, "1", 0), 0);
        }
        assert_eq!(topics(&retained, "#", 1), ["!", "a", "~"]);
        assert_eq!(topics(&retained, "+", 1), ["!", "a", "~"]);
        assert_eq!(topics(&retained, "$SYS/+", 1), ["$SYS/a"]);
    }

    proptest! {
        #[test]
        fn a_sliced_cursor_finds_what_the_filter_matches_once_and_in_order(
            kept in prop::collection::btree_set(model::topic(), 0..60),
            filter in model::filter(),
            slice in 1_usize..6,
        ) {
            let mut retained = Retained::new(100, usize::MAX);
            for topic in &kept {
                retained.keep(&message(topic.as_str(), "1", 0), 0).expect("room");
            }
            let levels_of = |topic: &TopicName| topic.levels().map(str::to_owned).collect::<Vec<_>>();
            let mut expected: Vec<_> =
                kept.iter().filter(|t| filter.matches(t)).map(levels_of).collect();
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|levels| levels.join("/")).collect();
            prop_assert_eq!(topics(&retained, filter.as_str(), slice), expected);
        }

        #[test]
        fn a_cursor_survives_changes_between_two_reads(
            steady in prop::collection::btree_set(model::topic(), 0..20),
            other in prop::collection::vec((any::<bool>(), model::topic()), 0..40),
            filter in model::filter(),
        ) {
            let mut retained = Retained::new(100, usize::MAX);
            for topic in &steady {
                retained.keep(&message(topic.as_str(), "1", 0), 0).expect("room");
            }
            let mut cursor = Retained::matching(&filter);
            let mut found = Vec::new();
            let mut changes = other.into_iter().filter(|(_, topic)| !steady.contains(topic));
            while !cursor.read(&retained, &mut 1, |m| found.push(m.message.topic.clone())) {
                match changes.next() {
                    Some((true, topic)) => drop(retained.keep(&message(topic.as_str(), "1", 0), 0)),
                    Some((false, topic)) => drop(retained.forget(&topic)),
                    None => {}
                }
            }
            found.sort();
            let all = found.len();
            found.dedup();
            prop_assert_eq!(found.len(), all, "a topic was found twice");
            for topic in steady.iter().filter(|t| filter.matches(t)) {
                prop_assert!(found.contains(topic), "{} was not found", topic);
            }
        }
    }
}
