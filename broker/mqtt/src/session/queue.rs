//! Deliveries at QoS 1 and 2 that wait for room in the window. When it is full, the session closes.

use std::collections::VecDeque;

use super::{CloseReason, Delivery};
use crate::limits::SessionLimits;

/// Oldest first, bounded in messages and in bytes of topic and payload. Dropped with the session: a session that
/// outlives its connection will read the tenant log instead.
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

fn weight(delivery: &Delivery) -> usize {
    delivery.message.topic.as_str().len() + delivery.message.payload.len()
}
