//! Fleets on one machine: simulated chips, hubs, edge devices and tenant apps as real processes, and the demo that is
//! made of them. Nothing here ships; the TPMs are swtpm, under a maker root whose name says that it is not real.
//!
//! ```text
//!  Maker ── issues ──▶ Chip (swtpm) ◀── Edge (muster-edge) ── MQTT/TLS ──▶ Hub (muster) ──▶ App (mosquitto_sub)
//! ```

pub mod app;
pub mod bench;
pub mod chip;
pub mod demo;
pub mod edge;
pub mod fleet;
pub mod gauge;
pub mod hub;
pub mod limits;
pub mod load;
pub mod process;
pub mod programs;
pub mod torture;
