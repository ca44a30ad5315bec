//! What the telemetry actor is told and asked.

use actix::Message;
use muster_schemas::{DeviceId, TenantId, api::Retention};

use muster_items::StreamId;

use super::reading::Reading;

/// Asks for the last reading of every name.
#[derive(Debug, Clone)]
pub struct Last {
    /// The tenant.
    pub tenant: TenantId,
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of streams of this name.
    pub stream: Option<String>,
}

impl Message for Last {
    type Result = Result<LastReadings, QueryRefusal>;
}

/// The last readings, by device, stream and the order of their keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LastReadings {
    /// The readings.
    pub readings: Vec<(StreamId, Reading)>,
    /// Whether there are more than one answer holds: ask for one device.
    pub truncated: bool,
}

/// Asks for the readings of one stream, oldest first.
#[derive(Debug, Clone)]
pub struct Range {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Its stream.
    pub stream: String,
    /// From this time on, in milliseconds since 1970.
    pub from_ms: i64,
    /// Before this time, in milliseconds since 1970.
    pub to_ms: i64,
    /// At most so many: 1 to 1,000.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl Message for Range {
    type Result = Result<Page, QueryRefusal>;
}

/// Stores all that is open, of one tenant or of all, and is answered when it is on the disk.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The tenant.
    pub tenant: Option<TenantId>,
}

impl Message for Settle {
    type Result = ();
}

/// Asks how long streams are kept.
#[derive(Debug, Clone)]
pub struct ReadRetention {
    /// The tenant.
    pub tenant: TenantId,
}

impl Message for ReadRetention {
    type Result = Result<Retention, QueryRefusal>;
}

/// Sets how long streams are kept. What is old by the new rules goes within the hour.
#[derive(Debug, Clone)]
pub struct SetRetention {
    /// The tenant.
    pub tenant: TenantId,
    /// The rules, instead of those before.
    pub rules: Retention,
}

impl Message for SetRetention {
    type Result = Result<(), QueryRefusal>;
}

/// A page of readings of one stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The readings, oldest first.
    pub readings: Vec<Reading>,
    /// Where the next page begins; none on the last.
    pub next_cursor: Option<String>,
}

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryRefusal {
    /// There is no such tenant.
    #[error("find the tenant")]
    TenantUnknown,
    /// The range ends before it begins.
    #[error("read a range that ends before it begins")]
    Order,
    /// No reading or too many at once.
    #[error("read {0} readings at once: ask for 1 to {max}", max = super::limits::RANGE_READINGS_MAX)]
    Limit(usize),
    /// The cursor is not one that a page of this stream ended with.
    #[error("go on from that cursor: pass the one that the page before gave")]
    Cursor,
    /// The rules for how long streams are kept are none.
    #[error(transparent)]
    Retention(#[from] super::InvalidRetention),
    /// The store could not be read.
    #[error("read the telemetry store: {0}")]
    Unavailable(String),
}
