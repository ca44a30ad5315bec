//! Bounds of the InfluxDB backend within the hub, unit last. Those on the way to a server are in `muster_influx::limits`.

use std::time::Duration;

/// How often logs are looked at for what is new: readings of this time go together.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks from one reading of the folder with the tokens to the next.
pub const LOOKS_PER_ROSTER: u32 = 10;
/// Requests at one time, of all tenants; the next ones wait in line.
pub const REQUESTS_MAX: usize = 8;
/// Most messages of a log that are read at once.
pub const READ_MESSAGES_MAX: usize = 1_024;
/// Most bytes of a log that are read at once, unless a single message is larger.
pub const READ_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of a tenant's log by which its backlog is measured in one look, while nothing is sent.
pub const MEASURED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The last letters that are kept for a tenant, in memory.
pub const LETTERS_MAX: usize = 32;

const _: () = assert!(REQUESTS_MAX > 0 && READ_MESSAGES_MAX > 0, "something must be sent");
