//! `/api/v1/tenants/{t}/firmware/authorities`: who approves firmware of a tenant's device classes.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use muster_schemas::{
    TenantId,
    api::{FirmwareAuthority, NewFirmwareAuthority},
};
use muster_tpm::policy::point_of_spki;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::{Api, caller::Caller, error::ApiError};
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
