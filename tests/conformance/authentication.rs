//! Enhanced authentication (MQTT 5 §4.12), which a broker takes part in only if it knows a method. Ours knows none, so
//! here the session core has another one at its side, byte for byte.

use std::time::Instant;

use muster_mqtt::{
    Admission, AuthenticationOutcome, Connection, Effects, Input, PacketLimits, Request, SessionOptions,
};

use crate::vector::bytes;

/// CONNECT of `d1` with the method `m` and the data `1`.
const CONNECT: &str = "10 17 00 04 'MQTT' 05 02 00 3c 08 15 00 01 'm' 16 00 01 '1' 00 02 'd1'";
/// CONNACK that names the method.
const CONNACK: &str = "20 12 00 00 0f 21 04 00 27 00 04 00 00 22 00 10 15 00 01 'm'";

/// A session core, and a broker that says what a test tells it to.
struct Exchange {
    connection: Connection,
    effects: Effects,
    now: Instant,
}

impl Exchange {
    #[expect(clippy::disallowed_methods, reason = "an Instant to count from; its value never matters")]
    fn open() -> Self {
        let now = Instant::now();
        let options =
            SessionOptions { authentication_methods: ["m".into()].into(), ..SessionOptions::default() };
        let connection = Connection::new(PacketLimits::default(), options, now);
        Self { connection, effects: Effects::default(), now }
    }

    /// What the client sends must be a question to the broker, which answers this.
    fn asks(&mut self, send: &str, outcome: AuthenticationOutcome) -> Vec<u8> {
        self.connection.receive(self.now, &bytes(send), &mut self.effects);
        let asked = std::mem::take(&mut self.effects.requests);
        assert!(matches!(asked.as_slice(), [Request::Authenticate { .. }]), "{asked:?}");
        self.connection.handle(self.now, Input::Authenticated(outcome), &mut self.effects);
        for request in std::mem::take(&mut self.effects.requests) {
            if let Request::Admit(admit) = request {
                let admission = Admission::new(admit.client_id.expect("it has said so"));
                self.connection.handle(self.now, Input::Admitted(admission), &mut self.effects);
            } else {
                self.effects.requests.push(request);
            }
        }
        self.effects.outgoing.take_chunks().concat()
    }

    fn is_closed(&self) -> bool {
        self.effects.requests.iter().any(|request| matches!(request, Request::Close(_)))
    }
}

fn goes_on() -> AuthenticationOutcome {
    AuthenticationOutcome::Continue { data: Some("2".into()) }
}

fn succeeds() -> AuthenticationOutcome {
    AuthenticationOutcome::Success { data: None }
}

fn fails() -> AuthenticationOutcome {
    let (code, reason) = (muster_mqtt::ReasonCode::NotAuthorized, None);
    AuthenticationOutcome::Refused { code, reason }
}

/// AUTH with 0x18, and the method in it and in CONNACK [MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1]; it has neither a
/// reason string nor user properties that could make it too large [MQTT-3.15.2-2] [MQTT-3.15.2-3].
#[test]
fn the_server_asks_for_more_and_then_lets_in() {
    let mut exchange = Exchange::open();
    let asked = exchange.asks(CONNECT, goes_on());
    assert_eq!(asked, bytes("f0 0a 18 08 15 00 01 'm' 16 00 01 '2'"));
    let let_in = exchange.asks("f0 0a 18 08 15 00 01 'm' 16 00 01 '3'", succeeds());
    assert_eq!(let_in, bytes(CONNACK));
    assert!(!exchange.is_closed());
}

/// [MQTT-4.12.0-4]
#[test]
fn who_fails_while_connecting_is_refused_at_any_point() {
    let mut exchange = Exchange::open();
    assert_eq!(exchange.asks(CONNECT, fails()), bytes("20 03 00 87 00"));
    assert!(exchange.is_closed());
    let mut exchange = Exchange::open();
    exchange.asks(CONNECT, goes_on());
    let refused = exchange.asks("f0 0a 18 08 15 00 01 'm' 16 00 01 '3'", fails());
    assert_eq!(refused, bytes("20 03 00 87 00"));
    assert!(exchange.is_closed());
}

/// [MQTT-4.12.1-1] [MQTT-4.12.1-2] [MQTT-3.15.2-1]
#[test]
fn a_session_authenticates_again_and_ends_when_that_fails() {
    let mut exchange = Exchange::open();
    exchange.asks(CONNECT, succeeds());
    let again = "f0 0a 19 08 15 00 01 'm' 16 00 01 '1'";
    assert_eq!(exchange.asks(again, goes_on()), bytes("f0 0a 18 08 15 00 01 'm' 16 00 01 '2'"));
    let done = exchange.asks("f0 0a 18 08 15 00 01 'm' 16 00 01 '3'", succeeds());
    assert_eq!(done, bytes("f0 06 00 04 15 00 01 'm'"));
    assert_eq!(exchange.asks(again, fails()), bytes("e0 01 87"));
    assert!(exchange.is_closed());
}
