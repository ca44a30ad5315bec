//! The InfluxDB backend: reads the log of each tenant that has a token, from a cursor of its own, and sends its telemetry to
//! the tenant's bucket. Not for reading from there: the API answers from the hub's own telemetry store, which has it all.
//!
//! ```text
//!  tenant's log ──▶ Feed ── lines, sensitive fields sealed ──▶ InfluxActor ──▶ muster_influx ──▶ server
//!       ▲            │                                             │
//!       └─ trimmed no further than the cursor ◀── Progress ◀───────┘──▶ /metrics, `muster influx status`
//! ```
//!
//! The log is the queue: while the server is away, messages stay there, bounded by the tenant's own quota of log. What goes
//! beyond that is given up, oldest first, and told. A batch whose answer was lost is sent again; a point that is written
//! again replaces itself, so each is there once.

pub mod actor;
mod feed;
pub mod limits;
mod progress;
pub(crate) mod roster;

use std::{collections::BTreeMap, path::PathBuf};

use muster_influx::server::Server;
use muster_schemas::TenantId;

use crate::telemetry::RulesOf;

pub use self::{
    actor::{InfluxActor, InfluxOptions},
    progress::{Letter, Progress, Status},
};

/// Where telemetry is sent, as the configuration says it.
#[derive(Debug, Clone)]
pub struct Influx {
    /// The server.
    pub server: Server,
    /// The folder with the tokens: a file for each tenant whose telemetry is sent, named as the tenant.
    pub tokens: PathBuf,
    /// The buckets of those tenants whose bucket is not named as they are.
    pub buckets: BTreeMap<TenantId, String>,
}

impl Influx {
    /// The bucket of a tenant.
    pub fn bucket<'a>(&'a self, tenant: &'a TenantId) -> &'a str {
        self.buckets.get(tenant).map_or(tenant.as_str(), String::as_str)
    }
}
