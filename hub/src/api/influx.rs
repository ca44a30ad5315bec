//! `/api/v1/tenants/{tenant}/influx`: how far a tenant's telemetry has come on its way to InfluxDB. The tenant sees all of
//! it; an operator of the hub sees it without the lines that were refused, which are the tenant's.

use std::fmt::Write as _;

use actix_web::{
    http::StatusCode,
    web::{Data, Json, Path},
};
use muster_schemas::{
    TenantId,
    api::{InfluxLetter, InfluxStatus, InfluxTrouble},
};

use super::{Api, caller::Caller, error::ApiError};
use crate::influx::{Letter, Status};

pub(super) async fn status(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
) -> Result<Json<InfluxStatus>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let (Some(server), Some(status)) = (api.influx_server.as_ref(), api.influx.of(&tenant)) else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "influx_off",
            "there is nothing to tell",
            "no telemetry of the tenant is sent to an InfluxDB".to_owned(),
            "set [influx] in the hub's configuration, and put the tenant's token into its folder of tokens",
        ));
    };
    let with_letters = caller.member(&tenant).is_ok();
    Ok(Json(shown((server.url(), server.org()), status, with_letters)))
}

fn shown((url, org): (&str, &str), status: Status, with_letters: bool) -> InfluxStatus {
    let letter = |Letter { at_ms, letter }: Letter| InfluxLetter {
        at_s: at_ms / 1_000,
        lines: letter.lines as u64,
        series: letter.series,
        why: letter.why,
    };
    let letters = if with_letters { status.letters.into_iter().map(letter).collect() } else { Vec::new() };
    InfluxStatus {
        url: url.to_owned(),
        org: org.to_owned(),
        bucket: status.bucket,
        waiting_messages: status.waiting_records,
        waiting_bytes: status.waiting_bytes,
        oldest_s: status.oldest_ms.map(|ms| ms / 1_000),
        trouble: status.trouble.map(|(trouble, since_ms)| InfluxTrouble {
            code: trouble.as_str().to_owned(),
            what: trouble.to_string(),
            next: trouble.next().to_owned(),
            since_s: since_ms / 1_000,
        }),
        stored_s: status.stored_ms.map(|ms| ms / 1_000),
        readings: status.readings,
        sealed: status.sealed,
        requests: status.requests,
        failed: status.failed,
        refused: status.refused,
        given_up: status.given_up,
        damaged: status.damaged,
        letters,
    }
}

/// The numbers of all tenants that something is sent for, as `/metrics` shows them.
pub(super) fn metrics(text: &mut String, all: &[(TenantId, Status)], now_ms: u64) {
    type Number = fn(&Status, u64) -> u64;
    let numbers: [(&str, &str, Number); 10] = [
        ("waiting_messages", "gauge", |status, _| status.waiting_records),
        ("waiting_bytes", "gauge", |status, _| status.waiting_bytes),
        ("lag_seconds", "gauge", |status, now_ms| {
            status.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest) / 1_000)
        }),
        ("readings_total", "counter", |status, _| status.readings),
        ("sealed_total", "counter", |status, _| status.sealed),
        ("requests_total", "counter", |status, _| status.requests),
        ("failed_total", "counter", |status, _| status.failed),
        ("refused_total", "counter", |status, _| status.refused),
        ("given_up_total", "counter", |status, _| status.given_up),
        ("damaged_total", "counter", |status, _| status.damaged),
    ];
    if all.is_empty() {
        return;
    }
    for (name, kind, number) in numbers {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# TYPE muster_influx_{name} {kind}");
        for (tenant, status) in all {
            let _ = writeln!(text, "muster_influx_{name}{{tenant=\"{tenant}\"}} {}", number(status, now_ms));
        }
    }
    let _ = writeln!(text, "# TYPE muster_influx_trouble gauge");
    for (tenant, status) in all {
        if let Some((trouble, _)) = &status.trouble {
            let why = trouble.as_str();
            let _ = writeln!(text, "muster_influx_trouble{{tenant=\"{tenant}\",why=\"{why}\"}} 1");
        }
    }
}
