//! Enhanced authentication (MQTT 5 §4.12): AUTH packets between the client and a broker that knows the method. What the
//! data means is theirs alone; whose turn it is, and that the method stays the same, is decided here.

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Admit, Authenticate, CloseReason, Effects, Phase, Request, Session, connect::Admitting, timer::Timer,
};
use crate::{
    packet::{Auth, Packet},
    reason::ReasonCode,
};

/// Where in an exchange the client's data belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationStep {
    /// CONNECT: the first.
    First,
    /// AUTH with 0x18: the next.
    Next,
    /// AUTH with 0x19: the first again, in a session that goes on meanwhile.
    Again,
}

/// The broker's answer to [`Request::Authenticate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationOutcome {
    /// The client has more to say.
    Continue {
        /// For the client.
        data: Option<Bytes>,
    },
    /// The client is who it says it is.
    Success {
        /// For the client, with CONNACK or with the last AUTH.
        data: Option<Bytes>,
    },
    /// It is not: the connection closes.
    Refused {
        /// The code it is told.
        code: ReasonCode,
        /// Why.
        reason: Option<String>,
    },
}

/// A session whose client named a method.
#[derive(Debug)]
pub(super) struct Authentication {
    method: ByteString,
    turn: Turn,
    /// For CONNACK.
    data: Option<Bytes>,
}

/// Who is to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nobody: no exchange is going on.
    None,
    Client,
    Broker,
}

/// What is kept between CONNECT and the end of its exchange.
#[derive(Debug)]
pub(super) struct Authenticating {
    pub(super) admitting: Box<Admitting>,
    pub(super) admit: Box<Admit>,
}

impl Session {
    /// CONNECT named a method that the broker knows.
    pub(super) fn authenticate(
        &mut self,
        method: ByteString,
        data: Option<Bytes>,
        authenticating: Authenticating,
        effects: &mut Effects,
    ) {
        self.phase = Phase::Authenticating(Box::new(authenticating));
        let authentication = Authentication { method: method.clone(), turn: Turn::Broker, data: None };
        self.authentication = Some(Box::new(authentication));
        let step = AuthenticationStep::First;
        effects.requests.push(Request::Authenticate(Box::new(Authenticate { method, data, step })));
    }

    /// Whether the client may send nothing but AUTH and DISCONNECT until CONNACK [MQTT-3.1.2-30].
    pub(super) fn is_authenticated(&self) -> bool {
        self.authentication.is_some()
    }

    /// AUTH.
    pub(super) fn auth(&mut self, now: Instant, auth: Auth, effects: &mut Effects) {
        let is_connected = self.is_connected();
        let Some(authentication) = self.authentication.as_deref_mut() else {
            // [MQTT-4.12.0-7].
            return self.violation("AUTH where CONNECT had no authentication method", effects);
        };
        if auth.method.as_ref() != Some(&authentication.method) {
            // [MQTT-4.12.0-5], [MQTT-4.12.1-1].
            return self.violation("AUTH with another authentication method than CONNECT", effects);
        }
        let step = match (auth.code, authentication.turn) {
            (ReasonCode::ContinueAuthentication, Turn::Client) => AuthenticationStep::Next,
            (ReasonCode::ReAuthenticate, Turn::None) if is_connected => {
                let deadline = now + self.options.limits.connect_time_max();
                self.timers.set(Timer::Authentication, Some(deadline));
                AuthenticationStep::Again
            }
            _ => return self.violation("AUTH out of turn", effects),
        };
        authentication.turn = Turn::Broker;
        let method = authentication.method.clone();
        let authenticate = Authenticate { method, data: auth.data, step };
        effects.requests.push(Request::Authenticate(Box::new(authenticate)));
    }

    /// The broker's answer. One that nobody waits for is ignored.
    pub(super) fn authenticated(&mut self, outcome: AuthenticationOutcome, effects: &mut Effects) {
        let is_connected = self.is_connected();
        let Some(authentication) = self.authentication.as_deref_mut() else {
            return;
        };
        if authentication.turn != Turn::Broker {
            return;
        }
        let method = authentication.method.clone();
        match outcome {
            AuthenticationOutcome::Continue { data } => {
                authentication.turn = Turn::Client;
                self.send_auth(ReasonCode::ContinueAuthentication, method, data, effects);
            }
            AuthenticationOutcome::Success { data } if is_connected => {
                authentication.turn = Turn::None;
                self.timers.set(Timer::Authentication, None);
                self.send_auth(ReasonCode::Success, method, data, effects);
            }
            AuthenticationOutcome::Success { data } => {
                authentication.turn = Turn::None;
                authentication.data = data;
                // The phase is `Authenticating`: no other without a connected client waits for the broker here.
                let phase = std::mem::replace(&mut self.phase, Phase::Connecting);
                if let Phase::Authenticating(authenticating) = phase {
                    let Authenticating { admitting, admit } = *authenticating;
                    self.phase = Phase::Admitting(admitting);
                    effects.requests.push(Request::Admit(admit));
                }
            }
            AuthenticationOutcome::Refused { code, reason } => {
                self.close(CloseReason::Refused { code, reason }, effects);
            }
        }
    }

    /// Method and data for CONNACK, which carries them where CONNECT named a method.
    pub(super) fn take_authentication(&mut self) -> (Option<ByteString>, Option<Bytes>) {
        match self.authentication.as_deref_mut() {
            Some(authentication) => (Some(authentication.method.clone()), authentication.data.take()),
            None => (None, None),
        }
    }

    /// AUTH, where the client takes a packet of its size; where not, the exchange cannot go on.
    fn send_auth(
        &mut self,
        code: ReasonCode,
        method: ByteString,
        data: Option<Bytes>,
        effects: &mut Effects,
    ) {
        let auth = Auth { code, method: Some(method), data, reason: None, user_properties: Vec::new() };
        let packet = Packet::Auth(auth);
        if self.fits(&packet) {
            return self.send(&packet, effects);
        }
        let reason = Some("an AUTH packet would be larger than the client takes".to_owned());
        self.close(CloseReason::Refused { code: ReasonCode::PacketTooLarge, reason }, effects);
    }
}
