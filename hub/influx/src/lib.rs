//! The InfluxDB 2 backend: our own line protocol, and the way to the server. Not for deciding what is sent, nor for
//! reading a tenant's log: the hub does that.
//!
//! ```text
//!  message ──▶ points, line ──▶ batch ──▶ courier ──▶ transport ──▶ /api/v2/write
//!                                           ▲            │
//!                                           └── answer ◀─┘
//! ```
//!
//! The crate `influxdb2` is not used: a text that a device sends can end one of its points and begin another one, of
//! whatever series it likes (`tests/forgery.rs` shows it), and it does not show when a server wants to be left alone.
//!
//! ```
//! use muster_influx::line::{Point, Value, encode};
//!
//! let tags = [("device", "pump-7"), ("unit", "Cel")];
//! let fields = [("temperature", Value::Float(21.5))];
//! let mut out = String::new();
//! encode(&Point { measurement: "climate", tags: &tags, fields: &fields, time_ns: 7 }, &mut out)?;
//! assert_eq!(out, "climate,device=pump-7,unit=Cel temperature=21.5 7\n");
//! # Ok::<(), muster_influx::line::Unwritable>(())
//! ```

pub mod answer;
pub mod backlog;
pub mod batch;
pub mod courier;
pub mod limits;
pub mod line;
pub mod points;
pub mod server;
pub mod transport;

#[cfg(test)]
#[path = "../tests/strict/mod.rs"]
mod strict;
