//! What needs a broker that says no, answers late, or delivers more than a client takes.

mod authentication;
mod durable;
mod outbound;
mod silence;

use std::sync::Arc;

use bytes::Bytes;
use muster_schemas::{Message, Qos};

use super::*;
use crate::{
    Decoder, UserProperties,
    packet::{Connect, ConnectProperties, PacketId, Publish, Subscribe, SubscriptionOptions, Will},
};

/// A client, its session, and a time that jumps.
struct Story {
    session: Session,
    now: Instant,
    effects: Effects,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "an Instant to count from; its value never matters")]
    fn opened(limits: SessionLimits) -> Self {
        let now = Instant::now();
        let options = SessionOptions {
            authentication_methods: ["ping-pong".into()].into(),
            receive_maximum: NonZeroU16::new(2).expect("not 0"),
            ..SessionOptions::new(limits, &PacketLimits::default())
        };
        Self { session: Session::new(options, now), now, effects: Effects::default() }
    }

    fn admitted(version: Version, limits: SessionLimits) -> Self {
        Self::admitted_with(version, limits, ConnectProperties::default())
    }

    fn admitted_with(version: Version, limits: SessionLimits, properties: ConnectProperties) -> Self {
        Self::admitted_as(version, limits, properties, Admission::new("d1".parse().expect("valid")))
    }

    fn admitted_as(
        version: Version,
        limits: SessionLimits,
        properties: ConnectProperties,
        admission: Admission,
    ) -> Self {
        let mut story = Self::opened(limits);
        story.client_sends(connect(version, properties));
        assert!(matches!(story.requests().as_slice(), [Request::Admit(_)]));
        story.happens(Input::Admitted(admission));
        assert!(matches!(story.answer().as_slice(), [Packet::ConnAck(_)]));
        story
    }

    fn happens(&mut self, input: Input) -> &mut Self {
        self.session.handle(self.now, input, &mut self.effects);
        self
    }

    fn client_sends(&mut self, packet: Packet) -> &mut Self {
        self.happens(Input::Packet(packet))
    }

    fn requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.effects.requests)
    }

    /// What the client has been sent since the last time.
    fn answer(&mut self) -> Vec<Packet> {
        let mut decoder = Decoder::client(self.session.version());
        decoder.buffer().extend_from_slice(&self.effects.outgoing.take_chunks().concat());
        std::iter::from_fn(|| decoder.next().expect("packets")).collect()
    }

    fn close_reason(&mut self) -> CloseReason {
        match self.requests().pop() {
            Some(Request::Close(closing)) => closing.reason,
            other => panic!("not a close: {other:?}"),
        }
    }
}

fn connect(version: Version, properties: ConnectProperties) -> Packet {
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Some("d1".parse().expect("valid")),
        username: None,
        password: None,
        will: None,
        properties,
    }))
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

fn message(qos: Qos, bytes: usize) -> Message {
    let payload = Bytes::from(vec![b'x'; bytes]);
    Message { topic: "a".parse().expect("valid"), qos, retain: false, payload, properties: None }
}

fn publish(number: u16, qos: Qos) -> Packet {
    let packet_id = (qos != Qos::AtMostOnce).then(|| id(number));
    let message = message(qos, 1);
    Packet::Publish(Publish {
        dup: false,
        packet_id,
        topic_alias: None,
        subscription_ids: Default::default(),
        message: message.into(),
    })
}

fn delivery(qos: Qos, bytes: usize) -> Input {
    Input::Deliver(Delivery::new(Arc::new(message(qos, bytes)), qos))
}

fn refused(number: Option<u16>, code: ReasonCode) -> Input {
    let outcome = PublishOutcome::Refused { code, reason: "not yours".to_owned() };
    Input::Published { packet_id: number.map(id), outcome }
}

fn routed(number: u16) -> Input {
    Input::Published { packet_id: Some(id(number)), outcome: PublishOutcome::Routed { matched: true } }
}

fn ack(number: u16) -> Ack {
    Ack::new(id(number), ReasonCode::Success)
}

#[test]
fn puback_waits_for_the_broker_and_keeps_the_order() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).client_sends(publish(2, Qos::ExactlyOnce));
    assert_eq!(story.requests().len(), 2);
    assert_eq!(story.happens(routed(2)).answer(), []);
    assert_eq!(story.happens(routed(1)).answer(), [Packet::PubAck(ack(1)), Packet::PubRec(ack(2))]);
}

#[test]
fn a_refused_message_is_told_in_5_and_closes_in_3_1_1() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).client_sends(publish(2, Qos::ExactlyOnce));
    story.happens(refused(Some(1), ReasonCode::NotAuthorized));
    story.happens(refused(Some(2), ReasonCode::NotAuthorized));
    let words = |number| Ack {
        reason: Some("not yours".into()),
        user_properties: UserProperties::new(),
        ..Ack::new(id(number), ReasonCode::NotAuthorized)
    };
    assert_eq!(story.answer(), [Packet::PubAck(words(1)), Packet::PubRec(words(2))]);
    // The refusal ended the exchange: the id is free for a new message.
    story.requests();
    story.client_sends(publish(2, Qos::ExactlyOnce));
    assert!(matches!(story.requests().as_slice(), [Request::Publish { .. }]));

    let mut story = Story::admitted(Version::V311, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).happens(refused(Some(1), ReasonCode::NotAuthorized));
    assert_eq!(story.answer(), []);
    assert_eq!(story.close_reason().to_string(), "message refused with not authorized (0x87): not yours");
}

#[test]
fn an_unfit_message_is_told_in_5_and_acknowledged_in_3_1_1() {
    let unfit = |number: Option<u16>| {
        let outcome =
            PublishOutcome::Unfit { code: ReasonCode::PayloadFormatInvalid, reason: "no SenML".to_owned() };
        Input::Published { packet_id: number.map(id), outcome }
    };
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).client_sends(publish(2, Qos::AtLeastOnce));
    // The order of acknowledgements is that of the messages, whoever answers first.
    assert_eq!(story.happens(unfit(Some(2))).answer(), []);
    let words = Ack { reason: Some("no SenML".into()), ..Ack::new(id(2), ReasonCode::PayloadFormatInvalid) };
    assert_eq!(story.happens(routed(1)).answer(), [Packet::PubAck(ack(1)), Packet::PubAck(words)]);

    let mut story = Story::admitted(Version::V311, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).client_sends(publish(2, Qos::ExactlyOnce));
    story.client_sends(publish(0, Qos::AtMostOnce));
    story.happens(unfit(Some(1))).happens(unfit(Some(2))).happens(unfit(None));
    assert_eq!(story.answer(), [Packet::PubAck(ack(1)), Packet::PubRec(ack(2))]);
    assert_eq!(story.client_sends(Packet::PubRel(ack(2))).answer(), [Packet::PubComp(ack(2))]);
    assert_eq!(story.session.statistics().publishes_refused, 3);
}

#[test]
fn a_remark_goes_with_the_answer_that_comes_later() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce)).client_sends(publish(2, Qos::AtLeastOnce));
    let remark = |number| Input::Remark { packet_id: id(number), reason: "1 of 2".to_owned() };
    story.happens(remark(1)).happens(remark(2)).happens(remark(7));
    let words = |number, code, text: &str| {
        Packet::PubAck(Ack { reason: Some(text.into()), ..Ack::new(id(number), code) })
    };
    story.happens(routed(1)).happens(refused(Some(2), ReasonCode::QuotaExceeded));
    let refusal = words(2, ReasonCode::QuotaExceeded, "not yours");
    assert_eq!(story.answer(), [words(1, ReasonCode::Success, "1 of 2"), refusal]);
}

#[test]
fn a_refusal_that_puback_cannot_say_closes() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(publish(1, Qos::AtLeastOnce));
    story.happens(refused(Some(1), ReasonCode::AdministrativeAction));
    assert!(
        matches!(story.answer().as_slice(), [Packet::Disconnect(d)] if d.code == ReasonCode::AdministrativeAction)
    );
}

#[test]
fn a_refused_message_of_qos_0_is_counted_and_the_session_goes_on() {
    for version in [Version::V311, Version::V5] {
        let mut story = Story::admitted(version, SessionLimits::default());
        story.client_sends(publish(0, Qos::AtMostOnce)).happens(refused(None, ReasonCode::NotAuthorized));
        assert_eq!(story.answer(), []);
        assert!(story.session.is_connected());
        assert_eq!(story.session.statistics().publishes_refused, 1);
    }
}

#[test]
fn a_client_that_wants_no_reasons_gets_none() {
    let properties =
        ConnectProperties { request_problem_information: Some(false), ..ConnectProperties::default() };
    let mut story = Story::admitted_with(Version::V5, SessionLimits::default(), properties);
    story.client_sends(publish(1, Qos::AtLeastOnce)).happens(refused(Some(1), ReasonCode::NotAuthorized));
    assert_eq!(story.answer(), [Packet::PubAck(Ack::new(id(1), ReasonCode::NotAuthorized))]);
}

#[test]
fn more_messages_than_receive_maximum_close_with_0x93() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    for number in 1..=2 {
        story.client_sends(publish(number, Qos::AtLeastOnce));
    }
    assert!(story.session.is_connected());
    story.client_sends(publish(3, Qos::AtLeastOnce));
    assert_eq!(story.close_reason().code(), ReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn a_repeated_message_in_progress_is_handed_over_once() {
    let mut story = Story::admitted(Version::V311, SessionLimits::default());
    story.client_sends(publish(1, Qos::ExactlyOnce)).client_sends(publish(1, Qos::ExactlyOnce));
    assert_eq!(story.requests().len(), 1);
    assert_eq!(story.happens(routed(1)).answer(), [Packet::PubRec(ack(1))]);
    assert_eq!(story.session.statistics().publishes_repeated, 1);
}

#[test]
fn a_full_delivery_queue_closes_with_0x97_and_names_the_queue() {
    let limits =
        SessionLimits { inflight_messages_max: 1, queued_messages_max: 2, ..SessionLimits::default() };
    let mut story = Story::admitted(Version::V5, limits);
    for _ in 0..3 {
        story.happens(delivery(Qos::AtLeastOnce, 1));
    }
    assert_eq!(story.session.backlog(), (2, 1));
    assert_eq!(story.answer().len(), 1);
    story.happens(delivery(Qos::AtLeastOnce, 1));
    assert!(
        matches!(story.answer().as_slice(), [Packet::Disconnect(d)] if d.code == ReasonCode::QuotaExceeded)
    );
    assert_eq!(story.close_reason().to_string(), "the delivery queue is full at 2 messages, 4 bytes");
}

#[test]
fn the_delivery_queue_is_bounded_in_bytes_too() {
    let limits =
        SessionLimits { inflight_messages_max: 1, queued_bytes_max: 100, ..SessionLimits::default() };
    let mut story = Story::admitted(Version::V5, limits);
    story.happens(delivery(Qos::AtLeastOnce, 1)).happens(delivery(Qos::AtLeastOnce, 1_000));
    assert!(story.session.is_connected(), "one large message passes an empty queue");
    story.happens(delivery(Qos::AtLeastOnce, 1));
    assert!(matches!(story.close_reason(), CloseReason::QueueFull { queue: "delivery", .. }));
}

#[test]
fn a_congested_client_loses_qos_0_and_gets_the_rest_when_it_reads() {
    let limits = SessionLimits { outgoing_bytes_max: 50, ..SessionLimits::default() };
    let mut story = Story::admitted(Version::V311, limits);
    story.happens(Input::OutgoingDrained { bytes_left: 0 });
    story.happens(delivery(Qos::AtMostOnce, 100));
    assert_eq!(story.answer().len(), 1);
    story.happens(delivery(Qos::AtMostOnce, 1)).happens(delivery(Qos::AtLeastOnce, 1));
    assert_eq!(story.answer(), []);
    assert_eq!(story.session.statistics().dropped_congested, 1);
    story.happens(Input::OutgoingDrained { bytes_left: 51 });
    assert_eq!(story.answer(), []);
    story.happens(Input::OutgoingDrained { bytes_left: 50 });
    assert_eq!(story.answer().len(), 1);
    assert_eq!(story.session.backlog(), (0, 1));
}

#[test]
fn early_packets_are_bounded() {
    let mut story = Story::opened(SessionLimits { early_packets_max: 1, ..SessionLimits::default() });
    story.client_sends(connect(Version::V5, ConnectProperties::default())).client_sends(Packet::PingReq);
    assert_eq!(story.answer(), []);
    story.client_sends(Packet::PingReq);
    assert!(matches!(story.answer().as_slice(), [Packet::ConnAck(c)] if c.code == ReasonCode::QuotaExceeded));
    assert!(matches!(story.close_reason(), CloseReason::QueueFull { queue: "admission", .. }));
}

#[test]
fn a_decision_that_takes_too_long_is_told_as_unavailable() {
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V311, ConnectProperties::default()));
    story.now = story.session.next_deadline().expect("a deadline");
    story.happens(Input::DeadlineReached);
    assert!(
        matches!(story.answer().as_slice(), [Packet::ConnAck(c)] if c.code == ReasonCode::ServerUnavailable)
    );
    assert_eq!(story.close_reason(), CloseReason::ConnectTimeout);
    assert_eq!(story.session.next_deadline(), None);
}

#[test]
fn a_refused_client_is_told_why() {
    let mut story = Story::opened(SessionLimits::default());
    story.client_sends(connect(Version::V5, ConnectProperties::default()));
    story.happens(Input::Refused(ReasonCode::NotAuthorized, Some("device is suspended".to_owned())));
    let answer = story.answer();
    let [Packet::ConnAck(connack)] = answer.as_slice() else { panic!("a CONNACK: {answer:?}") };
    assert_eq!(connack.code, ReasonCode::NotAuthorized);
    assert_eq!(connack.properties.reason.as_deref(), Some("device is suspended"));
}

#[test]
fn the_server_says_why_it_closes_and_nothing_follows() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.requests();
    story.happens(Input::Shutdown(ReasonCode::SessionTakenOver, None));
    assert_eq!(story.answer(), [Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver))]);
    story.client_sends(Packet::PingReq).happens(delivery(Qos::AtMostOnce, 1)).happens(Input::PeerClosed);
    assert_eq!(story.answer(), []);
    assert_eq!(story.requests().len(), 1);
}

#[test]
fn only_a_goodbye_discards_the_will() {
    let graceful = |input: Input| {
        let mut story = Story::admitted(Version::V5, SessionLimits::default());
        story.happens(input);
        match story.requests().as_slice() {
            [Request::Close(closing)] => closing.graceful,
            other => panic!("not a close: {other:?}"),
        }
    };
    let disconnect = |code| Input::Packet(Packet::Disconnect(Disconnect::new(code)));
    assert!(graceful(disconnect(ReasonCode::Success)));
    assert!(!graceful(disconnect(ReasonCode::DisconnectWithWill)));
    assert!(!graceful(Input::PeerClosed));
    assert!(!graceful(Input::Shutdown(ReasonCode::ServerShuttingDown, None)));
}

#[test]
fn the_will_goes_to_the_broker_with_the_client() {
    let mut story = Story::opened(SessionLimits::default());
    let Packet::Connect(mut packet) = connect(Version::V5, ConnectProperties::default()) else {
        panic!("a CONNECT")
    };
    let will = Will { message: message(Qos::AtLeastOnce, 4), delay_interval_s: 5 };
    packet.will = Some(will.clone());
    story.client_sends(Packet::Connect(packet));
    match story.requests().as_slice() {
        [Request::Admit(admit)] => assert_eq!(admit.will, Some(will)),
        other => panic!("not an Admit: {other:?}"),
    }
}

#[test]
fn a_refused_filter_has_its_code_in_5_and_0x80_in_3_1_1() {
    for (version, expected) in
        [(Version::V5, ReasonCode::NotAuthorized), (Version::V311, ReasonCode::UnspecifiedError)]
    {
        let mut story = Story::admitted(version, SessionLimits::default());
        let filters = vec![("a".parse().expect("valid"), SubscriptionOptions::default()); 2];
        let user_properties = UserProperties::new();
        story.client_sends(Packet::Subscribe(Subscribe {
            packet_id: id(3),
            subscription_id: None,
            filters,
            user_properties,
        }));
        let outcomes = vec![Ok(Qos::AtLeastOnce), Err(ReasonCode::NotAuthorized)];
        story.happens(Input::Subscribed { packet_id: id(3), outcomes, reason: None });
        let answer = story.answer();
        let [Packet::SubAck(suback)] = answer.as_slice() else { panic!("a SUBACK: {answer:?}") };
        assert_eq!(suback.codes, [ReasonCode::GrantedQos1, expected]);
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let mut story = Story::admitted(Version::V5, SessionLimits::default());
        for number in 1..=2 {
            story.client_sends(publish(number, Qos::ExactlyOnce)).happens(delivery(Qos::ExactlyOnce, 9));
            story.happens(routed(number));
        }
        story.effects.outgoing.take_chunks().concat()
    };
    assert_eq!(run(), run());
}

#[test]
fn what_is_passed_for_every_message_stays_small() {
    assert!(size_of::<Delivery>() <= 80, "{}", size_of::<Delivery>());
    assert!(size_of::<Input>() <= 128, "{}", size_of::<Input>());
    assert!(size_of::<Request>() <= 96, "{}", size_of::<Request>());
    assert!(size_of::<Session>() <= 576, "{}", size_of::<Session>());
}
