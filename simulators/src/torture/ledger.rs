//! What was published, acknowledged and delivered, and the judge of it. It knows nothing of connections.

use std::collections::{BTreeMap, VecDeque};

use muster_mqtt::ReasonCode;
use muster_schemas::{Qos, TopicFilter, TopicName};

use super::limits::{BACKLOG_MESSAGES_MAX, HISTORY_EVENTS_MAX, VIOLATIONS_TOLD_MAX};

/// The topic of that number of a publisher.
#[expect(clippy::expect_used, reason = "letters and digits are a topic")]
pub fn topic_name(publisher: usize, topic: u8) -> TopicName {
    format!("torture/{publisher}/{topic}").parse().expect("a topic")
}

/// At which QoS a topic of that number is published to.
pub fn qos_of(topic: u8) -> Qos {
    if topic.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce }
}

/// What a subscriber wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Everything.
    All,
    /// All topics of one publisher.
    Publisher(usize),
    /// One topic of each publisher.
    Topic(u8),
}

impl Filter {
    /// As MQTT says it.
    #[expect(clippy::expect_used, reason = "letters, digits and wildcards are a filter")]
    pub fn to_topic_filter(self) -> TopicFilter {
        let text = match self {
            Self::All => "torture/#".to_owned(),
            Self::Publisher(publisher) => format!("torture/{publisher}/+"),
            Self::Topic(topic) => format!("torture/+/{topic}"),
        };
        text.parse().expect("a filter")
    }

    fn matches(self, publisher: usize, topic: u8) -> bool {
        match self {
            Self::All => true,
            Self::Publisher(wanted) => wanted == publisher,
            Self::Topic(wanted) => wanted == topic,
        }
    }
}

/// What became of a message at its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    OnItsWay,
    Acknowledged,
    Refused,
}

struct Published {
    topic: u8,
    /// When, on the ledger's own clock.
    at: u64,
    fate: Fate,
}

struct Subscription {
    filter: Filter,
    qos: Qos,
    /// When its SUBACK had come.
    granted_at: Option<u64>,
    /// How often each message of each publisher came.
    seen: BTreeMap<(usize, u32), u32>,
    /// The last first delivery of each publisher and topic.
    last: BTreeMap<(usize, u8), u32>,
    /// Messages that it should get, and those of them that it got.
    owed: u64,
    got: u64,
}

/// Numbers of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Messages that publishers were told are taken over, at QoS 1 and 2.
    pub acknowledged: [u64; 2],
    /// Packs of readings that devices were told are taken over.
    pub packs: u64,
    /// Readings of those that the history has in the end.
    pub readings: u64,
    /// Messages that the hub refused.
    pub refused: u64,
    /// First deliveries.
    pub delivered: u64,
    /// Further deliveries at QoS 1, which the standard allows.
    pub duplicates_qos_1: u64,
    /// PUBLISH packets at QoS 2 that came again before their PUBREL, which a subscriber recognises.
    pub repeated_qos_2: u64,
    /// Connections that were told to come again in a moment, as they may be right after a start.
    pub turned_away: u64,
    /// Everything that must not be.
    pub violations: u64,
}

/// The book of a run.
#[derive(Default)]
pub struct Ledger {
    clock: u64,
    publishers: BTreeMap<usize, Vec<Published>>,
    subscriptions: BTreeMap<usize, Subscription>,
    /// What must not be, in words; the first ones.
    pub violations: Vec<String>,
    /// The numbers so far.
    pub numbers: Numbers,
    /// Grows with everything that happens.
    pub progress: u64,
    /// The latest events, for the post mortem.
    history: VecDeque<Event>,
}

/// One line of the post mortem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What happened to the hub.
    Hub(String),
    /// A client's connection stands, and whether its session goes on.
    Connected(String, bool),
    /// A publisher sent a message for the first time.
    Published(usize, u32),
    /// A publisher sent it again.
    Again(usize, u32),
    /// A publisher had its last acknowledgement.
    Answered(usize, u32, ReasonCode),
    /// A subscriber got publisher's message.
    Delivered(usize, (usize, u32), Qos),
    /// Something must not be.
    Violation(String),
}

impl Ledger {
    /// Makes a subscriber known.
    pub fn enter(&mut self, subscriber: usize, filter: Filter, qos: Qos) {
        let (seen, last) = (BTreeMap::new(), BTreeMap::new());
        let subscription = Subscription { filter, qos, granted_at: None, seen, last, owed: 0, got: 0 };
        self.subscriptions.insert(subscriber, subscription);
    }

    /// A message is about to be sent for the first time; gives its number.
    pub fn published(&mut self, publisher: usize, topic: u8) -> u32 {
        self.clock += 1;
        for subscription in self.subscriptions.values_mut() {
            let is_owed = subscription.granted_at.is_some() && subscription.filter.matches(publisher, topic);
            subscription.owed += u64::from(is_owed);
        }
        let all = self.publishers.entry(publisher).or_default();
        all.push(Published { topic, at: self.clock, fate: Fate::OnItsWay });
        let sequence = u32::try_from(all.len() - 1).unwrap_or(u32::MAX);
        self.note(Event::Published(publisher, sequence));
        sequence
    }

    /// Keeps an event for the post mortem.
    pub fn note(&mut self, event: Event) {
        if self.history.len() >= HISTORY_EVENTS_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }

    /// The latest events, line by line.
    pub fn history(&self) -> impl Iterator<Item = String> {
        self.history.iter().map(|event| format!("{event:?}\n"))
    }

    /// The hub has taken a message over, or refused it.
    pub fn answered(&mut self, publisher: usize, sequence: u32, code: ReasonCode) {
        self.progress += 1;
        self.note(Event::Answered(publisher, sequence, code));
        let message =
            self.publishers.get_mut(&publisher).and_then(|messages| messages.get_mut(sequence as usize));
        let Some(message) = message else { return };
        if code.is_failure() {
            message.fate = Fate::Refused;
            self.numbers.refused += 1;
            for subscription in self.subscriptions.values_mut() {
                if subscription.is_owed(publisher, message) && !subscription.has(publisher, sequence) {
                    subscription.owed -= 1;
                }
            }
            return;
        }
        message.fate = Fate::Acknowledged;
        let [qos_1, qos_2] = &mut self.numbers.acknowledged;
        *(if qos_of(message.topic) == Qos::AtLeastOnce { qos_1 } else { qos_2 }) += 1;
    }

    /// A subscriber has its SUBACK.
    pub fn granted(&mut self, subscriber: usize) {
        self.clock += 1;
        if let Some(subscription) = self.subscriptions.get_mut(&subscriber) {
            subscription.granted_at.get_or_insert(self.clock);
        }
    }

    /// A message has come to a subscriber's application.
    pub fn delivered(
        &mut self,
        subscriber: usize,
        (publisher, sequence): (usize, u32),
        topic: &TopicName,
        qos: Qos,
    ) {
        self.progress += 1;
        self.note(Event::Delivered(subscriber, (publisher, sequence), qos));
        let message = self.publishers.get(&publisher).and_then(|messages| messages.get(sequence as usize));
        let (Some(message), Some(subscription)) = (message, self.subscriptions.get_mut(&subscriber)) else {
            return self.violated(format!(
                "subscriber {subscriber} got message {sequence} of publisher {publisher}, which was never sent"
            ));
        };
        let name = format!("message {sequence} of publisher {publisher} on {topic} at {qos:?}");
        if *topic != topic_name(publisher, message.topic)
            || !subscription.filter.matches(publisher, message.topic)
            || qos != qos_of(message.topic).min(subscription.qos)
        {
            return self
                .violated(format!("subscriber {subscriber} got {name}, which is not how it wants it"));
        }
        let times = subscription.seen.entry((publisher, sequence)).or_default();
        *times += 1;
        if *times > 1 {
            if qos == Qos::ExactlyOnce {
                let times = *times;
                self.violated(format!("subscriber {subscriber} got {name} for the {times}. time"));
            } else {
                self.numbers.duplicates_qos_1 += 1;
            }
            return;
        }
        self.numbers.delivered += 1;
        if !subscription.is_owed(publisher, message) {
            // It was first sent before the subscription stood, and what came here may be that or the same sent again.
            return;
        }
        subscription.got += 1;
        let last = subscription.last.insert((publisher, message.topic), sequence);
        if let Some(last) = last.filter(|last| *last > sequence) {
            self.violated(format!("subscriber {subscriber} got {name} after message {last}"));
        }
    }

    /// A QoS 2 message came again before its PUBREL.
    pub fn repeated(&mut self) {
        self.progress += 1;
        self.numbers.repeated_qos_2 += 1;
    }

    /// Something must not be.
    pub fn violated(&mut self, what: String) {
        self.numbers.violations += 1;
        self.note(Event::Violation(what.clone()));
        if self.violations.len() < VIOLATIONS_TOLD_MAX {
            self.violations.push(what);
        }
    }

    /// Whether some subscriber has so much to catch up with that publishers should wait.
    pub fn is_behind(&self) -> bool {
        self.subscriptions.values().any(|sub| sub.owed > sub.got + BACKLOG_MESSAGES_MAX)
    }

    /// Whether every subscriber has all that it should get.
    pub fn is_complete(&self) -> bool {
        self.subscriptions.values().all(|sub| sub.granted_at.is_some() && sub.owed == sub.got)
    }

    /// The last judgement: what was acknowledged and did not come is lost.
    pub fn judge(&mut self) {
        let mut lost = Vec::new();
        for (subscriber, subscription) in &self.subscriptions {
            if subscription.granted_at.is_none() {
                lost.push(format!("subscriber {subscriber} never got its SUBACK"));
            }
            for (publisher, messages) in &self.publishers {
                for (sequence, message) in (0..).zip(messages) {
                    let is_due =
                        message.fate == Fate::Acknowledged && subscription.is_owed(*publisher, message);
                    if is_due && !subscription.has(*publisher, sequence) {
                        let topic = topic_name(*publisher, message.topic);
                        lost.push(format!(
                            "subscriber {subscriber} ({:?}, {:?}) never got message {sequence} of publisher \
                             {publisher} on {topic}, acknowledged at {:?}",
                            subscription.filter,
                            subscription.qos,
                            qos_of(message.topic)
                        ));
                    }
                }
            }
        }
        lost.into_iter().for_each(|what| self.violated(what));
    }
}

impl Subscription {
    fn is_owed(&self, publisher: usize, message: &Published) -> bool {
        self.granted_at.is_some_and(|granted| granted < message.at)
            && self.filter.matches(publisher, message.topic)
    }

    fn has(&self, publisher: usize, sequence: u32) -> bool {
        self.seen.contains_key(&(publisher, sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.enter(0, Filter::All, Qos::ExactlyOnce);
        ledger.enter(1, Filter::Topic(1), Qos::AtLeastOnce);
        ledger.granted(0);
        ledger
    }

    fn deliver(ledger: &mut Ledger, subscriber: usize, sequence: u32, qos: Qos) {
        ledger.delivered(subscriber, (5, sequence), &topic_name(5, 1), qos);
    }

    #[test]
    fn an_acknowledged_message_that_a_subscriber_never_got_is_lost() {
        let mut ledger = ledger();
        ledger.published(5, 1);
        ledger.granted(1);
        ledger.published(5, 1);
        ledger.published(5, 1);
        for sequence in 0..2 {
            ledger.answered(5, sequence, ReasonCode::Success);
        }
        ledger.answered(5, 2, ReasonCode::QuotaExceeded);
        deliver(&mut ledger, 0, 0, Qos::ExactlyOnce);
        assert!(!ledger.is_complete());
        ledger.judge();
        assert_eq!(ledger.numbers.violations, 2, "message 1, at both: {:?}", ledger.violations);
    }

    #[test]
    fn a_second_delivery_counts_at_qos_1_and_is_a_violation_at_qos_2() {
        let mut ledger = ledger();
        ledger.granted(1);
        ledger.published(5, 1);
        for _ in 0..2 {
            deliver(&mut ledger, 1, 0, Qos::AtLeastOnce);
            deliver(&mut ledger, 0, 0, Qos::ExactlyOnce);
        }
        assert_eq!((ledger.numbers.duplicates_qos_1, ledger.numbers.violations), (1, 1));
        assert!(ledger.is_complete());
    }

    #[test]
    fn first_deliveries_keep_the_order_of_their_publisher() {
        let mut ledger = ledger();
        ledger.granted(1);
        for _ in 0..3 {
            ledger.published(5, 1);
        }
        for sequence in [0, 1, 0, 1, 2] {
            deliver(&mut ledger, 1, sequence, Qos::AtLeastOnce);
        }
        assert_eq!(ledger.numbers.violations, 0);
        deliver(&mut ledger, 0, 1, Qos::ExactlyOnce);
        deliver(&mut ledger, 0, 0, Qos::ExactlyOnce);
        assert_eq!(ledger.numbers.violations, 1);
    }

    #[test]
    fn order_begins_with_what_was_sent_after_the_subscription() {
        let mut ledger = ledger();
        ledger.published(5, 1);
        ledger.granted(1);
        ledger.published(5, 1);
        deliver(&mut ledger, 1, 1, Qos::AtLeastOnce);
        deliver(&mut ledger, 1, 0, Qos::AtLeastOnce);
        assert_eq!(
            ledger.numbers.violations, 0,
            "its publisher had no answer for the first and sent it again"
        );
    }
}
