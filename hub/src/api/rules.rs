//! `/api/v1/tenants/{tenant}/policies`, and what is said of devices, apps, users and services: for those who administer the
//! tenant. No operator of the hub changes who may read a tenant's data, or reads what its rules are.

use std::sync::Arc;

use actix_web::{
    http::StatusCode,
    web::{self, Data, Json, Path},
};
use muster_policy::{Action, Fault, Policies, Rules};
use muster_schemas::{
    DeviceId, Kind, TenantId,
    api::rules::{Attributed, NewAttributes, NewPolicies, PolicyVersion},
};

use super::{Api, caller::Caller, error::ApiError, people::Many};
use crate::registry::{
    ClientKind,
    attributes::{Describe, Described, Party},
    policies::{self, PutPolicies},
};

const ADMINISTER: &str = "add such as `permit (principal in Group::\"administrators\", action == Action::\"administer\", \
                          resource);`, and put yourself in that group: `muster user set <id> --group administrators`";

impl Api {
    /// Whether a caller may change who is shown what: where there are policies, whom they let administer; else the tenant's
    /// users.
    pub(super) fn administers(&self, caller: &Caller, tenant: &TenantId) -> Result<(), ApiError> {
        caller.member(tenant)?;
        let principal = caller.principal();
        let rules = &self.known.tenant(tenant).rules;
        let by = if rules.are_open() {
            if principal.kind == Kind::User {
                return Ok(());
            }
            "tenant-without-policies".to_owned()
        } else {
            let decided = rules.may(&self.known.reader(principal), Action::Administer, self.now_ms());
            if decided.allowed {
                return Ok(());
            }
            decided.rule()
        };
        tracing::info!(target: "muster::audit", %tenant, %principal, rule = by, "administering denied");
        let why = format!("the rule {by:?} does not let this caller administer the tenant's access rules");
        Err(ApiError::forbidden(
            &why,
            "ask a user of the tenant who administers it; an operator of the hub cannot",
        ))
    }
}

pub(super) async fn describe_device(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
    body: Json<NewAttributes>,
) -> Result<Json<Attributed>, ApiError> {
    let (tenant, id) = path.into_inner();
    describe(&api, &caller, (tenant, Party::Device, id), body.into_inner()).await
}

pub(super) async fn describe_client(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many, DeviceId)>,
    body: Json<NewAttributes>,
) -> Result<Json<Attributed>, ApiError> {
    let (tenant, many, id) = path.into_inner();
    describe(&api, &caller, (tenant, party(many), id), body.into_inner()).await
}

async fn describe(
    api: &Api,
    caller: &Caller,
    (tenant, party, id): (TenantId, Party, DeviceId),
    NewAttributes { attributes, groups }: NewAttributes,
) -> Result<Json<Attributed>, ApiError> {
    api.administers(caller, &tenant)?;
    let principal = caller.principal();
    let is_oneself = principal.id == id && principal.kind == party.kind();
    if is_oneself && let Some(groups) = &groups {
        let mut reader = api.known.reader(principal);
        reader.groups = Arc::new(groups.clone());
        let rules = &api.known.tenant(&tenant).rules;
        if !rules.are_open() && !rules.may(&reader, Action::Administer, api.now_ms()).allowed {
            return Err(locked_out("in those groups you would no longer administer the tenant"));
        }
    }
    let row = api.registry(Describe { tenant, party, id, attributes, groups }).await??;
    tracing::info!(target: "muster::audit", tenant = %row.tenant, kind = %row.party.kind(), id = %row.id,
        by = %principal, "attributes set");
    Ok(Json(attributed(&row)))
}

pub(super) async fn device_attributes(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<Attributed>, ApiError> {
    let (tenant, id) = path.into_inner();
    caller.member(&tenant)?;
    let attributes = api.known.attributes(&tenant, &id).0.clone();
    let kind = Kind::Device.to_string();
    Ok(Json(Attributed { kind, id, attributes, groups: Default::default() }))
}

pub(super) async fn client_attributes(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many, DeviceId)>,
) -> Result<Json<Attributed>, ApiError> {
    let (tenant, many, id) = path.into_inner();
    caller.member(&tenant)?;
    let party = party(many);
    let reader = api.known.tenant(&tenant).reader(party.kind(), &id);
    let (attributes, groups) = (reader.attributes.0.clone(), (*reader.groups).clone());
    Ok(Json(Attributed { kind: party.kind().to_string(), id, attributes, groups }))
}

pub(super) async fn policies(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<PolicyVersion>>, ApiError> {
    caller.member(&tenant)?;
    let of = api.known.tenant(&tenant);
    let last = of.versions.last().map_or(0, |last| last.version);
    Ok(Json(of.versions.iter().map(|row| PolicyVersion { text: None, ..shown(row, last) }).collect()))
}

pub(super) async fn policy(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, u64)>,
) -> Result<Json<PolicyVersion>, ApiError> {
    let (tenant, version) = path.into_inner();
    caller.member(&tenant)?;
    let (row, last) = api.version(&tenant, version)?;
    Ok(Json(shown(&row, last)))
}

pub(super) async fn put_policies(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewPolicies>,
) -> Result<Json<PolicyVersion>, ApiError> {
    let NewPolicies { text, after } = body.into_inner();
    api.put_policies(&caller, tenant.into_inner(), text, (after, None)).await
}

pub(super) async fn restore_policies(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, u64)>,
) -> Result<Json<PolicyVersion>, ApiError> {
    let (tenant, version) = path.into_inner();
    api.administers(&caller, &tenant)?;
    let (row, last) = api.version(&tenant, version)?;
    api.put_policies(&caller, tenant, row.text, (Some(last), Some(version))).await
}

impl Api {
    /// A version that is kept, and the number of the last.
    fn version(&self, tenant: &TenantId, version: u64) -> Result<(policies::PolicyVersion, u64), ApiError> {
        let of = self.known.tenant(tenant);
        let last = of.versions.last().map_or(0, |last| last.version);
        let found = of.versions.iter().find(|row| row.version == version).cloned();
        found.map(|row| (row, last)).ok_or_else(|| {
            ApiError::not_found(
                "there is no such version of the policies",
                "`muster policy list` shows those that are kept",
            )
        })
    }

    async fn put_policies(
        &self,
        caller: &Caller,
        tenant: TenantId,
        text: Option<String>,
        (after, restores): (Option<u64>, Option<u64>),
    ) -> Result<Json<PolicyVersion>, ApiError> {
        self.administers(caller, &tenant)?;
        let policies = match text {
            None => None,
            Some(text) => {
                let parsing =
                    web::block(move || Policies::parse(&text).map(|parsed| (text, Arc::new(parsed))));
                let parsed = parsing.await.map_err(|_| ApiError::unavailable("the policies"))?;
                Some(parsed.map_err(|faults| faulty(&faults))?)
            }
        };
        if let Some((_, parsed)) = &policies {
            let rules = Rules::new(tenant.clone(), Some(parsed.clone()));
            let reader = self.known.reader(caller.principal());
            if !rules.may(&reader, Action::Administer, self.now_ms()).allowed {
                return Err(locked_out("with these policies you would no longer administer the tenant"));
            }
        }
        let by = caller.principal().to_string();
        let row = self.registry(PutPolicies { tenant, policies, after, restores, by }).await??;
        let (tenant, version, by) = (&row.tenant, row.version, &row.put_by);
        tracing::info!(target: "muster::audit", %tenant, version, by, ?restores, "policies put");
        Ok(Json(shown(&row, row.version)))
    }
}

fn locked_out(why: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "locked_out", "the change was refused", why, ADMINISTER)
}

/// Every fault, one after the other.
fn faulty(faults: &[Fault]) -> ApiError {
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let next = "correct the text, and try it with `muster policy check <file>`; the policies that held go on to hold";
    ApiError::new(StatusCode::BAD_REQUEST, "policies", "the policies were refused", told.join(" | "), next)
}

fn party(many: Many) -> Party {
    match ClientKind::from(many) {
        ClientKind::App => Party::App,
        ClientKind::User => Party::User,
        ClientKind::Service => Party::Service,
    }
}

fn attributed(row: &Described) -> Attributed {
    Attributed {
        kind: row.party.kind().to_string(),
        id: row.id.clone(),
        attributes: row.attributes.clone(),
        groups: row.groups.clone(),
    }
}

fn shown(row: &policies::PolicyVersion, last: u64) -> PolicyVersion {
    PolicyVersion {
        version: row.version,
        holds: row.version == last,
        put_at_s: row.put_at_s,
        put_by: row.put_by.clone(),
        restores: row.restores,
        names: row.text.is_some().then(|| row.names.clone()),
        text: row.text.clone(),
    }
}
