//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5 §3.8 to §3.11).

use muster_schemas::{Qos, TopicFilter};

use super::{Fault, connect::reason_and_user, reason_code};
use crate::{
    limits::PacketLimits,
    packet::{PacketType, RetainHandling, SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe},
    primitive::Reader,
    properties::{Property, PropertyId, PropertyReader},
    reason::ReasonCode,
    version::Version,
};

/// What a filter of a shared subscription begins with (MQTT 5 §4.8.2). The rules for it hold in 3.1.1 too, which does not
/// know it, since such a client may share subscriptions all the same.
const SHARED_PREFIX: &str = "$share/";

/// SUBSCRIBE.
pub(super) fn subscribe(
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
) -> Result<Subscribe, Fault> {
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    let mut user_properties = Vec::new();
    if version.capabilities().properties {
        let mut properties = PropertyReader::new(&mut reader, limits)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SubscriptionIdentifier(_) if subscription_id.is_some() => {
                    return Err(Fault::RepeatedProperty(PropertyId::SubscriptionIdentifier));
                }
                Property::SubscriptionIdentifier(id) => subscription_id = Some(id.0),
                Property::UserProperty(pair) => user_properties.push(pair),
                other => return PropertyReader::misplaced(&other),
            }
        }
    }
    let filters = filters(&mut reader, limits, |reader| {
        let filter = filter(reader)?;
        let options = options(reader.u8()?, version)?;
        if options.no_local && filter.as_str().starts_with(SHARED_PREFIX) {
            return Err(Fault::SharedNoLocal);
        }
        Ok((filter, options))
    })?;
    Ok(Subscribe { packet_id, subscription_id, filters, user_properties })
}

fn options(bits: u8, version: Version) -> Result<SubscriptionOptions, Fault> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if bits & reserved != 0 {
        return Err(Fault::ReservedBits { bits });
    }
    Ok(SubscriptionOptions {
        qos: Qos::try_from(bits & 0b11).map_err(|_| Fault::Qos)?,
        no_local: bits & 0b0100 != 0,
        retain_as_published: bits & 0b1000 != 0,
        retain_handling: match bits >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Fault::RetainHandling),
        },
    })
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe(
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
) -> Result<Unsubscribe, Fault> {
    let packet_id = reader.packet_id()?;
    let mut user_properties = Vec::new();
    if version.capabilities().properties {
        let mut properties = PropertyReader::new(&mut reader, limits)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::UserProperty(pair) => user_properties.push(pair),
                other => return PropertyReader::misplaced(&other),
            }
        }
    }
    let filters: Vec<TopicFilter> = filters(&mut reader, limits, filter)?;
    Ok(Unsubscribe { packet_id, filters, user_properties })
}

/// A filter; that of a shared subscription has a share name without wildcards, and a filter of its own after it
/// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
fn filter(reader: &mut Reader) -> Result<TopicFilter, Fault> {
    let filter = reader.topic_filter()?;
    let is_shared = filter.as_str() == "$share" || filter.as_str().starts_with(SHARED_PREFIX);
    if is_shared {
        let (name, rest) =
            filter.as_str().get(SHARED_PREFIX.len()..).unwrap_or("").split_once('/').unwrap_or_default();
        if name.is_empty() || name.contains(['+', '#']) || rest.is_empty() {
            return Err(Fault::SharedFilter);
        }
    }
    Ok(filter)
}

/// The payload of both: at least one, and at most as many as we take.
fn filters<T>(
    reader: &mut Reader,
    limits: &PacketLimits,
    mut read: impl FnMut(&mut Reader) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut filters = Vec::new();
    while !reader.is_empty() {
        if filters.len() == limits.filters_max {
            return Err(Fault::TooMany("topic filters"));
        }
        filters.push(read(reader)?);
    }
    if filters.is_empty() { Err(Fault::NoFilters) } else { Ok(filters) }
}

/// SUBACK.
pub(super) fn suback(mut reader: Reader, version: Version, limits: &PacketLimits) -> Result<SubAck, Fault> {
    let packet_id = reader.packet_id()?;
    let (reason, user_properties) = match version {
        Version::V5 => reason_and_user(PropertyReader::new(&mut reader, limits)?)?,
        Version::V311 => (None, Vec::new()),
    };
    let codes = codes(&mut reader, limits, PacketType::SubAck)?;
    if version == Version::V311
        && let Some(code) = codes.iter().find(|code| code.as_u8() > 0x80)
    {
        return Err(Fault::MisplacedReasonCode(*code));
    }
    Ok(SubAck { packet_id, codes, reason, user_properties })
}

/// UNSUBACK.
pub(super) fn unsuback(
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
) -> Result<UnsubAck, Fault> {
    let packet_id = reader.packet_id()?;
    if version == Version::V311 {
        reader.finish()?;
        return Ok(UnsubAck { packet_id, codes: Vec::new(), reason: None, user_properties: Vec::new() });
    }
    let (reason, user_properties) = reason_and_user(PropertyReader::new(&mut reader, limits)?)?;
    let codes = codes(&mut reader, limits, PacketType::UnsubAck)?;
    Ok(UnsubAck { packet_id, codes, reason, user_properties })
}

fn codes(reader: &mut Reader, limits: &PacketLimits, packet: PacketType) -> Result<Vec<ReasonCode>, Fault> {
    filters(reader, limits, |reader| reason_code(reader, packet))
}
