//! `/health` and `/metrics`: for load balancers, and for the operator's Prometheus.

use std::fmt::Write as _;

use actix_web::{HttpResponse, http::header, web::Data};
use muster_broker::store;
use muster_schemas::api::Health;

use super::{Api, caller::Caller, error::ApiError, keys};
use crate::{
    enrolment::Counted,
    registry::{AlarmKind, alarm::CountAlarms},
};

/// The process runs.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// It can serve: what it is asked to keep, it can store.
pub(super) async fn ready(api: Data<Api>) -> HttpResponse {
    match api.store.health() {
        store::Health::Writable => HttpResponse::Ok().json(Health { status: "ok".to_owned() }),
        store::Health::DiskFull { .. } => {
            not_ready("the disk is full; free some space, and it goes on by itself")
        }
        store::Health::Failed(why) => not_ready(&format!("the store failed: {why}; restart the hub")),
    }
}

fn not_ready(why: &str) -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(Health { status: why.to_owned() })
}

/// Every counter in the text format of Prometheus, tenants by label.
pub(super) async fn metrics(api: Data<Api>, caller: Caller) -> Result<HttpResponse, ApiError> {
    caller.operator()?;
    let mut text = String::new();
    for (name, kind, value) in api.bus.listener_counters().samples() {
        metric(&mut text, name, kind, [(String::new(), value)]);
    }
    let tenants = api.bus.tenant_counters();
    let samples: Vec<_> = tenants.iter().map(|(tenant, counters)| (tenant, counters.samples())).collect();
    let names = samples.first().map(|(_, samples)| samples.as_slice()).unwrap_or_default();
    for (index, (name, kind, _)) in names.iter().enumerate() {
        let values = samples.iter().filter_map(|(tenant, samples)| {
            let (_, _, value) = samples.get(index)?;
            Some((format!("{{tenant=\"{tenant}\"}}"), *value))
        });
        metric(&mut text, name, kind, values);
    }
    let Counted { begun, challenged, issued, renewed, cleared, held, timed_out, refused } =
        api.enrolment.counted();
    for (name, value) in [
        ("muster_enrolments_begun_total", begun),
        ("muster_enrolments_challenged_total", challenged),
        ("muster_enrolments_issued_total", issued),
        ("muster_enrolments_renewed_total", renewed),
        ("muster_enrolments_cleared_total", cleared),
        ("muster_enrolments_held_total", held),
        ("muster_enrolments_timed_out_total", timed_out),
    ] {
        metric(&mut text, name, "counter", [(String::new(), value)]);
    }
    let refused = refused.into_iter().map(|(code, value)| (format!("{{code=\"{code}\"}}"), value));
    metric(&mut text, "muster_enrolments_refused_total", "counter", refused);
    let harvested = api.harvested.counted();
    for (name, value) in [
        ("muster_telemetry_messages_total", harvested.messages),
        ("muster_telemetry_readings_total", harvested.readings),
        ("muster_telemetry_log_damaged_total", harvested.damaged),
        ("muster_telemetry_failed_total", harvested.failed),
    ] {
        metric(&mut text, name, "counter", [(String::new(), value)]);
    }
    let rejected = harvested.rejected.into_iter().map(|(why, value)| (format!("{{why=\"{why}\"}}"), value));
    metric(&mut text, "muster_telemetry_rejected_total", "counter", rejected);
    let denied = api.known.denied();
    let denied = denied.into_iter().flat_map(|(tenant, counted)| {
        counted.map(|(what, value)| (format!("{{tenant=\"{tenant}\",what=\"{}\"}}", what.as_str()), value))
    });
    metric(&mut text, "muster_rules_kept_back_total", "counter", denied);
    super::influx::metrics(&mut text, &api.influx.all(), api.clock.unix_ms());
    let alarms = api.registry(CountAlarms).await.unwrap_or_default();
    let label = |kind: &AlarmKind| format!("{{kind=\"{kind}\"}}");
    let standing = alarms.iter().map(|(kind, standing, _)| (label(kind), *standing));
    metric(&mut text, "muster_alarms_standing", "gauge", standing);
    let raised = alarms.iter().map(|(kind, _, raised)| (label(kind), *raised));
    metric(&mut text, "muster_alarms_raised_total", "counter", raised);
    keys::metrics(&mut text, &api).await;
    let stats = api.store.stats();
    let dropped = crate::log::lines_dropped();
    metric(&mut text, "muster_log_lines_dropped_total", "counter", [(String::new(), dropped)]);
    metric(&mut text, "muster_store_batches_total", "counter", [(String::new(), stats.batches)]);
    metric(&mut text, "muster_store_commits_total", "counter", [(String::new(), stats.commits)]);
    metric(&mut text, "muster_store_refused_total", "counter", [(String::new(), stats.refused)]);
    metric(&mut text, "muster_store_bytes_total", "counter", [(String::new(), stats.bytes)]);
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4")).body(text))
}

pub(super) fn metric(
    text: &mut String,
    name: &str,
    kind: &str,
    values: impl IntoIterator<Item = (String, u64)>,
) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
