//! From the queue of a session to its connection, and what comes back.

use muster_schemas::{Message, Qos};

use super::{
    Record, Wanted,
    batch::Then,
    row::{self, RowKind},
    session::{Flight, OFF_LOG, Session, Stage},
    sessions::Sessions,
};
use crate::{
    effect::{Delivery, Effect},
    index::Match,
    limits::Limits,
};

impl Session {
    /// Whether the connection may have one more.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.flights.len() < limits.flights_max && self.flight_bytes < limits.flight_bytes_max
    }

    /// Notes a message that the connection is about to get. Returns its tag.
    pub(crate) fn begin_flight(&mut self, sequence: u64, qos: Qos, message: &Message) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        let bytes = message.topic.as_str().len() + message.payload.len();
        self.flight_bytes += bytes;
        let flight = Flight { sequence, qos, packet_id: None, stage: Stage::Given, bytes };
        self.flights.insert(tag, flight);
        tag
    }

    /// Gives a record to the connection, unless it has lost its meaning.
    pub(super) fn give(
        &mut self,
        record: &Record,
        found: &Match,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(to) = self.here() else { return false };
        let expires_ms = record.expires_ms();
        if expires_ms.is_some_and(|at| at <= now_ms) {
            return false;
        }
        let qos = found.qos.min(record.message.qos);
        let tag = self.begin_flight(record.sequence, qos, &record.message);
        effects.push(Effect::Deliver {
            to,
            delivery: Delivery {
                message: record.message.clone(),
                qos,
                retain: record.message.retain && found.retain_as_published,
                subscription_ids: found.subscription_ids.clone(),
                tag: Some(tag),
                resent_as: None,
                expires_ms,
            },
        });
        true
    }
}

/// What feeding one session came to.
enum Fed {
    /// It has all it may have for now.
    Enough,
    /// The budget is used up.
    Unfinished,
    /// The log has to answer first.
    Ask(Wanted),
}

impl Sessions {
    /// Whether a session waits to be fed.
    pub(crate) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Feeds sessions in turn until `budget` is used up.
    pub(crate) fn feed(&mut self, now_ms: u64, budget: &mut usize, effects: &mut Vec<Effect>) {
        while *budget > 0 {
            let Some(number) = self.line.pop_front() else { return };
            let fed = self.feed_one(number, now_ms, budget, effects);
            // Its turn costs something even if it had nothing to get; but it had it, however small the slice.
            *budget = budget.saturating_sub(1);
            match fed {
                Fed::Unfinished => self.line.push_back(number),
                Fed::Enough => {
                    if let Some(session) = self.session_mut(number) {
                        session.in_line = false;
                    }
                }
                Fed::Ask(wanted) => {
                    let Some(session) = self.session_mut(number) else { continue };
                    (session.in_line, session.reading) = (false, true);
                    let epoch = session.epoch;
                    effects.push(Effect::Read { session: number, epoch, wanted });
                }
            }
        }
    }

    fn feed_one(&mut self, number: u64, now_ms: u64, budget: &mut usize, effects: &mut Vec<Effect>) -> Fed {
        loop {
            if *budget == 0 {
                return Fed::Unfinished;
            }
            let is_fed = |session: &&Session| session.here().is_some() && !session.reading;
            let Some(session) = self.session(number).filter(is_fed) else { return Fed::Enough };
            *budget -= 1;
            if let Some(tag) = session.resend.front().copied() {
                if let Some(wanted) = self.resend(number, tag, effects) {
                    return Fed::Ask(wanted);
                }
                continue;
            }
            if !session.has_room(&self.limits) {
                return Fed::Enough;
            }
            let Some(sequence) = session.queue.front() else {
                return match session.queue.search_from() {
                    Some(from) => Fed::Ask(Wanted::From(from)),
                    None => Fed::Enough,
                };
            };
            let Some(record) = self.take_record(number, sequence) else {
                return Fed::Ask(self.next_of(number));
            };
            let Some(session) = self.session_mut(number) else { return Fed::Enough };
            session.queue.pop();
            let is_given = match record {
                // Whoever unsubscribed since does not want it any more.
                Some(record) => match session.wants(&record, record.session == Some(number), false) {
                    Some(found) if found.qos.min(record.message.qos) > Qos::AtMostOnce => {
                        let is_given = session.give(&record, &found, now_ms, effects);
                        self.messages_expired += u64::from(!is_given);
                        is_given
                    }
                    _ => false,
                },
                None => {
                    session.missed += 1;
                    self.missed += 1;
                    false
                }
            };
            if !is_given {
                self.pass_over(number, sequence, effects);
            }
            self.note_change(number, now_ms);
        }
    }

    /// Sends a flight again. Says what of the log it needs first.
    fn resend(&mut self, number: u64, tag: u64, effects: &mut Vec<Effect>) -> Option<Wanted> {
        let session = self.session(number)?;
        let Some(flight) = session.flights.get(&tag).cloned() else {
            self.session_mut(number)?.resend.pop_front();
            return None;
        };
        let (to, packet_id) = (session.here()?, flight.packet_id?);
        let mut is_lost = false;
        // What was never on the log is not sent again: whoever has it ends the exchange, and else it is as if it was lost.
        if flight.stage != Stage::Released && flight.sequence != OFF_LOG {
            match self.take_record(number, flight.sequence) {
                None => return Some(self.next_of(number)),
                Some(Some(record)) => {
                    let session = self.session_mut(number)?;
                    session.resend.pop_front();
                    let found = session.wants(&record, record.session == Some(number), false);
                    let delivery = Delivery {
                        qos: flight.qos,
                        retain: record.message.retain
                            && found.as_ref().is_some_and(|found| found.retain_as_published),
                        subscription_ids: found.map(|found| found.subscription_ids).unwrap_or_default(),
                        tag: Some(tag),
                        resent_as: Some(packet_id),
                        expires_ms: record.expires_ms(),
                        message: record.message,
                    };
                    effects.push(Effect::Deliver { to, delivery });
                    return None;
                }
                // The log no longer has it. The client may have it: the exchange is brought to its end.
                Some(None) => is_lost = true,
            }
        }
        let session = self.session_mut(number)?;
        session.resend.pop_front();
        session.missed += u64::from(is_lost);
        if flight.qos == Qos::ExactlyOnce {
            if let Some(flight) = session.flights.get_mut(&tag) {
                flight.stage = Stage::Released;
            }
            effects.push(Effect::Released { to, packet_id, tag });
        } else {
            session.flights.remove(&tag);
        }
        None
    }

    /// The record of a sequence, from what the log answered or from memory; none if the log has to be asked. What the log
    /// no longer has is `Some(None)`.
    fn take_record(&mut self, number: u64, sequence: u64) -> Option<Option<Record>> {
        if let Some(fetched) = self.session_mut(number)?.fetched.remove(&sequence) {
            return Some(fetched);
        }
        self.tail.find(sequence).cloned().map(Some)
    }

    /// What a session needs next, as many as one answer may bring.
    fn next_of(&self, number: u64) -> Wanted {
        let Some(session) = self.session(number) else { return Wanted::These(Vec::new()) };
        let again = session.resend.iter().filter_map(|tag| session.flights.get(tag));
        let again = again.filter(|flight| flight.stage != Stage::Released && flight.sequence != OFF_LOG);
        let again = again.map(|flight| flight.sequence);
        let known = |sequence: &u64| session.fetched.contains_key(sequence);
        let wanted = again.chain(session.queue.iter()).filter(|sequence| !known(sequence));
        Wanted::These(wanted.take(self.limits.read_records_max).collect())
    }

    /// The log's answer: what it has of what was asked for, and for a search the sequence before which it has seen all.
    pub(crate) fn records(
        &mut self,
        (number, epoch): (u64, u64),
        wanted: Wanted,
        records: Vec<Record>,
        next: u64,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        // What is not known to be committed yet comes by itself when it is.
        let (caught_up, next) = (self.committed + 1, next.min(self.committed + 1));
        let Some(session) = self.session_mut(number).filter(|session| session.epoch == epoch) else { return };
        session.reading = false;
        let mut passed = Vec::new();
        match wanted {
            Wanted::These(sequences) => {
                session.fetched.extend(sequences.into_iter().map(|sequence| (sequence, None)));
                session.fetched.extend(records.into_iter().map(|record| (record.sequence, Some(record))));
            }
            Wanted::From(from) => {
                let seen = from..next;
                for record in records.into_iter().filter(|record| seen.contains(&record.sequence)) {
                    let found = session.wants(&record, record.session == Some(number), true);
                    if found.is_some_and(|found| found.qos.min(record.message.qos) > Qos::AtMostOnce) {
                        session.queue.found(record.sequence);
                        session.fetched.insert(record.sequence, Some(record));
                    } else if session.assigned.contains_key(&record.sequence) {
                        passed.push(record.sequence);
                    }
                }
                session.queue.searched(Some(next).filter(|next| *next < caught_up));
            }
        }
        for sequence in passed {
            self.pass_over(number, sequence, effects);
        }
        self.note_change(number, now_ms);
        self.line_up(number);
    }

    /// A delivery is over.
    pub(crate) fn complete(&mut self, number: u64, tag: u64, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.session_mut(number) else { return };
        let Some(flight) = session.flights.remove(&tag) else { return };
        session.flight_bytes = session.flight_bytes.saturating_sub(flight.bytes);
        self.unassign(number, flight.sequence, effects);
        if let (Some(packet_id), Qos::ExactlyOnce) = (flight.packet_id, flight.qos) {
            // The queue on disk still lists it, so both rows go together.
            self.store(number, RowKind::Outbound(packet_id), None, effects);
            self.store_queue(number, effects);
        } else {
            self.note_change(number, now_ms);
        }
        self.line_up(number);
    }

    /// A QoS 2 delivery gets its packet id, before it is sent.
    pub(crate) fn bind(&mut self, number: u64, packet_id: u16, tag: u64, effects: &mut Vec<Effect>) {
        let runs_max = self.limits.queue_runs_max;
        let Some(session) = self.session_mut(number) else { return };
        let (Some(to), Some(flight)) = (session.online(), session.flights.get_mut(&tag)) else { return };
        flight.packet_id = Some(packet_id);
        flight.stage = Stage::Sent;
        let sequence = flight.sequence;
        let value = row::encode_outbound(sequence, false);
        if session.is_row_too_old(sequence, runs_max) {
            self.store_queue(number, effects);
        }
        self.store(number, RowKind::Outbound(packet_id), Some(value), effects);
        self.wait(number, Then::Say(Box::new(Effect::Bound { to, packet_id })));
    }

    /// The client has a QoS 2 message.
    pub(crate) fn release(&mut self, number: u64, packet_id: u16, tag: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.session_mut(number) else { return };
        let (Some(to), Some(flight)) = (session.online(), session.flights.get_mut(&tag)) else { return };
        flight.stage = Stage::Released;
        let value = row::encode_outbound(flight.sequence, true);
        self.store(number, RowKind::Outbound(packet_id), Some(value), effects);
        self.wait(number, Then::Say(Box::new(Effect::Released { to, packet_id, tag })));
    }

    /// A QoS 2 message of the client was taken over: its packet id stands for it until PUBREL.
    pub(crate) fn receive(&mut self, number: u64, packet_id: u16, effects: &mut Vec<Effect>) {
        let Some(session) = self.session_mut(number) else { return };
        session.received.insert(packet_id);
        self.store(number, RowKind::Inbound(packet_id), Some(Vec::new()), effects);
    }

    /// PUBREL has come.
    pub(crate) fn forget(&mut self, number: u64, packet_id: u16, effects: &mut Vec<Effect>) {
        let Some(session) = self.session_mut(number) else { return };
        let Some(to) = session.online() else { return };
        session.received.remove(&packet_id);
        self.store(number, RowKind::Inbound(packet_id), None, effects);
        self.wait(number, Then::Say(Box::new(Effect::Forgotten { to, packet_id })));
    }
}
