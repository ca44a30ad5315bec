//! Stories of apps that ask their hub: the answer finds back, and nobody else hears it.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use muster_mqtt::{Packet, ReasonCode};
use muster_schemas::{Message, MessageProperties, Qos};
use tempfile::tempdir;

use super::{Peer, Site, message, peer::puback, publish, story};
use crate::{
    Answer, Answering, Answers, Question,
    limits::{QUESTION_BYTES_MAX, QUESTIONS_MAX},
};

/// Says who asked what. It never answers those who ask about `silence`.
#[derive(Default)]
struct Echo {
    asked: AtomicUsize,
}

impl Answers for Echo {
    fn answer(&self, question: Question) -> Answering {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if question.about == "silence" {
                pending::<()>().await;
            }
            tokio::task::yield_now().await;
            let Question { principal, about, payload } = question;
            let said = format!("{principal} {about} {}", String::from_utf8_lossy(&payload));
            Answer { status: 200, payload: said.into() }
        })
    }
}

fn question(about: &str, payload: impl Into<Bytes>, respond_to: Option<&str>) -> Message {
    let mut question = message(&format!("$muster/query/{about}"), Qos::AtLeastOnce, payload);
    question.properties = Some(Box::new(MessageProperties {
        response_topic: respond_to.map(|topic| topic.parse().unwrap()),
        correlation_data: Some(Bytes::from_static(b"7")),
        ..MessageProperties::default()
    }));
    question
}

async fn asks(peer: &mut Peer, about: &str) -> (Packet, Packet) {
    peer.send(&publish(1, question(about, "{}", Some("answers/1")))).await;
    (peer.next().await, peer.next().await)
}

#[test]
fn an_answer_goes_to_whom_asked_and_to_nobody_else() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme", "globex"]);
        site.desk.open(Arc::new(Echo::default()));
        let mut nosy = site.app("acme", "nosy").connected().await.subscribed("#").await;
        let mut globex = site.app("globex", "nosy").connected().await.subscribed("#").await;
        let mut app = site.app("acme", "dashboard").connected().await;
        let (ack, answer) = asks(&mut app, "range").await;
        assert_eq!(ack, puback(1, ReasonCode::Success));
        let Packet::Publish(answer) = answer else { panic!("no answer") };
        let said = String::from_utf8_lossy(&answer.message.payload).into_owned();
        assert!(said.ends_with("/t/acme/app/dashboard range {}"), "{said}");
        assert_eq!(answer.message.topic.as_str(), "answers/1");
        let properties = answer.message.properties.as_deref().unwrap();
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"7"[..]));
        assert_eq!(properties.user_properties, [("muster-status".into(), "200".into())]);
        nosy.hears_nothing().await;
        globex.hears_nothing().await;
    });
}

#[test]
fn without_a_response_topic_and_beyond_the_bounds_a_question_is_refused_in_words() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let echo = Arc::new(Echo::default());
        site.desk.open(echo.clone());
        let mut app = site.app("acme", "dashboard").connected().await;
        let long = "x".repeat(QUESTION_BYTES_MAX + 1);
        for (asked, code, words) in [
            (
                question("last", "{}", None),
                ReasonCode::ImplementationSpecificError,
                "a question needs a response topic",
            ),
            (question("last", long, Some("a")), ReasonCode::QuotaExceeded, "a question has at most"),
        ] {
            app.send(&publish(1, asked)).await;
            let Packet::PubAck(ack) = app.next().await else { panic!("no PUBACK") };
            assert_eq!(ack.code, code);
            assert!(ack.reason.as_deref().is_some_and(|reason| reason.starts_with(words)), "{ack:?}");
        }
        assert_eq!(echo.asked.load(Ordering::SeqCst), 0);
        for number in 1..=u16::from(QUESTIONS_MAX) {
            app.send(&publish(number, question("silence", "", Some("a")))).await;
            assert_eq!(app.next().await, puback(number, ReasonCode::Success));
        }
        app.send(&publish(9, question("last", "", Some("a")))).await;
        let Packet::PubAck(ack) = app.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.code, ReasonCode::QuotaExceeded);
        site.has_audited("acme", 3).await;
    });
}

#[test]
fn where_nobody_answers_a_question_is_a_topic_that_nobody_publishes_to() {
    story(async {
        let dir = tempdir().unwrap();
        let site = Site::open(dir.path(), &["acme"]);
        let mut app = site.app("acme", "dashboard").connected().await;
        app.send(&publish(1, question("last", "", Some("a")))).await;
        let Packet::PubAck(ack) = app.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.code, ReasonCode::TopicNameInvalid);
    });
}
