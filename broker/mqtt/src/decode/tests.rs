//! What the vectors cannot see: memory, errors as values, and limits other than the default.

use muster_schemas::InvalidTopic;

use super::*;

const CONNECT_V5: &[u8] = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1";

fn server(limits: PacketLimits) -> Decoder {
    let mut decoder = Decoder::new(limits);
    decoder.buffer().extend_from_slice(CONNECT_V5);
    assert!(matches!(decoder.next(), Ok(Some(Packet::Connect(_)))));
    decoder
}

#[test]
fn payload_and_topic_are_slices_of_the_read_buffer() {
    let mut decoder = server(PacketLimits::default());
    decoder.buffer().extend_from_slice(b"\x30\x07\x00\x01a\x00abc");
    let memory = decoder.buffer().as_ptr_range();
    let Ok(Some(Packet::Publish(publish))) = decoder.next() else { panic!("a PUBLISH") };
    assert!(memory.contains(&publish.message.payload.as_ptr()));
    assert!(memory.contains(&publish.message.topic.as_str().as_ptr()));
}

#[test]
fn a_fault_is_repeated_and_names_its_packet() {
    let mut decoder = server(PacketLimits::default());
    decoder.buffer().extend_from_slice(b"\x30\x04\x00\x01+\x00");
    let error = decoder.next().expect_err("a wildcard");
    assert_eq!(error.fault, Fault::TopicName(InvalidTopic::Wildcard));
    assert_eq!(error.version, Some(Version::V5));
    assert_eq!(
        error.to_string(),
        "decode PUBLISH: has a topic name that has a wildcard, which only a filter may have"
    );
    assert_eq!(decoder.next(), Err(error));
}

#[test]
fn the_size_limit_is_checked_before_the_body_arrives() {
    let mut decoder = server(PacketLimits { packet_bytes_max: 100, ..PacketLimits::default() });
    decoder.buffer().extend_from_slice(&[0x30, 98]);
    assert_eq!(decoder.next(), Ok(None));
    let mut decoder = server(PacketLimits { packet_bytes_max: 100, ..PacketLimits::default() });
    decoder.buffer().extend_from_slice(&[0x30, 99]);
    let error = decoder.next().expect_err("too large");
    assert_eq!(error.fault, Fault::TooLarge { bytes: 101, bytes_max: 100 });
    assert_eq!(error.reason_code(), ReasonCode::PacketTooLarge);
}

#[test]
fn the_first_packet_has_its_own_size_limit() {
    let mut decoder = Decoder::new(PacketLimits { connect_bytes_max: 16, ..PacketLimits::default() });
    decoder.buffer().extend_from_slice(CONNECT_V5);
    assert_eq!(decoder.next().expect_err("17 bytes").reason_code(), ReasonCode::PacketTooLarge);
}

#[test]
fn counts_within_a_packet_are_bounded() {
    let limits = PacketLimits { user_properties_max: 1, filters_max: 1, ..PacketLimits::default() };
    let mut decoder = server(limits.clone());
    decoder.buffer().extend_from_slice(b"\x82\x0b\x00\x01\x00\x00\x01a\x00\x00\x01b\x00");
    assert_eq!(decoder.next().expect_err("two filters").fault, Fault::TooMany("topic filters"));
    let mut decoder = server(limits);
    decoder.buffer().extend_from_slice(b"\xe0\x0c\x00\x0a\x26\0\0\0\0\x26\0\0\0\0");
    assert_eq!(decoder.next().expect_err("two pairs").reason_code(), ReasonCode::QuotaExceeded);
}

#[test]
fn an_alias_does_not_keep_the_read_buffer_alive() {
    let mut decoder = server(PacketLimits::default());
    decoder.buffer().extend_from_slice(b"\x30\x07\x00\x01a\x03\x23\x00\x01");
    let first = decoder.next();
    let Ok(Some(Packet::Publish(first))) = first else { panic!("a PUBLISH: {first:?}") };
    decoder.buffer().extend_from_slice(b"\x30\x06\x00\x00\x03\x23\x00\x01");
    let Ok(Some(Packet::Publish(second))) = decoder.next() else { panic!("a PUBLISH") };
    assert_eq!(first.message.topic, second.message.topic);
    assert_ne!(first.message.topic.as_str().as_ptr(), second.message.topic.as_str().as_ptr());
}

#[test]
fn a_client_refuses_what_only_clients_send() {
    let mut decoder = Decoder::client(Version::V311);
    decoder.buffer().extend_from_slice(b"\xc0\x00");
    assert_eq!(decoder.next().expect_err("a PINGREQ").fault, Fault::WrongDirection);
}
