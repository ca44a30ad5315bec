//! Bytes as a script of everything that can happen to a session: packets of the client, and answers and deliveries of the
//! broker, in any order, sensible or not. Judges look at what the session says. Shared with the fuzz target.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::{Duration, Instant},
};

use muster_mqtt::{
    Ack, Admission, Auth, AuthenticationOutcome, Connect, ConnectProperties, Decoder, Delivery, Disconnect,
    Effects, Input, Packet, PacketId, PacketLimits, Publish, PublishOutcome, ReasonCode, Request, Session,
    SessionLimits, SessionOptions, Subscribe, SubscriptionOptions, Version,
};
use muster_schemas::{Message, MessageProperties, Qos};

/// Runs a script to its end. Returns which requests the session made, so that a corpus can be judged too.
///
/// # Panics
/// Where a judge finds a fault.
pub fn run(now: Instant, bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut script = Script { bytes, now };
    let mut world = World::opened(&mut script);
    while !script.bytes.is_empty() {
        let input = world.next(&mut script);
        world.happens(script.now, input);
    }
    world.seen
}

/// The rest of the script.
struct Script<'a> {
    bytes: &'a [u8],
    now: Instant,
}

impl Script<'_> {
    /// A number below `bound`; 0 at the end of the script.
    fn below(&mut self, bound: u8) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                first % bound
            }
            None => 0,
        }
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Few ids, so that they meet.
    fn id(&mut self) -> PacketId {
        PacketId::new(u16::from(self.below(6)) + 1).expect("not 0")
    }

    fn ids(&mut self) -> Vec<PacketId> {
        (0..self.below(4)).map(|_| self.id()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn qos(&mut self) -> Qos {
        Qos::try_from(self.below(3)).expect("0 to 2")
    }

    fn code(&mut self) -> ReasonCode {
        let index = usize::from(self.below(43));
        ReasonCode::ALL.get(index).copied().expect("43 codes")
    }

    fn message(&mut self, qos: Qos) -> Message {
        let topic = ["a", "plant/1/temperature", "plant/2/temperature", "$x/y"][usize::from(self.below(4))];
        let payload = vec![0xc3; usize::from(self.below(60))].into();
        let properties = self.flag().then(|| {
            let payload_is_utf8 = self.flag();
            Box::new(MessageProperties { payload_is_utf8, expiry_interval_s: Some(9), ..Default::default() })
        });
        Message { topic: topic.parse().expect("a topic"), qos, retain: self.flag(), payload, properties }
    }
}

/// A session, and what its judges remember.
struct World {
    session: Session,
    effects: Effects,
    /// What the session asked for and was not answered.
    unanswered: Vec<Request>,
    /// What the client reads with, once its version is known.
    client: Option<Decoder>,
    next_tag: u64,
    /// Tags handed in and not completed.
    tags: BTreeSet<u64>,
    /// Ids that the client has to acknowledge, with the QoS; by its own book.
    owed: BTreeMap<PacketId, Qos>,
    /// Ids of an earlier connection that were not handed in yet.
    in_flight: BTreeSet<PacketId>,
    /// Ids that the session wants bound or released before it may go on.
    held: BTreeSet<PacketId>,
    is_closed: bool,
    seen: BTreeSet<&'static str>,
}

impl World {
    fn opened(script: &mut Script<'_>) -> Self {
        let limits = SessionLimits {
            inflight_messages_max: 3,
            queued_messages_max: 6,
            outgoing_bytes_max: 300,
            ..SessionLimits::default()
        };
        let options = SessionOptions {
            receive_maximum: NonZeroU16::new(3).expect("not 0"),
            authentication_methods: ["m".into()].into(),
            ..SessionOptions::new(limits, &PacketLimits::default())
        };
        Self {
            session: Session::new(options, script.now),
            effects: Effects::default(),
            unanswered: Vec::new(),
            client: None,
            next_tag: 0,
            tags: BTreeSet::new(),
            owed: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            held: BTreeSet::new(),
            is_closed: false,
            seen: BTreeSet::new(),
        }
    }

    fn next(&mut self, script: &mut Script<'_>) -> Input {
        match script.below(24) {
            // More often than all others: what was asked for is answered, in order.
            0..=7 if !self.unanswered.is_empty() => self.answer(script),
            0 | 1 => Input::Packet(connect(script)),
            2..=4 => self.delivery(script),
            5 => Input::Packet(Packet::PubAck(Ack::new(script.id(), ReasonCode::Success))),
            6 => Input::Packet(Packet::PubRec(ack(script))),
            7 => Input::Packet(Packet::PubComp(Ack::new(script.id(), ReasonCode::Success))),
            8 | 9 => self.delivery(script),
            10..=12 => {
                let qos = script.qos();
                let packet_id = (qos != Qos::AtMostOnce).then(|| script.id());
                let (dup, subscription_ids) = (script.flag(), Default::default());
                let message = script.message(qos);
                Input::Packet(Packet::Publish(Publish {
                    dup,
                    packet_id,
                    topic_alias: None,
                    subscription_ids,
                    message: message.into(),
                }))
            }
            13 => Input::Packet(Packet::PubRel(Ack::new(script.id(), ReasonCode::Success))),
            14 => Input::Packet(Packet::Subscribe(Subscribe {
                packet_id: script.id(),
                subscription_id: None,
                filters: vec![("$share/g/a".parse().expect("a filter"), SubscriptionOptions::default())],
                user_properties: Vec::new(),
            })),
            15 => Input::Packet(Packet::Auth(Auth {
                code: [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate]
                    [usize::from(script.below(2))],
                method: Some("m".into()),
                data: None,
                reason: None,
                user_properties: Vec::new(),
            })),
            16 => Input::OutgoingDrained { bytes_left: usize::from(script.below(2)) * 400 },
            17 => {
                let seconds = script.below(20);
                script.now += Duration::from_secs(seconds.into());
                Input::DeadlineReached
            }
            // Answers that nobody waits for.
            18 => match script.id() {
                id if self.held.contains(&id) => Input::DeadlineReached,
                id => Input::Bound(id),
            },
            19 => Input::Forgotten(script.id()),
            20 => Input::Authenticated(authenticated(script)),
            21 => Input::Published {
                packet_id: Some(script.id()),
                outcome: PublishOutcome::Routed { matched: true },
            },
            22 => Input::Packet(Packet::PingReq),
            _ => match script.below(6) {
                0 => Input::Packet(Packet::Disconnect(Disconnect::new(ReasonCode::Success))),
                1 => Input::PeerClosed,
                2 => Input::Shutdown(script.code(), None),
                3 => Input::Redirect { code: script.code(), server: "s".into(), reason: None },
                _ => Input::Packet(Packet::PingReq),
            },
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) -> Input {
        match self.unanswered.remove(0) {
            Request::Admit(admit) => {
                if script.below(8) == 7 {
                    return Input::Refused(script.code(), None);
                }
                let durable = admit.session_expiry_s > 0 && script.flag();
                self.in_flight = if durable { script.ids().into_iter().collect() } else { BTreeSet::new() };
                Input::Admitted(Admission {
                    session_present: durable && script.flag(),
                    session_expiry_s: durable.then_some(60),
                    in_flight: self.in_flight.iter().copied().collect(),
                    received: if durable { script.ids() } else { Vec::new() },
                    ..Admission::new("d1".parse().expect("an id"))
                })
            }
            Request::Authenticate { .. } => Input::Authenticated(authenticated(script)),
            Request::Publish { packet_id, .. } => {
                let refused =
                    PublishOutcome::Refused { code: ReasonCode::QuotaExceeded, reason: String::new() };
                let outcome = if script.below(8) == 7 {
                    refused
                } else {
                    PublishOutcome::Routed { matched: script.flag() }
                };
                Input::Published { packet_id, outcome }
            }
            Request::Subscribe { packet_id, filters } => {
                let outcomes = filters.iter().map(|_| Ok(Qos::AtMostOnce)).collect();
                Input::Subscribed { packet_id, outcomes, reason: None }
            }
            Request::Unsubscribe { packet_id, filters } => {
                Input::Unsubscribed { packet_id, outcomes: vec![ReasonCode::Success; filters.len()] }
            }
            Request::Bind { packet_id, .. } => {
                self.held.remove(&packet_id);
                Input::Bound(packet_id)
            }
            Request::Release { packet_id, tag } => {
                self.held.remove(&packet_id);
                Input::Released { packet_id, tag }
            }
            Request::Forget { packet_id } => Input::Forgotten(packet_id),
            Request::Complete { .. } | Request::Close(_) => Input::DeadlineReached,
        }
    }

    fn delivery(&mut self, script: &mut Script<'_>) -> Input {
        let qos = script.qos();
        let message = Arc::new(script.message(qos));
        let tag = (qos != Qos::AtMostOnce && script.below(4) > 0).then(|| {
            self.next_tag += 1;
            self.next_tag
        });
        // Each id of the earlier connection once, and sometimes one that was not in flight.
        let resent_as = match script.below(4) {
            0 | 1 if self.session.is_connected() => self.in_flight.pop_first(),
            2 => PacketId::new(100),
            _ => None,
        };
        if let (Some(id), Some(tag), 0) = (resent_as, tag, script.below(4)) {
            // As a resumed session hears of a message that the client has.
            return Input::Released { packet_id: id, tag };
        }
        let expires =
            (script.below(4) == 0).then(|| script.now + Duration::from_secs(script.below(9).into()));
        if self.session.is_connected() {
            self.tags.extend(tag);
        }
        Input::Deliver(Delivery { tag, resent_as, expires, ..Delivery::new(message, qos) })
    }

    fn happens(&mut self, now: Instant, input: Input) {
        if self.client.is_none()
            && let Input::Packet(Packet::Connect(connect)) = &input
        {
            self.client = Some(Decoder::client(connect.version));
        }
        self.client_reads_and_answers(&input);
        self.session.handle(now, input, &mut self.effects);
        self.judge_requests();
        self.judge_bytes();
        let (queued, in_flight) = self.session.backlog();
        assert!(queued <= 6, "the queue is bounded");
        // What a resumed session releases comes on top of the window; there are 6 ids in all.
        assert!(in_flight <= 3 + 6, "the window is bounded");
    }

    /// The client's book of what it owes, before the session hears of it.
    fn client_reads_and_answers(&mut self, input: &Input) {
        match input {
            Input::Packet(Packet::PubAck(ack))
                if self.owed.get(&ack.packet_id) == Some(&Qos::AtLeastOnce) =>
            {
                self.owed.remove(&ack.packet_id);
            }
            Input::Packet(Packet::PubRec(ack))
                if ack.code.is_failure() && !self.held.contains(&ack.packet_id) =>
            {
                self.owed.remove(&ack.packet_id);
            }
            Input::Packet(Packet::PubComp(ack)) => {
                self.owed.remove(&ack.packet_id);
            }
            _ => {}
        }
    }

    fn judge_requests(&mut self) {
        for request in std::mem::take(&mut self.effects.requests) {
            assert!(!self.is_closed, "nothing follows a close: {request:?}");
            self.seen.insert(kind(&request));
            match &request {
                Request::Complete { tag } => {
                    self.tags.remove(tag);
                }
                Request::Bind { packet_id, .. } | Request::Release { packet_id, .. } => {
                    assert!(self.held.insert(*packet_id), "one thing at a time is kept for an id");
                }
                Request::Close(closing) => {
                    self.is_closed = true;
                    let ids: BTreeSet<_> = closing.unacknowledged.iter().map(|(id, _)| id).collect();
                    assert_eq!(ids.len(), closing.unacknowledged.len(), "each id once");
                    for (_, tag) in &closing.unacknowledged {
                        assert!(self.tags.contains(tag), "what is unacknowledged is not complete");
                    }
                }
                _ => {}
            }
            if !matches!(request, Request::Complete { .. } | Request::Close(_)) {
                self.unanswered.push(request);
            }
        }
        assert_eq!(self.is_closed, self.session.is_closed(), "a close is told");
    }

    /// What the session says is packets of its version, and it says nothing that it must keep first.
    fn judge_bytes(&mut self) {
        let bytes = self.effects.outgoing.take_chunks().concat();
        let Some(client) = &mut self.client else {
            assert!(bytes.is_empty(), "nobody is told anything before CONNECT");
            return;
        };
        client.buffer().extend_from_slice(&bytes);
        while let Some(packet) = client.next().expect("packets of the client's version") {
            match packet {
                Packet::Publish(Publish { packet_id: Some(id), message, .. }) => {
                    assert!(!self.held.contains(&id), "PUBLISH waits until its id is bound");
                    assert_eq!(self.owed.insert(id, message.qos), None, "an id names one message at a time");
                }
                Packet::PubRel(ack) => {
                    assert!(!self.held.contains(&ack.packet_id), "PUBREL waits until PUBREC is kept");
                }
                _ => {}
            }
        }
        assert!(client.buffer().is_empty(), "whole packets");
    }
}

fn connect(script: &mut Script<'_>) -> Packet {
    let version = if script.below(4) == 0 { Version::V311 } else { Version::V5 };
    let v5 = version == Version::V5;
    let properties = ConnectProperties {
        session_expiry_s: script.flag().then_some(60),
        receive_maximum: NonZeroU16::new(script.below(4).into()),
        packet_bytes_max: NonZeroU32::new(u32::from(script.below(3)) * 40),
        topic_alias_max: Some(script.below(3).into()),
        authentication_method: (script.below(4) == 0).then(|| "m".into()),
        ..ConnectProperties::default()
    };
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: script.flag(),
        keep_alive_s: script.below(30).into(),
        client_id: Some("d1".parse().expect("an id")),
        username: None,
        password: None,
        will: None,
        properties: if v5 { properties } else { ConnectProperties::default() },
    }))
}

fn ack(script: &mut Script<'_>) -> Ack {
    let code = if script.below(4) == 0 { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
    Ack::new(script.id(), code)
}

fn authenticated(script: &mut Script<'_>) -> AuthenticationOutcome {
    match script.below(4) {
        0 => AuthenticationOutcome::Continue { data: None },
        1 => AuthenticationOutcome::Refused { code: script.code(), reason: None },
        _ => AuthenticationOutcome::Success { data: None },
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Admit(_) => "admit",
        Request::Authenticate { .. } => "authenticate",
        Request::Publish { .. } => "publish",
        Request::Subscribe { .. } => "subscribe",
        Request::Unsubscribe { .. } => "unsubscribe",
        Request::Complete { .. } => "complete",
        Request::Bind { .. } => "bind",
        Request::Release { .. } => "release",
        Request::Forget { .. } => "forget",
        Request::Close(closing) if closing.unacknowledged.is_empty() => "close",
        Request::Close(_) => "close with messages unacknowledged",
    }
}
