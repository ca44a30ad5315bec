//! `muster telemetry range --follow`: readings as they come, one row each, until it is told to stop.

use std::pin::pin;

use muster_mqtt::{Packet, ReasonCode, Subscribe, SubscriptionOptions};
use muster_schemas::{
    DeviceId, Message, Qos, TopicFilter,
    api::Reading,
    senml::{Pack, Record},
};

use super::{Client, Complaint, Exit, Opening, Place, block_on};
use crate::cli::{Common, Output, World, table::printable, telemetry::row};

/// What to follow.
#[derive(Debug)]
pub(in crate::cli) struct Follow {
    pub(in crate::cli) device: Option<DeviceId>,
    pub(in crate::cli) stream: Option<String>,
    /// Only these SenML names; all if there are none.
    pub(in crate::cli) names: Vec<String>,
    /// How many readings; none is without an end.
    pub(in crate::cli) count: Option<u64>,
    pub(in crate::cli) place: Place,
}

pub(in crate::cli) fn follow(
    command: &Follow,
    common: &Common,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let what = "follow telemetry";
    let identity = command.place.identity(common, what)?;
    let filter = command.filter(what)?;
    block_on(
        what,
        Box::pin(async {
            let mut client = Client::open(&identity, Opening::fresh("follow")?, what).await?;
            let (packet_id, options) = (client.packet_id(), SubscriptionOptions::default());
            let filters = vec![(filter.clone(), SubscriptionOptions { qos: Qos::AtMostOnce, ..options })];
            let (subscription_id, user_properties) = (None, Vec::new());
            let asked = Subscribe { packet_id, subscription_id, filters, user_properties };
            client.say(&Packet::Subscribe(asked)).await?;
            let mut interrupted = pin!(tokio::signal::ctrl_c());
            let mut printed = 0;
            loop {
                let packet = tokio::select! {
                    packet = client.next() => packet?,
                    _ = &mut interrupted => break,
                };
                match packet {
                    Packet::SubAck(suback) => {
                        let code = suback.codes.first().copied().unwrap_or(ReasonCode::UnspecifiedError);
                        if code.is_failure() {
                            let why = format!("the hub refused {filter}");
                            return Err(client.refused(&why, code, suback.reason.as_deref()));
                        }
                        if command.place.verbose {
                            writeln!(world.err, "following {}", printable(filter.as_str()))?;
                        }
                    }
                    Packet::Publish(publish) => {
                        printed += command.print(&publish.message, common.output, world)?;
                        if command.count.is_some_and(|count| printed >= count) {
                            break;
                        }
                    }
                    _ => {}
                }
            }
            client.leave().await;
            Ok(Exit::Ok)
        }),
    )
}

impl Follow {
    fn filter(&self, what: &str) -> Result<TopicFilter, Complaint> {
        let device = self.device.as_ref().map_or("+", DeviceId::as_str);
        let stream = self.stream.as_deref().unwrap_or("+");
        format!("devices/{device}/telemetry/{stream}").parse().map_err(|error| {
            let why = format!("the stream {stream:?} does not go into a filter: it {error}");
            Complaint::new(Exit::Usage, what, why, "name a stream without '/', '+' and '#'")
        })
    }

    /// Prints the readings of a message that are wanted; says how many. What is no SenML is passed over, as the hub does.
    fn print(&self, message: &Message, output: Output, world: &mut World<'_>) -> Result<u64, Complaint> {
        let mut levels = message.topic.levels().skip(1);
        let (Some(device), Some(stream)) = (levels.next(), levels.nth(1)) else { return Ok(0) };
        let Ok(device) = device.parse::<DeviceId>() else { return Ok(0) };
        // A record without a time of its own is of now.
        let now_s = world.now_ms as f64 / 1e3;
        let records = Pack::parse(&message.payload).and_then(|pack| pack.resolve(now_s));
        let mut printed = 0;
        for Record { name, unit, time_s, value, .. } in records.unwrap_or_default() {
            let Some(value) = value else { continue };
            if !self.names.is_empty() && !self.names.contains(&name) {
                continue;
            }
            let (device, stream) = (device.clone(), stream.to_owned());
            let reading = Reading { device, stream, name, unit, time_s, value: value.into() };
            match output {
                Output::Json => {
                    let line = serde_json::to_string(&reading).map_err(std::io::Error::other)?;
                    writeln!(world.out, "{line}")?;
                }
                Output::Table => writeln!(
                    world.out,
                    "{}",
                    row(reading).map(|cell| printable(&cell)).join("  ").trim_end()
                )?,
            }
            printed += 1;
        }
        // Line by line, also into a pipe.
        world.out.flush()?;
        Ok(printed)
    }
}
