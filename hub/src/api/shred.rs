//! `POST /api/v1/tenants/{tenant}/keys/shred`: destroys the keys of a tenant, and gives a signed report of it.
//!
//! Who signs has a key that lives as long as this call; the software authority says whose it was.

use actix_web::web::{Data, Json, Path};
use data_encoding::BASE64;
use muster_broker::store::Shredding;
use muster_schemas::{
    Kind, Principal, TenantId,
    api::keys::{DestroyedKey, Shred, ShredReport, SignedShredReport},
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};

use super::{Api, caller::Caller, error::ApiError, keys::on_store};
use crate::{
    authority::{Authority, AuthorityError, PublicKey, Role},
    keyring::pem,
    limits::YEAR_S,
    registry::shredded::{ForgetTenant, RetireTenant},
};

/// What every report says it is.
const KIND: &str = "muster/shredded/1";
/// The name in the signer's certificate.
const SIGNER: &str = "shred-report";

pub(super) async fn shred(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<Shred>,
) -> Result<Json<SignedShredReport>, ApiError> {
    caller.operator()?;
    let tenant = tenant.into_inner();
    if body.confirm != tenant {
        let why = "`confirm` names another tenant than the path";
        return Err(ApiError::malformed(
            "nothing was destroyed",
            why,
            "name the tenant twice: there is no way back",
        ));
    }
    // First it ceases to be served: what is under way is refused, and its sessions are told.
    api.registry(RetireTenant(tenant.clone())).await??;
    api.bus.withdraw_tenant(&tenant);
    let now_s = api.now_s();
    let shredding = on_store(&api, &tenant, move |store, tenant| store.shred_tenant(tenant, now_s)).await?;
    let software =
        api.signers.of(Role::Software).ok_or_else(|| ApiError::unavailable("the software authority"))?;
    // What breaks off here is done when it is asked for again.
    let mut forgotten = 0;
    loop {
        match api.registry(ForgetTenant(tenant.clone())).await?? {
            0 => break,
            rows => forgotten += rows as u64,
        }
    }
    let report = report(&api, shredding, forgotten, now_s);
    tracing::warn!(%tenant, by = %caller.principal(), keys = report.destroyed.len(), proved = report.proved,
        "ALARM: the keys of a tenant were destroyed");
    let signed = sign(software, &report, now_s).map_err(|error| {
        tracing::error!(%error, "failed to sign the report of a shredding; ask for it again");
        ApiError::unavailable("the software authority")
    })?;
    Ok(Json(signed))
}

fn report(api: &Api, shredding: Shredding, registry_rows_removed: u64, now_s: u64) -> ShredReport {
    let proved = shredding.is_proved();
    let Shredding { tenant, at_s, destroyed, purged, rows_removed, sample_opened_before, sample_opens } =
        shredding;
    let shown =
        |paths: Vec<std::path::PathBuf>| paths.iter().map(|path| path.display().to_string()).collect();
    ShredReport {
        kind: KIND.to_owned(),
        trust_domain: api.trust.trust_domain().to_string(),
        tenant,
        destroyed_at_s: at_s,
        reported_at_s: now_s,
        destroyed: destroyed
            .into_iter()
            .map(|key| DestroyedKey { kind: key.kind, epoch: key.epoch, key_id: key.key_id })
            .collect(),
        files_searched: purged.files,
        bytes_searched: purged.bytes,
        files_removed: shown(purged.removed),
        still_found_in: shown(purged.found_in),
        rows_removed,
        registry_rows_removed,
        sample_opened_before,
        sample_opens,
        proved,
    }
}

fn sign(software: &Authority, report: &ShredReport, now_s: u64) -> Result<SignedShredReport, AuthorityError> {
    let report = serde_json::to_string(report).map_err(|_| AuthorityError::Random)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let public = PublicKey::from_sec1(key.der_bytes()).map_err(|_| AuthorityError::Random)?;
    let signer = Principal {
        trust_domain: software.trust_domain().clone(),
        tenant: Principal::operator_tenant(),
        kind: Kind::Software,
        id: SIGNER.parse().unwrap_or_else(|_| unreachable!("the constant is a label")),
    };
    let issued = software.issue_principal(&public, &signer, now_s, YEAR_S)?;
    let signature = key.sign(report.as_bytes())?;
    Ok(SignedShredReport {
        report,
        signature: BASE64.encode(&signature),
        chain: pem(&[issued.certificate, software.certificate()]),
    })
}
