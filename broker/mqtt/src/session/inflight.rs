//! Deliveries at QoS 1 and 2 between our PUBLISH and the client's last acknowledgement, and their packet ids.

use std::collections::VecDeque;

use muster_schemas::Qos;

use crate::{limits::PACKET_ID_ROTATION_MIN, packet::PacketId};

/// What the client owes us for a packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaiting {
    /// The id is free.
    Nothing,
    /// QoS 1.
    PubAck,
    /// QoS 2, first half.
    PubRec,
    /// QoS 2, second half.
    PubComp,
}

/// The window of deliveries. Ids are the lowest that suffice, and a freed one waits its turn at the end.
#[derive(Debug)]
pub(super) struct Inflight {
    /// By packet id less one. Grows with use, never beyond the window or the rotation.
    slots: Vec<Awaiting>,
    /// Ids that are free again, longest first.
    free: VecDeque<PacketId>,
    /// Most deliveries at once: the lower of the client's Receive Maximum and our bound.
    window: usize,
}

impl Inflight {
    pub(super) fn new(window: u16) -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), window: window.into() }
    }

    /// Takes a packet id for a delivery at QoS 1 or 2, unless the window is full.
    pub(super) fn start(&mut self, qos: Qos) -> Option<PacketId> {
        if !self.has_room() {
            return None;
        }
        let awaiting = if qos == Qos::ExactlyOnce { Awaiting::PubRec } else { Awaiting::PubAck };
        if self.slots.len() < PACKET_ID_ROTATION_MIN || self.free.is_empty() {
            let id = PacketId::new(u16::try_from(self.slots.len() + 1).ok()?)?;
            self.slots.push(awaiting);
            return Some(id);
        }
        let id = self.free.pop_front()?;
        self.set(id, awaiting);
        Some(id)
    }

    /// What is owed for this id.
    pub(super) fn awaiting(&self, id: PacketId) -> Awaiting {
        self.slots.get(usize::from(id.get() - 1)).copied().unwrap_or(Awaiting::Nothing)
    }

    /// PUBREC came.
    pub(super) fn received(&mut self, id: PacketId) {
        self.set(id, Awaiting::PubComp);
    }

    /// The exchange is over. Call only for an id for which something is owed.
    pub(super) fn finish(&mut self, id: PacketId) {
        debug_assert_ne!(self.awaiting(id), Awaiting::Nothing, "an id is freed once");
        self.set(id, Awaiting::Nothing);
        self.free.push_back(id);
    }

    /// Deliveries in the window.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether another one may start.
    pub(super) fn has_room(&self) -> bool {
        self.len() < self.window
    }

    fn set(&mut self, id: PacketId, awaiting: Awaiting) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.get() - 1)) {
            *slot = awaiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_bounds_deliveries_and_ids_take_turns() {
        let mut inflight = Inflight::new(2);
        let first = inflight.start(Qos::AtLeastOnce).expect("room");
        let second = inflight.start(Qos::ExactlyOnce).expect("room");
        assert_eq!((first.get(), second.get()), (1, 2));
        assert_eq!(inflight.start(Qos::AtLeastOnce), None);
        assert_eq!(inflight.awaiting(second), Awaiting::PubRec);
        inflight.finish(first);
        assert_eq!(inflight.len(), 1);
        assert_eq!(inflight.start(Qos::AtLeastOnce).map(PacketId::get), Some(3));
    }

    #[test]
    fn a_freed_id_rests_before_it_is_used_again() {
        let mut inflight = Inflight::new(1_000);
        for expected in 1..=PACKET_ID_ROTATION_MIN {
            let id = inflight.start(Qos::AtLeastOnce).expect("room");
            assert_eq!(usize::from(id.get()), expected);
            inflight.finish(id);
        }
        assert_eq!(inflight.start(Qos::AtLeastOnce), Some(PacketId::FIRST));
    }

    #[test]
    fn the_largest_window_uses_every_id() {
        let mut inflight = Inflight::new(u16::MAX);
        for _ in 0..u16::MAX {
            assert!(inflight.start(Qos::AtLeastOnce).is_some());
        }
        assert_eq!(inflight.start(Qos::AtLeastOnce), None);
        assert_eq!(inflight.len(), usize::from(u16::MAX));
    }
}
