//! `/api/v1/tenants/{tenant}/datasets` and `/grants`: parts of what a tenant has, and with whom it shares them.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use muster_schemas::{
    TenantId,
    api::rules::{DataSet, Grant, NewGrant},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::grants::{self, DataSetRow, Give, PutDataSet, RemoveDataSet, TakeBack};

pub(super) async fn data_sets(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<DataSet>>, ApiError> {
    caller.member(&tenant)?;
    Ok(Json(api.known.tenant(&tenant).data_sets.values().map(|row| row.set.clone()).collect()))
}

pub(super) async fn put_data_set(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, String)>,
    body: Json<DataSet>,
) -> Result<Json<DataSet>, ApiError> {
    let (tenant, name) = path.into_inner();
    api.administers(&caller, &tenant)?;
    let set = DataSet { name, ..body.into_inner() };
    let row = api.registry(PutDataSet(DataSetRow { tenant, set })).await??;
    let (tenant, name, by) = (&row.tenant, &row.set.name, caller.principal());
    tracing::info!(target: "muster::audit", %tenant, name, %by, "data set put");
    Ok(Json(row.set))
}

pub(super) async fn remove_data_set(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, String)>,
) -> Result<Json<DataSet>, ApiError> {
    let (tenant, name) = path.into_inner();
    api.administers(&caller, &tenant)?;
    let row = api.registry(RemoveDataSet { tenant, name }).await??;
    let (tenant, name, by) = (&row.tenant, &row.set.name, caller.principal());
    tracing::info!(target: "muster::audit", %tenant, name, %by, "data set removed");
    Ok(Json(row.set))
}

/// What the tenant shares, and what is shared with it.
pub(super) async fn grants(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<Grant>>, ApiError> {
    caller.member(&tenant)?;
    let now_s = api.now_s();
    let all = api.known.grants_about(&tenant);
    Ok(Json(all.iter().filter(|grant| grant.expires_at_s > now_s).map(shown).collect()))
}

pub(super) async fn give(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewGrant>,
) -> Result<HttpResponse, ApiError> {
    let tenant = tenant.into_inner();
    api.administers(&caller, &tenant)?;
    let NewGrant { to, data_set, expires_in_s } = body.into_inner();
    let by = caller.principal().to_string();
    let grant = api.registry(Give { tenant, to, data_set, expires_in_s, by }).await??;
    let grants::Grant { number, tenant, to, data_set, given_by: by, .. } = &grant;
    tracing::info!(target: "muster::audit", %tenant, %to, data_set, number, by, "data set shared");
    Ok(HttpResponse::Created().json(shown(&grant)))
}

pub(super) async fn take_back(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, u64)>,
) -> Result<Json<Grant>, ApiError> {
    let (tenant, number) = path.into_inner();
    api.administers(&caller, &tenant)?;
    let grant = api.registry(TakeBack { tenant, number }).await??;
    let (tenant, to, by) = (&grant.tenant, &grant.to, caller.principal());
    tracing::info!(target: "muster::audit", %tenant, %to, number, %by, "grant taken back");
    Ok(Json(shown(&grant)))
}

fn shown(grant: &grants::Grant) -> Grant {
    Grant {
        grant: grant.number,
        tenant: grant.tenant.clone(),
        to: grant.to.clone(),
        data_set: grant.data_set.clone(),
        expires_at_s: grant.expires_at_s,
        given_by: grant.given_by.clone(),
        given_at_s: grant.given_at_s,
    }
}
