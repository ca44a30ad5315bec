//! Silence, and whose it is.

use super::*;

fn alive(properties: ConnectProperties) -> Story {
    let mut story = Story::opened(SessionLimits::default());
    let Packet::Connect(mut connect) = connect(Version::V5, properties) else { unreachable!() };
    connect.keep_alive_s = 10;
    story.client_sends(Packet::Connect(connect));
    story
}

fn admission(missed: &str) -> Admission {
    let user_properties = Some(Box::new(vec![("muster-missed".into(), missed.into())]));
    Admission { user_properties, ..Admission::new("d1".parse().expect("valid")) }
}

#[test]
fn a_client_that_is_not_read_is_not_taken_for_dead() {
    let mut story = alive(ConnectProperties::default());
    story.happens(Input::Admitted(Admission::new("d1".parse().expect("valid"))));
    let began = story.now;
    assert_eq!(story.session.next_deadline(), Some(began + Duration::from_secs(15)));
    story.now = began + Duration::from_secs(15);
    let until = story.now;
    story.happens(Input::NotRead { until }).happens(Input::DeadlineReached);
    assert!(story.session.is_connected());
    assert_eq!(story.session.next_deadline(), Some(began + Duration::from_secs(30)));
    // An earlier moment takes nothing back.
    story.happens(Input::NotRead { until: began });
    story.now = began + Duration::from_secs(30);
    story.requests();
    story.happens(Input::DeadlineReached);
    assert_eq!(story.close_reason(), CloseReason::KeepAliveTimeout);
}

#[test]
fn a_client_without_keep_alive_gets_none_by_not_being_read() {
    let mut story = Story::admitted(Version::V5, SessionLimits::default());
    let until = story.now + Duration::from_secs(1);
    story.happens(Input::NotRead { until });
    assert_eq!(story.session.next_deadline(), None);
}

#[test]
fn connack_says_what_else_the_broker_has_to_say_if_it_fits() {
    let mut story = alive(ConnectProperties::default());
    story.happens(Input::Admitted(admission("7")));
    let told = story.answer();
    assert!(matches!(&told[..], [Packet::ConnAck(connack)]
        if connack.properties.user_properties == [("muster-missed".into(), "7".into())]));
    // [MQTT-3.2.2-20].
    let narrow = ConnectProperties { packet_bytes_max: NonZeroU32::new(40), ..ConnectProperties::default() };
    let mut story = alive(narrow);
    story.happens(Input::Admitted(admission(&"7".repeat(40))));
    assert!(matches!(&story.answer()[..], [Packet::ConnAck(connack)]
        if connack.properties.user_properties.is_empty() && connack.code == ReasonCode::Success));
}
