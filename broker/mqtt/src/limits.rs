//! Bounds of the codec and of a session, unit last. What happens at each bound is written beside it.

use std::time::Duration;

/// Largest Remaining Length that four bytes can say (MQTT 5 §1.5.5), in bytes.
pub const REMAINING_LENGTH_BYTES_MAX: usize = 268_435_455;
/// Longest fixed header: one byte of type and flags, four of length.
pub const FIXED_HEADER_BYTES_MAX: usize = 5;
/// Longest string or binary field: its length is two bytes, in bytes.
pub const FIELD_BYTES_MAX: usize = 65_535;
/// From this size on a payload leaves as a chunk of its own, shared and not copied, in bytes.
pub const PAYLOAD_CHUNK_BYTES_MIN: usize = 4_096;
/// Longest reason string that we send; the rest is cut off at a character, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Packet ids that deliveries take turns through before one is used again, so that a late or repeated
/// acknowledgement does not meet the next message.
pub const PACKET_ID_ROTATION_MIN: usize = 64;
/// SUBSCRIBE and UNSUBSCRIBE that wait for their answer. One more closes with quota exceeded.
pub const SUBSCRIBES_PENDING_MAX: usize = 1_024;
/// Topic aliases that we use towards a client, at most; its own maximum may be lower. Each keeps a topic in memory, which
/// has at most 4 KiB.
pub const TOPIC_ALIASES_SENT_MAX: u16 = 32;
/// Shortest topic that we use an alias for: the alias itself takes up to four bytes, in bytes.
pub const TOPIC_ALIAS_TOPIC_BYTES_MIN: usize = 8;

/// What a decoder accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketLimits {
    /// Largest first packet, header included, in bytes. Larger: packet too large, before its body is read.
    pub connect_bytes_max: usize,
    /// Largest other packet, header included, in bytes. Larger: packet too large, before its body is read.
    pub packet_bytes_max: usize,
    /// Topic aliases a peer may define on its connection. A higher one: topic alias invalid.
    pub topic_aliases_max: u16,
    /// User properties in one packet. More: quota exceeded.
    pub user_properties_max: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE. More: quota exceeded.
    pub filters_max: usize,
    /// Subscription identifiers in one PUBLISH (towards a client only). More: quota exceeded.
    pub subscription_ids_max: usize,
}

impl Default for PacketLimits {
    fn default() -> Self {
        Self {
            connect_bytes_max: 64 * 1024,
            packet_bytes_max: 256 * 1024,
            topic_aliases_max: 16,
            user_properties_max: 64,
            filters_max: 1_024,
            subscription_ids_max: 1_024,
        }
    }
}

/// What a session holds and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// From the first byte's possibility to CONNACK. Later: closed.
    pub connect_ms_max: u64,
    /// Packets a client may send before its CONNACK. More: closed with quota exceeded.
    pub early_packets_max: usize,
    /// Bytes of topic, filter and payload in those packets. More: closed with quota exceeded.
    pub early_bytes_max: usize,
    /// Deliveries at QoS 1 and 2 that wait for the client, at most; its own Receive Maximum may be lower. At the
    /// bound further ones wait in the delivery queue.
    pub inflight_messages_max: u16,
    /// Messages in the delivery queue. More: closed with quota exceeded.
    pub queued_messages_max: usize,
    /// Bytes of topic and payload in the delivery queue. More: closed with quota exceeded.
    pub queued_bytes_max: usize,
    /// Bytes put out and not yet written. Above it QoS 0 is dropped and counted, QoS 1 and 2 wait in the queue.
    pub outgoing_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            connect_ms_max: 10_000,
            early_packets_max: 64,
            early_bytes_max: 64 * 1024,
            inflight_messages_max: 1_024,
            queued_messages_max: 10_000,
            queued_bytes_max: 16 * 1024 * 1024,
            outgoing_bytes_max: 1024 * 1024,
        }
    }
}

impl SessionLimits {
    /// Time from the opening of a connection to its CONNACK.
    pub fn connect_time_max(&self) -> Duration {
        Duration::from_millis(self.connect_ms_max)
    }
}

const _: () = assert!(REASON_BYTES_MAX <= FIELD_BYTES_MAX, "a reason string is a field");
const _: () = assert!(
    FIELD_BYTES_MAX < REMAINING_LENGTH_BYTES_MAX,
    "every packet that we compose of a few fields fits its length"
);
