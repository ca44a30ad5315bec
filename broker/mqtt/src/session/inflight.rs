//! Deliveries at QoS 1 and 2 between our PUBLISH and the client's last acknowledgement, and their packet ids.

use std::collections::VecDeque;

use muster_schemas::Qos;

use crate::{limits::PACKET_ID_ROTATION_MIN, packet::PacketId};

/// What a packet id waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaiting {
    /// The id is free.
    Nothing,
    /// An earlier connection of the session used it: the broker will hand in the message, or that it was received.
    Resend,
    /// QoS 2, durable: the broker keeps what the id stands for, and then the message is sent.
    Bound,
    /// QoS 1: PUBACK.
    PubAck,
    /// QoS 2, first half: PUBREC.
    PubRec,
    /// QoS 2, durable: the broker keeps that PUBREC came, and then PUBREL is sent.
    Released,
    /// QoS 2, second half: PUBCOMP.
    PubComp,
}

/// One packet id. Small, because a client may have thousands.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u64,
    /// Which delivery this was, so that those not acknowledged can be told in order. Runs in a circle.
    sent: u32,
    awaiting: Awaiting,
    has_tag: bool,
}

const _: () = assert!(size_of::<Slot>() == 16, "a slot is compact");

impl Slot {
    const FREE: Self = Self { tag: 0, sent: 0, awaiting: Awaiting::Nothing, has_tag: false };

    fn tag(&self) -> Option<u64> {
        self.has_tag.then_some(self.tag)
    }
}

/// The window of deliveries. Ids are the lowest that suffice, and a freed one waits its turn at the end.
#[derive(Debug)]
pub(super) struct Inflight {
    /// By packet id less one. Grows with use, never beyond the window, the rotation and the ids of an earlier connection.
    slots: Vec<Slot>,
    /// Ids that are free again, longest first.
    free: VecDeque<PacketId>,
    /// Deliveries begun on this connection and not ended.
    begun: usize,
    /// Most of those: the lower of the client's Receive Maximum and our bound.
    window: usize,
    /// Deliveries begun so far.
    sent: u32,
}

impl Inflight {
    pub(super) fn new(window: u16) -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), begun: 0, window: window.into(), sent: 0 }
    }

    /// Sets aside the ids of an earlier connection, so that no other message gets one of them.
    pub(super) fn set_aside(&mut self, ids: &[PacketId]) {
        let highest = ids.iter().map(|id| usize::from(id.get())).max().unwrap_or(0);
        if self.slots.len() < highest {
            self.slots.resize(highest, Slot::FREE);
        }
        for id in ids {
            self.set(*id, Awaiting::Resend);
        }
        let free = (1..=u16::MAX).zip(&self.slots).filter(|(_, slot)| slot.awaiting == Awaiting::Nothing);
        self.free = free.filter_map(|(id, _)| PacketId::new(id)).collect();
    }

    /// Takes a packet id for a delivery, unless the window is full.
    pub(super) fn start(&mut self, tag: Option<u64>, awaiting: Awaiting) -> Option<PacketId> {
        if !self.has_room() {
            return None;
        }
        let slot = self.begin(tag, awaiting);
        // Before the rotation is reached, and whenever none is free, there is a new id.
        if self.slots.len() < PACKET_ID_ROTATION_MIN || self.free.is_empty() {
            let id = PacketId::new(u16::try_from(self.slots.len() + 1).ok()?)?;
            self.slots.push(slot);
            self.begun += 1;
            return Some(id);
        }
        let id = self.free.pop_front()?;
        *self.slots.get_mut(index(id))? = slot;
        self.begun += 1;
        Some(id)
    }

    /// Begins a delivery under the id that an earlier connection gave it. Call only for one that waits for that.
    pub(super) fn resume(&mut self, id: PacketId, tag: Option<u64>, awaiting: Awaiting) {
        debug_assert_eq!(self.awaiting(id), Awaiting::Resend, "only an id set aside is resumed");
        let slot = self.begin(tag, awaiting);
        if let Some(at) = self.slots.get_mut(index(id)) {
            *at = slot;
            self.begun += 1;
        }
    }

    /// What is owed for this id.
    pub(super) fn awaiting(&self, id: PacketId) -> Awaiting {
        self.slots.get(index(id)).map_or(Awaiting::Nothing, |slot| slot.awaiting)
    }

    /// The broker's name for the message, if it has one.
    pub(super) fn tag(&self, id: PacketId) -> Option<u64> {
        self.slots.get(index(id)).and_then(Slot::tag)
    }

    /// The exchange is at its next step.
    pub(super) fn set(&mut self, id: PacketId, awaiting: Awaiting) {
        if let Some(slot) = self.slots.get_mut(index(id)) {
            slot.awaiting = awaiting;
        }
    }

    /// The exchange is over. Call only for an id for which something is owed. Returns the broker's name for it.
    pub(super) fn finish(&mut self, id: PacketId) -> Option<u64> {
        let slot = self.slots.get_mut(index(id))?;
        let Slot { awaiting, .. } = std::mem::replace(slot, Slot { awaiting: Awaiting::Nothing, ..*slot });
        debug_assert_ne!(awaiting, Awaiting::Nothing, "an id is freed once");
        let tag = slot.tag();
        self.begun -= usize::from(awaiting != Awaiting::Resend);
        self.free.push_back(id);
        tag
    }

    /// Packet ids and tags of QoS 1 deliveries that have a tag and no PUBACK, oldest first.
    pub(super) fn unacknowledged(&self) -> Vec<(PacketId, u64)> {
        let waiting = (1..=u16::MAX).zip(&self.slots).filter(|(_, slot)| slot.awaiting == Awaiting::PubAck);
        let mut waiting: Vec<_> = waiting
            .filter_map(|(id, slot)| {
                Some((self.sent.wrapping_sub(slot.sent), PacketId::new(id)?, slot.tag()?))
            })
            .collect();
        waiting.sort_unstable_by_key(|(age, ..)| std::cmp::Reverse(*age));
        waiting.into_iter().map(|(_, id, tag)| (id, tag)).collect()
    }

    /// Deliveries in the window.
    pub(super) fn len(&self) -> usize {
        self.begun
    }

    /// Whether another one may start, as far as the window is concerned.
    pub(super) fn has_room(&self) -> bool {
        self.begun < self.window
    }

    fn begin(&mut self, tag: Option<u64>, awaiting: Awaiting) -> Slot {
        self.sent = self.sent.wrapping_add(1);
        Slot { tag: tag.unwrap_or(0), sent: self.sent, awaiting, has_tag: tag.is_some() }
    }
}

fn index(id: PacketId) -> usize {
    usize::from(id.get() - 1)
}

/// What a delivery that is sent at once waits for.
impl From<Qos> for Awaiting {
    fn from(qos: Qos) -> Self {
        if qos == Qos::ExactlyOnce { Self::PubRec } else { Self::PubAck }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not 0")
    }

    #[test]
    fn the_window_bounds_deliveries_and_ids_take_turns() {
        let mut inflight = Inflight::new(2);
        let first = inflight.start(Some(7), Awaiting::PubAck).expect("room");
        let second = inflight.start(None, Awaiting::PubRec).expect("room");
        assert_eq!((first.get(), second.get()), (1, 2));
        assert_eq!(inflight.start(None, Awaiting::PubAck), None);
        assert_eq!(inflight.awaiting(second), Awaiting::PubRec);
        assert_eq!((inflight.finish(first), inflight.tag(second)), (Some(7), None));
        assert_eq!(inflight.len(), 1);
        assert_eq!(inflight.start(None, Awaiting::PubAck), Some(id(3)));
    }

    #[test]
    fn a_freed_id_rests_before_it_is_used_again() {
        let mut inflight = Inflight::new(1_000);
        for expected in 1..=PACKET_ID_ROTATION_MIN {
            let id = inflight.start(None, Awaiting::PubAck).expect("room");
            assert_eq!(usize::from(id.get()), expected);
            inflight.finish(id);
        }
        assert_eq!(inflight.start(None, Awaiting::PubAck), Some(PacketId::FIRST));
    }

    #[test]
    fn the_largest_window_uses_every_id() {
        let mut inflight = Inflight::new(u16::MAX);
        for _ in 0..u16::MAX {
            assert!(inflight.start(None, Awaiting::PubAck).is_some());
        }
        assert_eq!(inflight.start(None, Awaiting::PubAck), None);
        assert_eq!(inflight.len(), usize::from(u16::MAX));
    }

    #[test]
    fn ids_set_aside_take_no_room_and_go_to_nobody_else() {
        let mut inflight = Inflight::new(3);
        inflight.set_aside(&[id(2), id(4)]);
        assert_eq!(inflight.len(), 0);
        inflight.resume(id(4), Some(9), Awaiting::PubAck);
        assert_eq!(inflight.start(None, Awaiting::PubAck), Some(id(5)));
        assert_eq!(inflight.start(None, Awaiting::PubAck), Some(id(6)));
        assert!(!inflight.has_room());
        assert_eq!(inflight.finish(id(2)), None, "an id that is not resumed after all");
        assert!(!inflight.has_room());
    }

    #[test]
    fn every_id_set_aside_leaves_none_to_start_with() {
        let mut inflight = Inflight::new(3);
        inflight.set_aside(&(1..=u16::MAX).map(id).collect::<Vec<_>>());
        assert_eq!((inflight.has_room(), inflight.start(None, Awaiting::PubAck)), (true, None));
        inflight.finish(id(9));
        assert_eq!(inflight.start(None, Awaiting::PubAck), Some(id(9)));
    }

    #[test]
    fn what_was_not_acknowledged_is_told_in_the_order_of_sending() {
        let mut inflight = Inflight::new(10);
        inflight.sent = u32::MAX - 1;
        inflight.set_aside(&[id(1), id(2), id(3)]);
        for (number, tag) in [(3, Some(30)), (1, Some(10)), (2, None)] {
            inflight.resume(id(number), tag, Awaiting::PubAck);
        }
        inflight.start(Some(40), Awaiting::PubRec);
        inflight.start(Some(50), Awaiting::PubAck);
        assert_eq!(inflight.unacknowledged(), [(id(3), 30), (id(1), 10), (id(5), 50)]);
    }
}
