//! What is acknowledged is on disk.

use std::sync::mpsc::{SyncSender, sync_channel};

use muster_mqtt::{Ack, ReasonCode, Version};
use muster_schemas::{Message, Qos, stored::StoredMessage};

use super::*;
use crate::store::{Commit, Store};

const TELEMETRY: &str = "devices/pump-1/telemetry/flow";

/// Stops the committer until it is dropped.
struct Held(SyncSender<()>);

fn hold(store: &Store) -> Held {
    let (release, released) = sync_channel::<()>(0);
    let (entered, inside) = sync_channel(0);
    let done = Box::new(move |_| {
        entered.send(()).unwrap();
        let _ = released.recv();
    });
    store.commit(Commit { writes: Vec::new(), fence: None, permit: None, done });
    inside.recv().unwrap();
    Held(release)
}

/// The payloads in the tenant's log.
fn logged(site: &Site, tenant: &str) -> Vec<String> {
    let mut reader = site.keys(tenant).log().unwrap().reader(1);
    let records = reader.next_batch(10_000, 1 << 24).unwrap();
    let text = |record| StoredMessage::decode(record).unwrap().message.payload;
    records.into_iter().map(|(_, record)| String::from_utf8(text(record).into()).unwrap()).collect()
}

fn retained(topic: &str, payload: &'static str) -> Message {
    Message { retain: true, ..message(topic, Qos::AtLeastOnce, payload) }
}

#[test]
fn puback_waits_for_storage() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut device = site.device("acme", "pump-1").connected().await;
        let held = hold(&site.store);
        device.send(&publish(1, message(TELEMETRY, Qos::AtLeastOnce, "1"))).await;
        device.send(&publish(2, message(TELEMETRY, Qos::ExactlyOnce, "2"))).await;
        // Live subscribers do not wait for the disk; the publisher does.
        assert!(matches!(app.next().await, Packet::Publish(_)));
        assert!(matches!(app.next().await, Packet::Publish(_)));
        device.hears_nothing().await;
        assert_ne!(site.credit("acme").in_use(), (0, 0));
        drop(held.0);
        assert_eq!(device.next().await, puback(1, ReasonCode::Success));
        assert_eq!(device.next().await, Packet::PubRec(Ack::new(id(2), ReasonCode::Success)));
        assert_eq!(logged(&site, "acme"), ["1", "2"]);
        site.is_quiet().await;
    });
}

#[test]
fn a_router_that_waits_for_the_disk_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let mut site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        site.store.create_tenant(&"beta".parse().unwrap()).unwrap();
        let held = hold(&site.store);
        // Its router will ask the disk for its log, on the same thread as its neighbour.
        site.serve(&"beta".parse().unwrap());
        let mut waiting = site.app("beta", "dashboard");
        waiting.send_connect().await;
        app.hears_nothing().await;
        drop(held.0);
        waiting.is_let_in().await;
    });
}

#[test]
fn a_publish_that_nothing_durable_wants_is_acknowledged_at_once() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        // The router has read its log.
        assert_eq!(app.subscribes(&["elsewhere"]).await, [ReasonCode::GrantedQos2]);
        let _held = hold(&site.store);
        app.send(&publish(1, message("alerts/fire", Qos::AtLeastOnce, "!"))).await;
        assert_eq!(app.next().await, puback(1, ReasonCode::NoMatchingSubscribers));
        site.is_quiet().await;
    });
}

#[test]
fn a_peer_that_leaves_before_its_commit_gives_its_credit_back() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        let held = hold(&site.store);
        device.send(&publish(1, message(TELEMETRY, Qos::AtLeastOnce, "1"))).await;
        device.hears_nothing().await;
        drop(device);
        until("the session has ended", || site.counters("acme").sessions.value() == 0).await;
        drop(held.0);
        site.is_quiet().await;
        assert_eq!(logged(&site, "acme"), ["1"]);
    });
}

#[test]
fn a_peer_that_floods_a_slow_disk_is_held_up_and_not_buffered() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        let held = hold(&site.store);
        let flood: Vec<u8> = (1..=1_000)
            .flat_map(|n| device.bytes(&publish(n, message(TELEMETRY, Qos::AtLeastOnce, vec![b'x'; 4_000]))))
            .collect();
        // 4 MB do not fit into the credit of one connection: the write cannot end before the disk goes on.
        let mut sending = Box::pin(device.send_bytes(&flood));
        let own_bytes_max = crate::limits::CONNECTION_BYTES_MAX;
        let batches_max = crate::limits::CONNECTION_BATCHES_MAX;
        tokio::select! {
            () = &mut sending => panic!("4 MB went in while the disk stood still"),
            () = until("its credit is used up", || site.credit("acme").in_use().0 == batches_max) => {}
        }
        assert!(site.credit("acme").in_use().1 <= own_bytes_max);
        // A neighbour of the same tenant has its own share.
        site.app("acme", "dashboard").connected().await.hears_nothing().await;
        drop(held.0);
        sending.await;
        for n in 1..=1_000 {
            assert_eq!(device.next().await, puback(n, ReasonCode::Success));
        }
        site.is_quiet().await;
        assert_eq!(logged(&site, "acme").len(), 1_000);
    });
}

#[test]
fn a_full_disk_refuses_with_a_reason_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        let mut old = site.device("acme", "pump-1").speaks(Version::V311).connected().await;
        // Another client identifier of the same principal would do as well; this one took over.
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::SessionTakenOver);
        let mut device = site.device("acme", "pump-2").connected().await;
        let topic = "devices/pump-2/telemetry/flow";
        device.send(&publish(1, message(topic, Qos::AtLeastOnce, "before"))).await;
        assert_eq!(device.next().await, puback(1, ReasonCode::Success));

        site.store.set_disk_free_bytes_min(u64::MAX);
        for number in 2..=3 {
            device.send(&publish(number, message(topic, Qos::AtLeastOnce, "full"))).await;
            let Packet::PubAck(ack) = device.next().await else { panic!("not a PUBACK") };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::QuotaExceeded));
            assert_eq!(ack.reason.as_deref(), Some("the disk is full"));
        }
        old.send(&publish(1, message(TELEMETRY, Qos::AtLeastOnce, "full"))).await;
        old.is_closed().await;
        // What needs no disk goes on.
        device.send(&publish(4, message("devices/pump-2/events/alarm", Qos::AtLeastOnce, "full"))).await;
        assert_eq!(device.next().await, puback(4, ReasonCode::NoMatchingSubscribers));

        site.store.set_disk_free_bytes_min(0);
        device.send(&publish(5, message(topic, Qos::AtLeastOnce, "after"))).await;
        assert_eq!(device.next().await, puback(5, ReasonCode::Success));
        assert_eq!(logged(&site, "acme"), ["before", "after"]);
        assert_eq!(site.counters("acme").log_failed.value(), 3);
        assert_eq!(site.counters("acme").refused.value(), 3);
        site.is_quiet().await;
    });
}

#[test]
fn many_refused_commits_in_a_row_leave_the_log_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        assert_eq!(device.subscribes(&["devices/pump-1/commands/#"]).await, [ReasonCode::GrantedQos2]);
        let held = hold(&site.store);
        for number in 1..=5 {
            device.send(&publish(number, message(TELEMETRY, Qos::AtLeastOnce, "full"))).await;
            device.hears_nothing().await;
        }
        site.store.set_disk_free_bytes_min(u64::MAX);
        drop(held.0);
        for number in 1..=5 {
            let Packet::PubAck(ack) = device.next().await else { panic!("not a PUBACK") };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::QuotaExceeded));
        }
        site.store.set_disk_free_bytes_min(0);
        device.send(&publish(6, message(TELEMETRY, Qos::AtLeastOnce, "after"))).await;
        assert_eq!(device.next().await, puback(6, ReasonCode::Success));
        assert_eq!(logged(&site, "acme"), ["after"]);
        site.is_quiet().await;
    });
}

#[test]
fn retained_messages_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        let all =
            [("plan/a", "old"), ("plan/a", "new"), ("plan/b", "gone"), ("plan/b", ""), ("plan/c", "kept")];
        for (number, (topic, payload)) in (1..).zip(all) {
            app.send(&publish(number, retained(topic, payload))).await;
            assert_eq!(app.next().await, puback(number, ReasonCode::NoMatchingSubscribers));
        }
        site.is_quiet().await;
    });
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("plan/#").await;
        for (topic, payload) in [("plan/a", "new"), ("plan/c", "kept")] {
            let delivered = app.next().await;
            assert_eq!(delivered, publish(packet_id(&delivered).get(), retained(topic, payload)));
        }
        app.hears_nothing().await;
        let mut neighbour = site.app("globex", "dashboard").connected().await.subscribed("plan/#").await;
        neighbour.hears_nothing().await;
        assert_eq!(logged(&site, "acme"), ["old", "new", "gone", "", "kept"]);
    });
}
