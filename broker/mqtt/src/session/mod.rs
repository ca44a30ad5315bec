//! The server's side of one network connection: which packets may come when, and what follows from each.
//!
//! ```text
//!   Connecting ──CONNECT──▶ Admitting ──Admitted──▶ Connected ──▶ Closed
//!        │ └─▶ Authenticating ──▲ │                                  ▲
//!        └────────────┴───────────┴─── timeout, refusal, fault ──────┘
//! ```

mod aliases;
mod arrivals;
mod authentication;
mod close;
mod connect;
mod effects;
mod inbound;
mod inflight;
mod input;
mod outbound;
mod queue;
mod received;
mod subscriptions;
mod timer;

pub use authentication::{AuthenticationOutcome, AuthenticationStep};
pub use close::{CloseReason, Closing};
pub use effects::{Admit, Authenticate, Effects, Request, SubscriptionRequest};
pub use input::{Admission, Delivery, Input, PublishOutcome};

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use muster_schemas::ClientId;

use self::{
    aliases::Aliases,
    arrivals::Arrivals,
    authentication::{Authenticating, Authentication},
    connect::Admitting,
    inflight::Inflight,
    queue::{Binding, DeliveryQueue},
    received::Received,
    subscriptions::Pending,
    timer::{Timer, Timers},
};
use crate::{
    encode::{bare_ack, encode, encoded_len},
    limits::{PacketLimits, SessionLimits},
    packet::{Ack, Disconnect, Packet, PacketType},
    reason::ReasonCode,
    version::Version,
};

/// What a server offers its clients.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Bounds and times.
    pub limits: SessionLimits,
    /// QoS 1 and 2 messages taken from a client at once (MQTT 5; a 3.1.1 client cannot be told and may have as many
    /// as there are packet ids). One more closes with receive maximum exceeded.
    pub receive_maximum: NonZeroU16,
    /// Largest packet to announce, in bytes: what the decoder takes.
    pub packet_bytes_max: NonZeroU32,
    /// Topic aliases to announce: what the decoder takes.
    pub topic_alias_max: u16,
    /// Methods of enhanced authentication that the broker knows. Any other is refused with bad authentication method.
    pub authentication_methods: Arc<[ByteString]>,
}

impl SessionOptions {
    /// Options that announce what a decoder with these limits takes.
    pub fn new(limits: SessionLimits, packets: &PacketLimits) -> Self {
        let bytes = u32::try_from(packets.packet_bytes_max).unwrap_or(u32::MAX);
        Self {
            limits,
            receive_maximum: NonZeroU16::new(1_024).unwrap_or(NonZeroU16::MAX),
            packet_bytes_max: NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN),
            topic_alias_max: packets.topic_aliases_max,
            authentication_methods: Arc::default(),
        }
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self::new(SessionLimits::default(), &PacketLimits::default())
    }
}

/// What happened so far. Everything only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Packets from the client.
    pub packets_received: u64,
    /// PUBLISH among them, repeated ones included.
    pub publishes_received: u64,
    /// PUBLISH that repeated a QoS 2 message, or a QoS 1 message in progress, and were not handed over again.
    pub publishes_repeated: u64,
    /// Messages that the broker refused.
    pub publishes_refused: u64,
    /// Messages sent to the client.
    pub deliveries_sent: u64,
    /// QoS 0 messages dropped because the client does not read fast enough.
    pub dropped_congested: u64,
    /// Messages dropped because their time was over before they could be sent.
    pub dropped_expired: u64,
    /// Messages dropped because the client does not take packets of their size.
    pub dropped_too_large: u64,
    /// Acknowledgements of packet ids that were not in use.
    pub acks_unknown: u64,
}

/// The core of a session. One per network connection; what outlives the connection is not in here.
#[derive(Debug)]
pub struct Session {
    options: Arc<SessionOptions>,
    phase: Phase,
    /// That of the client, once its CONNECT came.
    version: Version,
    client_id: Option<ClientId>,
    timers: Timers,
    /// Whether and how the client proves who it is with AUTH packets.
    authentication: Option<Box<Authentication>>,
    /// The keep alive that holds, in seconds; 0 is none.
    keep_alive_s: u16,
    /// The time of the current input.
    now: Instant,
    /// Whether the session outlives this connection, so that the broker keeps what is owed on either side.
    is_durable: bool,
    /// Whether CONNECT asked for a session that outlives the connection.
    asked_to_keep_session: bool,
    /// Whether the client wants reason strings.
    wants_reasons: bool,
    /// Largest packet the client takes, in bytes.
    packet_bytes_max: usize,
    /// Messages of QoS 1 and 2 we take at once.
    receive_maximum: usize,
    /// Messages of the client that wait for the broker.
    arrivals: Arrivals,
    /// QoS 2 messages of the client between our PUBREC and our PUBCOMP.
    received: Received,
    /// SUBSCRIBE and UNSUBSCRIBE that wait for the broker.
    pending: Vec<Pending>,
    /// Messages for the client that it owes an acknowledgement for.
    inflight: Inflight,
    /// Messages for the client that wait for room in `inflight`.
    queue: DeliveryQueue,
    /// Messages in `inflight` that wait until the broker has bound their packet id. Few sessions ever have one.
    binding: Option<Box<Binding>>,
    /// Topics that the client knows by an alias, where it takes aliases.
    aliases: Option<Box<Aliases>>,
    /// Bytes put out and not reported written, up to the start of the current input.
    bytes_pending: usize,
    /// Bytes that lay in the effects at the start of the current input.
    bytes_before: usize,
    statistics: Statistics,
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Authenticating(Box<Authenticating>),
    Admitting(Box<Admitting>),
    Connected,
    Closed,
}

impl Session {
    /// A session for a connection that has just been opened.
    pub fn new(options: impl Into<Arc<SessionOptions>>, now: Instant) -> Self {
        let options = options.into();
        let mut timers = Timers::default();
        timers.set(Timer::Connect, Some(now + options.limits.connect_time_max()));
        Self {
            options,
            phase: Phase::Connecting,
            version: Version::V5,
            client_id: None,
            timers,
            authentication: None,
            keep_alive_s: 0,
            now,
            is_durable: false,
            asked_to_keep_session: false,
            wants_reasons: true,
            packet_bytes_max: usize::MAX,
            receive_maximum: u16::MAX.into(),
            arrivals: Arrivals::default(),
            received: Received::default(),
            pending: Vec::new(),
            inflight: Inflight::new(0),
            queue: DeliveryQueue::default(),
            binding: None,
            aliases: None,
            bytes_pending: 0,
            bytes_before: 0,
            statistics: Statistics::default(),
        }
    }

    /// Takes one input and appends what follows from it. After [`Request::Close`] nothing follows any more.
    pub fn handle(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        if self.is_closed() {
            return;
        }
        self.now = now;
        self.bytes_before = effects.outgoing.len();
        match input {
            // By far the most of all, and matched where it lies: a packet is large.
            Input::Packet(packet) if self.is_connected() => self.connected(now, packet, effects),
            Input::Packet(packet) => self.packet(now, packet, effects),
            Input::Malformed(error) => self.close(CloseReason::Malformed(error), effects),
            Input::Admitted(admission) => self.admitted(now, admission, effects),
            Input::Refused(code, reason) => self.refused(code, reason, effects),
            Input::Authenticated(outcome) => self.authenticated(outcome, effects),
            Input::Redirect { code, server, reason } => {
                let moved = code == ReasonCode::ServerMoved;
                let code = if moved { code } else { ReasonCode::UseAnotherServer };
                let server = (&*server).into();
                self.close(CloseReason::Redirected { code, server, reason }, effects);
            }
            Input::PeerClosed => self.close(CloseReason::PeerClosed, effects),
            Input::Shutdown(code, reason) => self.close(CloseReason::Shutdown { code, reason }, effects),
            Input::NotRead { until } => self.not_read(until),
            Input::DeadlineReached => self.deadline_reached(now, effects),
            Input::OutgoingDrained { bytes_left } => {
                self.bytes_pending = bytes_left + self.bytes_before;
                if self.is_connected() {
                    self.refill(effects);
                }
            }
            // What is left are answers and deliveries for a client that was admitted.
            _ if !self.is_connected() => {}
            Input::Published { packet_id, outcome } => self.published(packet_id, outcome, effects),
            Input::Remark { packet_id, reason } => {
                if self.wants_reasons {
                    self.arrivals.remark(packet_id, reason);
                }
            }
            Input::Subscribed { packet_id, outcomes, reason } => {
                self.subscribed(packet_id, outcomes, reason, effects);
            }
            Input::Unsubscribed { packet_id, outcomes } => self.unsubscribed(packet_id, outcomes, effects),
            Input::Deliver(delivery) => self.deliver(delivery, effects),
            Input::Bound(packet_id) => self.bound(packet_id, effects),
            Input::Released { packet_id, tag } => self.released(packet_id, tag, effects),
            Input::Forgotten(packet_id) => self.forgotten(packet_id, effects),
        }
        self.bytes_pending = self.outgoing_bytes_pending(effects);
        self.bytes_before = effects.outgoing.len();
    }

    /// When to hand in [`Input::DeadlineReached`], if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What happened so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The client's version; 5 until its CONNECT came.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the client was admitted and the session has not ended.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Deliveries that wait for room in the window, and deliveries in it.
    pub fn backlog(&self) -> (usize, usize) {
        (self.queue.len(), self.inflight.len())
    }

    /// A packet of a client that may not be admitted yet.
    fn packet(&mut self, now: Instant, packet: Packet, effects: &mut Effects) {
        match (&self.phase, packet) {
            (Phase::Closed, _) => {}
            (Phase::Connecting, Packet::Connect(connect)) => {
                self.statistics.packets_received += 1;
                self.connect(*connect, effects);
            }
            (Phase::Connecting, _) => self.violation("a packet before CONNECT", effects),
            (Phase::Authenticating(_) | Phase::Admitting(_), Packet::Connect(_)) => {
                self.violation("a second CONNECT", effects);
            }
            (Phase::Authenticating(_) | Phase::Admitting(_), Packet::Auth(auth)) => {
                self.auth(now, auth, effects)
            }
            (Phase::Authenticating(_) | Phase::Admitting(_), Packet::Disconnect(disconnect))
                if self.is_authenticated() =>
            {
                self.disconnected(&disconnect, effects);
            }
            (Phase::Authenticating(_) | Phase::Admitting(_), _) if self.is_authenticated() => {
                self.violation("a packet other than AUTH before CONNACK", effects);
            }
            (Phase::Authenticating(_) | Phase::Admitting(_), packet) => self.early(packet, effects),
            (Phase::Connected, packet) => self.connected(now, packet, effects),
        }
    }

    /// A packet of an admitted client.
    fn connected(&mut self, now: Instant, packet: Packet, effects: &mut Effects) {
        self.statistics.packets_received += 1;
        self.sign_of_life(now);
        match packet {
            Packet::Publish(publish) => self.publish(publish, effects),
            Packet::PubAck(ack) => self.puback(ack.packet_id, effects),
            Packet::PubRec(ack) => self.pubrec(&ack, effects),
            Packet::PubRel(ack) => self.pubrel(ack.packet_id, effects),
            Packet::PubComp(ack) => self.pubcomp(ack.packet_id, effects),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe, effects),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe, effects),
            Packet::PingReq => self.send(&Packet::PingResp, effects),
            Packet::Disconnect(disconnect) => self.disconnected(&disconnect, effects),
            Packet::Auth(auth) => self.auth(now, auth, effects),
            Packet::Connect(_) => self.violation("a second CONNECT", effects),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.violation("a packet that only a server sends", effects)
            }
        }
    }

    /// DISCONNECT. It cannot make a session last that was not meant to (MQTT 5 §3.14.2.2.2).
    fn disconnected(&mut self, disconnect: &Disconnect, effects: &mut Effects) {
        if !self.asked_to_keep_session && disconnect.session_expiry_s.is_some_and(|seconds| seconds > 0) {
            return self.violation("DISCONNECT with a session expiry where CONNECT had none", effects);
        }
        let reason = CloseReason::Disconnected { code: disconnect.code };
        self.close_for(reason, disconnect.session_expiry_s, effects);
    }

    fn deadline_reached(&mut self, now: Instant, effects: &mut Effects) {
        if self.timers.is_reached(Timer::Connect, now) {
            self.close(CloseReason::ConnectTimeout, effects);
        } else if self.timers.is_reached(Timer::KeepAlive, now) {
            self.close(CloseReason::KeepAliveTimeout, effects);
        } else if self.timers.is_reached(Timer::Authentication, now) {
            self.close(CloseReason::AuthenticationTimeout, effects);
        }
    }

    /// Starts the keep alive over: one and a half times what was agreed (MQTT 5 §3.1.2.10).
    fn sign_of_life(&mut self, now: Instant) {
        if self.keep_alive_s > 0 {
            let silence_max = Duration::from_millis(u64::from(self.keep_alive_s) * 1_500);
            self.timers.set(Timer::KeepAlive, Some(now + silence_max));
        }
    }

    /// Silence that is of our own making is none of the client's.
    fn not_read(&mut self, until: Instant) {
        let silence_max = Duration::from_millis(u64::from(self.keep_alive_s) * 1_500);
        if self.keep_alive_s > 0 && self.is_connected() {
            self.timers.extend(Timer::KeepAlive, until + silence_max);
        }
    }

    fn violation(&mut self, what: &'static str, effects: &mut Effects) {
        let code = ReasonCode::ProtocolError;
        self.close(CloseReason::ProtocolViolation { code, what }, effects);
    }

    /// Whether the client takes a packet of this size.
    fn fits(&self, packet: &Packet) -> bool {
        self.packet_bytes_max == usize::MAX || encoded_len(packet, self.version) <= self.packet_bytes_max
    }

    fn send(&self, packet: &Packet, effects: &mut Effects) {
        encode(packet, self.version, &mut effects.outgoing);
    }

    fn send_bare_ack(&self, packet: PacketType, ack: &Ack, effects: &mut Effects) {
        bare_ack(packet, ack, self.version, &mut effects.outgoing);
    }

    /// Bytes put out and not reported written.
    fn outgoing_bytes_pending(&self, effects: &Effects) -> usize {
        self.bytes_pending + effects.outgoing.len().saturating_sub(self.bytes_before)
    }
}

#[cfg(test)]
mod tests;
