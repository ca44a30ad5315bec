//! `muster rr`: publishes a request with a place for the reply, and prints the reply that belongs to it.

use std::{io::Read, time::Duration};

use bytes::Bytes;
use clap::Args;
use muster_mqtt::{Packet, Publish, ReasonCode, Subscribe, SubscriptionOptions};
use muster_schemas::{Message, Qos, TopicFilter, TopicName};
use tokio::time::timeout;

use super::{
    Client, Complaint, Exit, Opening, Place, block_on,
    publish::{Properties, payload},
    qos, shown, time,
};
use crate::{
    cli::{Common, Output, World, table::printable},
    random,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Rr {
    /// Where the request goes, such as devices/<id>/commands/<name>.
    topic: TopicName,
    /// The request: text, `-` for standard input, or @file.
    payload: String,
    /// How long to wait for the reply.
    #[arg(long, default_value = "5s", value_parser = time)]
    timeout: Duration,
    /// The quality of service of the request: 0, 1 or 2.
    #[arg(long, short, default_value = "1", value_parser = qos)]
    qos: Qos,
    #[command(flatten)]
    properties: Properties,
    #[command(flatten)]
    place: Place,
}

pub(in crate::cli) fn rr(command: Rr, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let what = format!("have a reply to {}", command.topic);
    let identity = command.place.identity(common, &what)?;
    let request = payload(&command.payload, &mut world.input as &mut dyn Read, &what)?;
    let opening = Opening::fresh("rr")?;
    let reply_to = match &command.properties.response_topic {
        Some(topic) => topic.clone(),
        None => reply_topic(&command.topic, opening.client_id.as_str(), &what)?,
    };
    block_on(
        &what,
        Box::pin(async {
            let mut client = Client::open(&identity, opening, &what).await?;
            subscribe(&mut client, &reply_to).await?;
            if command.place.verbose {
                writeln!(world.err, "expecting the reply on {}", printable(reply_to.as_str()))?;
            }
            let correlation = Bytes::copy_from_slice(&random::array::<16>(&mut random::system()));
            let mut properties = command.properties.message(std::str::from_utf8(&request).is_ok());
            properties.response_topic = Some(reply_to.clone());
            let correlation = properties.correlation_data.get_or_insert(correlation).clone();
            let (topic, qos) = (command.topic.clone(), command.qos);
            let message = Message {
                topic,
                qos,
                retain: false,
                payload: request,
                properties: Some(Box::new(properties)),
            };
            let id = (qos != Qos::AtMostOnce).then(|| client.packet_id());
            client.publish(message, id).await?;
            let Ok(reply) = timeout(command.timeout, reply(&mut client, &correlation)).await else {
                let why = format!("no reply came to {reply_to} within {} s", command.timeout.as_secs());
                let next = "see that the one who is asked answers to the response topic with the correlation data of the \
                        request, or wait longer: --timeout";
                return Err(Complaint {
                    code: "timeout".to_owned(),
                    ..Complaint::new(Exit::Failure, what.clone(), why, next)
                });
            };
            let reply = reply?;
            client.leave().await;
            match common.output {
                Output::Json => shown::json(world.out, &reply.message, reply.dup)?,
                Output::Table => shown::text(world.out, &reply.message, world.now_ms, command.place.verbose)?,
            }
            Ok(Exit::Ok)
        }),
    )
}

/// Where the reply is expected when nobody said: a device publishes only under its own topics, so a command of a device
/// is answered beside it; everything else where only this session listens.
fn reply_topic(topic: &TopicName, client_id: &str, what: &str) -> Result<TopicName, Complaint> {
    let levels: Vec<_> = topic.levels().collect();
    let text = match levels.as_slice() {
        ["devices", _, "commands", _] => format!("{topic}/replies"),
        _ => format!("replies/{client_id}"),
    };
    text.parse().map_err(|error| {
        let why = format!("{text} is not a topic: it {error}");
        Complaint::new(Exit::Usage, what, why, "name another: --response-topic <topic>")
    })
}

async fn subscribe(client: &mut Client, topic: &TopicName) -> Result<(), Complaint> {
    let Ok(filter) = topic.as_str().parse::<TopicFilter>() else {
        return Err(client.refused(
            "the response topic is not a filter",
            ReasonCode::TopicFilterInvalid,
            None,
        ));
    };
    let packet_id = client.packet_id();
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
    let (subscription_id, user_properties) = (None, Vec::new());
    let asked = Subscribe { packet_id, subscription_id, filters: vec![(filter, options)], user_properties };
    client.say(&Packet::Subscribe(asked)).await?;
    loop {
        if let Packet::SubAck(suback) = client.answer("SUBACK").await? {
            return match suback.codes.first() {
                Some(code) if !code.is_failure() => Ok(()),
                code => Err(client.refused(
                    &format!("the hub refused a subscription to {topic}"),
                    code.copied().unwrap_or(ReasonCode::UnspecifiedError),
                    suback.reason.as_deref(),
                )),
            };
        }
    }
}

/// The message with the correlation data of the request. Others on the topic are replies to others.
async fn reply(client: &mut Client, correlation: &Bytes) -> Result<Publish, Complaint> {
    loop {
        match client.next().await? {
            Packet::Publish(publish) => {
                if let (Qos::AtLeastOnce, Some(id)) = (publish.message.qos, publish.packet_id) {
                    client.acknowledge(Packet::PubAck, id).await?;
                }
                let properties = publish.message.properties.as_ref();
                if properties.and_then(|properties| properties.correlation_data.as_ref()) == Some(correlation)
                {
                    return Ok(publish);
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.code == ReasonCode::NoMatchingSubscribers => {
                return Err(client.refused("nobody heard the request", ack.code, ack.reason.as_deref()));
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.code.is_failure() => {
                return Err(client.refused("the hub refused the request", ack.code, ack.reason.as_deref()));
            }
            Packet::PubRec(ack) => client.acknowledge(Packet::PubRel, ack.packet_id).await?,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_answered_beside_it_and_everything_else_at_a_place_of_our_own() {
        let of = |topic: &str| {
            let topic = topic.parse().expect("topic");
            reply_topic(&topic, "muster-rr-1", "ask").expect("topic").as_str().to_owned()
        };
        assert_eq!(of("devices/pump-7/commands/reboot"), "devices/pump-7/commands/reboot/replies");
        assert_eq!(of("services/time"), "replies/muster-rr-1");
        assert_eq!(of("devices/pump-7/twin/desired"), "replies/muster-rr-1");
    }
}
