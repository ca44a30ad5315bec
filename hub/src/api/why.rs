//! `/api/v1/devices/{device}/why` for the operator and `/api/v1/tenants/{tenant}/devices/{device}/why` for the tenant's own:
//! what keeps a device out.

use actix_web::web::{Data, Json, Path};
use data_encoding::HEXLOWER_PERMISSIVE;
use muster_broker::{Whom, limits::AUDIT_PAGE_MAX};
use muster_schemas::{
    DeviceId, Kind, TenantId,
    api::{RefusalSeen, Why},
    audit::{Act, AuditEntry},
};
use muster_tpm::verifier::device_id;

use super::{Api, audit::newest, caller::Caller, error::ApiError};
use crate::{
    registry::{
        admissions::row::Decision,
        standing::{AskStanding, Standing},
    },
    witness::{self, History, Proof, Refused, Stage, Told, verdict},
};

/// A device of any tenant, or of none: an operator asks about what never came in, too.
pub(super) async fn of_any(
    api: Data<Api>,
    caller: Caller,
    device: Path<DeviceId>,
) -> Result<Json<Why>, ApiError> {
    caller.operator()?;
    explain(&api, None, named(device.into_inner())).await
}

/// A device of one tenant. Of a chip that is not the tenant's, nothing is told.
pub(super) async fn of_tenant(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<Why>, ApiError> {
    let (tenant, device) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    explain(&api, Some(tenant), named(device)).await
}

/// The SHA-256 of an endorsement key names its device too.
fn named(device: DeviceId) -> DeviceId {
    let hash = HEXLOWER_PERMISSIVE.decode(device.as_str().as_bytes()).ok();
    hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()).map_or(device, |hash| device_id(&hash))
}

async fn explain(api: &Api, tenant: Option<TenantId>, device: DeviceId) -> Result<Json<Why>, ApiError> {
    let asked = AskStanding { tenant: tenant.clone(), kind: Kind::Device, id: device.clone() };
    let standing = api.registry(asked).await?;
    let Standing { device: row, held, may_act } =
        standing.ok_or_else(|| ApiError::unavailable("the registry"))?;
    if let (Some(tenant), None, None) = (tenant, &row, &held) {
        return Err(crate::registry::Refusal::DeviceUnknown { tenant, device }.into());
    }
    let mut history = api.witness.of(&device);
    let mut sessions = 0;
    if let Some(row) = &row {
        // A tenant that does not run has no sessions; that it does not is told by `muster tenant list` and the log.
        if let Ok(inspector) = api.inspector(&row.tenant) {
            sessions = inspector.sessions(Whom::Principal(Kind::Device, device.clone())).await.unwrap_or(0);
        }
        let trail = newest(api, &row.tenant, AUDIT_PAGE_MAX).await?;
        history.told.extend(trail.entries.into_iter().filter_map(|(_, entry)| told(entry, &device)));
        history.told.sort_by_key(|told| std::cmp::Reverse(told.last_ms));
    }
    let tenant = row.as_ref().map(|row| &row.tenant).or(held.as_ref().map(|held| &held.tenant)).cloned();
    let standing = match (&row, may_act) {
        (None, _) if held.is_some() => witness::Standing::Held {
            reason: held.as_ref().map(|held| held.reason.to_string()).unwrap_or_default(),
            denied: held.is_some_and(|held| held.decision == Decision::Denied),
        },
        (None, _) => witness::Standing::Unregistered,
        (Some(_), Ok(())) => witness::Standing::Good,
        (Some(_), Err(reason)) => witness::Standing::Barred(reason),
    };
    let History { told, let_in_ms } = history;
    let still = told.iter().filter(|told| told.last_ms >= let_in_ms.unwrap_or(0)).cloned();
    let found = verdict(standing, sessions, &still.collect::<Vec<_>>());
    Ok(Json(Why {
        device,
        tenant,
        sessions,
        code: found.code,
        cause: found.cause,
        next: found.next,
        certificate_expires_at_s: row.as_ref().map(|row| row.certificate.not_after_s),
        since_ms: api.witness.since_ms(),
        let_in_ms,
        refusals: told.into_iter().take(witness::limits::REFUSALS_SHOWN_MAX).map(shown).collect(),
    }))
}

/// What the bus refused the device once it was in, as its tenant's trail has it; the topics stay there.
fn told(entry: AuditEntry, device: &DeviceId) -> Option<Told> {
    let AuditEntry { at_ms, actor, act, code, reason, times, .. } = entry;
    let actor = actor.filter(|actor| actor.kind == Kind::Device && actor.id == *device)?;
    let next = match act {
        Act::Connect => "connect as the reason says; `muster can device/<id> ...` tells the rules",
        Act::Publish | Act::Subscribe => {
            "change the topic; `muster can device/<id> publish <topic>` tells the rule"
        }
        Act::Session => "see the reason; a device comes back by itself",
        Act::View => "`muster can` tells the rule",
    };
    let refused = Refused {
        stage: Stage::Session,
        code: format!("0x{code:02x}"),
        reason: format!("{}: {reason}", act.as_str()),
        next: next.to_owned(),
        peer: actor.peer,
    };
    Some(Told { refused, proof: Proof::Certificate, first_ms: at_ms, last_ms: at_ms, times })
}

fn shown(told: Told) -> RefusalSeen {
    let Told { refused: Refused { stage, code, reason, next, peer }, proof, first_ms, last_ms, times } = told;
    let (stage, proved) = (stage.as_str().to_owned(), proof == Proof::Certificate);
    RefusalSeen { stage, code, reason, next, peer, proved, first_ms, last_ms, times }
}
