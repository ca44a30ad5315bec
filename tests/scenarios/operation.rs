//! What the operator on call sees.

use crate::world::World;

#[test]
fn health_answers_and_metrics_count() {
    let mut world = World::raise();
    world.holds("telemetry reaches its own tenant's app");
    world.holds("health answers and metrics count");
}
