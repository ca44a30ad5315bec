//! Translation between the router's words and MQTT's: connections and subscriptions one way, outcomes and refusals the
//! other.

use std::time::Duration;

use muster_mqtt::{
    Admission, Admit, Closing, Delivery, Input, PacketId, PublishOutcome, ReasonCode, SubscriptionRequest,
};
use muster_routing::{self as routing, Attached, Effect, Outcome, Refusal, SubscriberId, Wish};
use muster_schemas::{ClientId, Principal, audit::Act};
use tracing::{info, warn};

use crate::{address::Caller, audit::Who, counters::TenantCounters, screening::Unfit, session::SessionParts};

/// The user property of a CONNACK that tells a client how many messages its session missed, at most.
const MISSED: &str = "muster-missed";

/// A SUBSCRIBE's filter as the router takes it.
pub(crate) fn subscription(request: SubscriptionRequest) -> routing::Request {
    let SubscriptionRequest { filter, options, subscription_id } = request;
    routing::Request { filter, options, subscription_id }
}

/// A CONNECT as the router takes it. The will moves there.
pub(crate) fn attach(subscriber: SubscriberId, client_id: ClientId, admit: &mut Admit) -> routing::Input {
    let will = admit.will.take();
    routing::Input::Attach {
        subscriber,
        client_id,
        clean_start: admit.clean_start,
        expiry_s: admit.session_expiry_s,
        will: will.map(|will| routing::Will { message: will.message, delay_s: will.delay_interval_s }),
    }
}

/// The end of a connection as the router takes it.
pub(crate) fn detach(subscriber: SubscriberId, closing: &Closing) -> routing::Input {
    let unacknowledged = closing.unacknowledged.iter().map(|(id, tag)| (id.get(), *tag)).collect();
    let Closing { graceful, session_expiry_s, .. } = *closing;
    routing::Input::Detach { subscriber, graceful, expiry_s: session_expiry_s, unacknowledged }
}

/// What the router gave a connection, as the session core takes it.
pub(crate) fn admission(client_id: ClientId, assigned_client_id: bool, attached: Attached) -> Admission {
    let Attached { session_present, expiry_s, in_flight, received, missed } = attached;
    let told = (missed > 0).then(|| Box::new(vec![(MISSED.into(), missed.to_string().into())]));
    let ids = |ids: Vec<u16>| ids.into_iter().filter_map(PacketId::new).collect();
    Admission {
        session_present,
        assigned_client_id,
        session_expiry_s: Some(expiry_s),
        in_flight: ids(in_flight),
        received: ids(received),
        user_properties: told,
        ..Admission::new(client_id)
    }
}

/// The reason code that tells a refusal on the wire.
pub(crate) fn code(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::NotAuthorized { .. } | Refusal::Quarantined => ReasonCode::NotAuthorized,
        Refusal::SubscriptionQuota { .. }
        | Refusal::TenantSubscriptionQuota { .. }
        | Refusal::PrincipalSubscriptionQuota { .. }
        | Refusal::PrincipalSessionQuota { .. }
        | Refusal::PrincipalRetainedQuota { .. }
        | Refusal::PrincipalRetainedBytesQuota { .. }
        | Refusal::PrincipalLogBytesQuota { .. }
        | Refusal::SessionQuota { .. }
        | Refusal::PrincipalWillBytesQuota { .. }
        | Refusal::WillBytesQuota { .. }
        | Refusal::RetainedQuota { .. }
        | Refusal::RetainedBytesQuota { .. }
        | Refusal::SearchTooWide { .. }
        | Refusal::RouterBehind { .. }
        | Refusal::LogBehind { .. }
        | Refusal::DiskFull => ReasonCode::QuotaExceeded,
        Refusal::KeyWithdrawn | Refusal::StorageFailed => ReasonCode::ImplementationSpecificError,
        Refusal::ShareInvalid(_) => ReasonCode::TopicFilterInvalid,
        Refusal::TopicReserved => ReasonCode::TopicNameInvalid,
    }
}

/// Counts a refusal, and the quota that it names.
pub(crate) fn count(refusal: &Refusal, counters: &TenantCounters) {
    counters.refused.add(1);
    match refusal {
        Refusal::SubscriptionQuota { .. }
        | Refusal::TenantSubscriptionQuota { .. }
        | Refusal::PrincipalSubscriptionQuota { .. } => counters.quota_subscriptions.add(1),
        Refusal::SessionQuota { .. } | Refusal::PrincipalSessionQuota { .. } => {
            counters.quota_durable_sessions.add(1);
        }
        Refusal::WillBytesQuota { .. } | Refusal::PrincipalWillBytesQuota { .. } => {
            counters.quota_will_bytes.add(1);
        }
        Refusal::RetainedQuota { .. } | Refusal::PrincipalRetainedQuota { .. } => {
            counters.quota_retained_messages.add(1);
        }
        Refusal::RetainedBytesQuota { .. } | Refusal::PrincipalRetainedBytesQuota { .. } => {
            counters.quota_retained_bytes.add(1);
        }
        Refusal::PrincipalLogBytesQuota { .. } => counters.quota_log_bytes.add(1),
        _ => {}
    }
}

/// Counts and notes what a session was refused, each of its wishes once, and logs it as far as there are lines for it.
fn deny(parts: &SessionParts, client: Option<&ClientId>, wished: (Act, Option<&str>), refusal: &Refusal) {
    let SessionParts { caller, home, .. } = parts;
    let Caller { principal, peer } = &**caller;
    let Principal { tenant, kind, id, .. } = principal;
    count(refusal, &home.counters);
    let who = Who { kind: *kind, id, client, peer: Some(*peer) };
    home.trail.note(who, wished, code(refusal), &refusal.to_string());
    let (client_id, what) = (client.map(ClientId::as_str), wished.0.as_str());
    if !home.ration.allows(principal, what, code(refusal)) {
        return;
    }
    match refusal {
        Refusal::DiskFull | Refusal::KeyWithdrawn | Refusal::StorageFailed => {
            warn!(%tenant, %kind, %id, client = client_id, why = %refusal, "{what} refused")
        }
        _ => info!(%tenant, %kind, %id, client = client_id, why = %refusal, "{what} refused"),
    }
}

/// Counts and notes what was refused of a message for what is in it, and logs it as far as there are lines for it.
pub(crate) fn unfit(parts: &SessionParts, client: Option<&ClientId>, topic: &str, refused: &Unfit) {
    let SessionParts { caller, home, .. } = parts;
    let Caller { principal, peer } = &**caller;
    let Principal { tenant, kind, id, .. } = principal;
    home.counters.unfit.add(1);
    let who = Who { kind: *kind, id, client, peer: Some(*peer) };
    home.trail.note(who, (Act::Publish, Some(topic)), refused.code, &refused.reason);
    if home.ration.allows(principal, "unfit", refused.code) {
        let client_id = client.map(ClientId::as_str);
        info!(%tenant, %kind, %id, client = client_id, topic, why = refused.reason, "not fit to be taken");
    }
}

/// What the router says, as the session core hears it.
pub(crate) fn answer(effect: Effect, parts: &SessionParts, client: Option<&ClientId>) -> Option<Input> {
    match effect {
        Effect::Deliver { delivery, .. } => {
            let routing::Delivery { message, qos, retain, subscription_ids, tag, resent_as, expires_ms } =
                delivery;
            let resent_as = resent_as.and_then(PacketId::new);
            let clock = &parts.home.clock;
            let left = |at: u64| clock.now() + Duration::from_millis(at.saturating_sub(clock.unix_ms()));
            let expires = expires_ms.map(left);
            Some(Input::Deliver(Delivery { message, qos, retain, subscription_ids, tag, resent_as, expires }))
        }
        Effect::Published { ticket, outcome, .. } => {
            let outcome = match outcome {
                Outcome::Routed { matched } => PublishOutcome::Routed { matched },
                Outcome::Refused(refusal) => {
                    PublishOutcome::Refused { code: code(&refusal), reason: refusal.to_string() }
                }
            };
            Some(Input::Published { packet_id: PacketId::new(ticket), outcome })
        }
        Effect::Subscribed { ticket, outcomes, .. } => {
            let mut reason = None;
            let told = outcomes.into_iter().map(|outcome| {
                outcome.map_err(|refusal| {
                    reason.get_or_insert_with(|| refusal.to_string());
                    code(&refusal)
                })
            });
            let outcomes = told.collect();
            Some(Input::Subscribed { packet_id: PacketId::new(ticket)?, outcomes, reason })
        }
        Effect::Unsubscribed { ticket, existed, .. } => {
            let code =
                |existed| if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted };
            let outcomes = existed.into_iter().map(code).collect();
            Some(Input::Unsubscribed { packet_id: PacketId::new(ticket)?, outcomes })
        }
        Effect::Denied { wish, refusal, .. } => {
            let act = match wish {
                Wish::Publish(_) => Act::Publish,
                Wish::Subscribe(_) => Act::Subscribe,
                Wish::Attach(_) => Act::Connect,
            };
            deny(parts, client, (act, wish.subject()), &refusal);
            None
        }
        Effect::Bound { packet_id, .. } => PacketId::new(packet_id).map(Input::Bound),
        Effect::Released { packet_id, tag, .. } => {
            PacketId::new(packet_id).map(|packet_id| Input::Released { packet_id, tag })
        }
        Effect::Forgotten { packet_id, .. } => PacketId::new(packet_id).map(Input::Forgotten),
        Effect::Close { refusal, .. } => {
            deny(parts, client, (Act::Session, None), &refusal);
            Some(Input::Shutdown(code(&refusal), Some(refusal.to_string())))
        }
        // What is left is not for the core of a session.
        _ => None,
    }
}
