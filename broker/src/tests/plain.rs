//! Ways in without TLS: a port for a lab, and a socket in the file system.

use std::{io::ErrorKind, net::Ipv4Addr, os::unix::fs::PermissionsExt as _, path::Path};

use muster_mqtt::ReasonCode;
use muster_schemas::{Kind, Qos};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{house::House, site::admitted, *};
use crate::{Access, Admitted, Bound, bind, bind_unix};

/// What a lab's listener admits everybody as.
fn anybody() -> Admitted {
    Admitted { expires: None, ..admitted("acme", Kind::App, "plain", Access::app()) }
}

#[test]
fn a_plain_port_admits_everybody_as_its_one_principal() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let plain = house.bus.listen_plain(Bound::Tcp(socket), anybody());
        let connect = async |name: &str| Peer::new(TcpStream::connect(address).await.unwrap(), name);
        let mut one = connect("one").await.connected().await.subscribed("alerts/#").await;
        let mut two = connect("two").await.connected().await;
        for number in 1..=50 {
            let payload = vec![b'x'; usize::from(number) * 1_000];
            two.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, payload.clone()))).await;
            assert_eq!(two.next().await, puback(number, ReasonCode::Success));
            assert!(matches!(one.next().await, Packet::Publish(p) if p.message.payload == payload));
        }
        // One tenant's bus, whichever way in.
        let mut safe = house.app("three").await.connected().await;
        safe.send(&publish(1, message("alerts/fire", Qos::AtLeastOnce, "!"))).await;
        assert_eq!(safe.next().await, puback(1, ReasonCode::Success));
        assert!(matches!(one.next().await, Packet::Publish(_)));
        // Its rights are an app's.
        two.send(&publish(1, message("devices/x/telemetry/a", Qos::AtLeastOnce, "!"))).await;
        assert!(matches!(two.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::NotAuthorized));

        house.bus.close_sessions(&anybody().principal, ReasonCode::AdministrativeAction, "enough");
        assert_eq!(one.is_told_to_go().await.code, ReasonCode::AdministrativeAction);
        plain.stop().await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_plain_port_turns_away_what_is_not_mqtt_and_counts_who_has_left() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let _plain = house.bus.listen_plain(Bound::Tcp(socket), anybody());
        let mut browser = TcpStream::connect(address).await.unwrap();
        browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = browser.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "nothing is said to who has not said CONNECT");
        let mut peers = Vec::new();
        for _ in 0..20 {
            peers.push(TcpStream::connect(address).await.unwrap());
        }
        until("they are in", || house.counters().open.value() == 20).await;
        drop(peers);
        until("they have gone", || house.counters().open.value() == 0).await;
    });
}

#[test]
fn a_socket_in_the_file_system_is_its_owners_and_a_stale_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    story(async {
        let house = House::strict(dir.path());
        let local = house.bus.listen_plain(Bound::Unix(bind_unix(&path, 0o600).unwrap()), anybody());
        assert_eq!(mode(&path), 0o600);
        let mut one = Peer::new(UnixStream::connect(&path).await.unwrap(), "one").connected().await;
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse, "somebody listens");
        one.hears_nothing().await;
        local.stop().await;
        until("nobody listens", || std::os::unix::net::UnixStream::connect(&path).is_err()).await;
        // Those who are in stay, and the file of a hub that is no more is in nobody's way.
        one.hears_nothing().await;
        assert!(path.exists());
        let _local = house.bus.listen_plain(Bound::Unix(bind_unix(&path, 0o660).unwrap()), anybody());
        assert_eq!(mode(&path), 0o660);
        Peer::new(UnixStream::connect(&path).await.unwrap(), "two").connected().await;
    });
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "kept").unwrap();
    story(async {
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert!(bind_unix(&dir.path().join("x".repeat(200)), 0o600).is_err());
    });
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}
