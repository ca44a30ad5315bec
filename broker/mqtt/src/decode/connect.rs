//! CONNECT (MQTT 5 §3.1) and CONNACK (§3.2).

use bytestring::ByteString;
use muster_schemas::{Message, MessageProperties, Qos, TopicName};

use super::{Fault, reason_code};
use crate::{
    limits::PacketLimits,
    packet::{
        ConnAck, ConnAckProperties, Connect, ConnectProperties, PacketType, Password, UserProperties, Will,
    },
    primitive::Reader,
    properties::{Property, PropertyReader},
    reason::ReasonCode,
    version::Version,
};

/// Bits of the connect flags (MQTT 5 §3.1.2.3).
struct ConnectFlags(u8);

impl ConnectFlags {
    fn username(&self) -> bool {
        self.0 & 0x80 != 0
    }
    fn password(&self) -> bool {
        self.0 & 0x40 != 0
    }
    fn will_retain(&self) -> bool {
        self.0 & 0x20 != 0
    }
    fn will_qos(&self) -> Result<Qos, Fault> {
        Qos::try_from((self.0 >> 3) & 0x03).map_err(|_| Fault::Qos)
    }
    fn will(&self) -> bool {
        self.0 & 0x04 != 0
    }
    fn clean_start(&self) -> bool {
        self.0 & 0x02 != 0
    }

    fn check(&self, version: Version) -> Result<(), Fault> {
        // [MQTT-3.1.2-3], and without a will its QoS and retain bits are 0 too [MQTT-3.1.2-11], [MQTT-3.1.2-13].
        if self.0 & 0x01 != 0 || (!self.will() && self.0 & 0x38 != 0) {
            return Err(Fault::ReservedBits { bits: self.0 });
        }
        if version == Version::V311 && self.password() && !self.username() {
            return Err(Fault::PasswordWithoutUserName);
        }
        Ok(())
    }
}

/// The protocol name and level at the start of CONNECT (MQTT 5 §3.1.2.1, §3.1.2.2).
pub(super) fn protocol(reader: &mut Reader) -> Result<Version, Fault> {
    let name = reader.text()?;
    let level = reader.u8()?;
    match (&*name, level) {
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        ("MQTT", _) | ("MQIsdp", 3) => Err(Fault::UnsupportedVersion { level }),
        _ => Err(Fault::ProtocolName),
    }
}

/// The rest of CONNECT.
pub(super) fn connect(mut reader: Reader, version: Version, limits: &PacketLimits) -> Result<Connect, Fault> {
    let flags = ConnectFlags(reader.u8()?);
    flags.check(version)?;
    let keep_alive_s = reader.u16()?;
    let properties = match version {
        Version::V5 => connect_properties(&mut reader, limits)?,
        Version::V311 => ConnectProperties::default(),
    };
    let client_id = reader.text()?;
    let client_id =
        if client_id.is_empty() { None } else { Some(client_id.parse().map_err(Fault::ClientId)?) };
    let will = if flags.will() { Some(will(&mut reader, version, limits, &flags)?) } else { None };
    let username = if flags.username() { Some(reader.text()?) } else { None };
    let password = if flags.password() { Some(Password(reader.binary()?)) } else { None };
    reader.finish()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start(),
        keep_alive_s,
        client_id,
        username,
        password,
        will,
        properties,
    })
}

fn connect_properties(reader: &mut Reader, limits: &PacketLimits) -> Result<ConnectProperties, Fault> {
    let mut found = ConnectProperties::default();
    let mut properties = PropertyReader::new(reader, limits)?;
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => found.session_expiry_s = Some(seconds),
            Property::ReceiveMaximum(count) => found.receive_maximum = Some(count),
            Property::MaximumPacketSize(bytes) => found.packet_bytes_max = Some(bytes),
            Property::TopicAliasMaximum(count) => found.topic_alias_max = Some(count),
            Property::RequestResponseInformation(wanted) => found.request_response_information = Some(wanted),
            Property::RequestProblemInformation(wanted) => found.request_problem_information = Some(wanted),
            Property::UserProperty(pair) => found.user_properties.push(pair),
            Property::AuthenticationMethod(method) => found.authentication_method = Some(method),
            Property::AuthenticationData(data) => found.authentication_data = Some(data),
            other => return PropertyReader::misplaced(&other),
        }
    }
    if found.authentication_data.is_some() && found.authentication_method.is_none() {
        return Err(Fault::DataWithoutMethod);
    }
    Ok(found)
}

fn will(
    reader: &mut Reader,
    version: Version,
    limits: &PacketLimits,
    flags: &ConnectFlags,
) -> Result<Will, Fault> {
    let mut delay_interval_s = 0;
    let mut properties = None;
    if version.capabilities().properties {
        let mut reader = PropertyReader::new(reader, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::WillDelayInterval(seconds) => delay_interval_s = seconds,
                other => message_property(&mut properties, other)?,
            }
        }
    }
    let topic = reader.topic_name()?;
    let payload = reader.binary()?;
    let message = Message { topic, qos: flags.will_qos()?, retain: flags.will_retain(), payload, properties };
    Ok(Will { message, delay_interval_s })
}

/// Adds a property that belongs to the message itself, of a PUBLISH or a will. What says nothing is not kept.
pub(super) fn message_property(
    message: &mut Option<Box<MessageProperties>>,
    property: Property,
) -> Result<(), Fault> {
    match property {
        Property::PayloadFormatIndicator(false) => {}
        Property::PayloadFormatIndicator(true) => message.get_or_insert_default().payload_is_utf8 = true,
        Property::MessageExpiryInterval(seconds) => {
            message.get_or_insert_default().expiry_interval_s = Some(seconds);
        }
        Property::ContentType(text) => message.get_or_insert_default().content_type = Some(text),
        Property::ResponseTopic(text) => {
            let topic = TopicName::try_from(text).map_err(Fault::TopicName)?;
            message.get_or_insert_default().response_topic = Some(topic);
        }
        Property::CorrelationData(data) => message.get_or_insert_default().correlation_data = Some(data),
        Property::UserProperty(pair) => message.get_or_insert_default().user_properties.push(pair),
        other => return PropertyReader::misplaced(&other),
    }
    Ok(())
}

/// CONNACK.
pub(super) fn connack(mut reader: Reader, version: Version, limits: &PacketLimits) -> Result<ConnAck, Fault> {
    let flags = reader.u8()?;
    if flags & 0xfe != 0 {
        return Err(Fault::ReservedBits { bits: flags });
    }
    let session_present = flags & 0x01 != 0;
    let ack = match version {
        Version::V311 => {
            let byte = reader.u8()?;
            let code = ReasonCode::from_connack_return_code(byte).ok_or(Fault::UnknownReasonCode(byte))?;
            ConnAck { session_present, code, properties: ConnAckProperties::default() }
        }
        Version::V5 => {
            let code = reason_code(&mut reader, PacketType::ConnAck)?;
            ConnAck { session_present, code, properties: connack_properties(&mut reader, limits)? }
        }
    };
    reader.finish()?;
    Ok(ack)
}

fn connack_properties(reader: &mut Reader, limits: &PacketLimits) -> Result<ConnAckProperties, Fault> {
    let mut found = ConnAckProperties::default();
    let mut properties = PropertyReader::new(reader, limits)?;
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => found.session_expiry_s = Some(seconds),
            Property::ReceiveMaximum(count) => found.receive_maximum = Some(count),
            Property::MaximumQos(one) => found.qos_1_is_maximum = Some(one),
            Property::RetainAvailable(yes) => found.retain_available = Some(yes),
            Property::MaximumPacketSize(bytes) => found.packet_bytes_max = Some(bytes),
            Property::AssignedClientIdentifier(text) => found.assigned_client_id = Some(text),
            Property::TopicAliasMaximum(count) => found.topic_alias_max = Some(count),
            Property::ReasonString(text) => found.reason = Some(text),
            Property::UserProperty(pair) => found.user_properties.push(pair),
            Property::WildcardSubscriptionAvailable(yes) => found.wildcard_subscriptions = Some(yes),
            Property::SubscriptionIdentifierAvailable(yes) => found.subscription_ids = Some(yes),
            Property::SharedSubscriptionAvailable(yes) => found.shared_subscriptions = Some(yes),
            Property::ServerKeepAlive(seconds) => found.server_keep_alive_s = Some(seconds),
            Property::ResponseInformation(text) => found.response_information = Some(text),
            Property::ServerReference(text) => found.server_reference = Some(text),
            Property::AuthenticationMethod(text) => found.authentication_method = Some(text),
            Property::AuthenticationData(data) => found.authentication_data = Some(data),
            other => return PropertyReader::misplaced(&other),
        }
    }
    Ok(found)
}

/// Reads the reason string and the user properties, which are all that many packets have.
pub(super) fn reason_and_user(
    mut properties: PropertyReader,
) -> Result<(Option<ByteString>, UserProperties), Fault> {
    let mut reason = None;
    let mut user_properties = Vec::new();
    while let Some(property) = properties.next()? {
        match property {
            Property::ReasonString(text) => reason = Some(text),
            Property::UserProperty(pair) => user_properties.push(pair),
            other => return PropertyReader::misplaced(&other),
        }
    }
    Ok((reason, user_properties))
}
