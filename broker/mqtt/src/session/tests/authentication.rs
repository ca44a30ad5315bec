//! AUTH exchanges, redirection, and what CONNACK says.

use bytestring::ByteString;

use super::*;
use crate::packet::Auth;

fn of_method(method: &'static str) -> ConnectProperties {
    ConnectProperties {
        authentication_method: Some(method.into()),
        authentication_data: Some(Bytes::from_static(b"ping")),
        ..ConnectProperties::default()
    }
}

fn auth(code: ReasonCode, data: &'static str) -> Packet {
    Packet::Auth(Auth {
        code,
        method: Some("ping-pong".into()),
        data: Some(Bytes::from_static(data.as_bytes())),
        reason: None,
        user_properties: UserProperties::new(),
    })
}

fn judge(data: &'static str, step: AuthenticationStep) -> Request {
    let data = Some(Bytes::from_static(data.as_bytes()));
    Request::Authenticate(Box::new(Authenticate { method: "ping-pong".into(), data, step }))
}

fn goes_on(data: &'static str) -> Input {
    Input::Authenticated(AuthenticationOutcome::Continue { data: Some(Bytes::from_static(data.as_bytes())) })
}

fn succeeds(data: &'static str) -> Input {
    Input::Authenticated(AuthenticationOutcome::Success { data: Some(Bytes::from_static(data.as_bytes())) })
}

fn fails() -> Input {
    Input::Authenticated(AuthenticationOutcome::Refused { code: ReasonCode::NotAuthorized, reason: None })
}

fn admission() -> Admission {
    Admission::new("d1".parse().expect("valid"))
}

/// A client whose CONNECT waits for the broker's judgement.
fn asking() -> Story {
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V5, of_method("ping-pong")));
    assert_eq!(story.requests(), [judge("ping", AuthenticationStep::First)]);
    story
}

/// A client that has proved who it is.
fn authenticated() -> Story {
    let mut story = asking();
    story.happens(succeeds("")).happens(Input::Admitted(admission()));
    assert!(story.session.is_connected());
    story.answer();
    story.requests();
    story
}

#[test]
fn an_exchange_ends_with_connack() {
    let mut story = asking();
    assert_eq!(story.happens(goes_on("pong")).answer(), [auth(ReasonCode::ContinueAuthentication, "pong")]);
    story.client_sends(auth(ReasonCode::ContinueAuthentication, "ping 2"));
    assert_eq!(story.requests(), [judge("ping 2", AuthenticationStep::Next)]);
    story.happens(succeeds("welcome"));
    assert!(matches!(story.requests().as_slice(), [Request::Admit(_)]));
    let answer = story.happens(Input::Admitted(admission())).answer();
    let [Packet::ConnAck(connack)] = answer.as_slice() else { panic!("a CONNACK: {answer:?}") };
    assert_eq!(connack.properties.authentication_method.as_deref(), Some("ping-pong"));
    assert_eq!(connack.properties.authentication_data.as_deref(), Some(b"welcome".as_slice()));
}

#[test]
fn a_method_that_nobody_knows_is_refused_with_0x8c() {
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V5, of_method("SCRAM")));
    let answer = story.answer();
    assert!(
        matches!(answer.as_slice(), [Packet::ConnAck(c)] if c.code == ReasonCode::BadAuthenticationMethod)
    );
    assert!(story.session.is_closed());
}

#[test]
fn a_client_that_does_not_prove_who_it_is_is_refused() {
    let mut story = asking();
    let answer = story.happens(fails()).answer();
    assert!(matches!(answer.as_slice(), [Packet::ConnAck(c)] if c.code == ReasonCode::NotAuthorized));
    assert_eq!(story.close_reason().code(), ReasonCode::NotAuthorized);
}

#[test]
fn an_exchange_has_the_time_of_a_connect() {
    let mut story = asking();
    story.happens(goes_on("pong")).answer();
    story.now = story.session.next_deadline().expect("a deadline");
    story.happens(Input::DeadlineReached);
    assert_eq!(story.close_reason(), CloseReason::ConnectTimeout);
}

#[test]
fn only_auth_and_disconnect_may_come_before_connack() {
    let mut story = asking();
    story.client_sends(Packet::PingReq);
    assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
    let mut story = asking();
    story.happens(succeeds("")).client_sends(publish(1, Qos::AtLeastOnce));
    assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
    let mut story = asking();
    story.client_sends(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    assert_eq!(story.answer(), []);
    assert_eq!(story.close_reason(), CloseReason::Disconnected { code: ReasonCode::Success });
}

#[test]
fn auth_out_of_turn_or_of_another_method_is_a_protocol_error() {
    let other = Packet::Auth(Auth {
        code: ReasonCode::ContinueAuthentication,
        method: Some("SCRAM".into()),
        data: None,
        reason: None,
        user_properties: UserProperties::new(),
    });
    for packet in [
        auth(ReasonCode::ContinueAuthentication, "before the broker's answer"),
        auth(ReasonCode::ReAuthenticate, "before CONNACK"),
        auth(ReasonCode::Success, "only a server says so"),
        other.clone(),
    ] {
        let mut story = asking();
        story.client_sends(packet);
        assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
    }
    for packet in [auth(ReasonCode::ContinueAuthentication, "unasked"), auth(ReasonCode::Success, ""), other]
    {
        let mut story = authenticated();
        story.client_sends(packet);
        assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
    }
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(auth(ReasonCode::ReAuthenticate, "without a method in CONNECT"));
    assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
}

#[test]
fn a_connected_client_authenticates_again_while_its_session_goes_on() {
    let mut story = authenticated();
    story.client_sends(auth(ReasonCode::ReAuthenticate, "ping"));
    assert_eq!(story.requests(), [judge("ping", AuthenticationStep::Again)]);
    assert_eq!(story.client_sends(Packet::PingReq).answer(), [Packet::PingResp]);
    assert_eq!(story.happens(goes_on("pong")).answer(), [auth(ReasonCode::ContinueAuthentication, "pong")]);
    story.client_sends(auth(ReasonCode::ContinueAuthentication, "ping 2"));
    assert_eq!(story.requests(), [judge("ping 2", AuthenticationStep::Next)]);
    assert_eq!(story.happens(succeeds("bye")).answer(), [auth(ReasonCode::Success, "bye")]);
    assert_eq!(story.happens(succeeds("bye")).answer(), [], "answered once");
    assert_eq!(story.session.next_deadline(), None);
}

#[test]
fn a_second_exchange_that_fails_or_takes_too_long_closes() {
    let mut story = authenticated();
    story.client_sends(auth(ReasonCode::ReAuthenticate, "ping")).happens(fails());
    assert_eq!(story.answer(), [Packet::Disconnect(Disconnect::new(ReasonCode::NotAuthorized))]);
    let mut story = authenticated();
    story.client_sends(auth(ReasonCode::ReAuthenticate, "ping"));
    story.now = story.session.next_deadline().expect("a deadline");
    story.happens(Input::DeadlineReached);
    assert_eq!(story.close_reason(), CloseReason::AuthenticationTimeout);
}

fn redirect() -> Input {
    let server: ByteString = "hub-2.example:8883".into();
    Input::Redirect { code: ReasonCode::ServerMoved, server, reason: Some("moved house".to_owned()) }
}

#[test]
fn a_client_is_sent_elsewhere_instead_of_admitted() {
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V5, ConnectProperties::default())).happens(redirect());
    let answer = story.answer();
    let [Packet::ConnAck(connack)] = answer.as_slice() else { panic!("a CONNACK: {answer:?}") };
    assert_eq!((connack.code, connack.session_present), (ReasonCode::ServerMoved, false));
    assert_eq!(connack.properties.server_reference.as_deref(), Some("hub-2.example:8883"));
    assert_eq!(connack.properties.reason.as_deref(), Some("moved house"));

    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V311, ConnectProperties::default())).happens(redirect());
    assert_eq!(story.effects.outgoing.take_chunks().concat(), b"\x20\x02\x00\x03");
}

#[test]
fn a_client_is_sent_elsewhere_later() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    let answer = story.happens(redirect()).answer();
    let [Packet::Disconnect(disconnect)] = answer.as_slice() else { panic!("a DISCONNECT: {answer:?}") };
    assert_eq!(disconnect.code, ReasonCode::ServerMoved);
    assert_eq!(disconnect.server_reference.as_deref(), Some("hub-2.example:8883"));
    assert_eq!(
        story.close_reason().to_string(),
        "sent to the server hub-2.example:8883 with server moved (0x9d): moved house"
    );
    let mut story = Story::admitted(Version::V311, SessionLimits::default());
    assert_eq!(story.happens(redirect()).answer(), []);
    assert!(story.session.is_closed());
}

#[test]
fn words_are_left_out_before_the_server_is() {
    let properties =
        ConnectProperties { packet_bytes_max: NonZeroU32::new(30), ..ConnectProperties::default() };
    let mut story = Story::admitted_with(Version::V5, SessionLimits::default(), properties);
    let answer = story.happens(redirect()).answer();
    assert!(
        matches!(answer.as_slice(), [Packet::Disconnect(d)] if d.reason.is_none() && d.server_reference.is_some())
    );
}

#[test]
fn response_information_goes_only_to_a_client_that_asked() {
    for wanted in [None, Some(false), Some(true)] {
        let properties =
            ConnectProperties { request_response_information: wanted, ..ConnectProperties::default() };
        let mut story = Story::opened(SessionLimits::default());
        story.client_sends(connect(Version::V5, properties));
        let response_information = Some(Box::new("replies/d1/".into()));
        story.happens(Input::Admitted(Admission { response_information, ..admission() }));
        let answer = story.answer();
        let [Packet::ConnAck(connack)] = answer.as_slice() else { panic!("a CONNACK: {answer:?}") };
        assert_eq!(connack.properties.response_information.is_some(), wanted == Some(true));
        assert_eq!(connack.properties.shared_subscriptions, None);
    }
}

#[test]
fn a_client_that_does_not_take_connack_is_refused_with_0x95() {
    let properties =
        ConnectProperties { packet_bytes_max: NonZeroU32::new(10), ..ConnectProperties::default() };
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V5, properties)).happens(Input::Admitted(admission()));
    let answer = story.answer();
    assert!(matches!(answer.as_slice(), [Packet::ConnAck(c)] if c.code == ReasonCode::PacketTooLarge));
    assert!(story.session.is_closed());
}
