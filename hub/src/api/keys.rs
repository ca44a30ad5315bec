//! `/api/v1/tenants/{tenant}/keys`: which keys there are, and making them anew; a tenant's own key, brought and withdrawn;
//! `/api/v1/keys/root`; and what a tenant says of its sensitive fields.

use std::fmt::Write as _;

use actix_web::{
    http::StatusCode,
    web::{self, Data, Json, Path, ServiceConfig},
};
use muster_broker::store::{self, KeyStatus, RootStatus, Store, StoreError};
use muster_schemas::{
    TenantId,
    api::keys::{
        BringKey, KeyOrigin, Keys, RootKeyStatus, RotateKey, RotatedKey, SensitiveFields, SensitivePattern,
    },
};

use super::{Api, caller::Caller, error::ApiError, health::metric, life::governs, shred};
use crate::{
    causes::causes,
    key_command::parse_key,
    registry::{
        State,
        message::ListTenants,
        sensitive::{FieldPattern, SetSensitive, ShowSensitive},
    },
    root_key::RootKeyError,
};

/// The routes below a tenant stand in the scope of tenants, these beside it.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .route("/api/v1/keys/root", web::get().to(root))
        .route("/api/v1/keys/root/rotate", web::post().to(rotate_root));
}

/// The routes below a tenant.
pub(super) fn of_tenant() -> actix_web::Scope {
    web::scope("/{tenant}/keys")
        .route("", web::get().to(show))
        .route("/rotate", web::post().to(rotate))
        .route("/bring", web::post().to(bring))
        .route("/withdraw", web::post().to(withdraw))
        .route("/shred", web::post().to(shred::shred))
}

async fn show(api: Data<Api>, caller: Caller, tenant: Path<TenantId>) -> Result<Json<Keys>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let tenant = tenant.into_inner();
    let status = on_store(&api, &tenant, |store, tenant| store.key_status(tenant)).await?;
    Ok(Json(shown(tenant, status)))
}

async fn rotate(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<RotateKey>,
) -> Result<Json<Keys>, ApiError> {
    governs(&caller, &tenant)?;
    let (tenant, RotateKey { key }, now_s) = (tenant.into_inner(), body.into_inner(), api.now_s());
    let status = on_store(&api, &tenant, move |store, tenant| match key {
        RotatedKey::Tenant => store.rotate_tenant_key(tenant, now_s),
        RotatedKey::Data => store.rotate_data_keys(tenant),
    });
    let status = status.await?;
    tracing::info!(%tenant, by = %caller.principal(), ?key, generation = status.generation, "key made anew");
    Ok(Json(shown(tenant, status)))
}

async fn bring(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<BringKey>,
) -> Result<Json<Keys>, ApiError> {
    caller.owner(&tenant)?;
    let BringKey { key, keep } = body.into_inner();
    let text = zeroize::Zeroizing::new(key);
    let key = parse_key(text.as_bytes()).ok_or_else(|| {
        let next = "give what `muster key new FILE` writes";
        ApiError::malformed(
            "the key was not taken",
            "it has neither 64 hexadecimal digits nor base64 of 32 bytes",
            next,
        )
    })?;
    let (tenant, now_s) = (tenant.into_inner(), api.now_s());
    let status =
        on_store(&api, &tenant, move |store, tenant| store.bring_key(tenant, key, keep, now_s)).await?;
    let (by, generation) = (caller.principal(), status.generation);
    tracing::warn!(%tenant, %by, keep, generation, "the tenant brought its own key");
    let keys = api.store.tenant(&tenant).ok().flatten().ok_or_else(|| ApiError::unavailable("the store"))?;
    // Served anew if it was withdrawn; served already otherwise.
    api.bus.add_tenant(keys).map_err(|error| {
        let next = "add a hub";
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "full",
            "the tenant is not served",
            error.to_string(),
            next,
        )
    })?;
    Ok(Json(shown(tenant, status)))
}

async fn withdraw(api: Data<Api>, caller: Caller, tenant: Path<TenantId>) -> Result<Json<Keys>, ApiError> {
    caller.owner(&tenant)?;
    let tenant = tenant.into_inner();
    let status = on_store(&api, &tenant, |store, tenant| store.withdraw_key(tenant)).await?;
    api.bus.withdraw_tenant(&tenant);
    tracing::warn!(%tenant, by = %caller.principal(), "the tenant withdrew its key: nothing of it is read or stored");
    Ok(Json(shown(tenant, status)))
}

async fn root(api: Data<Api>, caller: Caller) -> Result<Json<RootKeyStatus>, ApiError> {
    caller.operator()?;
    Ok(Json(shown_root(api.store.root_status().map_err(refused)?)))
}

async fn rotate_root(api: Data<Api>, caller: Caller) -> Result<Json<RootKeyStatus>, ApiError> {
    caller.operator()?;
    let tenants: Vec<_> = api.registry(ListTenants).await?.into_iter().map(|tenant| tenant.id).collect();
    let (source, store, now_s) = (api.root_source.clone(), api.store.clone(), api.now_s());
    let status = web::block(move || source.rotate(&store, &tenants, now_s)).await;
    let status = status.map_err(|_| ApiError::unavailable("the store"))?.map_err(|error| match error {
        RootKeyError::Store(error) => refused(error),
        RootKeyError::NotOurs => ApiError::new(
            StatusCode::CONFLICT,
            "root_key_elsewhere",
            "the root key was not replaced",
            "a program gives it, and the hub does not make it",
            "make one there, set storage_key.previous_command to what gives the present one, and restart the hub",
        ),
        error => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "root_key",
            "the root key was not replaced",
            causes(&error),
            "look at the files in the data directory; the present root key is in place",
        ),
    })?;
    tracing::warn!(by = %caller.principal(), generation = status.generation, "the storage root key was replaced");
    Ok(Json(shown_root(status)))
}

pub(super) async fn sensitive(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<SensitiveFields>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let found = api.registry(ShowSensitive(tenant.into_inner())).await??;
    Ok(Json(shown_fields(found)))
}

pub(super) async fn set_sensitive(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<SensitiveFields>,
) -> Result<Json<SensitiveFields>, ApiError> {
    // What is sensitive is for the tenant to say, and not for who runs the hub.
    caller.owner(&tenant)?;
    let SensitiveFields { off, patterns } = body.into_inner();
    let patterns =
        patterns.into_iter().map(|SensitivePattern { fields, class }| FieldPattern { fields, class });
    let tenant = tenant.into_inner();
    let fields = crate::registry::sensitive::SensitiveFields {
        tenant: tenant.clone(),
        off,
        patterns: patterns.collect(),
    };
    fields.rules().map_err(|error| {
        let next = "see \"Sensitive fields\" in docs/security.md";
        ApiError::malformed("the rules were not taken", format!("failed to {error}"), next)
    })?;
    let set = api.registry(SetSensitive(fields)).await??;
    let (by, patterns) = (caller.principal(), set.patterns.len());
    tracing::info!(%tenant, %by, off = ?set.off, patterns, "sensitive fields were set");
    Ok(Json(shown_fields(set)))
}

/// Generation and age of every key, for Prometheus.
pub(super) async fn metrics(text: &mut String, api: &Api) {
    let Ok(tenants) = api.registry(ListTenants).await else { return };
    let now_s = api.now_s();
    let keys: Vec<_> = tenants
        .into_iter()
        .filter(|tenant| tenant.state != State::Retired)
        .filter_map(|tenant| {
            let status = api.store.key_status(&tenant.id).ok()?;
            let since = if status.made_at_s > 0 { status.made_at_s } else { tenant.created_at_s };
            Some((format!("{{tenant=\"{}\"}}", tenant.id), now_s.saturating_sub(since), status))
        })
        .collect();
    let each = |value: fn(u64, &KeyStatus) -> u64| {
        keys.iter().map(move |(label, age_s, status)| (label.clone(), value(*age_s, status)))
    };
    metric(text, "muster_tenant_key_generation", "gauge", each(|_, status| status.generation.into()));
    metric(text, "muster_tenant_key_age_seconds", "gauge", each(|age_s, _| age_s));
    metric(text, "muster_tenant_key_withdrawn", "gauge", each(|_, status| status.is_withdrawn.into()));
    metric(text, "muster_tenant_data_keys", "gauge", each(|_, status| status.data_keys_stored as u64));
    let _ = writeln!(text, "# TYPE muster_data_key_epoch gauge");
    for (label, _, status) in &keys {
        for (purpose, epoch) in status.data_keys.iter().filter(|(_, epoch)| **epoch > 0) {
            let label = label.trim_end_matches('}');
            let _ = writeln!(text, "muster_data_key_epoch{label},purpose=\"{}\"}} {epoch}", purpose.as_str());
        }
    }
    if let Ok(RootStatus { generation, made_at_s }) = api.store.root_status() {
        metric(text, "muster_root_key_generation", "gauge", [(String::new(), generation.into())]);
        if made_at_s > 0 {
            let age_s = now_s.saturating_sub(made_at_s);
            metric(text, "muster_root_key_age_seconds", "gauge", [(String::new(), age_s)]);
        }
    }
}

/// Lets the store do what blocks, where it holds up nobody.
pub(super) async fn on_store<T: Send + 'static>(
    api: &Api,
    tenant: &TenantId,
    work: impl FnOnce(&Store, &TenantId) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let (store, tenant) = (api.store.clone(), tenant.clone());
    let done = web::block(move || work(&store, &tenant)).await;
    done.map_err(|_| ApiError::unavailable("the store"))?.map_err(refused)
}

/// What the store did not do.
pub(super) fn refused(error: StoreError) -> ApiError {
    let (status, code, next) = match &error {
        StoreError::TenantUnknown(tenant) => return ApiError::tenant_unknown(tenant),
        StoreError::Withdrawn { .. } => {
            (StatusCode::LOCKED, "key_withdrawn", "let a user of the tenant give it back: `muster key bring`")
        }
        StoreError::NotOwnKey(_) => {
            (StatusCode::CONFLICT, "key_not_own", "bring one first: `muster key bring`")
        }
        StoreError::OtherOwnKey(_) => {
            (StatusCode::CONFLICT, "key_other", "bring the key that was withdrawn; no other opens anything")
        }
        StoreError::Shredded(_) => (StatusCode::GONE, "shredded", "there is no way back"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "store", "look at the hub's log, and try again"),
    };
    ApiError::new(
        status,
        code,
        "the keys were left as they are",
        format!("failed to {}", causes(&error)),
        next,
    )
}

fn shown(tenant: TenantId, status: KeyStatus) -> Keys {
    Keys {
        tenant,
        key_id: status.key_id,
        generation: status.generation,
        made_at_s: status.made_at_s,
        origin: match status.origin {
            store::KeyOrigin::Hub => KeyOrigin::Hub,
            store::KeyOrigin::Tenant { kept: true } => KeyOrigin::Tenant,
            store::KeyOrigin::Tenant { kept: false } => KeyOrigin::TenantNotKept,
        },
        withdrawn: status.is_withdrawn,
        data_keys: status.data_keys.iter().map(|(key, epoch)| (key.as_str().to_owned(), *epoch)).collect(),
        data_keys_stored: status.data_keys_stored,
    }
}

fn shown_root(RootStatus { generation, made_at_s }: RootStatus) -> RootKeyStatus {
    RootKeyStatus { generation, made_at_s }
}

fn shown_fields(fields: crate::registry::sensitive::SensitiveFields) -> SensitiveFields {
    let patterns = fields.patterns.into_iter();
    let patterns = patterns.map(|FieldPattern { fields, class }| SensitivePattern { fields, class });
    SensitiveFields { off: fields.off, patterns: patterns.collect() }
}
