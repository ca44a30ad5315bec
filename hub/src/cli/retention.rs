//! How long a tenant keeps its telemetry: rules, of which the first that names a stream holds.

use clap::{Args, Subcommand};
use muster_schemas::{
    TenantId,
    api::{KeepStreams, Retention},
};

use super::{Call, Complaint, Exit, OfTenant, Output, table, time::duration_s};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Retained {
    /// List the rules.
    Show {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Set the rule for streams, in place of the one that they have. What is older than it says is deleted, for good.
    Set(Set),
    /// Take the rule for streams away.
    Remove {
        #[command(flatten)]
        of: OfTenant,
        /// The streams, as the rule names them.
        streams: String,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    of: OfTenant,
    /// The name of the streams: the last level of their topics; `*` at its end stands for anything.
    streams: String,
    /// Days for which readings are kept as they came [default: for ever].
    #[arg(long, value_name = "DAYS")]
    full_days: Option<u32>,
    /// Of older ones one row is kept for each such time, such as 15m; nothing unless it is said.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "full_days")]
    every: Option<u32>,
    /// Days for which such rows are kept, from when they were measured [default: for ever].
    #[arg(long, value_name = "DAYS", requires = "every")]
    coarse_days: Option<u32>,
}

pub(super) fn retention(command: Retained, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let rules = match command {
        Retained::Show { of } => {
            let tenant = call.tenant(of.tenant)?;
            read(call, &tenant)?
        }
        Retained::Set(Set { of, streams, full_days, every, coarse_days }) => {
            let tenant = call.tenant(of.tenant)?;
            let mut rules = read(call, &tenant)?;
            put(&mut rules, KeepStreams { streams, full_days, every_s: every, coarse_days });
            write(call, &tenant, &rules)?
        }
        Retained::Remove { of, streams } => {
            let tenant = call.tenant(of.tenant)?;
            let mut rules = read(call, &tenant)?;
            let before = rules.rules.len();
            rules.rules.retain(|rule| rule.streams != streams);
            if rules.rules.len() == before {
                return Err(Complaint::new(
                    Exit::Failure,
                    format!("remove the rule for {streams}"),
                    format!("{tenant} has none that names exactly these"),
                    "look at those that there are: muster telemetry retention show",
                ));
            }
            write(call, &tenant, &rules)?
        }
    };
    if call.output == Output::Json {
        return call.json(&rules);
    }
    let rows: Vec<_> = rules.rules.into_iter().map(row).collect();
    table::write(call.out, ["STREAMS", "AS IT CAME", "THEN"], &rows, "no rules: all is kept for ever")?;
    Ok(Exit::Ok)
}

fn path(tenant: &TenantId) -> String {
    format!("/api/v1/tenants/{tenant}/telemetry/retention")
}

fn read(call: &Call<'_>, tenant: &TenantId) -> Result<Retention, Complaint> {
    call.hub.get(&format!("show how long the telemetry of {tenant} is kept"), &path(tenant), &[])
}

fn write(call: &Call<'_>, tenant: &TenantId, rules: &Retention) -> Result<Retention, Complaint> {
    call.hub.put(&format!("set how long the telemetry of {tenant} is kept"), &path(tenant), rules)
}

/// Puts a rule where the one for the same streams was; or else before the first that would hide it, or at the end.
fn put(Retention { rules }: &mut Retention, rule: KeepStreams) {
    if let Some(known) = rules.iter_mut().find(|known| known.streams == rule.streams) {
        *known = rule;
        return;
    }
    let hides = |known: &KeepStreams| {
        known.streams.strip_suffix('*').is_some_and(|begin| rule.streams.starts_with(begin))
    };
    let place = rules.iter().position(hides).unwrap_or(rules.len());
    rules.insert(place, rule);
}

fn row(rule: KeepStreams) -> [String; 3] {
    let days = |days: Option<u32>| days.map_or("for ever".to_owned(), |days| format!("{days} d"));
    let then = match (rule.full_days, rule.every_s) {
        (None, _) => "-".to_owned(),
        (Some(_), None) => "nothing".to_owned(),
        (Some(_), Some(every_s)) => format!("a row for every {every_s} s, {}", days(rule.coarse_days)),
    };
    [rule.streams, days(rule.full_days), then]
}

fn seconds(text: &str) -> Result<u32, String> {
    u32::try_from(duration_s(text)?).map_err(|_| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(streams: &str, full_days: u32) -> KeepStreams {
        KeepStreams { streams: streams.to_owned(), full_days: Some(full_days), ..KeepStreams::default() }
    }

    #[test]
    fn a_rule_is_put_where_it_holds() {
        let mut rules = Retention::default();
        for rule in [keep("debug", 2), keep("vib*", 9), keep("vibration", 7), keep("*", 99), keep("vib*", 5)]
        {
            put(&mut rules, rule);
        }
        let found: Vec<_> =
            rules.rules.iter().map(|rule| (rule.streams.as_str(), rule.full_days.unwrap_or(0))).collect();
        assert_eq!(found, [("debug", 2), ("vibration", 7), ("vib*", 5), ("*", 99)]);
    }

    #[test]
    fn a_rule_is_shown_in_words() {
        let coarse = KeepStreams { every_s: Some(900), coarse_days: Some(365), ..keep("vib*", 7) };
        assert_eq!(row(coarse.clone())[1..], ["7 d", "a row for every 900 s, 365 d"]);
        assert_eq!(row(KeepStreams { coarse_days: None, ..coarse })[2], "a row for every 900 s, for ever");
        assert_eq!(row(keep("debug", 2))[1..], ["2 d", "nothing"]);
        assert_eq!(row(KeepStreams { full_days: None, ..keep("a", 1) })[1..], ["for ever", "-"]);
        assert_eq!(seconds("15m"), Ok(900));
        assert!(seconds("999999d").is_err());
    }
}
