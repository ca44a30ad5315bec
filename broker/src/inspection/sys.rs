//! `$SYS`: a tenant's own numbers under the names that Mosquitto gave them, retained, in memory only.
//!
//! They are said while somebody subscribes to them, and anew to whoever begins to. Averages are kept in any case, so
//! that they are true from the first moment.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use muster_routing::{Input, Router as Core};
use muster_schemas::{Message, Qos};

use super::Insight;
use crate::counters::{Counter, TenantCounters};

/// The level that all of it is under.
const ROOT: &str = "$SYS";
/// What averages are taken over, and their names.
const WINDOWS: [(u64, &str); 3] = [(60, "1min"), (300, "5min"), (900, "15min")];

/// What grows, and is averaged: the name below `load/`, and the counter.
type Load = (&'static str, fn(&TenantCounters) -> &Counter);

const LOADS: [Load; 7] = [
    ("messages/received", |counters| &counters.packets_received),
    ("messages/sent", |counters| &counters.packets_sent),
    ("publish/received", |counters| &counters.messages_received),
    ("publish/sent", |counters| &counters.messages_delivered),
    ("publish/dropped", |counters| &counters.messages_dropped),
    ("bytes/received", |counters| &counters.bytes_received),
    ("bytes/sent", |counters| &counters.bytes_sent),
];

/// What a router says under `$SYS`.
pub(crate) struct Sys {
    is_on: bool,
    since: Instant,
    ticked: Instant,
    /// What each counter said at the last tick, and the averages of its growth per minute.
    loads: [(u64, [f64; 3]); LOADS.len()],
    /// What was said last, by topic. Everything in it is retained by the router.
    said: BTreeMap<String, String>,
}

impl Sys {
    pub(crate) fn new(insight: &Insight, now: Instant) -> Self {
        Self {
            is_on: insight.sys_interval.is_some(),
            since: insight.since,
            ticked: now,
            loads: [(0, [0.0; 3]); LOADS.len()],
            said: BTreeMap::new(),
        }
    }

    /// Whether anybody subscribes to it.
    pub(crate) fn is_heard(core: &Core) -> bool {
        core.index().begins_with(ROOT)
    }

    /// Whether an input begins to.
    pub(crate) fn is_asked_for(&self, input: &Input) -> bool {
        let Input::Subscribe { filters, .. } = input else { return false };
        self.is_on && filters.iter().any(|request| request.filter.levels().next() == Some(ROOT))
    }

    /// Takes the averages further.
    pub(crate) fn tick(&mut self, now: Instant, counters: &TenantCounters) {
        let passed = now.saturating_duration_since(self.ticked).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        self.ticked = now;
        for ((before, averages), (_, counter)) in self.loads.iter_mut().zip(LOADS) {
            let value = counter(counters).value();
            let per_minute = value.saturating_sub(*before) as f64 * 60.0 / passed;
            *before = value;
            for (average, (window_s, _)) in averages.iter_mut().zip(WINDOWS) {
                // What is a window ago counts by a factor of e less than what is now.
                let weight = (-passed / window_s as f64).exp();
                *average = per_minute + weight * (*average - per_minute);
            }
        }
    }

    /// What has changed since it was last said.
    pub(crate) fn news(&mut self, now: Instant, counters: &TenantCounters, core: &Core) -> Vec<Message> {
        let mut news = Vec::new();
        let retained = core.retained().len().saturating_sub(self.said.len());
        for (name, value) in self.numbers(now, counters, core, retained) {
            let topic = format!("{ROOT}/broker/{name}");
            if self.said.get(&topic) == Some(&value) {
                continue;
            }
            if let Ok(name) = topic.parse() {
                // QoS 0: a number that a slow subscriber misses is followed by another.
                let (qos, payload) = (Qos::AtMostOnce, Bytes::from(value.clone()));
                news.push(Message { topic: name, qos, retain: true, payload, properties: None });
                self.said.insert(topic, value);
            }
        }
        news
    }

    fn numbers(
        &self,
        now: Instant,
        counters: &TenantCounters,
        core: &Core,
        retained: usize,
    ) -> Vec<(String, String)> {
        let mut numbers = Vec::new();
        let mut say = |name: &str, value: String| numbers.push((name.to_owned(), value));
        let uptime: Duration = now.saturating_duration_since(self.since);
        say("version", concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned());
        say("uptime", format!("{} seconds", uptime.as_secs()));
        let (connected, waiting) = (counters.sessions.value(), counters.sessions_waiting.value());
        for (name, value) in [
            ("clients/connected", connected),
            ("clients/disconnected", waiting),
            ("clients/total", connected + waiting),
            ("clients/expired", counters.sessions_expired.value()),
            ("messages/received", counters.packets_received.value()),
            ("messages/sent", counters.packets_sent.value()),
            ("messages/stored", retained as u64),
            ("store/messages/count", retained as u64),
            ("publish/messages/received", counters.messages_received.value()),
            ("publish/messages/sent", counters.messages_delivered.value()),
            ("publish/messages/dropped", counters.messages_dropped.value()),
            ("publish/bytes/received", counters.payload_bytes_received.value()),
            ("publish/bytes/sent", counters.payload_bytes_delivered.value()),
            ("bytes/received", counters.bytes_received.value()),
            ("bytes/sent", counters.bytes_sent.value()),
            ("subscriptions/count", core.index().len() as u64),
            ("retained messages/count", retained as u64),
        ] {
            say(name, value.to_string());
        }
        for ((_, averages), (name, _)) in self.loads.iter().zip(LOADS) {
            for (average, (_, window)) in averages.iter().zip(WINDOWS) {
                let mut text = String::new();
                // Writing to a String does not fail.
                let _ = write!(text, "{average:.2}");
                say(&format!("load/{name}/{window}"), text);
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use muster_routing::RouterOptions;

    use super::*;

    fn sys(now: Instant) -> Sys {
        Sys::new(&Insight::new(now, Some(Duration::from_secs(10))), now)
    }

    fn said(news: &[Message], name: &str) -> Option<String> {
        let found = news.iter().find(|message| message.topic.as_str() == format!("$SYS/broker/{name}"));
        found.map(|message| String::from_utf8_lossy(&message.payload).into_owned())
    }

    #[test]
    fn only_what_changed_is_said_again() {
        let now = SystemInstant::now();
        let (mut sys, counters, core) =
            (sys(now), TenantCounters::default(), Core::new(RouterOptions::default()));
        let first = sys.news(now, &counters, &core);
        assert_eq!(first.len(), 19 + 21);
        assert!(first.iter().all(|message| message.retain && message.topic.is_reserved()));
        assert_eq!(said(&first, "uptime").as_deref(), Some("0 seconds"));
        counters.messages_received.add(3);
        let again = sys.news(now, &counters, &core);
        assert_eq!((again.len(), said(&again, "publish/messages/received").as_deref()), (1, Some("3")));
        assert_eq!(sys.news(now, &counters, &core), []);
    }

    #[test]
    fn an_average_follows_what_is_steady_and_forgets_what_is_over() {
        let mut now = SystemInstant::now();
        let (mut sys, counters, core) =
            (sys(now), TenantCounters::default(), Core::new(RouterOptions::default()));
        for _ in 0..60 {
            now += Duration::from_secs(10);
            counters.messages_received.add(20);
            sys.tick(now, &counters);
        }
        let busy = sys.news(now, &counters, &core);
        let of = |news: &[Message], window: &str| {
            said(news, &format!("load/publish/received/{window}"))
                .expect("said")
                .parse::<f64>()
                .expect("a number")
        };
        assert!((of(&busy, "1min") - 120.0).abs() < 0.1, "{}", of(&busy, "1min"));
        assert!(of(&busy, "5min") > 100.0 && of(&busy, "15min") < 70.0);
        for _ in 0..60 {
            now += Duration::from_secs(10);
            sys.tick(now, &counters);
        }
        let idle = sys.news(now, &counters, &core);
        assert!(of(&idle, "1min") < 0.1 && of(&idle, "15min") > 10.0);
    }

    struct SystemInstant;

    impl SystemInstant {
        fn now() -> Instant {
            muster_actors::Clock::now(&muster_actors::SystemClock)
        }
    }
}
