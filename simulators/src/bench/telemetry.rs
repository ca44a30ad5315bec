//! Durable telemetry: devices publish small SenML packs at QoS 1 and wait for the hub to have stored them.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use muster_mqtt::{Packet, PacketId};
use muster_schemas::{DeviceId, Message, Qos, senml::Pack};
use tokio::task::JoinSet;

use super::{
    BenchError,
    client::{Client, ClientError},
    limits::SENDING_TIME_MAX,
    sample::Sample,
};
use crate::{
    gauge::{Gauge, Span},
    process::now,
};

/// When the first reading was measured, Unix seconds: some time in the past, for readings of the future are not the last.
const BASE_TIME_S: f64 = 1_700_000_000.0;

/// A device with its session.
pub struct Publisher {
    /// Its id.
    pub id: DeviceId,
    /// Its session.
    pub client: Client,
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

/// Has all publishers publish, and gives them back. `batches` counts what the hub has made durable so far.
///
/// # Errors
/// A connection failed, or the hub refused a message.
pub async fn measure(
    publishers: Vec<Publisher>,
    amount: Amount,
    gauge: &Gauge,
    batches: impl Fn() -> Option<u64>,
) -> Result<(Vec<Publisher>, Ingest), BenchError> {
    let before = batches();
    let mark = gauge.mark()?;
    let deadline = now() + SENDING_TIME_MAX;
    let mut tasks = JoinSet::new();
    for publisher in publishers {
        tasks.spawn(publish(publisher, amount, deadline));
    }
    let (mut back, mut waits) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (publisher, own) = ended??;
        back.push(publisher);
        waits.extend(own);
    }
    let acknowledged = gauge.since(mark)?;
    let batches = batches().zip(before).map(|(after, before)| after.saturating_sub(before));
    gauge.quiet().await?;
    let settled = gauge.since(mark)?;
    Ok((back, Ingest { acknowledged, batches, settled, waits: Sample::new(waits) }))
}

async fn publish(
    mut publisher: Publisher,
    amount: Amount,
    deadline: Instant,
) -> Result<(Publisher, Vec<Duration>), BenchError> {
    let Publisher { id, client } = &mut publisher;
    let topic = format!("devices/{id}/telemetry/climate").parse().map_err(io::Error::other)?;
    let message = Message {
        topic,
        qos: Qos::AtLeastOnce,
        retain: false,
        payload: Default::default(),
        properties: None,
    };
    let base_name = format!("urn:dev:{id}:");
    let mut on_their_way: VecDeque<(PacketId, Instant)> = VecDeque::with_capacity(amount.window);
    let mut waits = Vec::with_capacity(amount.count);
    let mut time_ms = amount.from_ms;
    let mut ids = (1..=u16::MAX).cycle().take(amount.count).filter_map(PacketId::new).peekable();
    loop {
        let at = now();
        while on_their_way.len() < amount.window && at < deadline {
            let Some(packet_id) = ids.next() else { break };
            let mut pack = Pack::new(&base_name, BASE_TIME_S + f64::from(time_ms) / 1_000.0);
            pack.number("temperature", Some("Cel"), 21.5).number("humidity", Some("%RH"), 40.25);
            client
                .publish(Message { payload: pack.encode_cbor().into(), ..message.clone() }, Some(packet_id));
            on_their_way.push_back((packet_id, at));
            time_ms += 1;
        }
        if on_their_way.is_empty() {
            return Ok((publisher, waits));
        }
        client.flush().await?;
        client.hear().await?;
        let at = now();
        while let Some(packet) = client.heard()? {
            let Packet::PubAck(ack) = packet else {
                return Err(ClientError::unexpected(&packet, "PUBACK").into());
            };
            match on_their_way.pop_front() {
                Some((packet_id, sent)) if packet_id == ack.packet_id && !ack.code.is_failure() => {
                    waits.push(at - sent);
                }
                _ => {
                    let reason = ack.reason.map(|reason| reason.to_string());
                    return Err(ClientError::Refused { what: "a message", code: ack.code, reason }.into());
                }
            }
        }
    }
}
