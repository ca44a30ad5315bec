//! Peers that do not speak MQTT, or not well.

use muster_actors::world;
use muster_mqtt::ReasonCode;
use muster_schemas::Qos;

use super::*;

#[test]
fn a_malformed_packet_closes_with_its_code_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut witness = site.app("acme", "witness").connected().await;
        let cases: [(&[u8], ReasonCode); 5] = [
            (&[0x00, 0x00], ReasonCode::MalformedPacket),
            // PUBLISH at QoS 3.
            (&[0x36, 0x03, 0x00, 0x01, b'a'], ReasonCode::MalformedPacket),
            // A length of five bytes.
            (&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], ReasonCode::MalformedPacket),
            // 200 MB are announced and not waited for.
            (&[0x30, 0x80, 0x80, 0x80, 0x64], ReasonCode::PacketTooLarge),
            // A packet that only a server sends.
            (&[0xd0, 0x00], ReasonCode::ProtocolError),
        ];
        for (count, (bytes, code)) in (1..).zip(cases) {
            let mut peer = site.app("acme", "rude").connected().await;
            // What came before in the same batch still counts.
            let ping = peer.bytes(&Packet::PingReq);
            peer.send_bytes(&[&ping, bytes].concat()).await;
            assert_eq!(peer.next().await, Packet::PingResp);
            assert_eq!(peer.is_told_to_go().await.code, code, "{bytes:x?}");
            assert_eq!(site.counters("acme").malformed.value(), count);
        }
        witness.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn the_peer_hears_why_although_it_has_more_to_say() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut peer = site.app("acme", "rude").connected().await;
        // More than fits into the pipe, behind a packet that ends the session.
        peer.send_bytes(&[vec![0x00, 0x00], vec![0xc0; 300_000]].concat()).await;
        assert_eq!(peer.is_told_to_go().await.code, ReasonCode::MalformedPacket);
    });
}

#[test]
fn a_protocol_violation_is_counted_as_one() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut peer = site.app("acme", "rude").connected().await;
        let connect = Packet::Connect(Box::new(peer::connect(muster_mqtt::Version::V5, "rude")));
        peer.send(&connect).await;
        assert_eq!(peer.is_told_to_go().await.code, ReasonCode::ProtocolError);
        assert_eq!(site.counters("acme").malformed.value(), 1);
    });
}

#[test]
fn random_bytes_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut witness = site.app("acme", "witness").connected().await;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for round in 0..400 {
            let mut peer = site.app("acme", "random");
            if round % 2 == 0 {
                peer = peer.connected().await;
            }
            let length = usize::try_from(random() % 300).unwrap() + 1;
            let bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
            // It may be closed before it has said everything.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &bytes).await;
            drop(peer);
        }
        until("all but one have gone", || site.counters("acme").sessions.value() == 1).await;
        witness.send(&publish(1, message("a", Qos::AtLeastOnce, "still here"))).await;
        assert_eq!(witness.next().await, puback(1, ReasonCode::NoMatchingSubscribers));
        assert_eq!(site.counters("acme").sessions_panicked.value(), 0);
        assert!(site.counters("acme").malformed.value() > 100);
        site.is_quiet().await;
    });
}
