//! The bodies of questions about history: windows of one stream, and groups across devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ReadingValue;
use crate::DeviceId;

/// What a window or a group says of its values. Of texts, bools and bytes only the count and the last are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many values.
    pub count: u64,
    /// The smallest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The sum by the count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// All together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// The earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// The latest.
    pub last: ReadingValue,
    /// When that was measured, Unix seconds with fraction.
    pub last_s: f64,
    /// The median, if percentiles were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// Nine of ten are not above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    /// Nineteen of twenty are not above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// Ninety-nine of a hundred are not above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Whether percentiles are within 1 % of a value and not interpolated between two of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
}

/// A window of one name of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Who measured it.
    pub device: DeviceId,
    /// The stream.
    pub stream: String,
    /// The SenML name.
    pub name: String,
    /// The SenML unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When the window begins, Unix seconds.
    pub from_s: f64,
    /// What it says.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A page of windows, by stream, time and name. A window without values is not there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Buckets {
    /// The windows.
    pub buckets: Vec<Bucket>,
    /// What to pass as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What could not be read because it is damaged; the figures are of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A group across devices, of one name and one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What it has in common, by what was grouped by; null for what has none.
    pub group: BTreeMap<String, Option<String>>,
    /// The SenML name.
    pub name: String,
    /// The SenML unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When the window begins, Unix seconds; absent if there are no windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_s: Option<f64>,
    /// How many streams it is of.
    pub streams: u64,
    /// What it says.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A page of groups, by group, time and name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Groups {
    /// The groups.
    pub groups: Vec<Group>,
    /// What to pass as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What could not be read because it is damaged; the figures are of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}
