//! Tags, what a durable session has its broker keep, and how it goes on after its connection was lost.

use super::*;

fn durable() -> Admission {
    Admission { session_expiry_s: Some(60), ..Admission::new("d1".parse().expect("valid")) }
}

fn story(admission: Admission) -> Story {
    let properties = ConnectProperties { session_expiry_s: Some(60), ..ConnectProperties::default() };
    Story::admitted_as(Version::V5, SessionLimits::default(), properties, admission)
}

/// Both for a client that takes so many messages at once.
fn story_of_window(messages: u16, admission: Admission) -> Story {
    let properties = ConnectProperties {
        session_expiry_s: Some(60),
        receive_maximum: NonZeroU16::new(messages),
        ..ConnectProperties::default()
    };
    Story::admitted_as(Version::V5, SessionLimits::default(), properties, admission)
}

fn tagged(tag: u64, qos: Qos) -> Delivery {
    Delivery { tag: Some(tag), ..Delivery::new(Arc::new(message(qos, 1)), qos) }
}

fn resent(number: u16, tag: u64, qos: Qos) -> Input {
    Input::Deliver(Delivery { resent_as: Some(id(number)), ..tagged(tag, qos) })
}

fn complete(tag: u64) -> Request {
    Request::Complete { tag }
}

/// Packet ids of PUBLISH packets, and whether they are marked as sent before.
fn published(packets: &[Packet]) -> Vec<(u16, bool)> {
    packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => (publish.packet_id.map_or(0, PacketId::get), publish.dup),
            other => panic!("not a PUBLISH: {other:?}"),
        })
        .collect()
}

#[test]
fn puback_completes_a_tagged_delivery_in_any_session() {
    for admission in [Admission::new("d1".parse().expect("valid")), durable()] {
        let mut story = story(admission);
        story.happens(Input::Deliver(tagged(7, Qos::AtLeastOnce))).happens(delivery(Qos::AtLeastOnce, 1));
        assert_eq!(published(&story.answer()), [(1, false), (2, false)]);
        story.client_sends(Packet::PubAck(ack(2))).client_sends(Packet::PubAck(ack(1)));
        assert_eq!(story.requests(), [complete(7)]);
    }
}

#[test]
fn a_session_that_ends_with_its_connection_completes_at_pubcomp_and_binds_nothing() {
    let mut story = story(Admission::new("d1".parse().expect("valid")));
    story.happens(Input::Deliver(tagged(7, Qos::ExactlyOnce)));
    assert_eq!(published(&story.answer()), [(1, false)]);
    story.client_sends(Packet::PubRec(ack(1)));
    assert_eq!(story.answer(), [Packet::PubRel(ack(1))]);
    assert_eq!(story.requests(), []);
    story.client_sends(Packet::PubComp(ack(1)));
    assert_eq!(story.requests(), [complete(7)]);
}

#[test]
fn a_durable_qos_2_delivery_waits_for_the_broker_at_each_step() {
    let mut story = story(durable());
    story.happens(Input::Deliver(tagged(7, Qos::ExactlyOnce)));
    assert_eq!(story.answer(), []);
    assert_eq!(story.requests(), [Request::Bind { packet_id: id(1), tag: 7 }]);
    // An acknowledgement of what was not sent is counted, and answered by nothing that could do harm.
    story.client_sends(Packet::PubRec(ack(1))).client_sends(Packet::PubComp(ack(1)));
    assert_eq!((story.answer(), story.session.statistics().acks_unknown), (vec![], 2));
    assert_eq!(published(&story.happens(Input::Bound(id(1))).answer()), [(1, false)]);
    assert_eq!(story.happens(Input::Bound(id(1))).answer(), [], "binds once");

    story.client_sends(Packet::PubRec(ack(1))).client_sends(Packet::PubRec(ack(1)));
    assert_eq!(story.requests(), [Request::Release { packet_id: id(1), tag: 7 }]);
    assert_eq!(story.answer(), []);
    story.happens(Input::Released { packet_id: id(1), tag: 7 });
    assert_eq!(story.answer(), [Packet::PubRel(ack(1))]);
    story.client_sends(Packet::PubRec(ack(1)));
    assert_eq!(story.answer(), [Packet::PubRel(ack(1))], "a repeated PUBREC gets its PUBREL again");
    assert_eq!(story.requests(), []);

    story.client_sends(Packet::PubComp(ack(1)));
    assert_eq!(story.requests(), [complete(7)]);
    assert_eq!(story.session.backlog(), (0, 0));
}

#[test]
fn durable_qos_2_deliveries_keep_their_order_and_qos_1_does_not_wait_for_them() {
    let mut story = story_of_window(3, durable());
    for tag in 1..=2 {
        story.happens(Input::Deliver(tagged(tag, Qos::ExactlyOnce)));
    }
    story.happens(Input::Deliver(tagged(3, Qos::AtLeastOnce)));
    story.happens(Input::Deliver(tagged(4, Qos::ExactlyOnce)));
    assert_eq!(published(&story.answer()), [(3, false)]);
    assert_eq!(story.session.backlog(), (1, 3), "what is being bound takes room in the window");
    story.happens(Input::Bound(id(1))).happens(Input::Bound(id(2)));
    assert_eq!(published(&story.answer()), [(1, false), (2, false)]);
    story.requests();
    story.client_sends(Packet::PubAck(ack(3)));
    assert_eq!(story.requests(), [complete(3), Request::Bind { packet_id: id(4), tag: 4 }]);
}

#[test]
fn an_untagged_qos_2_delivery_of_a_durable_session_is_not_kept() {
    let mut story = story(durable());
    story.happens(delivery(Qos::ExactlyOnce, 1));
    assert_eq!(published(&story.answer()), [(1, false)]);
    story.client_sends(Packet::PubRec(ack(1)));
    assert_eq!(story.answer(), [Packet::PubRel(ack(1))]);
    story.client_sends(Packet::PubComp(ack(1)));
    assert_eq!(story.requests(), []);
}

#[test]
fn a_pubrec_that_refuses_completes() {
    let mut story = story(durable());
    story.happens(Input::Deliver(tagged(7, Qos::ExactlyOnce))).happens(Input::Bound(id(1)));
    story.requests();
    story.client_sends(Packet::PubRec(Ack::new(id(1), ReasonCode::QuotaExceeded)));
    assert_eq!(story.requests(), [complete(7)]);
}

#[test]
fn what_is_too_large_for_the_client_completes_and_frees_its_id() {
    let properties =
        ConnectProperties { packet_bytes_max: NonZeroU32::new(30), ..ConnectProperties::default() };
    let admission = Admission { in_flight: vec![id(1)], ..durable() };
    let mut story = Story::admitted_as(Version::V5, SessionLimits::default(), properties, admission);
    let large = |tag, resent_as| {
        let message = Arc::new(message(Qos::AtLeastOnce, 100));
        Input::Deliver(Delivery { tag: Some(tag), resent_as, ..Delivery::new(message, Qos::AtLeastOnce) })
    };
    story.happens(large(7, Some(id(1)))).happens(large(8, None));
    assert_eq!(story.requests(), [complete(7), complete(8)]);
    assert_eq!(story.session.statistics().dropped_too_large, 2);
    story.happens(Input::Deliver(tagged(9, Qos::AtLeastOnce)));
    assert_eq!(published(&story.answer()), [(2, false)], "ids take turns, a freed one is not first");
}

#[test]
fn a_durable_session_answers_pubrel_once_the_id_is_forgotten() {
    let mut story = story(durable());
    story.client_sends(publish(1, Qos::ExactlyOnce)).happens(routed(1));
    assert_eq!(story.answer(), [Packet::PubRec(ack(1))]);
    story.requests();
    story.client_sends(Packet::PubRel(ack(1))).client_sends(Packet::PubRel(ack(1)));
    assert_eq!(story.requests(), [Request::Forget { packet_id: id(1) }]);
    assert_eq!(story.answer(), []);
    story.happens(Input::Forgotten(id(1))).happens(Input::Forgotten(id(1)));
    assert_eq!(story.answer(), [Packet::PubComp(ack(1))]);
    // And the id is a new message.
    story.client_sends(publish(1, Qos::ExactlyOnce));
    assert!(matches!(story.requests().as_slice(), [Request::Publish { .. }]));
}

#[test]
fn an_id_is_in_use_until_pubcomp() {
    let mut story = story(durable());
    story.client_sends(publish(1, Qos::ExactlyOnce)).happens(routed(1)).client_sends(Packet::PubRel(ack(1)));
    story.client_sends(publish(1, Qos::ExactlyOnce));
    assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
}

#[test]
fn a_message_received_by_an_earlier_connection_is_not_published_again() {
    let mut story = story(Admission { received: vec![id(1), id(2)], session_present: true, ..durable() });
    story.client_sends(publish(1, Qos::ExactlyOnce));
    assert_eq!((story.answer(), story.requests()), (vec![Packet::PubRec(ack(1))], vec![]));
    story.client_sends(Packet::PubRel(ack(2)));
    assert_eq!(story.requests(), [Request::Forget { packet_id: id(2) }]);
    // Our Receive Maximum is 2. The client does not count what it only waits for PUBCOMP for.
    story.client_sends(publish(3, Qos::AtLeastOnce));
    assert!(story.session.is_connected());
    story.client_sends(publish(4, Qos::AtLeastOnce));
    assert_eq!(story.close_reason().code(), ReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn a_resumed_session_sends_again_under_the_same_ids_and_gives_them_to_nobody_else() {
    let in_flight = vec![id(1), id(2), id(4)];
    let mut story = story(Admission { in_flight, session_present: true, ..durable() });
    story.happens(delivery(Qos::AtLeastOnce, 1));
    assert_eq!(published(&story.answer()), [(5, false)]);
    story.happens(resent(2, 20, Qos::AtLeastOnce)).happens(resent(4, 40, Qos::ExactlyOnce));
    assert_eq!(published(&story.answer()), [(2, true), (4, true)]);
    story.happens(Input::Released { packet_id: id(1), tag: 10 });
    assert_eq!(story.answer(), [Packet::PubRel(ack(1))]);
    assert_eq!(story.requests(), [], "they are bound already");

    story.client_sends(Packet::PubComp(ack(1))).client_sends(Packet::PubAck(ack(2)));
    story.client_sends(Packet::PubRec(ack(4)));
    let release = Request::Release { packet_id: id(4), tag: 40 };
    assert_eq!(story.requests(), [complete(10), complete(20), release]);
}

#[test]
fn an_acknowledgement_that_comes_before_the_resend_does_not_spoil_it() {
    let mut story = story(Admission { in_flight: vec![id(1)], ..durable() });
    story.client_sends(Packet::PubRec(ack(1))).client_sends(Packet::PubComp(ack(1)));
    assert_eq!((story.answer(), story.requests()), (vec![], vec![]));
    story.happens(resent(1, 10, Qos::ExactlyOnce));
    assert_eq!(published(&story.answer()), [(1, true)]);
}

#[test]
fn resends_respect_the_window_of_the_new_connection_and_come_first() {
    let mut story = story_of_window(1, Admission { in_flight: vec![id(1), id(2)], ..durable() });
    for number in [2, 1] {
        story.happens(resent(number, number.into(), Qos::AtLeastOnce));
    }
    story.happens(Input::Deliver(tagged(3, Qos::AtLeastOnce)));
    assert_eq!(published(&story.answer()), [(2, true)]);
    assert_eq!(published(&story.client_sends(Packet::PubAck(ack(2))).answer()), [(1, true)]);
    assert_eq!(published(&story.client_sends(Packet::PubAck(ack(1))).answer()), [(3, false)]);
}

#[test]
fn resends_wait_while_the_client_does_not_read() {
    let limits = SessionLimits { outgoing_bytes_max: 10, ..SessionLimits::default() };
    let admission = Admission { in_flight: vec![id(1)], ..durable() };
    let mut story = Story::admitted_as(Version::V5, limits, ConnectProperties::default(), admission);
    story.happens(Input::OutgoingDrained { bytes_left: 11 }).happens(resent(1, 10, Qos::AtLeastOnce));
    assert_eq!(story.answer(), []);
    assert_eq!(published(&story.happens(Input::OutgoingDrained { bytes_left: 0 }).answer()), [(1, true)]);
}

#[test]
fn an_id_that_was_not_in_flight_is_no_resend() {
    let mut story = story(Admission { in_flight: vec![id(1)], ..durable() });
    story.happens(resent(9, 10, Qos::AtLeastOnce));
    assert_eq!(published(&story.answer()), [(2, false)]);
    story
        .happens(Input::Released { packet_id: id(9), tag: 10 })
        .happens(Input::Released { packet_id: id(2), tag: 1 });
    assert_eq!(story.answer(), []);
}

#[test]
fn what_is_being_bound_counts_as_bytes_on_their_way() {
    let limits = SessionLimits { outgoing_bytes_max: 50, ..SessionLimits::default() };
    let mut story = Story::admitted_as(Version::V5, limits, ConnectProperties::default(), durable());
    story.happens(Input::OutgoingDrained { bytes_left: 0 });
    for tag in 1..=2 {
        let message = Arc::new(message(Qos::ExactlyOnce, 100));
        story
            .happens(Input::Deliver(Delivery { tag: Some(tag), ..Delivery::new(message, Qos::ExactlyOnce) }));
    }
    assert_eq!(story.requests(), [Request::Bind { packet_id: id(1), tag: 1 }]);
    assert_eq!(published(&story.happens(Input::Bound(id(1))).answer()), [(1, false)]);
    story.happens(Input::OutgoingDrained { bytes_left: 0 });
    assert_eq!(story.requests(), [Request::Bind { packet_id: id(2), tag: 2 }]);
}

#[test]
fn the_end_tells_what_was_not_acknowledged_in_the_order_of_sending() {
    let mut story =
        story_of_window(3, Admission { in_flight: vec![id(1), id(2), id(3), id(4)], ..durable() });
    for number in [4, 2, 1, 3] {
        story.happens(resent(number, u64::from(number) * 10, Qos::AtLeastOnce));
    }
    story.happens(Input::Deliver(tagged(50, Qos::AtLeastOnce)));
    story.client_sends(Packet::PubAck(ack(2)));
    story.requests();
    let disconnect =
        Disconnect { session_expiry_s: Some(5), ..Disconnect::new(ReasonCode::DisconnectWithWill) };
    story.client_sends(Packet::Disconnect(disconnect));
    let requests = story.requests();
    let [Request::Close(closing)] = requests.as_slice() else { panic!("a close: {requests:?}") };
    // The third waits in the queue, but an earlier connection has sent it; the fifth was never sent.
    assert_eq!(closing.unacknowledged, [(id(4), 40), (id(1), 10), (id(3), 30)]);
    assert_eq!((closing.session_expiry_s, closing.graceful), (Some(5), false));
}

#[test]
fn an_expiry_at_the_end_is_a_fault_where_connect_had_none() {
    let disconnect = Disconnect { session_expiry_s: Some(5), ..Disconnect::new(ReasonCode::Success) };
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    story.client_sends(Packet::Disconnect(disconnect));
    assert_eq!(story.close_reason().code(), ReasonCode::ProtocolError);
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    let disconnect = Disconnect { session_expiry_s: Some(0), ..Disconnect::new(ReasonCode::Success) };
    story.client_sends(Packet::Disconnect(disconnect));
    assert!(matches!(story.requests().as_slice(), [Request::Close(c)] if c.session_expiry_s == Some(0)));
}
