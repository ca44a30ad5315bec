//! `device why` and `can`: the hub's refusals and rules, in words.

use clap::{Args, ValueEnum};
use muster_schemas::{
    DeviceId, TenantId,
    api::{self, RefusalSeen},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    table::{self, printable},
    time::{When, shown_f64, shown_s},
};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Its tenant; an operator may leave it out, and asks about chips that no tenant has, too.
    #[arg(long, short)]
    tenant: Option<TenantId>,
    /// Its id, or the SHA-256 of its endorsement key.
    device: DeviceId,
}

pub(super) fn why(command: Why, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Why { tenant, device } = command;
    let what = format!("explain the device {device}");
    let own = &call.identity.principal.tenant;
    let path = match tenant.or_else(|| (own.as_str() != "operator").then(|| own.clone())) {
        Some(tenant) => format!("/api/v1/tenants/{tenant}/devices/{device}/why"),
        None => format!("/api/v1/devices/{device}/why"),
    };
    let found: api::Why = call.hub.get(&what, &path, &[])?;
    if call.output == Output::Json {
        return call.json(&found);
    }
    let tenant = found.tenant.as_ref().map_or("none: it is not registered".to_owned(), ToString::to_string);
    let mut lines = vec![
        ("device", found.device.to_string()),
        ("tenant", tenant),
        ("sessions", found.sessions.to_string()),
    ];
    lines.extend(found.certificate_expires_at_s.map(|at_s| ("expires", shown_s(at_s))));
    lines.extend([("code", found.code), ("cause", found.cause), ("next", found.next)]);
    for (name, value) in lines {
        writeln!(call.out, "{name:<12} {}", printable(&value))?;
    }
    writeln!(call.out)?;
    let since = shown_f64(found.since_ms as f64 / 1_000.0);
    let nothing = format!("nothing was refused since {since}, when the hub started");
    let rows: Vec<_> = found.refusals.iter().map(|refusal| row(refusal, found.let_in_ms)).collect();
    table::write(call.out, ["LAST", "STAGE", "CODE", "TIMES", "PEER", "WHO", "WHY"], &rows, &nothing)?;
    Ok(Exit::Ok)
}

fn row(refusal: &RefusalSeen, let_in_ms: Option<u64>) -> [String; 7] {
    let RefusalSeen { stage, code, reason, peer, proved, last_ms, times, .. } = refusal;
    let is_past = let_in_ms.is_some_and(|let_in_ms| *last_ms < let_in_ms);
    [
        shown_f64(*last_ms as f64 / 1_000.0),
        stage.clone(),
        code.clone(),
        times.to_string(),
        peer.clone().unwrap_or_else(|| "-".to_owned()),
        if *proved { "the device" } else { "who gave its name" }.to_owned(),
        if is_past { format!("(past) {reason}") } else { reason.clone() },
    ]
}

#[derive(Debug, Args)]
pub(super) struct Can {
    #[command(flatten)]
    of: OfTenant,
    /// Who, such as device/<id>, app/<id> or user/<id>.
    who: String,
    /// What it wants.
    verb: Verb,
    /// The topic to publish to, or the filter to subscribe to; to view, a device and one of its streams, such as
    /// pump-7/climate.
    #[arg(required_if_eq_any([("verb", "publish"), ("verb", "subscribe"), ("verb", "view")]))]
    what: Option<String>,
    /// When what is to be viewed was captured: a time such as 2026-02-01T12:00:00Z, or how long ago, such as 31d.
    #[arg(long, value_name = "TIME")]
    captured: Option<When>,
}

/// What somebody may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    /// Open a session on the bus.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Subscribe to a filter.
    Subscribe,
    /// Read the tenant's data over the API.
    Read,
    /// Be shown telemetry, by the tenant's access rules.
    View,
    /// List what the tenant has over the API.
    List,
    /// Administer the hub over the API.
    Administer,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Read => "read",
            Self::View => "view",
            Self::List => "list",
            Self::Administer => "administer",
        }
    }
}

/// Ends with success for yes and with failure for no, so that a script can ask.
pub(super) fn can(command: Can, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Can { of, who, verb, what, captured } = command;
    let tenant = call.tenant(of.tenant)?;
    let mut query = vec![("who", who), ("verb", verb.as_str().to_owned())];
    query.extend(what.map(|what| ("what", what)));
    query.extend(captured.map(|at| ("captured_ms", at.unix_ms(call.now_ms).to_string())));
    let path = format!("/api/v1/tenants/{tenant}/can");
    let found: api::Can = call.hub.get("ask what is allowed", &path, &query)?;
    let exit = if found.allowed { Exit::Ok } else { Exit::Failure };
    if call.output == Output::Json {
        return call.json(&found).map(|_| exit);
    }
    let answer = if found.allowed { "yes" } else { "no" };
    writeln!(call.out, "{answer}: {}", printable(&found.why))?;
    writeln!(call.out, "rule: {}", printable(&found.rule))?;
    if !found.next.is_empty() {
        writeln!(call.out, "next: {}", printable(&found.next))?;
    }
    Ok(exit)
}
