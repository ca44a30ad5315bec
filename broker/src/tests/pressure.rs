//! Who is held to a quota, what it is told, and that nobody else notices.

use std::time::Duration;

use muster_actors::{Clock, SystemClock, world};
use muster_mqtt::{ReasonCode, Version};
use muster_schemas::{Kind, Message, Qos};
use tokio::io::AsyncWriteExt as _;

use super::{site::admitted, *};
use crate::{Access, Rate};

/// A device floods at QoS 0 and never stops.
async fn flood(peer: Peer, topic: String) {
    let batch = peer.bytes(&publish(0, message(&topic, Qos::AtMostOnce, "x"))).repeat(100);
    let mut stream = peer.stream;
    while stream.write_all(&batch).await.is_ok() {}
}

#[test]
fn a_flooding_device_is_throttled_alone() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let rate = Rate { per_s_max: 100, burst_max: 200 };
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.device.quota.messages = rate);
        let pump = site.device("acme", "pump-1").connected().await;
        let mut quiet = site.device("acme", "pump-2").connected().await;
        let mut app =
            site.app("acme", "dashboard").connected().await.subscribed("devices/pump-2/events/#").await;
        let counters = site.counters("acme");
        let began = (SystemClock.now(), counters.messages_received.value());
        actix_rt::spawn(flood(pump, "devices/pump-1/events/flow".to_owned()));
        for second in 1..=60_u64 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let asked = SystemClock.now();
            quiet.send(&publish(0, message("devices/pump-2/events/flow", Qos::AtMostOnce, "1"))).await;
            assert!(matches!(app.next().await, Packet::Publish(_)));
            assert!(
                SystemClock.now() - asked < Duration::from_millis(10),
                "its neighbour waits in second {second}"
            );
        }
        let minute = (SystemClock.now() - began.0).as_secs_f64();
        // One read holds at most so many messages: what was read goes its way before its reader waits.
        let one_read = crate::limits::READ_BYTES_MAX as f64 / 20.0;
        let passed = (counters.messages_received.value() - began.1 - 60) as f64;
        let steady = 100.0 * minute;
        assert!(passed <= 200.0 + steady + one_read, "{passed} in {minute} s");
        assert!(passed >= steady - one_read, "{passed} in {minute} s");
        assert!(counters.quota_messages.value() > 0 && counters.throttled_ms.value() > 50_000);
        assert_eq!(counters.sessions.value(), 3, "nobody is disconnected for it");
    });
}

#[test]
fn a_device_that_is_throttled_gets_no_fresh_burst_by_connecting_again() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let rate = Rate { per_s_max: 10, burst_max: 100 };
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.device.quota.messages = rate);
        let topic = "devices/pump-1/events/flow";
        let counters = site.counters("acme");
        for round in 1..=5 {
            let mut pump = site.device("acme", "pump-1").connected().await;
            let batch = pump.bytes(&publish(0, message(topic, Qos::AtMostOnce, "x"))).repeat(300);
            pump.send_bytes(&batch).await;
            until("a read was put off", || counters.quota_messages.value() >= round).await;
        }
        // After its CONNECT it is not read until the debt of the first round is paid.
        assert_eq!(counters.messages_received.value(), 300);
        assert!(counters.throttled_ms.value() > 5 * 19_000, "{}", counters.throttled_ms.value());
    });
}

#[test]
fn tenants_members_take_turns_when_the_tenant_is_at_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let rate = Rate { per_s_max: 2_000, burst_max: 2_000 };
        let site = Site::open_with(dir.path(), &["acme", "globex"], |quotas| quotas.tenant.messages = rate);
        let other = site.app("globex", "other").connected().await;
        let mut other = other.subscribed("alerts/#").await;
        for n in 1..=4 {
            let pump = site.device("acme", &format!("pump-{n}")).connected().await;
            actix_rt::spawn(flood(pump, format!("devices/pump-{n}/events/flow")));
        }
        let mut quiet = site.device("acme", "quiet").connected().await;
        let mut app =
            site.app("acme", "dashboard").connected().await.subscribed("devices/quiet/events/#").await;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            quiet.send(&publish(0, message("devices/quiet/events/flow", Qos::AtMostOnce, "1"))).await;
            assert!(matches!(app.next().await, Packet::Publish(_)));
            let asked = SystemClock.now();
            other.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
            assert!(matches!(other.next().await, Packet::Publish(_)));
            assert!(SystemClock.now() - asked < Duration::from_millis(10), "another tenant never waits");
        }
        assert_eq!(site.counters("globex").throttled_ms.value(), 0);
    });
}

#[test]
fn a_device_that_is_held_back_is_not_taken_for_dead() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let rate = Rate { per_s_max: 1, burst_max: 1 };
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.device.quota.messages = rate);
        let mut pump = site.device("acme", "pump-1").keeps_alive(10).connected().await;
        // More than a minute's worth: it is not read for longer than any keep alive.
        let batch = pump.bytes(&publish(0, message("devices/pump-1/events/flow", Qos::AtMostOnce, "x")));
        pump.send_bytes(&batch.repeat(100)).await;
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert_eq!(site.counters("acme").sessions.value(), 1);
        // What it said meanwhile is heard afterwards.
        pump.hears_nothing().await;
        // Its own silence ends it as ever.
        let silent = SystemClock.now();
        assert_eq!(pump.is_told_to_go().await.code, ReasonCode::KeepAliveTimeout);
        let silent = SystemClock.now() - silent;
        assert!(silent > Duration::from_secs(14) && silent < Duration::from_secs(18), "{silent:?}");
    });
}

#[test]
fn a_connection_too_many_is_told_which_quota_it_was() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme", "globex"], |quotas| {
            quotas.tenant.connections_max = 3;
            quotas.device.quota.connections_max = 1;
        });
        let _pump = site.device("acme", "pump-1").connected().await;
        let told = site.device("acme", "pump-1").knocks().await;
        assert_eq!(told.code, ReasonCode::QuotaExceeded);
        let reason = told.properties.reason.unwrap();
        assert_eq!(reason, "the device pump-1 has reached its quota of 1 connections; close one first");
        let second = site.device("acme", "pump-2").connected().await;
        let _app = site.app("acme", "dashboard").connected().await;
        let told = site.app("acme", "late").knocks().await;
        assert!(
            told.properties.reason.unwrap().starts_with("the tenant has reached its quota of 3 connections")
        );
        let old = site.app("acme", "late").speaks(Version::V311).knocks().await;
        assert_eq!(old.code.connack_return_code(), Some(3));
        assert_eq!(site.counters("acme").quota_connections.value(), 3);
        site.app("globex", "other").connected().await.hears_nothing().await;
        drop(second);
        until("it has gone", || site.counters("acme").sessions.value() == 2).await;
        site.app("acme", "late").connected().await.hears_nothing().await;
    });
}

#[test]
fn a_bomb_of_subscriptions_is_bounded_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let everything = Access::device(&"pump-1".parse().unwrap());
        let mut bomber =
            site.peer(admitted("acme", Kind::Device, "pump-1", everything), "bomber").connected().await;
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        let deep = "/x".repeat(4);
        let mut refused = 0_usize;
        for batch in 0..100 {
            let filters: Vec<String> =
                (0..1_000).map(|n| format!("devices/pump-1/{batch}/{n}{deep}")).collect();
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            for filters in filters.chunks(500) {
                let codes = bomber.subscribes(filters).await;
                refused += codes.iter().filter(|code| **code == ReasonCode::QuotaExceeded).count();
            }
            app.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
            assert!(matches!(app.next().await, Packet::Publish(_)));
        }
        assert_eq!(refused, 100_000 - 1_000, "one session holds a thousand");
        assert_eq!(site.counters("acme").quota_subscriptions.value(), 99_000);
    });
}

#[test]
fn a_bomb_of_retained_messages_is_bounded_and_everything_of_them_is_read_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| {
            quotas.device.quota.retained_messages_max = 3_000;
        });
        let mut bomber = site.device("acme", "pump-1").takes_at_once(100).connected().await;
        let mut refused = 0;
        for batch in 0..40_u16 {
            let mut bytes = Vec::new();
            for n in 0..100 {
                let topic = format!("devices/pump-1/events/{batch}/{n}");
                let kept = Message { retain: true, ..message(&topic, Qos::AtLeastOnce, "x") };
                bytes.extend(bomber.bytes(&publish(n + 1, kept)));
            }
            bomber.send_bytes(&bytes).await;
            for _ in 0..100 {
                match bomber.next().await {
                    Packet::PubAck(ack) if ack.code == ReasonCode::QuotaExceeded => {
                        assert!(
                            ack.reason.unwrap().contains("the device has reached its quota of 3000 retained")
                        );
                        refused += 1;
                    }
                    other => assert!(matches!(other, Packet::PubAck(_)), "{other:?}"),
                }
            }
        }
        assert_eq!(refused, 1_000);
        assert_eq!(site.counters("acme").quota_retained_messages.value(), 1_000);
        // Everybody asks for all of it at once, and somebody else is served meanwhile.
        let mut readers = Vec::new();
        for n in 0..10 {
            let mut reader = site.app("acme", &format!("reader-{n}")).connected().await;
            assert_eq!(reader.subscribes(&["#"]).await, [ReasonCode::GrantedQos2]);
            readers.push(reader);
        }
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        app.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
        assert!(matches!(app.next().await, Packet::Publish(_)));
        for mut reader in readers {
            let mut kept = 0;
            while kept < 3_000 {
                let Packet::Publish(delivered) = reader.next().await else { panic!("not a PUBLISH") };
                kept += usize::from(delivered.message.retain);
                if let Some(packet_id) = delivered.packet_id {
                    reader.send(&puback(packet_id.get(), ReasonCode::Success)).await;
                }
            }
        }
    });
}

#[test]
fn a_device_that_fills_its_share_of_the_log_is_refused_alone_until_sessions_have_read_it() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.device.log_bytes_max = 100_000);
        let app = site.app("acme", "dashboard").stays(3_600).connected().await;
        drop(app.subscribed("devices/+/events/#").await);
        until("the session is away", || site.counters("acme").sessions.value() == 0).await;
        let mut pump = site.device("acme", "pump-1").connected().await;
        let mut other = site.device("acme", "pump-2").connected().await;
        let event = |device: &str| {
            let topic = format!("devices/{device}/events/flow");
            publish(1, message(&topic, Qos::AtLeastOnce, "x".repeat(1_000)))
        };
        let mut taken = 0;
        let refusal = loop {
            pump.send(&event("pump-1")).await;
            match pump.next().await {
                Packet::PubAck(ack) if ack.code == ReasonCode::QuotaExceeded => break ack,
                other => assert_eq!(other, puback(1, ReasonCode::Success)),
            }
            taken += 1;
        };
        assert_eq!(taken, 100_000 / (1_000 + "devices/pump-1/events/flow".len() + 64));
        let reason = refusal.reason.unwrap();
        assert!(
            reason.starts_with("the device has reached its quota of 100000 bytes on the log"),
            "{reason}"
        );
        assert_eq!(site.counters("acme").quota_log_bytes.value(), 1);
        // Its neighbour goes on, and so does what no session waits for.
        other.send(&event("pump-2")).await;
        assert_eq!(other.next().await, puback(1, ReasonCode::Success));
        pump.send(&publish(1, message("devices/pump-1/telemetry/flow", Qos::AtLeastOnce, "1"))).await;
        assert_eq!(pump.next().await, puback(1, ReasonCode::Success));

        let (mut app, present) = site.app("acme", "dashboard").stays(3_600).resumed().await;
        assert!(present);
        for _ in 0..=taken {
            let Packet::Publish(delivered) = app.next().await else { panic!("not a PUBLISH") };
            app.send(&puback(delivered.packet_id.unwrap().get(), ReasonCode::Success)).await;
        }
        until("the log is let go", || site.counters("acme").log_held_bytes.value() < 10_000).await;
        for _ in 0..taken / 2 {
            pump.send(&event("pump-1")).await;
            assert_eq!(pump.next().await, puback(1, ReasonCode::Success));
        }
    });
}
