//! `muster sub`: prints what comes on some filters, until it is told to stop or has what it wants.

use std::{collections::BTreeSet, future::pending, pin::pin, time::Duration};

use clap::Args;
use muster_mqtt::{Packet, PacketId, Publish, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions};
use muster_schemas::{ClientId, Qos, TopicFilter};
use tokio::time::{sleep, timeout};

use super::{Client, Complaint, Exit, Opening, Place, block_on, qos, seconds, shown, time};
use crate::{
    cli::{Common, Output, World, table::printable},
    limits::RETAINED_SILENCE_TIME,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Sub {
    /// What to subscribe to, such as 'devices/+/telemetry/#'; several are allowed.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<TopicFilter>,
    /// The highest quality of service to be given: 0, 1 or 2.
    #[arg(long, short, default_value = "0", value_parser = qos)]
    qos: Qos,
    /// End after so many messages.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long, such as 10s or 5m.
    #[arg(long = "for", value_name = "DURATION", value_parser = time)]
    for_time: Option<Duration>,
    /// Print the retained messages and end when no more of them have come for a second.
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,
    /// Do not print retained messages, only what is published from now on.
    #[arg(long)]
    no_retained: bool,
    /// Share the messages with the other subscribers of this group: each message goes to one of them.
    #[arg(long, value_name = "GROUP", conflicts_with = "retained_only")]
    shared: Option<String>,
    /// Go on with the session of this client identifier, which outlives the connection: what is published meanwhile is
    /// kept for it.
    #[arg(long, value_name = "CLIENT-ID")]
    session: Option<ClientId>,
    /// How long the session outlives its connection, such as 1h or 7d.
    #[arg(long, default_value = "1h", requires = "session", value_parser = seconds)]
    expiry: u32,
    #[command(flatten)]
    place: Place,
}

pub(in crate::cli) fn sub(command: &Sub, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let names: Vec<_> = command.filters.iter().map(TopicFilter::as_str).collect();
    let what = format!("subscribe to {}", names.join(", "));
    let identity = command.place.identity(common, &what)?;
    let filters = command.wishes(&what)?;
    let opening = match &command.session {
        Some(client_id) => Opening { client_id: client_id.clone(), expiry_s: Some(command.expiry) },
        None => Opening::fresh("sub")?,
    };
    block_on(
        &what,
        Box::pin(async {
            let mut client = Client::open(&identity, opening, &what).await?;
            if command.session.is_some() && client.expiry_s == 0 && command.expiry > 0 {
                writeln!(world.err, "warning: this hub keeps no session beyond its connection")?;
            }
            if command.place.verbose {
                tell_session(&client, command, world)?;
            }
            let mut subscription = Subscription { command, output: common.output, world, printed: 0 };
            subscription.run(&mut client, filters).await?;
            client.leave().await;
            Ok(Exit::Ok)
        }),
    )
}

impl Sub {
    /// The filters with their options, as they are asked for.
    fn wishes(&self, what: &str) -> Result<Vec<(TopicFilter, SubscriptionOptions)>, Complaint> {
        let retain_handling = if self.no_retained { RetainHandling::DoNotSend } else { RetainHandling::Send };
        let options =
            SubscriptionOptions { qos: self.qos, retain_handling, ..SubscriptionOptions::default() };
        let named = |filter: &TopicFilter| match &self.shared {
            Some(group) => format!("$share/{group}/{filter}").parse().map_err(|error| {
                let why = format!("{filter} shared as {group:?} is not a filter: it {error}");
                Complaint::new(Exit::Usage, what, why, "name the group without '/', '+' and '#'")
            }),
            None => Ok(filter.clone()),
        };
        self.filters.iter().map(|filter| Ok((named(filter)?, options))).collect()
    }
}

fn tell_session(client: &Client, command: &Sub, world: &mut World<'_>) -> Result<(), Complaint> {
    let Client { client_id, expiry_s, session_present, .. } = client;
    let client_id = printable(client_id);
    match (command.session.is_some(), session_present) {
        (false, _) => writeln!(world.err, "connected as {client_id}")?,
        (true, true) => {
            writeln!(world.err, "went on with the session {client_id}, which outlives us by {expiry_s} s")?;
        }
        (true, false) => {
            writeln!(world.err, "began the session {client_id}, which outlives us by {expiry_s} s")?;
        }
    }
    Ok(())
}

/// One run of the command.
struct Subscription<'a, 'w> {
    command: &'a Sub,
    output: Output,
    world: &'a mut World<'w>,
    printed: u64,
}

impl Subscription<'_, '_> {
    async fn run(
        &mut self,
        client: &mut Client,
        filters: Vec<(TopicFilter, SubscriptionOptions)>,
    ) -> Result<(), Complaint> {
        let packet_id = client.packet_id();
        let names: Vec<String> = filters.iter().map(|(filter, _)| filter.to_string()).collect();
        let (subscription_id, user_properties) = (None, Vec::new());
        let asked = Subscribe { packet_id, subscription_id, filters, user_properties };
        client.say(&Packet::Subscribe(asked)).await?;

        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let mut over = pin!(async {
            match self.command.for_time {
                Some(time) => sleep(time).await,
                None => pending().await,
            }
        });
        let mut granted = false;
        let mut received = BTreeSet::new();
        loop {
            let next = async {
                if !granted {
                    return client.answer("SUBACK").await.map(Some);
                }
                if self.command.retained_only {
                    return timeout(RETAINED_SILENCE_TIME, client.next()).await.ok().transpose();
                }
                client.next().await.map(Some)
            };
            let packet = tokio::select! {
                packet = next => packet?,
                _ = &mut interrupted => None,
                () = &mut over => None,
            };
            match packet {
                None => return Ok(()),
                Some(Packet::SubAck(suback)) if suback.packet_id == packet_id => {
                    self.told(client, &names, &suback.codes, suback.reason.as_deref())?;
                    granted = true;
                }
                Some(Packet::Publish(publish)) => {
                    let (id, qos) = (publish.packet_id, publish.message.qos);
                    if self.take(&publish, &mut received)? {
                        acknowledge(client, qos, id).await?;
                        return Ok(());
                    }
                    acknowledge(client, qos, id).await?;
                }
                Some(Packet::PubRel(ack)) => {
                    received.remove(&ack.packet_id);
                    client.acknowledge(Packet::PubComp, ack.packet_id).await?;
                }
                Some(_) => {}
            }
        }
    }

    /// What the hub granted. One refused filter ends the command: half of what was asked for would look like all of it.
    fn told(
        &mut self,
        client: &Client,
        names: &[String],
        codes: &[ReasonCode],
        reason: Option<&str>,
    ) -> Result<(), Complaint> {
        for (name, code) in names.iter().zip(codes) {
            if code.is_failure() {
                return Err(client.refused(&format!("the hub refused {name}"), *code, reason));
            }
            if self.command.place.verbose {
                writeln!(self.world.err, "subscribed to {} at QoS {}", printable(name), code.as_u8())?;
            }
        }
        Ok(())
    }

    /// Prints a message, unless it is a repeated one or not wanted; says whether that was the last.
    fn take(&mut self, publish: &Publish, received: &mut BTreeSet<PacketId>) -> Result<bool, Complaint> {
        let message = &publish.message;
        if let (Qos::ExactlyOnce, Some(id)) = (message.qos, publish.packet_id)
            && !received.insert(id)
        {
            return Ok(false);
        }
        if self.command.retained_only && !message.retain {
            return Ok(false);
        }
        match self.output {
            Output::Json => shown::json(self.world.out, message, publish.dup)?,
            Output::Table => {
                shown::text(self.world.out, message, self.world.now_ms, self.command.place.verbose)?;
            }
        }
        // Line by line, also into a pipe.
        self.world.out.flush()?;
        self.printed += 1;
        Ok(self.command.count.is_some_and(|count| self.printed >= count))
    }
}

async fn acknowledge(client: &mut Client, qos: Qos, id: Option<PacketId>) -> Result<(), Complaint> {
    match (qos, id) {
        (Qos::AtLeastOnce, Some(id)) => client.acknowledge(Packet::PubAck, id).await,
        (Qos::ExactlyOnce, Some(id)) => client.acknowledge(Packet::PubRec, id).await,
        _ => Ok(()),
    }
}
