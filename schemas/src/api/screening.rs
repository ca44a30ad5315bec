//! What a tenant says its devices' readings are, and what it is told of those that were refused.

use serde::{Deserialize, Serialize};

use crate::DeviceId;

/// `GET` and `PUT /api/v1/tenants/{t}/telemetry/schema`: what readings of a tenant's devices are. The empty one, which
/// every tenant begins with, asks for SenML with registered units and nothing more.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySchema {
    /// Whether what is no SenML is carried to subscribers, though it is never stored; otherwise it is refused.
    pub carry_other: bool,
    /// Whether a reading that no rule names is refused.
    pub closed: bool,
    /// Units that are taken although they are not registered for SenML; `*` is every unit.
    pub units: Vec<String>,
    /// How far ahead of its receipt a reading may be, in seconds; at most a day, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_s: Option<u32>,
    /// What readings are; of several that name one, the first.
    pub readings: Vec<ReadingRule>,
}

/// What readings of some names are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingRule {
    /// The stream; any if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The SenML name, base name included; one `*` stands for any part of it, as in `*:temperature`.
    pub name: String,
    /// The unit that it must have; an empty one is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What its value must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ReadingKind>,
    /// The least that a number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that a number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadingKind {
    /// A number (`v`), or a sum (`s`).
    Number,
    /// A text (`vs`).
    Text,
    /// True or false (`vb`).
    Boolean,
    /// Bytes (`vd`).
    Bytes,
}

/// A dead letter: what was refused of a message, as it is published on `$SYS/dead/<topic of the message>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number within the tenant, from 1 at each start of the hub. Every refused message takes one, also one for which
    /// there is no letter because the device had had its share of them: a gap counts these.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The device.
    pub device: DeviceId,
    /// The topic of the message.
    pub topic: String,
    /// The first reason: `not_senml`, `not_sealed`, `not_finite`, `future_time`, `wrong_unit`, `schema`, `too_large`,
    /// `too_many_series`, `too_many_streams`.
    pub code: String,
    /// What the device was told, in words.
    pub reason: String,
    /// How many readings were refused; none if the message is none.
    pub refused: u64,
    /// How many were taken.
    pub taken: u64,
    /// The length of the payload, in bytes.
    pub payload_bytes: u64,
    /// The beginning of the payload, in base64.
    pub payload: String,
}
