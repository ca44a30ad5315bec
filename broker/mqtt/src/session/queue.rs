//! Deliveries at QoS 1 and 2 that wait for room in the window, where the session closes when it is full; and those in the
//! window that wait until the broker has bound their packet id.

use std::collections::VecDeque;

use muster_schemas::Qos;

use super::{CloseReason, Delivery};
use crate::{limits::SessionLimits, packet::PacketId};

/// Oldest first, bounded in messages and in bytes of topic and payload. Dropped with the connection: what a durable
/// session is owed, the broker hands in again. None before something has waited.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

impl DeliveryQueue {
    pub(super) fn push(&mut self, delivery: Delivery, limits: &SessionLimits) -> Result<(), CloseReason> {
        let waiting = self.0.get_or_insert_default();
        let bytes = waiting.bytes + weight(&delivery);
        // One message above the bound in bytes passes an empty queue, or it could never be delivered.
        let too_many_bytes = bytes > limits.queued_bytes_max && !waiting.deliveries.is_empty();
        if waiting.deliveries.len() >= limits.queued_messages_max || too_many_bytes {
            let (messages, bytes) = (waiting.deliveries.len(), waiting.bytes);
            return Err(CloseReason::QueueFull { queue: "delivery", messages, bytes });
        }
        waiting.bytes = bytes;
        waiting.deliveries.push_back(delivery);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let waiting = self.0.as_mut()?;
        let delivery = waiting.deliveries.pop_front()?;
        waiting.bytes -= weight(&delivery);
        Some(delivery)
    }

    /// Back to the front, where it came from.
    pub(super) fn put_back(&mut self, delivery: Delivery) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += weight(&delivery);
        waiting.deliveries.push_front(delivery);
    }

    /// Packet ids and tags of the QoS 1 deliveries that an earlier connection sent, oldest first.
    pub(super) fn resends(&self) -> impl Iterator<Item = (PacketId, u64)> {
        let waiting = self.0.iter().flat_map(|waiting| &waiting.deliveries);
        let qos_1 = waiting.filter(|delivery| delivery.qos == Qos::AtLeastOnce);
        qos_1.filter_map(|delivery| Some((delivery.resent_as?, delivery.tag?)))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.deliveries.len())
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
