//! `/api/v1/tenants/{tenant}/devices/{device}/{command}`, and the same of apps, users and tenants: what takes rights away
//! and gives them back. Every command may be sent twice; the log says who sent it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    FromRequest as _, HttpRequest, ResponseError as _,
    dev::Payload,
    http::StatusCode,
    web::{Data, Json, Path},
};
use data_encoding::HEXLOWER_PERMISSIVE;
use muster_schemas::{
    DeviceId, Kind, TenantId,
    api::{
        Tenant,
        life::{ClientChanged, DeviceChanged, LifeCommand, Precautions},
    },
};
use tokio::time::sleep;

use super::{Api, caller::Caller, devices, error::ApiError, people::Many, tenants};
use crate::{
    limits::{RIGHTS_LOOK_TIME, WHY_BYTES_MAX},
    registry::{
        self, ClientKind, RevocationReason,
        life::{ChangeClient, ChangeDevice, ChangeTenant, ClientChange, DeviceChange},
    },
};

pub(super) async fn device(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId, String)>,
    body: Json<LifeCommand>,
) -> Result<Json<DeviceChanged>, ApiError> {
    let (tenant, device, command) = path.into_inner();
    governs(&caller, &tenant)?;
    let (change, why) = device_change(&command, body.into_inner())?;
    let verb = change.as_str();
    let by = (caller.principal().to_string(), caller.operator().is_ok());
    let command =
        ChangeDevice { tenant: tenant.clone(), device: device.clone(), change, by, why: why.clone() };
    let registry::life::Changed { device: row, changed } = api.registry(command).await??;
    tracing::info!(%tenant, %device, by = %caller.principal(), command = verb, changed, why,
        serial = %row.certificate.serial, "command on a device");
    Ok(Json(DeviceChanged { device: devices::shown(&row), changed }))
}

pub(super) async fn client(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, Many, DeviceId, String)>,
    body: Json<LifeCommand>,
) -> Result<Json<ClientChanged>, ApiError> {
    let (tenant, kind, id, command) = path.into_inner();
    let kind = ClientKind::from(kind);
    let body = body.into_inner();
    governs(&caller, &tenant)?;
    let own = caller.principal();
    if own.tenant == tenant && own.kind == kind.kind() && own.id == id {
        let next = "let another operator or user do it";
        return Err(ApiError::forbidden("nobody takes their own rights away", next));
    }
    let LifeCommand { why, reason, compromised_since_s, with } = body;
    if with.is_some() {
        return Err(malformed("`with` is for replacing a device"));
    }
    let why = words(why)?;
    let change = match command.as_str() {
        "suspend" => ClientChange::Suspend,
        "resume" => ClientChange::Resume,
        "revoke" => ClientChange::Revoke { reason: reason_of(reason)?, compromised_since_s },
        other => return Err(unknown(other, "suspend, resume, revoke")),
    };
    let command = ChangeClient { tenant: tenant.clone(), kind, id: id.clone(), change };
    let (row, changed) = api.registry(command).await??;
    tracing::info!(%tenant, kind = %kind.kind(), %id, by = %caller.principal(), command = change.as_str(), changed, why,
        serial = %row.certificate.serial, "command on an app or user");
    let state = tenants::state(row.state);
    Ok(Json(ClientChanged { kind: kind.kind().to_string(), id, state, changed }))
}

pub(super) async fn tenant(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, String)>,
    body: Json<LifeCommand>,
) -> Result<Json<Tenant>, ApiError> {
    caller.operator()?;
    let (tenant, command) = path.into_inner();
    let why = words(body.into_inner().why)?;
    let active = match command.as_str() {
        "suspend" => false,
        "resume" => true,
        other => return Err(unknown(other, "suspend, resume")),
    };
    let change = ChangeTenant { tenant: tenant.clone(), active: Some(active), precautions: None };
    let (row, changed) = api.registry(change).await??;
    if active {
        api.bus.bar_tenant(&tenant, false);
    }
    tracing::info!(%tenant, by = %caller.principal(), command, changed, why, "command on a tenant");
    Ok(Json(tenants::shown(&row)))
}

pub(super) async fn precautions(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<Precautions>,
) -> Result<Json<Tenant>, ApiError> {
    governs(&caller, &tenant)?;
    let Precautions { suspend_clones, approve_cleared } = body.into_inner();
    let precautions = Some(registry::life::Precautions { suspend_clones, approve_cleared });
    let tenant = tenant.into_inner();
    let change = ChangeTenant { tenant: tenant.clone(), active: None, precautions };
    let (row, changed) = api.registry(change).await??;
    tracing::info!(%tenant, by = %caller.principal(), suspend_clones, approve_cleared, changed, "precautions of a tenant");
    Ok(Json(tenants::shown(&row)))
}

/// Whether the caller may take rights away in the tenant and give them back: an operator, or a person of the tenant. Its
/// apps may not.
pub(super) fn governs(caller: &Caller, tenant: &TenantId) -> Result<(), ApiError> {
    caller.operator_or_member(tenant)?;
    if caller.operator().is_ok() || caller.principal().kind == Kind::User {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "only an operator of the hub or a user of the tenant may do this",
        "call with the identity of a person",
    ))
}

fn device_change(command: &str, body: LifeCommand) -> Result<(DeviceChange, String), ApiError> {
    let LifeCommand { why, reason, compromised_since_s, with } = body;
    let revokes = reason.is_some() || compromised_since_s.is_some();
    if (revokes && command != "revoke") || (with.is_some() != (command == "replace")) {
        let why = "`reason` and `compromised_since_s` are for revoking, and `with` for replacing";
        return Err(malformed(why));
    }
    let change = match command {
        "suspend" => DeviceChange::Suspend,
        "resume" => DeviceChange::Resume,
        "retire" => DeviceChange::Retire,
        "release" => DeviceChange::Release,
        "revoke" => DeviceChange::Revoke { reason: reason_of(reason)?, compromised_since_s },
        "replace" => {
            let bytes = HEXLOWER_PERMISSIVE.decode(with.unwrap_or_default().as_bytes()).ok();
            let with = bytes.and_then(|bytes| bytes.try_into().ok());
            DeviceChange::Replace { with: with.ok_or_else(|| malformed("`with` is not 64 hex digits"))? }
        }
        other => return Err(unknown(other, "suspend, resume, revoke, retire, replace, release")),
    };
    Ok((change, words(why)?))
}

fn reason_of(reason: Option<String>) -> Result<RevocationReason, ApiError> {
    let reason = reason.map_or(Ok(RevocationReason::Unspecified), |text| text.parse());
    reason.map_err(|error| malformed(&format!("`reason` {error}")))
}

fn words(why: Option<String>) -> Result<String, ApiError> {
    let why = why.unwrap_or_default();
    if why.len() > WHY_BYTES_MAX || why.chars().any(char::is_control) {
        return Err(malformed(&format!(
            "`why` is longer than {WHY_BYTES_MAX} bytes, or has control characters"
        )));
    }
    Ok(why)
}

fn malformed(why: &str) -> ApiError {
    ApiError::malformed("the command was not understood", why, "see docs/api.md")
}

fn unknown(command: &str, known: &str) -> ApiError {
    let why = format!("there is no command {command:?}");
    ApiError::malformed("the command was not understood", why, &format!("use one of {known}"))
}

/// Becomes ready when somebody may not act any longer: what streams to them has to end then. A registry that is being
/// restarted says nothing about anybody.
pub(super) struct Watched(Pin<Box<dyn Future<Output = ApiError>>>);

impl Watched {
    /// Looks at who made this request, again and again.
    pub(super) fn new(request: HttpRequest) -> Self {
        Self(Box::pin(async move {
            loop {
                sleep(RIGHTS_LOOK_TIME).await;
                if let Err(error) = Caller::from_request(&request, &mut Payload::None).await
                    && error.status_code() != StatusCode::SERVICE_UNAVAILABLE
                {
                    return error;
                }
            }
        }))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ApiError> {
        self.0.as_mut().poll(cx)
    }
}

const _: () = assert!(
    RIGHTS_LOOK_TIME.as_millis() <= Duration::from_secs(3).as_millis(),
    "within five seconds, whatever the registry is doing"
);
