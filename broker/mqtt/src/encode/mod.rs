//! Packets to bytes. Each layout is described once; run on a measure it gives the length, run on the buffer the bytes.

mod connect;
mod publish;
mod subscribe;

pub(crate) use publish::{PublishFrame, PublishHead};

use bytes::{BufMut, BytesMut};

use crate::{
    limits::{FIXED_HEADER_BYTES_MAX, REMAINING_LENGTH_BYTES_MAX},
    outgoing::Outgoing,
    packet::{Ack, Auth, Disconnect, Packet, PacketType},
    primitive::{Measure, Sink, varint_len},
    properties::{PropertyId, block, put_some, put_user},
    reason::ReasonCode,
    version::Version,
};

/// Appends a packet to `out` as `version` writes it; what that version cannot say is left out. A CONNECT names its
/// own version. A packet that no Remaining Length can tell (256 MiB) is left out altogether.
pub fn encode(packet: &Packet, version: Version, out: &mut Outgoing) {
    match packet {
        Packet::Publish(publish) => {
            let head = PublishHead::of(publish);
            PublishFrame::new(head, &publish.message, version).write(out);
        }
        Packet::PingResp => bare(&[0xd0, 0], out),
        Packet::PingReq => bare(&[0xc0, 0], out),
        _ => framed(packet, version, out),
    }
}

/// Bytes that [`encode`] would append.
pub fn encoded_len(packet: &Packet, version: Version) -> usize {
    if let Packet::Publish(publish) = packet {
        return PublishFrame::new(PublishHead::of(publish), &publish.message, version).encoded_len();
    }
    let mut measure = Measure::default();
    body(packet, version, &mut measure);
    1 + varint_len(measure.0) + measure.0
}

/// A packet without anything to measure.
fn bare(bytes: &[u8], out: &mut Outgoing) {
    out.count_packet();
    out.push(bytes);
}

fn framed(packet: &Packet, version: Version, out: &mut Outgoing) {
    let mut measure = Measure::default();
    body(packet, version, &mut measure);
    let packet_type = packet.packet_type();
    fixed_header((packet_type as u8) << 4 | packet_type.flags(), measure.0, out, |tail| {
        body(packet, version, tail);
    });
}

/// Writes first byte and length, and then, if the length can be told, what `write` writes.
fn fixed_header(first: u8, remaining: usize, out: &mut Outgoing, write: impl FnOnce(&mut BytesMut)) {
    if remaining > REMAINING_LENGTH_BYTES_MAX {
        return;
    }
    out.count_packet();
    let tail = out.tail();
    tail.reserve(FIXED_HEADER_BYTES_MAX + remaining);
    tail.put_u8(first);
    tail.varint(remaining);
    write(tail);
}

/// What follows the fixed header.
fn body(packet: &Packet, version: Version, sink: &mut dyn Sink) {
    match packet {
        Packet::Connect(packet) => connect::connect(packet, sink),
        Packet::ConnAck(packet) => connect::connack(packet, version, sink),
        // A PUBLISH has its own way, `PublishFrame`; a PING has no body.
        Packet::Publish(_) | Packet::PingReq | Packet::PingResp => {}
        Packet::PubAck(packet)
        | Packet::PubRec(packet)
        | Packet::PubRel(packet)
        | Packet::PubComp(packet) => {
            ack(packet, version, sink);
        }
        Packet::Subscribe(packet) => subscribe::subscribe(packet, version, sink),
        Packet::SubAck(packet) => subscribe::suback(packet, version, sink),
        Packet::Unsubscribe(packet) => subscribe::unsubscribe(packet, version, sink),
        Packet::UnsubAck(packet) => subscribe::unsuback(packet, version, sink),
        Packet::Disconnect(packet) => disconnect(packet, version, sink),
        Packet::Auth(packet) => auth(packet, sink),
    }
}

fn ack(ack: &Ack, version: Version, sink: &mut dyn Sink) {
    sink.packet_id(ack.packet_id);
    let bare = ack.reason.is_none() && ack.user_properties.is_empty();
    if !version.capabilities().ack_codes || (bare && ack.code == ReasonCode::Success) {
        return;
    }
    sink.u8(ack.code.as_u8());
    if !bare {
        block(sink, &|sink| {
            put_some(sink, PropertyId::ReasonString, ack.reason.as_ref());
            put_user(sink, &ack.user_properties);
        });
    }
}

/// Appends an acknowledgement with nothing but its code; the frequent case, without measuring.
pub(crate) fn bare_ack(packet: PacketType, ack: &Ack, version: Version, out: &mut Outgoing) {
    let first = (packet as u8) << 4 | packet.flags();
    let [high, low] = ack.packet_id.get().to_be_bytes();
    if ack.code == ReasonCode::Success || !version.capabilities().ack_codes {
        bare(&[first, 2, high, low], out);
    } else {
        bare(&[first, 3, high, low, ack.code.as_u8()], out);
    }
}

fn disconnect(packet: &Disconnect, version: Version, sink: &mut dyn Sink) {
    let bare = *packet == Disconnect::new(packet.code);
    if !version.capabilities().properties || (bare && packet.code == ReasonCode::Success) {
        return;
    }
    sink.u8(packet.code.as_u8());
    if !bare {
        block(sink, &|sink| {
            put_some(sink, PropertyId::SessionExpiryInterval, packet.session_expiry_s.as_ref());
            put_some(sink, PropertyId::ReasonString, packet.reason.as_ref());
            put_user(sink, &packet.user_properties);
            put_some(sink, PropertyId::ServerReference, packet.server_reference.as_ref());
        });
    }
}

fn auth(packet: &Auth, sink: &mut dyn Sink) {
    let bare = packet.method.is_none()
        && packet.data.is_none()
        && packet.reason.is_none()
        && packet.user_properties.is_empty();
    if bare && packet.code == ReasonCode::Success {
        return;
    }
    sink.u8(packet.code.as_u8());
    block(sink, &|sink| {
        put_some(sink, PropertyId::AuthenticationMethod, packet.method.as_ref());
        put_some(sink, PropertyId::AuthenticationData, packet.data.as_ref());
        put_some(sink, PropertyId::ReasonString, packet.reason.as_ref());
        put_user(sink, &packet.user_properties);
    });
}
