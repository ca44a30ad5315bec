//! Sessions that outlive their connection: on the log, across reconnects and restarts.

use std::time::Duration;

use muster_mqtt::{Ack, Disconnect, Packet, PacketId, Publish, ReasonCode};
use muster_schemas::{Message, MessageProperties, Qos};

use super::{Peer, Site, id, message, puback, publish, story, until};

const HOUR_S: u32 = 3_600;

/// What a publish says: its packet id, whether it repeats, and its payload.
fn said(packet: Packet) -> (u16, bool, String) {
    match packet {
        Packet::Publish(Publish { packet_id, dup, message, .. }) => {
            (packet_id.map_or(0, PacketId::get), dup, String::from_utf8_lossy(&message.payload).into_owned())
        }
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

async fn goes<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut peer: Peer<S>) {
    peer.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await;
    assert_eq!(peer.next_or_end().await, None);
}

#[test]
fn what_comes_while_a_session_is_away_waits_for_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let (app, present) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert!(!present);
        goes(app.subscribed("alerts/#").await).await;
        let mut other = site.app("acme", "other").connected().await;
        for number in 1..=300_u16 {
            other.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, number.to_string()))).await;
            assert_eq!(other.next().await, puback(number, ReasonCode::Success));
        }
        let (mut app, present) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert!(present);
        for number in 1..=300_u16 {
            let (packet_id, dup, payload) = said(app.next().await);
            assert_eq!((dup, payload), (false, number.to_string()));
            app.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        }
        app.hears_nothing().await;
        goes(app).await;
        let (mut app, _) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        app.hears_nothing().await;
    });
}

#[test]
fn a_session_survives_a_restart_of_the_hub_with_what_it_had_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        let _app = app.subscribed("alerts/#").await;
        let mut other = site.app("acme", "other").connected().await;
        for number in 1..=3 {
            other.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, "!"))).await;
            assert_eq!(other.next().await, puback(number, ReasonCode::Success));
        }
        site.store.close();
    });
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let (mut app, present) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert!(present);
        for _ in 1..=3 {
            assert_eq!(said(app.next().await).2, "!");
        }
        app.hears_nothing().await;
    });
}

#[test]
fn a_message_in_flight_is_sent_again_under_its_packet_id() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        let mut app = app.subscribed("alerts/#").await;
        let mut other = site.app("acme", "other").connected().await;
        for (number, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce)] {
            other.send(&publish(number, message("alerts/fire", qos, number.to_string()))).await;
            other.next().await;
        }
        let (first, second) = (said(app.next().await), said(app.next().await));
        assert_eq!((&*first.2, &*second.2), ("1", "2"));
        drop(app);
        until("the session is away", || site.counters("acme").sessions.value() == 1).await;
        let (mut app, _) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert_eq!(said(app.next().await), (first.0, true, "1".to_owned()));
        assert_eq!(said(app.next().await), (second.0, true, "2".to_owned()));
        app.send(&Packet::PubRec(Ack::new(id(second.0), ReasonCode::Success))).await;
        assert_eq!(app.next().await, Packet::PubRel(Ack::new(id(second.0), ReasonCode::Success)));
        drop(app);
        until("the session is away", || site.counters("acme").sessions.value() == 1).await;
        let (mut app, _) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert_eq!(said(app.next().await), (first.0, true, "1".to_owned()));
        assert_eq!(app.next().await, Packet::PubRel(Ack::new(id(second.0), ReasonCode::Success)));
        app.send(&Packet::PubComp(Ack::new(id(second.0), ReasonCode::Success))).await;
        app.send(&Packet::PubAck(Ack::new(id(first.0), ReasonCode::Success))).await;
        app.hears_nothing().await;
    });
}

#[test]
fn a_qos_2_message_is_exactly_once_across_a_crash_of_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let packet_id = story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        let mut app = app.subscribed("alerts/#").await;
        let mut other = site.app("acme", "other").stays(HOUR_S).connected().await;
        other.send(&publish(9, message("alerts/fire", Qos::ExactlyOnce, "!"))).await;
        assert_eq!(other.next().await, Packet::PubRec(Ack::new(id(9), ReasonCode::Success)));
        let (packet_id, ..) = said(app.next().await);
        app.send(&Packet::PubRec(Ack::new(id(packet_id), ReasonCode::Success))).await;
        assert_eq!(app.next().await, Packet::PubRel(Ack::new(id(packet_id), ReasonCode::Success)));
        site.store.close();
        packet_id
    });
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        // The publisher did not see PUBREC's PUBCOMP: it repeats, and is answered without a second message.
        let (mut other, present) = site.app("acme", "other").stays(HOUR_S).resumed().await;
        assert!(present);
        let Packet::Publish(again) = publish(9, message("alerts/fire", Qos::ExactlyOnce, "!")) else {
            unreachable!()
        };
        other.send(&Packet::Publish(Publish { dup: true, ..again })).await;
        assert_eq!(other.next().await, Packet::PubRec(Ack::new(id(9), ReasonCode::Success)));
        other.send(&Packet::PubRel(Ack::new(id(9), ReasonCode::Success))).await;
        assert_eq!(other.next().await, Packet::PubComp(Ack::new(id(9), ReasonCode::Success)));
        // The subscriber has the message already: only the end of the exchange is told.
        let (mut app, _) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert_eq!(app.next().await, Packet::PubRel(Ack::new(id(packet_id), ReasonCode::Success)));
        app.send(&Packet::PubComp(Ack::new(id(packet_id), ReasonCode::Success))).await;
        app.hears_nothing().await;
    });
}

#[test]
fn a_clean_start_forgets_the_session_and_an_expired_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        goes(app.subscribed("alerts/#").await).await;
        let app = site.app("acme", "dashboard").connected().await;
        goes(app).await;
        let (app, present) = site.app("acme", "dashboard").stays(1).resumed().await;
        assert!(!present);
        goes(app.subscribed("alerts/#").await).await;
        until("the session has ended", || site.needed_from("acme") == u64::MAX).await;
        let (_, present) = site.app("acme", "dashboard").stays(1).resumed().await;
        assert!(!present);
    });
}

#[test]
fn a_session_that_retention_has_overtaken_hears_how_many_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.log_bytes_max = 1024 * 1024);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        goes(app.subscribed("alerts/#").await).await;
        let mut other = site.app("acme", "other").connected().await;
        for number in 1..=300_u16 {
            other.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, vec![b'x'; 10_000]))).await;
            assert_eq!(other.next().await, puback(number, ReasonCode::Success));
        }
        let counters = site.counters("acme");
        let missed = counters.messages_missed.value();
        assert!((190..220).contains(&missed), "{missed}");
        assert!(counters.log_held_bytes.value() <= 1024 * 1024);
        // Whoever trims the log may take them.
        assert_eq!(site.needed_from("acme"), missed + 1);
        let mut app = site.app("acme", "dashboard").stays(HOUR_S);
        app.send_connect().await;
        let connack = app.is_let_in().await;
        assert!(connack.session_present);
        let told = connack.properties.user_properties;
        assert_eq!(told, [("muster-missed".into(), missed.to_string().into())]);
        let (packet_id, _, payload) = said(app.next().await);
        assert_eq!(payload.len(), 10_000);
        app.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        for _ in missed + 1..300 {
            let (packet_id, ..) = said(app.next().await);
            app.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        }
        app.hears_nothing().await;
    });
}

#[test]
fn a_takeover_hands_the_session_on_with_what_was_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        let mut first = app.subscribed("alerts/#").await;
        let mut other = site.app("acme", "other").connected().await;
        other.send(&publish(1, message("alerts/fire", Qos::AtLeastOnce, "!"))).await;
        other.next().await;
        let (packet_id, ..) = said(first.next().await);
        let (mut second, present) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        assert!(present);
        assert_eq!(first.is_told_to_go().await.code, ReasonCode::SessionTakenOver);
        assert_eq!(said(second.next().await), (packet_id, true, "!".to_owned()));
    });
}

#[test]
fn a_will_waits_for_its_delay_and_for_no_longer_than_its_session() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("devices/#").await;
        for (delay_s, expiry_s) in [(1, HOUR_S), (HOUR_S, 1)] {
            let will = message("devices/pump-1/events/gone", Qos::AtLeastOnce, "vanished");
            let device = site.device("acme", "pump-1").stays(expiry_s).leaves_behind_after(will, delay_s);
            drop(device.connected().await);
            let (packet_id, _, payload) = said(app.next().await);
            assert_eq!(payload, "vanished");
            app.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        }
    });
}

#[test]
fn messages_whose_time_is_over_are_counted_wherever_they_wait() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let brief = |number: u16| {
            let properties = MessageProperties { expiry_interval_s: Some(1), ..Default::default() };
            Message {
                properties: Some(properties.into()),
                ..message("alerts/fire", Qos::AtLeastOnce, number.to_string())
            }
        };
        let away = site.app("acme", "dashboard").stays(HOUR_S).connected().await;
        goes(away.subscribed("alerts/#").await).await;
        let slow = site.app("acme", "slow").takes_at_once(1).connected().await;
        let mut slow = slow.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        for number in 1..=2 {
            siren.send(&publish(number, brief(number))).await;
            assert_eq!(siren.next().await, puback(number, ReasonCode::Success));
        }
        let (packet_id, _, payload) = said(slow.next().await);
        assert_eq!(payload, "1");
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The second waited for an acknowledgement of the first, and both waited for who was away.
        slow.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        slow.hears_nothing().await;
        assert_eq!(site.counters("acme").messages_expired.value(), 1);
        let (mut back, _) = site.app("acme", "dashboard").stays(HOUR_S).resumed().await;
        back.hears_nothing().await;
        assert_eq!(site.counters("acme").messages_expired.value(), 3);
        assert_eq!(site.counters("acme").messages_dropped.value(), 0);
    });
}
