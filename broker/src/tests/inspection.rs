//! Looking in from outside: clients, topics, traces, and a tenant's own numbers.

use std::collections::BTreeMap;

use muster_mqtt::{PacketType, ReasonCode, Version};
use muster_schemas::{Kind, Qos};

use super::{site::admitted, *};
use crate::{
    Access,
    inspection::{ClientSeen, Direction, Inspector, NotInspected, TraceTarget, Whom},
    limits::{TRACED_WAITING_MAX, TRACES_MAX},
};

fn inspector(site: &Site, tenant: &str) -> Inspector {
    site.directory().find(&tenant.parse().unwrap()).unwrap().inspector.clone()
}

/// The numbers of `$SYS` that a peer is told, until it is told nothing more.
async fn numbers(peer: &mut Peer) -> BTreeMap<String, String> {
    let mut numbers = BTreeMap::new();
    peer.subscribes(&["$SYS/#"]).await;
    while numbers.len() < 40 {
        if let Packet::Publish(publish) = peer.next().await {
            let payload = String::from_utf8_lossy(&publish.message.payload).into_owned();
            assert!(publish.message.retain && publish.message.qos == Qos::AtMostOnce);
            numbers.insert(publish.message.topic.to_string(), payload);
        }
    }
    numbers
}

#[test]
fn a_tenant_is_told_its_own_numbers_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        device.send(&publish(1, message("devices/pump-1/events/boot", Qos::AtLeastOnce, "12345"))).await;
        assert_eq!(device.next().await, puback(1, ReasonCode::NoMatchingSubscribers));
        let mut kept = message("devices/pump-1/twin/reported", Qos::AtLeastOnce, "on");
        kept.retain = true;
        device.send(&publish(2, kept)).await;
        device.next().await;

        let mut acme = site.app("acme", "dashboard").connected().await;
        let mut globex = site.app("globex", "dashboard").connected().await;
        let (acme, globex) = (numbers(&mut acme).await, numbers(&mut globex).await);
        let of =
            |numbers: &BTreeMap<String, String>, name: &str| numbers[&format!("$SYS/broker/{name}")].clone();
        for (name, ours, theirs) in [
            ("clients/connected", "2", "1"),
            ("publish/messages/received", "2", "0"),
            ("publish/bytes/received", "7", "0"),
            ("messages/received", "5", "2"),
            ("retained messages/count", "1", "0"),
            ("subscriptions/count", "0", "0"),
        ] {
            assert_eq!(of(&acme, name), ours, "{name}");
            assert_eq!(of(&globex, name), theirs, "{name}");
        }
    });
}

#[test]
fn numbers_are_not_for_devices_nor_for_wildcards_and_nobody_publishes_them() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut other = site.app("acme", "other").connected().await;
        numbers(&mut other).await;
        app.hears_nothing().await;
        let mut device = site.device("acme", "pump-1").connected().await;
        assert_eq!(device.subscribes(&["$SYS/#"]).await, [ReasonCode::NotAuthorized]);
        app.send(&publish(1, message("$SYS/broker/uptime", Qos::AtLeastOnce, "0"))).await;
        let Packet::PubAck(ack) = app.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.code, ReasonCode::TopicNameInvalid);
    });
}

#[test]
fn connected_clients_are_listed_page_by_page_with_what_they_do() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let _other = site.app("globex", "dashboard").connected().await;
        let mut device = site.device("acme", "pump-1").speaks(Version::V311).connected().await;
        let mut app = site.app("acme", "dashboard").connected().await;
        app.subscribes(&["devices/+/events/#", "alerts"]).await;
        device.send(&publish(1, message("devices/pump-1/events/boot", Qos::AtLeastOnce, "1"))).await;
        device.next().await;
        app.next().await;
        // A connection that has not said who it is is nobody's client yet.
        let (_silent, _outbox) = site.opens(admitted("acme", Kind::App, "silent", Access::app())).await;

        let inside = inspector(&site, "acme");
        let (all, last) = inside.clients(None, 10).await.unwrap();
        let [device, app] = &*all else { panic!("{all:?}") };
        assert_eq!(
            (device.kind, device.id.as_str(), device.version),
            (Kind::Device, "pump-1", Version::V311)
        );
        assert_eq!((device.messages_in, device.messages_out, device.subscriptions), (1, 0, 0));
        assert_eq!((app.client.as_str(), app.subscriptions), ("dashboard", 2));
        assert_eq!((app.messages_in, app.messages_out, app.in_flight, app.queued), (0, 1, 1, 0));
        assert!(device.session < app.session && last > Some(app.session));

        // When it connected is worked out from two clocks that tick apart.
        let same = |page: &[ClientSeen], one: &ClientSeen| {
            let connected_at_ms = page.first().map_or(0, |seen| seen.connected_at_ms);
            page == [ClientSeen { connected_at_ms, ..one.clone() }]
        };
        let (first, last) = inside.clients(None, 1).await.unwrap();
        assert!(same(&first, device), "{first:?}");
        let (second, last) = inside.clients(last, 1).await.unwrap();
        assert!(same(&second, app), "{second:?}");
        let (third, last) = inside.clients(last, 1).await.unwrap();
        assert_eq!((third.len(), last.is_some()), (0, true));
        assert_eq!(inside.clients(last, 1).await.unwrap(), (Vec::new(), None));
    });
}

#[test]
fn whoever_is_kicked_is_told_so_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut neighbour = site.device("globex", "pump-1").connected().await;
        let mut device = site.device("acme", "pump-1").connected().await;
        let mut app = site.app("acme", "dashboard").connected().await;
        let inside = inspector(&site, "acme");
        let nobody = Whom::Client("pump-2".parse().unwrap());
        assert_eq!(inside.kick(nobody, "go".to_owned()).await, Ok(0));
        let whom = Whom::Client("pump-1".parse().unwrap());
        assert_eq!(inside.kick(whom, "maintenance".to_owned()).await, Ok(1));
        let told = device.is_told_to_go().await;
        assert_eq!(
            (told.code, told.reason.as_deref()),
            (ReasonCode::AdministrativeAction, Some("maintenance"))
        );
        neighbour.hears_nothing().await;
        app.hears_nothing().await;
        let whom = Whom::Principal(Kind::App, "dashboard".parse().unwrap());
        assert_eq!(inside.kick(whom, "bye".to_owned()).await, Ok(1));
        app.is_told_to_go().await;
    });
}

#[test]
fn retained_topics_and_filters_are_listed_without_payloads() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        app.subscribes(&["alerts/high", "devices/#"]).await;
        let _other = site.app("acme", "other").connected().await.subscribed("alerts/#").await;
        let mut third = site.app("acme", "third").connected().await;
        for (number, topic) in [(1, "a"), (2, "a/b"), (3, "a/c"), (4, "b")] {
            let mut kept = message(topic, Qos::AtLeastOnce, "secret");
            kept.retain = true;
            third.send(&publish(number, kept)).await;
            third.next().await;
        }
        let inside = inspector(&site, "acme");
        let below_a = "a/#".parse().unwrap();
        let first = inside.retained_topics(&below_a, None, 2).await.unwrap();
        let names: Vec<_> = first.iter().map(|seen| (seen.topic.as_str(), seen.bytes)).collect();
        assert_eq!(names, [("a", 6), ("a/b", 6)]);
        let rest = inside.retained_topics(&below_a, Some(&first[1].topic), 2).await.unwrap();
        let names: Vec<_> = rest.iter().map(|seen| seen.topic.as_str()).collect();
        assert_eq!(names, ["a/c"]);
        assert_eq!(inside.retained_topics(&below_a, Some(&rest[0].topic), 2).await, Ok(Vec::new()));

        let all = inside.filters(None).await.unwrap();
        let seen: Vec<_> = all.filters.iter().map(|seen| (&*seen.filter, seen.subscribers)).collect();
        assert_eq!(seen, [("alerts/#", 2), ("alerts/high", 1), ("devices/#", 1)]);
        let some = inside.filters(Some("alerts/#".parse().unwrap())).await.unwrap();
        assert_eq!((some.filters.len(), some.truncated), (2, false));
        let theirs = inspector(&site, "globex");
        assert_eq!(theirs.filters(None).await.unwrap().filters, []);
        assert_eq!(theirs.retained_topics(&"#".parse().unwrap(), None, 9).await, Ok(Vec::new()));
    });
}

#[test]
fn a_trace_tells_the_packets_of_one_client_both_ways_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let inside = inspector(&site, "acme");
        let mut trace = inside.trace(TraceTarget::Client("pump-1".to_owned()), true).unwrap();
        let mut _same_name = site.device("globex", "pump-1").connected().await;
        let mut other = site.device("acme", "pump-2").connected().await;
        other.send(&publish(1, message("devices/pump-2/events/boot", Qos::AtLeastOnce, "1"))).await;
        other.next().await;
        let mut device = site.device("acme", "pump-1").connected().await;
        device.subscribes(&["devices/pump-1/commands/#"]).await;
        device
            .send(&publish(7, message("devices/pump-1/events/boot", Qos::AtLeastOnce, vec![b'x'; 300])))
            .await;
        device.next().await;
        device.send(&publish(8, message("devices/pump-2/events/boot", Qos::AtLeastOnce, "mine"))).await;
        device.next().await;

        let mut told = Vec::new();
        for _ in 0..8 {
            let traced = trace.next().await.unwrap();
            assert_eq!((traced.kind, traced.id.as_str(), traced.dropped), (Kind::Device, "pump-1", 0));
            told.push((traced.direction, traced.packet));
        }
        use Direction::{In, Out};
        let types: Vec<_> = told.iter().map(|(direction, packet)| (*direction, packet.packet)).collect();
        assert_eq!(
            types,
            [
                (In, PacketType::Connect),
                (Out, PacketType::ConnAck),
                (In, PacketType::Subscribe),
                (Out, PacketType::SubAck),
                (In, PacketType::Publish),
                (Out, PacketType::PubAck),
                (In, PacketType::Publish),
                (Out, PacketType::PubAck),
            ]
        );
        let (subscribe, published, refused) = (&told[2].1, &told[4].1, &told[7].1);
        assert_eq!(subscribe.filters, ["devices/pump-1/commands/#"]);
        assert_eq!((published.packet_id, published.bytes), (Some(7), Some(300)));
        assert_eq!(published.payload.as_ref().unwrap().len(), 256);
        assert_eq!(refused.codes, [ReasonCode::NotAuthorized]);
        assert!(refused.reason.as_ref().unwrap().contains("device-own-topics"));
    });
}

#[test]
fn a_trace_of_a_topic_follows_a_message_from_publisher_to_subscriber_without_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        let mut other = site.app("acme", "other").connected().await;
        let inside = inspector(&site, "acme");
        let mut trace = inside.trace(TraceTarget::Topic("alerts/+".parse().unwrap()), false).unwrap();
        other.send(&publish(1, message("elsewhere", Qos::AtLeastOnce, "1"))).await;
        other.next().await;
        other.send(&publish(2, message("alerts/high", Qos::AtLeastOnce, "1"))).await;
        let (from, to) = (trace.next().await.unwrap(), trace.next().await.unwrap());
        assert_eq!((from.id.as_str(), from.direction), ("other", Direction::In));
        assert_eq!((to.id.as_str(), to.direction), ("dashboard", Direction::Out));
        assert!(from.packet.payload.is_none() && to.packet.payload.is_none());
        app.next().await;
    });
}

#[test]
fn a_trace_that_nobody_reads_loses_packets_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let inside = inspector(&site, "acme");
        let mut device = site.device("acme", "pump-1").connected().await;
        let mut trace = inside.trace(TraceTarget::Client("pump-1".to_owned()), false).unwrap();
        let published = TRACED_WAITING_MAX as u64 / 2 + 10;
        for _ in 0..published {
            device.send(&publish(1, message("devices/pump-1/events/x", Qos::AtLeastOnce, ""))).await;
            device.next().await;
        }
        for _ in 0..TRACED_WAITING_MAX {
            assert_eq!(trace.next().await.unwrap().dropped, 0);
        }
        device.send(&Packet::PingReq).await;
        device.next().await;
        assert_eq!(trace.next().await.unwrap().dropped, 2 * published - TRACED_WAITING_MAX as u64);
        // The bound, and that whoever leaves makes room.
        let target = || TraceTarget::Client("x".to_owned());
        let more: Vec<_> = (1..TRACES_MAX).map(|_| inside.trace(target(), false).ok().unwrap()).collect();
        assert_eq!(inside.trace(target(), false).err(), Some(NotInspected::TooManyTraces(TRACES_MAX)));
        drop(more);
        assert!(inside.trace(target(), false).is_ok());
    });
}
