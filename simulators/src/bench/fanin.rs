//! Routing alone: many devices publish at QoS 0 to one app, with a bounded number of messages on their way.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use muster_mqtt::Packet;
use muster_schemas::{Message, Qos};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    BenchError,
    client::{Client, ClientError},
    limits::{
        FANIN_PAYLOAD_BYTES, FANIN_PER_DEVICE, LISTEN_POLL_TIME, MEASUREMENT_TIME_MAX, SENDING_TIME_MAX,
        WINDOW,
    },
    telemetry::Publisher,
};
use crate::{
    gauge::{Gauge, Span},
    process::now,
};

/// What was seen.
pub struct FanIn {
    /// Messages that were sent.
    pub sent: usize,
    /// Messages that the app got.
    pub delivered: usize,
    /// Of these, those that were not the next of their publisher.
    pub disordered: usize,
    /// From the first PUBLISH to the last delivery.
    pub span: Span,
}

/// What the app got from one publisher.
#[derive(Debug, Clone, Copy, Default)]
struct Arrivals {
    /// Number of the message that is due.
    next: u32,
    /// Messages since their places were given back.
    new: usize,
    count: usize,
    disordered: usize,
}

/// Has all publishers publish to what `app` is subscribed to.
///
/// # Errors
/// A connection failed.
pub async fn measure(
    publishers: Vec<Publisher>,
    mut app: Client,
    gauge: &Gauge,
) -> Result<(Vec<Publisher>, FanIn), BenchError> {
    app.subscribe("devices/+/bench".parse().map_err(io::Error::other)?).await?;
    let windows: Arc<[Semaphore]> = publishers.iter().map(|_| Semaphore::new(WINDOW)).collect();
    let all_sent = Arc::new(AtomicUsize::new(usize::MAX));
    let mark = gauge.mark()?;
    let begun = now();
    let deadline = begun + MEASUREMENT_TIME_MAX;
    let hearing = tokio::spawn(listen(app, Arc::clone(&windows), Arc::clone(&all_sent), deadline));
    let mut tasks = JoinSet::new();
    for (number, publisher) in publishers.into_iter().enumerate() {
        tasks.spawn(publish(publisher, number, Arc::clone(&windows), begun + SENDING_TIME_MAX));
    }
    let (mut back, mut sent) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (publisher, own) = ended??;
        back.push(publisher);
        sent += usize::try_from(own).unwrap_or(usize::MAX);
    }
    all_sent.store(sent, Ordering::Release);
    let arrivals = hearing.await??;
    let span = gauge.since(mark)?;
    let delivered = arrivals.iter().map(|arrivals| arrivals.count).sum();
    let disordered = arrivals.iter().map(|arrivals| arrivals.disordered).sum();
    Ok((back, FanIn { sent, delivered, disordered, span }))
}

/// Sends as its window allows, as many at once as it can; gives how many.
async fn publish(
    mut publisher: Publisher,
    number: usize,
    windows: Arc<[Semaphore]>,
    deadline: Instant,
) -> Result<(Publisher, u32), BenchError> {
    let Publisher { id, client } = &mut publisher;
    let topic = format!("devices/{id}/bench").parse().map_err(io::Error::other)?;
    let (qos, retain, payload, properties) = (Qos::AtMostOnce, false, Bytes::new(), None);
    let message = Message { topic, qos, retain, payload, properties };
    let Some(window) = windows.get(number) else { return Ok((publisher, 0)) };
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut sent = 0;
    while sent < FANIN_PER_DEVICE && now() < deadline {
        // The listener closes the windows when it gives up.
        let Ok(first) = window.acquire().await else { break };
        first.forget();
        let more =
            u32::try_from(window.available_permits()).unwrap_or(u32::MAX).min(FANIN_PER_DEVICE - sent - 1);
        let batch = match window.try_acquire_many(more) {
            Ok(permits) => {
                permits.forget();
                1 + more
            }
            Err(_) => 1,
        };
        for sequence in sent..sent + batch {
            let mut payload = BytesMut::zeroed(FANIN_PAYLOAD_BYTES);
            let (head, rest) = payload.split_at_mut(4);
            head.copy_from_slice(&number.to_be_bytes());
            if let Some(place) = rest.first_chunk_mut() {
                *place = sequence.to_be_bytes();
            }
            client.publish(Message { payload: payload.freeze(), ..message.clone() }, None);
        }
        client.flush().await?;
        sent += batch;
    }
    Ok((publisher, sent))
}

/// Gives each publisher its place back for each message that arrives, until all that was sent has, or time is up.
async fn listen(
    mut app: Client,
    windows: Arc<[Semaphore]>,
    all_sent: Arc<AtomicUsize>,
    deadline: Instant,
) -> Result<Vec<Arrivals>, ClientError> {
    let mut all = vec![Arrivals::default(); windows.len()];
    loop {
        let total: usize = all.iter().map(|arrivals| arrivals.count).sum();
        if total >= all_sent.load(Ordering::Acquire) {
            return Ok(all);
        }
        // The last message may have come before its sender has told how many there are: look again in a moment.
        let heard = timeout(LISTEN_POLL_TIME, app.hear()).await;
        if now() >= deadline {
            windows.iter().for_each(Semaphore::close);
            return Ok(all);
        }
        let Ok(heard) = heard else { continue };
        heard?;
        while let Some(packet) = app.heard()? {
            let Packet::Publish(publish) = packet else {
                return Err(ClientError::unexpected(&packet, "PUBLISH"));
            };
            let Some((number, sequence)) = origin(&publish.message.payload) else { continue };
            if let Some(arrivals) = all.get_mut(number) {
                arrivals.count += 1;
                arrivals.new += 1;
                arrivals.disordered += usize::from(sequence != arrivals.next);
                arrivals.next = sequence.wrapping_add(1);
            }
        }
        for (window, arrivals) in windows.iter().zip(&mut all) {
            if arrivals.new > 0 {
                window.add_permits(std::mem::take(&mut arrivals.new));
            }
        }
    }
}

/// Who sent it, and as which of its messages.
fn origin(payload: &[u8]) -> Option<(usize, u32)> {
    let (number, rest) = payload.split_first_chunk()?;
    let sequence = rest.first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*number)).ok()?, u32::from_be_bytes(*sequence)))
}
