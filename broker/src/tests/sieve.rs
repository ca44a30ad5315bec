//! What a sieve keeps back reaches nobody, and holds up nothing.

use muster_mqtt::{Ack, Packet, PacketId, Publish, ReasonCode};
use muster_schemas::Qos;

use super::{Site, id, message, puback, publish, story, until};

const HOUR_S: u32 = 3_600;

fn payload(packet: &Packet) -> String {
    match packet {
        Packet::Publish(Publish { message, .. }) => String::from_utf8_lossy(&message.payload).into_owned(),
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

#[test]
fn what_is_kept_back_reaches_others_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let (reader, _) = site.app("acme", "reader").stays(HOUR_S).resumed().await;
        let mut reader = reader.subscribed("#").await;
        let other = site.app("acme", "other").connected().await;
        let mut other = other.subscribed("#").await;
        let mut writer = site.app("acme", "writer").connected().await;
        let mut number = 0;
        // More than may be on their way to a session that acknowledges none.
        for _ in 0..1_500 {
            number += 1;
            writer.send(&publish(number, message("hidden/x", Qos::AtLeastOnce, "no"))).await;
            assert_eq!(writer.next().await, puback(number, ReasonCode::Success));
            let told = other.next().await;
            assert_eq!(payload(&told), "no");
            let Packet::Publish(Publish { packet_id, .. }) = told else { unreachable!() };
            let packet_id = packet_id.map_or(0, PacketId::get);
            other.send(&Packet::PubAck(Ack::new(id(packet_id), ReasonCode::Success))).await;
        }
        for (qos, text) in [(Qos::AtMostOnce, "0"), (Qos::AtLeastOnce, "1"), (Qos::ExactlyOnce, "2")] {
            number += 1;
            writer.send(&publish(number, message("hidden/x", qos, "no"))).await;
            number += 1;
            writer.send(&publish(number, message("shown/x", qos, text))).await;
            assert_eq!(payload(&reader.next().await), text);
        }
        until("the log is not needed for what was kept back", || site.needed_from("acme") > 1_500).await;
    });
}

#[test]
fn what_is_retained_is_kept_back_too() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut writer = site.app("acme", "writer").connected().await;
        for (number, topic) in [(1, "hidden/x"), (2, "shown/x")] {
            let mut kept = message(topic, Qos::AtLeastOnce, topic);
            kept.retain = true;
            writer.send(&publish(number, kept)).await;
            assert_eq!(writer.next().await, puback(number, ReasonCode::NoMatchingSubscribers));
        }
        let mut reader = site.app("acme", "reader").connected().await.subscribed("#").await;
        assert_eq!(payload(&reader.next().await), "shown/x");
        reader.hears_nothing().await;
    });
}
