//! The door: real sockets, real TLS, real threads.

use std::{
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_rt::Arbiter;
use arc_swap::ArcSwap;
use muster_actors::{Child, Clock, Plan, SystemClock};
use muster_mqtt::ReasonCode;
use muster_schemas::{Kind, Qos};
use rustls::{
    ClientConfig, HandshakeKind,
    crypto::aws_lc_rs::default_provider,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    house::{Authority, Echo, House, is_turned_away, shake_hands},
    site::admitted,
    *,
};
use crate::{
    Access, Bound, Listener, ListenerCounters, ListenerOptions, bind,
    limits::{HANDSHAKE_TIME_MAX, HANDSHAKES_MAX},
    tls::Tls,
};

#[test]
fn messages_pass_between_peers_on_tls_whatever_thread_they_live_on() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let mut one = house.app("one").await.connected().await.subscribed("alerts/#").await;
        let mut two = house.app("two").await.connected().await;
        for number in 1..=50 {
            let payload = vec![b'x'; usize::from(number) * 1_000];
            two.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, payload.clone()))).await;
            assert_eq!(two.next().await, puback(number, ReasonCode::Success));
            assert!(matches!(one.next().await, Packet::Publish(p) if p.message.payload == payload));
        }
        two.send(&publish(1, message("devices/x/twin/desired", Qos::AtLeastOnce, ""))).await;
        assert_eq!(two.next().await, puback(1, ReasonCode::NoMatchingSubscribers));
    });
}

#[test]
fn a_busy_session_is_heard_while_deliveries_pour_in() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let busy = house.app("busy").await.connected().await.subscribed("alerts/#").await;
        let mut publishers = Vec::new();
        for name in ["a", "b", "c"] {
            publishers.push(house.app(name).await.connected().await);
        }
        let rounds = 300_u16;
        let pouring = async {
            for _ in 0..rounds {
                for peer in &mut publishers {
                    peer.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
                }
            }
        };
        let (mut read, mut write) = tokio::io::split(busy.stream);
        let bytes = |packet: &Packet| {
            let mut outgoing = muster_mqtt::Outgoing::default();
            muster_mqtt::encode(packet, muster_mqtt::Version::V5, &mut outgoing);
            outgoing.take_chunks().concat()
        };
        let saying = async {
            for number in 1..=rounds {
                let packet = publish(number, message("elsewhere", Qos::AtLeastOnce, "?"));
                write.write_all(&bytes(&packet)).await.unwrap();
                write.flush().await.unwrap();
            }
        };
        let hearing = async {
            let mut decoder = muster_mqtt::Decoder::client(muster_mqtt::Version::V5);
            let (mut answers, mut alerts) = (0, 0);
            while answers < rounds || alerts < 3 * rounds {
                match decoder.next().unwrap() {
                    Some(Packet::PubAck(_)) => answers += 1,
                    Some(Packet::Publish(_)) => alerts += 1,
                    Some(other) => panic!("{other:?}"),
                    None => assert_ne!(read.read_buf(decoder.buffer()).await.unwrap(), 0, "closed"),
                }
            }
        };
        tokio::join!(pouring, saying, hearing);
    });
}

#[test]
fn the_protocol_is_chosen_by_alpn_and_no_alpn_is_mqtt() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let client = |alpn: &[&str]| house.authority.client(&[&TLS13], alpn);
        house.app("one").await.connected().await;
        // We prefer MQTT, whatever the peer's order is.
        for alpn in [&["mqtt"][..], &["echo/1", "mqtt"]] {
            let stream = house.shake_hands(client(alpn)).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
            Peer::new(stream, "two").connected().await;
        }
        let mut echo = house.shake_hands(client(&["echo/1"])).await.unwrap();
        echo.write_all(b"ping").await.unwrap();
        let mut answer = Vec::new();
        echo.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ping");
        assert!(is_turned_away(house.shake_hands(client(&["http/1.1"])).await).await);
        until("it is counted", || house.counters().handshakes_failed.value() == 1).await;
    });
}

#[test]
fn tls_1_2_and_resumption_are_refused_even_if_a_configuration_allows_them() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::open(dir.path(), |authority| authority.server(&[&TLS12, &TLS13]), 1_000);
        let old = house.authority.client(&[&TLS12], &[]);
        assert!(is_turned_away(house.shake_hands(old).await).await);

        let client = house.authority.client(&[&TLS13], &[]);
        let mut first = Peer::new(house.shake_hands(client.clone()).await.unwrap(), "one").connected().await;
        first.hears_nothing().await;
        let second = house.shake_hands(client).await;
        let kind = second.as_ref().ok().and_then(|stream| stream.get_ref().1.handshake_kind());
        assert_eq!(kind, Some(HandshakeKind::Resumed), "or this test tests nothing");
        assert!(is_turned_away(second).await);
        first.hears_nothing().await;
        until("both are counted", || house.counters().handshakes_failed.value() == 2).await;
    });
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let old = house.authority.client(&[&TLS12], &[]);
        assert!(is_turned_away(house.shake_hands(old).await).await);
        let client = house.authority.client(&[&TLS13], &[]);
        for _ in 0..2 {
            let stream = house.shake_hands(client.clone()).await.unwrap();
            let mut peer = Peer::new(stream, "one").connected().await;
            peer.hears_nothing().await;
            assert_eq!(peer.stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    });
}

#[test]
fn peers_that_stall_in_the_handshake_keep_others_out_no_longer_than_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        // The same listener with bounds that a test can wait for.
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let echo = Echo(Arc::new(ArcSwap::from_pointee(house.authority.strict_server())));
        let counters = Arc::<ListenerCounters>::default();
        let options = ListenerOptions {
            socket: Arc::new(Bound::Tcp(socket)),
            entrance: Arc::new(Tls { protocols: Arc::new([Arc::new(echo) as _]) }),
            arbiters: vec![Arbiter::current()],
            connections_max: 1_000,
            handshakes_max: 8,
            handshake_time_max: Duration::from_millis(300),
            counters: counters.clone(),
        };
        let _listener =
            Child::new("listener", Plan::PARK, move |exit| Listener::new(options.clone(), exit)).start();
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            // Half a ClientHello.
            tcp.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
            stalled.push(tcp);
        }
        until("the bound is reached", || counters.accepted.value() == 8).await;
        let began = SystemClock.now();
        let client = house.authority.client(&[&TLS13], &["echo/1"]);
        let mut peer = shake_hands(address, client).await.unwrap();
        peer.write_all(b"ping").await.unwrap();
        peer.read_exact(&mut [0; 4]).await.unwrap();
        // Twenty stalled in eights: three times the bound, and some for a busy machine.
        assert!(SystemClock.now() - began < Duration::from_secs(5));
        until("they have gone", || counters.handshakes_failed.value() == 20).await;
    });
}

#[test]
fn three_hundred_stalled_peers_do_not_disturb_those_who_are_in() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let mut app = house.app("one").await.connected().await;
        let mut stalled = Vec::new();
        for _ in 0..300 {
            stalled.push(TcpStream::connect(house.address).await.unwrap());
        }
        let accepted = u64::try_from(HANDSHAKES_MAX).unwrap() + 1;
        until("the bound is reached", || house.counters().accepted.value() == accepted).await;
        app.hears_nothing().await;
        // They leave, and the door is free at once.
        drop(stalled);
        let began = SystemClock.now();
        house.app("two").await.connected().await;
        assert!(SystemClock.now() - began < HANDSHAKE_TIME_MAX);
    });
}

#[test]
fn a_full_listener_turns_away_at_once_until_somebody_leaves() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::open(dir.path(), Authority::strict_server, 2);
        let mut one = house.app("one").await.connected().await;
        let two = house.app("two").await.connected().await;
        let client = || house.authority.client(&[&TLS13], &[]);
        assert!(is_turned_away(house.shake_hands(client()).await).await);
        assert_eq!(house.counters().refused_full.value(), 1);
        one.hears_nothing().await;
        drop(two);
        until("its place is free", || house.counters().open.value() == 1).await;
        house.app("three").await.connected().await;
    });
}

#[test]
fn plain_bytes_and_wrong_certificates_get_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let mut plain = TcpStream::connect(house.address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "nothing but an alert: {answer:?}");

        // It trusts our root, but its own certificate is somebody else's.
        let mut stranger = house.authority.client(&[&TLS13], &[]);
        stranger.client_auth_cert_resolver =
            Authority::new().client(&[&TLS13], &[]).client_auth_cert_resolver;
        assert!(is_turned_away(house.shake_hands(stranger).await).await);
        until("both are counted", || house.counters().handshakes_failed.value() == 2).await;
        house.app("one").await.connected().await;
    });
}

#[test]
fn a_gate_that_refuses_is_heard_and_one_that_panics_hurts_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let mut inside = house.app("inside").await.connected().await;
        let nobody = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(house.authority.roots())
            .with_no_client_auth();
        let connack = Peer::new(house.shake_hands(nobody).await.unwrap(), "nobody").knocks().await;
        assert_eq!(connack.code, ReasonCode::NotAuthorized);
        assert_eq!(connack.properties.reason.as_deref(), Some("no certificate"));
        assert_eq!(house.counters().not_admitted.value(), 1);

        house.gate.panics.store(true, Ordering::SeqCst);
        assert!(is_turned_away(house.shake_hands(house.authority.client(&[&TLS13], &[])).await).await);
        house.gate.panics.store(false, Ordering::SeqCst);
        inside.hears_nothing().await;
        until("its place is free", || house.counters().open.value() == 1).await;
        house.app("two").await.connected().await;
    });
}

#[test]
fn a_revoked_principal_is_let_go_and_shutdown_lets_everybody_go() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let mut app = house.app("one").await.connected().await;
        let mut principal = admitted("acme", Kind::App, "somebody", Access::app()).principal;
        house.bus.close_sessions(&principal, ReasonCode::NotAuthorized, "revoked");
        app.hears_nothing().await;
        principal.id = "dashboard".parse().unwrap();
        house.bus.close_sessions(&principal, ReasonCode::NotAuthorized, "revoked");
        let told = app.is_told_to_go().await;
        assert_eq!((told.code, told.reason.as_deref()), (ReasonCode::NotAuthorized, Some("revoked")));
        drop(app);

        let mut last = house.app("two").await.connected().await;
        let hearing = async {
            assert_eq!(last.is_told_to_go().await.code, ReasonCode::ServerShuttingDown);
            drop(last);
        };
        house.listener.stop().await;
        tokio::join!(house.bus.close_all(), hearing);
        assert_eq!(house.bus.listener_counters().open.value(), 0);
        assert!(TcpStream::connect(house.address).await.is_err(), "nobody listens any more");
    });
}
