//! The clients that a tenant's developer knows.

use crate::world::World;

#[test]
fn the_printed_line_works_unchanged_in_both_versions_of_mqtt() {
    World::raise().holds("the printed line works with MQTT 5 too, and mosquitto_pub sends a command");
}
