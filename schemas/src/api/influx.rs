//! How far a tenant's telemetry has come on its way to InfluxDB.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/tenants/{t}/influx`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfluxStatus {
    /// The server.
    pub url: String,
    /// The organisation there.
    pub org: String,
    /// The tenant's bucket.
    pub bucket: String,
    /// Messages of the log that wait.
    pub waiting_messages: u64,
    /// How many bytes they are.
    pub waiting_bytes: u64,
    /// About when the oldest of them came in; absent when nothing waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_s: Option<u64>,
    /// What is in the way; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<InfluxTrouble>,
    /// When the server last stored something, since the hub started; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_s: Option<u64>,
    /// Readings stored since the hub started.
    pub readings: u64,
    /// Those of them that were sealed.
    pub sealed: u64,
    /// Requests since the hub started.
    pub requests: u64,
    /// Those of them that the server did not take.
    pub failed: u64,
    /// Lines that the server will never store.
    pub refused: u64,
    /// Messages given up because the log may hold no more.
    pub given_up: u64,
    /// Records of the log that were damaged.
    pub damaged: u64,
    /// The newest of the lines that were refused, oldest first; for the tenant alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<InfluxLetter>,
}

/// What is in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfluxTrouble {
    /// A word for it.
    pub code: String,
    /// What it is, and why.
    pub what: String,
    /// What to do about it.
    pub next: String,
    /// Since when.
    pub since_s: u64,
}

/// Lines that a server will never store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfluxLetter {
    /// When it said so.
    pub at_s: u64,
    /// How many lines.
    pub lines: u64,
    /// Measurement and tags of the first of them; absent where the server did not say which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What it said.
    pub why: String,
}
