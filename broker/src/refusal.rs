//! Translation between the router's words and MQTT's: subscriptions one way, outcomes and refusals the other.

use muster_mqtt::{Delivery, Input, PacketId, PublishOutcome, ReasonCode, SubscriptionRequest};
use muster_routing::{self as routing, Effect, Outcome, Refusal};
use muster_schemas::Principal;
use tracing::{info, warn};

use crate::counters::TenantCounters;

/// A SUBSCRIBE's filter as the router takes it.
pub(crate) fn subscription(request: SubscriptionRequest) -> routing::Request {
    let SubscriptionRequest { filter, options, subscription_id } = request;
    routing::Request { filter, options, subscription_id }
}

/// The reason code that tells a refusal on the wire.
pub(crate) fn code(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::NotAuthorized { .. } => ReasonCode::NotAuthorized,
        Refusal::SubscriptionQuota { .. }
        | Refusal::TenantSubscriptionQuota { .. }
        | Refusal::RetainedQuota { .. }
        | Refusal::RetainedBytesQuota { .. }
        | Refusal::RouterBehind { .. }
        | Refusal::LogBehind { .. }
        | Refusal::DiskFull => ReasonCode::QuotaExceeded,
        Refusal::StorageFailed => ReasonCode::ImplementationSpecificError,
        Refusal::SharedNotSupported => ReasonCode::SharedSubscriptionsNotSupported,
        Refusal::TopicReserved => ReasonCode::TopicNameInvalid,
    }
}

/// What the router says, as the session core hears it. Refusals are counted and logged here, once.
pub(crate) fn answer(effect: Effect, counters: &TenantCounters, principal: &Principal) -> Option<Input> {
    let refused = |refusal: &Refusal, what: &'static str| {
        counters.refused.add(1);
        let Principal { tenant, kind, id, .. } = principal;
        match refusal {
            Refusal::DiskFull | Refusal::StorageFailed => {
                warn!(%tenant, %kind, %id, why = %refusal, "{what} refused")
            }
            _ => info!(%tenant, %kind, %id, why = %refusal, "{what} refused"),
        }
    };
    match effect {
        Effect::Deliver { delivery, .. } => {
            let routing::Delivery { message, qos, retain, subscription_ids } = delivery;
            let subscription_ids = subscription_ids.into_iter().collect();
            Some(Input::Deliver(Delivery {
                message,
                qos,
                retain,
                subscription_ids,
                tag: None,
                resent_as: None,
                expires: None,
            }))
        }
        Effect::Published { ticket, outcome, .. } => {
            let outcome = match outcome {
                Outcome::Routed { matched } => PublishOutcome::Routed { matched },
                Outcome::Refused(refusal) => {
                    refused(&refusal, "publish");
                    PublishOutcome::Refused { code: code(&refusal), reason: refusal.to_string() }
                }
            };
            Some(Input::Published { packet_id: PacketId::new(ticket), outcome })
        }
        Effect::Subscribed { ticket, outcomes, .. } => {
            let mut reason = None;
            let told = outcomes.into_iter().map(|outcome| {
                outcome.map_err(|refusal| {
                    refused(&refusal, "subscription");
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
        Effect::Denied { refusal, .. } => {
            refused(&refusal, "publish");
            None
        }
        Effect::Append { .. }
        | Effect::KeepRetained { .. }
        | Effect::ForgetRetained { .. }
        | Effect::Continue => None,
    }
}
