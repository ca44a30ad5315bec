//! Whoever asks for more than anybody should: everything that is retained, topics as deep as they come, filters that make
//! a search long. It gets what it may have, and others are served.

use std::time::Duration;

use muster_actors::world;
use muster_mqtt::{Disconnect, ReasonCode, Subscribe, SubscriptionOptions, Version};
use muster_schemas::{Message, Qos};

use super::*;

/// Messages that are retained: five times what a delivery queue holds.
const RETAINED: usize = 50_000;

/// Has them retained, with topics that are their numbers.
async fn retains(site: &Site) {
    let mut app = site.app("acme", "historian").connected().await;
    for batch in 0..RETAINED / 500 {
        let mut bytes = Vec::new();
        for n in 0..500_u16 {
            let topic = format!("r/{}", batch * 500 + usize::from(n));
            let kept = Message { retain: true, ..message(&topic, Qos::AtLeastOnce, "x") };
            bytes.extend(app.bytes(&publish(n + 1, kept)));
        }
        app.send_bytes(&bytes).await;
        for _ in 0..500 {
            assert!(matches!(app.next().await, Packet::PubAck(ack) if !ack.code.is_failure()));
        }
    }
}

#[test]
fn all_that_is_retained_is_read_whole_by_who_reads_slowly_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        retains(&site).await;
        let mut other = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let mut reader = site.app("acme", "reader").takes_at_once(10).connected().await;
            let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
            let filters = vec![("#".parse().unwrap(), options)];
            let (packet_id, subscription_id, user_properties) = (id(1), None, Vec::new());
            let subscribe = Subscribe { packet_id, subscription_id, filters, user_properties };
            reader.send(&Packet::Subscribe(subscribe)).await;
            assert!(matches!(reader.next().await, Packet::SubAck(_)));
            let (mut seen, mut count) = (vec![false; RETAINED], 0);
            while count < RETAINED {
                if count % 1_000 == 0 {
                    other.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
                    // In its turn, and not behind what the reader has yet to read.
                    assert!(matches!(other.next().await, Packet::Publish(_)));
                }
                let Packet::Publish(delivered) = reader.next().await else { panic!("not a PUBLISH") };
                if let Some(packet_id) = delivered.packet_id {
                    reader.send(&puback(packet_id.get(), ReasonCode::Success)).await;
                }
                if delivered.message.retain {
                    let number: usize = delivered.message.topic.as_str()[2..].parse().unwrap();
                    assert!(!std::mem::replace(&mut seen[number], true), "{number} comes twice");
                    count += 1;
                }
            }
            reader.hears_nothing().await;
        }
        let counters = site.counters("acme");
        assert_eq!((counters.messages_dropped.value(), counters.quota_queue.value()), (0, 0));
    });
}

#[test]
fn topics_of_any_depth_are_refused_or_carried_and_nobody_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut witness = site.app("acme", "witness").connected().await.subscribed("alerts/#").await;
        let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let packet = |first: u8, body: Vec<u8>| {
            let length = body.len();
            let length = [length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14];
            [vec![first], length.map(|byte| byte as u8).to_vec(), body].concat()
        };
        for topic in ["/".repeat(65_535), "+/".repeat(32_767), "x".repeat(65_535)] {
            let publish = packet(0x30, [text(&topic), vec![0], b"payload".to_vec()].concat());
            let filters = [vec![0, 1, 0], text(&topic), vec![0]].concat();
            let (subscribe, unsubscribe) =
                (packet(0x82, filters.clone()), packet(0xa2, filters[..filters.len() - 1].to_vec()));
            for bytes in [publish, subscribe, unsubscribe] {
                let mut rude = site.app("acme", "rude").connected().await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut rude.stream, &bytes).await;
                let Disconnect { code, .. } = rude.is_told_to_go().await;
                let about_topics = [
                    ReasonCode::TopicNameInvalid,
                    ReasonCode::TopicFilterInvalid,
                    ReasonCode::MalformedPacket,
                    ReasonCode::ProtocolError,
                ];
                assert!(about_topics.contains(&code), "{code}");
            }
        }
        // As deep as they may be.
        let deepest = format!("a{}", "/".repeat(63));
        let mut deep = site.app("acme", "deep").connected().await;
        let everywhere = format!("a{}", "/+".repeat(63));
        let filters = [deepest.as_str(), everywhere.as_str(), "a/#"];
        assert_eq!(deep.subscribes(&filters).await, [ReasonCode::GrantedQos2; 3]);
        deep.send(&publish(1, message(&deepest, Qos::AtLeastOnce, "x"))).await;
        let heard = [deep.next().await, deep.next().await];
        assert!(heard.contains(&puback(1, ReasonCode::Success)), "{heard:?}");
        witness.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
        assert!(matches!(witness.next().await, Packet::Publish(_)));
        assert_eq!(site.counters("acme").sessions_panicked.value(), 0);
    });
}

#[test]
fn who_makes_its_messages_hard_to_route_is_read_at_its_pace() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| {
            // As by default, and no burst.
            quotas.device.quota.messages.burst_max = 5_000;
        });
        let mut pump = site.device("acme", "pump-1").connected().await;
        let mut other = site.device("acme", "pump-2").connected().await;
        let mut refused = 0;
        for part in 0..100_u32 {
            let filters = (0..10).map(|n| {
                let word = part * 10 + n;
                let levels = (0..10).map(|at| if word >> at & 1 == 1 { "a/" } else { "+/" });
                format!("devices/pump-1/{}{}end", levels.collect::<String>(), "+/".repeat(50))
            });
            let filters: Vec<String> = filters.collect();
            let codes = pump.subscribes(&filters.iter().map(String::as_str).collect::<Vec<_>>()).await;
            refused += codes.iter().filter(|code| **code == ReasonCode::QuotaExceeded).count();
        }
        assert_eq!(refused, 1_000 - 1_000 / 8, "each counts for eight");
        let counters = site.counters("acme");
        assert_eq!(counters.throttled_ms.value(), 0);
        // 125 filters of 63 levels: some thousand steps for each message, and as many messages as it may send at once.
        let topic = format!("devices/pump-1/{}", ["a"; 60].join("/"));
        let batch = pump.bytes(&publish(0, message(&topic, Qos::AtMostOnce, "x"))).repeat(200);
        for _ in 0..10 {
            pump.send_bytes(&batch).await;
            other.send(&publish(1, message("devices/pump-2/events/flow", Qos::AtLeastOnce, "1"))).await;
            assert_eq!(other.next().await, puback(1, ReasonCode::NoMatchingSubscribers));
        }
        pump.hears_nothing().await;
        assert!(counters.throttled_ms.value() > 1_000, "{}", counters.throttled_ms.value());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(counters.sessions.value(), 2, "nobody is disconnected for it");
        let mut old = site.device("acme", "pump-3").speaks(Version::V311).connected().await;
        old.hears_nothing().await;
    });
}
