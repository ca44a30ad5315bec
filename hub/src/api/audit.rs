//! `/api/v1/tenants/{tenant}/audit`: what was refused to whom, and why. The tenant sees all of it; an operator of the hub
//! sees it without topics and filters, which are the tenant's.

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path, Query, block},
};
use muster_broker::{AuditPage, AuditTrail, Numbered, limits::AUDIT_PAGE_MAX};
use muster_schemas::{
    TenantId,
    api::{Audit, Audited},
    audit::AuditEntry,
};
use serde::Deserialize;

use super::{Api, caller::Caller, error::ApiError};
use crate::causes::causes;

/// The parameters of `audit`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only those behind this number; without it the newest.
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn audit(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<AuditQuery>,
) -> Result<Json<Audit>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let with_subjects = caller.member(&tenant).is_ok();
    let AuditQuery { after, limit } = query.into_inner();
    let limit = limit.unwrap_or(AUDIT_PAGE_MAX);
    if !(1..=AUDIT_PAGE_MAX).contains(&limit) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "limit",
            "the audit trail was not read",
            format!("`limit` is not between 1 and {AUDIT_PAGE_MAX}"),
            "ask for fewer and go on with `next_after`",
        ));
    }
    let page = page(&api, &tenant, after, limit).await?;
    let (first, last) = page.kept.map(|kept| kept.into_inner()).unzip();
    let behind = page.entries.last().map(|(number, _)| *number);
    Ok(Json(Audit {
        next_after: behind.filter(|number| Some(*number) < last),
        entries: page.entries.into_iter().map(|numbered| shown(numbered, with_subjects)).collect(),
        missing: page.missing.into_iter().map(|range| range.into_inner()).collect(),
        first,
        last,
    }))
}

/// The newest entries of a tenant's trail.
pub(super) async fn newest(api: &Api, tenant: &TenantId, limit: usize) -> Result<AuditPage, ApiError> {
    page(api, tenant, None, limit).await
}

async fn page(api: &Api, tenant: &TenantId, after: Option<u64>, limit: usize) -> Result<AuditPage, ApiError> {
    let (store, named) = (api.store.clone(), tenant.clone());
    let read = block(move || {
        let Some(keys) = store.tenant(&named).map_err(|error| causes(&error))? else { return Ok(None) };
        let trail = AuditTrail::open(&store, keys).map_err(|error| causes(&error))?;
        trail.page(after, limit).map(Some).map_err(|error| causes(&error))
    });
    let page = read.await.map_err(|_| ApiError::unavailable("the audit trail"))?.map_err(unreadable)?;
    page.ok_or_else(|| ApiError::tenant_unknown(tenant))
}

fn shown((number, entry): Numbered, with_subject: bool) -> Audited {
    let AuditEntry { at_ms, actor, act, subject, code, reason, times } = entry;
    let (mut kind, mut id, mut client, mut peer) = (None, None, None, None);
    if let Some(actor) = actor {
        (kind, id) = (Some(actor.kind.to_string()), Some(actor.id));
        (client, peer) = (actor.client.map(|client| client.to_string()), actor.peer);
    }
    let subject = subject.filter(|_| with_subject);
    Audited {
        number,
        at_ms,
        kind,
        id,
        client,
        peer,
        act: act.as_str().to_owned(),
        subject,
        code,
        reason,
        times,
    }
}

/// Changed on the disk, or the disk fails: either is for an operator to look at, and no reason to go on silently.
fn unreadable(why: String) -> ApiError {
    tracing::error!(why, "failed to read an audit trail");
    let next = "keep the hub's directory as it is, look into its log, and restore a backup beside it";
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "audit_damaged",
        "the audit trail was not read",
        why,
        next,
    )
}
