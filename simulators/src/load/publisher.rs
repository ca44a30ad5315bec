//! One publisher: what it may send now, and what of it was acknowledged.

use std::time::Duration;

use super::{
    LoadError,
    ledger::Stamp,
    link::Link,
    wire::{self, Packet, Template, kind},
};

/// Bytes that may wait for a socket before its publisher waits too.
const OUTBOX_BYTES_MAX: usize = 64 * 1_024;

/// A publisher and its connection.
pub struct Publisher {
    /// Its connection.
    pub link: Link,
    run: u32,
    number: u32,
    qos: u8,
    window: u16,
    template: Template,
    /// Messages sent, which is the number of the next.
    sent: u64,
    /// Of these without acknowledgement.
    unacknowledged: u16,
    last_id: u16,
    /// Messages that the schedule wants sent by now.
    due: u64,
    /// The broker, not the schedule, kept it from sending what is due.
    held_back: bool,
}

/// When messages are due at a fixed rate: message `n` of publisher `p` at `(n * publishers + p) * gap`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// From one message to the next.
    pub gap: Duration,
    /// How many publishers take turns.
    pub publishers: u32,
}

impl Schedule {
    /// When a message is due, in nanoseconds after the schedule's beginning.
    pub fn due_ns(&self, publisher: u32, number: u64) -> u64 {
        let place = number * u64::from(self.publishers) + u64::from(publisher);
        let gap = u64::try_from(self.gap.as_nanos()).unwrap_or(u64::MAX);
        place.saturating_mul(gap)
    }

    /// How many messages of this publisher are due at a time.
    pub fn due_by(&self, publisher: u32, at_ns: u64) -> u64 {
        let gap = u64::try_from(self.gap.as_nanos()).unwrap_or(u64::MAX).max(1);
        (at_ns / gap + u64::from(self.publishers)).saturating_sub(u64::from(publisher))
            / u64::from(self.publishers)
    }
}

impl Publisher {
    /// A publisher that has sent nothing.
    pub fn new(link: Link, run: u32, number: u32, qos: u8, window: u16, template: Template) -> Self {
        let (sent, unacknowledged, last_id, due, held_back) = (0, 0, 0, 0, false);
        Self { link, run, number, qos, window, template, sent, unacknowledged, last_id, due, held_back }
    }

    /// How many it has sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether all that it sent is acknowledged, or need not be.
    pub fn is_settled(&self) -> bool {
        self.unacknowledged == 0 && !self.link.has_output()
    }

    /// How many messages its window and its socket have room for.
    pub fn room(&self) -> u64 {
        let bytes = OUTBOX_BYTES_MAX.saturating_sub(self.link.output_bytes());
        let room = u64::try_from(bytes.div_ceil(self.template.packet_bytes())).unwrap_or(u64::MAX);
        match self.qos {
            0 => room,
            _ => room.min(u64::from(self.window.saturating_sub(self.unacknowledged))),
        }
    }

    /// Puts so many messages into the outbox.
    pub fn send(&mut self, count: u64, at_ns: u64) {
        for _ in 0..count {
            self.put(at_ns);
        }
    }

    /// Puts what is due by `at_ns` into the outbox; gives how late the generator itself was with the first of it.
    ///
    /// A message that the broker kept waiting is stamped with the time when it was due, so that a stall shows in each
    /// message that it delays. One that the generator is late with is stamped when it goes.
    pub fn send_due(&mut self, schedule: Schedule, begun_ns: u64, at_ns: u64) -> Option<u64> {
        self.due = schedule.due_by(self.number, at_ns.saturating_sub(begun_ns));
        let mut late = None;
        while self.sent < self.due {
            let due_ns = begun_ns + schedule.due_ns(self.number, self.sent);
            if self.room() == 0 {
                self.held_back = true;
                return late;
            }
            if self.held_back {
                self.put(due_ns);
            } else {
                late = late.or(Some(at_ns.saturating_sub(due_ns)));
                self.put(at_ns);
            }
        }
        self.held_back = false;
        late
    }

    fn put(&mut self, at_ns: u64) {
        if self.qos > 0 {
            self.unacknowledged += 1;
            self.last_id = self.last_id % 60_000 + 1;
        }
        let stamp = Stamp { run: self.run, publisher: self.number, number: self.sent, at_ns };
        self.template.write(&mut self.link.outbox, self.last_id, &stamp.to_bytes());
        self.sent += 1;
    }

    /// Takes what the broker answered; gives how many messages that settled.
    ///
    /// # Errors
    /// It refused a message, or sent what has no place here.
    pub fn hear(unacknowledged: &mut u16, packet: &Packet<'_>, out: &mut Vec<u8>) -> Result<(), LoadError> {
        match packet.kind {
            kind::PUBACK | kind::PUBCOMP | kind::PUBREC => {
                let (packet_id, code) = packet.acknowledgement()?;
                if code >= 0x80 {
                    return Err(LoadError::Refused { what: "a message", code });
                }
                if packet.kind == kind::PUBREC {
                    wire::acknowledge(out, kind::PUBREL, packet_id);
                } else {
                    *unacknowledged = unacknowledged.saturating_sub(1);
                }
                Ok(())
            }
            kind::DISCONNECT => Err(LoadError::Refused { what: "to go on", code: packet.reason() }),
            kind::PINGRESP => Ok(()),
            other => Err(LoadError::Unexpected(other)),
        }
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// As [`Publisher::hear`], or the connection failed.
    pub fn read(&mut self, scratch: &mut super::link::Scratch) -> Result<(), LoadError> {
        let unacknowledged = &mut self.unacknowledged;
        self.link.read(scratch, |bytes, out| -> Result<(), LoadError> {
            while let Some(packet) = wire::take(bytes)? {
                Self::hear(unacknowledged, &packet, out)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_gives_each_publisher_its_turn() {
        let schedule = Schedule { gap: Duration::from_nanos(100), publishers: 3 };
        let due = |at| [0, 1, 2].map(|publisher| schedule.due_by(publisher, at));
        assert_eq!(due(0), [1, 0, 0]);
        assert_eq!(due(99), [1, 0, 0]);
        assert_eq!(due(100), [1, 1, 0]);
        assert_eq!(due(250), [1, 1, 1]);
        assert_eq!(due(300), [2, 1, 1]);
        assert_eq!([schedule.due_ns(0, 0), schedule.due_ns(1, 0), schedule.due_ns(0, 2)], [0, 100, 600]);
    }
}
