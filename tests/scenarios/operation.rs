//! What the operator on call sees.

use std::process::Command;

use muster_simulators::limits::WAIT_MAX;

use crate::world::World;

#[test]
fn health_answers_and_metrics_count() {
    let mut world = World::raise();
    world.holds("telemetry reaches its own tenant's app");
    world.holds("health answers and metrics count");
}

#[test]
fn the_api_says_what_why_and_what_next() {
    let world = World::raise();
    let operator = world.stage.hub.operator();
    let ask = |path: &str, certificate: bool, body: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(operator.join("ca.pem"));
        if certificate {
            curl.arg("--cert").arg(operator.join("cert.pem")).arg("--key").arg(operator.join("key.pem"));
        }
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", body]);
        }
        let output = curl.arg(format!("{}{path}", world.stage.hub.api())).output().expect("curl runs");
        String::from_utf8(output.stdout).expect("text")
    };
    for (path, certificate, body, code) in [
        ("/api/v1/tenants", false, None, "certificate_required"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"Acme"}"#), "malformed"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"acme","colour":"red"}"#), "malformed"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"acme"}"#), "tenant_exists"),
        ("/api/v1/tenants", true, Some(r#"{"tenant":"operator"}"#), "tenant_reserved"),
        ("/api/v1/tenants/nobody/devices", true, None, "tenant_unknown"),
        ("/api/v1/tenants/acme/devices/nothing", true, None, "device_unknown"),
        ("/api/v2/tenants", true, None, "route_unknown"),
    ] {
        let answer = ask(path, certificate, body);
        let start = format!(r#"{{"error":{{"code":"{code}","what":""#);
        assert!(answer.starts_with(&start), "{path} {body:?}: {answer}");
        assert!(answer.contains(r#""why":""#) && answer.contains(r#""next":""#), "{answer}");
    }
}

#[test]
fn an_app_that_gets_a_new_certificate_loses_the_old_one_and_its_sessions() {
    let mut world = World::raise();
    let out = world.stage.folder().join("dashboard-again");
    let (shown, mqtt) = (out.display().to_string(), world.stage.hub.mqtt_endpoint());
    let again = |extra: &'static str| {
        ["app", "create", "--tenant", "acme", "dashboard", "--out", &shown, "--mqtt", &mqtt, extra]
    };
    let without = &again("--replace")[..9];
    assert!(world.stage.hub.operate(without).is_err(), "an app is not replaced by mistake");
    world.stage.hub.operate(&again("--replace")).expect("replaced");
    // The old certificate ends at once: for the session that it opened, and for the API.
    let acme = &mut world.stage.tenants[0];
    acme.telemetry.wait_refused(WAIT_MAX).expect("closed, and not let in again");
    assert!(world.stage.hub.run(&world.stage.tenants[0].app.folder, &["telemetry", "last"]).is_err());
    world.stage.hub.run(&out, &["telemetry", "last"]).expect("the new one reads");
}
