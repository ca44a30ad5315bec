//! SUBSCRIBE and UNSUBSCRIBE on their way to the broker and back.

use muster_schemas::Qos;

use super::{CloseReason, Effects, Request, Session, SubscriptionRequest, received::Found};
use crate::{
    limits::{REASON_BYTES_MAX, SUBSCRIBES_PENDING_MAX},
    packet::{Packet, PacketId, PacketType, SubAck, Subscribe, UnsubAck, Unsubscribe},
    primitive::cut,
    reason::ReasonCode,
    version::Version,
};

/// A SUBSCRIBE or UNSUBSCRIBE that waits for the broker.
#[derive(Debug)]
pub(super) struct Pending {
    packet_id: PacketId,
    packet: PacketType,
    /// Filters in the client's packet.
    filters: usize,
}

impl Session {
    /// SUBSCRIBE.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, effects: &mut Effects) {
        let Subscribe { packet_id, subscription_id, filters, .. } = subscribe;
        let count = filters.len();
        if self.may_start(PacketType::Subscribe, packet_id, count, effects) {
            self.pending.push(Pending { packet_id, packet: PacketType::Subscribe, filters: count });
            let filters = filters
                .into_iter()
                .map(|(filter, options)| SubscriptionRequest { filter, options, subscription_id })
                .collect();
            effects.requests.push(Request::Subscribe { packet_id, filters });
        }
    }

    /// The broker's answer to SUBSCRIBE.
    pub(super) fn subscribed(
        &mut self,
        packet_id: PacketId,
        outcomes: Vec<Result<Qos, ReasonCode>>,
        reason: Option<String>,
        effects: &mut Effects,
    ) {
        let Some(pending) = self.take_pending(PacketType::Subscribe, packet_id) else {
            return;
        };
        debug_assert_eq!(outcomes.len(), pending.filters, "one outcome per filter");
        let codes = outcomes.into_iter().map(|outcome| match outcome {
            Ok(granted) => granted.into(),
            Err(code) => failure(code, PacketType::SubAck),
        });
        let mut codes: Vec<ReasonCode> = codes.collect();
        codes.resize(pending.filters, ReasonCode::UnspecifiedError);
        let reason = reason.filter(|_| self.wants_reasons).map(|text| cut(&text, REASON_BYTES_MAX).into());
        let mut suback = SubAck { packet_id, codes, reason, user_properties: Vec::new() };
        if suback.reason.is_some() && !self.fits(&Packet::SubAck(suback.clone())) {
            suback.reason = None;
        }
        self.send(&Packet::SubAck(suback), effects);
    }

    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe, effects: &mut Effects) {
        let Unsubscribe { packet_id, filters, .. } = unsubscribe;
        let count = filters.len();
        if self.may_start(PacketType::Unsubscribe, packet_id, count, effects) {
            let packet = PacketType::Unsubscribe;
            self.pending.push(Pending { packet_id, packet, filters: count });
            effects.requests.push(Request::Unsubscribe { packet_id, filters });
        }
    }

    /// The broker's answer to UNSUBSCRIBE.
    pub(super) fn unsubscribed(&mut self, id: PacketId, outcomes: Vec<ReasonCode>, effects: &mut Effects) {
        let Some(pending) = self.take_pending(PacketType::Unsubscribe, id) else {
            return;
        };
        debug_assert_eq!(outcomes.len(), pending.filters, "one outcome per filter");
        let mut codes: Vec<ReasonCode> =
            outcomes.into_iter().map(|code| failure(code, PacketType::UnsubAck)).collect();
        codes.resize(pending.filters, ReasonCode::UnspecifiedError);
        self.send_unsuback(id, codes, effects);
    }

    /// Whether a request may go to the broker: its id is not in use, and not too many wait already.
    fn may_start(&mut self, packet: PacketType, id: PacketId, filters: usize, effects: &mut Effects) -> bool {
        if self.pending.len() >= SUBSCRIBES_PENDING_MAX {
            let (messages, bytes) = (self.pending.len(), 0);
            self.close(CloseReason::QueueFull { queue: "subscribe", messages, bytes }, effects);
            return false;
        }
        let in_use = self.pending.iter().any(|pending| pending.packet_id == id)
            || self.arrivals.find(id).is_some()
            || self.received.find(id) != Found::Nothing;
        if !in_use {
            return true;
        }
        let codes = vec![ReasonCode::PacketIdentifierInUse; filters];
        match (self.version, packet) {
            (Version::V311, _) => self.violation("a packet identifier in use", effects),
            (Version::V5, PacketType::Subscribe) => {
                let suback = SubAck { packet_id: id, codes, reason: None, user_properties: Vec::new() };
                self.send(&Packet::SubAck(suback), effects);
            }
            (Version::V5, _) => self.send_unsuback(id, codes, effects),
        }
        false
    }

    fn take_pending(&mut self, packet: PacketType, id: PacketId) -> Option<Pending> {
        let index =
            self.pending.iter().position(|pending| pending.packet_id == id && pending.packet == packet)?;
        Some(self.pending.remove(index))
    }

    fn send_unsuback(&mut self, packet_id: PacketId, codes: Vec<ReasonCode>, effects: &mut Effects) {
        let unsuback = UnsubAck { packet_id, codes, reason: None, user_properties: Vec::new() };
        self.send(&Packet::UnsubAck(unsuback), effects);
    }
}

/// A code that may stand in this type of packet.
fn failure(code: ReasonCode, packet: PacketType) -> ReasonCode {
    code.allowed_in_or(packet, ReasonCode::UnspecifiedError)
}
