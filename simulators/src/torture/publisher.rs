//! A publisher as the standards want it: what is not acknowledged is sent again after each break, in its order.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use muster_mqtt::{Ack, Packet, PacketId, Publish, ReasonCode};
use muster_schemas::{Message, Qos};

use super::{
    chance::Chance,
    ledger::{Event, Ledger, qos_of, topic_name},
    limits::{PADDING_BYTES_MAX, TOPICS_PER_PUBLISHER},
};

/// One publisher, with the state that it keeps over connections.
pub struct Publisher {
    number: usize,
    /// Whether hub and publisher both keep the session. Without, only QoS 1 is published.
    is_persistent: bool,
    /// Messages on their way at once.
    window: usize,
    /// Takes the lowest free packet id, so that ids come back at once; else they take turns.
    lowest_id: bool,
    last_id: u16,
    flights: VecDeque<Flight>,
    chance: Chance,
}

/// A message that is not over.
struct Flight {
    packet_id: PacketId,
    sequence: u32,
    topic: u8,
    /// PUBREC has come, PUBREL has gone.
    is_released: bool,
}

impl Publisher {
    /// A publisher that has published nothing.
    pub fn new(number: usize, is_persistent: bool, window: usize, chance: Chance) -> Self {
        let lowest_id = number.is_multiple_of(2);
        Self { number, is_persistent, window, lowest_id, last_id: 0, flights: VecDeque::new(), chance }
    }

    /// Whether its session outlives connections.
    pub fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// Nothing is on its way.
    pub fn is_done(&self) -> bool {
        self.flights.is_empty()
    }

    /// A connection stands: what is on its way goes again.
    pub fn connected(&mut self, session_present: bool, ledger: &mut Ledger, out: &mut Vec<Packet>) {
        let flights: Vec<Flight> = self.flights.drain(..).collect();
        for mut flight in flights {
            if session_present && flight.is_released {
                out.push(release(flight.packet_id));
            } else {
                if !session_present {
                    // For the hub it is a new message.
                    flight.is_released = false;
                    flight.packet_id = self.free_id();
                }
                ledger.note(Event::Again(self.number, flight.sequence));
                out.push(self.publish(&flight, session_present));
            }
            self.flights.push_back(flight);
        }
    }

    /// The hub has sent something.
    pub fn receive(&mut self, packet: Packet, ledger: &mut Ledger, out: &mut Vec<Packet>) {
        match packet {
            Packet::PubAck(ack) => match self.find(&ack, Qos::AtLeastOnce) {
                Some(at) => self.over(at, ack.code, ledger),
                None => self.strange("PUBACK", &ack, ledger),
            },
            Packet::PubRec(ack) => match self.find(&ack, Qos::ExactlyOnce) {
                Some(at) if ack.code.is_failure() => self.over(at, ack.code, ledger),
                Some(at) => {
                    if let Some(flight) = self.flights.get_mut(at) {
                        flight.is_released = true;
                    }
                    out.push(release(ack.packet_id));
                }
                None => self.strange("PUBREC", &ack, ledger),
            },
            Packet::PubComp(ack) => match self.find(&ack, Qos::ExactlyOnce) {
                Some(at) if self.flights.get(at).is_some_and(|flight| flight.is_released) => {
                    // Not found is what a hub says that had forgotten the message, and went down before it could say so.
                    self.over(at, ReasonCode::Success, ledger);
                }
                _ => self.strange("PUBCOMP", &ack, ledger),
            },
            Packet::PingResp => {}
            other => ledger.violated(format!("publisher {} got {}", self.number, other.packet_type())),
        }
    }

    /// Publishes as much as the window allows.
    pub fn go_on(&mut self, ledger: &mut Ledger, out: &mut Vec<Packet>) {
        while self.flights.len() < self.window && !ledger.is_behind() {
            let topics = u64::from(TOPICS_PER_PUBLISHER);
            let topic = self.chance.below(topics) as u8;
            let topic = if self.is_persistent { topic } else { topic & !1 };
            let sequence = ledger.published(self.number, topic);
            let flight = Flight { packet_id: self.free_id(), sequence, topic, is_released: false };
            out.push(self.publish(&flight, false));
            self.flights.push_back(flight);
        }
    }

    /// What is on its way, for the report.
    pub fn unfinished(&self) -> Vec<u32> {
        self.flights.iter().map(|flight| flight.sequence).collect()
    }

    fn publish(&self, flight: &Flight, dup: bool) -> Packet {
        Packet::Publish(Publish {
            dup,
            packet_id: Some(flight.packet_id),
            topic_alias: None,
            subscription_ids: Default::default(),
            message: Arc::new(Message {
                topic: topic_name(self.number, flight.topic),
                qos: qos_of(flight.topic),
                retain: false,
                payload: payload(self.number, flight.sequence),
                properties: None,
            }),
        })
    }

    fn free_id(&mut self) -> PacketId {
        let mut id = if self.lowest_id { 0 } else { self.last_id };
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if let Some(free) = PacketId::new(id)
                && !self.flights.iter().any(|flight| flight.packet_id == free)
            {
                self.last_id = id;
                return free;
            }
        }
    }

    fn find(&self, ack: &Ack, qos: Qos) -> Option<usize> {
        let is_it = |flight: &Flight| flight.packet_id == ack.packet_id && qos_of(flight.topic) == qos;
        self.flights.iter().position(is_it)
    }

    fn over(&mut self, at: usize, code: ReasonCode, ledger: &mut Ledger) {
        if let Some(flight) = self.flights.remove(at) {
            ledger.answered(self.number, flight.sequence, code);
        }
    }

    fn strange(&self, what: &str, ack: &Ack, ledger: &mut Ledger) {
        let Ack { packet_id, code, .. } = ack;
        ledger.violated(format!(
            "publisher {} got a {what} ({code}) for packet id {packet_id}, which is not on its way like that",
            self.number
        ));
    }
}

fn release(packet_id: PacketId) -> Packet {
    Packet::PubRel(Ack::new(packet_id, ReasonCode::Success))
}

/// Says who sent it and as which message; how long it is and what else is in it follows from that.
pub fn payload(publisher: usize, sequence: u32) -> Bytes {
    let mut chance = Chance::new(u64::from(sequence), publisher as u64 + 1);
    let most = if chance.once_in(8) { PADDING_BYTES_MAX } else { 200 };
    let padding = chance.below(most) as usize;
    let mut payload = BytesMut::with_capacity(12 + padding);
    payload.put_u32(u32::try_from(publisher).unwrap_or(u32::MAX));
    payload.put_u32(sequence);
    payload.put_bytes(sequence as u8, padding);
    payload.freeze()
}

/// Who sent a payload and as which message; none if it is not what was sent.
pub fn read_payload(bytes: &[u8]) -> Option<(usize, u32)> {
    let (publisher, rest) = bytes.split_first_chunk::<4>()?;
    let (sequence, _) = rest.split_first_chunk::<4>()?;
    let (publisher, sequence) = (u32::from_be_bytes(*publisher) as usize, u32::from_be_bytes(*sequence));
    (payload(publisher, sequence) == bytes).then_some((publisher, sequence))
}
