//! `/api/v1/tenants/{tenant}/clients` and `/topics`: what goes on in a running tenant.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path, Query},
};
use muster_broker::{ClientSeen, Inspector, NotInspected, Whom, limits::SEEN_MAX};
use muster_schemas::{
    Kind, TenantId, TopicFilter, TopicName,
    api::{
        Client, Clients, Kick, Kicked, RetainedTopic, RetainedTopics, SubscribedFilter, SubscribedFilters,
    },
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::limits::KICK_REASON_BYTES_MAX;

impl Api {
    /// Looks into a tenant that the caller may look into.
    pub(super) fn inspector(&self, tenant: &TenantId) -> Result<Inspector, ApiError> {
        self.bus.inspector(tenant).map_err(|error| {
            let is_served = self.bus.tenant_counters().iter().any(|(served, _)| served == tenant);
            if is_served { error.into() } else { ApiError::tenant_unknown(tenant) }
        })
    }
}

/// The parameters of `clients`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsQuery {
    /// Only those behind this session.
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn clients(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<ClientsQuery>,
) -> Result<Json<Clients>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let ClientsQuery { after, limit } = query.into_inner();
    let (seen, next_after) = api.inspector(&tenant)?.clients(after, limit_of(limit)?).await?;
    let clients = seen.into_iter().map(|client| shown(&tenant, client)).collect();
    Ok(Json(Clients { clients, next_after }))
}

pub(super) async fn kick(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<Kick>,
) -> Result<Json<Kicked>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let wrong = |why: &str| {
        let next =
            "name a `client` or a `principal` such as \"device/<id>\", and a short `reason` if you like";
        ApiError::malformed("it was not understood whom to disconnect", why, next)
    };
    let Kick { client, principal, reason } = body.into_inner();
    let (whom, named) = match (client, principal) {
        (Some(client), None) => {
            let id = client.parse().map_err(|error| wrong(&format!("the client identifier {error}")))?;
            (Whom::Client(id), client)
        }
        (None, Some(principal)) => {
            let (kind, id) = principal.split_once('/').ok_or_else(|| wrong("the principal has no '/'"))?;
            let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
            let kind = kind.ok_or_else(|| wrong("the principal is of no kind that there is"))?;
            let id = id.parse().map_err(|error| wrong(&format!("the principal's id {error}")))?;
            (Whom::Principal(kind, id), principal)
        }
        _ => return Err(wrong("exactly one of `client` and `principal` is to be given")),
    };
    let reason = reason.unwrap_or_else(|| "an administrator closed this session".to_owned());
    if reason.len() > KICK_REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(wrong(&format!(
            "the reason is longer than {KICK_REASON_BYTES_MAX} bytes, or has control characters"
        )));
    }
    let closed = api.inspector(&tenant)?.kick(whom, reason.clone()).await?;
    tracing::info!(tenant = %tenant, by = %caller.principal(), client = named, closed, reason, "sessions closed");
    if closed == 0 {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "client_unknown",
            "no session was closed",
            format!("nobody is connected as {named}"),
            "`muster clients` shows who is connected",
        ));
    }
    Ok(Json(Kicked { closed: closed as u64 }))
}

/// The parameters of `retained`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetainedQuery {
    filter: Option<String>,
    /// Only those behind this topic.
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn retained(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<RetainedQuery>,
) -> Result<Json<RetainedTopics>, ApiError> {
    caller.member(&tenant)?;
    let RetainedQuery { filter, after, limit } = query.into_inner();
    let filter = filter_of(filter.as_deref().unwrap_or("#"))?;
    let after = after.map(|topic| topic.parse::<TopicName>()).transpose().map_err(|error| {
        ApiError::malformed(
            "`after` could not be read",
            format!("it {error}"),
            "pass `next_after` as it came",
        )
    })?;
    let limit = limit_of(limit)?;
    let topics = api.inspector(&tenant)?.retained_topics(&filter, after.as_ref(), limit).await?;
    let next_after = topics.last().filter(|_| topics.len() >= limit).map(|last| last.topic.to_string());
    let shown = topics
        .iter()
        .map(|seen| RetainedTopic { topic: seen.topic.to_string(), bytes: seen.bytes as u64 })
        .collect();
    Ok(Json(RetainedTopics { topics: shown, next_after }))
}

/// The parameters of `subscriptions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionsQuery {
    filter: Option<String>,
}

pub(super) async fn subscriptions(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<SubscriptionsQuery>,
) -> Result<Json<SubscribedFilters>, ApiError> {
    caller.member(&tenant)?;
    let within = query.into_inner().filter.as_deref().map(filter_of).transpose()?;
    let seen = api.inspector(&tenant)?.filters(within).await?;
    let filters = seen
        .filters
        .into_iter()
        .map(|seen| SubscribedFilter { filter: seen.filter, subscribers: seen.subscribers })
        .collect();
    Ok(Json(SubscribedFilters { filters, truncated: seen.truncated }))
}

/// A filter of a query.
pub(super) fn filter_of(text: &str) -> Result<TopicFilter, ApiError> {
    text.parse().map_err(|error| {
        let next = "write a filter as MQTT knows it, such as devices/+/telemetry/#";
        ApiError::malformed("the filter could not be read", format!("it {error}"), next)
    })
}

fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(SEEN_MAX) {
        limit @ 1..=SEEN_MAX => Ok(limit),
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "limit",
            "the query could not be answered",
            format!("`limit` is not between 1 and {SEEN_MAX}"),
            "ask for fewer and go on with `next_after`",
        )),
    }
}

fn shown(tenant: &TenantId, seen: ClientSeen) -> Client {
    Client {
        session: seen.session,
        tenant: tenant.clone(),
        kind: seen.kind.to_string(),
        id: seen.id,
        client: seen.client.to_string(),
        mqtt: seen.version.to_string(),
        peer: seen.peer.to_string(),
        connected_at_s: seen.connected_at_ms / 1_000,
        subscriptions: seen.subscriptions as u64,
        in_flight: seen.in_flight as u64,
        queued: seen.queued as u64,
        bytes_waiting: seen.bytes_waiting as u64,
        messages_in: seen.messages_in,
        messages_out: seen.messages_out,
        dropped: seen.dropped,
    }
}

impl From<NotInspected> for ApiError {
    fn from(error: NotInspected) -> Self {
        match error {
            NotInspected::NotRunning | NotInspected::Busy => Self::unavailable("the tenant"),
            NotInspected::TooManyTraces(_) => Self::new(
                StatusCode::CONFLICT,
                "traces",
                "the trace was not started",
                error.to_string(),
                "end one of them first",
            ),
        }
    }
}
