//! What refused peers put into the log.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use muster_actors::world;
use muster_mqtt::ReasonCode;
use muster_schemas::Qos;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::with_default,
};

use super::*;
use crate::{
    NotAdmitted,
    limits::{REFUSALS_LOG_TIME, REFUSALS_OF_A_PEER_LOGGED_MAX},
};

/// Lines as somebody would read them, without a time.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Lines with all of these words.
    fn with(&self, words: &[&str]) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).cloned().collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

/// Runs a story in virtual time, with a log.
fn logged<F: Future<Output = ()>>(story: impl FnOnce(Log) -> F) {
    let log = Log::default();
    with_default(log.clone(), || world::run(story(log)));
}

#[test]
fn a_flood_of_refused_publishes_takes_a_few_lines_and_the_rest_is_told_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    logged(async |log| {
        let site = Site::open(dir.path(), &["acme"]);
        let mut rude = site.device("acme", "pump-1").connected().await;
        let mut other = site.device("acme", "pump-2").connected().await;
        let denied = rude.bytes(&publish(0, message("devices/pump-2/events", Qos::AtMostOnce, "x")));
        rude.send_bytes(&denied.repeat(1_000)).await;
        let codes = rude.subscribes(&["#"; 500]).await;
        assert_eq!(codes, [ReasonCode::NotAuthorized; 500]);
        other.send_bytes(&denied).await;
        other.hears_nothing().await;
        rude.hears_nothing().await;
        assert_eq!(site.counters("acme").refused.value(), 1_500, "counters count them all");
        let lines = |name| log.with(&["publish refused", name]).len();
        assert_eq!(lines("id=pump-1"), REFUSALS_OF_A_PEER_LOGGED_MAX);
        assert_eq!(lines("id=pump-2"), 0, "it publishes on topics of its own");

        other.send(&publish(0, message("devices/pump-1/events", Qos::AtMostOnce, "x"))).await;
        other.hears_nothing().await;
        assert_eq!(lines("id=pump-2"), 1, "its neighbour's lines are its own");
        tokio::time::sleep(2 * REFUSALS_LOG_TIME).await;
        let told = log.with(&["left_out"]);
        let [told] = &told[..] else { panic!("{told:?}") };
        let why = "990 × publish: not authorized (0x87); 500 × subscribe: not authorized (0x87)";
        for words in ["tenant=\"acme\"", "peer=\"device pump-1\"", "left_out=1490", why] {
            assert!(told.contains(words), "{told}");
        }
        // Nobody is refused, so nothing is told; the next refusal is logged again.
        tokio::time::sleep(10 * REFUSALS_LOG_TIME).await;
        assert_eq!(log.with(&["left_out"]).len(), 1);
        rude.send_bytes(&denied).await;
        rude.hears_nothing().await;
        assert_eq!(lines("id=pump-1"), REFUSALS_OF_A_PEER_LOGGED_MAX + 1);
    });
}

#[test]
fn refused_connections_take_a_few_lines_too() {
    let dir = tempfile::tempdir().unwrap();
    logged(async |log| {
        let site = Site::open_with(dir.path(), &["acme"], |quotas| quotas.device.quota.connections_max = 1);
        let _first = site.device("acme", "pump-1").connected().await;
        for _ in 0..200 {
            site.device("acme", "pump-1").knocks().await;
            let refusal = NotAdmitted { code: ReasonCode::Banned, reason: "pump-3 is suspended".to_owned() };
            site.refused(refusal, "pump-3").knocks().await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(site.counters("acme").quota_connections.value(), 200);
        assert_eq!(site.listener_counters().not_admitted.value(), 400);
        // All of it is said within a second or two of virtual time.
        assert!(log.with(&["connection refused"]).len() <= 3 * REFUSALS_OF_A_PEER_LOGGED_MAX);
        assert_eq!(log.with(&["peer=\"device pump-1\"", "left_out=190"]).len(), 1);
        assert_eq!(log.with(&["peer=\"127.0.0.1\"", "left_out=390"]).len(), 1);
    });
}
