//! No tenant sees another.

use muster_simulators::hub::HubError;

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

#[test]
fn an_app_administers_nothing_and_sees_no_other_tenant() {
    let world = World::raise();
    let hub = &world.stage.hub;
    let app = &world.stage.tenants[0].app.folder;
    let out = world.stage.folder().join("stolen").display().to_string();
    for (call, code) in [
        (vec!["tenant", "create", "mine"], "forbidden"),
        (vec!["tenant", "list"], "forbidden"),
        (vec!["app", "create", "--tenant", "acme", "mine", "--out", &out], "forbidden"),
        (vec!["app", "create", "--tenant", "globex", "mine", "--out", &out], "forbidden"),
        (vec!["claim", "create", "--tenant", "globex"], "tenant_unknown"),
        (vec!["device", "list", "--tenant", "globex"], "tenant_unknown"),
        (
            vec!["device", "show", "--tenant", "globex", &world.stage.tenants[1].devices[0].id],
            "tenant_unknown",
        ),
        (vec!["telemetry", "last", "--tenant", "globex"], "tenant_unknown"),
    ] {
        match hub.run(app, &call) {
            Err(HubError::Command { stderr, .. }) => {
                assert!(stderr.contains(&format!("\"code\":\"{code}\"")), "{call:?}: {stderr}");
            }
            other => panic!("{call:?} was not refused: {other:?}"),
        }
    }
    hub.run(app, &["device", "list"]).expect("its own devices");
}
