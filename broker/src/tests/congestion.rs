//! Peers that read slowly, or not at all.

use std::time::Duration;

use muster_actors::world;
use muster_mqtt::{Ack, ReasonCode};
use muster_schemas::{Kind, Qos};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{site::admitted, *};
use crate::{
    Access, Admitted,
    limits::{OUTBOX_DELIVERIES_BYTES_MAX, WRITE_STALL_TIME_MAX},
};

/// What the connection of a slow peer holds.
const NARROW_BYTES: usize = 4 * 1024;

fn app(name: &str) -> Admitted {
    admitted("acme", Kind::App, name, Access::app())
}

#[test]
fn a_peer_that_does_not_read_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        // Every refusal is a long answer to a short question.
        let access = Access::new("no".repeat(200), Vec::new(), Vec::new());
        let stubborn = admitted("acme", Kind::App, "stubborn", access);
        let stubborn = site.narrow_peer(NARROW_BYTES, stubborn, "stubborn").connected().await;
        // Long enough that the batches under way stay below the receive maximum.
        let topic = "a".repeat(100);
        let count: usize = 20_000;
        let number = |n: usize| u16::try_from(n % 60_000 + 1).unwrap();
        let flood: Vec<u8> = (0..count)
            .flat_map(|n| stubborn.bytes(&publish(number(n), message(&topic, Qos::AtLeastOnce, ""))))
            .collect();
        let (mut read, mut write) = tokio::io::split(stubborn.stream);
        let mut sending = Box::pin(write.write_all(&flood));
        assert!(timeout(WRITE_STALL_TIME_MAX / 2, &mut sending).await.is_err(), "all of it was taken");
        // What waits for it is bounded: it asked for far more than that.
        let said = site.counters("acme").bytes_sent.value();
        assert!(said < 2_500_000, "{said}");

        let mut decoder = muster_mqtt::Decoder::client(muster_mqtt::Version::V5);
        let reading = async {
            for n in 0..count {
                loop {
                    match decoder.next().unwrap() {
                        Some(Packet::PubAck(ack)) => {
                            assert_eq!((ack.packet_id, ack.code), (id(number(n)), ReasonCode::NotAuthorized));
                            break;
                        }
                        Some(other) => panic!("not a PUBACK: {other:?}"),
                        None => {
                            let read = tokio::io::AsyncReadExt::read_buf(&mut read, decoder.buffer()).await;
                            assert_ne!(read.unwrap(), 0, "closed after {n}");
                        }
                    }
                }
            }
        };
        let (sent, ()) = tokio::join!(sending, reading);
        sent.unwrap();
        site.is_quiet().await;
    });
}

#[test]
fn a_slow_subscriber_slows_no_publisher_and_misses_what_it_may_miss() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let slow = site.narrow_peer(NARROW_BYTES, app("slow"), "slow").connected().await;
        let mut slow = slow.subscribed("alerts/#").await;
        let mut quick = site.app("acme", "quick").connected().await.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        let count = 3_000_u64;
        for _ in 0..count {
            siren.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, vec![b'!'; 1_000]))).await;
            assert!(matches!(quick.next().await, Packet::Publish(_)));
        }
        siren.hears_nothing().await;
        site.is_quiet().await;
        let dropped = site.counters("acme").messages_dropped.value();
        let fit = u64::try_from(OUTBOX_DELIVERIES_BYTES_MAX / 1_000).unwrap();
        assert!(dropped > 0 && dropped >= count - fit - 100 && dropped <= count - fit + 100, "{dropped}");
        for _ in 0..count - dropped {
            assert!(matches!(slow.next().await, Packet::Publish(p) if p.message.payload.len() == 1_000));
        }
        slow.hears_nothing().await;
        // It has caught up and misses nothing any more.
        siren.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "!"))).await;
        assert!(matches!(slow.next().await, Packet::Publish(_)));
        assert_eq!(site.counters("acme").messages_dropped.value(), dropped);
    });
}

#[test]
fn deliveries_held_back_go_on_when_the_socket_has_drained() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let slow = site.narrow_peer(NARROW_BYTES, app("slow"), "slow").connected().await;
        let mut slow = slow.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        for number in 1..=600 {
            let bytes = vec![u8::try_from(number % 256).unwrap(); 8_000];
            siren.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, bytes))).await;
            assert_eq!(siren.next().await, puback(number, ReasonCode::Success));
        }
        site.is_quiet().await;
        // It acknowledges nothing: only the socket can bring these on.
        for number in 1..=600 {
            let Packet::Publish(delivered) = slow.next().await else { panic!("not a PUBLISH") };
            assert_eq!(usize::from(delivered.message.payload[0]), number % 256);
        }
        slow.hears_nothing().await;
        assert_eq!(site.counters("acme").messages_dropped.value(), 0);
    });
}

#[test]
fn deliveries_that_wait_for_acknowledgements_wait_quietly() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut slow =
            site.app("acme", "slow").takes_at_once(1).connected().await.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        for number in 1..=3 {
            siren.send(&publish(number, message("alerts/fire", Qos::AtLeastOnce, number.to_string()))).await;
            assert_eq!(siren.next().await, puback(number, ReasonCode::Success));
        }
        for number in 1..=3 {
            let delivered = slow.next().await;
            let expected = message("alerts/fire", Qos::AtLeastOnce, number.to_string());
            assert_eq!(delivered, publish(packet_id(&delivered).get(), expected));
            slow.hears_nothing().await;
            slow.send(&Packet::PubAck(Ack::new(packet_id(&delivered), ReasonCode::Success))).await;
        }
        slow.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn a_subscriber_whose_queue_is_full_is_let_go_and_the_publisher_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut slow =
            site.app("acme", "slow").takes_at_once(1).connected().await.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        for number in 1..=100 {
            let large = message("alerts/fire", Qos::AtLeastOnce, vec![0; 200_000]);
            siren.send(&publish(number, large)).await;
            assert!(matches!(siren.next().await, Packet::PubAck(ack) if ack.packet_id == id(number)));
        }
        assert!(matches!(slow.next().await, Packet::Publish(_)));
        assert_eq!(slow.is_told_to_go().await.code, ReasonCode::QuotaExceeded);
        site.is_quiet().await;
    });
}

#[test]
fn a_peer_that_takes_nothing_for_long_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let stuck = site.narrow_peer(NARROW_BYTES, app("stuck"), "stuck").connected().await;
        let _stuck = stuck.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        siren.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, vec![0; 10_000]))).await;
        siren.hears_nothing().await;
        let counters = site.counters("acme");
        tokio::time::sleep(WRITE_STALL_TIME_MAX - Duration::from_secs(1)).await;
        assert_eq!(counters.sessions.value(), 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(counters.sessions.value(), 1);
    });
}

#[test]
fn a_session_that_is_closed_does_not_wait_long_for_its_last_bytes() {
    let dir = tempfile::tempdir().unwrap();
    world::run(async {
        let site = Site::open(dir.path(), &["acme"]);
        let stuck = site.narrow_peer(NARROW_BYTES, app("stuck"), "stuck").connected().await;
        let mut stuck = stuck.subscribed("alerts/#").await;
        let mut siren = site.app("acme", "siren").connected().await;
        siren.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, vec![0; 10_000]))).await;
        siren.hears_nothing().await;
        let _successor = site.peer(app("stuck"), "stuck").connected().await;
        // The pipe breaks with the connection.
        let broken = async {
            while stuck.stream.write_all(&[0xc0, 0]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(crate::limits::CLOSE_TIME_MAX * 2, broken).await.expect("the connection ends");
    });
}
