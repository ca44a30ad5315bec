//! What a session's client asks the hub, on topics of this session alone. None of it goes to the router: an answer is
//! not for those who happen to subscribe to its topic.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use muster_mqtt::{Delivery, Input, PacketId, PublishOutcome, ReasonCode};
use muster_schemas::{
    Message, MessageProperties, Qos, TopicName,
    audit::Act,
    questions::{STATUS_PROPERTY, TOPICS},
};

use super::Session;
use crate::{
    admission::NotAdmitted,
    audit::Who,
    limits::{QUESTION_BYTES_MAX, QUESTIONS_MAX},
    questions::{Answer, Answering, Question},
};

/// How an answer finds back.
struct Way {
    topic: TopicName,
    correlation_data: Option<Bytes>,
}

impl Session {
    /// Something was published on a topic of questions.
    pub(super) fn asked(&mut self, ctx: &mut Context<Self>, packet_id: Option<PacketId>, message: &Message) {
        let outcome = match self.ask(message) {
            Ok((way, answering)) => {
                self.asking += 1;
                // It rides on nothing: there are a few at a time, and the peer's next question is refused meanwhile.
                ctx.spawn(answering.into_actor(self).map(move |answer, session, ctx| {
                    session.asking = session.asking.saturating_sub(1);
                    session.tell(way, answer);
                    session.carry_out_later(ctx);
                }));
                PublishOutcome::Routed { matched: true }
            }
            Err(NotAdmitted { code, reason }) => {
                let principal = &self.parts.caller.principal;
                let (client, peer) = (self.client.as_ref(), Some(self.parts.caller.peer));
                let who = Who { kind: principal.kind, id: &principal.id, client, peer };
                self.parts.home.trail.note(who, (Act::Publish, Some(message.topic.as_str())), code, &reason);
                PublishOutcome::Refused { code, reason }
            }
        };
        // At QoS 0 there is nobody to tell, and no answer comes.
        if packet_id.is_some() {
            self.input(Input::Published { packet_id, outcome });
        }
    }

    fn ask(&self, message: &Message) -> Result<(Way, Answering), NotAdmitted> {
        let refused = |code, reason: String| Err(NotAdmitted { code, reason });
        if self.is_quarantined() {
            return refused(ReasonCode::NotAuthorized, "quarantined: attest first".to_owned());
        }
        let properties = message.properties.as_deref();
        let Some(topic) = properties.and_then(|properties| properties.response_topic.clone()) else {
            let reason = "a question needs a response topic, which MQTT 5 has; ask over HTTPS otherwise";
            return refused(ReasonCode::ImplementationSpecificError, reason.to_owned());
        };
        if message.payload.len() > QUESTION_BYTES_MAX {
            let reason = format!("a question has at most {QUESTION_BYTES_MAX} bytes");
            return refused(ReasonCode::QuotaExceeded, reason);
        }
        if self.asking >= QUESTIONS_MAX {
            let reason =
                format!("{QUESTIONS_MAX} questions of this session are being answered; wait for one");
            return refused(ReasonCode::QuotaExceeded, reason);
        }
        let Some(answers) = self.parts.home.desk.answers() else {
            return refused(ReasonCode::NotAuthorized, "nobody answers questions here".to_owned());
        };
        let about = message.topic.as_str().strip_prefix(TOPICS).unwrap_or_default().to_owned();
        let (principal, payload) = (self.parts.caller.principal.clone(), message.payload.clone());
        let answering = answers.answer(Question { principal, about, payload });
        let correlation_data = properties.and_then(|properties| properties.correlation_data.clone());
        Ok((Way { topic, correlation_data }, answering))
    }

    fn tell(&mut self, way: Way, answer: Answer) {
        let Way { topic, correlation_data } = way;
        let status = (STATUS_PROPERTY.into(), answer.status.to_string().into());
        let properties = MessageProperties {
            payload_is_utf8: true,
            content_type: Some("application/json".into()),
            correlation_data,
            user_properties: vec![status],
            ..MessageProperties::default()
        };
        // QoS 0: whoever misses an answer asks again.
        let (qos, properties) = (Qos::AtMostOnce, Some(Box::new(properties)));
        let message = Message { topic, qos, retain: false, payload: answer.payload, properties };
        self.input(Input::Deliver(Delivery::new(Arc::new(message), qos)));
    }
}
