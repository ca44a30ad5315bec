//! A subscriber as the standards want it: it acknowledges what it got, and knows at QoS 2 what it has already got.

use std::collections::BTreeMap;

use muster_mqtt::{Ack, Packet, PacketId, ReasonCode, Subscribe, SubscriptionOptions};
use muster_schemas::Qos;

use super::{
    ledger::{Filter, Ledger},
    publisher::read_payload,
};

/// One subscriber, with the state that it keeps over connections.
pub struct Subscriber {
    number: usize,
    filter: Filter,
    qos: Qos,
    is_granted: bool,
    /// QoS 2 messages that it has got and that the hub has not released, by packet id.
    received: BTreeMap<PacketId, (usize, u32)>,
}

impl Subscriber {
    /// A subscriber that has not subscribed.
    pub fn new(number: usize, filter: Filter, qos: Qos) -> Self {
        Self { number, filter, qos, is_granted: false, received: BTreeMap::new() }
    }

    /// The hub has nothing to release.
    pub fn is_done(&self) -> bool {
        self.received.is_empty()
    }

    /// A connection stands.
    pub fn connected(&mut self, session_present: bool, out: &mut Vec<Packet>) {
        if !session_present {
            self.received.clear();
        }
        if !session_present || !self.is_granted {
            let options = SubscriptionOptions { qos: self.qos, ..SubscriptionOptions::default() };
            out.push(Packet::Subscribe(Subscribe {
                packet_id: PacketId::FIRST,
                subscription_id: None,
                filters: vec![(self.filter.to_topic_filter(), options)],
                user_properties: Vec::new(),
            }));
        }
    }

    /// The hub has sent something.
    pub fn receive(&mut self, packet: Packet, ledger: &mut Ledger, out: &mut Vec<Packet>) {
        match packet {
            Packet::SubAck(suback) => {
                if suback.codes == [ReasonCode::from(self.qos)] {
                    self.is_granted = true;
                    ledger.granted(self.number);
                } else {
                    ledger.violated(format!("subscriber {} was refused: {:?}", self.number, suback.codes));
                }
            }
            Packet::Publish(publish) => {
                let message = &publish.message;
                let Some((publisher, sequence)) = read_payload(&message.payload) else {
                    ledger.violated(format!(
                        "subscriber {} got a payload of {} bytes on {} that nobody sent",
                        self.number,
                        message.payload.len(),
                        message.topic
                    ));
                    return;
                };
                let Some(packet_id) = publish.packet_id else {
                    ledger.delivered(self.number, (publisher, sequence), &message.topic, message.qos);
                    return;
                };
                if message.qos == Qos::AtLeastOnce {
                    ledger.delivered(self.number, (publisher, sequence), &message.topic, message.qos);
                    out.push(Packet::PubAck(Ack::new(packet_id, ReasonCode::Success)));
                    return;
                }
                match self.received.insert(packet_id, (publisher, sequence)) {
                    None => {
                        ledger.delivered(self.number, (publisher, sequence), &message.topic, message.qos);
                    }
                    Some(before) if before == (publisher, sequence) => {
                        if !publish.dup {
                            ledger.violated(format!(
                                "subscriber {} got message {sequence} of publisher {publisher} again without DUP",
                                self.number
                            ));
                        }
                        ledger.repeated();
                    }
                    Some((other, earlier)) => ledger.violated(format!(
                        "subscriber {} got message {sequence} of publisher {publisher} as packet id {packet_id}, \
                         under which message {earlier} of publisher {other} is not over",
                        self.number
                    )),
                }
                out.push(Packet::PubRec(Ack::new(packet_id, ReasonCode::Success)));
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                out.push(Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)));
            }
            Packet::PingResp => {}
            other => ledger.violated(format!("subscriber {} got {}", self.number, other.packet_type())),
        }
    }

    /// QoS 2 messages that the hub has not released, for the report.
    pub fn unfinished(&self) -> Vec<u32> {
        self.received.values().map(|(_, sequence)| *sequence).collect()
    }
}
