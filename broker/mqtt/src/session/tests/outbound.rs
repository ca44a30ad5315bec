//! Message expiry and topic aliases, as the client sees them.

use muster_schemas::MessageProperties;

use super::*;

/// A message with an expiry interval of a minute, that loses its meaning after this time from now.
fn expiring(story: &Story, after: Duration, qos: Qos) -> Delivery {
    let properties = MessageProperties { expiry_interval_s: Some(60), ..MessageProperties::default() };
    let message = Message { properties: Some(Box::new(properties)), ..message(qos, 1) };
    let expires = Some(story.now + after);
    Delivery { tag: Some(7), expires, ..Delivery::new(Arc::new(message), qos) }
}

fn expiry_s(packets: &[Packet]) -> Vec<Option<u32>> {
    let publishes = packets.iter().map(|packet| match packet {
        Packet::Publish(publish) => publish.message.properties.as_ref().and_then(|p| p.expiry_interval_s),
        other => panic!("not a PUBLISH: {other:?}"),
    });
    publishes.collect()
}

#[test]
fn the_client_is_told_the_seconds_that_a_message_has_left() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    for (after, told) in [(60_000, 60), (59_999, 60), (59_000, 59), (1, 1)] {
        let delivery = expiring(&story, Duration::from_millis(after), Qos::AtMostOnce);
        assert_eq!(expiry_s(&story.happens(Input::Deliver(delivery)).answer()), [Some(told)], "{after} ms");
    }
}

#[test]
fn a_message_that_waits_too_long_is_not_sent() {
    let limits = SessionLimits { inflight_messages_max: 1, ..SessionLimits::default() };
    let mut story = Story::admitted(Version::V5, limits);
    story.happens(delivery(Qos::AtLeastOnce, 1));
    for seconds in [9, 11] {
        let delivery = expiring(&story, Duration::from_secs(seconds), Qos::AtLeastOnce);
        story.happens(Input::Deliver(delivery));
    }
    story.answer();
    story.now += Duration::from_secs(9);
    assert_eq!(expiry_s(&story.client_sends(Packet::PubAck(ack(1))).answer()), [Some(2)]);
    assert_eq!(story.requests(), [Request::Complete { tag: 7 }]);
    assert_eq!(story.session.statistics().dropped_expired, 1);
}

#[test]
fn a_message_that_comes_too_late_is_not_sent_at_any_qos() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut story = Story::admitted(Version::V5, SessionLimits::default());
        let delivery = expiring(&story, Duration::ZERO, qos);
        assert_eq!(story.happens(Input::Deliver(delivery)).answer(), []);
        assert_eq!(story.session.statistics().dropped_expired, 1);
        assert_eq!(story.requests().len(), usize::from(qos != Qos::AtMostOnce), "it is complete");
    }
}

#[test]
fn a_message_that_was_sent_once_may_be_sent_again_after_its_time() {
    let admission = Admission {
        session_expiry_s: Some(60),
        in_flight: vec![id(1)],
        ..Admission::new("d1".parse().expect("valid"))
    };
    let mut story =
        Story::admitted_as(Version::V5, SessionLimits::default(), ConnectProperties::default(), admission);
    let delivery = expiring(&story, Duration::ZERO, Qos::AtLeastOnce);
    story.happens(Input::Deliver(Delivery { resent_as: Some(id(1)), ..delivery }));
    assert_eq!(expiry_s(&story.answer()), [Some(0)]);
}

#[test]
fn a_message_that_expires_while_it_is_bound_is_not_sent() {
    let admission = Admission { session_expiry_s: Some(60), ..Admission::new("d1".parse().expect("valid")) };
    let mut story =
        Story::admitted_as(Version::V5, SessionLimits::default(), ConnectProperties::default(), admission);
    let delivery = expiring(&story, Duration::from_secs(1), Qos::ExactlyOnce);
    story.happens(Input::Deliver(delivery)).requests();
    story.now += Duration::from_secs(1);
    assert_eq!(story.happens(Input::Bound(id(1))).answer(), []);
    assert_eq!(story.requests(), [Request::Complete { tag: 7 }]);
    assert_eq!(story.session.backlog(), (0, 0));
}

/// What the client is sent for two messages of one topic.
fn sent_twice(version: Version, properties: ConnectProperties) -> Vec<u8> {
    let mut story = Story::admitted_with(version, SessionLimits::default(), properties);
    for _ in 0..2 {
        let message =
            Message { topic: "plant/12/temperature".parse().expect("valid"), ..message(Qos::AtMostOnce, 1) };
        story.happens(Input::Deliver(Delivery::new(Arc::new(message), Qos::AtMostOnce)));
    }
    story.effects.outgoing.take_chunks().concat()
}

#[test]
fn a_client_that_takes_aliases_gets_the_topic_once() {
    let aliases = |count| ConnectProperties { topic_alias_max: Some(count), ..ConnectProperties::default() };
    let defined = b"\x30\x1b\x00\x14plant/12/temperature\x03\x23\x00\x01x";
    let known = b"\x30\x07\x00\x00\x03\x23\x00\x01x";
    let in_full = b"\x30\x18\x00\x14plant/12/temperature\x00x";
    assert_eq!(sent_twice(Version::V5, aliases(1)), [defined.as_slice(), known].concat());
    assert_eq!(sent_twice(Version::V5, aliases(0)), [in_full.as_slice(), in_full].concat());
    let plain = b"\x30\x17\x00\x14plant/12/temperaturex";
    assert_eq!(sent_twice(Version::V311, ConnectProperties::default()), [plain.as_slice(), plain].concat());
}

#[test]
fn an_alias_is_not_defined_where_that_makes_the_packet_too_large() {
    let properties = ConnectProperties {
        topic_alias_max: Some(1),
        packet_bytes_max: NonZeroU32::new(26),
        ..ConnectProperties::default()
    };
    let in_full = b"\x30\x18\x00\x14plant/12/temperature\x00x";
    assert_eq!(sent_twice(Version::V5, properties), [in_full.as_slice(), in_full].concat());
}
