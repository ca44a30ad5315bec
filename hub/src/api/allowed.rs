//! `/api/v1/tenants/{tenant}/allowed`: the chips that may enrol without a claim. What a manifest says comes as text, is
//! parsed here, and each row gets its report.

use actix_web::{
    HttpResponse, Resource,
    http::StatusCode,
    web::{self, Data, Json, JsonConfig, Path, Query},
};
use data_encoding::HEXLOWER;
use muster_schemas::{
    TenantId,
    api::admission::{Allowed, AllowedRow, NewAllowed, NotAllowed, RowReport},
};
use serde::Deserialize;

use super::{Api, caller::Caller, error, error::ApiError};
use crate::{
    limits::API_LIST_BYTES_MAX,
    registry::{
        admissions::{
            listing::{List, ListOutcome, ListedChips, Unlist},
            row::{ChipName, Listed},
        },
        limits::LISTED_ROWS_MAX,
    },
};

/// Longest serial number of a certificate, in bytes (RFC 5280 §4.1.2.2).
const CERTIFICATE_SERIAL_BYTES_MAX: usize = 20;

/// The list, and what is put on it: a body of its own size.
pub(super) fn resource() -> Resource {
    let body = JsonConfig::default().limit(API_LIST_BYTES_MAX).error_handler(error::malformed_body);
    web::resource("/{tenant}/allowed").app_data(body).route(web::get().to(show)).route(web::post().to(list))
}

/// The parameters of `show`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    /// Only those after this chip.
    after: Option<String>,
}

async fn show(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<ShowQuery>,
) -> Result<Json<Vec<Allowed>>, ApiError> {
    caller.operator_or_member(&tenant)?;
    let after = query.into_inner().after.map(|text| chip_name(&text)).transpose()?;
    let page = api.registry(ListedChips { tenant: tenant.into_inner(), after }).await??;
    Ok(Json(page.into_iter().map(shown).collect()))
}

/// Numbers of certificates follow one another, so that whoever lists by them can list his neighbour's: only the operator,
/// who has seen the delivery, does.
async fn list(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NewAllowed>,
) -> Result<Json<Vec<RowReport>>, ApiError> {
    let (tenant, NewAllowed { rows, dry_run }) = (tenant.into_inner(), body.into_inner());
    caller.operator_or_person(&tenant)?;
    if rows.len() > LISTED_ROWS_MAX {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "rows",
            "the list was not read",
            format!("it has {} rows, more than {LISTED_ROWS_MAX}", rows.len()),
            "send it in parts, as `muster device import` does",
        ));
    }
    let by_number = rows.iter().any(|row| row.certificate_serial.is_some());
    if by_number && caller.operator().is_err() {
        return Err(ApiError::forbidden(
            "only an operator lists chips by the numbers of their certificates, which anybody can guess",
            "list them by ek_hash, or ask an operator of the hub",
        ));
    }
    let now_s = api.now_s();
    let parsed: Vec<(u64, Result<Listed, String>)> =
        rows.into_iter().map(|row| (row.line, listed(&tenant, now_s, row))).collect();
    let rows = parsed.iter().filter_map(|(_, row)| row.clone().ok()).collect();
    let mut outcomes = api.registry(List { tenant: tenant.clone(), rows, dry_run }).await??.into_iter();
    let reports: Vec<RowReport> = parsed
        .into_iter()
        .map(|(line, row)| match row {
            Ok(_) => report(line, outcomes.next().unwrap_or(ListOutcome::Full)),
            Err(reason) => RowReport { line, outcome: "malformed".to_owned(), reason },
        })
        .collect();
    let accepted = reports.iter().filter(|report| report.reason.is_empty()).count();
    tracing::info!(%tenant, caller = %caller.principal(), rows = reports.len(), accepted, dry_run, "chips listed");
    Ok(Json(reports))
}

pub(super) async fn remove(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    body: Json<NotAllowed>,
) -> Result<HttpResponse, ApiError> {
    caller.operator_or_person(&tenant)?;
    let (tenant, chip) = (tenant.into_inner(), chip_name(&body.chip)?);
    let removed = api.registry(Unlist { tenant: tenant.clone(), chip }).await??;
    tracing::info!(%tenant, caller = %caller.principal(), chip = %removed.chip, "chip taken off the list");
    Ok(HttpResponse::Ok().json(shown(removed)))
}

fn chip_name(text: &str) -> Result<ChipName, ApiError> {
    text.parse().map_err(|error| {
        let next = "name it as `muster device allowed` does";
        ApiError::malformed("the chip was not found", format!("{text:?} {error}"), next)
    })
}

fn listed(tenant: &TenantId, now_s: u64, row: AllowedRow) -> Result<Listed, String> {
    let AllowedRow { ek_hash, issuer, certificate_serial, class, model, name, serial_number, mac, .. } = row;
    let chip = match (ek_hash, issuer, certificate_serial) {
        (Some(hash), None, None) => ChipName::EkHash(hash_of("ek_hash", &hash)?),
        (None, Some(issuer), Some(serial)) => {
            let serial = serial_of(&serial)?;
            ChipName::certificate(hash_of("issuer", &issuer)?, &serial)
        }
        _ => return Err("names the chip neither by ek_hash nor by issuer and certificate_serial".to_owned()),
    };
    Ok(Listed {
        chip,
        tenant: tenant.clone(),
        class: class.map(|text| text.parse().map_err(|e| format!("failed to {e}"))).transpose()?,
        model,
        name: name.map(|text| text.parse().map_err(|e| format!("name {text:?} {e}"))).transpose()?,
        serial_number,
        mac: mac.map(|text| text.parse().map_err(|e| format!("mac {text:?} {e}"))).transpose()?,
        listed_at_s: now_s,
    })
}

fn hash_of(column: &str, text: &str) -> Result<[u8; 32], String> {
    let bytes = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("{column} is not 64 hex digits"))
}

/// A number as tools print it: with or without colons, in either case, with an odd number of digits.
fn serial_of(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "certificate_serial is not 1 to 40 hex digits".to_owned();
    let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
    let bytes = HEXLOWER.decode(even.as_bytes()).map_err(|_| wrong())?;
    let fits = !bytes.is_empty() && bytes.len() <= CERTIFICATE_SERIAL_BYTES_MAX + 1;
    if fits { Ok(bytes) } else { Err(wrong()) }
}

fn report(line: u64, outcome: ListOutcome) -> RowReport {
    let (outcome, reason) = match outcome {
        ListOutcome::Accepted => ("accepted", String::new()),
        ListOutcome::Updated => ("updated", String::new()),
        ListOutcome::Duplicate => ("duplicate", String::new()),
        ListOutcome::Taken => {
            ("taken", "the chip belongs to somebody else on this hub, or is on their list".to_owned())
        }
        ListOutcome::Conflict(identity) => {
            ("conflict", format!("{identity} is that of another chip on the list"))
        }
        ListOutcome::Malformed(reason) => ("malformed", reason.to_owned()),
        ListOutcome::Full => ("full", "the list has as many chips as it may".to_owned()),
    };
    RowReport { line, outcome: outcome.to_owned(), reason }
}

fn shown(listed: Listed) -> Allowed {
    Allowed {
        chip: listed.chip.to_string(),
        class: listed.class.map(|class| class.to_string()),
        model: listed.model,
        name: listed.name,
        serial_number: listed.serial_number,
        mac: listed.mac.map(|mac| mac.to_string()),
        listed_at_s: listed.listed_at_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(change: impl FnOnce(&mut AllowedRow)) -> Result<Listed, String> {
        let mut row = AllowedRow { line: 2, ek_hash: Some("0a".repeat(32)), ..AllowedRow::default() };
        change(&mut row);
        listed(&"acme".parse().expect("id"), 1, row)
    }

    #[test]
    fn a_row_of_a_manifest_is_read_as_vendors_write_it() {
        assert_eq!(parse(|_| ()).expect("read").chip, ChipName::EkHash([10; 32]));
        let by_certificate = |serial: &'static str| {
            parse(|row| {
                row.ek_hash = None;
                row.issuer = Some("0B".repeat(32));
                row.certificate_serial = Some(serial.to_owned());
            })
        };
        let chip = ChipName::certificate([11; 32], &[0x0a, 0xbc]);
        for serial in ["0A:BC", "abc", "000abc", "0abc"] {
            assert_eq!(by_certificate(serial).expect("read").chip, chip, "{serial}");
        }
        for serial in ["", "xyz", &"aa".repeat(22)] {
            let serial = serial.to_owned().leak();
            assert!(by_certificate(serial).is_err(), "{serial}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_row_is_named() {
        for (change, reason) in [
            ((|row| row.ek_hash = None) as fn(&mut AllowedRow), "names the chip neither"),
            (|row| row.issuer = Some("0b".repeat(32)), "names the chip neither"),
            (|row| row.ek_hash = Some("0a".to_owned()), "ek_hash is not 64 hex digits"),
            (|row| row.class = Some("best".to_owned()), "read the TPM class"),
            (|row| row.name = Some("../etc".to_owned()), "name \"../etc\""),
            (|row| row.mac = Some("02:00".to_owned()), "mac \"02:00\""),
        ] {
            let found = parse(change).expect_err("refused");
            assert!(found.contains(reason), "{found}");
        }
    }
}
