//! Reading a tenant's telemetry, as an app or a user of that tenant. An operator is refused by the hub.

use std::num::NonZeroUsize;

use clap::Subcommand;

use muster_schemas::{
    DeviceId,
    api::{Reading, ReadingValue, Readings},
};

use super::{
    Call, Complaint, Exit, OfTenant, Output, Selection, table,
    time::{When, shown_f64},
};

/// Most readings that are asked for in one call.
const PAGE_READINGS_MAX: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Telemetry {
    /// The newest reading of each name.
    Last {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        selection: Selection,
    },
    /// The readings within a time, oldest first.
    Range {
        #[command(flatten)]
        of: OfTenant,
        /// The device.
        #[arg(long)]
        device: DeviceId,
        /// Its stream: the last level of the topic.
        #[arg(long)]
        stream: String,
        /// The first instant: RFC 3339, or a while ago, such as 15m.
        #[arg(long, default_value = "1h")]
        from: When,
        /// The instant before which the readings lie: RFC 3339, or a while ago.
        #[arg(long, default_value = "0s")]
        to: When,
        /// Most readings to print.
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
    },
}

pub(super) fn telemetry(command: Telemetry, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    match command {
        Telemetry::Last { of, selection } => {
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/telemetry/last");
            let what = format!("read the last telemetry of {tenant}");
            let answer: Readings = call.hub.get(&what, &path, &selection.query())?;
            call.readings(answer)
        }
        Telemetry::Range { of, device, stream, from, to, limit } => {
            let limit = limit.get();
            let tenant = call.tenant(of.tenant)?;
            let path = format!("/api/v1/tenants/{tenant}/telemetry/range");
            let what = format!("read the telemetry of {tenant}");
            let mut fixed = Selection { device: Some(device), stream: Some(stream) }.query();
            fixed.push(("from_ms", from.unix_ms(call.now_ms).to_string()));
            fixed.push(("to_ms", to.unix_ms(call.now_ms).to_string()));
            let mut all = Readings::default();
            loop {
                let mut query = fixed.clone();
                let left = limit.saturating_sub(all.readings.len());
                query.push(("limit", left.min(PAGE_READINGS_MAX).to_string()));
                if let Some(cursor) = all.next_cursor.take() {
                    query.push(("cursor", cursor));
                }
                let page: Readings = call.hub.get(&what, &path, &query)?;
                let empty = page.readings.is_empty();
                all.readings.extend(page.readings);
                all.next_cursor = page.next_cursor;
                // An empty page that promises more would have us ask for ever.
                if all.next_cursor.is_none() || empty || all.readings.len() >= limit {
                    break;
                }
            }
            all.readings.truncate(limit);
            call.readings(all)
        }
    }
}

impl Selection {
    fn query(&self) -> Vec<(&'static str, String)> {
        let device = self.device.iter().map(|device| ("device", device.to_string()));
        let stream = self.stream.iter().map(|stream| ("stream", stream.clone()));
        device.chain(stream).collect()
    }
}

impl Call<'_> {
    fn readings(&mut self, answer: Readings) -> Result<Exit, Complaint> {
        if self.output == Output::Json {
            return self.json(&answer);
        }
        let more = answer.next_cursor.is_some();
        let truncated = answer.truncated;
        let rows: Vec<_> = answer.readings.into_iter().map(row).collect();
        let head = ["TIME", "DEVICE", "STREAM", "NAME", "VALUE", "UNIT"];
        table::write(self.out, head, &rows, "no readings")?;
        if more {
            writeln!(self.out, "... and more: raise --limit, or begin later with --from")?;
        }
        if truncated {
            writeln!(self.out, "... and more: name one device with --device")?;
        }
        Ok(Exit::Ok)
    }
}

fn row(reading: Reading) -> [String; 6] {
    let value = match reading.value {
        ReadingValue::Bool(value) => value.to_string(),
        ReadingValue::Number(value) => value.to_string(),
        ReadingValue::Text(value) => value,
    };
    let time = shown_f64(reading.time_s);
    let unit = reading.unit.unwrap_or_default();
    [time, reading.device.to_string(), reading.stream, reading.name, value, unit]
}
