//! Stories of sessions that have yet to show something: what they may, who hears of it, and how it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use muster_mqtt::{Auth, Packet, ReasonCode, Version};
use muster_schemas::{
    Kind, Qos,
    attest::{
        ANSWER_TOPIC, CHALLENGE_TOPIC, METHOD, Outcome, QUARANTINE_PROPERTY, REQUEST_TOPIC, RESULT_TOPIC,
    },
};
use tempfile::tempdir;

use super::{Peer, Site, message, peer::puback, publish, site::admitted, story, until};
use crate::{Access, Admitted, Judge, Judgement, NotAdmitted, Quarantine};

const TIME_MAX: Duration = Duration::from_secs(30);

/// Wants to hear `yes` and what it said last. Each connection has one of its own, which says other things.
struct Riddle {
    connection: u64,
    said: AtomicU64,
}

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

impl Judge for Riddle {
    fn challenge(&self) -> Bytes {
        let said = self.said.fetch_add(1, Ordering::SeqCst) + 1;
        format!("{} {said}", self.connection).into()
    }

    fn judge(&self, answer: Bytes) -> Judgement {
        let wanted = format!("yes {} {}", self.connection, self.said.load(Ordering::SeqCst));
        let is_right = answer == wanted.as_bytes();
        Box::pin(async move {
            // It takes its time, as a registry does.
            tokio::task::yield_now().await;
            let refused = NotAdmitted { code: ReasonCode::NotAuthorized, reason: "that is wrong".to_owned() };
            if is_right { Ok(()) } else { Err(refused) }
        })
    }
}

fn quarantined(name: &str, time_max: Duration) -> Admitted {
    let health = format!("devices/{name}/health").parse().unwrap();
    let rules = vec![crate::Rule::allow("quarantine-health", health)];
    let judge = Riddle { connection: CONNECTIONS.fetch_add(1, Ordering::SeqCst), said: AtomicU64::new(0) };
    let access = Arc::new(Access::new("quarantine", rules, Vec::new()));
    let quarantine = Some(Quarantine { access, time_max, judge: Arc::new(judge) });
    Admitted { quarantine, ..admitted("acme", Kind::Device, name, Access::device(&name.parse().unwrap())) }
}

/// A device of a tenant that demands attestation.
fn device(site: &Site, name: &str) -> Peer {
    site.peer(quarantined(name, TIME_MAX), name)
}

fn auth(code: ReasonCode, data: impl Into<Bytes>) -> Packet {
    let (method, data) = (Some(METHOD.into()), Some(data.into()));
    Packet::Auth(Auth { code, method, data, reason: None, user_properties: Vec::new() })
}

fn right(challenge: &Bytes) -> Bytes {
    format!("yes {}", std::str::from_utf8(challenge).unwrap()).into()
}

impl Peer {
    /// Expects a challenge in an AUTH packet.
    async fn is_challenged(&mut self) -> Bytes {
        let Packet::Auth(auth) = self.next().await else { panic!("not an AUTH") };
        assert_eq!((auth.code, auth.method.as_deref()), (ReasonCode::ContinueAuthentication, Some(METHOD)));
        auth.data.unwrap()
    }

    /// Expects a message.
    pub(super) async fn hears(&mut self, topic: &str) -> Bytes {
        match self.next().await {
            Packet::Publish(publish) if publish.message.topic.as_str() == topic => {
                publish.message.payload.clone()
            }
            other => panic!("not a message on {topic}: {other:?}"),
        }
    }

    async fn says(&mut self, topic: &str, payload: impl Into<Bytes>) {
        self.send(&publish(1, message(topic, Qos::AtMostOnce, payload))).await;
    }

    /// Asks for a challenge on a topic, and gets it.
    async fn asks(&mut self) -> Bytes {
        self.says(REQUEST_TOPIC, "").await;
        self.hears(CHALLENGE_TOPIC).await
    }

    /// Answers on a topic, and hears what came of it.
    async fn answers(&mut self, answer: Bytes) -> Outcome {
        self.says(ANSWER_TOPIC, answer).await;
        Outcome::decode(&self.hears(RESULT_TOPIC).await).unwrap()
    }

    async fn attests(mut self) -> Self {
        let challenge = self.asks().await;
        assert_eq!(self.answers(right(&challenge)).await, Outcome::Attested);
        self
    }

    /// Publishes at QoS 1 and expects that to be refused, with these words.
    async fn may_not_publish(&mut self, topic: &str) {
        self.send(&publish(7, message(topic, Qos::AtLeastOnce, "no"))).await;
        let Packet::PubAck(ack) = self.next().await else { panic!("not a PUBACK") };
        assert_eq!(
            (ack.code, ack.reason.as_deref()),
            (ReasonCode::NotAuthorized, Some("quarantined: attest first"))
        );
    }
}

#[test]
fn a_client_that_names_the_method_attests_before_connack() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut device = device(&site, "d1").proves_by(METHOD);
        device.send_connect().await;
        let challenge = device.is_challenged().await;
        device.send(&auth(ReasonCode::ContinueAuthentication, right(&challenge))).await;
        let connack = device.is_let_in().await;
        assert_eq!(connack.properties.authentication_method.as_deref(), Some(METHOD));
        assert!(connack.properties.user_properties.is_empty(), "it is not in quarantine");
        device.says("devices/d1/events/start", "hello").await;
        assert_eq!(app.hears("devices/d1/events/start").await, "hello");
        assert_eq!(site.counters("acme").quarantined.value(), 0);
        assert_eq!(site.counters("acme").attested.value(), 1);

        // Again, in the session that goes on; and once more, wrongly.
        device.send(&auth(ReasonCode::ReAuthenticate, "")).await;
        let challenge = device.is_challenged().await;
        device.send(&auth(ReasonCode::ContinueAuthentication, right(&challenge))).await;
        let Packet::Auth(done) = device.next().await else { panic!("not an AUTH") };
        assert_eq!(done.code, ReasonCode::Success);
        device.says("devices/d1/events/start", "still here").await;
        assert_eq!(app.hears("devices/d1/events/start").await, "still here");
        device.send(&auth(ReasonCode::ReAuthenticate, "")).await;
        device.is_challenged().await;
        device.send(&auth(ReasonCode::ContinueAuthentication, right(&challenge))).await;
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::NotAuthorized);
        assert_eq!(site.counters("acme").unattested.value(), 1);
    });
}

#[test]
fn a_wrong_answer_before_connack_is_refused_with_its_reason() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = device(&site, "d1").proves_by(METHOD);
        device.send_connect().await;
        device.is_challenged().await;
        device.send(&auth(ReasonCode::ContinueAuthentication, "perhaps")).await;
        let Packet::ConnAck(connack) = device.next().await else { panic!("not a CONNACK") };
        assert_eq!(connack.code, ReasonCode::NotAuthorized);
        assert_eq!(connack.properties.reason.as_deref(), Some("that is wrong"));
        device.is_closed().await;
        site.has_audited("acme", 1).await;
    });
}

#[test]
fn another_method_is_not_known_and_this_one_only_where_it_is_demanded() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        for (device, method) in [(device(&site, "d1"), "SCRAM"), (site.device("acme", "d1"), METHOD)] {
            let connack = device.proves_by(method).knocks().await;
            assert_eq!(connack.code, ReasonCode::BadAuthenticationMethod);
        }
    });
}

#[test]
fn a_quarantined_session_publishes_its_health_and_nothing_else() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut device = device(&site, "d1");
        let connack = device.knocks().await;
        assert_eq!(connack.code, ReasonCode::Success);
        let told = &connack.properties.user_properties;
        assert_eq!(told.as_slice(), [(QUARANTINE_PROPERTY.into(), "30".into())]);
        assert_eq!(site.counters("acme").quarantined.value(), 1);

        device.says("devices/d1/health", "alive").await;
        assert_eq!(app.hears("devices/d1/health").await, "alive");
        for topic in ["devices/d1/telemetry/climate", "devices/d2/health", "devices/d1/health/more", "$SYS/x"]
        {
            device.may_not_publish(topic).await;
        }
        for filter in ["devices/d1/#", "#", "$SYS/#", "$share/a/devices/d1/#", "+/muster/attest/+"] {
            assert_eq!(device.subscribes(&[filter]).await, [ReasonCode::NotAuthorized], "{filter}");
        }
        let mut device = device.attests().await;
        assert_eq!(site.counters("acme").quarantined.value(), 0);
        device.says("devices/d1/telemetry/climate", "21").await;
        // What was said on the session's own topics nobody else heard.
        assert_eq!(app.hears("devices/d1/telemetry/climate").await, "21");
        assert_eq!(device.subscribes(&["devices/d1/#"]).await, [ReasonCode::GrantedQos2]);
        site.has_audited("acme", 9).await;
    });
}

#[test]
fn a_client_of_3_1_1_attests_on_topics_of_its_own() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = device(&site, "d1").speaks(Version::V311).connected().await;
        assert_eq!(device.subscribes(&["$muster/attest/#"]).await, [ReasonCode::Success]);
        let challenge = device.hears(CHALLENGE_TOPIC).await;
        // Another device subscribes to the same, and hears what is its own.
        let mut other = self::device(&site, "d2").speaks(Version::V311).connected().await;
        assert_eq!(other.subscribes(&["$muster/attest/challenge"]).await, [ReasonCode::Success]);
        assert_ne!(other.hears(CHALLENGE_TOPIC).await, challenge);
        device.send(&publish(5, message(ANSWER_TOPIC, Qos::AtLeastOnce, right(&challenge)))).await;
        assert_eq!(device.next().await, puback(5, ReasonCode::Success));
        assert_eq!(Outcome::decode(&device.hears(RESULT_TOPIC).await), Ok(Outcome::Attested));
        assert_eq!(device.subscribes(&["devices/d1/#"]).await, [ReasonCode::GrantedQos2]);
        other.hears_nothing().await;
        // One that publishes too early is closed, which is how 3.1.1 refuses.
        other.send(&publish(6, message("devices/d2/telemetry/climate", Qos::AtLeastOnce, "21"))).await;
        other.is_closed().await;
    });
}

#[test]
fn an_answer_is_good_once_and_on_its_own_connection() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = device(&site, "d1").connected().await;
        let challenge = device.asks().await;
        assert_eq!(device.answers(right(&challenge)).await, Outcome::Attested);
        let why = "attest: no challenge waits for an answer; ask for one".to_owned();
        assert_eq!(device.answers(right(&challenge)).await, Outcome::Refused { detail: why });
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::NotAuthorized);
        // On another connection it answers something else; and there is no second try.
        let mut device = self::device(&site, "d1").connected().await;
        let other = device.asks().await;
        assert_eq!(
            device.answers(right(&challenge)).await,
            Outcome::Refused { detail: "that is wrong".to_owned() }
        );
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::NotAuthorized);
        assert_ne!(other, challenge);
        // An answer to the challenge before the last is none.
        let mut device = self::device(&site, "d1").connected().await;
        let first = device.asks().await;
        device.asks().await;
        assert!(matches!(device.answers(right(&first)).await, Outcome::Refused { .. }));
        device.is_told_to_go().await;
    });
}

#[test]
fn who_does_not_attest_in_time_is_told_to_go() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.peer(quarantined("d1", Duration::from_secs(1)), "d1").connected().await;
        let told = device.is_told_to_go().await;
        assert_eq!(told.code, ReasonCode::NotAuthorized);
        let why = told.reason.unwrap();
        assert!(why.starts_with("quarantined: attest first"), "{why}");
        until("it is over", || site.counters("acme").sessions.value() == 0).await;
        assert_eq!(site.counters("acme").quarantined.value(), 0);
        // Health does not buy time.
        let mut device = site.peer(quarantined("d1", Duration::from_secs(1)), "d1").connected().await;
        device.says("devices/d1/health", "alive").await;
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::NotAuthorized);
    });
}

#[test]
fn a_durable_session_is_kept_and_told_nothing_until_its_device_attests() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        let device = device(&site, "d1").stays(3_600).connected().await.attests().await;
        let mut device = device.subscribed("devices/d1/commands/#").await;
        device.hears_nothing().await;
        // A connection of the same device takes its client identifier over, and does not attest.
        let mut second = self::device(&site, "d1").stays(3_600);
        second.send_connect().await;
        assert_eq!(device.is_told_to_go().await.code, ReasonCode::SessionTakenOver);
        assert!(second.is_let_in().await.session_present);
        app.send(&publish(1, message("devices/d1/commands/open", Qos::AtLeastOnce, "valve 3"))).await;
        assert_eq!(app.next().await, puback(1, ReasonCode::Success));
        second.hears_nothing().await;
        drop(second);
        // The next one does, and has lost nothing.
        let (third, present) = self::device(&site, "d1").stays(3_600).resumed().await;
        assert!(present);
        let mut third = third.attests().await;
        assert_eq!(third.hears("devices/d1/commands/open").await, "valve 3");
    });
}

#[test]
fn a_will_left_in_quarantine_is_not_published() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("devices/#").await;
        let will = |word: &'static str| message("devices/d1/events/gone", Qos::AtMostOnce, word);
        for expiry_s in [0, 3_600] {
            let first = device(&site, "d1").stays(expiry_s).leaves_behind(will("forged")).connected().await;
            drop(first);
            until("it is over", || site.counters("acme").sessions.value() == 1).await;
            let second = device(&site, "d1").stays(expiry_s).leaves_behind(will("true")).connected().await;
            drop(second.attests().await);
            assert_eq!(app.hears("devices/d1/events/gone").await, "true", "expiry {expiry_s} s");
        }
        // One that it could not leave with all its rights is refused at once.
        let elsewhere = message("devices/d2/events/gone", Qos::AtMostOnce, "forged");
        let connack = device(&site, "d1").leaves_behind(elsewhere).knocks().await;
        assert_eq!(connack.code, ReasonCode::NotAuthorized);
    });
}

#[test]
fn own_topics_are_asked_for_alone_and_only_two_are_for_a_client() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = device(&site, "d1").connected().await.attests().await;
        let codes = device.subscribes(&["$muster/attest/#", "devices/d1/#"]).await;
        assert_eq!(codes, [ReasonCode::Success, ReasonCode::NotAuthorized]);
        device.send(&publish(3, message(RESULT_TOPIC, Qos::AtLeastOnce, "attested"))).await;
        let Packet::PubAck(ack) = device.next().await else { panic!("not a PUBACK") };
        assert_eq!(ack.code, ReasonCode::NotAuthorized);
        // Where nothing is demanded, they are reserved like all that begin with a dollar sign.
        let mut free = site.device("acme", "d2").connected().await;
        assert_eq!(free.subscribes(&["$muster/attest/#"]).await, [ReasonCode::NotAuthorized]);
        free.send(&publish(4, message(REQUEST_TOPIC, Qos::AtLeastOnce, ""))).await;
        let Packet::PubAck(ack) = free.next().await else { panic!("not a PUBACK") };
        assert_eq!(ack.code, ReasonCode::TopicNameInvalid);
    });
}

#[test]
fn ten_thousand_quarantined_sessions_are_bounded_and_others_are_served() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open_with(dir.path(), &["acme", "other"], |quotas| {
            quotas.tenant.connections_max = 10_000;
        });
        let mut app = site.app("other", "dashboard").connected().await.subscribed("#").await;
        let mut open = Vec::new();
        for number in 0..10_000 {
            open.push(site.opens(quarantined(&format!("d{number}"), TIME_MAX)).await);
        }
        assert_eq!(site.counters("acme").quarantined.value(), 10_000);
        let refused = device(&site, "one-more").knocks().await;
        assert_eq!(refused.code, ReasonCode::QuotaExceeded);
        let mut neighbour = site.device("other", "d1").connected().await;
        neighbour.says("devices/d1/events/start", "hello").await;
        assert_eq!(app.hears("devices/d1/events/start").await, "hello");
        drop(open);
        until("they are gone", || site.counters("acme").quarantined.value() == 0).await;
        device(&site, "one-more").connected().await.attests().await;
    });
}
