//! Who is told no, and how.

use muster_mqtt::{ReasonCode, Version};
use muster_schemas::{Kind, Qos};

use super::{site::admitted, *};
use crate::{Access, NotAdmitted};

#[test]
fn a_denied_publish_is_told_by_its_rule() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut device = site.device("acme", "pump-1").connected().await;
        let topic = "devices/pump-2/telemetry/flow";
        for (number, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce)] {
            device.send(&publish(number, message(topic, qos, "mine"))).await;
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = device.next().await else {
                panic!("not an answer")
            };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::NotAuthorized));
            assert_eq!(ack.reason.as_deref(), Some("not allowed by the rule \"device-own-topics\""));
        }
        device.send(&publish(0, message(topic, Qos::AtMostOnce, "mine"))).await;
        device.hears_nothing().await;
        assert_eq!(site.counters("acme").refused.value(), 3);

        let mut old = site.device("acme", "pump-3").speaks(Version::V311).connected().await;
        old.send(&publish(1, message(topic, Qos::AtLeastOnce, "mine"))).await;
        old.is_closed().await;
        app.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn a_suback_tells_each_filter_its_fate() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let filters = ["devices/pump-1/commands/#", "#", "$share/group/devices/pump-2/commands/#"];
        let mut device = site.device("acme", "pump-1").connected().await;
        let codes = [ReasonCode::GrantedQos2, ReasonCode::NotAuthorized, ReasonCode::NotAuthorized];
        assert_eq!(device.subscribes(&filters).await, codes);
        let mut old = site.device("acme", "pump-1").speaks(Version::V311).connected().await;
        let codes = old.subscribes(&filters).await;
        assert_eq!(codes.iter().map(|code| *code as u8).collect::<Vec<_>>(), [2, 0x80, 0x80]);
        site.is_quiet().await;
    });
}

#[test]
fn a_peer_that_the_gate_refuses_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &[]);
        let refusal = NotAdmitted { code: ReasonCode::Banned, reason: "pump-1 is suspended".to_owned() };
        let mut peer = site.refused(refusal.clone(), "pump-1");
        // It does not wait for its CONNACK, and hears it all the same.
        let connect = peer.bytes(&Packet::Connect(Box::new(peer::connect(Version::V5, "pump-1"))));
        let more = peer.bytes(&publish(1, message("a", Qos::AtLeastOnce, vec![0; 30_000])));
        peer.send_bytes(&[connect, more].concat()).await;
        let Packet::ConnAck(connack) = peer.next().await else { panic!("not a CONNACK") };
        assert_eq!(connack.code, ReasonCode::Banned);
        assert_eq!(connack.properties.reason.as_deref(), Some("pump-1 is suspended"));
        peer.is_closed().await;

        let mut old = site.refused(refusal, "pump-1").speaks(Version::V311);
        assert_eq!(old.knocks().await.code, ReasonCode::NotAuthorized);
        old.is_closed().await;
        assert_eq!(site.listener_counters().not_admitted.value(), 2);
    });
}

#[test]
fn a_tenant_that_is_not_here_or_not_yet_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &[]);
        let connack = site.app("acme", "dashboard").knocks().await;
        assert_eq!(connack.code, ReasonCode::ServerUnavailable);
        assert!(connack.properties.reason.unwrap().starts_with("tenant acme is not served by this hub"));
        assert!(site.directory().expect(&"acme".parse().unwrap()));
        let connack = site.app("acme", "dashboard").knocks().await;
        assert_eq!(connack.code, ReasonCode::ServerBusy);
        assert!(connack.properties.reason.unwrap().starts_with("tenant acme is restarting"));
    });
}

#[test]
fn the_first_peer_of_a_tenant_does_not_come_too_early() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let (opened, _outbox) = site.opens(admitted("acme", Kind::App, "dashboard", Access::app())).await;
        until("the session runs", || site.counters("acme").sessions.value() == 1).await;
        // A connection that goes away without a word takes its session with it.
        drop(opened);
        until("the session has ended", || site.counters("acme").sessions.value() == 0).await;
    });
}
