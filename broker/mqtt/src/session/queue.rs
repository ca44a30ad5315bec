//! Deliveries at QoS 1 and 2 that wait for room in the window, where the session closes when it is full; and those in the
//! window that wait until the broker has bound their packet id.

use std::collections::VecDeque;

use muster_schemas::Qos;

use super::{CloseReason, Delivery};
use crate::{limits::SessionLimits, packet::PacketId};

/// Oldest first, bounded in messages and in bytes of topic and payload. Dropped with the connection: what a durable
/// session is owed, the broker hands in again.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue {
    waiting: VecDeque<Delivery>,
    bytes: usize,
}

impl DeliveryQueue {
    pub(super) fn push(&mut self, delivery: Delivery, limits: &SessionLimits) -> Result<(), CloseReason> {
        let bytes = self.bytes + weight(&delivery);
        // One message above the bound in bytes passes an empty queue, or it could never be delivered.
        let too_many_bytes = bytes > limits.queued_bytes_max && !self.waiting.is_empty();
        if self.waiting.len() >= limits.queued_messages_max || too_many_bytes {
            let (messages, bytes) = (self.waiting.len(), self.bytes);
            return Err(CloseReason::QueueFull { queue: "delivery", messages, bytes });
        }
        self.bytes = bytes;
        self.waiting.push_back(delivery);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.bytes -= weight(&delivery);
        Some(delivery)
    }

    /// Back to the front, where it came from.
    pub(super) fn put_back(&mut self, delivery: Delivery) {
        self.bytes += weight(&delivery);
        self.waiting.push_front(delivery);
    }

    /// Packet ids and tags of the QoS 1 deliveries that an earlier connection sent, oldest first.
    pub(super) fn resends(&self) -> impl Iterator<Item = (PacketId, u64)> {
        let qos_1 = self.waiting.iter().filter(|delivery| delivery.qos == Qos::AtLeastOnce);
        qos_1.filter_map(|delivery| Some((delivery.resent_as?, delivery.tag?)))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// QoS 2 deliveries between `Bind` and `Bound`, oldest first. Bounded by the window.
#[derive(Debug, Default)]
pub(super) struct Binding {
    waiting: VecDeque<(PacketId, Delivery)>,
    bytes: usize,
}

impl Binding {
    pub(super) fn push(&mut self, id: PacketId, delivery: Delivery) {
        self.bytes += weight(&delivery);
        self.waiting.push_back((id, delivery));
    }

    /// The delivery of this id, nearly always the first.
    pub(super) fn take(&mut self, id: PacketId) -> Option<Delivery> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let (_, delivery) = self.waiting.remove(at)?;
        self.bytes -= weight(&delivery);
        Some(delivery)
    }

    /// Bytes of topic and payload that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn weight(delivery: &Delivery) -> usize {
    delivery.message.topic.as_str().len() + delivery.message.payload.len()
}
