//! A tenant's audit trail: what was refused, to whom and why, and whether all of it is there.

use clap::Args;
use muster_schemas::api::{self, Audited};

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    table::{self, printable},
    time::shown_f64,
};

/// How many entries are shown when nobody asks for all.
const NEWEST: &str = "100";

#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    of: OfTenant,
    /// All entries that are kept, where the newest 100 are shown otherwise.
    #[arg(long)]
    all: bool,
}

pub(super) fn audit(command: Audit, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let tenant = call.tenant(command.of.tenant)?;
    let what = format!("read the audit trail of {tenant}");
    let path = format!("/api/v1/tenants/{tenant}/audit");
    let start = if command.all { ("after", "0") } else { ("limit", NEWEST) };
    let mut page: api::Audit = call.hub.get(&what, &path, &[(start.0, start.1.to_owned())])?;
    let mut found = page.clone();
    // They come in order; a page that goes back would have us ask for ever.
    while command.all
        && let Some(after) =
            page.next_after.filter(|after| found.entries.last().is_some_and(|e| e.number == *after))
    {
        page = call.hub.get(&what, &path, &[("after", after.to_string())])?;
        found.entries.extend(page.entries.iter().cloned());
        found.missing.extend(&page.missing);
        (found.last, found.next_after) = (page.last, page.next_after);
    }
    if call.output == Output::Json {
        call.json(&found)?;
    } else {
        let head = ["NUMBER", "TIME", "WHO", "CLIENT", "PEER", "WANTED TO", "WHAT", "TIMES", "WHY"];
        let rows: Vec<_> = found.entries.iter().map(row).collect();
        table::write(call.out, head, &rows, "nothing was refused")?;
        writeln!(call.out, "{}", printable(&completeness(&found)))?;
    }
    Ok(if found.missing.is_empty() { Exit::Ok } else { Exit::Failure })
}

fn row(entry: &Audited) -> [String; 9] {
    let Audited { number, at_ms, kind, id, client, peer, act, subject, reason, times, .. } = entry;
    let who = match (kind, id) {
        (Some(kind), Some(id)) => format!("{kind}/{id}"),
        _ => "-".to_owned(),
    };
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        number.to_string(),
        shown_f64(*at_ms as f64 / 1_000.0),
        who,
        or_dash(client),
        or_dash(peer),
        act.clone(),
        or_dash(subject),
        times.to_string(),
        reason.clone(),
    ]
}

/// Whether what was read has all the numbers that it should have.
fn completeness(found: &api::Audit) -> String {
    if found.missing.is_empty() {
        return match (found.entries.first(), found.entries.last()) {
            (Some(first), Some(last)) => format!("complete: {} to {}", first.number, last.number),
            _ => "complete: there are no entries".to_owned(),
        };
    }
    let range =
        |(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let ranges: Vec<_> = found.missing.iter().map(range).collect();
    format!("NOT COMPLETE: entries {} were taken out", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> api::Audit {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn an_entry_is_shown_with_who_wanted_what_and_why_not() {
        let found = read(
            r#"{"entries":[{"number":7,"at_ms":1769904000250,"kind":"device","id":"pump-7","client":"c","peer":"[::1]:5",
                "act":"publish","subject":"devices/x/y","code":135,"reason":"no","times":3}],"first":1,"last":7}"#,
        );
        let cells = row(&found.entries[0]);
        let shown = "7 2026-02-01T00:00:00.250Z device/pump-7 c [::1]:5 publish devices/x/y 3 no";
        assert_eq!(cells.join(" "), shown);
        assert_eq!(completeness(&found), "complete: 7 to 7");
    }

    #[test]
    fn what_is_missing_is_named() {
        let entry = r#"{"number":9,"at_ms":0,"act":"connect","code":151,"reason":"more","times":2}"#;
        let found = read(&format!(r#"{{"entries":[{entry}],"missing":[[2,2],[5,8]],"first":1,"last":9}}"#));
        assert_eq!(row(&found.entries[0])[2], "-");
        assert_eq!(completeness(&found), "NOT COMPLETE: entries 2, 5 to 8 were taken out");
        assert_eq!(completeness(&read(r#"{"entries":[]}"#)), "complete: there are no entries");
        let emptied = read(r#"{"entries":[],"missing":[[1,4]],"first":1,"last":4}"#);
        assert_eq!(completeness(&emptied), "NOT COMPLETE: entries 1 to 4 were taken out");
    }
}
