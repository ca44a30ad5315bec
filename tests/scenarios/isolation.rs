//! No tenant sees another.

use crate::world::World;

#[test]
fn telemetry_reaches_its_own_tenants_app_and_no_other() {
    let mut world = World::raise();
    world.holds("telemetry reaches its own tenant's app");
    world.holds("an app that subscribes to # sees nothing of another tenant");
}

#[test]
fn stored_telemetry_answers_its_own_tenant_only() {
    let mut world = World::raise();
    world.holds("stored telemetry answers last and range");
    world.holds("an app cannot ask for another tenant's telemetry");
    world.holds("the operator cannot read telemetry");
}
