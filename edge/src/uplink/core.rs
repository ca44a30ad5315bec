//! When to connect, what to send, and what an answer means. Pure: no socket, no clock, no client.

use std::time::{Duration, Instant};

use super::spool::Spool;
use crate::{
    backoff::Backoff,
    limits::{
        ACKNOWLEDGE_TIME_MAX, CLOSE_TIME_MAX, FLUSH_TIME_MAX, IN_FLIGHT_READINGS_MAX, SESSION_REFUSALS_MAX,
    },
    sensors::Reading,
};

/// What the uplink is set to.
#[derive(Debug)]
pub struct Settings {
    /// Pauses between attempts to connect.
    pub backoff: Backoff,
}

/// Why a session ended or did not begin, as far as it decides what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The network or the hub; try again.
    Lost,
    /// The hub does not take the certificate.
    CertificateRefused,
    /// TLS was well, and the hub refused the session: not authorised, or banned.
    SessionRefused,
}

/// What a PUBACK says (MQTT 5 §3.4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubackVerdict {
    /// The reading is stored.
    Stored,
    /// The hub cannot now: a quota, or a failure of its own.
    Later,
    /// The hub will never take this reading.
    Never,
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// There is a certificate to present, or another one than before.
    CertificateChanged {
        /// Its number.
        generation: u64,
    },
    /// Something to publish.
    Reading(Reading),
    /// The session is open; the hub takes so many readings at a time.
    Opened {
        /// Which session.
        session: u64,
        /// Its window.
        window: u16,
    },
    /// The client has sent the next of what it was handed.
    Sent {
        /// In which session.
        session: u64,
        /// Under which packet identifier.
        packet: u16,
    },
    /// The hub has answered.
    Answered {
        /// In which session.
        session: u64,
        /// For which packet identifier.
        packet: u16,
        /// What it says.
        verdict: PubackVerdict,
    },
    /// The session is over.
    Closed {
        /// Which session.
        session: u64,
        /// Why.
        cause: Cause,
    },
    /// The program ends: send what there is, then close.
    Finish,
    /// It is time to look.
    DeadlineReached,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Open a session.
    Connect {
        /// Its number.
        session: u64,
        /// The certificate it presents.
        generation: u64,
    },
    /// Hand this to the client.
    Publish(Reading),
    /// Close the session as MQTT wants it.
    Disconnect,
    /// Drop the session as it is.
    Abandon,
    /// Tell that a session is open.
    TellOpened {
        /// The certificate it presented.
        generation: u64,
    },
    /// Tell that a reading went out.
    TellSent(Reading),
    /// Tell that a reading is stored.
    TellStored(Reading),
    /// Tell that the hub will never take a reading.
    TellRejected(Reading),
    /// Tell that readings were given up because the spool was full.
    TellDropped {
        /// How many since the start.
        total: u64,
    },
    /// Tell that the next session is tried after a pause.
    TellPause(Duration),
    /// Tell that the hub does not take the certificate.
    TellCertificateRefused {
        /// Which one.
        generation: u64,
    },
    /// Everything is sent and closed, or the time for it is over.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// There is no certificate that the hub takes.
    Idle,
    Waiting {
        until: Instant,
    },
    Opening {
        session: u64,
        generation: u64,
    },
    Open {
        session: u64,
        generation: u64,
        window: u16,
    },
    Closing {
        session: u64,
        until: Instant,
    },
}

/// The core of the uplink.
#[derive(Debug)]
pub struct Core {
    backoff: Backoff,
    spool: Spool,
    link: Link,
    /// The certificate to present, if there is one that the hub takes.
    generation: Option<u64>,
    next_session: u64,
    /// Sessions refused in a row.
    refusals: u32,
    /// Set when the program ends: until when to send.
    finish_by: Option<Instant>,
    finished: bool,
}

impl Core {
    /// Nothing to send, and no certificate to do it with.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            backoff: settings.backoff,
            spool: Spool::default(),
            link: Link::Idle,
            generation: None,
            next_session: 1,
            refusals: 0,
            finish_by: None,
            finished: false,
        }
    }

    /// Takes an input and appends what is to be done.
    pub fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::CertificateChanged { generation } => self.certificate_changed(now, generation, effects),
            Input::Reading(reading) => {
                let readings = self.spool.push(reading);
                let total = self.spool.dropped().readings;
                // A long outage is told at 1, 2, 4, 8 … readings, not at each.
                if readings > 0 && (total - readings).checked_ilog2() != total.checked_ilog2() {
                    effects.push(Effect::TellDropped { total });
                }
            }
            Input::Opened { session, window } => self.opened(session, window, effects),
            Input::Sent { session, packet } => {
                if self.session() == Some(session)
                    && let Some(reading) = self.spool.sent(packet)
                {
                    effects.push(Effect::TellSent(reading.clone()));
                }
            }
            Input::Answered { session, packet, verdict } => {
                self.answered(now, session, packet, verdict, effects)
            }
            Input::Closed { session, cause } => self.closed(now, session, cause, effects),
            Input::Finish => {
                self.finish_by.get_or_insert(now + FLUSH_TIME_MAX);
            }
            Input::DeadlineReached => {}
        }
        self.look_at_deadlines(now, effects);
        self.send(now, effects);
        self.look_at_the_end(now, effects);
    }

    /// When to look again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let link = match self.link {
            Link::Waiting { until } | Link::Closing { until, .. } => Some(until),
            Link::Open { .. } => self.spool.under_way_since().map(|since| since + ACKNOWLEDGE_TIME_MAX),
            Link::Idle | Link::Opening { .. } => None,
        };
        link.into_iter().chain(self.finish_by).min()
    }

    /// The readings that are kept.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    fn session(&self) -> Option<u64> {
        match self.link {
            Link::Idle | Link::Waiting { .. } => None,
            Link::Opening { session, .. } | Link::Open { session, .. } | Link::Closing { session, .. } => {
                Some(session)
            }
        }
    }

    fn certificate_changed(&mut self, now: Instant, generation: u64, effects: &mut Vec<Effect>) {
        self.generation = Some(generation);
        self.refusals = 0;
        self.backoff.reset();
        match self.link {
            Link::Idle | Link::Waiting { .. } => self.link = Link::Waiting { until: now },
            // It may have begun with the old one.
            Link::Opening { .. } => {
                effects.push(Effect::Abandon);
                self.spool.take_back();
                self.link = Link::Waiting { until: now };
            }
            Link::Open { session, .. } => {
                effects.push(Effect::Disconnect);
                self.link = Link::Closing { session, until: now + CLOSE_TIME_MAX };
            }
            Link::Closing { .. } => {}
        }
    }

    fn opened(&mut self, session: u64, window: u16, effects: &mut Vec<Effect>) {
        let Link::Opening { session: ours, generation } = self.link else { return };
        if ours == session {
            self.refusals = 0;
            self.link = Link::Open { session, generation, window: window.clamp(1, IN_FLIGHT_READINGS_MAX) };
            effects.push(Effect::TellOpened { generation });
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        session: u64,
        packet: u16,
        verdict: PubackVerdict,
        effects: &mut Vec<Effect>,
    ) {
        if self.session() != Some(session) {
            return;
        }
        if verdict == PubackVerdict::Later {
            // Everything unsettled is sent again after a pause; the hub needs one.
            self.leave(now, effects);
            return;
        }
        let Some(reading) = self.spool.settle(packet) else { return };
        // Only now is the hub known to work.
        self.backoff.reset();
        effects.push(match verdict {
            PubackVerdict::Stored => Effect::TellStored(reading),
            PubackVerdict::Never | PubackVerdict::Later => Effect::TellRejected(reading),
        });
    }

    fn closed(&mut self, now: Instant, session: u64, cause: Cause, effects: &mut Vec<Effect>) {
        if self.session() != Some(session) {
            return;
        }
        self.spool.take_back();
        let presented = match self.link {
            Link::Opening { generation, .. } | Link::Open { generation, .. } => Some(generation),
            Link::Closing { .. } => {
                // We wanted it: go on at once.
                self.link = Link::Waiting { until: now };
                return;
            }
            Link::Idle | Link::Waiting { .. } => None,
        };
        self.refusals = if cause == Cause::SessionRefused { self.refusals.saturating_add(1) } else { 0 };
        if cause == Cause::CertificateRefused || self.refusals >= SESSION_REFUSALS_MAX {
            self.refusals = 0;
            // Another certificate has come meanwhile, or will.
            if self.generation == presented {
                self.generation = None;
            }
            if let Some(generation) = presented {
                effects.push(Effect::TellCertificateRefused { generation });
            }
        }
        self.pause(now, effects);
    }

    /// Drops the session and tries again after a pause.
    fn leave(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Abandon);
        self.spool.take_back();
        self.pause(now, effects);
    }

    fn pause(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.generation.is_none() {
            self.link = Link::Idle;
            return;
        }
        let pause = self.backoff.next_pause();
        effects.push(Effect::TellPause(pause));
        self.link = Link::Waiting { until: now + pause };
    }

    fn look_at_deadlines(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Closing { until, .. } if until <= now => {
                effects.push(Effect::Abandon);
                self.spool.take_back();
                self.link = Link::Waiting { until: now };
            }
            Link::Open { .. } => {
                let since = self.spool.under_way_since();
                if since.is_some_and(|since| since + ACKNOWLEDGE_TIME_MAX <= now) {
                    self.leave(now, effects);
                }
            }
            _ => {}
        }
        let Link::Waiting { until } = self.link else { return };
        // A program that ends opens no session any more.
        if let Some(generation) = self.generation
            && until <= now
            && self.finish_by.is_none()
        {
            let session = self.next_session;
            self.next_session += 1;
            self.link = Link::Opening { session, generation };
            effects.push(Effect::Connect { session, generation });
        }
    }

    fn send(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Link::Open { window, .. } = self.link else { return };
        while self.spool.under_way() < usize::from(window)
            && let Some(reading) = self.spool.hand(now)
        {
            effects.push(Effect::Publish(reading));
        }
    }

    fn look_at_the_end(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(by) = self.finish_by else { return };
        if self.finished {
            return;
        }
        match self.link {
            Link::Open { session, .. } if self.spool.is_empty() || by <= now => {
                effects.push(Effect::Disconnect);
                self.link = Link::Closing { session, until: now + CLOSE_TIME_MAX };
                self.finish_by = Some(now + CLOSE_TIME_MAX);
            }
            Link::Open { .. } => {}
            Link::Opening { .. } | Link::Closing { .. } if by > now => {}
            Link::Opening { .. } | Link::Closing { .. } | Link::Idle | Link::Waiting { .. } => {
                self.finished = true;
                effects.push(Effect::Finished);
            }
        }
    }
}

#[cfg(test)]
mod tests;
