//! Who gets what.

use muster_mqtt::{Ack, ReasonCode, Version};
use muster_schemas::{Kind, Qos};

use super::{site::admitted, *};
use crate::{
    Access,
    connection::{self, Link},
    session::{Arrived, Inbound},
};

#[test]
fn a_publish_reaches_subscribers_of_its_tenant_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        for version in [Version::V311, Version::V5] {
            let mut neighbour = site.app("globex", "dashboard").speaks(version).connected().await;
            assert_eq!(neighbour.subscribes(&["#"]).await, [ReasonCode::GrantedQos2]);
            let mut app =
                site.app("acme", "dashboard").speaks(version).connected().await.subscribed("#").await;
            let mut device = site.device("acme", "pump-1").speaks(version).connected().await;
            let topic = "devices/pump-1/events/boot";

            device.send(&publish(0, message(topic, Qos::AtMostOnce, "0"))).await;
            assert_eq!(app.next().await, publish(0, message(topic, Qos::AtMostOnce, "0")));

            device.send(&publish(1, message(topic, Qos::AtLeastOnce, "1"))).await;
            assert_eq!(device.next().await, puback(1, ReasonCode::Success));
            let delivered = app.next().await;
            assert_eq!(
                delivered,
                publish(packet_id(&delivered).get(), message(topic, Qos::AtLeastOnce, "1"))
            );
            app.send(&Packet::PubAck(Ack::new(packet_id(&delivered), ReasonCode::Success))).await;

            device.send(&publish(2, message(topic, Qos::ExactlyOnce, "2"))).await;
            let ack = Ack::new(id(2), ReasonCode::Success);
            assert_eq!(device.next().await, Packet::PubRec(ack.clone()));
            device.send(&Packet::PubRel(ack.clone())).await;
            assert_eq!(device.next().await, Packet::PubComp(ack));
            let delivered = app.next().await;
            let ack = Ack::new(packet_id(&delivered), ReasonCode::Success);
            app.send(&Packet::PubRec(ack.clone())).await;
            assert_eq!(app.next().await, Packet::PubRel(ack.clone()));
            app.send(&Packet::PubComp(ack)).await;

            app.hears_nothing().await;
            neighbour.hears_nothing().await;
        }
        assert_eq!(site.counters("acme").messages_delivered.value(), 6);
        assert_eq!(site.counters("globex").messages_delivered.value(), 0);
        assert_eq!(site.counters("globex").messages_received.value(), 0);
        site.is_quiet().await;
        until("the sessions have ended with their peers", || site.counters("acme").sessions.value() == 0)
            .await;
    });
}

#[test]
fn a_large_message_arrives_whole_and_many_small_ones_in_order() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        let mut other = site.app("acme", "siren").connected().await;
        let payload: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        other.send(&publish(0, message("alerts/large", Qos::AtMostOnce, payload.clone()))).await;
        assert_eq!(app.next().await, publish(0, message("alerts/large", Qos::AtMostOnce, payload)));

        let small = |n: u32| publish(0, message("alerts/small", Qos::AtMostOnce, n.to_string()));
        let burst: Vec<u8> = (0..5_000).flat_map(|n| other.bytes(&small(n))).collect();
        other.send_bytes(&burst).await;
        for n in 0..5_000 {
            assert_eq!(app.next().await, small(n));
        }
        other.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn what_came_before_connack_is_acted_on_after_it() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        let mut hasty = site.app("acme", "siren");
        let connect = Packet::Connect(Box::new(peer::connect(Version::V5, "siren")));
        let first = hasty.bytes(&connect);
        let second = hasty.bytes(&publish(1, message("alerts/fire", Qos::AtLeastOnce, "!")));
        hasty.send_bytes(&[first, second].concat()).await;
        assert!(matches!(hasty.next().await, Packet::ConnAck(_)));
        assert_eq!(hasty.next().await, puback(1, ReasonCode::Success));
        assert!(matches!(app.next().await, Packet::Publish(_)));
        site.is_quiet().await;
    });
}

#[test]
fn a_peer_is_heard_while_its_session_has_a_full_mailbox() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = admitted("acme", Kind::App, "dashboard", Access::app());
        let (opened, reader) = site.opens(app).await;
        let session = opened.session.clone();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let credits = [(); 2].map(|()| site.credit("acme").clone());
        let link = Link::new(ours, (opened, reader), credits, site.surroundings.clone());
        actix_rt::spawn(connection::serve(Box::pin(async { Some(link) }), ()));
        let mut peer = Peer::new(theirs, "dashboard").connected().await;
        // The reader comes with several batches at once, to a mailbox with more in it than actix likes to see.
        peer.send_bytes(&[0xc0, 0].repeat(40_000)).await;
        for _ in 0..40 {
            session.do_send(Inbound { arrived: Arrived::Drained, permit: None });
        }
        for _ in 0..40_000 {
            assert_eq!(peer.next().await, Packet::PingResp);
        }
        site.is_quiet().await;
    });
}

#[test]
fn a_fan_out_in_slices_reaches_everybody_in_order() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut crowd = Vec::new();
        for n in 0..600 {
            crowd.push(site.app("acme", &format!("app-{n}")).connected().await.subscribed("alerts/#").await);
        }
        let mut siren = site.app("acme", "siren").connected().await;
        for n in 1..=3 {
            siren.send(&publish(n, message("alerts/fire", Qos::AtLeastOnce, n.to_string()))).await;
        }
        for n in 1..=3 {
            assert_eq!(siren.next().await, puback(n, ReasonCode::Success));
        }
        for app in &mut crowd {
            for n in 1..=3 {
                let delivered = app.next().await;
                let expected = message("alerts/fire", Qos::AtLeastOnce, n.to_string());
                assert_eq!(delivered, publish(packet_id(&delivered).get(), expected));
            }
        }
        site.is_quiet().await;
    });
}
