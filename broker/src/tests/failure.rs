//! What happens to whom when something of ours fails, or ends.

use std::{sync::atomic::Ordering, time::Duration};

use muster_actors::{Clock, SystemClock, world};
use muster_mqtt::{ReasonCode, Version};
use muster_schemas::{Kind, Message, Qos};

use super::{house::bus_options, site::admitted, *};
use crate::{
    Access, Bus,
    limits::TENANT_RESTARTS,
    session::CloseSession,
    store::{Commit, RootKey, Store, StoreOptions, Write},
};

const TELEMETRY: &str = "devices/pump-1/telemetry/flow";

#[test]
fn a_session_that_panics_closes_its_connection_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("alerts/#").await;
        let mut victim = site.device("acme", "pump-1").connected().await;
        site.clock.breaks_a_session.store(true, Ordering::SeqCst);
        victim.send(&Packet::PingReq).await;
        victim.is_closed().await;
        until("it is counted", || site.counters("acme").sessions_panicked.value() == 1).await;
        assert_eq!(site.counters("acme").sessions.value(), 1);
        app.hears_nothing().await;
        // The device comes back.
        site.device("acme", "pump-1").connected().await.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn a_router_that_panics_is_rebuilt_from_the_log_and_its_sessions_reconnect() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        let mut old = site.device("acme", "pump-2").speaks(Version::V311).connected().await;
        let kept = Message { retain: true, ..message(TELEMETRY, Qos::AtLeastOnce, "before") };
        device.send(&publish(1, kept)).await;
        assert_eq!(device.next().await, puback(1, ReasonCode::Success));

        site.clock.breaks_routers.store(true, Ordering::SeqCst);
        device.send(&publish(2, message(TELEMETRY, Qos::AtLeastOnce, "lost, and not acknowledged"))).await;
        let told = device.is_told_to_go().await;
        assert_eq!(told.code, ReasonCode::ServerBusy);
        assert!(told.reason.unwrap().contains("connect again in a moment"));
        old.is_closed().await;
        site.clock.breaks_routers.store(false, Ordering::SeqCst);

        let counters = site.counters("acme");
        until("the sessions have ended", || counters.sessions.value() == 0).await;
        let mut app = loop {
            let mut app = site.app("acme", "dashboard");
            if app.knocks().await.code == ReasonCode::Success {
                break app.subscribed("#").await;
            }
        };
        assert_eq!(counters.router_restarts.value(), 1);
        assert!(
            matches!(app.next().await, Packet::Publish(p) if p.message.payload == "before" && p.message.retain)
        );
        let mut device = site.device("acme", "pump-1").connected().await;
        device.send(&publish(2, message(TELEMETRY, Qos::AtLeastOnce, "after"))).await;
        assert_eq!(device.next().await, puback(2, ReasonCode::Success));
        assert!(matches!(app.next().await, Packet::Publish(p) if p.message.payload == "after"));
        assert_eq!(site.keys("acme").log().unwrap().next_sequence(), 3);
        site.is_quiet().await;
    });
}

#[test]
fn a_log_watch_that_panics_keeps_no_acknowledgement_back() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        site.log_watch_breaks.store(true, Ordering::SeqCst);
        let mut device = site.device("acme", "pump-1").connected().await;
        for number in 1..=2 {
            device.send(&publish(number, message(TELEMETRY, Qos::AtLeastOnce, "1"))).await;
            assert_eq!(device.next().await, puback(number, ReasonCode::Success));
        }
        site.is_quiet().await;
    });
}

#[test]
fn a_tenant_over_its_budget_is_parked_and_its_neighbour_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut neighbour = site.app("globex", "dashboard").connected().await.subscribed("alerts/#").await;
        site.clock.breaks_routers.store(true, Ordering::SeqCst);
        // A router looks at its clock when a peer joins, and that breaks it.
        let connack = loop {
            let connack = site.device("acme", "pump-1").knocks().await;
            assert_ne!(connack.code, ReasonCode::Success);
            if connack.code != ReasonCode::ServerBusy {
                break connack;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(connack.code, ReasonCode::ServerUnavailable);
        assert!(
            connack.properties.reason.unwrap().starts_with("tenant acme is parked after repeated failures")
        );
        assert_eq!(site.counters("acme").parked.value(), 1);
        assert_eq!(site.counters("acme").router_restarts.value(), u64::from(TENANT_RESTARTS.restarts_max));

        site.clock.breaks_routers.store(false, Ordering::SeqCst);
        neighbour.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
        assert!(matches!(neighbour.next().await, Packet::Publish(_)));
        assert_eq!(site.counters("globex").router_restarts.value(), 0);
        site.is_quiet().await;
    });
}

#[test]
fn a_certificate_that_expires_ends_its_session() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let day = Duration::from_secs(86_400);
        let mut admitted = admitted("acme", Kind::App, "dashboard", Access::app());
        admitted.expires = Some(SystemClock.now() + day);
        let mut app = site.peer(admitted, "dashboard").connected().await;
        let began = SystemClock.now();
        tokio::time::sleep(day - Duration::from_secs(1)).await;
        app.hears_nothing().await;
        let told = app.is_told_to_go().await;
        assert_eq!(told.code, ReasonCode::NotAuthorized);
        assert!(told.reason.unwrap().starts_with("the certificate of this session has expired"));
        let lived = SystemClock.now() - began;
        assert!(lived >= day - Duration::from_millis(5) && lived < day + Duration::from_secs(1), "{lived:?}");
    });
}

#[test]
fn a_peer_that_says_nothing_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        site.app("acme", "dashboard").is_closed().await;
        let mut app = site.app("acme", "dashboard");
        // Half a CONNECT is no sign of life.
        app.send_bytes(&[0x10, 0x20, 0x00]).await;
        app.is_closed().await;
        assert_eq!(site.counters("acme").sessions.value(), 0);
    });
}

#[test]
fn shutdown_tells_everybody_and_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        let mut old = site.app("globex", "dashboard").speaks(Version::V311).connected().await;
        let reason = "the hub is shutting down; connect again in a moment".to_owned();
        site.directory()
            .close_all(&CloseSession { code: ReasonCode::ServerShuttingDown, reason: reason.clone() });
        let told = app.is_told_to_go().await;
        assert_eq!(told.code, ReasonCode::ServerShuttingDown);
        assert_eq!(told.reason.as_deref(), Some(reason.as_str()));
        old.is_closed().await;
        let connack = site.app("acme", "late").knocks().await;
        assert_eq!(connack.code, ReasonCode::ServerUnavailable);
        assert_eq!(connack.properties.reason.as_deref(), Some(reason.as_str()));
        until("the sessions have ended", || site.counters("acme").sessions.value() == 0).await;
    });
}

#[test]
fn a_bus_waits_until_every_router_stands_and_not_for_one_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(dir.path(), RootKey::from_bytes([7; 32]), options).unwrap();
        let [sound, damaged] =
            ["acme", "globex"].map(|name| store.create_tenant(&name.parse().unwrap()).unwrap());
        // A row that nobody sealed.
        let key = [damaged.handle().as_slice(), b"row"].concat();
        let write = Write::Put { table: store.table("sessions").unwrap(), key, value: vec![0; 64] };
        let (done, stored) = tokio::sync::oneshot::channel();
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        store.commit(Commit { writes: vec![write], fence: None, permit: None, done });
        stored.await.unwrap().unwrap();

        let bus = Bus::start(bus_options(store, 10));
        for tenant in [damaged, sound.clone()] {
            bus.add_tenant(tenant).unwrap();
        }
        assert_eq!(bus.recovered(Duration::from_secs(60)).await, []);
        let counters = bus.tenant_counters();
        let failed = counters.iter().map(|(_, counters)| counters.router_restarts.value() > 0);
        assert_eq!(failed.collect::<Vec<_>>(), [true, false]);
        assert_eq!(bus.log_needed_from(sound.tenant()), u64::MAX, "its router has looked");
    });
}
