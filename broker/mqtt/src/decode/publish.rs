//! PUBLISH (MQTT 5 §3.3), with topic aliases resolved.

use std::{num::NonZeroU16, sync::Arc};

use bytestring::ByteString;
use muster_schemas::{Message, Qos, TopicName};

use super::{Fault, Role, connect::message_property};
use crate::{
    limits::PacketLimits,
    packet::{Publish, SubscriptionIds},
    primitive::Reader,
    properties::{Property, PropertyReader},
    version::Version,
};

/// PUBLISH. `aliases` are those of the connection.
pub(super) fn publish(
    flags: u8,
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
    role: Role,
    aliases: &mut Vec<Option<TopicName>>,
) -> Result<Publish, Fault> {
    let retain = flags & 0b0001 != 0;
    let qos = Qos::try_from((flags >> 1) & 0b11).map_err(|_| Fault::Qos)?;
    let dup = flags & 0b1000 != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(Fault::DuplicateAtQos0);
    }
    let topic = reader.topic_name_if_any()?;
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let mut topic_alias = None;
    let mut subscription_ids = SubscriptionIds::new();
    let mut properties = None;
    if version.capabilities().properties {
        let mut reader = PropertyReader::new(&mut reader, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::TopicAlias(alias) => topic_alias = Some(alias),
                // Only a server tells which subscriptions a message answers [MQTT-3.3.4-6].
                Property::SubscriptionIdentifier(_) if role == Role::Server => {
                    return Err(Fault::SubscriptionIdFromClient);
                }
                Property::SubscriptionIdentifier(id) => {
                    if subscription_ids.len() == limits.subscription_ids_max {
                        return Err(Fault::TooMany("subscription identifiers"));
                    }
                    subscription_ids.push(id.0);
                }
                other => message_property(&mut properties, other)?,
            }
        }
    }
    let topic = resolve(topic, topic_alias, limits, aliases)?;
    let message = Arc::new(Message { topic, qos, retain, payload: reader.rest(), properties });
    Ok(Publish { dup, packet_id, topic_alias, subscription_ids, message })
}

/// The topic that topic and alias together stand for (MQTT 5 §3.3.2.3.4).
fn resolve(
    topic: Option<TopicName>,
    alias: Option<NonZeroU16>,
    limits: &PacketLimits,
    aliases: &mut Vec<Option<TopicName>>,
) -> Result<TopicName, Fault> {
    let Some(alias) = alias else {
        return topic.ok_or(Fault::NoTopic);
    };
    let unusable = Fault::TopicAlias { alias: alias.get() };
    if alias.get() > limits.topic_aliases_max {
        return Err(unusable);
    }
    let index = usize::from(alias.get() - 1);
    let Some(topic) = topic else {
        return aliases.get(index).cloned().flatten().ok_or(unusable);
    };
    if aliases.len() <= index {
        aliases.resize(index + 1, None);
    }
    if let Some(known) = aliases.get_mut(index)
        && known.as_ref() != Some(&topic)
    {
        // A copy: an alias outlives its packet, and must not keep a read buffer alive.
        *known = TopicName::try_from(ByteString::from(topic.as_str())).ok();
    }
    Ok(topic)
}
