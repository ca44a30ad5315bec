//! `/api/v1/tenants/{tenant}/policy`, `/pending`, `/measurements` and `/claims`: what a tenant asks of an enrolment, and
//! the devices that wait for a person.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path},
};
use data_encoding::HEXLOWER;
use muster_schemas::{
    DeviceId, TenantId,
    api::admission::{
        EnrolmentPolicy, HeldDevice, Holder, ListedClaim, Measured, Measurement, NewMeasurement,
        NoMeasurement, PolicyChange, Profile,
    },
};
use muster_tpm::endorsement::TpmClass;

use super::{Api, caller::Caller, error::ApiError};
use crate::registry::{
    self, AcceptedClasses,
    admissions::{
        claims::{ListClaims, RevokeClaim, claim_id},
        holding::{Decide, ListHeld, ShowProfile},
        measuring::{Accept, ListAccepted, RemoveAccepted, Source},
        policy::{SetPolicy, ShowTenant},
        row::{self, HeldReason, MeasurementMode, Registers},
    },
    message::ShowDevice,
};

pub(super) async fn policy(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<EnrolmentPolicy>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let tenant = api.registry(ShowTenant(tenant.into_inner())).await??;
    Ok(Json(shown_policy(&tenant)))
}

/// Only an operator lets simulated TPMs in, as when the tenant is created: they prove nothing, and stand beside real ones in
/// the hub's books.
pub(super) async fn set_policy(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<PolicyChange>,
) -> Result<Json<EnrolmentPolicy>, ApiError> {
    caller.operator_or_person(&tenant)?;
    let PolicyChange { tpm_classes, approve_claims, measurements, registers } = body.into_inner();
    let classes = tpm_classes.map(|names| classes_of(&names)).transpose()?;
    if classes.is_some_and(|classes| classes.simulated) {
        caller.operator()?;
    }
    let measurements = measurements.map(|word| mode_of(&word)).transpose()?;
    let tenant = tenant.into_inner();
    let command = SetPolicy { tenant, classes, approve_claims, measurements, registers };
    let tenant = api.registry(command).await??;
    let policy = shown_policy(&tenant);
    tracing::info!(tenant = %tenant.id, caller = %caller.principal(), ?policy, "enrolment policy set");
    Ok(Json(policy))
}

pub(super) async fn pending(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<HeldDevice>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let held = api.registry(ListHeld(tenant.clone())).await??;
    let mut shown = Vec::with_capacity(held.len());
    for device in held {
        shown.push(shown_held(&api, &tenant, device).await?);
    }
    Ok(Json(shown))
}

pub(super) async fn approve(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<HeldDevice>, ApiError> {
    decide(&api, &caller, path.into_inner(), true).await
}

pub(super) async fn deny(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<HeldDevice>, ApiError> {
    decide(&api, &caller, path.into_inner(), false).await
}

async fn decide(
    api: &Api,
    caller: &Caller,
    (tenant, device): (TenantId, DeviceId),
    approve: bool,
) -> Result<Json<HeldDevice>, ApiError> {
    caller.operator_or_person(&tenant)?;
    let held = api.registry(Decide { tenant: tenant.clone(), device, approve }).await??;
    tracing::info!(%tenant, device = %held.device, caller = %caller.principal(), decision = held.decision.as_str(),
        reason = %held.reason, "held device decided");
    Ok(Json(shown_held(api, &tenant, held).await?))
}

pub(super) async fn profile(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, DeviceId)>,
) -> Result<Json<Profile>, ApiError> {
    let (tenant, device) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let found = api.registry(ShowProfile { tenant, device }).await??;
    Ok(Json(Profile {
        device: found.device,
        name: found.name,
        serial_number: found.serial_number,
        mac: found.mac.map(|mac| mac.to_string()),
        measured: shown_measured(&found.measured),
    }))
}

pub(super) async fn measurements(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<Measurement>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let accepted = api.registry(ListAccepted(tenant.into_inner())).await??;
    Ok(Json(accepted.iter().map(shown_accepted).collect()))
}

pub(super) async fn accept(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewMeasurement>,
) -> Result<HttpResponse, ApiError> {
    caller.operator_or_person(&tenant)?;
    let NewMeasurement { label, device, only, registers } = body.into_inner();
    let source = match (device, registers) {
        (Some(device), None) => Source::Device(device, only),
        (None, Some(values)) if only.is_none() => Source::Values(registers_of(&values)?),
        _ => {
            let why = "it names neither a device nor the values of registers, or both";
            return Err(ApiError::malformed("nothing was accepted", why, "name one of them"));
        }
    };
    let accepted = api.registry(Accept { tenant: tenant.into_inner(), label, source }).await??;
    tracing::info!(tenant = %accepted.tenant, caller = %caller.principal(), label = accepted.label,
        "measurements accepted");
    Ok(HttpResponse::Created().json(shown_accepted(&accepted)))
}

pub(super) async fn remove_measurement(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NoMeasurement>,
) -> Result<HttpResponse, ApiError> {
    caller.operator_or_person(&tenant)?;
    let (tenant, NoMeasurement { label }) = (tenant.into_inner(), body.into_inner());
    api.registry(RemoveAccepted { tenant: tenant.clone(), label: label.clone() }).await??;
    tracing::info!(%tenant, caller = %caller.principal(), label, "measurements accepted no longer");
    Ok(HttpResponse::Ok().json(NoMeasurement { label }))
}

pub(super) async fn claims(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<Vec<ListedClaim>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let claims = api.registry(ListClaims(tenant.into_inner())).await??;
    Ok(Json(claims.iter().map(shown_claim).collect()))
}

pub(super) async fn revoke_claim(
    api: Data<Api>,
    caller: Caller,
    path: Path<(TenantId, String)>,
) -> Result<Json<ListedClaim>, ApiError> {
    let (tenant, id) = path.into_inner();
    caller.operator_or_member(&tenant)?;
    let revoked = api.registry(RevokeClaim { tenant: tenant.clone(), id }).await??;
    tracing::info!(%tenant, caller = %caller.principal(), claim = claim_id(&revoked), "claim revoked");
    Ok(Json(shown_claim(&revoked)))
}

fn classes_of(names: &[String]) -> Result<AcceptedClasses, ApiError> {
    let mut classes =
        AcceptedClasses { hardware: false, firmware: false, r#virtual: false, simulated: false };
    for name in names {
        let class = name.parse().map_err(|error| {
            let next = "name some of hardware, firmware, virtual, simulated";
            ApiError::malformed("the policy was not set", format!("failed to {error}"), next)
        })?;
        *match class {
            TpmClass::Hardware => &mut classes.hardware,
            TpmClass::Firmware => &mut classes.firmware,
            TpmClass::Virtual => &mut classes.r#virtual,
            TpmClass::Simulated => &mut classes.simulated,
            TpmClass::None => {
                let next = "name some of hardware, firmware, virtual, simulated; `muster tenant est` is for devices without";
                return Err(ApiError::malformed("the policy was not set", "`none` is no class of TPM", next));
            }
        } = true;
    }
    Ok(classes)
}

fn mode_of(word: &str) -> Result<MeasurementMode, ApiError> {
    let modes = [MeasurementMode::Off, MeasurementMode::Monitor, MeasurementMode::Enforce];
    modes.into_iter().find(|mode| mode.as_str() == word).ok_or_else(|| {
        let why = format!("{word:?} is no mode");
        ApiError::malformed("the policy was not set", why, "name one of off, monitor, enforce")
    })
}

fn registers_of(values: &BTreeMap<u8, String>) -> Result<Registers, ApiError> {
    let parsed = values.iter().map(|(index, text)| {
        let value = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok()?.try_into().ok()?;
        (*index < 24).then_some((*index, value))
    });
    parsed.collect::<Option<_>>().map(Registers).ok_or_else(|| {
        let why = "a register is above 23, or its value is not 64 hex digits";
        ApiError::malformed("nothing was accepted", why, "write {\"7\":\"<64 hex digits>\"}")
    })
}

fn shown_policy(tenant: &registry::Tenant) -> EnrolmentPolicy {
    let classes = [TpmClass::Hardware, TpmClass::Firmware, TpmClass::Virtual, TpmClass::Simulated];
    let accepted = classes.into_iter().filter(|class| tenant.tpm_classes.accepts(*class));
    EnrolmentPolicy {
        tenant: tenant.id.clone(),
        tpm_classes: accepted.map(|class| class.to_string()).collect(),
        approve_claims: tenant.policy.approve_claims,
        measurements: tenant.policy.measurements.as_str().to_owned(),
        registers: tenant.policy.registers.clone(),
    }
}

async fn shown_held(api: &Api, tenant: &TenantId, held: row::Held) -> Result<HeldDevice, ApiError> {
    let (reason, other) = match &held.reason {
        HeldReason::Claim => ("claim", None),
        HeldReason::Identity { holder, .. } => ("identity", holder.clone()),
        HeldReason::Measurements => ("measurements", None),
    };
    let holder = match other {
        None => None,
        Some(device) => {
            let show = ShowDevice { tenant: tenant.clone(), device: device.clone() };
            let known = api.registry(show).await?.ok();
            Some(Holder {
                device,
                ek_hash: known.as_ref().map(|known| HEXLOWER.encode(&known.ek_hash)),
                enrolled_at_s: known.as_ref().map(|known| known.enrolled_at_s),
                model: known.map(|known| known.model),
            })
        }
    };
    Ok(HeldDevice {
        device: held.device,
        ek_hash: HEXLOWER.encode(&held.ek_hash),
        tpm_class: held.class.to_string(),
        model: held.model,
        serial_number: held.serial_number,
        mac: held.mac.map(|mac| mac.to_string()),
        reason: reason.to_owned(),
        explanation: held.reason.to_string(),
        holder,
        decision: held.decision.as_str().to_owned(),
        measured: shown_measured(&held.measured),
        first_at_s: held.first_at_s,
        last_at_s: held.last_at_s,
    })
}

fn shown_registers(registers: &Registers) -> BTreeMap<u8, String> {
    registers.0.iter().map(|(index, value)| (*index, HEXLOWER.encode(value))).collect()
}

fn shown_measured(measured: &row::Measured) -> Measured {
    Measured {
        registers: shown_registers(&measured.registers),
        verdict: measured.verdict.to_string(),
        at_s: measured.at_s,
    }
}

fn shown_accepted(accepted: &row::Accepted) -> Measurement {
    Measurement {
        label: accepted.label.clone(),
        registers: shown_registers(&accepted.registers),
        accepted_at_s: accepted.accepted_at_s,
    }
}

fn shown_claim(claim: &registry::Claim) -> ListedClaim {
    ListedClaim {
        id: claim_id(claim),
        model: claim.model.clone(),
        expires_at_s: claim.expires_at_s,
        approve: claim.approve,
        used_by: claim.used_by.clone(),
    }
}
