//! `/api/v1/tenants/{tenant}/can`: whether somebody may do something, and by which rule. It asks what the gate, the router
//! and the API themselves ask, so it cannot say otherwise than they do.

use std::sync::Arc;

use actix_web::web::{Data, Json, Path, Query};
use muster_broker::Access;
use muster_schemas::{DeviceId, Kind, Principal, TenantId, TopicFilter, TopicName, api::Can};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::{
    gate::rights,
    registry::{
        AdmitReason,
        standing::{AskStanding, Standing},
    },
};

/// The parameters of `can`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CanQuery {
    /// Such as `device/<id>`.
    who: String,
    verb: Verb,
    /// A topic, or a filter; a device and one of its streams, to view; nothing for the other verbs.
    what: Option<String>,
    /// When what is to be viewed was captured, in milliseconds since 1970; now, when absent.
    captured_ms: Option<i64>,
}

/// What somebody may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    /// Open a session on the bus.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Subscribe to a filter.
    Subscribe,
    /// Read the tenant's data over the API.
    Read,
    /// Be shown telemetry, by the tenant's rules.
    View,
    /// List what the tenant has over the API.
    List,
    /// Administer the hub over the API.
    Administer,
}

pub(super) async fn can(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<CanQuery>,
) -> Result<Json<Can>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let CanQuery { who, verb, what, captured_ms } = query.into_inner();
    let (kind, id) = named(&who)?;
    let tenant = tenant.into_inner();
    let asked = AskStanding { tenant: Some(tenant.clone()), kind, id: id.clone() };
    let standing = api.registry(asked).await?;
    let may_act = standing.map_or(Err(AdmitReason::Unknown), |standing: Standing| standing.may_act);
    if let Err(reason) = may_act {
        let rule = format!("admission:{}", reason.as_str());
        let why = format!("{who} does not come in: {reason}");
        return Ok(Json(Can { allowed: false, rule, why, next: reason.next_step().to_owned() }));
    }
    let principal =
        Principal { trust_domain: api.trust.trust_domain().clone(), tenant: tenant.clone(), kind, id };
    let answer = match verb {
        Verb::View => {
            caller.member(&tenant)?;
            let own = of_api("api-member", Caller::from(principal.clone()).member(&tenant));
            if !own.allowed {
                return Ok(Json(own));
            }
            api.can_view(&principal, &tenant, what.as_deref(), captured_ms)?
        }
        Verb::Read => of_api("api-member", Caller::from(principal).member(&tenant)),
        Verb::List => of_api("api-operator-or-member", Caller::from(principal).operator_or_member(&tenant)),
        Verb::Administer => of_api("api-operator", Caller::from(principal).operator()),
        Verb::Connect | Verb::Publish | Verb::Subscribe => {
            match rights(&principal, Arc::new(Access::app())) {
                Some(access) => on_bus(&access, verb, what.as_deref())?,
                None => Can {
                    allowed: false,
                    rule: "bus-devices-and-apps".to_owned(),
                    why: format!("a {kind} {}", AdmitReason::Kind),
                    next: AdmitReason::Kind.next_step().to_owned(),
                },
            }
        }
    };
    Ok(Json(answer))
}

fn on_bus(access: &Access, verb: Verb, what: Option<&str>) -> Result<Can, ApiError> {
    let wrong = |why: String| {
        let next =
            "name a topic to publish to, such as devices/7/telemetry/climate, or a filter to subscribe to";
        ApiError::malformed("the question was not understood", why, next)
    };
    let what = match (verb, what) {
        (Verb::Connect, _) => {
            let why = "it is registered, active, and its certificate has not ended".to_owned();
            return Ok(Can { allowed: true, rule: "admission".to_owned(), why, next: String::new() });
        }
        (_, Some(what)) => what,
        (_, None) => return Err(wrong("no topic was named".to_owned())),
    };
    let decided = if verb == Verb::Publish {
        let topic: TopicName =
            what.parse().map_err(|error| wrong(format!("{what:?} is no topic: it {error}")))?;
        access.publish_rule(&topic).map(str::to_owned)
    } else {
        let filter: TopicFilter =
            what.parse().map_err(|error| wrong(format!("{what:?} is no filter: it {error}")))?;
        access.subscribe_rule(&filter).map(str::to_owned)
    };
    Ok(match decided {
        Ok(rule) => {
            let why = format!("the rule {rule:?} of its access list {access} allows it");
            Can { allowed: true, rule, why, next: String::new() }
        }
        Err(denial) => Can {
            allowed: false,
            why: format!(
                "the rule {:?} of its access list {access} does not allow it",
                denial.rule.as_ref() as &str
            ),
            rule: denial.rule.to_string(),
            next: "use a topic that the list allows: docs/tenants.md has them".to_owned(),
        },
    })
}

fn of_api(rule: &str, asked: Result<(), ApiError>) -> Can {
    let rule = rule.to_owned();
    match asked {
        Ok(()) => {
            Can { allowed: true, why: "its kind and tenant allow it".to_owned(), rule, next: String::new() }
        }
        Err(error) => {
            let (why, next) = error.why_and_next();
            Can { allowed: false, rule, why: why.to_owned(), next: next.to_owned() }
        }
    }
}

fn named(who: &str) -> Result<(Kind, DeviceId), ApiError> {
    let found = who.split_once('/').and_then(|(kind, id)| {
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some((kind, id.parse().ok()?))
    });
    found.ok_or_else(|| {
        let next = "name a kind and an id, such as device/<id>, app/<id> or user/<id>";
        ApiError::malformed("the question was not understood", format!("{who:?} names nobody"), next)
    })
}
