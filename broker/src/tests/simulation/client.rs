//! A client as the standard wants it: what it keeps for its session outlives connections and the broker's crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_mqtt::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, ReasonCode, Subscribe, SubscriptionOptions,
    Unsubscribe, Version, Will,
};
use muster_schemas::{Message, MessageProperties, Qos, TopicFilter};

use super::{chance::Chance, ledger::Ledger, ledger::Published};
use crate::tests::peer::{id, message};

const TOPICS: [&str; 4] = ["t/0", "t/1", "t/2/x", "u"];
const RETAINED_FILTER: &str = "r/#";
/// What is shared, and how one shares it.
pub(super) const SHARED_TOPIC: &str = "s/1";
const SHARE: &str = "$share/g/s/+";
const FILTERS: [&str; 8] = ["t/0", "t/+", "t/#", "u", "#", RETAINED_FILTER, SHARE, SHARE];
/// Messages that a client has under way at once.
const SENDING_MAX: usize = 6;
const SESSION_EXPIRY_S: u32 = 10_000_000;

/// Who is who in a story, and whose subscriptions hold.
#[derive(Debug)]
pub(super) struct Client {
    /// Unique in the story.
    pub(super) number: usize,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) version: Version,
    /// Its session outlives its connections.
    pub(super) is_durable: bool,
    /// It always subscribes at this quality of service: whoever changes it changes the order of messages.
    qos: Qos,
    has_session: bool,
    begins_anew: bool,
    /// It asked for a session that ends with the connection, as 3.1.1 does to begin anew.
    is_brief: bool,
    /// The broker let it in on the connection that it has now.
    pub(super) is_in: bool,
    pub(super) sending: VecDeque<Sending>,
    /// Packet ids of QoS 2 messages between PUBLISH and PUBREL.
    received: BTreeSet<u16>,
    subscriptions: BTreeMap<TopicFilter, Subscription>,
    /// Filters that it ever asked for.
    asked: BTreeSet<TopicFilter>,
    wishes: u16,
    /// What it is to send next.
    pub(super) due: Vec<Packet>,
}

#[derive(Debug)]
struct Subscription {
    /// The packet id of the SUBSCRIBE that asked for it last.
    wish: u16,
    is_held: bool,
}

/// A message of the client that is not over.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    id: u16,
    number: usize,
    message: Message,
    is_released: bool,
}

impl Sending {
    fn packet(&self, dup: bool) -> Packet {
        if self.is_released {
            return Packet::PubRel(Ack::new(id(self.id), ReasonCode::Success));
        }
        publish(self.id, dup, self.message.clone())
    }
}

fn publish(number: u16, dup: bool, message: Message) -> Packet {
    let packet_id = (message.qos != Qos::AtMostOnce).then(|| id(number));
    let (topic_alias, subscription_ids) = (None, Default::default());
    Packet::Publish(Publish { dup, packet_id, topic_alias, subscription_ids, message: message.into() })
}

impl Client {
    pub(super) fn new(number: usize, tenant: &str, chance: &mut Chance) -> Self {
        let is_durable = chance.happens(700);
        Self {
            number,
            tenant: tenant.to_owned(),
            name: format!("client-{number}"),
            version: if chance.happens(600) { Version::V5 } else { Version::V311 },
            is_durable,
            qos: if chance.happens(600) { Qos::ExactlyOnce } else { Qos::AtLeastOnce },
            has_session: false,
            begins_anew: false,
            is_brief: false,
            is_in: false,
            sending: VecDeque::new(),
            received: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            asked: BTreeSet::new(),
            wishes: 0,
            due: Vec::new(),
        }
    }

    pub(super) fn connect(&mut self, chance: &mut Chance, ledger: &mut Ledger) -> Packet {
        self.is_in = false;
        if !self.is_durable {
            self.begin_anew(ledger);
        }
        let is_5 = self.version == Version::V5;
        self.is_brief = !is_5 && self.begins_anew;
        let mut properties = ConnectProperties::default();
        if is_5 && self.is_durable {
            properties.session_expiry_s = Some(SESSION_EXPIRY_S);
        }
        if is_5 && chance.happens(500) {
            properties.receive_maximum = u16::try_from(1 + chance.below(5)).unwrap().try_into().ok();
        }
        let will = chance.happens(300).then(|| {
            let message = self.new_message("w", 1, false, ledger);
            Will { message, delay_interval_s: if is_5 { u32::try_from(chance.below(3)).unwrap() } else { 0 } }
        });
        Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: self.begins_anew || !self.is_durable,
            keep_alive_s: 0,
            client_id: Some("c".parse().unwrap()),
            username: None,
            password: None,
            will,
            properties,
        }))
    }

    /// Takes a packet, and answers. None if the connection is of no use.
    pub(super) fn hear(&mut self, packet: Packet, ledger: &mut Ledger) -> Option<Vec<Packet>> {
        let ack = |number| Ack::new(number, ReasonCode::Success);
        let answer = match packet {
            Packet::ConnAck(connack) => {
                ledger.note(&self.name, &format!("CONNACK {} {}", connack.code, connack.session_present));
                if connack.code != ReasonCode::Success {
                    return None;
                }
                let expects = self.has_session && !self.begins_anew && self.is_durable;
                if expects && !connack.session_present {
                    ledger.fault(format!("the session of {} was lost", self.name));
                }
                (self.has_session, self.begins_anew, self.is_in) = (true, false, true);
                return Some(self.sending.iter().map(|sending| sending.packet(true)).collect());
            }
            Packet::Publish(Publish { packet_id, message, dup, .. }) => {
                let payload = String::from_utf8_lossy(&message.payload).into_owned();
                let number = packet_id.map_or(0, |id| id.get());
                let (qos, topic) = (message.qos as u8, message.topic.as_str());
                ledger.note(&self.name, &format!("PUBLISH {number} {dup} {qos} {topic} {payload}"));
                if !self.asked.iter().any(|filter| shared(filter).matches(&message.topic)) {
                    ledger.fault(format!("{} got {topic}, which it never asked for", self.name));
                }
                if qos < 2 || self.received.insert(number) {
                    let how = (qos, message.retain, self.is_durable && !self.is_brief);
                    ledger.got(self.number, &self.tenant, topic, &payload, how);
                }
                match qos {
                    0 => return Some(Vec::new()),
                    1 => Packet::PubAck(ack(packet_id?)),
                    _ => Packet::PubRec(ack(packet_id?)),
                }
            }
            Packet::PubRel(Ack { packet_id, .. }) => {
                ledger.note(&self.name, &format!("PUBREL {packet_id}"));
                self.received.remove(&packet_id.get());
                Packet::PubComp(ack(packet_id))
            }
            Packet::PubAck(Ack { packet_id, code, .. }) => {
                ledger.note(&self.name, &format!("PUBACK {packet_id} {code}"));
                if let Some(sending) = self.sent(packet_id.get())
                    && !code.is_failure()
                {
                    ledger.published[sending.number].is_accepted = true;
                }
                return Some(Vec::new());
            }
            Packet::PubRec(Ack { packet_id, code, .. }) => {
                ledger.note(&self.name, &format!("PUBREC {packet_id} {code}"));
                if code.is_failure() {
                    self.sent(packet_id.get());
                    return Some(Vec::new());
                }
                let mut sending = self.sending.iter_mut();
                if let Some(sending) = sending.find(|sending| sending.id == packet_id.get()) {
                    sending.is_released = true;
                    ledger.published[sending.number].is_accepted = true;
                }
                Packet::PubRel(ack(packet_id))
            }
            Packet::PubComp(Ack { packet_id, .. }) => {
                ledger.note(&self.name, &format!("PUBCOMP {packet_id}"));
                self.sent(packet_id.get());
                return Some(Vec::new());
            }
            Packet::SubAck(suback) => {
                let wish = suback.packet_id.get();
                ledger.note(&self.name, &format!("SUBACK {wish} {:?}", suback.codes));
                let mut subscriptions = self.subscriptions.values_mut();
                if let Some(subscription) = subscriptions.find(|subscription| subscription.wish == wish) {
                    subscription.is_held = suback.codes.iter().all(|code| !code.is_failure());
                }
                return Some(Vec::new());
            }
            Packet::Disconnect(disconnect) => {
                ledger.note(&self.name, &format!("DISCONNECT {}", disconnect.code));
                return None;
            }
            _ => return Some(Vec::new()),
        };
        Some(vec![answer])
    }

    /// Publishes something on a topic, if it may have one more under way.
    pub(super) fn publish(
        &mut self,
        clients: &Held,
        chance: &mut Chance,
        ledger: &mut Ledger,
    ) -> Option<Packet> {
        if self.sending.len() >= SENDING_MAX {
            return None;
        }
        let qos = u8::try_from(chance.below(3)).unwrap();
        let is_retained = chance.happens(200);
        let own = format!("r/{}", self.name);
        let topic = match chance.pick(TOPICS.len() + 2) {
            _ if is_retained => own.as_str(),
            at => TOPICS.get(at).copied().unwrap_or(SHARED_TOPIC),
        };
        let mut message = self.new_message(topic, qos, is_retained, ledger);
        let number = ledger.published.len() - 1;
        if self.version == Version::V5 && !is_retained && chance.happens(50) {
            let expiry_interval_s = Some(u32::try_from(1 + chance.below(3)).unwrap());
            let properties = MessageProperties { expiry_interval_s, ..Default::default() };
            message.properties = Some(properties.into());
        } else if qos > 0 {
            ledger.published[number].wanted_by = clients.who_wants(&self.tenant, &message);
            ledger.published[number].shared_by = clients.who_shares(&self.tenant, &message);
        }
        self.send(number, message)
    }

    /// One who comes at the end to see what is retained, and keeps nothing.
    pub(super) fn auditor(number: usize, tenant: &str) -> Self {
        let mut auditor = Self::new(number, tenant, &mut Chance::new(0));
        (auditor.version, auditor.is_durable, auditor.qos) = (Version::V5, false, Qos::AtLeastOnce);
        auditor
    }

    /// Asks for what is retained, after CONNECT.
    pub(super) fn audit(&mut self) -> Packet {
        self.subscribe_to(RETAINED_FILTER)
    }

    /// Publishes to everybody who listens.
    pub(super) fn call(&mut self, clients: &Held, ledger: &mut Ledger) {
        for (topic, qos) in TOPICS.into_iter().chain([SHARED_TOPIC; 2]).zip([1, 2, 1, 2, 1, 2]) {
            let message = self.new_message(topic, qos, false, ledger);
            let number = ledger.published.len() - 1;
            ledger.published[number].wanted_by = clients.who_wants(&self.tenant, &message);
            ledger.published[number].shared_by = clients.who_shares(&self.tenant, &message);
            let packet = self.send(number, message);
            self.due.extend(packet);
        }
    }

    fn send(&mut self, number: usize, message: Message) -> Option<Packet> {
        let id = (1..).find(|id| self.sending.iter().all(|sending| sending.id != *id))?;
        if message.qos > Qos::AtMostOnce {
            let message = message.clone();
            self.sending.push_back(Sending { id, number, message, is_released: false });
        }
        Some(publish(id, false, message))
    }

    fn new_message(&self, topic: &str, qos: u8, retain: bool, ledger: &mut Ledger) -> Message {
        let payload = format!("{}:{}", self.tenant, ledger.published.len());
        ledger.published.push(Published {
            by: self.number,
            topic: topic.to_owned(),
            qos,
            is_accepted: false,
            is_late: false,
            wanted_by: BTreeSet::new(),
            shared_by: BTreeSet::new(),
            is_excused: false,
        });
        Message { retain, ..message(topic, qos.try_into().unwrap(), payload) }
    }

    pub(super) fn subscribe(&mut self, chance: &mut Chance, ledger: &mut Ledger) -> Packet {
        let filter = FILTERS[chance.pick(FILTERS.len())];
        if filter == SHARE {
            ledger.shares(self.number, self.is_durable);
        } else if shared(&filter.parse().unwrap()).matches(&SHARED_TOPIC.parse().unwrap()) {
            ledger.gets_all.insert(self.number);
        }
        self.subscribe_to(filter)
    }

    fn subscribe_to(&mut self, filter: &str) -> Packet {
        let filter: TopicFilter = filter.parse().unwrap();
        self.asked.insert(filter.clone());
        let wish = self.next_wish();
        let subscription = Subscription { wish, is_held: false };
        self.subscriptions.entry(filter.clone()).or_insert(subscription).wish = wish;
        let options = SubscriptionOptions { qos: self.qos, ..Default::default() };
        Packet::Subscribe(Subscribe {
            packet_id: id(wish),
            subscription_id: None,
            filters: vec![(filter, options)],
            user_properties: Vec::new(),
        })
    }

    pub(super) fn unsubscribe(&mut self, chance: &mut Chance, ledger: &mut Ledger) -> Packet {
        let filter: TopicFilter = FILTERS[chance.pick(FILTERS.len())].parse().unwrap();
        self.subscriptions.remove(&filter);
        if filter.as_str() == SHARE {
            ledger.leaves_share(self.number);
        }
        ledger.no_longer_wanted(self.number, |topic| filter.matches(&topic.parse().unwrap()));
        let packet_id = id(self.next_wish());
        Packet::Unsubscribe(Unsubscribe { packet_id, filters: vec![filter], user_properties: Vec::new() })
    }

    pub(super) fn disconnect(&self) -> Packet {
        Packet::Disconnect(Disconnect {
            code: ReasonCode::Success,
            session_expiry_s: None,
            reason: None,
            user_properties: Vec::new(),
            server_reference: None,
        })
    }

    /// Its connection is gone, and with it a session that was for it alone.
    pub(super) fn is_alone(&mut self, ledger: &mut Ledger) {
        self.is_in = false;
        if std::mem::take(&mut self.is_brief) && !self.begins_anew {
            self.begin_anew(ledger);
            (self.begins_anew, self.has_session) = (false, false);
        }
    }

    /// Forgets what it kept for its session.
    pub(super) fn begin_anew(&mut self, ledger: &mut Ledger) {
        self.begins_anew = true;
        self.sending.clear();
        self.received.clear();
        self.subscriptions.clear();
        ledger.no_longer_wanted(self.number, |_| true);
        ledger.leaves_share(self.number);
        ledger.ends(self.number);
    }

    /// What it sends was on its way while the disk refused.
    pub(super) fn is_late(&self, ledger: &mut Ledger) {
        for sending in &self.sending {
            ledger.published[sending.number].is_late = true;
        }
    }

    /// The filters that it holds.
    pub(super) fn held(&self) -> Vec<TopicFilter> {
        let held = self.subscriptions.iter().filter(|(_, subscription)| subscription.is_held);
        held.map(|(filter, _)| filter.clone()).collect()
    }

    fn next_wish(&mut self) -> u16 {
        self.wishes = self.wishes % 30_000 + 1;
        // Away from the ids of messages.
        self.wishes + 1_000
    }

    fn sent(&mut self, id: u16) -> Option<Sending> {
        let at = self.sending.iter().position(|sending| sending.id == id)?;
        self.sending.remove(at)
    }
}

/// Which durable client holds which filters: number, tenant, filters.
pub(super) struct Held(pub(super) Vec<(usize, String, Vec<TopicFilter>)>);

impl Held {
    fn who_shares(&self, tenant: &str, message: &Message) -> BTreeSet<usize> {
        let held = self.0.iter().filter(|(_, of, _)| of == tenant && message.topic.as_str() == SHARED_TOPIC);
        let shares = held.filter(|(.., filters)| filters.iter().any(|filter| filter.as_str() == SHARE));
        shares.map(|(who, ..)| *who).collect()
    }

    fn who_wants(&self, tenant: &str, message: &Message) -> BTreeSet<usize> {
        let held = self.0.iter().filter(|(_, of, _)| of == tenant);
        let wants = held.filter(|(.., filters)| filters.iter().any(|filter| filter.matches(&message.topic)));
        wants.map(|(who, ..)| *who).collect()
    }
}

/// What a filter is for: a shared one for what it shares.
fn shared(filter: &TopicFilter) -> TopicFilter {
    match filter.as_str() {
        SHARE => "s/+".parse().unwrap(),
        _ => filter.clone(),
    }
}
