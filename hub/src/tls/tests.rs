//! Every kind of certificate against every end. Time is fixed: nothing here asks a clock.

use std::{sync::Arc, time::Duration};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    time_provider::TimeProvider,
};

use super::*;
use crate::{
    authority::{Authority, Issued, PublicKey},
    limits::DAY_S,
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;
const HOUR_S: u64 = 3_600;

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

struct Installation {
    root: Authority,
    server: Authority,
    device: Authority,
    client: Authority,
}

/// A certificate with its key, as one end presents it.
struct Presented {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Installation {
    fn new() -> Self {
        let root =
            Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S - DAY_S).expect("root");
        let below = |role| root.new_intermediate(role, NOW_S - DAY_S).expect("authority");
        Self { server: below(Role::Server), device: below(Role::Device), client: below(Role::Client), root }
    }

    fn trust(&self) -> TrustBundle {
        let all = [&self.server, &self.device, &self.client];
        let all = all.map(|a| (a.role(), a.certificate().clone()));
        TrustBundle::new(self.root.certificate().clone(), all).expect("one installation")
    }

    fn present(
        authority: &Authority,
        uri: &str,
        issue: impl FnOnce(&PublicKey, &muster_schemas::Principal) -> Issued,
    ) -> Presented {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let public = PublicKey::from_sec1(key.der_bytes()).expect("point");
        let issued = issue(&public, &uri.parse().expect("principal"));
        assert_eq!(issued.leaf.spki_sha256, public.spki_sha256());
        let chain = vec![issued.certificate, authority.certificate().clone()];
        Presented { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    fn device(&self, issued_at_s: u64) -> Presented {
        Self::present(&self.device, "spiffe://muster.example/t/acme/device/pump-7", |key, who| {
            self.device.issue_device(key, who, issued_at_s, HOUR_S).expect("device")
        })
    }

    fn app(&self) -> Presented {
        Self::present(&self.client, "spiffe://muster.example/t/acme/app/dashboard", |key, who| {
            self.client.issue_client(key, who, NOW_S, HOUR_S).expect("app")
        })
    }

    fn hub(&self) -> Presented {
        let names = ["localhost", "127.0.0.1"].map(|name| ServerName::try_from(name).expect("name"));
        Self::present(&self.server, "spiffe://muster.example/t/operator/node/hub", |key, who| {
            self.server.issue_server(key, who, &names, NOW_S, HOUR_S).expect("hub")
        })
    }
}

#[derive(Debug, PartialEq)]
struct Done {
    alpn: Option<Vec<u8>>,
    client_known: bool,
    kind: Option<HandshakeKind>,
}

/// What both ends of a listener do with each other: the first error of either side, told by side.
fn meet(
    trust: &TrustBundle,
    server: &Presented,
    roles: &[Role],
    optional: bool,
    client: Option<&Presented>,
    alpn: &[&[u8]],
    server_name: &str,
) -> Result<Done, (&'static str, String)> {
    let identity = ServerIdentity { chain: server.chain.clone(), key: server.key.clone_key() };
    let verifier = client_verifier(trust, roles, optional).expect("verifier");
    let mut config = server_tls_config(&identity, verifier, &MQTT_ALPN).expect("server");
    config.time_provider = Arc::new(At(NOW_S));
    let mut server = ServerConnection::new(Arc::new(config)).expect("server");

    let mut roots = RootCertStore::empty();
    roots.add(trust.root().clone()).expect("root");
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match client {
        Some(client) => {
            builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).expect("client")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(server_name.to_owned()).expect("name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("client");

    // Two rounds finish a handshake of TLS 1.3; more do no harm.
    for _ in 0..4 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets().map_err(|error| ("server", error.to_string()))?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets().map_err(|error| ("client", error.to_string()))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "four rounds finish a handshake");
    assert_eq!(client.tls13_tickets_received(), 0, "a ticket was sent");
    if let Some(peer) = server.peer_certificates().and_then(|chain| chain.first()) {
        assert!(roles.contains(&trust.leaf(peer).expect("a leaf of ours").authority));
    }
    Ok(Done {
        alpn: server.alpn_protocol().map(<[u8]>::to_vec),
        client_known: server.peer_certificates().is_some(),
        kind: server.handshake_kind(),
    })
}

#[test]
fn every_end_takes_the_certificates_of_its_role_and_no_others() {
    let ours = Installation::new();
    let theirs = Installation::new();
    let trust = ours.trust();
    let hub = ours.hub();
    let device_and_app = [Role::Device, Role::Client].as_slice();
    let clients = [
        ("device", ours.device(NOW_S)),
        ("app", ours.app()),
        ("hub", ours.hub()),
        ("expired device", ours.device(NOW_S - 2 * HOUR_S)),
        ("early device", ours.device(NOW_S + HOUR_S)),
        ("device of another installation", theirs.device(NOW_S)),
        ("app of another installation", theirs.app()),
    ];
    for (roles, accepted) in [
        (device_and_app, ["device", "app"].as_slice()),
        (&[Role::Device], &["device"]),
        (&[Role::Client], &["app"]),
    ] {
        for optional in [false, true] {
            for (name, client) in &clients {
                let met = meet(&trust, &hub, roles, optional, Some(client), &[], "localhost");
                match accepted.contains(name) {
                    true => assert!(met.expect(name).client_known, "{name} at {roles:?}"),
                    false => assert_eq!(met.expect_err(name).0, "server", "{name} at {roles:?}"),
                }
            }
            let nobody = meet(&trust, &hub, roles, optional, None, &[], "localhost");
            match optional {
                true => assert!(!nobody.expect("let in without a certificate").client_known),
                false => assert_eq!(nobody.expect_err("nobody").0, "server"),
            }
        }
    }
}

#[test]
fn only_a_certificate_of_the_server_authority_serves() {
    let ours = Installation::new();
    let theirs = Installation::new();
    let trust = ours.trust();
    let app = ours.app();
    for (name, server, accepted) in [
        ("hub", ours.hub(), true),
        ("device", ours.device(NOW_S), false),
        ("app", ours.app(), false),
        ("hub of another installation", theirs.hub(), false),
    ] {
        let met = meet(&trust, &server, &[Role::Client], false, Some(&app), &[], "localhost");
        match accepted {
            true => assert!(met.is_ok(), "{name}: {met:?}"),
            false => assert_eq!(met.expect_err(name).0, "client", "{name}"),
        }
    }
}

#[test]
fn the_hub_is_found_under_its_names_and_addresses_only() {
    let ours = Installation::new();
    let (trust, hub, app) = (ours.trust(), ours.hub(), ours.app());
    for (name, accepted) in [("localhost", true), ("127.0.0.1", true), ("127.0.0.2", false), ("hub", false)] {
        let met = meet(&trust, &hub, &[Role::Client], false, Some(&app), &[], name);
        assert_eq!(met.is_ok(), accepted, "{name}: {met:?}");
    }
}

#[test]
fn no_protocol_name_and_mqtt_and_enrolment_are_served_and_others_refused() {
    let ours = Installation::new();
    let (trust, hub, app) = (ours.trust(), ours.hub(), ours.app());
    let offer = |alpn: &[&[u8]]| {
        meet(&trust, &hub, &[Role::Client], false, Some(&app), alpn, "localhost").map(|d| d.alpn)
    };
    assert_eq!(offer(&[]), Ok(None));
    assert_eq!(offer(&[b"mqtt"]), Ok(Some(b"mqtt".to_vec())));
    assert_eq!(offer(&[enrolment::ALPN]), Ok(Some(enrolment::ALPN.to_vec())));
    assert!(offer(&[b"coap"]).is_err());
}

#[test]
fn a_client_that_returns_is_verified_anew() {
    // `meet` asserts that no ticket is sent; a full handshake each time is what follows.
    let ours = Installation::new();
    let (trust, hub, app) = (ours.trust(), ours.hub(), ours.app());
    for _ in 0..2 {
        let met = meet(&trust, &hub, &[Role::Client], false, Some(&app), &[], "localhost").expect("accepted");
        assert!(matches!(met.kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)));
    }
}
