//! The session actor: one network connection's protocol state, next to its tenant's router.
//!
//! It owns the session core, the outbox and one timer, and decides nothing about packets. A session is not restarted:
//! if it fails, its socket closes and the peer comes back.

mod asking;
mod attesting;
mod screened;

use std::{io, mem, sync::Arc, time::Instant};

use actix::prelude::*;
use muster_actors::{DeadlineReached, Permit, Reach, SharedClock, Turning, WakeUp, ask_for_turn_end};
use muster_mqtt::{
    Admit, CloseReason, Closing, DecodeError, Input, Outgoing, Packet, ReasonCode, Request, Session as Core,
    SessionOptions, Statistics,
};
use muster_routing::{self as routing, Attached, Effect, Refusal, SubscriberId};
use muster_schemas::{ClientId, Principal, audit::Act};
use tracing::{debug, info, warn};

use self::{
    attesting::{Own, is_own, is_own_filter},
    screened::{screened, unfit_will},
};
use crate::{
    address::Caller,
    admission::NotAdmitted,
    audit::{Trail, Who},
    counters::TenantCounters,
    inspection::{Direction, Traces},
    lent::Lent,
    limits::{OUTBOX_DELIVERIES_BYTES_MAX, OUTBOX_RESUME_BYTES},
    outbox::Outbox,
    quarantine::{Attesting, Quarantine},
    questions::Desk,
    ration::Ration,
    refusal,
    router::{FromSession, ToSession},
    screening::{Screen, Screening},
    tenant::ClaimClientId,
};

/// What its connection tells a session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Inbound {
    pub(crate) arrived: Arrived,
    /// The reader's permission for this batch; it goes back when everything in the batch has had its effect.
    pub(crate) permit: Option<Permits>,
}

/// What a batch rides on: the permits of its connection, its tenant and its hub.
pub(crate) type Permits = [Permit; 3];

pub(crate) enum Arrived {
    Packets {
        packets: Vec<Packet>,
        bytes: usize,
    },
    Malformed(DecodeError),
    /// The peer was let in, and is not any longer.
    Dismissed(Box<NotAdmitted>),
    /// The socket has caught up, after the session asked to hear of it.
    Drained,
    Closed(Option<io::Error>),
}

/// The tenant's answer to a CONNECT: the client identifier is this session's, and no other connection has it any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ClientIdClaimed(pub(crate) Result<ClientId, NotAdmitted>);

/// Ends a session from our side, telling the peer why.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct CloseSession {
    /// The reason code of the DISCONNECT.
    pub code: ReasonCode,
    /// The reason string.
    pub reason: String,
}

/// What the sessions of a tenant share, as long as one router serves them.
pub(crate) struct Home {
    pub(crate) router: Reach<FromSession>,
    pub(crate) tenant: Reach<ClaimClientId>,
    pub(crate) counters: Arc<TenantCounters>,
    pub(crate) ration: Arc<Ration>,
    pub(crate) trail: Trail,
    pub(crate) traces: Traces,
    pub(crate) desk: Desk,
    pub(crate) screening: Option<Arc<dyn Screening>>,
    pub(crate) clock: SharedClock,
}

/// What a session is made of.
pub(crate) struct SessionParts {
    pub(crate) subscriber: SubscriberId,
    pub(crate) caller: Arc<Caller>,
    pub(crate) certificate_expires: Option<Instant>,
    pub(crate) outbox: Outbox,
    pub(crate) home: Arc<Home>,
}

pub(crate) struct Session {
    parts: SessionParts,
    core: Core,
    lent: Lent,
    timer: WakeUp,
    /// The end of this turn is on its way.
    turning: bool,
    client: Option<ClientId>,
    /// What the client asked for, until the router has answered.
    admit: Option<Box<Admit>>,
    /// Messages that the client missed and that were counted: dropped, and expired.
    dropped: (u64, u64),
    /// What it has to show, in a tenant that demands it.
    attesting: Option<Box<Attesting>>,
    /// What looks at what it publishes.
    screen: Option<Box<dyn Screen>>,
    /// The router waits to hear that what it gave is put out.
    is_ahead: bool,
    /// Questions of its client that are being answered.
    asking: u8,
    opened: Instant,
}

const _: () = assert!(size_of::<Session>() <= 576, "thousands of sessions are idle at one time");

impl Session {
    pub(crate) fn new(
        parts: SessionParts,
        options: Arc<SessionOptions>,
        quarantine: Option<Quarantine>,
    ) -> Self {
        let opened = parts.home.clock.now();
        let attesting = quarantine.map(|quarantine| Box::new(Attesting::new(quarantine, opened)));
        if attesting.is_some() {
            parts.home.counters.quarantined.add(1);
        }
        let core = Core::new(options, opened);
        let screening = parts.home.screening.as_ref();
        let screen = screening.and_then(|screening| screening.screen_of(&parts.caller.principal));
        parts.home.counters.sessions.add(1);
        let (lent, timer) = (Lent::default(), WakeUp::new());
        Self {
            parts,
            core,
            lent,
            timer,
            turning: false,
            client: None,
            admit: None,
            dropped: (0, 0),
            attesting,
            screen,
            is_ahead: false,
            asking: 0,
            opened,
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.parts.home.clock.now(), input, self.lent.effects());
    }

    /// Tells the core how much of what it put out is still unwritten, before it is given more to put out.
    fn see_outbox(&mut self) {
        self.input(Input::OutgoingDrained { bytes_left: self.parts.outbox.pending() });
    }

    /// Sees to it that what follows is carried out once for all messages of this turn.
    fn carry_out_later(&mut self, ctx: &mut Context<Self>) {
        if !mem::replace(&mut self.turning, true) {
            ask_for_turn_end(ctx);
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        let mut closing = None;
        let mut inputs = Vec::with_capacity(self.lent.effects().requests.len());
        let subscriber = self.parts.subscriber;
        let mut payload_bytes = 0;
        let mut own = Vec::new();
        let mut answers = Vec::new();
        let quarantined = self.is_quarantined();
        for request in self.lent.effects().requests.drain(..) {
            match request {
                Request::Publish { packet_id, message }
                    if self.attesting.is_some() && is_own(&message.topic) =>
                {
                    own.push(Own::Publish { packet_id, message });
                }
                Request::Publish { packet_id, message }
                    if self.parts.home.desk.is_question(&message.topic) =>
                {
                    own.push(Own::Question { packet_id, message });
                }
                Request::Publish { packet_id, message } => {
                    self.parts.home.counters.messages_received.add(1);
                    payload_bytes += message.payload.len() as u64;
                    let ticket = packet_id.map(|id| id.get());
                    let screen = self.screen.as_deref_mut().filter(|_| !quarantined);
                    let client = self.client.as_ref();
                    let Some(message) = screened(
                        screen,
                        (&self.parts, client),
                        (packet_id, message),
                        &mut inputs,
                        &mut answers,
                    ) else {
                        continue;
                    };
                    inputs.push(routing::Input::Publish { subscriber, ticket, message });
                }
                Request::Subscribe { packet_id, filters }
                    if self.attesting.is_some()
                        && filters.iter().any(|wanted| is_own_filter(&wanted.filter)) =>
                {
                    own.push(Own::Subscribe { packet_id, filters });
                }
                Request::Subscribe { packet_id, filters } => {
                    let filters = filters.into_iter().map(refusal::subscription).collect();
                    inputs.push(routing::Input::Subscribe { subscriber, ticket: packet_id.get(), filters });
                }
                Request::Unsubscribe { packet_id, filters } => {
                    inputs.push(routing::Input::Unsubscribe { subscriber, ticket: packet_id.get(), filters });
                }
                Request::Complete { tag } => inputs.push(routing::Input::Complete { subscriber, tag }),
                Request::Bind { packet_id, tag } => {
                    inputs.push(routing::Input::Bind { subscriber, packet_id: packet_id.get(), tag });
                }
                Request::Release { packet_id, tag } => {
                    inputs.push(routing::Input::Release { subscriber, packet_id: packet_id.get(), tag });
                }
                Request::Forget { packet_id } => {
                    inputs.push(routing::Input::Forget { subscriber, packet_id: packet_id.get() });
                }
                Request::Admit(admit) => {
                    let screen = self.screen.as_deref_mut();
                    if let Some(refused) = unfit_will(screen, &self.parts, &admit, &mut inputs) {
                        answers.push(refused);
                        continue;
                    }
                    let client_id = admit.client_id.clone();
                    self.admit = Some(admit);
                    self.parts.home.tenant.do_send(ClaimClientId { subscriber, client_id });
                }
                Request::Authenticate(authenticate) => own.push(Own::Authenticate(authenticate)),
                Request::Close(close) => {
                    inputs.push(refusal::detach(subscriber, &close));
                    closing = Some(close);
                }
            }
        }
        if payload_bytes > 0 {
            self.parts.home.counters.payload_bytes_received.add(payload_bytes);
        }
        if !inputs.is_empty() {
            let permit = self.lent.permits().take();
            // Rides on the permits that the reader took for it. What follows from a delivery, or from the end, rides on
            // none: deliveries are bounded, and there is one end.
            self.parts.home.router.do_send(FromSession { inputs, permit });
        }
        *self.lent.permits() = None;
        for answer in answers {
            self.input(answer);
        }
        self.put_out();
        self.resume_deliveries();
        self.tell_when_caught_up();
        self.lent.give_back();
        self.count_dropped();
        match closing {
            Some(closing) => self.close(ctx, &closing),
            None => {
                for asked in own {
                    self.attest(ctx, asked);
                }
                let quarantine_ends = self.attesting.as_ref().and_then(|attesting| attesting.ends());
                let deadlines = [self.core.next_deadline(), self.parts.certificate_expires, quarantine_ends];
                self.timer.arm(ctx, deadlines.into_iter().flatten().min());
            }
        }
    }

    /// The router has taken up the client's session, or begun one.
    fn attached(&mut self, outcome: Result<Box<Attached>, Refusal>) {
        let (Some(client_id), Some(admit)) = (self.client.clone(), self.admit.take()) else { return };
        let Principal { tenant, kind, id, .. } = &self.parts.caller.principal;
        match outcome {
            Ok(attached) => {
                let Attached { session_present, missed, .. } = *attached;
                let peer = self.parts.caller.peer;
                info!(%tenant, %kind, %id, client = %client_id, %peer, session_present, "session opened");
                if missed > 0 {
                    warn!(%tenant, %kind, %id, client = %client_id, missed, "messages were gone before their session asked");
                }
                let assigned_client_id = admit.client_id.is_none();
                let mut admission = refusal::admission(client_id, assigned_client_id, *attached);
                self.tell_of_quarantine(&mut admission);
                self.input(Input::Admitted(admission));
            }
            Err(refusal) => {
                self.input(Input::Refused(refusal::code(&refusal), Some(refusal.to_string())));
            }
        }
    }

    fn put_out(&mut self) {
        if self.parts.home.traces.are_on() {
            self.trace_outgoing();
        }
        let outgoing = &mut self.lent.effects().outgoing;
        if !outgoing.is_empty() {
            self.parts.home.counters.bytes_sent.add(outgoing.len() as u64);
            self.parts.home.counters.packets_sent.add(outgoing.take_packets());
            self.parts.outbox.push(outgoing);
        }
    }

    /// Sees to it that deliveries which were held back go on. If the socket is behind, it tells when it has caught up; if
    /// it has caught up meanwhile, they go on at once; if it is the client's acknowledgements that they wait for, these
    /// will come by themselves.
    fn resume_deliveries(&mut self) {
        let mut held_back = self.core.backlog().0;
        while held_back > 0 {
            let is_behind = self.parts.outbox.pending() > OUTBOX_DELIVERIES_BYTES_MAX;
            if is_behind && self.parts.outbox.ask(OUTBOX_RESUME_BYTES) {
                return;
            }
            self.see_outbox();
            self.put_out();
            let still = self.core.backlog().0;
            if still == held_back {
                return;
            }
            held_back = still;
        }
    }

    /// Says once that what the router gave is put out, if it waits to hear that, so that it gives more of what is retained.
    fn tell_when_caught_up(&mut self) {
        if !self.is_ahead || self.core.backlog().0 > 0 {
            return;
        }
        let is_behind = self.parts.outbox.pending() > OUTBOX_RESUME_BYTES;
        if is_behind && self.parts.outbox.ask(OUTBOX_RESUME_BYTES) {
            return;
        }
        self.is_ahead = false;
        let subscriber = self.parts.subscriber;
        // One for each that was asked for.
        self.parts
            .home
            .router
            .do_send(FromSession { inputs: vec![routing::Input::CaughtUp { subscriber }], permit: None });
    }

    fn count_dropped(&mut self) {
        let Statistics { dropped_congested, dropped_too_large, dropped_expired, .. } = self.core.statistics();
        let now = (dropped_congested + dropped_too_large, *dropped_expired);
        let before = mem::replace(&mut self.dropped, now);
        if now != before {
            self.parts.home.counters.messages_dropped.add(now.0 - before.0);
            self.parts.home.counters.messages_expired.add(now.1 - before.1);
        }
    }

    fn close(&mut self, ctx: &mut Context<Self>, closing: &Closing) {
        let Principal { tenant, kind, id, .. } = &self.parts.caller.principal;
        let (client, peer) = (self.client.as_ref().map(ClientId::as_str), self.parts.caller.peer);
        let reason = &closing.reason;
        if closing.graceful {
            debug!(%tenant, %kind, %id, client, %peer, %reason, "session closed");
        } else {
            info!(%tenant, %kind, %id, client, %peer, %reason, "session closed");
        }
        let counted = match reason {
            CloseReason::Malformed(_) | CloseReason::ProtocolViolation { .. } => {
                &self.parts.home.counters.malformed
            }
            CloseReason::QueueFull { .. } => &self.parts.home.counters.quota_queue,
            _ => return ctx.stop(),
        };
        counted.add(1);
        let who = Who { kind: *kind, id, client: self.client.as_ref(), peer: Some(peer) };
        self.parts.home.trail.note(who, (Act::Session, None), reason.code(), &reason.to_string());
        ctx.stop();
    }
}

/// What an inspection looks at.
impl Session {
    pub(crate) fn parts(&self) -> &SessionParts {
        &self.parts
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn client(&self) -> Option<&ClientId> {
        self.client.as_ref()
    }

    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.lent.effects().outgoing
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.parts.home.counters.sessions.sub(1);
        if self.is_quarantined() {
            self.parts.home.counters.quarantined.sub(1);
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.carry_out(ctx);
    }
}

impl Handler<Inbound> for Session {
    type Result = ();

    fn handle(&mut self, Inbound { arrived, permit }: Inbound, ctx: &mut Context<Self>) {
        self.see_outbox();
        match arrived {
            Arrived::Packets { packets, bytes } => {
                self.parts.home.counters.bytes_received.add(bytes as u64);
                self.parts.home.counters.packets_received.add(packets.len() as u64);
                if self.parts.home.traces.are_on() {
                    self.trace(Direction::In, &packets);
                }
                let now = self.parts.home.clock.now();
                for packet in packets {
                    self.core.handle(now, Input::Packet(packet), self.lent.effects());
                }
            }
            Arrived::Malformed(error) => self.input(Input::Malformed(error)),
            Arrived::Dismissed(refusal) => {
                self.input(Input::Shutdown(refusal.code, Some(refusal.reason)));
            }
            Arrived::Drained => {}
            Arrived::Closed(error) => {
                if let Some(error) = error {
                    debug!(peer = %self.parts.caller.peer, %error, "connection lost");
                }
                self.input(Input::PeerClosed);
            }
        }
        if let Some(permits) = permit {
            match self.lent.permits() {
                none @ None => *none = Some(permits),
                Some(first) => first.iter_mut().zip(permits).for_each(|(one, other)| one.merge(other)),
            }
        }
        self.carry_out_later(ctx);
    }
}

impl Handler<ToSession> for Session {
    type Result = ();

    fn handle(&mut self, batch: ToSession, ctx: &mut Context<Self>) {
        self.see_outbox();
        let now = self.parts.home.clock.now();
        let (mut delivered, mut payload_bytes) = (0, 0);
        for effect in batch.effects {
            if let Effect::Attached { outcome, .. } = effect {
                self.attached(outcome);
                continue;
            }
            if let Effect::Ahead { .. } = effect {
                self.is_ahead = true;
                continue;
            }
            if let Some(input) = refusal::answer(effect, &self.parts, self.client.as_ref()) {
                if let Input::Deliver(delivery) = &input {
                    delivered += 1;
                    payload_bytes += delivery.message.payload.len() as u64;
                }
                self.core.handle(now, input, self.lent.effects());
            }
        }
        self.parts.home.counters.messages_delivered.add(delivered);
        self.parts.home.counters.payload_bytes_delivered.add(payload_bytes);
        self.carry_out_later(ctx);
    }
}

impl Turning for Session {
    fn turn_ended(&mut self, ctx: &mut Context<Self>) {
        self.turning = false;
        self.carry_out(ctx);
    }
}

impl Handler<ClientIdClaimed> for Session {
    type Result = ();

    fn handle(&mut self, ClientIdClaimed(outcome): ClientIdClaimed, ctx: &mut Context<Self>) {
        match outcome {
            Ok(client_id) => {
                self.client = Some(client_id.clone());
                let subscriber = self.parts.subscriber;
                let inputs = self.admit.as_mut().map(|admit| refusal::attach(subscriber, client_id, admit));
                if let Some(input) = inputs {
                    // There is one of it per connection.
                    self.parts.home.router.do_send(FromSession { inputs: vec![input], permit: None });
                }
            }
            Err(NotAdmitted { code, reason }) => self.input(Input::Refused(code, Some(reason))),
        }
        self.carry_out(ctx);
    }
}

impl Handler<CloseSession> for Session {
    type Result = ();

    fn handle(&mut self, CloseSession { code, reason }: CloseSession, ctx: &mut Context<Self>) {
        self.input(Input::Shutdown(code, Some(reason)));
        self.carry_out(ctx);
    }
}

impl Handler<DeadlineReached> for Session {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        let now = self.parts.home.clock.now();
        if self.parts.certificate_expires.is_some_and(|expires| now >= expires) {
            let reason = "the certificate of this session has expired; renew it and connect again".to_owned();
            self.input(Input::Shutdown(ReasonCode::NotAuthorized, Some(reason)));
        } else if !self.ends_in_quarantine(now) {
            if let Some(until) = self.parts.outbox.not_read_until(now) {
                self.input(Input::NotRead { until });
            }
            self.input(Input::DeadlineReached);
        }
        self.carry_out(ctx);
    }
}
