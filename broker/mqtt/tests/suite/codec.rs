//! Properties of the codec, over packets and bytes that nobody thought of.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
};

use bytes::Bytes;
use bytestring::ByteString;
use muster_mqtt::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, DecodeError, Decoder, Disconnect,
    Outgoing, Packet, PacketId, PacketLimits, PacketType, Password, Publish, ReasonCode, RetainHandling,
    SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe, UserProperties, Version, Will, encode,
    encoded_len,
};
use muster_schemas::{ClientId, Message, MessageProperties, Qos, TopicFilter, TopicName};
use proptest::{collection::vec, option::of, prelude::*, sample::select};

use crate::stub::Stub;

fn text() -> impl Strategy<Value = ByteString> {
    "[^\u{0}]{0,12}".prop_map(ByteString::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn user() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-zü$ ]{1,5}(/[a-z0-9]{0,4}){0,3}".prop_map(|text| text.parse().expect("a topic name"))
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    "(/|\\+/|[a-zü]{1,5}/){0,3}(#|\\+|[a-z]{1,3})".prop_map(|text| text.parse().expect("a topic filter"))
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId::from)
}

fn code(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(packet)).collect();
    select(allowed)
}

fn message() -> impl Strategy<Value = Message> {
    let properties = (any::<bool>(), of(any::<u32>()), of(text()), of(topic()), of(binary()), user())
        .prop_map(
            |(
                payload_is_utf8,
                expiry_interval_s,
                content_type,
                response_topic,
                correlation_data,
                user_properties,
            )| {
                let properties = MessageProperties {
                    payload_is_utf8,
                    expiry_interval_s,
                    content_type,
                    response_topic,
                    correlation_data,
                    user_properties,
                };
                // What says nothing is not kept when decoded.
                (properties != MessageProperties::default()).then(|| Box::new(properties))
            },
        );
    let payload =
        prop_oneof![9 => 0..40_usize, 1 => 4_000..5_000_usize].prop_map(|size| Bytes::from(vec![b'x'; size]));
    (topic(), qos(), any::<bool>(), payload, properties).prop_map(
        |(topic, qos, retain, payload, properties)| Message { topic, qos, retain, payload, properties },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let properties = (
        (of(any::<u32>()), of(any::<NonZeroU16>()), of(any::<NonZeroU32>()), of(any::<u16>())),
        (of(any::<bool>()), of(any::<bool>()), user(), of(text()), of(binary())),
    )
        .prop_map(|(numbers, rest)| ConnectProperties {
            session_expiry_s: numbers.0,
            receive_maximum: numbers.1,
            packet_bytes_max: numbers.2,
            topic_alias_max: numbers.3,
            request_response_information: rest.0,
            request_problem_information: rest.1,
            user_properties: rest.2,
            authentication_data: rest.3.as_ref().and(rest.4),
            authentication_method: rest.3,
        });
    let client_id = of("[a-z0-9ü]{1,20}".prop_map(|text| text.parse::<ClientId>().expect("a client id")));
    let will = of((message(), any::<u32>()))
        .prop_map(|will| will.map(|(message, delay_interval_s)| Will { message, delay_interval_s }));
    (any::<bool>(), any::<u16>(), client_id, of(text()), of(binary()), will, properties).prop_map(
        move |(clean_start, keep_alive_s, client_id, username, password, will, properties)| {
            let password = password.map(Password).filter(|_| version == Version::V5 || username.is_some());
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id,
                username,
                password,
                will,
                properties,
            }))
        },
    )
}

fn connack() -> impl Strategy<Value = Packet> {
    let numbers = (
        of(any::<u32>()),
        of(any::<NonZeroU16>()),
        of(any::<NonZeroU32>()),
        of(any::<u16>()),
        of(any::<u16>()),
    );
    let flags = [(); 5].map(|()| of(any::<bool>()));
    let texts = [(); 5].map(|()| of(text()));
    let properties = (numbers, flags, texts, user(), of(binary())).prop_map(
        |(numbers, flags, [assigned, reason, response, server, method], user_properties, data)| {
            ConnAckProperties {
                session_expiry_s: numbers.0,
                receive_maximum: numbers.1,
                packet_bytes_max: numbers.2,
                topic_alias_max: numbers.3,
                server_keep_alive_s: numbers.4,
                qos_1_is_maximum: flags[0],
                retain_available: flags[1],
                wildcard_subscriptions: flags[2],
                subscription_ids: flags[3],
                shared_subscriptions: flags[4],
                assigned_client_id: assigned,
                reason,
                user_properties,
                response_information: response,
                server_reference: server,
                authentication_method: method,
                authentication_data: data,
            }
        },
    );
    (any::<bool>(), code(PacketType::ConnAck), properties).prop_map(|(session_present, code, properties)| {
        Packet::ConnAck(Box::new(ConnAck { session_present, code, properties }))
    })
}

fn ack(packet: PacketType) -> impl Strategy<Value = Ack> {
    (packet_id(), code(packet), of(text()), user()).prop_map(|(packet_id, code, reason, user_properties)| {
        Ack { packet_id, code, reason, user_properties }
    })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

/// A PUBLISH as either end may send it.
fn publish() -> impl Strategy<Value = Packet> {
    (any::<bool>(), packet_id(), of(1..=16_u16), message()).prop_map(|(dup, id, alias, message)| {
        let acknowledged = message.qos != Qos::AtMostOnce;
        Packet::Publish(Publish {
            dup: dup && acknowledged,
            packet_id: acknowledged.then_some(id),
            topic_alias: alias.and_then(NonZeroU16::new),
            subscription_ids: Default::default(),
            message: message.into(),
        })
    })
}

fn either_end() -> impl Strategy<Value = Packet> {
    prop_oneof![
        4 => publish(),
        1 => ack(PacketType::PubAck).prop_map(Packet::PubAck),
        1 => ack(PacketType::PubRec).prop_map(Packet::PubRec),
        1 => ack(PacketType::PubRel).prop_map(Packet::PubRel),
        1 => ack(PacketType::PubComp).prop_map(Packet::PubComp),
        1 => (code(PacketType::Disconnect), of(any::<u32>()), of(text()), user(), of(text())).prop_map(
            |(code, session_expiry_s, reason, user_properties, server_reference)| Packet::Disconnect(Disconnect {
                code, session_expiry_s, reason, user_properties, server_reference,
            }),
        ),
        1 => (code(PacketType::Auth), of(text()), of(binary()), of(text()), user()).prop_map(
            |(code, method, data, reason, user_properties)| Packet::Auth(Auth {
                code, method, data, reason, user_properties,
            }),
        ),
    ]
}

fn of_client() -> impl Strategy<Value = Packet> {
    prop_oneof![
        4 => either_end(),
        1 => Just(Packet::PingReq),
        1 => (packet_id(), of(1..=268_435_455_u32), vec((filter(), options()), 1..4), user()).prop_map(
            |(packet_id, subscription_id, filters, user_properties)| Packet::Subscribe(Subscribe {
                packet_id, subscription_id, filters, user_properties,
            }),
        ),
        1 => (packet_id(), vec(filter(), 1..4), user()).prop_map(
            |(packet_id, filters, user_properties)| Packet::Unsubscribe(Unsubscribe {
                packet_id, filters, user_properties,
            }),
        ),
    ]
}

fn of_server() -> impl Strategy<Value = Packet> {
    prop_oneof![
        4 => either_end(),
        2 => (publish(), vec(1..=268_435_455_u32, 0..4)).prop_map(|(packet, ids)| match packet {
            Packet::Publish(publish) => Packet::Publish(Publish { subscription_ids: ids.into(), ..publish }),
            other => other,
        }),
        1 => Just(Packet::PingResp),
        2 => connack(),
        1 => (packet_id(), vec(code(PacketType::SubAck), 1..4), of(text()), user()).prop_map(
            |(packet_id, codes, reason, user_properties)| Packet::SubAck(SubAck {
                packet_id, codes, reason, user_properties,
            }),
        ),
        1 => (packet_id(), vec(code(PacketType::UnsubAck), 1..4), of(text()), user()).prop_map(
            |(packet_id, codes, reason, user_properties)| Packet::UnsubAck(UnsubAck {
                packet_id, codes, reason, user_properties,
            }),
        ),
    ]
}

/// What of a packet `version` can say.
fn said_in(packet: Packet, version: Version) -> Option<Packet> {
    if version == Version::V5 {
        return Some(packet);
    }
    Some(match packet {
        Packet::Connect(mut connect) => {
            connect.properties = ConnectProperties::default();
            if let Some(will) = &mut connect.will {
                will.delay_interval_s = 0;
                will.message.properties = None;
            }
            Packet::Connect(connect)
        }
        Packet::ConnAck(mut connack) => {
            connack.properties = ConnAckProperties::default();
            let byte = connack.code.connack_return_code()?;
            connack.code = ReasonCode::from_connack_return_code(byte)?;
            Packet::ConnAck(connack)
        }
        Packet::Publish(mut publish) => {
            publish.topic_alias = None;
            publish.subscription_ids.clear();
            Arc::make_mut(&mut publish.message).properties = None;
            Packet::Publish(publish)
        }
        Packet::PubAck(ack) => Packet::PubAck(Ack::new(ack.packet_id, ReasonCode::Success)),
        Packet::PubRec(ack) => Packet::PubRec(Ack::new(ack.packet_id, ReasonCode::Success)),
        Packet::PubRel(ack) => Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::Success)),
        Packet::PubComp(ack) => Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)),
        Packet::Subscribe(mut subscribe) => {
            subscribe.subscription_id = None;
            subscribe.user_properties.clear();
            for (_, options) in &mut subscribe.filters {
                *options = SubscriptionOptions { qos: options.qos, ..SubscriptionOptions::default() };
            }
            Packet::Subscribe(subscribe)
        }
        Packet::SubAck(mut suback) => {
            suback.reason = None;
            suback.user_properties.clear();
            for code in &mut suback.codes {
                *code = if code.is_failure() { ReasonCode::UnspecifiedError } else { *code };
            }
            Packet::SubAck(suback)
        }
        Packet::Unsubscribe(mut unsubscribe) => {
            unsubscribe.user_properties.clear();
            Packet::Unsubscribe(unsubscribe)
        }
        Packet::UnsubAck(unsuback) => Packet::UnsubAck(UnsubAck {
            packet_id: unsuback.packet_id,
            codes: Vec::new(),
            reason: None,
            user_properties: Vec::new(),
        }),
        Packet::Disconnect(_) => Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
        Packet::Auth(_) => return None,
        Packet::PingReq | Packet::PingResp => packet,
    })
}

fn encoded(packets: &[Packet], version: Version) -> Vec<u8> {
    let mut outgoing = Outgoing::default();
    for packet in packets {
        let before = outgoing.len();
        encode(packet, version, &mut outgoing);
        assert_eq!(outgoing.len() - before, encoded_len(packet, version), "{packet:?}");
    }
    outgoing.take_chunks().concat()
}

/// Decodes bytes that arrive in pieces of these sizes, over and over, and then the rest.
fn decoded(mut decoder: Decoder, mut bytes: &[u8], pieces: &[usize]) -> Result<Vec<Packet>, DecodeError> {
    let mut packets = Vec::new();
    let mut pieces = pieces.iter().cycle();
    while !bytes.is_empty() {
        let size = pieces.next().map_or(bytes.len(), |size| (*size).clamp(1, bytes.len()));
        let (piece, rest) = bytes.split_at(size);
        decoder.buffer().extend_from_slice(piece);
        bytes = rest;
        while let Some(packet) = decoder.next()? {
            packets.push(packet);
        }
    }
    Ok(packets)
}

fn versions() -> impl Strategy<Value = Version> {
    select(vec![Version::V311, Version::V5])
}

proptest! {
    #[test]
    fn what_a_client_encodes_the_server_decodes(
        (version, connect) in versions().prop_flat_map(|version| (Just(version), connect(version))),
        packets in vec(of_client(), 0..8),
        pieces in vec(1..40_usize, 0..8),
    ) {
        let packets: Vec<Packet> =
            std::iter::once(connect).chain(packets).filter_map(|packet| said_in(packet, version)).collect();
        let bytes = encoded(&packets, version);
        let server = || Decoder::new(PacketLimits::default());
        prop_assert_eq!(&decoded(server(), &bytes, &[])?, &packets);
        prop_assert_eq!(&decoded(server(), &bytes, &pieces)?, &packets);
        prop_assert_eq!(&decoded(server(), &bytes, &[1])?, &packets);
    }

    #[test]
    fn what_a_server_encodes_the_client_decodes(
        version in versions(),
        packets in vec(of_server(), 0..8),
        pieces in vec(1..40_usize, 0..8),
    ) {
        let packets: Vec<Packet> = packets.into_iter().filter_map(|packet| said_in(packet, version)).collect();
        let bytes = encoded(&packets, version);
        prop_assert_eq!(&decoded(Decoder::client(version), &bytes, &[])?, &packets);
        prop_assert_eq!(&decoded(Decoder::client(version), &bytes, &pieces)?, &packets);
    }

    #[test]
    fn arbitrary_bytes_end_the_same_however_they_arrive(
        version in versions(),
        bytes in vec(any::<u8>(), 0..200),
        pieces in vec(1..40_usize, 0..8),
    ) {
        let whole = decoded(Decoder::client(version), &bytes, &[]);
        prop_assert_eq!(whole, decoded(Decoder::client(version), &bytes, &pieces));
    }

    #[test]
    fn a_session_survives_mutated_packets(
        (version, connect) in versions().prop_flat_map(|version| (Just(version), connect(version))),
        packets in vec(of_client(), 1..8),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        pieces in vec(1..100_usize, 1..4),
    ) {
        let packets: Vec<Packet> =
            std::iter::once(connect).chain(packets).filter_map(|packet| said_in(packet, version)).collect();
        let mut bytes = encoded(&packets, version);
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= byte;
        }
        let mut stub = Stub::new();
        let mut answer = Vec::new();
        let mut rest = bytes.as_slice();
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            answer.extend(stub.send(piece));
            rest = after;
        }
        // What a session says is always packets.
        stub.wait_ms(10_000_000);
        answer.extend(stub.send(&[]));
        let mut client = Decoder::client(stub.version());
        client.buffer().extend_from_slice(&answer);
        while client.next()?.is_some() {}
        prop_assert!(client.buffer().is_empty());
        prop_assert!(stub.buffered_bytes() <= PacketLimits::default().packet_bytes_max);
    }

    #[test]
    fn a_decoder_holds_no_more_than_arrived(first in select(vec![0x10_u8, 0x30, 0x82]), length in any::<[u8; 4]>()) {
        let mut decoder = Decoder::new(PacketLimits::default());
        decoder.buffer().extend_from_slice(&[first]);
        decoder.buffer().extend_from_slice(&length);
        let _ = decoder.next();
        prop_assert!(decoder.buffer().capacity() <= 64, "{} bytes", decoder.buffer().capacity());
    }
}
