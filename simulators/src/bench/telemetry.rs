//! Durable telemetry: devices publish small SenML packs at QoS 1 and wait for the hub to have stored them. One thread does
//! it all, as in other loads.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use muster_mqtt::Version;
use muster_schemas::{DeviceId, senml::Pack};

use super::{
    BenchError,
    limits::{ANSWER_TIME_MAX, SENDING_TIME_MAX},
    sample::Sample,
};
use crate::{
    gauge::{Gauge, Span},
    load::{
        LoadError,
        link::{Link, Scratch},
        poll::Poll,
        wire::{self, kind},
    },
    process::now,
};

/// When the first reading was measured, Unix seconds: some time in the past, for readings of the future are not the last.
const BASE_TIME_S: f64 = 1_700_000_000.0;

/// A device with its session.
pub struct Publisher {
    link: Link,
    topic: String,
    base_name: String,
    /// Packet ids, and when each went.
    on_their_way: VecDeque<(u16, Instant)>,
    last_id: u16,
    sent: usize,
}

/// What was seen.
pub struct Ingest {
    /// From the first PUBLISH to the last PUBACK.
    pub acknowledged: Span,
    /// How many batches the hub made durable until then, each with one `fdatasync`; none if it did not say.
    pub batches: Option<u64>,
    /// Until the hub had nothing more to do: the readings are in the store.
    pub settled: Span,
    /// From each PUBLISH to its PUBACK.
    pub waits: Sample,
}

impl Ingest {
    /// Messages that shared one `fdatasync`, in the mean.
    pub fn group(&self) -> Option<usize> {
        let batches = usize::try_from(self.batches?).ok().filter(|batches| *batches > 0)?;
        Some(self.waits.count().div_ceil(batches))
    }
}

/// How much each device sends.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Messages on their way at one time.
    pub window: usize,
    /// Messages in all.
    pub count: usize,
    /// When the first was measured, in milliseconds after [`BASE_TIME_S`]: two runs must not send the same readings.
    pub from_ms: u32,
}

/// Has all publishers publish. `batches` counts what the hub has made durable so far.
///
/// # Errors
/// A connection failed, or the hub refused a message.
pub async fn measure(
    publishers: &mut [Publisher],
    amount: Amount,
    gauge: &Gauge,
    batches: impl Fn() -> Option<u64>,
) -> Result<Ingest, BenchError> {
    let before = batches();
    let mark = gauge.mark()?;
    let waits = publish(publishers, amount)?;
    let acknowledged = gauge.since(mark)?;
    let batches = batches().zip(before).map(|(after, before)| after.saturating_sub(before));
    gauge.quiet().await?;
    let settled = gauge.since(mark)?;
    Ok(Ingest { acknowledged, batches, settled, waits: Sample::new(waits) })
}

fn publish(publishers: &mut [Publisher], amount: Amount) -> Result<Vec<Duration>, LoadError> {
    let (mut poll, mut scratch) = (Poll::new()?, Scratch::new());
    let deadline = now() + SENDING_TIME_MAX;
    for (place, publisher) in publishers.iter_mut().enumerate() {
        publisher.sent = 0;
        publisher.fill(amount);
        publisher.link.watch(&poll, place)?;
    }
    let mut waits = Vec::with_capacity(publishers.len() * amount.count);
    let mut ready = Vec::new();
    while publishers.iter().any(|publisher| !publisher.on_their_way.is_empty()) {
        ready.clear();
        poll.wait(ANSWER_TIME_MAX, &mut ready)?;
        if ready.is_empty() {
            return Err(LoadError::Silent("PUBACK"));
        }
        let at = now();
        for event in &ready {
            let Some(publisher) = publishers.get_mut(event.link) else { continue };
            if event.readable {
                publisher.hear(&mut scratch, at, &mut waits)?;
            }
            if at < deadline {
                publisher.fill(amount);
            }
            publisher.link.write(&poll, event.link)?;
        }
    }
    for publisher in publishers {
        publisher.link.unwatch(&poll)?;
    }
    Ok(waits)
}

impl Publisher {
    /// A device that has opened its session of MQTT 5 on this connection.
    pub fn new(id: &DeviceId, link: Link) -> Self {
        let topic = format!("devices/{id}/telemetry/climate");
        let base_name = format!("urn:dev:{id}:");
        Self { link, topic, base_name, on_their_way: VecDeque::new(), last_id: 0, sent: 0 }
    }

    /// Says good-bye and closes.
    ///
    /// # Errors
    /// The connection failed.
    pub fn close(mut self) -> Result<(), LoadError> {
        let poll = Poll::new()?;
        self.link.outbox.extend(wire::DISCONNECT);
        self.link.watch(&poll, 0)?;
        Ok(self.link.write(&poll, 0)?)
    }

    /// Puts out as many messages as may be on their way.
    fn fill(&mut self, amount: Amount) {
        let at = now();
        while self.on_their_way.len() < amount.window && self.sent < amount.count {
            let time_ms = f64::from(amount.from_ms) + self.sent as f64;
            let mut pack = Pack::new(&self.base_name, BASE_TIME_S + time_ms / 1_000.0);
            pack.number("temperature", Some("Cel"), 21.5).number("humidity", Some("%RH"), 40.25);
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let out = &mut self.link.outbox;
            wire::publish(out, Version::V5, &self.topic, Some(self.last_id), &pack.encode_cbor());
            self.on_their_way.push_back((self.last_id, at));
            self.sent += 1;
        }
    }

    fn hear(
        &mut self,
        scratch: &mut Scratch,
        at: Instant,
        waits: &mut Vec<Duration>,
    ) -> Result<(), LoadError> {
        let on_their_way = &mut self.on_their_way;
        self.link.read(scratch, |bytes, _| {
            while let Some(packet) = wire::take(bytes)? {
                let (id, code) = match packet.kind {
                    kind::PUBACK => packet.acknowledgement()?,
                    kind::DISCONNECT => {
                        return Err(LoadError::Refused { what: "to go on", code: packet.reason() });
                    }
                    other => return Err(LoadError::Unexpected(other)),
                };
                match on_their_way.pop_front() {
                    // From 0x80 on it is a refusal.
                    Some((sent_id, sent)) if sent_id == id && code < 0x80 => waits.push(at - sent),
                    _ => return Err(LoadError::Refused { what: "a message", code }),
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
