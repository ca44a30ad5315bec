//! What a session of a tenant that demands attestation says to its peer alone: challenges, and what came of the answers.
//! None of it goes to the router, whose topics are the tenant's.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use bytes::Bytes;
use muster_mqtt::{
    Admission, Authenticate, AuthenticationOutcome, AuthenticationStep, Delivery, Input, PacketId,
    PublishOutcome, ReasonCode, SubscriptionRequest,
};
use muster_routing::{self as routing};
use muster_schemas::{
    ClientId, Message, Principal, Qos, TopicFilter, TopicName,
    attest::{
        ANSWER_TOPIC, CHALLENGE_TOPIC, Outcome, QUARANTINE_PROPERTY, REQUEST_TOPIC, RESULT_TOPIC, TOPICS,
    },
    audit::Act,
};
use tracing::info;

use super::Session;
use crate::{admission::NotAdmitted, audit::Who, router::FromSession};

/// A request that is for the session itself.
pub(super) enum Own {
    Authenticate(Box<Authenticate>),
    Publish { packet_id: Option<PacketId>, message: Arc<Message> },
    Question { packet_id: Option<PacketId>, message: Arc<Message> },
    Subscribe { packet_id: PacketId, filters: Vec<SubscriptionRequest> },
}

/// How an answer came, and so how its outcome goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In an AUTH packet.
    Packet,
    /// On a topic.
    Topic,
}

/// Whether what is said there is for the session itself.
pub(super) fn is_own(topic: &TopicName) -> bool {
    topic.as_str().starts_with(TOPICS)
}

/// Whether a filter asks for what the session itself says.
pub(super) fn is_own_filter(filter: &TopicFilter) -> bool {
    filter.as_str().starts_with(TOPICS)
}

impl Session {
    /// Whether it has yet to show what its tenant demands.
    pub(super) fn is_quarantined(&self) -> bool {
        self.attesting.as_ref().is_some_and(|attesting| attesting.ends().is_some())
    }

    /// Tells a client of MQTT 5 how long it has.
    pub(super) fn tell_of_quarantine(&self, admission: &mut Admission) {
        if let Some(attesting) = self.attesting.as_ref().filter(|attesting| attesting.ends().is_some()) {
            let said = (QUARANTINE_PROPERTY.into(), attesting.time_max().as_secs().to_string().into());
            admission.user_properties.get_or_insert_default().push(said);
        }
    }

    /// Ends the session if its time in quarantine is over.
    pub(super) fn ends_in_quarantine(&mut self, now: Instant) -> bool {
        let Some(attesting) = &self.attesting else { return false };
        let is_over = attesting.ends().is_some_and(|ends| now >= ends);
        if is_over {
            let seconds = attesting.time_max().as_secs();
            let reason = format!("quarantined: attest first; this session did not within {seconds} s");
            self.ends_unattested(NotAdmitted { code: ReasonCode::NotAuthorized, reason });
        }
        is_over
    }

    /// What the peer wants of the session itself.
    pub(super) fn attest(&mut self, ctx: &mut Context<Self>, asked: Own) {
        let now = self.parts.home.clock.now();
        match asked {
            Own::Authenticate(authenticate) => self.authenticate(ctx, now, *authenticate),
            Own::Publish { packet_id, message } => self.told(ctx, now, packet_id, &message),
            Own::Question { packet_id, message } => self.asked(ctx, packet_id, &message),
            Own::Subscribe { packet_id, filters } => {
                let own: Vec<bool> = filters.iter().map(|wanted| is_own_filter(&wanted.filter)).collect();
                let is_mixed = own.contains(&false);
                let outcomes = own
                    .into_iter()
                    .map(|own| if own { Ok(Qos::AtMostOnce) } else { Err(ReasonCode::NotAuthorized) });
                let outcomes = outcomes.collect();
                let reason =
                    is_mixed.then(|| format!("subscribe to {TOPICS}# and to other filters one by one"));
                self.input(Input::Subscribed { packet_id, outcomes, reason });
                if self.is_quarantined() {
                    self.say_challenge(now);
                }
            }
        }
        self.carry_out_later(ctx);
    }

    /// MQTT 5's enhanced authentication, whose only method is this.
    fn authenticate(&mut self, ctx: &mut Context<Self>, now: Instant, authenticate: Authenticate) {
        let Authenticate { data, step, .. } = authenticate;
        let Some(attesting) = self.attesting.as_deref_mut() else { return };
        match step {
            AuthenticationStep::First | AuthenticationStep::Again => {
                let data = Some(attesting.challenge(now));
                self.input(Input::Authenticated(AuthenticationOutcome::Continue { data }));
            }
            AuthenticationStep::Next => self.judge(ctx, now, data.unwrap_or_default(), Way::Packet),
        }
    }

    /// Something was published on one of the session's own topics.
    fn told(
        &mut self,
        ctx: &mut Context<Self>,
        now: Instant,
        packet_id: Option<PacketId>,
        message: &Message,
    ) {
        let is_known = match message.topic.as_str() {
            REQUEST_TOPIC => {
                self.say_challenge(now);
                true
            }
            ANSWER_TOPIC => {
                self.judge(ctx, now, message.payload.clone(), Way::Topic);
                true
            }
            _ => false,
        };
        let outcome = match is_known {
            true => PublishOutcome::Routed { matched: true },
            false => {
                let reason =
                    format!("only {REQUEST_TOPIC} and {ANSWER_TOPIC} are for a client to publish on");
                PublishOutcome::Refused { code: ReasonCode::NotAuthorized, reason }
            }
        };
        if packet_id.is_some() || !is_known {
            self.input(Input::Published { packet_id, outcome });
        }
    }

    fn judge(&mut self, ctx: &mut Context<Self>, now: Instant, answer: Bytes, way: Way) {
        let Some(attesting) = self.attesting.as_deref_mut() else { return };
        match attesting.judge(now, answer) {
            // It rides on nothing: there is one at a time, and the peer's next answer is refused meanwhile.
            Ok(judgement) => drop(ctx.spawn(judgement.into_actor(self).map(move |outcome, session, ctx| {
                session.judged(outcome, way);
                session.carry_out_later(ctx);
            }))),
            Err(refusal) => self.is_refused(refusal, way),
        }
    }

    fn judged(&mut self, outcome: Result<(), NotAdmitted>, way: Way) {
        let Some(attesting) = self.attesting.as_deref_mut() else { return };
        let is_over = attesting.judged(outcome.is_ok());
        match outcome {
            Ok(()) => self.is_attested(is_over, way),
            Err(refusal) => self.is_refused(refusal, way),
        }
    }

    fn is_attested(&mut self, is_over: bool, way: Way) {
        let Principal { tenant, kind, id, .. } = &self.parts.caller.principal;
        info!(%tenant, %kind, %id, client = self.client.as_ref().map(ClientId::as_str), "session attested");
        self.parts.home.counters.attested.add(1);
        if is_over {
            self.parts.home.counters.quarantined.sub(1);
            let subscriber = self.parts.subscriber;
            // There is one of it per connection. It goes before all that the peer has yet to say.
            let inputs = vec![routing::Input::Clear { subscriber }];
            self.parts.home.router.do_send(FromSession { inputs, permit: None });
        }
        match way {
            Way::Packet => self.input(Input::Authenticated(AuthenticationOutcome::Success { data: None })),
            Way::Topic => self.say(RESULT_TOPIC, Outcome::Attested.encode().into()),
        }
    }

    fn is_refused(&mut self, refusal: NotAdmitted, way: Way) {
        match way {
            Way::Packet => {
                let NotAdmitted { code, reason } = refusal.clone();
                self.note_unattested(&refusal);
                let reason = Some(reason);
                self.input(Input::Authenticated(AuthenticationOutcome::Refused { code, reason }));
            }
            Way::Topic => {
                self.say(RESULT_TOPIC, Outcome::Refused { detail: refusal.reason.clone() }.encode().into());
                self.ends_unattested(refusal);
            }
        }
    }

    fn ends_unattested(&mut self, refusal: NotAdmitted) {
        self.note_unattested(&refusal);
        let NotAdmitted { code, reason } = refusal;
        self.input(Input::Shutdown(code, Some(reason)));
    }

    fn note_unattested(&self, NotAdmitted { code, reason }: &NotAdmitted) {
        let Principal { tenant, kind, id, .. } = &self.parts.caller.principal;
        let peer = self.parts.caller.peer;
        self.parts.home.counters.unattested.add(1);
        let who = Who { kind: *kind, id, client: self.client.as_ref(), peer: Some(peer) };
        self.parts.home.trail.note(who, (Act::Session, None), *code, reason);
        if self.parts.home.ration.allows(&self.parts.caller.principal, "session", *code) {
            info!(%tenant, %kind, %id, %peer, why = reason, "session not attested");
        }
    }

    fn say_challenge(&mut self, now: Instant) {
        let Some(attesting) = self.attesting.as_deref_mut() else { return };
        let challenge = attesting.challenge(now);
        self.say(CHALLENGE_TOPIC, challenge);
    }

    /// Says something to this session's client and to nobody else.
    fn say(&mut self, topic: &str, payload: Bytes) {
        // Our own topics are well formed.
        let Ok(topic) = topic.parse() else { return };
        let (qos, retain, properties) = (Qos::AtMostOnce, false, None);
        let message = Arc::new(Message { topic, qos, retain, payload, properties });
        self.input(Input::Deliver(Delivery::new(message, qos)));
    }
}
