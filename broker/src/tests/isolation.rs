//! No tenant reaches another: by topic, wildcard, share, will, retained message, client identifier, response topic,
//! `$SYS` or alias. What is denied is counted and audited; what is not is the tenant's own and stays with it.

use muster_mqtt::{ReasonCode, Version};
use muster_schemas::{Message, MessageProperties, Qos};

use super::*;

/// Two tenants with a secret each that looks alike from outside.
async fn two(dir: &std::path::Path) -> (Site, Peer, Peer) {
    let site = Site::open(dir, &["acme", "globex"]);
    let victim = site.app("acme", "dashboard").connected().await.subscribed("#").await;
    let attacker = site.app("globex", "dashboard").connected().await;
    (site, victim, attacker)
}

#[test]
fn the_same_topic_of_two_tenants_is_two_topics() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (site, mut victim, attacker) = two(dir.path()).await;
        let mut attacker = attacker.subscribed("#").await;
        // By topic and by every name that might stand for a tenant.
        for (number, topic) in
            ["alerts/fire", "acme/alerts/fire", "t/acme/alerts/fire", "/acme"].iter().enumerate()
        {
            let number = u16::try_from(number + 1).unwrap();
            attacker.send(&publish(number, message(topic, Qos::AtLeastOnce, "forged"))).await;
        }
        // Its own subscription gets all of it, and the acknowledgements come.
        for _ in 0..8 {
            match attacker.next().await {
                Packet::Publish(_) => {}
                Packet::PubAck(ack) => assert_eq!(ack.code, ReasonCode::Success),
                other => panic!("{other:?}"),
            }
        }
        victim.hears_nothing().await;
        // The other way round, retained and not.
        let kept = Message { retain: true, ..message("alerts/secret", Qos::AtMostOnce, "secret") };
        victim.send(&publish(0, kept)).await;
        assert!(matches!(victim.next().await, Packet::Publish(_)));
        attacker.hears_nothing().await;
        for filter in ["alerts/secret", "alerts/+", "+/+", "/#"] {
            let mut late = site.app("globex", "late").connected().await;
            late.subscribes(&[filter]).await;
            loop {
                late.send(&Packet::PingReq).await;
                match late.next().await {
                    Packet::PingResp => break,
                    Packet::Publish(told) => assert_ne!(told.message.payload, "secret"),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(site.counters("acme").messages_received.value(), 1);
    });
}

#[test]
fn a_share_of_the_same_name_has_no_members_of_another_tenant() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (_site, mut victim, mut attacker) = two(dir.path()).await;
        attacker.subscribes(&["$share/workers/alerts/#"]).await;
        for _ in 0..10 {
            victim.send(&publish(0, message("alerts/fire", Qos::AtMostOnce, "secret"))).await;
            assert!(matches!(victim.next().await, Packet::Publish(_)), "nobody else takes its turn");
        }
        attacker.hears_nothing().await;
    });
}

#[test]
fn a_will_is_its_tenants_own() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (site, mut victim, attacker) = two(dir.path()).await;
        let mut attacker = attacker.subscribed("alerts/#").await;
        let will = message("alerts/fire", Qos::AtMostOnce, "forged");
        drop(site.app("globex", "dying").leaves_behind(will).connected().await);
        assert!(matches!(attacker.next().await, Packet::Publish(_)));
        victim.hears_nothing().await;
        // What its own access list does not allow is refused when it is left.
        let will = message("devices/pump-2/events/x", Qos::AtMostOnce, "forged");
        let told = site.device("globex", "pump-1").leaves_behind(will).knocks().await;
        assert_eq!(told.code, ReasonCode::NotAuthorized);
        assert_eq!(site.counters("globex").refused.value(), 1);
        site.has_audited("globex", 1).await;
        assert_eq!(site.audited("acme"), []);
    });
}

#[test]
fn a_client_identifier_takes_over_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (site, mut victim, _attacker) = two(dir.path()).await;
        // Another tenant's app, and another principal of the same tenant, each with the same identifier.
        let mut same = site.app("globex", "dashboard").stays(60).connected().await;
        let app = site::admitted("acme", muster_schemas::Kind::App, "other", crate::Access::app());
        let (mut other, present) = site.peer(app, "dashboard").stays(60).resumed().await;
        assert!(!present, "nor does it take up the session");
        for peer in [&mut victim, &mut same, &mut other] {
            peer.hears_nothing().await;
        }
    });
}

#[test]
fn a_response_topic_leads_back_into_the_tenant_that_asked_only() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (_site, mut victim, attacker) = two(dir.path()).await;
        let mut attacker = attacker.subscribed("replies/#").await;
        let response_topic = Some("replies/1".parse().unwrap());
        let properties = Some(Box::new(MessageProperties { response_topic, ..Default::default() }));
        victim.send(&publish(0, Message { properties, ..message("ask", Qos::AtMostOnce, "?") })).await;
        let Packet::Publish(asked) = victim.next().await else { panic!("not a PUBLISH") };
        let reply_to = asked.message.properties.as_ref().unwrap().response_topic.clone().unwrap();
        victim.send(&publish(0, message(reply_to.as_str(), Qos::AtMostOnce, "secret"))).await;
        assert!(matches!(victim.next().await, Packet::Publish(_)));
        attacker.hears_nothing().await;
    });
}

#[test]
fn reserved_topics_are_written_by_nobody_and_denials_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (site, mut victim, mut attacker) = two(dir.path()).await;
        for topic in ["$SYS/broker/clients/connected", "$SYS/acme", "$share/workers/x"] {
            attacker.send(&publish(1, message(topic, Qos::AtLeastOnce, "forged"))).await;
            let Packet::PubAck(ack) = attacker.next().await else { panic!("not a PUBACK") };
            assert_eq!(ack.code, ReasonCode::TopicNameInvalid);
        }
        let mut device = site.device("globex", "pump-1").connected().await;
        device.send(&publish(1, message("devices/pump-2/events/x", Qos::AtLeastOnce, "forged"))).await;
        assert!(matches!(device.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::NotAuthorized));
        let codes = device.subscribes(&["devices/pump-2/#", "#", "$SYS/#"]).await;
        assert_eq!(codes, [ReasonCode::NotAuthorized; 3]);
        assert_eq!(site.counters("globex").refused.value(), 3 + 1 + 3);
        assert_eq!(site.counters("acme").refused.value(), 0);
        site.has_audited("globex", 3 + 1 + 3).await;
        assert_eq!(site.audited("acme"), []);
        victim.hears_nothing().await;
    });
}

#[test]
fn an_alias_means_nothing_on_another_connection() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let (site, mut victim, mut attacker) = two(dir.path()).await;
        let aliased = |packet| match packet {
            Packet::Publish(publish) => {
                Packet::Publish(muster_mqtt::Publish { topic_alias: std::num::NonZeroU16::new(1), ..publish })
            }
            other => other,
        };
        victim.send(&aliased(publish(0, message("alerts/secret", Qos::AtMostOnce, "1")))).await;
        assert!(matches!(victim.next().await, Packet::Publish(_)));
        // PUBLISH with an empty topic and alias 1, which this connection has never named.
        attacker.send_bytes(&[0x30, 0x07, 0x00, 0x00, 0x03, 0x23, 0x00, 0x01, b'x']).await;
        assert_eq!(attacker.is_told_to_go().await.code, ReasonCode::TopicAliasInvalid);
        until("it is counted", || site.counters("globex").malformed.value() == 1).await;
        site.has_audited("globex", 1).await;
        victim.hears_nothing().await;
        let mut old = site.app("globex", "old").speaks(Version::V311).connected().await;
        old.hears_nothing().await;
    });
}
