//! Messages from the client: PUBLISH, its answer, and the second half of QoS 2.

use muster_schemas::{Message, Qos};

use super::{CloseReason, Effects, PublishOutcome, Request, Session, received::Found};
use crate::{
    limits::REASON_BYTES_MAX,
    packet::{Ack, Packet, PacketId, PacketType, Publish},
    primitive::cut,
    reason::ReasonCode,
};

impl Session {
    /// PUBLISH: hands the message over, unless it is one that is already handed over.
    pub(super) fn publish(&mut self, publish: Publish, effects: &mut Effects) {
        let Publish { dup, packet_id, message, .. } = publish;
        self.statistics.publishes_received += 1;
        if let Some(id) = packet_id {
            let qos = message.qos;
            let received = self.received.find(id);
            if qos == Qos::ExactlyOnce && received == Found::Received {
                // Repeated after our PUBREC: say it again, deliver nothing again [MQTT-4.3.3-10].
                self.statistics.publishes_repeated += 1;
                self.received.repeated(id);
                return self.ack(PacketType::PubRec, Ack::new(id, ReasonCode::Success), effects);
            }
            match self.arrivals.find(id) {
                // Repeated before our answer: the answer to the first serves both.
                Some(first) if first.qos == qos && (dup || qos == Qos::ExactlyOnce) => {
                    self.statistics.publishes_repeated += 1;
                    return;
                }
                Some(_) => return self.violation("PUBLISH with a packet identifier in use", effects),
                // After PUBREL the id is in use until our PUBCOMP.
                None if received != Found::Nothing => {
                    return self.violation("PUBLISH with a packet identifier in use", effects);
                }
                None => {}
            }
            if self.arrivals.len() + self.received.counted() >= self.receive_maximum {
                let (code, what) = (ReasonCode::ReceiveMaximumExceeded, "more messages at once than we take");
                return self.close(CloseReason::ProtocolViolation { code, what }, effects);
            }
            self.arrivals.push(id, qos);
        }
        if !has_said_format(&message) {
            let code = ReasonCode::PayloadFormatInvalid;
            let reason = "the payload is not UTF-8, as its format indicator says".to_owned();
            if packet_id.is_some() {
                return self.published(packet_id, PublishOutcome::Refused { code, reason }, effects);
            }
            // At QoS 0 there is no other way to say it (MQTT 5 §3.3.2.3.2).
            self.statistics.publishes_refused += 1;
            return self.close(CloseReason::PublishRefused { code, reason }, effects);
        }
        effects.requests.push(Request::Publish { packet_id, message });
    }

    /// The broker's answer to a message.
    pub(super) fn published(
        &mut self,
        packet_id: Option<PacketId>,
        outcome: PublishOutcome,
        effects: &mut Effects,
    ) {
        let (code, reason) = match outcome {
            PublishOutcome::Routed { matched: true } => (ReasonCode::Success, None),
            PublishOutcome::Routed { matched: false } => (ReasonCode::NoMatchingSubscribers, None),
            PublishOutcome::Refused { code, reason } => {
                self.statistics.publishes_refused += 1;
                let can_say = self.version.capabilities().ack_codes && code.is_allowed_in(PacketType::PubAck);
                // At QoS 0 there is no answer to give; a refusal that ends the connection ends it at any QoS.
                let fatal =
                    if packet_id.is_some() { !can_say } else { !code.is_allowed_in(PacketType::PubAck) };
                if fatal {
                    return self.close(CloseReason::PublishRefused { code, reason }, effects);
                }
                (code, Some(reason))
            }
            PublishOutcome::Unfit { code, reason } => {
                self.statistics.publishes_refused += 1;
                if self.version.capabilities().ack_codes {
                    (code, Some(reason))
                } else {
                    (ReasonCode::Success, None)
                }
            }
        };
        let Some(id) = packet_id else {
            return;
        };
        if !self.arrivals.answer(id, code, reason.filter(|reason| self.wants_reasons && !reason.is_empty())) {
            return;
        }
        while let Some(answered) = self.arrivals.pop_answered() {
            let mut ack = Ack::new(answered.packet_id, answered.code);
            ack.reason = answered.reason.map(|reason| cut(&reason, REASON_BYTES_MAX).into());
            if answered.qos == Qos::AtLeastOnce {
                self.ack(PacketType::PubAck, ack, effects);
            } else {
                // A PUBREC that refuses ends the exchange [MQTT-4.3.3-9].
                if !ack.code.is_failure() {
                    self.received.insert(ack.packet_id);
                }
                self.ack(PacketType::PubRec, ack, effects);
            }
        }
    }

    /// PUBREL: the client forgets the message, we forget its id; a durable session once the broker has forgotten it.
    pub(super) fn pubrel(&mut self, id: PacketId, effects: &mut Effects) {
        let code = match self.received.find(id) {
            // The PUBCOMP that will come serves both.
            Found::Forgetting => return,
            Found::Received if self.is_durable => {
                self.received.forget(id);
                return effects.requests.push(Request::Forget { packet_id: id });
            }
            Found::Received => {
                self.received.remove(id);
                ReasonCode::Success
            }
            Found::Nothing if self.arrivals.find(id).is_some() => {
                return self.violation("PUBREL before PUBREC", effects);
            }
            Found::Nothing => {
                self.statistics.acks_unknown += 1;
                ReasonCode::PacketIdentifierNotFound
            }
        };
        self.ack(PacketType::PubComp, Ack::new(id, code), effects);
    }

    /// The broker has forgotten the id: PUBCOMP leaves.
    pub(super) fn forgotten(&mut self, id: PacketId, effects: &mut Effects) {
        if self.received.find(id) == Found::Forgetting {
            self.received.remove(id);
            self.ack(PacketType::PubComp, Ack::new(id, ReasonCode::Success), effects);
        }
    }

    /// Sends an acknowledgement; its words only if the client takes a packet of that size [MQTT-3.4.2-2].
    pub(super) fn ack(&mut self, packet: PacketType, ack: Ack, effects: &mut Effects) {
        if ack.reason.is_none() {
            return self.send_bare_ack(packet, &ack, effects);
        }
        let bare = Ack::new(ack.packet_id, ack.code);
        let with_words = match packet {
            PacketType::PubRec => Packet::PubRec(ack),
            _ => Packet::PubAck(ack),
        };
        if self.fits(&with_words) {
            self.send(&with_words, effects);
        } else {
            self.send_bare_ack(packet, &bare, effects);
        }
    }
}

/// Whether a payload that is said to be text is text (MQTT 5 §3.3.2.3.2). Nothing else is looked at.
pub(super) fn has_said_format(message: &Message) -> bool {
    let is_text = message.properties.as_ref().is_some_and(|properties| properties.payload_is_utf8);
    !is_text || std::str::from_utf8(&message.payload).is_ok()
}
