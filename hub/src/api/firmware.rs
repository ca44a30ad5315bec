//! `/api/v1/tenants/{t}/firmware/authorities`: who approves firmware of a tenant's device classes.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use data_encoding::HEXLOWER;
use muster_schemas::{
    TenantId,
    api::{FirmwareApproval, FirmwareAuthority, NewFirmwareAuthority},
};
use muster_tpm::policy::{ApprovedPolicy, point_of_spki};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::firmware_approval::PublishApproval;
use crate::registry::firmware_authority::{
    self, AddFirmwareAuthority, ListFirmwareAuthorities, RemoveFirmwareAuthority,
};

pub(super) async fn list(
    api: Data<Api>,
    caller: Caller,
    path: Path<TenantId>,
) -> Result<Json<Vec<FirmwareAuthority>>, ApiError> {
    let tenant = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let found = api.registry(ListFirmwareAuthorities { tenant }).await??;
    Ok(Json(found.iter().map(shown).collect()))
}

pub(super) async fn add(
    api: Data<Api>,
    caller: Caller,
    path: Path<TenantId>,
    body: Json<NewFirmwareAuthority>,
) -> Result<HttpResponse, ApiError> {
    let tenant = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let NewFirmwareAuthority { class, key_pem } = body.into_inner();
    let key = point(&key_pem)?;
    let added = api.registry(AddFirmwareAuthority { tenant: tenant.clone(), class, key }).await??;
    tracing::info!(%tenant, class = added.class, key = added.fingerprint(), "firmware authority added");
    Ok(HttpResponse::Created().json(shown(&added)))
}

pub(super) async fn remove(
    api: Data<Api>,
    caller: Caller,
    path: Path<TenantId>,
    body: Json<NewFirmwareAuthority>,
) -> Result<Json<FirmwareAuthority>, ApiError> {
    let tenant = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let NewFirmwareAuthority { class, key_pem } = body.into_inner();
    let key = point(&key_pem)?;
    let removed = api.registry(RemoveFirmwareAuthority { tenant: tenant.clone(), class, key }).await??;
    tracing::info!(%tenant, class = removed.class, key = removed.fingerprint(), "firmware authority removed");
    Ok(Json(shown(&removed)))
}

pub(super) async fn publish(
    api: Data<Api>,
    caller: Caller,
    path: Path<TenantId>,
    body: Json<FirmwareApproval>,
) -> Result<HttpResponse, ApiError> {
    let tenant = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let file = HEXLOWER.decode(body.approval.as_bytes()).ok();
    let policy = file.and_then(|file| ApprovedPolicy::decode(&file).ok()).ok_or_else(|| {
        let next = "give the file that `muster firmware approve` wrote";
        ApiError::malformed("the approval was not understood", "it is no approval of firmware in hex", next)
    })?;
    let row = api.registry(PublishApproval { tenant: tenant.clone(), policy }).await??;
    tracing::info!(%tenant, class = row.class, release = row.release, "firmware approval published");
    Ok(HttpResponse::Created().json(FirmwareApproval { approval: row.file }))
}

fn point(pem: &str) -> Result<[u8; 65], ApiError> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok();
    der.and_then(|der| point_of_spki(&der)).ok_or_else(|| {
        ApiError::malformed(
            "the key was not understood",
            "it is no public key of P-256 in PEM",
            "give what `openssl pkey -in offline.pem -pubout` prints",
        )
    })
}

fn shown(row: &firmware_authority::FirmwareAuthority) -> FirmwareAuthority {
    FirmwareAuthority {
        class: row.class.clone(),
        key: row.key.clone(),
        fingerprint: row.fingerprint(),
        added_at_s: row.added_at_s,
    }
}
