//! A device with an action, as the hub knows it.

use muster_schemas::firmware::{Digest, ExecutionId, Stage};
use serde_json::Value;

use crate::*;

pub fn id(number: u32) -> ExecutionId {
    ExecutionId::new(number).unwrap()
}

pub fn named(name: &str) -> File {
    File {
        name: name.to_owned(),
        size: 3_002_368,
        sha256: Digest([0xab; 32]),
        sha1: Some("5c".repeat(20)),
        md5: Some("3d".repeat(16)),
        url: None,
    }
}

pub fn action() -> Action {
    Action {
        execution: id(7),
        phase: Phase::Open,
        stage: Stage::Offered,
        force: Force::Forced,
        window_open: None,
        revision: 1,
        served: false,
        chunks: vec![Chunk {
            module: 3,
            part: "os".into(),
            name: "fw".into(),
            version: "2.0".into(),
            metadata: vec![(MANIFEST_KEY.into(), "2GuiAlhz".into())],
            artifacts: vec![named("fw.swu")],
        }],
        history: vec!["it was offered".into(), "it was planned".into()],
    }
}

pub fn target(client: Client, action: Option<&Action>) -> Target<'_> {
    Target {
        base: "https://hub:8443/acme/controller/v1/pump-7",
        client,
        sleep: Sleep::of_seconds(300),
        attributes_wanted: false,
        auto_confirm: false,
        action,
        installed: None,
        over: &[],
    }
}

/// A document as a client reads it.
pub fn document(target: &Target<'_>, resource: Resource) -> Value {
    let reply = respond(target, &resource).unwrap();
    serde_json::from_slice(&Format::Json.write(&reply.document)).unwrap()
}

pub fn deployment(target: &Target<'_>) -> Value {
    document(target, Resource::Deployment { id: id(7), history: 0 })
}

/// The names of the links of a base, which are what there is to do.
pub fn links(target: &Target<'_>) -> Vec<String> {
    let base = document(target, Resource::Base);
    base["_links"].as_object().unwrap().keys().cloned().collect()
}

pub fn said(body: &str) -> Feedback {
    read_feedback(Format::Json, body.as_bytes()).unwrap()
}

/// What a status says, in the shortest body that a client sends.
pub fn status(execution: &str, finished: &str, details: &[&str]) -> Feedback {
    let details = serde_json::to_string(details).unwrap();
    said(&format!(
        r#"{{"id":"7","status":{{"execution":"{execution}","result":{{"finished":"{finished}"}},"details":{details}}}}}"#
    ))
}
