//! MQTT over WebSocket: real TLS, and frames made by hand.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use actix_rt::Arbiter;
use arc_swap::ArcSwap;
use muster_actors::{Child, Plan, Supervised};
use muster_mqtt::ReasonCode;
use muster_schemas::Qos;
use rustls::version::TLS13;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    house::{House, shake_hands},
    peer::connect,
    *,
};
use crate::{Bound, Listener, ListenerCounters, ListenerOptions, bind, tls::Tls};

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A house with a second door.
struct Harbour {
    house: House,
    address: SocketAddr,
    _listener: Supervised<Listener>,
}

impl Harbour {
    fn open(dir: &Path) -> Self {
        let house = House::strict(dir);
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let _listener = house.bus.listen(socket, vec![over_websocket(&house)]);
        Self { house, address, _listener }
    }

    /// A client after its upgrade.
    async fn browser(&self) -> Browser {
        let mut browser = Browser { stream: self.tls().await };
        let answer = browser.asks(UPGRADE).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "[MQTT-6.0.0-4] {answer}");
        browser
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        shake_hands(self.address, self.house.authority.client(&[&TLS13], &["http/1.1"])).await.unwrap()
    }
}

fn over_websocket(house: &House) -> Arc<dyn crate::Protocol> {
    let mut tls = house.authority.strict_server();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = Arc::new(ArcSwap::from_pointee(tls));
    house.bus.mqtt_over_websocket(house.gate.clone(), tls, Vec::new())
}

struct Browser {
    stream: TlsStream<TcpStream>,
}

impl Browser {
    /// Sends a request, and returns the head of the answer and what came with it.
    async fn asks(&mut self, request: &str) -> String {
        self.sends(request.as_bytes()).await;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            if self.stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    }

    async fn sends(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame: its first byte and its payload. None at the end.
    async fn hears(&mut self) -> Option<(u8, Vec<u8>)> {
        let reading = async {
            let [first, length] = [self.stream.read_u8().await?, self.stream.read_u8().await?];
            let length = match length {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await?;
            std::io::Result::Ok((first, payload))
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("in time").ok()
    }

    /// Expects a CLOSE with this code, and the end.
    async fn is_closed_with(&mut self, code: u16) {
        assert_eq!(self.hears().await, Some((0x88, code.to_be_bytes().to_vec())));
        assert_eq!(self.hears().await, None);
    }
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn bytes(packet: &Packet) -> Vec<u8> {
    let mut outgoing = muster_mqtt::Outgoing::default();
    muster_mqtt::encode(packet, muster_mqtt::Version::V5, &mut outgoing);
    outgoing.take_chunks().concat()
}

fn hello(client_id: &str) -> Vec<u8> {
    bytes(&Packet::Connect(Box::new(connect(muster_mqtt::Version::V5, client_id))))
}

#[test]
fn packets_may_share_a_frame_and_span_frames() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let harbour = Harbour::open(dir.path());
        let mut listening = harbour.house.app("one").await.connected().await.subscribed("alerts/#").await;
        let mut browser = harbour.browser().await;
        let payload = vec![b'x'; 50_000];
        let fire = publish(1, message("alerts/fire", Qos::AtLeastOnce, payload.clone()));
        let ping = bytes(&Packet::PingReq);
        // Three packets in one frame, and the begin of a fourth.
        let wire = [hello("two"), bytes(&fire), ping.clone(), ping[..1].to_vec()].concat();
        browser.sends(&frame(0x82, &wire)).await;
        // Its rest in a message of three frames, with a PING between them.
        browser.sends(&frame(0x02, b"")).await;
        browser.sends(&frame(0x89, b"there?")).await;
        browser.sends(&[frame(0x00, &ping[1..]), frame(0x80, b"")].concat()).await;
        assert!(matches!(listening.next().await, Packet::Publish(p) if p.message.payload == payload));

        let mut decoder = muster_mqtt::Decoder::client(muster_mqtt::Version::V5);
        let (mut packets, mut pongs) = (Vec::new(), 0);
        while packets.len() < 4 || pongs < 1 {
            match browser.hears().await.expect("a frame") {
                (0x82, payload) => decoder.buffer().extend_from_slice(&payload),
                (0x8a, said) => pongs += usize::from(said == b"there?"),
                other => panic!("{other:?}"),
            }
            while let Some(packet) = decoder.next().unwrap() {
                packets.push(packet);
            }
        }
        assert!(matches!(packets[0], Packet::ConnAck(_)));
        assert!(packets.contains(&puback(1, ReasonCode::Success)));
        assert_eq!(packets.iter().filter(|packet| **packet == Packet::PingResp).count(), 2);
        browser.sends(&frame(0x88, &1000_u16.to_be_bytes())).await;
        browser.is_closed_with(1000).await;
    });
}

#[test]
fn large_messages_reach_a_subscriber_on_websocket_whole() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let harbour = Harbour::open(dir.path());
        let mut browser = harbour.browser().await;
        browser.sends(&frame(0x82, &hello("two"))).await;
        assert!(browser.hears().await.is_some());
        let filters = vec![("alerts/#".parse().unwrap(), muster_mqtt::SubscriptionOptions::default())];
        let (packet_id, subscription_id, user_properties) = (id(1), None, Vec::new());
        let subscribe = muster_mqtt::Subscribe { packet_id, subscription_id, filters, user_properties };
        browser.sends(&frame(0x82, &bytes(&Packet::Subscribe(subscribe)))).await;
        assert!(browser.hears().await.is_some());
        let mut other = harbour.house.app("one").await.connected().await;
        let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        other.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, payload.clone()))).await;
        let mut decoder = muster_mqtt::Decoder::client(muster_mqtt::Version::V5);
        let heard = loop {
            let (first, part) = browser.hears().await.expect("a frame");
            assert_eq!(first, 0x82);
            decoder.buffer().extend_from_slice(&part);
            if let Some(packet) = decoder.next().unwrap() {
                break packet;
            }
        };
        assert!(matches!(heard, Packet::Publish(p) if p.message.payload == payload));
    });
}

#[test]
fn text_is_closed_with_1003_and_broken_frames_with_1002() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let harbour = Harbour::open(dir.path());
        for (wire, code) in [
            (frame(0x81, &hello("two")), 1003),
            (vec![0x82, 0x01, 0x10], 1002),
            (frame(0xf2, b""), 1002),
            (frame(0x89, &[0; 126]), 1002),
            // More follows than is read, and the reason is heard all the same.
            ([frame(0x81, b"x"), vec![0; 100_000]].concat(), 1003),
        ] {
            let mut browser = harbour.browser().await;
            // Padded, so that a header without a mask is whole.
            browser.sends(&[&wire[..], &[0; 14]].concat()).await;
            browser.is_closed_with(code).await;
        }
        until("they have gone", || harbour.house.counters().open.value() == 0).await;
    });
}

#[test]
fn malformed_mqtt_within_frames_ends_as_it_does_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let harbour = Harbour::open(dir.path());
        let mut browser = harbour.browser().await;
        browser.sends(&frame(0x82, &hello("two"))).await;
        assert!(matches!(browser.hears().await, Some((0x82, connack)) if connack[0] == 0x20));
        browser.sends(&frame(0x82, &[0xf5, 0xff, 0xff, 0xff, 0xff])).await;
        assert!(matches!(browser.hears().await, Some((0x82, disconnect)) if disconnect[0] == 0xe0));
        browser.is_closed_with(1000).await;
    });
}

#[test]
fn what_is_not_an_upgrade_gets_words() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let harbour = Harbour::open(dir.path());
        for (request, status, words) in [
            (UPGRADE.replace("/mqtt", "/chat"), "404", "at /mqtt"),
            (UPGRADE.replace(": mqtt\r\n", ": chat\r\n"), "400", "Sec-WebSocket-Protocol: mqtt"),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "426", "MQTT client"),
            (format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(9_000)), "431", "at most"),
        ] {
            let mut browser = Browser { stream: harbour.tls().await };
            let mut answer = browser.asks(&request).await;
            let _ = browser.stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(words), "{answer}");
        }
        until("they are counted", || harbour.house.counters().handshakes_failed.value() == 4).await;
    });
}

#[test]
fn peers_that_stall_before_the_upgrade_are_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let house = House::strict(dir.path());
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let counters = Arc::<ListenerCounters>::default();
        let options = ListenerOptions {
            socket: Arc::new(Bound::Tcp(socket)),
            entrance: Arc::new(Tls { protocols: Arc::new([over_websocket(&house)]) }),
            arbiters: vec![Arbiter::current()],
            connections_max: 1_000,
            handshakes_max: 4,
            handshake_time_max: Duration::from_millis(300),
            counters: counters.clone(),
        };
        let _listener =
            Child::new("listener", Plan::PARK, move |exit| Listener::new(options.clone(), exit)).start();
        let client = || house.authority.client(&[&TLS13], &["http/1.1"]);
        // One says nothing, one says its request a byte at a time for ever.
        let mut silent = shake_hands(address, client()).await.unwrap();
        let mut slow = shake_hands(address, client()).await.unwrap();
        let trickling = async {
            for byte in UPGRADE.bytes().cycle().filter(|byte| *byte != b'\n') {
                if slow.write_all(&[byte]).await.is_err() || slow.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waiting = async { assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0) };
        tokio::join!(trickling, waiting);
        until("they have gone", || counters.open.value() == 0).await;
        assert_eq!(counters.handshakes_failed.value(), 2);
    });
}
