//! What a run says: one line for a person or one line of JSON.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{LoadOptions, cost::Cost, ledger::Tally};
use crate::gauge::Memory;

/// What was seen of messages.
pub struct Messages {
    /// Deliveries within the measured time.
    pub delivered: u64,
    /// What that time cost.
    pub cost: Cost,
    /// Messages sent in all, with those of the warm-up.
    pub sent: u64,
    /// What became of them.
    pub tally: Tally,
    /// How many published.
    pub publishers: usize,
    /// How many subscribed.
    pub subscribers: usize,
    /// From sending to delivery, in nanoseconds, at a fixed rate.
    pub times: Option<Histogram<u64>>,
    /// How late the generator itself was, in nanoseconds.
    pub lateness: Option<Histogram<u64>>,
    /// The broker's memory at the end.
    pub memory: Option<Memory>,
}

/// What was seen of connections.
pub struct Connections {
    /// Whether they were encrypted.
    pub is_tls: bool,
    /// How many were opened.
    pub opened: u64,
    /// How many answered a ping at the end, when they were held.
    pub alive: usize,
    /// How long each took to open, in nanoseconds.
    pub times: Histogram<u64>,
    /// What opening them cost.
    pub cost: Cost,
    /// What holding them cost.
    pub idle: Option<Cost>,
    /// The broker's memory before and while they were held.
    pub memory: Option<(Memory, Memory)>,
}

/// Three quantiles and the longest, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// Of a hundred the longest but one.
    pub p99: f64,
    /// Of a thousand.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    /// Of a histogram of nanoseconds.
    pub fn of(times: &Histogram<u64>) -> Self {
        let ms = |quantile| round(times.value_at_quantile(quantile) as f64 / 1e6, 3);
        Self { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999), max: round(times.max() as f64 / 1e6, 3) }
    }

    fn to_json(self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "p999": self.p999, "max": self.max })
    }
}

/// What a run says.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Deliveries, or connections, a second.
    pub rate: f64,
    /// The broker's processor time for each, in microseconds.
    pub broker_us: Option<f64>,
    /// How long each took.
    pub quantiles: Option<Quantiles>,
    /// Resident bytes of the broker for each connection.
    pub bytes_each: Option<f64>,
    /// What became of the messages.
    pub tally: Tally,
    /// All of it, by name.
    fields: Map<String, Value>,
}

impl Report {
    /// Of messages.
    pub fn messages(options: &LoadOptions, seen: Messages) -> Self {
        let Messages { delivered, cost, sent, tally, publishers, subscribers, times, lateness, memory } =
            seen;
        let rate = round(delivered as f64 / cost.wall.as_secs_f64().max(f64::MIN_POSITIVE), 0);
        let each = |time: std::time::Duration| round(time.as_secs_f64() * 1e6 / delivered.max(1) as f64, 3);
        let broker_us = cost.broker.filter(|_| delivered > 0).map(each);
        let quantiles = times.as_ref().map(Quantiles::of);
        let mut fields = named(options);
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("qos", json!(options.qos));
        put("payload_bytes", json!(options.size));
        put("publishers", json!(publishers));
        put("subscribers", json!(subscribers));
        put("deliveries_per_s", json!(rate));
        put("broker_us_per_delivery", json!(broker_us));
        put("own_us_per_delivery", json!((delivered > 0).then(|| each(cost.own))));
        put("broker_cpu_percent", percent(&cost, cost.broker));
        put("own_cpu_percent", percent(&cost, Some(cost.own)));
        put("others_cpu_percent", percent(&cost, cost.others));
        put("measured_s", json!(round(cost.wall.as_secs_f64(), 3)));
        put("measured_deliveries", json!(delivered));
        put("sent", json!(sent));
        put("delivered", json!(tally.delivered));
        put("lost", json!(tally.lost));
        put("duplicated", json!(tally.duplicated));
        put("out_of_order", json!(tally.out_of_order));
        put("strange", json!(tally.strange));
        put("latency_ms", json!(quantiles.map(Quantiles::to_json)));
        put("generator_late_ms", json!(lateness.as_ref().map(|late| Quantiles::of(late).to_json())));
        put("broker_resident_kib", json!(memory.map(|memory| memory.resident_kib)));
        put("broker_peak_kib", json!(memory.map(|memory| memory.peak_kib)));
        Self { rate, broker_us, quantiles, bytes_each: None, tally, fields }
    }

    /// Of connections.
    pub fn connections(options: &LoadOptions, seen: Connections) -> Self {
        let Connections { is_tls, opened, alive, times, cost, idle, memory } = seen;
        let rate = round(opened as f64 / cost.wall.as_secs_f64().max(f64::MIN_POSITIVE), 1);
        let each = |time: std::time::Duration| round(time.as_secs_f64() * 1e6 / opened.max(1) as f64, 1);
        let broker_us = cost.broker.map(each);
        let bytes_each = memory.map(|(before, after)| {
            let more = after.resident_kib.saturating_sub(before.resident_kib);
            round(more as f64 * 1_024.0 / opened.max(1) as f64, 0)
        });
        let quantiles = Quantiles::of(&times);
        let mut fields = named(options);
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("tls", json!(is_tls));
        put("opened", json!(opened));
        put("alive", json!(idle.map(|_| alive)));
        put("connections_per_s", json!(rate));
        put("broker_us_per_connection", json!(broker_us));
        put("own_us_per_connection", json!(each(cost.own)));
        put("broker_cpu_percent", percent(&cost, cost.broker));
        put("own_cpu_percent", percent(&cost, Some(cost.own)));
        put("others_cpu_percent", percent(&cost, cost.others));
        put("opening_ms", quantiles.to_json());
        put("broker_bytes_per_connection", json!(bytes_each));
        put("broker_resident_kib", json!(memory.map(|(_, after)| after.resident_kib)));
        put("broker_idle_cpu_percent", json!(idle.map(|idle| percent(&idle, idle.broker))));
        Self { rate, broker_us, quantiles: Some(quantiles), bytes_each, tally: Tally::default(), fields }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// One line for a person: what is known, by name.
    pub fn to_text(&self) -> String {
        let known = self.fields.iter().filter(|(_, value)| !value.is_null());
        let shown = known.map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// One number of the line, for who wants more than the main ones.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name)?.as_f64()
    }
}

fn named(options: &LoadOptions) -> Map<String, Value> {
    use clap::ValueEnum as _;
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let mut fields = Map::new();
    fields.insert("scenario".to_owned(), json!(name(options.scenario.to_possible_value())));
    fields.insert("protocol".to_owned(), json!(name(options.protocol.to_possible_value())));
    fields.insert("tls".to_owned(), json!(options.cafile.is_some()));
    fields
}

fn percent(cost: &Cost, time: Option<std::time::Duration>) -> Value {
    json!(time.map(|time| round(cost.percent(time), 1)))
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histogram;

    #[test]
    fn quantiles_are_told_in_milliseconds() {
        let mut times = histogram().unwrap();
        for us in 1..=1_000 {
            times.record(us * 1_000).unwrap();
        }
        let Quantiles { p50, p99, p999, max } = Quantiles::of(&times);
        let near = |found: f64, wanted: f64| (found - wanted).abs() / wanted < 0.005;
        assert!(
            near(p50, 0.5) && near(p99, 0.99) && near(p999, 0.999) && near(max, 1.0),
            "{p50} {p99} {p999} {max}"
        );
        let shown = Quantiles::of(&times).to_json();
        assert_eq!(shown.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().len(), 4);
        assert_eq!(shown["p50"], json!(p50));
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        let nothing = Quantiles::of(&histogram().unwrap());
        assert_eq!(nothing, Quantiles { p50: 0.0, p99: 0.0, p999: 0.0, max: 0.0 });
    }
}
