//! A client as the standard wants it, and the end of its connection in the broker: packets on their way may be lost with
//! the connection, what both ends keep for the session may not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_schemas::{Message, TopicFilter};

use crate::{Attached, Delivery, Effect, Input, Outcome, Request, SubscriberId, tests::model::message};

/// Deliveries that the broker's end has under way at once; others wait before it.
const WINDOW: usize = 3;

/// What goes over the line, either way.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    ConnAck { session_present: bool },
    Publish { id: u16, qos: u8, number: usize, topic: String, by: Vec<u32> },
    PubAck { id: u16, ok: bool },
    PubRec { id: u16, ok: bool },
    PubRel { id: u16 },
    PubComp { id: u16 },
    Subscribe { filter: TopicFilter, qos: u8, wish: u64, id: u32, no_local: bool },
    SubAck { wish: u64, ok: bool },
    Unsubscribe { filter: TopicFilter },
}

/// A message of the client that is not over.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) id: u16,
    pub(super) number: usize,
    pub(super) qos: u8,
    topic: String,
    released: bool,
}

/// A subscription at QoS 1 or 2.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The number of the SUBSCRIBE that asked for it last.
    pub(super) wish: u64,
    /// It was acknowledged.
    pub(super) is_held: bool,
}

/// What the client keeps, with or without a connection.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) line: Option<Line>,
    /// The broker has told it of its session, and it has not ended it since.
    pub(super) has_session: bool,
    /// It wants to begin anew, and was not told yet that it has.
    pub(super) begins_anew: bool,
    pub(super) sending: VecDeque<Sending>,
    /// Packet ids of QoS 2 messages between PUBLISH and PUBREL.
    received: BTreeSet<u16>,
    /// What its application got.
    pub(super) got: Vec<Got>,
    /// Shares that it was ever in.
    pub(super) shared: BTreeSet<u32>,
    /// Its session ends with its connection.
    pub(super) is_brief: bool,
    pub(super) subscriptions: BTreeMap<TopicFilter, Subscription>,
    pub(super) online: bool,
}

/// What an application got: a message, how, and by which of its subscriptions.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) number: usize,
    pub(super) qos: u8,
    pub(super) by: Vec<u32>,
}

/// What the packets that a client got mean to those who judge.
#[derive(Debug)]
pub(super) enum News {
    Accepted(usize),
    /// It sends these again.
    Repeats(Vec<usize>),
    LostSession,
}

impl Client {
    pub(super) fn new(is_brief: bool) -> Self {
        Self { is_brief, ..Self::default() }
    }

    /// Takes the next packet from the broker.
    pub(super) fn hear(&mut self) -> Option<News> {
        let packet = self.line.as_mut()?.to_client.pop_front()?;
        let mut answer = None;
        let mut news = None;
        match packet {
            Packet::ConnAck { session_present } => {
                if self.has_session && !self.begins_anew && !session_present {
                    news = Some(News::LostSession);
                }
                if news.is_none() && !self.sending.is_empty() {
                    news = Some(News::Repeats(self.sending.iter().map(|sending| sending.number).collect()));
                }
                (self.has_session, self.begins_anew, self.online) = (!self.is_brief, false, true);
                let again: Vec<Packet> = self.sending.iter().map(Sending::packet).collect();
                self.line.as_mut()?.to_server.extend(again);
            }
            Packet::Publish { id, qos, number, by, .. } => {
                if qos < 2 || self.received.insert(id) {
                    self.got.push(Got { number, qos, by });
                }
                answer = match qos {
                    0 => None,
                    1 => Some(Packet::PubAck { id, ok: true }),
                    _ => Some(Packet::PubRec { id, ok: true }),
                };
            }
            Packet::PubRel { id } => {
                self.received.remove(&id);
                answer = Some(Packet::PubComp { id });
            }
            Packet::PubAck { id, ok } => {
                let over = self.sent(id);
                news = over.filter(|_| ok).map(|sending| News::Accepted(sending.number));
            }
            Packet::PubRec { id, ok: false } => drop(self.sent(id)),
            Packet::PubRec { id, ok: true } => {
                if let Some(sending) = self.sending.iter_mut().find(|sending| sending.id == id) {
                    sending.released = true;
                    news = Some(News::Accepted(sending.number));
                }
                answer = Some(Packet::PubRel { id });
            }
            Packet::PubComp { id } => drop(self.sent(id)),
            Packet::SubAck { wish, ok } => {
                let mut subscriptions = self.subscriptions.values_mut();
                if let Some(subscription) = subscriptions.find(|subscription| subscription.wish == wish) {
                    subscription.is_held = ok;
                }
            }
            Packet::Subscribe { .. } | Packet::Unsubscribe { .. } => unreachable!("not to a client"),
        }
        self.line.as_mut()?.to_server.extend(answer);
        news
    }

    /// Publishes under the lowest packet id that is free.
    pub(super) fn publish(&mut self, number: usize, qos: u8, topic: &str) {
        let id = (1..).find(|id| self.sending.iter().all(|sending| sending.id != *id)).expect("an id");
        let sending = Sending { id, number, qos, topic: topic.to_owned(), released: false };
        let Some(line) = &mut self.line else { return };
        line.to_server.push_back(sending.packet());
        if qos > 0 {
            self.sending.push_back(sending);
        }
    }

    /// Its connection is gone, and its session if that was for the connection only.
    pub(super) fn is_alone(&mut self) {
        self.line = None;
        self.online = false;
        if self.is_brief {
            self.begin_anew();
        }
    }

    /// Forgets what it kept for its session.
    pub(super) fn begin_anew(&mut self) {
        self.begins_anew = true;
        self.sending.clear();
        self.received.clear();
        self.subscriptions.clear();
    }

    fn sent(&mut self, id: u16) -> Option<Sending> {
        let at = self.sending.iter().position(|sending| sending.id == id)?;
        self.sending.remove(at)
    }
}

impl Sending {
    fn packet(&self) -> Packet {
        let Self { id, number, qos, released, .. } = *self;
        match released {
            true => Packet::PubRel { id },
            false => Packet::Publish { id, qos, number, topic: self.topic.clone(), by: Vec::new() },
        }
    }
}

/// What a packet id of the broker waits for.
#[derive(Debug, Clone)]
enum Owed {
    Resend,
    Bound { tag: u64, packet: Packet },
    PubAck { tag: u64 },
    PubRec { tag: u64 },
    Released,
    PubComp { tag: u64 },
}

/// The broker's end of a connection, which is the session core in short.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) subscriber: SubscriberId,
    is_brief: bool,
    pub(super) to_server: VecDeque<Packet>,
    pub(super) to_client: VecDeque<Packet>,
    owed: BTreeMap<u16, Owed>,
    /// What stands behind these packet ids: a number, and by which subscriptions.
    carried: BTreeMap<u16, (usize, Vec<u32>)>,
    /// QoS 1 deliveries in the order of sending.
    sent: Vec<u16>,
    held: VecDeque<Delivery>,
    received: BTreeSet<u16>,
    /// Quality of service and number of what the router has not answered.
    asked: BTreeMap<u16, (u8, usize)>,
    /// Numbers of what the router refused.
    pub(super) refused: Vec<usize>,
    wishes: VecDeque<u64>,
}

impl Line {
    pub(super) fn new(subscriber: SubscriberId, is_brief: bool) -> Self {
        Self {
            subscriber,
            is_brief,
            carried: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            owed: BTreeMap::new(),
            sent: Vec::new(),
            held: VecDeque::new(),
            received: BTreeSet::new(),
            asked: BTreeMap::new(),
            refused: Vec::new(),
            wishes: VecDeque::new(),
        }
    }

    /// Takes the next packet of the client.
    pub(super) fn read(&mut self, inputs: &mut Vec<Input>) {
        let subscriber = self.subscriber;
        let Some(packet) = self.to_server.pop_front() else { return };
        match packet {
            Packet::Publish { id, qos, number, topic, .. } => {
                let ticket = (qos > 0).then_some(id);
                if qos == 2 && self.received.contains(&id) {
                    return self.to_client.push_back(Packet::PubRec { id, ok: true });
                }
                if qos > 0 && self.asked.insert(id, (qos, number)).is_some() {
                    return;
                }
                let message: Message = message(&topic, &number.to_string(), qos);
                inputs.push(Input::Publish { subscriber, ticket, message: message.into() });
            }
            Packet::PubRel { id } if self.received.contains(&id) && !self.is_brief => {
                inputs.push(Input::Forget { subscriber, packet_id: id });
            }
            Packet::PubRel { id } => {
                self.received.remove(&id);
                self.to_client.push_back(Packet::PubComp { id });
            }
            Packet::PubAck { id, .. } => self.finish(id, inputs),
            Packet::PubRec { id, .. } => match self.owed.get(&id).cloned() {
                Some(Owed::PubRec { tag }) if self.is_brief => {
                    self.owed.insert(id, Owed::PubComp { tag });
                    self.to_client.push_back(Packet::PubRel { id });
                }
                Some(Owed::PubRec { tag }) => {
                    self.owed.insert(id, Owed::Released);
                    inputs.push(Input::Release { subscriber, packet_id: id, tag });
                }
                other => panic!("PUBREC {id} for {other:?}"),
            },
            Packet::PubComp { id } => self.finish(id, inputs),
            Packet::Subscribe { filter, qos, wish, id, no_local } => {
                self.wishes.push_back(wish);
                let qos = qos.try_into().expect("qos");
                let options = crate::SubscriptionOptions { qos, no_local, ..Default::default() };
                let filters = vec![Request { filter, options, subscription_id: Some(id) }];
                inputs.push(Input::Subscribe { subscriber, ticket: 1, filters });
            }
            Packet::Unsubscribe { filter } => {
                inputs.push(Input::Unsubscribe { subscriber, ticket: 1, filters: vec![filter] });
            }
            Packet::ConnAck { .. } | Packet::SubAck { .. } => unreachable!("not to a broker"),
        }
    }

    /// Takes what the router says. False if the connection is to close.
    pub(super) fn told(&mut self, effect: Effect, inputs: &mut Vec<Input>) -> bool {
        match effect {
            Effect::Attached { outcome, .. } => {
                let Ok(attached) = outcome else { return false };
                let Attached { session_present, in_flight, received, .. } = *attached;
                self.owed = in_flight.into_iter().map(|id| (id, Owed::Resend)).collect();
                self.received = received.into_iter().collect();
                self.to_client.push_back(Packet::ConnAck { session_present });
            }
            Effect::Deliver { delivery, .. } => {
                self.held.push_back(delivery);
                self.refill(inputs);
            }
            Effect::Bound { packet_id: id, .. } => {
                if let Some(Owed::Bound { tag, packet }) = self.owed.get(&id).cloned() {
                    self.owed.insert(id, Owed::PubRec { tag });
                    self.to_client.push_back(packet);
                }
            }
            Effect::Released { packet_id: id, tag, .. } => {
                assert!(self.owed.contains_key(&id), "released what is not owed");
                self.owed.insert(id, Owed::PubComp { tag });
                self.to_client.push_back(Packet::PubRel { id });
            }
            Effect::Forgotten { packet_id: id, .. } => {
                self.received.remove(&id);
                self.to_client.push_back(Packet::PubComp { id });
            }
            Effect::Published { ticket: id, outcome, .. } => {
                let ok = matches!(outcome, Outcome::Routed { .. });
                let (qos, number) = self.asked.remove(&id).expect("an answer to what was asked");
                self.refused.extend((!ok).then_some(number));
                if qos == 2 && ok {
                    self.received.insert(id);
                }
                let answer = if qos == 1 { Packet::PubAck { id, ok } } else { Packet::PubRec { id, ok } };
                self.to_client.push_back(answer);
            }
            Effect::Subscribed { outcomes, .. } => {
                let wish = self.wishes.pop_front().expect("an answer to what was asked");
                self.to_client.push_back(Packet::SubAck { wish, ok: outcomes[0].is_ok() });
            }
            Effect::Close { .. } => return false,
            _ => {}
        }
        true
    }

    /// QoS 1 deliveries without PUBACK, in the order of sending.
    pub(super) fn unacknowledged(&self) -> Vec<(u16, u64)> {
        let waiting = |id: &u16| match self.owed.get(id) {
            Some(Owed::PubAck { tag }) => Some((*id, *tag)),
            _ => None,
        };
        self.sent.iter().filter_map(waiting).collect()
    }

    /// Whether nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.owed.is_empty() && self.to_client.is_empty() && self.to_server.is_empty()
    }

    /// Whether it has this message by this subscription, and does not know that its client is through with it.
    pub(super) fn holds(&self, number: usize, id: u32) -> bool {
        let held = self.held.iter().filter(|delivery| delivery.tag.is_some());
        let mut held = held.map(|delivery| (number_of(delivery), delivery.subscription_ids.to_vec()));
        held.any(|(held, by)| held == number && by.contains(&id))
            || self.carried.values().any(|(carried, by)| *carried == number && by.contains(&id))
    }

    fn refill(&mut self, inputs: &mut Vec<Input>) {
        let begun = |owed: &&Owed| !matches!(owed, Owed::Resend);
        while self.owed.values().filter(begun).count() < WINDOW
            && let Some(delivery) = self.held.pop_front()
        {
            self.start(delivery, inputs);
        }
    }

    fn start(&mut self, delivery: Delivery, inputs: &mut Vec<Input>) {
        let number = number_of(&delivery);
        let Delivery { message, qos, tag, resent_as, subscription_ids, .. } = delivery;
        let topic = message.topic.to_string();
        let qos = qos as u8;
        let by = subscription_ids.to_vec();
        let packet = |id| Packet::Publish { id, qos, number, topic, by: by.clone() };
        if qos == 0 {
            return self.to_client.push_back(packet(0));
        }
        let tag = tag.unwrap_or_default();
        assert!(tag > 0 || self.is_brief, "a durable session wants to know");
        let id = match resent_as {
            Some(id) => {
                assert!(matches!(self.owed.get(&id), Some(Owed::Resend)), "resent under an id of its own");
                id
            }
            None => (1..).find(|id| !self.owed.contains_key(id)).expect("an id"),
        };
        self.carried.insert(id, (number, by.clone()));
        if qos == 1 {
            self.owed.insert(id, Owed::PubAck { tag });
            self.sent.retain(|sent| *sent != id);
            self.sent.push(id);
            self.to_client.push_back(packet(id));
        } else if resent_as.is_some() || self.is_brief {
            self.owed.insert(id, Owed::PubRec { tag });
            self.to_client.push_back(packet(id));
        } else {
            self.owed.insert(id, Owed::Bound { tag, packet: packet(id) });
            inputs.push(Input::Bind { subscriber: self.subscriber, packet_id: id, tag });
        }
    }

    fn finish(&mut self, id: u16, inputs: &mut Vec<Input>) {
        self.carried.remove(&id);
        match self.owed.remove(&id) {
            Some(Owed::PubAck { tag: 0 } | Owed::PubComp { tag: 0 }) => {}
            Some(Owed::PubAck { tag } | Owed::PubComp { tag }) => {
                inputs.push(Input::Complete { subscriber: self.subscriber, tag });
            }
            other => panic!("an acknowledgement of {id}, for which {other:?}"),
        }
        self.refill(inputs);
    }
}

/// The number of a message, which is its payload.
pub(super) fn number_of(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.payload).expect("text").parse().expect("a number")
}
