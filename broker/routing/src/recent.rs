//! What a publisher's last topics came to, for publishers repeat theirs: whether it may publish there is settled, and who
//! wants it is looked up again only when somebody has subscribed or unsubscribed since.

use muster_schemas::TopicName;

use crate::{
    index::{Index, Known, Matches},
    limits::{RECENT_TOPIC_BYTES_MAX, RECENT_TOPICS_MAX},
    subscription::SubscriberId,
};

/// The last topics of one publisher that its access list allows. Nothing here outlives the list: who joins anew begins
/// without.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// None as long as it has not published.
    topics: Vec<Recently>,
    /// Which one goes next.
    next: usize,
}

#[derive(Debug)]
struct Recently {
    /// A copy, for the one that was read is part of a read buffer.
    topic: String,
    from: SubscriberId,
    is_logged: bool,
    known: Known,
}

impl Recent {
    /// If the topic is known, fills in who wants it, and says whether something reads it on the log.
    pub(crate) fn find(
        &self,
        topic: &TopicName,
        from: SubscriberId,
        index: &Index,
        matches: &mut Matches,
    ) -> Option<bool> {
        let found = self.topics.iter().find(|recently| recently.topic == topic.as_str())?;
        (found.from == from && index.recall(&found.known, matches)).then_some(found.is_logged)
    }

    /// Notes what an allowed topic came to, instead of the oldest.
    pub(crate) fn note(
        &mut self,
        topic: &TopicName,
        from: SubscriberId,
        is_logged: bool,
        (index, matches): (&Index, &Matches),
    ) {
        let Some(known) = index.remember(matches).filter(|_| topic.as_str().len() <= RECENT_TOPIC_BYTES_MAX)
        else {
            return;
        };
        let at = self.topics.iter().position(|recently| recently.topic == topic.as_str());
        let at = at.unwrap_or_else(|| {
            let oldest = self.next;
            self.next = (oldest + 1) % RECENT_TOPICS_MAX;
            oldest
        });
        match self.topics.get_mut(at) {
            Some(recently) => {
                if recently.topic != topic.as_str() {
                    recently.topic.clear();
                    recently.topic.push_str(topic.as_str());
                }
                (recently.from, recently.is_logged, recently.known) = (from, is_logged, known);
            }
            None => {
                self.topics.reserve_exact(1);
                self.topics.push(Recently { topic: topic.as_str().to_owned(), from, is_logged, known });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subscription;

    fn topic(text: &str) -> TopicName {
        text.parse().expect("topic")
    }

    fn look(index: &Index, recent: &mut Recent, text: &str) -> (bool, usize) {
        let (me, topic, mut matches) = (SubscriberId(9), topic(text), Matches::default());
        let is_known = recent.find(&topic, me, index, &mut matches).is_some();
        if !is_known {
            index.matches(&topic, Some(me), &mut matches);
            recent.note(&topic, me, false, (index, &matches));
        }
        (is_known, matches.count())
    }

    #[test]
    fn a_topic_is_known_until_somebody_subscribes_or_unsubscribes() {
        let (mut index, mut recent) = (Index::new(), Recent::default());
        let (subscriber, filter) = (SubscriberId(1), "a/+".parse().expect("filter"));
        assert_eq!(look(&index, &mut recent, "a/b"), (false, 0));
        assert_eq!(look(&index, &mut recent, "a/b"), (true, 0));
        index.subscribe(subscriber, &filter, Subscription::default());
        assert_eq!(look(&index, &mut recent, "a/b"), (false, 1));
        assert_eq!(look(&index, &mut recent, "a/b"), (true, 1));
        index.subscribe(subscriber, &filter, Subscription { id: Some(1), ..Subscription::default() });
        assert_eq!(look(&index, &mut recent, "a/b"), (false, 1));
        index.unsubscribe(subscriber, &filter);
        assert_eq!(look(&index, &mut recent, "a/b"), (false, 0));
        index.subscribe(subscriber, &filter, Subscription::default());
        index.remove(subscriber);
        assert_eq!(look(&index, &mut recent, "a/b"), (false, 0));
    }

    #[test]
    fn a_few_topics_in_turn_stay_known_and_many_take_no_more_room() {
        let (index, mut recent) = (Index::new(), Recent::default());
        let texts: Vec<String> = (0..RECENT_TOPICS_MAX).map(|n| format!("a/{n}")).collect();
        for text in &texts {
            assert!(!look(&index, &mut recent, text).0);
        }
        for text in &texts {
            assert!(look(&index, &mut recent, text).0);
        }
        for n in 0..100 {
            look(&index, &mut recent, &format!("b/{n}"));
        }
        assert_eq!(recent.topics.len(), RECENT_TOPICS_MAX);
        let long = "l".repeat(RECENT_TOPIC_BYTES_MAX + 1);
        look(&index, &mut recent, &long);
        assert!(!look(&index, &mut recent, &long).0);
    }
}
