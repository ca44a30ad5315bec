//! Messages of the client that wait for the broker's answer, in the order in which they came, so that their
//! acknowledgements leave in that order whatever order the answers come in [MQTT-4.6.0-2], [MQTT-4.6.0-3].

use std::collections::VecDeque;

use muster_schemas::Qos;

use crate::{packet::PacketId, reason::ReasonCode};

/// A message between its PUBLISH and our PUBACK or PUBREC. Small, because some clients have thousands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) packet_id: PacketId,
    pub(super) qos: Qos,
    answer: Option<ReasonCode>,
}

/// An acknowledgement that may leave now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) packet_id: PacketId,
    pub(super) qos: Qos,
    pub(super) code: ReasonCode,
    pub(super) reason: Option<String>,
}

/// The queue of them. Its length is bounded by the Receive Maximum, and in 3.1.1 by the number of packet ids.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    queue: VecDeque<Arrival>,
    /// Whether each id is the next of the one before; nearly every client does that, and it makes finding cheap.
    scattered: bool,
    /// Words for refusals further back in the queue; nearly always empty.
    reasons: Option<Box<Reasons>>,
}

/// What is to be said to a client about its messages. Few ever hear any of it.
#[derive(Debug, Default)]
struct Reasons(Vec<(PacketId, String)>);

impl Reasons {
    fn take(&mut self, packet_id: PacketId) -> Option<String> {
        let index = self.0.iter().position(|(id, _)| *id == packet_id)?;
        Some(self.0.swap_remove(index).1)
    }
}

impl Arrivals {
    pub(super) fn push(&mut self, packet_id: PacketId, qos: Qos) {
        self.scattered = match self.queue.back() {
            Some(last) => self.scattered || last.packet_id.next() != packet_id,
            None => false,
        };
        self.queue.push_back(Arrival { packet_id, qos, answer: None });
    }

    /// Notes the broker's answer. Whether anything waited for it.
    pub(super) fn answer(&mut self, packet_id: PacketId, code: ReasonCode, reason: Option<String>) -> bool {
        let Some(arrival) = self.position(packet_id).and_then(|index| self.queue.get_mut(index)) else {
            return false;
        };
        if arrival.answer.is_some() {
            return false;
        }
        arrival.answer = Some(code);
        if let Some(reason) = reason {
            self.say(packet_id, reason);
        }
        true
    }

    /// Words for an answer that is still to come; those of the answer itself, if it has any, go before them.
    pub(super) fn remark(&mut self, packet_id: PacketId, reason: String) {
        if self.find(packet_id).is_some_and(|arrival| arrival.answer.is_none()) {
            self.say(packet_id, reason);
        }
    }

    fn say(&mut self, packet_id: PacketId, reason: String) {
        let reasons = self.reasons.get_or_insert_default();
        // One for each message, so that they are bounded as these are.
        reasons.take(packet_id);
        reasons.0.push((packet_id, reason));
    }

    /// The next acknowledgement in order, if its answer is there.
    pub(super) fn pop_answered(&mut self) -> Option<Answered> {
        let Arrival { packet_id, qos, answer } = *self.queue.front()?;
        let code = answer?;
        self.queue.pop_front();
        let reason = self.reasons.as_mut().and_then(|reasons| reasons.take(packet_id));
        Some(Answered { packet_id, qos, code, reason })
    }

    pub(super) fn find(&self, packet_id: PacketId) -> Option<Arrival> {
        self.position(packet_id).and_then(|index| self.queue.get(index)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn position(&self, packet_id: PacketId) -> Option<usize> {
        if self.scattered {
            return self.queue.iter().position(|arrival| arrival.packet_id == packet_id);
        }
        let index = packet_id.distance_from(self.queue.front()?.packet_id);
        (index < self.queue.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not 0")
    }

    fn order(ids: &[u16], answers: &[u16]) -> Vec<u16> {
        let mut arrivals = Arrivals::default();
        for number in ids {
            assert!(arrivals.find(id(*number)).is_none());
            arrivals.push(id(*number), Qos::AtLeastOnce);
        }
        let mut left = Vec::new();
        for number in answers {
            assert!(arrivals.answer(id(*number), ReasonCode::Success, None));
            assert!(!arrivals.answer(id(*number), ReasonCode::Success, None), "answers once");
            while let Some(answered) = arrivals.pop_answered() {
                left.push(answered.packet_id.get());
            }
        }
        left
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_arrival() {
        assert_eq!(order(&[65_534, 65_535, 1, 2], &[2, 1, 65_534, 65_535]), [65_534, 65_535, 1, 2]);
        assert_eq!(order(&[9, 4, 7], &[7, 4, 9]), [9, 4, 7]);
        assert_eq!(order(&[5], &[5]), [5]);
    }

    #[test]
    fn a_refusal_keeps_its_words_until_its_turn() {
        let mut arrivals = Arrivals::default();
        arrivals.push(id(1), Qos::AtLeastOnce);
        arrivals.push(id(2), Qos::ExactlyOnce);
        assert!(arrivals.answer(id(2), ReasonCode::NotAuthorized, Some("no".to_owned())));
        assert_eq!(arrivals.pop_answered(), None);
        assert!(arrivals.answer(id(1), ReasonCode::Success, None));
        assert_eq!(arrivals.pop_answered().map(|answered| answered.reason), Some(None));
        assert_eq!(arrivals.pop_answered().and_then(|answered| answered.reason).as_deref(), Some("no"));
    }
}
