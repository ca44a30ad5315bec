//! What clients do besides what is written down. Each was seen on the wire, or stands in the source of the client;
//! each test is named after one, with its number in our list. Two of them are the server's: 8, that `Expect:
//! 100-continue` is answered when the body is read, and 15, that several ranges are answered, which
//! `muster-artifacts` does and tests.

use muster_schemas::firmware::{ExecutionId, Outcome, Stage};
use serde_json::json;

use super::world::*;
use crate::*;

#[test]
fn quirk_01_swupdate_takes_200_only_for_success_and_302_only_for_a_redirect() {
    assert_eq!((ACCEPTED, REDIRECT), (200, 302));
}

#[test]
fn quirk_02_config_data_is_asked_for_only_while_it_is_wanted() {
    let open = action();
    let mut device = target(Client::Swupdate, Some(&open));
    device.attributes_wanted = true;
    assert_eq!(links(&device), ["configData", "deploymentBase"]);
    device.attributes_wanted = false;
    assert_eq!(links(&device), ["deploymentBase"]);
    // It is sent unasked at the start, too, and with an empty id.
    let unasked =
        br#"{"id":"","time":"20261122T043236","status":{"result":{"finished":"success"},"execution":"closed",
        "details":[""]},"data":{"hwRevision":"1.0","serialNo":"SN-0001"}}"#;
    let said = read_config_data(Format::Json, unasked).unwrap();
    assert_eq!((said.mode, said.attributes.len(), said.left_out), (Mode::Merge, 2, 0));
}

#[test]
fn quirk_02_attributes_that_are_too_long_do_not_make_the_client_send_them_for_ever() {
    let many: Vec<String> = (0..150).map(|n| format!(r#""k{n}":"v""#)).collect();
    let body = format!(r#"{{"mode":"replace","data":{{"long":"{}",{}}}}}"#, "x".repeat(129), many.join(","));
    let said = read_config_data(Format::Json, body.as_bytes()).unwrap();
    assert_eq!((said.attributes.len(), said.left_out), (100, 51));
    let said =
        read_config_data(Format::Json, br#"{"data":{"gone":null,"n":5,"b":true,"map":{"x":[1]}}}"#).unwrap();
    assert_eq!(said.attributes["gone"], None);
    assert_eq!(said.attributes["n"].as_deref(), Some("5"));
    assert_eq!(said.attributes["b"].as_deref(), Some("true"));
}

#[test]
fn quirk_03_swupdate_is_never_told_to_skip() {
    for client in [Client::Swupdate, Client::Unknown] {
        for (force, window_open) in [
            (Force::Forced, Some(false)),
            (Force::Attempt, Some(false)),
            (Force::DownloadOnly, None),
            (Force::DownloadOnly, Some(true)),
        ] {
            for stage in [Stage::Offered, Stage::Downloading, Stage::Rebooting] {
                let action = Action { force, window_open, stage, ..action() };
                let device = target(client, Some(&action));
                let resource = Resource::Deployment { id: id(7), history: 0 };
                let shown = !links(&device).is_empty();
                assert_eq!(respond(&device, &resource).is_ok(), shown, "what has no link has no document");
                if shown {
                    assert_ne!(deployment(&device)["deployment"]["update"], "skip");
                }
                let begun = stage > Stage::Offered && force != Force::DownloadOnly;
                assert_eq!(shown, begun, "{client:?} {force:?} {window_open:?} {stage:?}");
            }
        }
    }
}

#[test]
fn quirk_03_a_skipped_update_is_no_success_whatever_the_client_says() {
    let said = status("closed", "success", &["Skipped Update."]);
    for stage in [Stage::Offered, Stage::Downloading] {
        let action = Action { stage, served: true, ..action() };
        let report = feedback(&target(Client::Swupdate, Some(&action)), id(7), said.clone()).unwrap();
        assert_eq!(report.event, Event::Unwilling);
    }
    // Nor is a success of a device that never had a byte.
    let report =
        feedback(&target(Client::Swupdate, Some(&action())), id(7), status("closed", "success", &[]))
            .unwrap();
    assert_eq!(report.event, Event::AwaitsVersion);
}

#[test]
fn quirk_03_rauc_downloads_outside_its_window_and_waits() {
    let action = Action { window_open: Some(false), ..action() };
    let device = target(Client::Rauc, Some(&action));
    assert_eq!(links(&device), ["deploymentBase"]);
    let document = deployment(&device);
    assert_eq!(
        (&document["deployment"]["download"], &document["deployment"]["update"]),
        (&json!("forced"), &json!("skip"))
    );
}

#[test]
fn quirk_04_what_swupdate_looks_for_is_there_and_sha1_first_of_all() {
    let open = action();
    let document = deployment(&target(Client::Swupdate, Some(&open)));
    let (deployment, chunk) = (&document["deployment"], &document["deployment"]["chunks"][0]);
    let artifact = &chunk["artifacts"][0];
    let texts = [
        &document["id"],
        &deployment["update"],
        &deployment["download"],
        &chunk["part"],
        &chunk["name"],
        &chunk["version"],
        &artifact["filename"],
        &artifact["hashes"]["sha1"],
        &artifact["_links"]["download"]["href"],
    ];
    assert!(texts.iter().all(|text| text.is_string()));
    assert!(artifact["size"].is_u64());
    let mut without = action();
    without.chunks[0].artifacts[0].sha1 = None;
    assert_eq!(without.fits(Client::Swupdate), Err(Unfit::NoSha1));
    assert!(
        links(&target(Client::Swupdate, Some(&without))).is_empty(),
        "it is not offered what it would refuse"
    );
}

#[test]
fn quirk_04_over_plain_http_the_links_have_other_names() {
    let open = action();
    let mut device = target(Client::Swupdate, Some(&open));
    device.base = "http://hub:8080/acme/controller/v1/pump-7";
    let artifact = deployment(&device)["deployment"]["chunks"][0]["artifacts"][0].clone();
    let links: Vec<&String> = artifact["_links"].as_object().unwrap().keys().collect();
    assert_eq!(links, ["download-http", "md5sum-http"]);
}

#[test]
fn quirk_05_ids_of_actions_are_decimal_and_fit_a_signed_number_of_32_bits() {
    let most = Action { execution: ExecutionId::MAX, phase: Phase::Cancelling, ..action() };
    let stop = document(&target(Client::Swupdate, Some(&most)), Resource::Cancel(ExecutionId::MAX));
    for text in [&stop["id"], &stop["cancelAction"]["stopId"]] {
        assert_eq!(text.as_str().unwrap().parse::<i32>(), Ok(i32::MAX));
    }
    assert!(Route::parse(Verb::Get, "/acme/controller/v1/pump-7/deploymentBase/2147483648").is_err());
}

#[test]
fn quirk_06_swupdate_gets_actions_with_a_swu_file_and_rauc_those_with_one_file() {
    let with = |names: &[&str]| {
        let mut action = action();
        action.chunks[0].artifacts = names.iter().map(|name| named(name)).collect();
        action
    };
    let table = [
        (&["fw.swu"][..], Ok(()), Ok(())),
        (&["fw.raucb"], Err(Unfit::NoSwu), Ok(())),
        (&["fw.swu", "notes.txt"], Ok(()), Err(Unfit::NotOne)),
        (&[], Err(Unfit::Nothing), Err(Unfit::Nothing)),
    ];
    for (names, swupdate, rauc) in table {
        let action = with(names);
        assert_eq!((action.fits(Client::Swupdate), action.fits(Client::Rauc)), (swupdate, rauc), "{names:?}");
        let shown = |client| !links(&target(client, Some(&action))).is_empty();
        assert_eq!((shown(Client::Swupdate), shown(Client::Rauc)), (swupdate.is_ok(), rauc.is_ok()));
    }
    let mut two = action();
    two.chunks.push(two.chunks[0].clone());
    assert_eq!(two.fits(Client::Rauc), Err(Unfit::NotOne));
    // The envelope travels beside the file, not as a second one.
    let chunk = &deployment(&target(Client::Rauc, Some(&action())))["deployment"]["chunks"][0];
    assert_eq!(chunk["metadata"], json!([{"key": MANIFEST_KEY, "value": "2GuiAlhz"}]));
}

#[test]
fn quirk_07_a_file_is_asked_for_with_head_before_it_is_fetched() {
    let path = "/acme/controller/v1/pump-7/softwaremodules/3/artifacts/fw.swu";
    let (head, get) = (Route::parse(Verb::Head, path), Route::parse(Verb::Get, path));
    assert!(head.is_ok());
    assert_eq!(head, get);
}

#[test]
fn quirk_09_asking_again_changes_nothing() {
    for stage in [Stage::Offered, Stage::Downloading, Stage::Installing, Stage::Rebooting] {
        let action = Action { stage, served: true, ..action() };
        let device = target(Client::Swupdate, Some(&action));
        let resource = Resource::Deployment { id: id(7), history: 0 };
        assert_eq!(respond(&device, &Resource::Base), respond(&device, &Resource::Base));
        let (first, again) = (respond(&device, &resource).unwrap(), respond(&device, &resource).unwrap());
        assert_eq!(first, again);
        assert_eq!(first.seen, Some(id(7)));
    }
}

#[test]
fn quirk_10_reports_are_read_as_clients_really_write_them() {
    // swupdate: a number for an id, local time without a zone.
    let swupdate = said(
        r#"{"id":7,"time":"20261122T043236","status":{"result":{"finished":"none","progress":{}},
            "execution":"proceeding","details":["Installation in progress","it  s quoted"]}}"#,
    );
    assert_eq!((swupdate.execution, swupdate.progress), (Execution::Proceeding, None));
    // RAUC's: a text for an id, and more fields than the description has.
    let rauc = said(
        r#"{"id":"7","time":"20261122T033236","status":{"execution":"download","result":{"finished":"none",
            "progress":{"cnt":1,"of":"2"}},"code":200,"details":["x"],"more":{"a":[1,{"b":null}]}},"extra":[[]]}"#,
    );
    assert_eq!((rauc.progress, rauc.code), (Some((1, 2)), Some(200)));
    // Neither id nor time nor result.
    let bare = said(r#"{"status":{"execution":"closed"}}"#);
    assert_eq!((bare.finished, bare.details.len()), (Finished::None, 0));
    let nulls =
        said(r#"{"id":null,"status":{"execution":"closed","result":null,"details":null,"code":null}}"#);
    assert_eq!(nulls, bare);
    let wrong = said(
        r#"{"status":{"execution":"closed","code":"x","details":"one line","result":{"progress":{"cnt":-1,"of":1e3}}}}"#,
    );
    assert_eq!((wrong.code, wrong.progress, &wrong.details[..]), (None, None, &["one line".to_owned()][..]));
    for refused in ["", "{", "{}", "[]", r#"{"status":{}}"#, r#"{"status":{"execution":"CLOSED"}}"#] {
        assert_eq!(read_feedback(Format::Json, refused.as_bytes()).unwrap_err().status(), 400, "{refused}");
    }
}

#[test]
fn quirk_10_lines_of_a_log_are_bounded_and_hold_nothing_that_a_terminal_obeys() {
    let lines: Vec<String> = (0..80).map(|n| format!("\u{1b}[31mline {n}\r\n{}", "é".repeat(600))).collect();
    let body = serde_json::json!({"status": {"execution": "proceeding", "details": lines}}).to_string();
    let body = &body.replace("é", "e")[..];
    let said = said(body);
    assert_eq!((said.details.len(), said.details_left_out), (64, 16));
    assert!(said.details.iter().all(|line| line.len() <= 512 && !line.contains(char::is_control)));
    let large = format!(r#"{{"status":{{"execution":"closed","details":["{}"]}}}}"#, "x".repeat(70_000));
    assert_eq!(read_feedback(Format::Json, large.as_bytes()).unwrap_err().status(), 413);
}

#[test]
fn quirk_11_swupdate_closes_after_the_reboot_and_others_before_it() {
    let done = status("proceeding", "none", &["All Chunks Installed."]);
    let action = Action { stage: Stage::Installing, served: true, ..action() };
    let report =
        |client, action: &Action, said| feedback(&target(client, Some(action)), id(7), said).unwrap().event;
    assert_eq!(report(Client::Swupdate, &action, done), Event::Reached(Stage::Rebooting));
    let rebooting = Action { stage: Stage::Rebooting, ..action.clone() };
    let closed = || status("closed", "success", &["Update Installed."]);
    assert_eq!(report(Client::Swupdate, &rebooting, closed()), Event::Ended(Outcome::Succeeded));
    for client in [Client::Rauc, Client::Unknown] {
        assert_eq!(report(client, &action, closed()), Event::AwaitsVersion, "{client:?}");
    }
}

#[test]
fn quirk_11_what_was_closed_too_early_succeeds_when_the_device_states_the_new_version() {
    let of = |stage| Action { stage, ..action() };
    let body = |version: &str| format!(r#"{{"data":{{"fw_version":"{version}"}}}}"#);
    let attributes = |version: &str| read_config_data(Format::Json, body(version).as_bytes()).unwrap();
    let state = |name: &str, version: &str| StateVersion { name: name.into(), version: version.into() };
    let table = [
        (Stage::Verifying, Some(Outcome::Succeeded)),
        (Stage::Rebooting, Some(Outcome::Succeeded)),
        (Stage::Installing, None),
        (Stage::Downloading, None),
        (Stage::Offered, Some(Outcome::AlreadyInstalled)),
    ];
    for (stage, expected) in table {
        assert_eq!(attribute_said(&of(stage), &attributes("2.0"), "fw_version"), expected);
        assert_eq!(version_said(&of(stage), &state("fw", "2.0")), expected);
        assert_eq!(attribute_said(&of(stage), &attributes("1.0"), "fw_version"), None);
        assert_eq!(attribute_said(&of(stage), &attributes("2.0"), "other"), None);
        assert_eq!(version_said(&of(stage), &state("other", "2.0")), None);
    }
    assert_eq!(read_state_version(Format::Json, br#"{"name":"fw","version":2}"#).unwrap(), state("fw", "2"));
    assert!(read_state_version(Format::Json, br#"{"name":"fw","version":""}"#).is_err());
}

#[test]
fn quirk_11_a_device_outside_its_window_still_finds_the_action_that_it_has_to_report_on() {
    let action = Action { stage: Stage::Rebooting, window_open: Some(false), ..action() };
    let device = target(Client::Swupdate, Some(&action));
    assert_eq!(links(&device), ["deploymentBase"]);
}

#[test]
fn quirk_12_a_base_always_says_how_long_to_sleep() {
    let open = action();
    for action in [None, Some(&open)] {
        let base = document(&target(Client::Swupdate, action), Resource::Base);
        assert_eq!(base["config"]["polling"]["sleep"], "00:05:00");
    }
}

#[test]
fn quirk_13_refusals_have_the_status_that_clients_go_by() {
    let table = [
        (Problem::NotFound("device"), 404),
        (Problem::Unauthorized, 401),
        (Problem::Forbidden, 403),
        (Problem::TooMany, 429),
        (Problem::Conflict, 409),
        (Problem::Gone, 410),
    ];
    for (problem, status) in table {
        assert_eq!(problem.status(), status);
    }
    // hara compares this, letter for letter.
    assert_eq!(Problem::NotFound("device").body().error_code, "hawkbit.server.error.repo.entitiyNotFound");
    let body = serde_json::to_value(Problem::Gone.body()).unwrap();
    let mut keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["errorCode", "exceptionClass", "message"]);
}

#[test]
fn quirk_14_which_client_asks_is_told_by_the_hub_and_only_rauc_names_itself() {
    assert_eq!(Client::of_user_agent(b"rauc-hawkbit-c-agent/1.0"), Client::Rauc);
    assert_eq!(Client::of_user_agent(b"libcurl-agent/1.0"), Client::Unknown);
    assert_eq!(Client::of_user_agent(b""), Client::Unknown);
}

#[test]
fn quirk_16_swupdate_says_that_it_stopped_also_when_it_has_installed_already() {
    for stage in [Stage::Rebooting, Stage::Verifying] {
        let action = Action { phase: Phase::Cancelling, stage, ..action() };
        let device = target(Client::Swupdate, Some(&action));
        assert_eq!(links(&device), ["deploymentBase"], "it is not asked any more");
        assert!(respond(&device, &Resource::Cancel(id(7))).is_err());
        // It asked before it was done, and answers now.
        let report =
            cancel_feedback(&device, id(7), status("closed", "success", &["cancellation acknowledged."]))
                .unwrap();
        assert_eq!(report.event, Event::NotStopped);
        let booted = feedback(&device, id(7), status("closed", "success", &["Update Installed."])).unwrap();
        assert_eq!(booted.event, Event::Ended(Outcome::Succeeded));
    }
}
