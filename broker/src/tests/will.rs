//! What a client leaves behind (MQTT 5 §3.1.2.5).

use muster_mqtt::{Disconnect, ReasonCode};
use muster_schemas::{Kind, Qos, TopicName};

use super::{site::admitted, *};
use crate::Access;

const LAST: &str = "devices/pump-1/events/gone";

#[test]
fn the_will_of_a_client_that_vanishes_is_published() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("devices/+/events/#").await;
        let will = message(LAST, Qos::AtLeastOnce, "vanished");
        let device = site.device("acme", "pump-1").leaves_behind(will).connected().await;
        drop(device);
        let Packet::Publish(publish) = app.next().await else { panic!("not a PUBLISH") };
        assert_eq!(publish.message.topic, LAST.parse::<TopicName>().unwrap());
        assert_eq!(&publish.message.payload[..], b"vanished");
    });
}

#[test]
fn the_will_of_a_client_that_says_goodbye_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("devices/+/events/#").await;
        let will = message(LAST, Qos::AtLeastOnce, "vanished");
        let mut device = site.device("acme", "pump-1").leaves_behind(will).connected().await;
        device.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await;
        until("the device has gone", || site.counters("acme").sessions.value() == 1).await;
        app.hears_nothing().await;
    });
}

#[test]
fn a_will_goes_no_further_than_its_client_might() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let will = message("devices/pump-2/events/gone", Qos::AtLeastOnce, "vanished");
        let refused = site.device("acme", "pump-1").leaves_behind(will).knocks().await;
        assert_eq!(refused.code, ReasonCode::NotAuthorized);
        assert!(refused.properties.reason.is_some_and(|reason| reason.contains("device-own-topics")));
    });
}

#[test]
fn a_will_beyond_its_quota_is_refused_with_the_name_of_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.app.quota.will_bytes_max = 1_000);
        let will = || message("gone", Qos::AtLeastOnce, vec![b'x'; 600]);
        let _first = site.app("acme", "dashboard").leaves_behind(will()).connected().await;
        let dashboard = admitted("acme", Kind::App, "dashboard", Access::app());
        let refused = site.peer(dashboard, "second").leaves_behind(will()).knocks().await;
        assert_eq!(refused.code, ReasonCode::QuotaExceeded);
        assert!(refused.properties.reason.unwrap().contains("its quota of 1000 bytes of wills"));
        assert_eq!(site.counters("acme").quota_will_bytes.value(), 1);
    });
}
