//! Bodies about how long telemetry is kept.

use serde::{Deserialize, Serialize};

/// `GET` and `PUT /api/v1/tenants/{t}/telemetry/retention`: the first rule that names a stream holds; what none names is
/// kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The rules, at most 64.
    pub rules: Vec<KeepStreams>,
}

/// How long streams of one kind are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepStreams {
    /// The name of the streams; `*` at its end stands for anything.
    pub streams: String,
    /// Days for which readings are kept as they came; for ever if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_days: Option<u32>,
    /// Of older ones, one row for so many seconds is kept; nothing if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u32>,
    /// Days for which such rows are kept, from when they were measured; for ever if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coarse_days: Option<u32>,
}
