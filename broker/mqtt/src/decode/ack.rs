//! The four acknowledgements of a message (MQTT 5 §3.4 to §3.7), DISCONNECT (§3.14) and AUTH (§3.15): a reason code
//! and properties, both of which may be left out at the end.

use super::{Fault, connect::reason_and_user, reason_code};
use crate::{
    limits::PacketLimits,
    packet::{Ack, Auth, Disconnect, PacketType},
    primitive::Reader,
    properties::{Property, PropertyReader},
    reason::ReasonCode,
    version::Version,
};

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(super) fn ack(
    packet: PacketType,
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
) -> Result<Ack, Fault> {
    let packet_id = reader.packet_id()?;
    let mut ack = Ack::new(packet_id, ReasonCode::Success);
    if version.capabilities().ack_codes && !reader.is_empty() {
        ack.code = reason_code(&mut reader, packet)?;
        let properties = PropertyReader::if_any(&mut reader, limits)?;
        (ack.reason, ack.user_properties) = reason_and_user(properties)?;
    }
    reader.finish()?;
    Ok(ack)
}

/// DISCONNECT.
pub(super) fn disconnect(
    mut reader: Reader,
    version: Version,
    limits: &PacketLimits,
) -> Result<Disconnect, Fault> {
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    if version.capabilities().properties && !reader.is_empty() {
        disconnect.code = reason_code(&mut reader, PacketType::Disconnect)?;
        let mut properties = PropertyReader::if_any(&mut reader, limits)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => disconnect.session_expiry_s = Some(seconds),
                Property::ReasonString(text) => disconnect.reason = Some(text),
                Property::UserProperty(pair) => disconnect.user_properties.push(pair),
                Property::ServerReference(text) => disconnect.server_reference = Some(text),
                other => return PropertyReader::misplaced(&other),
            }
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

/// AUTH.
pub(super) fn auth(mut reader: Reader, limits: &PacketLimits) -> Result<Auth, Fault> {
    let mut auth = Auth {
        code: ReasonCode::Success,
        method: None,
        data: None,
        reason: None,
        user_properties: Vec::new(),
    };
    if !reader.is_empty() {
        auth.code = reason_code(&mut reader, PacketType::Auth)?;
        let mut properties = PropertyReader::if_any(&mut reader, limits)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(text) => auth.method = Some(text),
                Property::AuthenticationData(data) => auth.data = Some(data),
                Property::ReasonString(text) => auth.reason = Some(text),
                Property::UserProperty(pair) => auth.user_properties.push(pair),
                other => return PropertyReader::misplaced(&other),
            }
        }
    }
    reader.finish()?;
    Ok(auth)
}
