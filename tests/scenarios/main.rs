//! Whole programs on one machine: a hub, devices with a software TPM each, and other people's MQTT clients. Each test is
//! a story with a hub of its own.

#![expect(clippy::expect_used, clippy::panic, reason = "the whole program is a test")]

mod durability;
mod identity;
mod isolation;
mod operation;
mod telemetry;
mod world;
