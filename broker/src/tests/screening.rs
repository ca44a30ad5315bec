//! Messages that are looked at before they are routed.

use bytes::Bytes;
use muster_mqtt::{Disconnect, ReasonCode, Version};
use muster_schemas::{Kind, Message, Principal, Qos};

use super::{site::admitted, *};
use crate::{
    Access,
    screening::{Partly, Screen, Screening, Unfit, Verdict},
};

/// Takes offence at what says so of itself.
pub(super) struct Fussy;

impl Screening for Fussy {
    fn screen_of(&self, principal: &Principal) -> Option<Box<dyn Screen>> {
        (principal.kind == Kind::Device).then(|| Box::new(Self) as Box<dyn Screen>)
    }
}

impl Screen for Fussy {
    fn screen(&mut self, published: &Message) -> Verdict {
        let letter =
            message(&format!("$SYS/dead/{}", published.topic.as_str()), Qos::AtLeastOnce, "a letter");
        let refused = |code, reason: &str| Unfit { code, reason: reason.to_owned(), letter: Some(letter) };
        match &published.payload[..] {
            b"unfit!" => Verdict::Unfit(Box::new(refused(ReasonCode::PayloadFormatInvalid, "it is unfit"))),
            b"partly!" => Verdict::Partly(Box::new(Partly {
                payload: Bytes::from_static(b"part"),
                refused: refused(ReasonCode::QuotaExceeded, "1 of 2"),
            })),
            _ => Verdict::Fit,
        }
    }

    fn screen_will(&mut self, published: &Message) -> Result<(), Box<Unfit>> {
        match self.screen(published) {
            Verdict::Fit => Ok(()),
            Verdict::Partly(partly) => Err(Box::new(partly.refused)),
            Verdict::Unfit(unfit) => Err(unfit),
        }
    }
}

const TOPIC: &str = "devices/pump-1/telemetry/flow";
const DEAD: &str = "$SYS/dead/devices/pump-1/telemetry/flow";

#[test]
fn what_is_unfit_is_told_goes_nowhere_and_leaves_a_letter() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut letters = site.app("acme", "clerk").connected().await.subscribed("$SYS/dead/#").await;
        let mut stranger = site.app("globex", "clerk").connected().await.subscribed("$SYS/dead/#").await;
        let mut device = site.device("acme", "pump-1").connected().await;
        for (number, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce)] {
            device.send(&publish(number, message(TOPIC, qos, "unfit!"))).await;
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = device.next().await else {
                panic!("not an answer")
            };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::PayloadFormatInvalid));
            assert_eq!(ack.reason.as_deref(), Some("it is unfit"));
            assert_eq!(letters.hears(DEAD).await, "a letter");
        }
        device.send(&publish(0, message(TOPIC, Qos::AtMostOnce, "unfit!"))).await;
        assert_eq!(letters.hears(DEAD).await, "a letter");

        // One that cannot be told is acknowledged, and goes on.
        let mut old = site.device("acme", "pump-1").speaks(Version::V311).connected().await;
        old.send(&publish(1, message(TOPIC, Qos::AtLeastOnce, "unfit!"))).await;
        assert!(matches!(old.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::Success));
        assert_eq!(letters.hears(DEAD).await, "a letter");
        app.hears_nothing().await;
        stranger.hears_nothing().await;
        assert_eq!(site.counters("acme").unfit.value(), 4);

        old.send(&publish(2, message(TOPIC, Qos::AtLeastOnce, "fit"))).await;
        assert!(matches!(old.next().await, Packet::PubAck(_)));
        assert_eq!(app.hears(TOPIC).await, "fit");
        site.is_quiet().await;
    });
}

#[test]
fn a_client_whose_will_is_unfit_is_not_admitted_and_told_why() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut letters = site.app("acme", "clerk").connected().await.subscribed("$SYS/dead/#").await;
        for (payload, code, reason) in [
            ("unfit!", ReasonCode::PayloadFormatInvalid, "of the will: it is unfit"),
            ("partly!", ReasonCode::QuotaExceeded, "of the will: 1 of 2"),
        ] {
            let will = || message(TOPIC, Qos::AtLeastOnce, payload);
            let refused = site.device("acme", "pump-1").leaves_behind(will()).knocks().await;
            assert_eq!((refused.code, refused.properties.reason.as_deref()), (code, Some(reason)));
            assert_eq!(letters.hears(DEAD).await, "a letter");
            // One of 3.1.1 is closed, with a return code where there is one that fits.
            let mut old = site.device("acme", "pump-1").speaks(Version::V311).leaves_behind(will());
            old.send_connect().await;
            let answer = old.next_or_end().await;
            assert!(!matches!(answer, Some(Packet::ConnAck(ack)) if ack.code == ReasonCode::Success));
            assert_eq!(letters.hears(DEAD).await, "a letter");
        }
        assert_eq!(site.counters("acme").unfit.value(), 4);
        app.hears_nothing().await;

        let will = message(TOPIC, Qos::AtLeastOnce, "fit");
        drop(site.device("acme", "pump-1").leaves_behind(will).connected().await);
        assert_eq!(app.hears(TOPIC).await, "fit");
        site.is_quiet().await;
    });
}

#[test]
fn a_part_is_routed_and_the_rest_is_told_with_a_success() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut letters = site.app("acme", "clerk").connected().await.subscribed("$SYS/dead/#").await;
        let mut device = site.device("acme", "pump-1").connected().await;
        device.send(&publish(1, message(TOPIC, Qos::AtLeastOnce, "fit"))).await;
        device.send(&publish(2, message(TOPIC, Qos::AtLeastOnce, "partly!"))).await;
        for (number, words) in [(1, None), (2, Some("1 of 2"))] {
            let Packet::PubAck(ack) = device.next().await else { panic!("not an answer") };
            assert_eq!((ack.packet_id, ack.code), (id(number), ReasonCode::Success));
            assert_eq!(ack.reason.as_deref(), words);
        }
        assert_eq!(app.hears(TOPIC).await, "fit");
        assert_eq!(app.hears(TOPIC).await, "part");
        assert_eq!(letters.hears(DEAD).await, "a letter");
        site.is_quiet().await;
    });
}

#[test]
fn an_app_is_not_screened_and_what_access_forbids_is_still_forbidden() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await.subscribed("#").await;
        let mut other = site.app("acme", "clerk").connected().await;
        other.send(&publish(1, message("alerts", Qos::AtLeastOnce, "unfit!"))).await;
        assert!(matches!(other.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::Success));
        assert_eq!(app.hears("alerts").await, "unfit!");
        let access = Access::new("nothing", Vec::new(), Vec::new());
        let mut device =
            site.peer(admitted("acme", Kind::Device, "pump-1", access), "pump-1").connected().await;
        device.send(&publish(1, message(TOPIC, Qos::AtLeastOnce, "partly!"))).await;
        assert!(matches!(device.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::NotAuthorized));
        app.hears_nothing().await;
        site.is_quiet().await;
    });
}

#[test]
fn a_session_that_was_away_gets_its_letters_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let (clerk, _) = site.app("acme", "clerk").stays(3_600).resumed().await;
        let mut clerk = clerk.subscribed("$SYS/dead/#").await;
        clerk.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await;
        assert_eq!(clerk.next_or_end().await, None);
        let mut device = site.device("acme", "pump-1").connected().await;
        device.send(&publish(1, message(TOPIC, Qos::AtLeastOnce, "unfit!"))).await;
        assert!(matches!(device.next().await, Packet::PubAck(_)));
        let (mut clerk, present) = site.app("acme", "clerk").stays(3_600).resumed().await;
        assert!(present);
        assert_eq!(clerk.hears(DEAD).await, "a letter");
    });
}
