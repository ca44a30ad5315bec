//! Listening in: the packets of one client, or those about one topic, as they come and go.
//!
//! A session asks one flag per batch whether anybody listens to its tenant. Only then packets are looked at, what goes
//! out is decoded again, and a short description of what is wanted is offered to whoever wants it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use muster_mqtt::{Ack, Decoder, Packet, PacketLimits, PacketType, ReasonCode};
use muster_schemas::{ClientId, DeviceId, Kind, Message, Qos, TopicFilter};
use tokio::sync::mpsc;

use super::NotInspected;
use crate::{
    limits::{TRACED_FILTERS_MAX, TRACED_PAYLOAD_BYTES_MAX, TRACED_WAITING_MAX, TRACES_MAX},
    session::Session,
};

/// What is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceTarget {
    /// Every packet of a client, named by its client identifier or by the id of its certificate.
    Client(String),
    /// Messages on these topics, and subscriptions to the filter itself or to what it covers.
    Topic(TopicFilter),
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// A packet of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// The number of the session.
    pub session: u64,
    /// What the client is.
    pub kind: Kind,
    /// Its id.
    pub id: DeviceId,
    /// Its client identifier, once it has one.
    pub client: Option<ClientId>,
    /// Which way.
    pub direction: Direction,
    /// What.
    pub packet: TracedPacket,
    /// Packets that nobody took before this one, and that are therefore missing.
    pub dropped: u64,
}

/// What is told about a packet. None where a packet of its type has no such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedPacket {
    /// Its type.
    pub packet: PacketType,
    /// Its packet identifier.
    pub packet_id: Option<u16>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its filters, the first [`TRACED_FILTERS_MAX`] of them.
    pub filters: Vec<String>,
    /// Its quality of service.
    pub qos: Option<Qos>,
    /// Whether it is, or is to be, retained.
    pub retain: bool,
    /// Whether it was sent before.
    pub dup: bool,
    /// Length of its payload, in bytes.
    pub bytes: Option<usize>,
    /// The first [`TRACED_PAYLOAD_BYTES_MAX`] bytes of its payload, if they were asked for.
    pub payload: Option<Bytes>,
    /// Its reason codes.
    pub codes: Vec<ReasonCode>,
    /// Its reason string.
    pub reason: Option<String>,
}

/// Who listens to one tenant.
#[derive(Clone, Default)]
pub(crate) struct Traces(Arc<Listeners>);

#[derive(Default)]
struct Listeners {
    /// How many there are: read for every batch, and mostly 0.
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Listener>>>,
}

struct Listener {
    target: TraceTarget,
    with_payload: bool,
    traced: mpsc::Sender<Traced>,
    dropped: AtomicU64,
}

/// A trace that goes on until this is dropped.
pub struct Tracing {
    traced: mpsc::Receiver<Traced>,
    listener: Arc<Listener>,
    traces: Traces,
}

impl Tracing {
    /// The next packet if there is one already; none when the bus has ended. Wakes the task when there is.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Traced>> {
        self.traced.poll_recv(cx)
    }

    /// The next packet; none when the bus has ended.
    pub async fn next(&mut self) -> Option<Traced> {
        self.traced.recv().await
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.traces.0.change(|list| list.retain(|listener| !Arc::ptr_eq(listener, &self.listener)));
    }
}

impl Listeners {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Listener>>) -> T) -> T {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut list);
        self.count.store(list.len(), Ordering::Relaxed);
        outcome
    }
}

impl Traces {
    /// Whether anybody listens.
    pub(crate) fn are_on(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn start(&self, target: TraceTarget, with_payload: bool) -> Result<Tracing, NotInspected> {
        let (sender, traced) = mpsc::channel(TRACED_WAITING_MAX);
        let listener =
            Arc::new(Listener { target, with_payload, traced: sender, dropped: AtomicU64::new(0) });
        self.0.change(|list| {
            if list.len() >= TRACES_MAX {
                return Err(NotInspected::TooManyTraces(TRACES_MAX));
            }
            list.push(listener.clone());
            Ok(())
        })?;
        Ok(Tracing { traced, listener, traces: self.clone() })
    }

    fn listeners(&self) -> Vec<Arc<Listener>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listener {
    /// Whether anything that goes to this client may be wanted.
    fn may_want(&self, id: &DeviceId, client: Option<&ClientId>) -> bool {
        match &self.target {
            TraceTarget::Client(wanted) => {
                id.as_str() == wanted || client.is_some_and(|client| client.as_str() == wanted)
            }
            TraceTarget::Topic(_) => true,
        }
    }

    fn wants(&self, id: &DeviceId, client: Option<&ClientId>, packet: &Packet) -> bool {
        match &self.target {
            TraceTarget::Client(wanted) => {
                let named = match packet {
                    // It has no name yet, and this is where it says it.
                    Packet::Connect(connect) => connect.client_id.as_ref(),
                    _ => client,
                };
                id.as_str() == wanted || named.is_some_and(|client| client.as_str() == wanted)
            }
            TraceTarget::Topic(wanted) => {
                let is_about = |filter: &TopicFilter| filter == wanted || wanted.covers(filter);
                match packet {
                    Packet::Publish(publish) => wanted.matches(&publish.message.topic),
                    Packet::Connect(connect) => {
                        connect.will.as_ref().is_some_and(|will| wanted.matches(&will.message.topic))
                    }
                    Packet::Subscribe(subscribe) => {
                        subscribe.filters.iter().any(|(filter, _)| is_about(filter))
                    }
                    Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.iter().any(is_about),
                    _ => false,
                }
            }
        }
    }

    fn offer(&self, mut traced: Traced) {
        traced.dropped = self.dropped.swap(0, Ordering::Relaxed);
        if let Err(mpsc::error::TrySendError::Full(traced)) = self.traced.try_send(traced) {
            self.dropped.fetch_add(traced.dropped + 1, Ordering::Relaxed);
        }
    }
}

impl Session {
    /// Tells who listens about these packets.
    pub(crate) fn trace(&self, direction: Direction, packets: &[Packet]) {
        let (parts, client) = (self.parts(), self.client());
        for listener in parts.home.traces.listeners() {
            for packet in packets {
                if listener.wants(&parts.caller.principal.id, client, packet) {
                    listener.offer(Traced {
                        at_ms: parts.home.clock.unix_ms(),
                        session: parts.subscriber.0,
                        kind: parts.caller.principal.kind,
                        id: parts.caller.principal.id.clone(),
                        client: client.cloned(),
                        direction,
                        packet: TracedPacket::of(packet, listener.with_payload),
                        dropped: 0,
                    });
                }
            }
        }
    }

    /// Tells who listens about what is on its way out. It is decoded as the client will, since the core only encodes.
    pub(crate) fn trace_outgoing(&mut self) {
        let (parts, client) = (self.parts(), self.client());
        let may_want = |listener: &Arc<Listener>| listener.may_want(&parts.caller.principal.id, client);
        if !parts.home.traces.listeners().iter().any(may_want) {
            return;
        }
        let packets_max = PacketLimits {
            packet_bytes_max: usize::MAX,
            user_properties_max: usize::MAX,
            subscription_ids_max: usize::MAX,
            ..PacketLimits::default()
        };
        let mut decoder = Decoder::client_within(self.core().version(), packets_max);
        let outgoing = self.outgoing();
        for chunk in outgoing.take_chunks() {
            decoder.buffer().extend_from_slice(&chunk);
            outgoing.push_shared(&chunk);
        }
        let mut decoded = Vec::new();
        while let Ok(Some(packet)) = decoder.next() {
            decoded.push(packet);
        }
        if !decoded.is_empty() {
            self.trace(Direction::Out, &decoded);
        }
    }
}

impl TracedPacket {
    fn of(packet: &Packet, with_payload: bool) -> Self {
        let mut traced = Self {
            packet: packet.packet_type(),
            packet_id: None,
            topic: None,
            filters: Vec::new(),
            qos: None,
            retain: false,
            dup: false,
            bytes: None,
            payload: None,
            codes: Vec::new(),
            reason: None,
        };
        match packet {
            Packet::Publish(publish) => {
                traced.packet_id = publish.packet_id.map(|id| id.get());
                traced.dup = publish.dup;
                traced.message(&publish.message, with_payload);
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                let Ack { packet_id, code, reason, .. } = ack;
                traced.packet_id = Some(packet_id.get());
                traced.codes = vec![*code];
                traced.reason = text(reason.as_ref());
            }
            Packet::Connect(connect) => {
                if let Some(will) = &connect.will {
                    traced.message(&will.message, with_payload);
                }
            }
            Packet::ConnAck(connack) => {
                traced.codes = vec![connack.code];
                traced.reason = text(connack.properties.reason.as_ref());
            }
            Packet::Subscribe(subscribe) => {
                traced.packet_id = Some(subscribe.packet_id.get());
                traced.qos = subscribe.filters.iter().map(|(_, options)| options.qos).max();
                let filters = subscribe.filters.iter().take(TRACED_FILTERS_MAX);
                traced.filters = filters.map(|(filter, _)| filter.to_string()).collect();
            }
            Packet::Unsubscribe(unsubscribe) => {
                traced.packet_id = Some(unsubscribe.packet_id.get());
                let filters = unsubscribe.filters.iter().take(TRACED_FILTERS_MAX);
                traced.filters = filters.map(ToString::to_string).collect();
            }
            Packet::SubAck(suback) => {
                traced.packet_id = Some(suback.packet_id.get());
                traced.codes = suback.codes.iter().take(TRACED_FILTERS_MAX).copied().collect();
                traced.reason = text(suback.reason.as_ref());
            }
            Packet::UnsubAck(unsuback) => {
                traced.packet_id = Some(unsuback.packet_id.get());
                traced.codes = unsuback.codes.iter().take(TRACED_FILTERS_MAX).copied().collect();
                traced.reason = text(unsuback.reason.as_ref());
            }
            Packet::Disconnect(disconnect) => {
                traced.codes = vec![disconnect.code];
                traced.reason = text(disconnect.reason.as_ref());
            }
            Packet::Auth(auth) => traced.codes = vec![auth.code],
            Packet::PingReq | Packet::PingResp => {}
        }
        traced
    }

    fn message(&mut self, message: &Message, with_payload: bool) {
        self.topic = Some(message.topic.to_string());
        self.qos = Some(message.qos);
        self.retain = message.retain;
        self.bytes = Some(message.payload.len());
        // A copy, for the payload is part of a read buffer.
        let shown = message.payload.get(..TRACED_PAYLOAD_BYTES_MAX).unwrap_or(&message.payload);
        self.payload = with_payload.then(|| Bytes::copy_from_slice(shown));
    }
}

fn text(reason: Option<&impl ToString>) -> Option<String> {
    reason.map(ToString::to_string)
}
