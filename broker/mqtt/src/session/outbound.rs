//! Messages to the client: the window, the queue before it, and the client's acknowledgements.

use muster_schemas::Qos;

use super::{Delivery, Effects, Session, inflight::Awaiting};
use crate::{
    encode::{PublishFrame, PublishHead},
    packet::{Ack, PacketId, PacketType},
    reason::ReasonCode,
};

impl Session {
    /// A message for the client. QoS 0 leaves at once or never; QoS 1 and 2 leave in order, as the window allows.
    pub(super) fn deliver(&mut self, delivery: Delivery, effects: &mut Effects) {
        if delivery.qos == Qos::AtMostOnce {
            if self.is_congested(effects) {
                self.statistics.dropped_congested += 1;
            } else {
                self.put(&delivery, None, effects);
            }
            return;
        }
        if self.queue.is_empty() && !self.is_congested(effects) {
            // The size is checked before an id is taken.
            if !self.fits_delivery(&delivery) {
                self.statistics.dropped_too_large += 1;
                return;
            }
            if let Some(id) = self.inflight.start(delivery.qos) {
                return self.put(&delivery, Some(id), effects);
            }
        }
        if let Err(full) = self.queue.push(delivery, &self.options.limits) {
            self.close(full, effects);
        }
    }

    /// Moves deliveries from the queue to the window while there is room.
    pub(super) fn refill(&mut self, effects: &mut Effects) {
        while !self.queue.is_empty() && self.inflight.has_room() && !self.is_congested(effects) {
            let Some(delivery) = self.queue.pop() else {
                return;
            };
            if !self.fits_delivery(&delivery) {
                self.statistics.dropped_too_large += 1;
            } else if let Some(id) = self.inflight.start(delivery.qos) {
                self.put(&delivery, Some(id), effects);
            }
        }
    }

    /// PUBACK. One for nothing we sent is ignored and counted.
    pub(super) fn puback(&mut self, id: PacketId, effects: &mut Effects) {
        match self.inflight.awaiting(id) {
            Awaiting::PubAck => self.finish(id, effects),
            Awaiting::Nothing => self.statistics.acks_unknown += 1,
            Awaiting::PubRec | Awaiting::PubComp => self.violation("PUBACK for a QoS 2 message", effects),
        }
    }

    /// PUBREC. With a failure it ends the exchange [MQTT-4.3.3-4].
    pub(super) fn pubrec(&mut self, ack: &Ack, effects: &mut Effects) {
        let id = ack.packet_id;
        let mut code = ReasonCode::Success;
        match self.inflight.awaiting(id) {
            Awaiting::PubRec if ack.code.is_failure() => return self.finish(id, effects),
            Awaiting::PubRec => self.inflight.received(id),
            Awaiting::PubComp => {}
            Awaiting::PubAck => return self.violation("PUBREC for a QoS 1 message", effects),
            Awaiting::Nothing => {
                self.statistics.acks_unknown += 1;
                if ack.code.is_failure() {
                    return;
                }
                code = ReasonCode::PacketIdentifierNotFound;
            }
        }
        self.ack(PacketType::PubRel, Ack::new(id, code), effects);
    }

    /// PUBCOMP. One for nothing we sent is ignored and counted.
    pub(super) fn pubcomp(&mut self, id: PacketId, effects: &mut Effects) {
        match self.inflight.awaiting(id) {
            Awaiting::PubComp => self.finish(id, effects),
            Awaiting::Nothing => self.statistics.acks_unknown += 1,
            Awaiting::PubAck | Awaiting::PubRec => self.violation("PUBCOMP before PUBREL", effects),
        }
    }

    fn finish(&mut self, id: PacketId, effects: &mut Effects) {
        self.inflight.finish(id);
        self.refill(effects);
    }

    /// Writes a delivery, unless the client does not take packets of its size [MQTT-3.1.2-24].
    fn put(&mut self, delivery: &Delivery, packet_id: Option<PacketId>, effects: &mut Effects) {
        let frame = self.frame(delivery, packet_id);
        if frame.encoded_len() > self.packet_bytes_max {
            self.statistics.dropped_too_large += 1;
            return;
        }
        frame.write(&mut effects.outgoing);
        self.statistics.deliveries_sent += 1;
    }

    fn fits_delivery(&self, delivery: &Delivery) -> bool {
        self.packet_bytes_max == usize::MAX
            || self.frame(delivery, Some(PacketId::FIRST)).encoded_len() <= self.packet_bytes_max
    }

    fn frame<'a>(&self, delivery: &'a Delivery, packet_id: Option<PacketId>) -> PublishFrame<'a> {
        let head = PublishHead {
            dup: false,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id,
            topic_alias: None,
            subscription_ids: &delivery.subscription_ids,
        };
        PublishFrame::new(head, &delivery.message, self.version)
    }

    /// Whether more bytes wait for the socket than should.
    fn is_congested(&self, effects: &Effects) -> bool {
        self.outgoing_bytes_pending(effects) > self.options.limits.outgoing_bytes_max
    }
}
