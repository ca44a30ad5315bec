//! Commands against a hub on loopback: real TLS as the hub serves it, and answers from the test.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread::JoinHandle,
};

use muster_actors::{Clock as _, SystemClock};
use muster_schemas::api::{App, Device, NewApp, NewTenant, Reading, ReadingValue, Readings, State, Tenant};
use rustls::{ServerConnection, StreamOwned};

use super::*;
use muster_trust::Expect;

use crate::{
    authority::{Leaf, PublicKey},
    config::Config,
    keyring::{Keyring, pem},
    peer_verifier::PeerVerifier,
    pinned::{Peers, Pins},
    tls::{HTTPS_ALPN, server_tls_config},
};

/// What a call looked like to the hub.
struct Seen {
    head: String,
    body: String,
    caller: Leaf,
}

/// A hub that answers one call, or gives up when the handshake fails.
struct OneCall {
    url: String,
    served: JoinHandle<Option<Seen>>,
}

fn commands(arguments: &[&str]) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let now_ms = SystemClock.unix_ms();
    let mut world = World {
        out: &mut out,
        err: &mut err,
        input: Box::new(std::io::empty()),
        environment: Vec::new(),
        now_ms,
    };
    let exit =
        run(std::iter::once("muster").chain(arguments.iter().copied()).map(OsString::from), &mut world);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { exit, out: text(out), err: text(err) }
}

fn installed(dir: &Path) -> (Keyring, String) {
    let hub = dir.join("hub");
    let ended = commands(&["init", "--dir", &hub.to_string_lossy(), "--trust-domain", "muster.example"]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    let config = Config::read(&hub.join("muster.toml"), [], &[]).expect("configuration");
    let keyring = Keyring::open(&config, SystemClock.unix_ms() / 1_000).expect("open");
    (keyring, hub.join("operator").to_string_lossy().into_owned())
}

fn answer(
    keyring: Keyring,
    expect: Expect,
    reply: impl FnOnce(&Seen, &Keyring) -> (u16, String) + Send + 'static,
) -> OneCall {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("https://localhost:{}", listener.local_addr().expect("address").port());
    let served = std::thread::spawn(move || {
        let trust = Peers::new(keyring.trust.clone(), Pins::default());
        let verifier = Arc::new(PeerVerifier::new(&trust, &expect, false, Vec::new()).expect("verifier"));
        let config = server_tls_config(&keyring.server, verifier, &HTTPS_ALPN).expect("server");
        let connection = ServerConnection::new(Arc::new(config)).expect("server");
        let (socket, _) = listener.accept().expect("accept");
        let mut stream = StreamOwned::new(connection, socket);
        let mut text = String::new();
        let (head, body) = loop {
            let mut piece = [0; 4_096];
            let length = stream.read(&mut piece).ok()?;
            text.push_str(std::str::from_utf8(&piece[..length]).expect("UTF-8"));
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let peer = stream.conn.peer_certificates().and_then(|chain| chain.first()).expect("a certificate");
        let seen = Seen { head, body, caller: keyring.trust.leaf(peer).expect("a leaf of ours") };
        let (status, body) = reply(&seen, &keyring);
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).expect("write");
        stream.conn.send_close_notify();
        stream.flush().expect("flush");
        Some(seen)
    });
    OneCall { url, served }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

#[test]
fn a_tenant_is_created_over_the_api_as_the_operator() {
    let dir = tempfile::tempdir().expect("directory");
    let (keyring, operator) = installed(dir.path());
    let tenant = Tenant {
        tenant: "acme".parse().expect("id"),
        created_at_s: 1_769_904_000,
        state: State::Active,
        accept_simulated_tpms: true,
        precautions: Default::default(),
    };
    let body = json(&tenant);
    let hub = answer(keyring, Expect::API, move |_, _| (201, body));
    let ended = commands(&[
        "tenant",
        "create",
        "acme",
        "--accept-simulated-tpms",
        "--hub",
        &hub.url,
        "--identity",
        &operator,
    ]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    assert!(ended.out.contains("acme    active  2026-02-01T00:00:00Z  accepted"), "{}", ended.out);
    let seen = hub.served.join().expect("served").expect("called");
    assert!(seen.head.starts_with("POST /api/v1/tenants HTTP/1.1\r\n"), "{}", seen.head);
    assert!(seen.caller.principal.is_operator());
    let asked: NewTenant = serde_json::from_str(&seen.body).expect("body");
    assert!(asked.accept_simulated_tpms && asked.tenant == tenant.tenant);
}

#[test]
fn a_refusal_of_the_hub_is_passed_on_with_what_why_and_next() {
    let dir = tempfile::tempdir().expect("directory");
    let (keyring, operator) = installed(dir.path());
    let error = ErrorDetail {
        code: "tenant_unknown".to_owned(),
        what: "there is no answer".to_owned(),
        why: "no tenant is called acme".to_owned(),
        next: "muster tenant list".to_owned(),
    };
    let body = json(&ErrorBody { error });
    let hub = answer(keyring, Expect::API, move |_, _| (404, body));
    let ended = commands(&["device", "list", "--tenant", "acme", "--hub", &hub.url, "--identity", &operator]);
    assert_eq!(ended.exit, Exit::Refused);
    assert_eq!(
        ended.err,
        "error: cannot list the devices of acme\n  why: there is no answer: no tenant is called acme\n \
         next: muster tenant list\n"
    );
}

#[test]
fn a_created_app_can_call_the_hub_with_what_was_written() {
    let dir = tempfile::tempdir().expect("directory");
    let (keyring, operator) = installed(dir.path());
    let out = dir.path().join("app");
    let hub = answer(keyring, Expect::API, |seen, keyring| {
        let asked: NewApp = serde_json::from_str(&seen.body).expect("body");
        let key = PublicKey::from_csr_pem(&asked.csr_pem).expect("request");
        let who = format!("spiffe://muster.example/t/acme/app/{}", asked.app).parse().expect("principal");
        let now_s = SystemClock.unix_ms() / 1_000;
        let issued = keyring.client.issue_client(&key, &who, now_s, 3_600).expect("issued");
        let certificate_pem = pem(&[issued.certificate, keyring.client.certificate()]);
        let ca_pem = pem(std::slice::from_ref(keyring.trust.root()));
        (201, json(&App { app: asked.app, certificate_pem, ca_pem }))
    });
    let directory = out.to_string_lossy().into_owned();
    let ended = commands(&[
        "app",
        "create",
        "--tenant",
        "acme",
        "dashboard",
        "--out",
        &directory,
        "--hub",
        &hub.url,
        "--identity",
        &operator,
    ]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    let line = format!(
        "mosquitto_sub -h localhost -p 8883 --cafile {directory}/ca.pem --cert {directory}/cert.pem \
         --key {directory}/key.pem -t 'devices/+/telemetry/#' -v\n"
    );
    assert!(ended.out.ends_with(&line), "{}", ended.out);
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(out.join("key.pem")).expect("key").mode() & 0o777, 0o600);

    // The app knows its tenant, and calls as itself.
    let config = Config::read(&dir.path().join("hub/muster.toml"), [], &[]).expect("configuration");
    let keyring = Keyring::open(&config, SystemClock.unix_ms() / 1_000).expect("open");
    let reading = Reading {
        device: "pump-7".parse().expect("id"),
        stream: "climate".to_owned(),
        name: "temperature".to_owned(),
        unit: Some("Cel".to_owned()),
        time_s: 1_769_904_000.5,
        value: ReadingValue::Number(21.5),
    };
    let page = json(&Readings { readings: vec![reading], ..Readings::default() });
    let hub = answer(keyring, Expect::API, move |_, _| (200, page));
    let ended =
        commands(&["telemetry", "last", "--stream", "cli mate", "--hub", &hub.url, "--identity", &directory]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    assert!(
        ended.out.contains("2026-02-01T00:00:00.500Z  pump-7  climate  temperature  21.5   Cel"),
        "{}",
        ended.out
    );
    let seen = hub.served.join().expect("served").expect("called");
    assert!(
        seen.head.starts_with("GET /api/v1/tenants/acme/telemetry/last?stream=cli%20mate "),
        "{}",
        seen.head
    );
    assert_eq!(seen.caller.principal.to_string(), "spiffe://muster.example/t/acme/app/dashboard");
}

#[test]
fn a_device_is_shown_line_by_line_and_as_json() {
    let dir = tempfile::tempdir().expect("directory");
    let (keyring, operator) = installed(dir.path());
    let device = Device {
        device: "pump-7".parse().expect("id"),
        tenant: "acme".parse().expect("id"),
        state: State::Active,
        model: "evil\u{1b}[2J".to_owned(),
        tpm_class: "hardware".to_owned(),
        ek_hash: "00".repeat(32),
        certificate_serial: "40".repeat(16),
        certificate_expires_at_s: 1_769_904_000,
        enrolled_at_s: 1_769_904_000,
        boots: 3,
        agent_version: "0.1.0".to_owned(),
        life: Default::default(),
    };
    let body = json(&device);
    let hub = answer(keyring, Expect::API, move |_, _| (200, body));
    let ended = commands(&[
        "device",
        "show",
        "--tenant",
        "acme",
        "pump-7",
        "--hub",
        &hub.url,
        "--identity",
        &operator,
    ]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    assert!(ended.out.contains("model        evil\u{fffd}[2J\n"), "{}", ended.out);
    assert!(ended.out.contains("boots        3\n"), "{}", ended.out);
}

#[test]
fn a_hub_that_turns_the_certificate_away_refuses_and_a_false_hub_is_not_reached() {
    let dir = tempfile::tempdir().expect("directory");
    let (keyring, operator) = installed(dir.path());
    let hub = answer(keyring, Expect::ENROLMENT, |_, _| (200, "[]".to_owned()));
    let ended = commands(&["tenant", "list", "--hub", &hub.url, "--identity", &operator]);
    assert_eq!(ended.exit, Exit::Refused, "{}", ended.err);
    assert!(ended.err.contains("refused your certificate"), "{}", ended.err);
    assert!(hub.served.join().expect("served").is_none());

    let elsewhere = tempfile::tempdir().expect("directory");
    let (keyring, _) = installed(elsewhere.path());
    let hub = answer(keyring, Expect::API, |_, _| (200, "[]".to_owned()));
    let ended = commands(&["tenant", "list", "--hub", &hub.url, "--identity", &operator]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
    assert!(ended.err.contains("does not prove to be your hub"), "{}", ended.err);
    assert!(hub.served.join().expect("served").is_none());
}
