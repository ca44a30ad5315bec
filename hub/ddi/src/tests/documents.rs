//! Documents, whole, against those of hawkBit's own description.

use muster_schemas::firmware::Stage;
use serde_json::{Value, json};

use super::world::*;
use crate::*;

#[test]
fn the_base_is_the_one_that_hawkbit_writes() {
    let (now, before) = (action(), Action { execution: id(5), ..action() });
    let mut target = target(Client::Unknown, Some(&now));
    (target.installed, target.attributes_wanted) = (Some(&before), true);
    let base = document(&target, Resource::Base);
    let here = "https://hub:8443/acme/controller/v1/pump-7";
    let deployment = base["_links"]["deploymentBase"]["href"].as_str().unwrap().to_owned();
    let change = deployment.strip_prefix(&format!("{here}/deploymentBase/7?c=")).unwrap();
    assert!(change.parse::<i32>().is_ok());
    assert_eq!(
        base,
        json!({
            "config": {"polling": {"sleep": "00:05:00"}},
            "_links": {
                "deploymentBase": {"href": deployment},
                "installedBase": {"href": format!("{here}/installedBase/5")},
                "configData": {"href": format!("{here}/configData")},
            },
        })
    );
}

#[test]
fn a_deployment_is_the_one_that_hawkbit_writes() {
    let action = Action { window_open: Some(true), ..action() };
    let target = target(Client::Unknown, Some(&action));
    let file = "https://hub:8443/acme/controller/v1/pump-7/softwaremodules/3/artifacts/fw.swu";
    assert_eq!(
        document(&target, Resource::Deployment { id: id(7), history: 1 }),
        json!({
            "id": "7",
            "deployment": {
                "download": "forced",
                "update": "forced",
                "maintenanceWindow": "available",
                "chunks": [{
                    "part": "os",
                    "version": "2.0",
                    "name": "fw",
                    "metadata": [{"key": "suit-envelope", "value": "2GuiAlhz"}],
                    "artifacts": [{
                        "filename": "fw.swu",
                        "size": 3_002_368,
                        "hashes": {"sha1": "5c".repeat(20), "md5": "3d".repeat(16), "sha256": "ab".repeat(32)},
                        "_links": {"download": {"href": file}, "md5sum": {"href": format!("{file}.MD5SUM")}},
                    }],
                }],
            },
            "actionHistory": {"status": "RETRIEVED", "messages": ["it was offered"]},
        })
    );
    let files = document(&target, Resource::Artifacts { module: 3 });
    assert_eq!(files[0], deployment(&target)["deployment"]["chunks"][0]["artifacts"][0]);
    assert_eq!(respond(&target, &Resource::Artifacts { module: 4 }).unwrap_err().status(), 404);
}

#[test]
fn exactly_one_of_three_links_says_what_there_is_to_do() {
    for (phase, link) in [
        (Phase::Open, "deploymentBase"),
        (Phase::Cancelling, "cancelAction"),
        (Phase::Unconfirmed, "confirmationBase"),
    ] {
        let action = Action { phase, ..action() };
        assert_eq!(links(&target(Client::Unknown, Some(&action))), [link]);
    }
    assert!(links(&target(Client::Unknown, None)).is_empty());
}

#[test]
fn the_address_of_an_action_changes_when_the_action_does() {
    let address = |action: &Action| {
        let base = document(&target(Client::Rauc, Some(action)), Resource::Base);
        base["_links"]["deploymentBase"]["href"].as_str().unwrap().to_owned()
    };
    let first = action();
    assert_eq!(
        address(&first),
        address(&Action { served: true, stage: Stage::Downloading, ..first.clone() })
    );
    for other in [
        Action { force: Force::Attempt, ..action() },
        Action { window_open: Some(false), ..action() },
        Action { window_open: Some(true), ..action() },
        Action { revision: 2, ..action() },
    ] {
        assert_ne!(address(&first), address(&other));
    }
}

#[test]
fn download_and_update_follow_force_and_window() {
    let handling = |client, force, window_open| {
        let action = Action { force, window_open, ..action() };
        let target = target(client, Some(&action));
        let Ok(reply) = respond(&target, &Resource::Deployment { id: id(7), history: 0 }) else {
            return Value::Null;
        };
        let document: Value = serde_json::from_slice(&Format::Json.write(&reply.document)).unwrap();
        let deployment = &document["deployment"];
        json!([deployment["download"], deployment["update"], deployment["maintenanceWindow"]])
    };
    let rauc = |force, window| handling(Client::Rauc, force, window);
    assert_eq!(rauc(Force::Forced, None), json!(["forced", "forced", null]));
    assert_eq!(rauc(Force::Attempt, None), json!(["attempt", "attempt", null]));
    assert_eq!(rauc(Force::DownloadOnly, None), json!(["forced", "skip", null]));
    assert_eq!(rauc(Force::Attempt, Some(true)), json!(["attempt", "attempt", "available"]));
    assert_eq!(rauc(Force::Forced, Some(false)), json!(["forced", "skip", "unavailable"]));
    assert_eq!(
        handling(Client::Swupdate, Force::Forced, Some(true)),
        json!(["forced", "forced", "available"])
    );
}

#[test]
fn an_action_is_found_only_where_it_is() {
    let status = |target: &Target<'_>, resource| match respond(target, &resource) {
        Ok(_) => 200,
        Err(problem) => problem.status(),
    };
    let deployment = |number| Resource::Deployment { id: id(number), history: 0 };
    let (open, before) = (action(), Action { execution: id(5), ..action() });
    let mut device = target(Client::Unknown, Some(&open));
    device.installed = Some(&before);
    assert_eq!(
        [status(&device, deployment(7)), status(&device, deployment(5)), status(&device, deployment(8))],
        [200, 404, 404]
    );
    let installed = [Resource::Installed(id(5)), Resource::Installed(id(7))];
    assert_eq!(installed.map(|resource| status(&device, resource)), [200, 404]);
    assert_eq!(status(&device, Resource::Cancel(id(7))), 404);
    assert_eq!(status(&device, Resource::Confirmation(id(7))), 404);
    for (phase, resource) in
        [(Phase::Cancelling, Resource::Cancel(id(7))), (Phase::Unconfirmed, Resource::Confirmation(id(7)))]
    {
        let action = Action { phase, ..action() };
        let device = target(Client::Unknown, Some(&action));
        assert_eq!(status(&device, deployment(7)), 404);
        assert_eq!(status(&device, resource), 200);
    }
}

#[test]
fn stop_and_confirmation_are_those_that_hawkbit_writes() {
    let stopping = Action { phase: Phase::Cancelling, ..action() };
    let stop = document(&target(Client::Unknown, Some(&stopping)), Resource::Cancel(id(7)));
    assert_eq!(stop, json!({"id": "7", "cancelAction": {"stopId": "7"}}));
    let waiting = Action { phase: Phase::Unconfirmed, ..action() };
    let device = target(Client::Unknown, Some(&waiting));
    let base = document(&device, Resource::ConfirmationBase);
    assert_eq!(base["autoConfirm"], json!({"active": false}));
    let links: Vec<&String> = base["_links"].as_object().unwrap().keys().collect();
    assert_eq!(links, ["activateAutoConfirm", "confirmationBase"]);
    let confirmation = document(&device, Resource::Confirmation(id(7)));
    assert_eq!(
        (&confirmation["id"], &confirmation["confirmation"]["update"]),
        (&json!("7"), &json!("forced"))
    );
}

#[test]
fn a_file_is_given_to_a_device_only_for_an_action_of_its_own() {
    let open = action();
    let device = target(Client::Unknown, Some(&open));
    let found = file(&device, 3, "fw.swu").unwrap();
    assert_eq!(md5_line(found).unwrap(), format!("{}  fw.swu", "3d".repeat(16)));
    for (module, name) in [(4, "fw.swu"), (3, "other.swu")] {
        assert_eq!(file(&device, module, name).unwrap_err().status(), 404);
    }
    assert!(file(&target(Client::Unknown, None), 3, "fw.swu").is_err());
    let waiting = Action { phase: Phase::Unconfirmed, ..action() };
    assert!(file(&target(Client::Unknown, Some(&waiting)), 3, "fw.swu").is_err(), "nobody has agreed");
    let mut elsewhere = action();
    elsewhere.chunks[0].artifacts[0].url = Some("https://cdn.example/fw.swu".into());
    assert!(
        file(&target(Client::Unknown, Some(&elsewhere)), 3, "fw.swu").is_err(),
        "the hub has no bytes of it"
    );
}

#[test]
fn what_lies_elsewhere_is_fetched_there_and_has_no_md5_file_here() {
    let mut action = action();
    action.chunks[0].artifacts[0].url = Some("https://cdn.example/fw.swu".into());
    let file = deployment(&target(Client::Unknown, Some(&action)))["deployment"]["chunks"][0]["artifacts"][0]
        .clone();
    assert_eq!(file["_links"], json!({"download": {"href": "https://cdn.example/fw.swu"}}));
}

#[test]
fn the_same_document_is_written_in_cbor() {
    let action = action();
    let reply =
        respond(&target(Client::Unknown, Some(&action)), &Resource::Deployment { id: id(7), history: 2 })
            .unwrap();
    let json: Value = serde_json::from_slice(&Format::HalJson.write(&reply.document)).unwrap();
    let cbor: Value = cbor4ii::serde::from_slice(&Format::Cbor.write(&reply.document)).unwrap();
    assert_eq!(json, cbor);
    let problem = Problem::Gone.body();
    let cbor: Value = cbor4ii::serde::from_slice(&Format::Cbor.write(&problem)).unwrap();
    assert_eq!(cbor["message"], "that action is not active any more");
}
