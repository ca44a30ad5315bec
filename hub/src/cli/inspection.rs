//! Looking into a running tenant: who is connected, what is retained and subscribed to, and what goes over the wire.

use std::{num::NonZeroU64, ops::ControlFlow, time::Duration};

use clap::{ArgGroup, Args};
use muster_broker::ReasonCode;
use muster_schemas::{
    TenantId, TopicFilter,
    api::{self, Client, RetainedTopics, SubscribedFilters, Tenant, TraceLine},
};
use serde::Serialize;

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    hub::Ended,
    table::{self, printable},
    time::{duration_s, shown_f64, shown_s},
};

#[derive(Debug, Args)]
pub(super) struct Clients {
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true))]
pub(super) struct Kick {
    #[command(flatten)]
    of: OfTenant,
    /// The client identifier, as `muster clients` shows it.
    #[arg(group = "whom")]
    client: Option<String>,
    /// All sessions of one certificate's owner, such as device/<id> or app/<name>.
    #[arg(long, value_name = "KIND/ID", group = "whom")]
    principal: Option<String>,
    /// What the client is told.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Topics {
    #[command(flatten)]
    of: OfTenant,
    /// Only retained topics that it matches, and subscriptions that it covers.
    #[arg(long)]
    filter: Option<TopicFilter>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Trace {
    #[command(flatten)]
    of: OfTenant,
    /// Every packet of this client: a client identifier, or the id of a device or app.
    #[arg(long, group = "what")]
    client: Option<String>,
    /// Messages on topics that this filter matches, of all clients.
    #[arg(long, value_name = "FILTER", group = "what")]
    topic: Option<TopicFilter>,
    /// Show the first 256 bytes of payloads, too.
    #[arg(long)]
    payload: bool,
    /// End after so many packets.
    #[arg(long, short, value_name = "N")]
    count: Option<NonZeroU64>,
    /// End after so long, such as 10s or 5m.
    #[arg(long = "for", value_name = "DURATION", value_parser = time)]
    for_time: Option<Duration>,
}

/// What `topics` found, for a program.
#[derive(Serialize)]
struct Found<'a> {
    retained: &'a [api::RetainedTopic],
    subscriptions: &'a [api::SubscribedFilter],
    truncated: bool,
}

pub(super) fn clients(command: Clients, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    // An operator who names no tenant means all of them.
    let tenants = if command.of.tenant.is_none() && call.identity.principal.is_operator() {
        let tenants: Vec<Tenant> = call.hub.get("list the tenants", "/api/v1/tenants", &[])?;
        tenants.into_iter().map(|tenant| tenant.tenant).collect()
    } else {
        vec![call.tenant(command.of.tenant)?]
    };
    let mut clients = Vec::new();
    for tenant in &tenants {
        clients.extend(of_tenant(tenant, call)?);
    }
    if call.output == Output::Json {
        return call.json(&clients);
    }
    let rows: Vec<_> = clients.into_iter().map(row).collect();
    let head = [
        "TENANT",
        "KIND",
        "ID",
        "CLIENT",
        "MQTT",
        "PEER",
        "SINCE",
        "SUBS",
        "IN FLIGHT",
        "QUEUED",
        "WAITING",
        "IN",
        "OUT",
        "DROPPED",
    ];
    table::write(call.out, head, &rows, "nobody is connected")?;
    Ok(Exit::Ok)
}

fn of_tenant(tenant: &TenantId, call: &Call<'_>) -> Result<Vec<Client>, Complaint> {
    let path = format!("/api/v1/tenants/{tenant}/clients");
    let what = format!("list the clients of {tenant}");
    let mut clients = Vec::new();
    let mut after: Option<u64> = None;
    loop {
        let query = after.map(|after| ("after", after.to_string()));
        let page: api::Clients = call.hub.get(&what, &path, query.as_slice())?;
        clients.extend(page.clients);
        // They come in order; a page that goes back would have us ask for ever.
        if page.next_after <= after {
            return Ok(clients);
        }
        after = page.next_after;
    }
}

fn row(client: Client) -> [String; 14] {
    [
        client.tenant.to_string(),
        client.kind,
        client.id.to_string(),
        client.client,
        client.mqtt,
        client.peer,
        shown_s(client.connected_at_s),
        client.subscriptions.to_string(),
        client.in_flight.to_string(),
        client.queued.to_string(),
        client.bytes_waiting.to_string(),
        client.messages_in.to_string(),
        client.messages_out.to_string(),
        client.dropped.to_string(),
    ]
}

pub(super) fn kick(command: Kick, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Kick { of, client, principal, reason } = command;
    let tenant = call.tenant(of.tenant)?;
    let named = client.clone().or_else(|| principal.clone()).unwrap_or_default();
    let what = format!("disconnect {named} of {tenant}");
    let body = api::Kick { client, principal, reason };
    let kicked: api::Kicked =
        call.hub.post(&what, &format!("/api/v1/tenants/{tenant}/clients/kick"), &body)?;
    if call.output == Output::Json {
        return call.json(&kicked);
    }
    let sessions = if kicked.closed == 1 { "session" } else { "sessions" };
    writeln!(call.out, "{} {sessions} of {} closed", kicked.closed, printable(&named))?;
    Ok(Exit::Ok)
}

pub(super) fn topics(command: Topics, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(command.of.tenant)?;
    let what = format!("list the topics of {tenant}");
    let base = format!("/api/v1/tenants/{tenant}/topics");
    let filter: Vec<_> = command.filter.iter().map(|filter| ("filter", filter.to_string())).collect();
    let mut retained = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = filter.clone();
        query.extend(after.clone().map(|after| ("after", after)));
        let page: RetainedTopics = call.hub.get(&what, &format!("{base}/retained"), &query)?;
        let empty = page.topics.is_empty();
        retained.extend(page.topics);
        after = page.next_after;
        // An empty page that promises more would have us ask for ever.
        if after.is_none() || empty {
            break;
        }
    }
    let subscribed: SubscribedFilters = call.hub.get(&what, &format!("{base}/subscriptions"), &filter)?;
    let SubscribedFilters { filters, truncated } = subscribed;
    if call.output == Output::Json {
        return call.json(&Found { retained: &retained, subscriptions: &filters, truncated });
    }
    let rows: Vec<_> = retained.into_iter().map(|seen| [seen.topic, seen.bytes.to_string()]).collect();
    table::write(call.out, ["RETAINED", "BYTES"], &rows, "nothing is retained")?;
    writeln!(call.out)?;
    let rows: Vec<_> = filters.into_iter().map(|seen| [seen.filter, seen.subscribers.to_string()]).collect();
    table::write(call.out, ["SUBSCRIPTION", "CLIENTS"], &rows, "nobody subscribes to anything")?;
    if truncated {
        writeln!(call.out, "... and more: narrow them with --filter")?;
    }
    Ok(Exit::Ok)
}

pub(super) fn trace(command: Trace, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(command.of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/trace");
    let mut query = vec![("payload", command.payload.to_string())];
    query.extend(command.client.map(|client| ("client", client)));
    query.extend(command.topic.map(|topic| ("topic", topic.to_string())));
    let (_, target) = query.last().cloned().unwrap_or_default();
    let what = format!("trace {target} of {tenant}");
    let mut printed = 0;
    let Call { hub, out, output, .. } = call;
    loop {
        let ended = hub.lines(&what, &path, &query, command.for_time, |text| {
            let line: TraceLine = serde_json::from_slice(text).map_err(|error| {
                let why = format!("what the hub tells is not understood: {error}");
                Complaint::new(
                    Exit::Failure,
                    what.clone(),
                    why,
                    "use a muster of the same version as the hub",
                )
            })?;
            match output {
                Output::Json => writeln!(out, "{}", String::from_utf8_lossy(text).trim_end())?,
                Output::Table => writeln!(out, "{}", shown(&line))?,
            }
            // Line by line, also into a pipe.
            out.flush()?;
            printed += 1;
            let is_last = command.count.is_some_and(|count| printed >= count.get());
            Ok(if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        // A hub ends a trace after a while, to look the caller up again.
        if ended != Ended::Hub {
            return Ok(Exit::Ok);
        }
    }
}

/// A packet as a person reads it.
fn shown(line: &TraceLine) -> String {
    let mut text = String::new();
    if line.dropped > 0 {
        text.push_str(&format!("... {} packets are missing here\n", line.dropped));
    }
    let arrow = if line.direction == "in" { "->" } else { "<-" };
    let who = line.client.clone().unwrap_or_else(|| "-".to_owned());
    text.push_str(&shown_f64(line.at_ms as f64 / 1_000.0));
    let mut words =
        vec![String::new(), format!("{}/{}", line.kind, line.id), who, arrow.to_owned(), line.packet.clone()];
    words.extend(line.packet_id.map(|id| format!("#{id}")));
    words.extend(line.topic.clone());
    words.extend(line.filters.iter().cloned());
    words.extend(line.qos.map(|qos| format!("QoS {qos}")));
    words.extend(line.retain.then(|| "retained".to_owned()));
    words.extend(line.dup.then(|| "repeated".to_owned()));
    words.extend(line.bytes.map(|bytes| format!("{bytes} bytes")));
    words.extend(line.codes.iter().map(|code| {
        ReasonCode::try_from(*code).map_or_else(|_| format!("{code:#04x}"), |code| code.to_string())
    }));
    words.extend(line.reason.clone());
    words.extend(line.payload_hex.as_deref().map(payload));
    text.push_str(&printable(&words.join("  ")));
    text
}

/// Text in quotes where it is text, else the digits.
fn payload(hex: &str) -> String {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap_or_default();
    String::from_utf8(bytes).map_or_else(|_| hex.to_owned(), |text| format!("{text:?}"))
}

fn time(text: &str) -> Result<Duration, String> {
    duration_s(text).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_shown_in_one_line_and_cannot_command_the_terminal() {
        let line: TraceLine = serde_json::from_str(
            r#"{"at_ms":1769904000250,"session":3,"kind":"device","id":"pump-7","client":"p\u001b[2J",
                "direction":"in","packet":"PUBLISH","packet_id":7,"topic":"devices/pump-7/events/boot","qos":1,
                "bytes":2,"payload_hex":"6f6b","dropped":4}"#,
        )
        .expect("JSON");
        assert_eq!(
            shown(&line),
            "... 4 packets are missing here\n2026-02-01T00:00:00.250Z  device/pump-7  p\u{fffd}[2J  ->  PUBLISH  #7  \
             devices/pump-7/events/boot  QoS 1  2 bytes  \"ok\""
        );
        let line: TraceLine = serde_json::from_str(
            r#"{"at_ms":1769904000250,"session":3,"kind":"app","id":"a","direction":"out","packet":"PUBACK",
                "packet_id":7,"codes":[135],"reason":"no"}"#,
        )
        .expect("JSON");
        assert!(
            shown(&line).ends_with("app/a  -  <-  PUBACK  #7  not authorized (0x87)  no"),
            "{}",
            shown(&line)
        );
    }
}
