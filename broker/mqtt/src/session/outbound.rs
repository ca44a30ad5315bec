//! Messages to the client: the window, the queue before it, and the client's acknowledgements.

use std::time::Instant;

use muster_schemas::Qos;

use super::{Delivery, Effects, Request, Session, aliases::Naming, inflight::Awaiting};
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
            } else if self.has_expired(&delivery) {
                self.statistics.dropped_expired += 1;
            } else {
                self.put(&delivery, None, effects);
            }
            return;
        }
        let may_go = self.queue.is_empty() && self.inflight.has_room() && !self.is_congested(effects);
        if may_go && self.start(&delivery, effects) {
            return;
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
            if !self.start(&delivery, effects) {
                return self.queue.put_back(delivery);
            }
        }
    }

    /// The broker keeps what the packet id stands for: the message leaves, if it is not too late for it by now.
    pub(super) fn bound(&mut self, id: PacketId, effects: &mut Effects) {
        let Some(delivery) = self.binding.as_mut().and_then(|binding| binding.take(id)) else {
            return;
        };
        if self.has_expired(&delivery) {
            self.statistics.dropped_expired += 1;
            return self.finish(id, effects);
        }
        self.inflight.set(id, Awaiting::PubRec);
        self.put(&delivery, Some((id, false)), effects);
    }

    /// The broker keeps that the client has the message: PUBREL leaves.
    pub(super) fn released(&mut self, id: PacketId, tag: u64, effects: &mut Effects) {
        match self.inflight.awaiting(id) {
            Awaiting::Resend => self.inflight.resume(id, Some(tag), Awaiting::PubComp),
            Awaiting::PubRec | Awaiting::Released => self.inflight.set(id, Awaiting::PubComp),
            Awaiting::PubComp => {}
            Awaiting::Nothing | Awaiting::Bound | Awaiting::PubAck => return,
        }
        self.ack(PacketType::PubRel, Ack::new(id, ReasonCode::Success), effects);
    }

    /// PUBACK. One for nothing we sent is ignored and counted.
    pub(super) fn puback(&mut self, id: PacketId, effects: &mut Effects) {
        match self.inflight.awaiting(id) {
            Awaiting::PubAck => self.finish(id, effects),
            Awaiting::Nothing | Awaiting::Resend | Awaiting::Bound => self.statistics.acks_unknown += 1,
            Awaiting::PubRec | Awaiting::Released | Awaiting::PubComp => {
                self.violation("PUBACK for a QoS 2 message", effects);
            }
        }
    }

    /// PUBREC. With a failure it ends the exchange [MQTT-4.3.3-4].
    pub(super) fn pubrec(&mut self, ack: &Ack, effects: &mut Effects) {
        let id = ack.packet_id;
        let mut code = ReasonCode::Success;
        match self.inflight.awaiting(id) {
            Awaiting::PubRec if ack.code.is_failure() => return self.finish(id, effects),
            Awaiting::PubRec => {
                if let Some(tag) = self.inflight.tag(id).filter(|_| self.is_durable) {
                    self.inflight.set(id, Awaiting::Released);
                    return effects.requests.push(Request::Release { packet_id: id, tag });
                }
                self.inflight.set(id, Awaiting::PubComp);
            }
            Awaiting::PubComp => {}
            // PUBREL will come as soon as the broker keeps that the message has arrived.
            Awaiting::Released => return,
            // Not sent on this connection. To say "not found" would make the client take what is sent later for new.
            Awaiting::Resend | Awaiting::Bound => {
                self.statistics.acks_unknown += 1;
                return;
            }
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
            Awaiting::Nothing | Awaiting::Resend | Awaiting::Bound => self.statistics.acks_unknown += 1,
            Awaiting::PubAck | Awaiting::PubRec | Awaiting::Released => {
                self.violation("PUBCOMP before PUBREL", effects);
            }
        }
    }

    /// QoS 1 deliveries that the client did not acknowledge, sent on this connection or on one before, oldest first.
    pub(super) fn unacknowledged(&self) -> Vec<(PacketId, u64)> {
        let mut unacknowledged = self.inflight.unacknowledged();
        let resends = self.queue.resends();
        unacknowledged.extend(resends.filter(|(id, _)| self.inflight.awaiting(*id) == Awaiting::Resend));
        unacknowledged
    }

    fn finish(&mut self, id: PacketId, effects: &mut Effects) {
        if let Some(tag) = self.inflight.finish(id) {
            effects.requests.push(Request::Complete { tag });
        }
        self.refill(effects);
    }

    /// Begins a delivery, or ends it where it cannot be sent at all. False if it must wait for a packet id.
    fn start(&mut self, delivery: &Delivery, effects: &mut Effects) -> bool {
        let Delivery { qos, tag, resent_as, .. } = *delivery;
        // An id that was not set aside for it is none: then the message is sent as if for the first time.
        let resent_as = resent_as.filter(|id| self.inflight.awaiting(*id) == Awaiting::Resend);
        // What was sent once may be sent again after its time (MQTT 5 §3.3.2.3.3 speaks of the start of delivery).
        let is_late = resent_as.is_none() && self.has_expired(delivery);
        if is_late || !self.fits_delivery(delivery) {
            let counter = match is_late {
                true => &mut self.statistics.dropped_expired,
                false => &mut self.statistics.dropped_too_large,
            };
            *counter += 1;
            if let Some(id) = resent_as {
                self.inflight.finish(id);
            }
            effects.requests.extend(tag.map(|tag| Request::Complete { tag }));
            return true;
        }
        if let Some(id) = resent_as {
            self.inflight.resume(id, tag, qos.into());
            self.put(delivery, Some((id, true)), effects);
            return true;
        }
        let bind = tag.filter(|_| self.is_durable && qos == Qos::ExactlyOnce);
        let awaiting = if bind.is_some() { Awaiting::Bound } else { qos.into() };
        let Some(id) = self.inflight.start(tag, awaiting) else {
            return false;
        };
        match bind {
            Some(tag) => {
                effects.requests.push(Request::Bind { packet_id: id, tag });
                self.binding.get_or_insert_default().push(id, delivery.clone());
            }
            None => self.put(delivery, Some((id, false)), effects),
        }
        true
    }

    /// Writes a delivery under a packet id, sent before or not. At QoS 0 it is dropped where the client does not take
    /// packets of its size [MQTT-3.1.2-24]; for the others this is known before.
    fn put(&mut self, delivery: &Delivery, sent_as: Option<(PacketId, bool)>, effects: &mut Effects) {
        let naming = match &mut self.aliases {
            Some(aliases) => aliases.naming(&delivery.message),
            None => Naming::Topic,
        };
        let frame = self.frame(delivery, sent_as, naming);
        if frame.encoded_len() > self.packet_bytes_max {
            return self.put_in_full(delivery, sent_as, effects);
        }
        frame.write(&mut effects.outgoing);
        self.statistics.deliveries_sent += 1;
        if let (Naming::Define(alias), Some(aliases)) = (naming, &mut self.aliases) {
            aliases.define(alias, &delivery.message);
        }
    }

    /// As [`Self::put`], where it may be the definition of an alias that makes the packet too large.
    #[cold]
    fn put_in_full(&mut self, delivery: &Delivery, sent_as: Option<(PacketId, bool)>, effects: &mut Effects) {
        let frame = self.frame(delivery, sent_as, Naming::Topic);
        if frame.encoded_len() > self.packet_bytes_max {
            self.statistics.dropped_too_large += 1;
            return;
        }
        frame.write(&mut effects.outgoing);
        self.statistics.deliveries_sent += 1;
    }

    /// Whether the client takes a packet of this size. With an alias that it knows it is smaller still.
    fn fits_delivery(&self, delivery: &Delivery) -> bool {
        let sent_as = Some((PacketId::FIRST, false));
        self.packet_bytes_max == usize::MAX
            || self.frame(delivery, sent_as, Naming::Topic).encoded_len() <= self.packet_bytes_max
    }

    #[inline]
    fn frame<'a>(
        &self,
        delivery: &'a Delivery,
        sent_as: Option<(PacketId, bool)>,
        naming: Naming,
    ) -> PublishFrame<'a> {
        let head = PublishHead {
            dup: sent_as.is_some_and(|(_, dup)| dup),
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id: sent_as.map(|(id, _)| id),
            topic_alias: match naming {
                Naming::Topic => None,
                Naming::Alias(alias) | Naming::Define(alias) => Some(alias),
            },
            alias_is_known: matches!(naming, Naming::Alias(_)),
            expiry_left_s: delivery.expires.map(|expires| self.seconds_until(expires)),
            subscription_ids: &delivery.subscription_ids,
        };
        PublishFrame::new(head, &delivery.message, self.version)
    }

    /// Whole seconds that a message has left: a second is gone only when all of it is [MQTT-3.3.2-6].
    fn seconds_until(&self, expires: Instant) -> u32 {
        // Whoever set it counts in milliseconds.
        let left_ms = expires.saturating_duration_since(self.now).as_millis();
        let seconds = left_ms.div_ceil(1_000);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// Whether the message has lost its meaning [MQTT-3.3.2-5].
    fn has_expired(&self, delivery: &Delivery) -> bool {
        delivery.expires.is_some_and(|expires| expires <= self.now)
    }

    /// Whether more bytes wait for the socket than should, or will as soon as they are bound.
    fn is_congested(&self, effects: &Effects) -> bool {
        self.outgoing_bytes_pending(effects) + self.binding.as_ref().map_or(0, |binding| binding.bytes())
            > self.options.limits.outgoing_bytes_max
    }
}
