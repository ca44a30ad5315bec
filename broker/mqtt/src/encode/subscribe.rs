//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5 §3.8 to §3.11).

use bytestring::ByteString;

use crate::{
    packet::{SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe},
    primitive::Sink,
    properties::{PropertyId, Varint, block, put, put_some, put_user},
    reason::ReasonCode,
    version::Version,
};

pub(super) fn subscribe(packet: &Subscribe, version: Version, sink: &mut dyn Sink) {
    sink.packet_id(packet.packet_id);
    if version.capabilities().properties {
        block(sink, &|sink| {
            if let Some(id) = packet.subscription_id {
                put(sink, PropertyId::SubscriptionIdentifier, &Varint(id));
            }
            put_user(sink, &packet.user_properties);
        });
    }
    for (filter, options) in &packet.filters {
        sink.text(filter.as_str());
        sink.u8(subscription_options(*options, version));
    }
}

fn subscription_options(options: SubscriptionOptions, version: Version) -> u8 {
    let qos = options.qos as u8;
    match version {
        Version::V311 => qos,
        Version::V5 => {
            qos | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | (options.retain_handling as u8) << 4
        }
    }
}

pub(super) fn suback(packet: &SubAck, version: Version, sink: &mut dyn Sink) {
    sink.packet_id(packet.packet_id);
    if version.capabilities().properties {
        reason_and_user(packet.reason.as_ref(), &packet.user_properties, sink);
    }
    for code in &packet.codes {
        // 3.1.1 has one code for every failure (3.1.1 §3.9.3).
        let one_failure = code.is_failure() && version == Version::V311;
        sink.u8(if one_failure { ReasonCode::UnspecifiedError } else { *code }.as_u8());
    }
}

pub(super) fn unsubscribe(packet: &Unsubscribe, version: Version, sink: &mut dyn Sink) {
    sink.packet_id(packet.packet_id);
    if version.capabilities().properties {
        block(sink, &|sink| put_user(sink, &packet.user_properties));
    }
    for filter in &packet.filters {
        sink.text(filter.as_str());
    }
}

pub(super) fn unsuback(packet: &UnsubAck, version: Version, sink: &mut dyn Sink) {
    sink.packet_id(packet.packet_id);
    if version.capabilities().properties {
        reason_and_user(packet.reason.as_ref(), &packet.user_properties, sink);
        for code in &packet.codes {
            sink.u8(code.as_u8());
        }
    }
}

fn reason_and_user(reason: Option<&ByteString>, user: &[(ByteString, ByteString)], sink: &mut dyn Sink) {
    block(sink, &|sink| {
        put_some(sink, PropertyId::ReasonString, reason);
        put_user(sink, user);
    });
}
