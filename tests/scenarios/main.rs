//! Whole programs on one machine: a hub, devices with a software TPM each, and other people's MQTT clients. Each test is
//! a story with a hub of its own.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the whole program is a test"
)]

mod admission;
mod attest;
mod authorities;
mod backup;
mod durability;
mod explain;
mod firmware;
mod history;
mod identity;
mod influx;
mod isolation;
mod keys;
mod memory;
mod operation;
mod people;
mod retention;
mod rules;
mod sealed;
#[path = "../../hub/influx/tests/servers/mod.rs"]
mod servers;
mod sharing;
mod telemetry;
mod tokens;
mod torture;
mod world;

/// The stories, as they are written.
const STORIES: &[&str] = &[
    include_str!("authorities.rs"),
    include_str!("durability.rs"),
    include_str!("identity.rs"),
    include_str!("isolation.rs"),
    include_str!("operation.rs"),
    include_str!("telemetry.rs"),
];

#[test]
fn every_check_of_the_demo_is_told_as_a_story() {
    for check in muster_simulators::demo::CHECKS {
        let sentence = format!("holds(\"{}\")", check.name);
        assert!(STORIES.iter().any(|story| story.contains(&sentence)), "no story tells {:?}", check.name);
    }
}
