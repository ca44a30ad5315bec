//! What a data item is, apart from its readings.

use std::sync::Arc;

use muster_schemas::DeviceId;

use crate::Attributes;

/// SHA-256 of a certificate or of content.
pub type Fingerprint = [u8; 32];

/// A stream of a device: what it publishes on `devices/<device>/telemetry/<stream>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The device.
    pub device: DeviceId,
    /// The last level of the topic.
    pub stream: String,
}

/// A data item: readings of one stream, of a limited time, of one place. Access is decided on this and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemInfo {
    /// The device and its stream.
    pub stream: StreamId,
    /// The time of its first reading, in microseconds since 1970.
    pub from_us: i64,
    /// The time of its last reading, in microseconds since 1970: when it was captured, as rules see it.
    pub to_us: i64,
    /// What the device's attributes were when its readings came in; an item never has two sets of them.
    pub attributes: Arc<Attributes>,
    /// Where the device said it was, as a geohash of five characters; none if it did not.
    pub cell: Option<String>,
    /// The certificate that the readings came with; none for a peer without one.
    pub signer: Option<Fingerprint>,
    /// SHA-256 of the encoded columns; none while the item is still open.
    pub hash: Option<Fingerprint>,
}
