//! CONNECT (MQTT 5 §3.1) and CONNACK (§3.2).

use muster_schemas::MessageProperties;

use crate::{
    packet::{ConnAck, Connect, Will},
    primitive::Sink,
    properties::{PropertyId, block, put, put_some, put_user},
    version::Version,
};

pub(super) fn connect(packet: &Connect, sink: &mut dyn Sink) {
    let with_properties = packet.version.capabilities().properties;
    sink.text("MQTT");
    sink.u8(packet.version as u8);
    sink.u8(connect_flags(packet));
    sink.u16(packet.keep_alive_s);
    if with_properties {
        block(sink, &|sink| {
            let properties = &packet.properties;
            put_some(sink, PropertyId::SessionExpiryInterval, properties.session_expiry_s.as_ref());
            put_some(sink, PropertyId::ReceiveMaximum, properties.receive_maximum.as_ref());
            put_some(sink, PropertyId::MaximumPacketSize, properties.packet_bytes_max.as_ref());
            put_some(sink, PropertyId::TopicAliasMaximum, properties.topic_alias_max.as_ref());
            put_some(
                sink,
                PropertyId::RequestResponseInformation,
                properties.request_response_information.as_ref(),
            );
            put_some(
                sink,
                PropertyId::RequestProblemInformation,
                properties.request_problem_information.as_ref(),
            );
            put_user(sink, &properties.user_properties);
            put_some(sink, PropertyId::AuthenticationMethod, properties.authentication_method.as_ref());
            put_some(sink, PropertyId::AuthenticationData, properties.authentication_data.as_ref());
        });
    }
    sink.text(packet.client_id.as_ref().map_or("", |id| id.as_str()));
    if let Some(Will { message, delay_interval_s }) = &packet.will {
        if with_properties {
            block(sink, &|sink| {
                if *delay_interval_s > 0 {
                    put(sink, PropertyId::WillDelayInterval, delay_interval_s);
                }
                if let Some(properties) = &message.properties {
                    message_properties(properties, None, sink);
                }
            });
        }
        sink.text(message.topic.as_str());
        sink.binary(&message.payload);
    }
    if let Some(username) = &packet.username {
        sink.text(username);
    }
    if let Some(password) = &packet.password {
        sink.binary(&password.0);
    }
}

fn connect_flags(packet: &Connect) -> u8 {
    let mut flags = u8::from(packet.clean_start) << 1;
    flags |= u8::from(packet.username.is_some()) << 7;
    flags |= u8::from(packet.password.is_some()) << 6;
    if let Some(will) = &packet.will {
        flags |= 0x04 | (will.message.qos as u8) << 3 | u8::from(will.message.retain) << 5;
    }
    flags
}

/// The properties that belong to a message itself, of a PUBLISH or a will. `expiry_left_s` replaces an expiry interval.
pub(super) fn message_properties(
    properties: &MessageProperties,
    expiry_left_s: Option<u32>,
    sink: &mut dyn Sink,
) {
    if properties.payload_is_utf8 {
        put(sink, PropertyId::PayloadFormatIndicator, &true);
    }
    let expiry_s = properties.expiry_interval_s.map(|seconds| expiry_left_s.unwrap_or(seconds));
    put_some(sink, PropertyId::MessageExpiryInterval, expiry_s.as_ref());
    put_some(sink, PropertyId::ContentType, properties.content_type.as_ref());
    if let Some(topic) = &properties.response_topic {
        sink.u8(PropertyId::ResponseTopic as u8);
        sink.text(topic.as_str());
    }
    put_some(sink, PropertyId::CorrelationData, properties.correlation_data.as_ref());
    put_user(sink, &properties.user_properties);
}

pub(super) fn connack(packet: &ConnAck, version: Version, sink: &mut dyn Sink) {
    sink.u8(packet.session_present.into());
    if version == Version::V311 {
        // Codes without a return code are not sent in 3.1.1; "server unavailable" is the nearest to none.
        sink.u8(packet.code.connack_return_code().unwrap_or(3));
        return;
    }
    sink.u8(packet.code.as_u8());
    block(sink, &|sink| {
        let properties = &packet.properties;
        put_some(sink, PropertyId::SessionExpiryInterval, properties.session_expiry_s.as_ref());
        put_some(sink, PropertyId::ReceiveMaximum, properties.receive_maximum.as_ref());
        put_some(sink, PropertyId::MaximumQos, properties.qos_1_is_maximum.as_ref());
        put_some(sink, PropertyId::RetainAvailable, properties.retain_available.as_ref());
        put_some(sink, PropertyId::MaximumPacketSize, properties.packet_bytes_max.as_ref());
        put_some(sink, PropertyId::AssignedClientIdentifier, properties.assigned_client_id.as_ref());
        put_some(sink, PropertyId::TopicAliasMaximum, properties.topic_alias_max.as_ref());
        put_some(sink, PropertyId::ReasonString, properties.reason.as_ref());
        put_user(sink, &properties.user_properties);
        put_some(sink, PropertyId::WildcardSubscriptionAvailable, properties.wildcard_subscriptions.as_ref());
        put_some(sink, PropertyId::SubscriptionIdentifierAvailable, properties.subscription_ids.as_ref());
        put_some(sink, PropertyId::SharedSubscriptionAvailable, properties.shared_subscriptions.as_ref());
        put_some(sink, PropertyId::ServerKeepAlive, properties.server_keep_alive_s.as_ref());
        put_some(sink, PropertyId::ResponseInformation, properties.response_information.as_ref());
        put_some(sink, PropertyId::ServerReference, properties.server_reference.as_ref());
        put_some(sink, PropertyId::AuthenticationMethod, properties.authentication_method.as_ref());
        put_some(sink, PropertyId::AuthenticationData, properties.authentication_data.as_ref());
    });
}
