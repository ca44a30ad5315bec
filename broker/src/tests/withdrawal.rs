//! Stories about a tenant that takes its own key back while its devices publish.

use muster_mqtt::ReasonCode;
use muster_schemas::{Message, Qos, stored::StoredMessage};

use super::*;
use crate::store::{CommitError, SecretKey};

const TELEMETRY: &str = "devices/pump-1/telemetry/flow";

fn own() -> SecretKey {
    SecretKey::from([5; 32])
}

#[test]
fn what_comes_while_the_key_is_withdrawn_is_refused_with_its_reason_and_the_log_goes_on_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let acme = "acme".parse().unwrap();
        site.store.bring_key(&acme, own(), true, 1).unwrap();
        let mut device = site.device("acme", "pump-1").connected().await;
        let mut neighbour = site.device("globex", "pump-1").connected().await;
        device.send(&publish(1, message(TELEMETRY, Qos::AtLeastOnce, "before"))).await;
        assert_eq!(device.next().await, puback(1, ReasonCode::Success));

        site.store.withdraw_key(&acme).unwrap();
        device.send(&publish(2, message(TELEMETRY, Qos::AtLeastOnce, "canary-91bb"))).await;
        let retained = message("devices/pump-1/events/state", Qos::AtLeastOnce, "canary-91bb");
        device.send(&publish(3, Message { retain: true, ..retained })).await;
        for number in 2..=3 {
            let Packet::PubAck(ack) = device.next().await else { panic!("not a PUBACK") };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::ImplementationSpecificError));
            assert!(ack.reason.is_some_and(|reason| reason.contains("withdrawn its key")));
        }
        neighbour.send(&publish(1, message(TELEMETRY, Qos::AtLeastOnce, "theirs"))).await;
        assert_eq!(neighbour.next().await, puback(1, ReasonCode::Success));
        let nothing = site.keys("acme").log().unwrap().append(2, b"text");
        assert_eq!(site.store.commit_blocking(vec![nothing]), Err(CommitError::Withdrawn));

        site.store.bring_key(&acme, own(), true, 2).unwrap();
        device.send(&publish(4, message(TELEMETRY, Qos::AtLeastOnce, "after"))).await;
        assert_eq!(device.next().await, puback(4, ReasonCode::Success));
        let mut reader = site.keys("acme").log().unwrap().reader(1);
        let records = reader.next_batch(10, 1 << 20).unwrap();
        let text = |record| StoredMessage::decode(record).unwrap().message.payload;
        let found: Vec<_> = records.into_iter().map(|(at, record)| (at, text(record))).collect();
        assert_eq!(found, [(1, "before".into()), (2, "after".into())]);
        site.is_quiet().await;
    });
}
