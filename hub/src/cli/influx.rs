//! How far a tenant's telemetry has come on its way to InfluxDB, what is in the way, and what to do about it.

use clap::Subcommand;
use muster_schemas::api::InfluxStatus;

use super::{
    Call, Complaint, Exit, OfTenant, Output,
    table::{self, printable},
    time::shown_f64,
};

#[derive(Debug, Subcommand)]
pub(super) enum Influx {
    /// Say what waits, what is in the way, and what the server will never store. An operator does not see the last.
    Status {
        #[command(flatten)]
        of: OfTenant,
    },
}

pub(super) fn influx(command: Influx, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let Influx::Status { of } = command;
    let tenant = call.tenant(of.tenant)?;
    let what = format!("say how far the telemetry of {tenant} has come");
    let path = format!("/api/v1/tenants/{tenant}/influx");
    let status: InfluxStatus = call.hub.get(&what, &path, &[])?;
    let exit = if status.trouble.is_some() { Exit::Failure } else { Exit::Ok };
    if call.output == Output::Json {
        call.json(&status)?;
        return Ok(exit);
    }
    for line in told(&status, call.now_ms / 1_000) {
        writeln!(call.out, "{}", printable(&line))?;
    }
    if !status.letters.is_empty() {
        let rows: Vec<_> = status
            .letters
            .iter()
            .map(|letter| {
                let series = letter.series.clone().unwrap_or_else(|| "-".to_owned());
                [shown_f64(letter.at_s as f64), letter.lines.to_string(), series, letter.why.clone()]
            })
            .collect();
        writeln!(call.out)?;
        table::write(call.out, ["TIME", "LINES", "FIRST OF THEM", "WHY THEY ARE NOT STORED"], &rows, "")?;
    }
    Ok(exit)
}

fn told(status: &InfluxStatus, now_s: u64) -> Vec<String> {
    let InfluxStatus { url, org, bucket, readings, sealed, .. } = status;
    let mut lines = vec![format!("to {url}, organisation {org}, bucket {bucket}")];
    lines.push(match (&status.trouble, status.oldest_s) {
        (None, None) => "in step: nothing waits".to_owned(),
        (_, oldest) => format!(
            "waiting: {} messages, {} bytes, the oldest for about {} s",
            status.waiting_messages,
            status.waiting_bytes,
            oldest.map_or(0, |oldest| now_s.saturating_sub(oldest))
        ),
    });
    lines.push(format!("stored since the hub started: {readings} readings, {sealed} of them sealed"));
    if let Some(trouble) = &status.trouble {
        lines.push(format!("in the way since {}: {}", shown_f64(trouble.since_s as f64), trouble.what));
        lines.push(format!("next: {}", trouble.next));
    }
    for (count, text) in [
        (status.refused, "lines will never be stored there; the hub's own store has them"),
        (
            status.given_up,
            "messages were given up because the log may hold no more; the hub's own store has them",
        ),
        (status.damaged, "records of the log were damaged and are not there"),
    ] {
        if count > 0 {
            lines.push(format!("{count} {text}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_stands_there_with_what_to_do() {
        let status: InfluxStatus = serde_json::from_str(
            r#"{"url":"https://i/","org":"o","bucket":"acme","waiting_messages":7,"waiting_bytes":900,"oldest_s":1000,
                "trouble":{"code":"token","what":"the server does not take the tenant's token: status 401",
                "next":"put another one there","since_s":1010},"readings":5,"sealed":1,"requests":9,"failed":3,
                "refused":2,"given_up":0,"damaged":0}"#,
        )
        .expect("a status");
        let lines = told(&status, 1_060);
        assert_eq!(lines[1], "waiting: 7 messages, 900 bytes, the oldest for about 60 s");
        assert!(lines.iter().any(|line| line.ends_with("status 401")));
        assert!(lines.contains(&"next: put another one there".to_owned()));
        assert!(lines.iter().any(|line| line.starts_with("2 lines will never be stored")));
        assert!(!lines.iter().any(|line| line.starts_with("0 ")));
    }
}
