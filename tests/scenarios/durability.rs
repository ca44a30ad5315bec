//! Nothing acknowledged is lost, and nothing lies in clear.

use crate::world::World;

#[test]
fn what_was_acknowledged_survives_kill_minus_nine() {
    let mut world = World::raise();
    world.holds("after kill -9 in mid-publish every acknowledged reading is in the store");
    world.holds("devices and apps come back after the restart");
}

#[test]
fn a_published_canary_is_nowhere_on_the_hubs_disk() {
    let mut world = World::raise();
    world.holds("stored telemetry answers last and range");
    world.holds("a published canary is nowhere in the hub's folder");
    world.holds("nothing in the hub's folder is readable by others");
}
