//! Every kind of certificate against every end. Time is fixed: nothing here asks a clock.

use std::{sync::Arc, time::Duration};

use muster_actors::SystemClock;
use muster_schemas::Kind;
use muster_trust::{HubTrust, HubVerifier};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    client::{Resumption, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    time_provider::TimeProvider,
};

use super::*;
use crate::{
    authority::{Authority, PublicKey, Role, Tenants, TrustBundle},
    limits::DAY_S,
    pinned::Pins,
    registry::{Revocation, RevocationReason},
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
    below: Vec<Authority>,
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
        let below = Role::INTERMEDIATES
            .map(|role| root.new_intermediate(role, NOW_S - DAY_S).expect("authority"))
            .into();
        Self { root, below }
    }

    fn trust(&self) -> Arc<Peers> {
        let all = self.below.iter().map(|a| (a.role(), a.certificate()));
        let trust = TrustBundle::new(self.root.certificate(), all).expect("one installation");
        Arc::new(Peers::new(trust, Pins::default()))
    }

    fn authority(&self, role: Role) -> &Authority {
        self.below.iter().find(|authority| authority.role() == role).expect("authority")
    }

    /// A certificate of this kind, with a chain to the root.
    fn present(&self, kind: Kind, issued_at_s: u64) -> Presented {
        self.present_for(kind, issued_at_s, &Tenants::All)
    }

    fn present_for(&self, kind: Kind, issued_at_s: u64, tenants: &Tenants) -> Presented {
        let authority = self.authority(Role::of(kind));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let public = PublicKey::from_sec1(key.der_bytes()).expect("point");
        let tenant = if kind == Kind::Node { "operator" } else { "acme" };
        let who = format!("spiffe://muster.example/t/{tenant}/{kind}/a").parse().expect("principal");
        let issued = match kind {
            Kind::Node => {
                let names = ["localhost", "127.0.0.1"].map(|name| ServerName::try_from(name).expect("name"));
                authority.issue_server(&public, &who, (&names, tenants), issued_at_s, HOUR_S)
            }
            _ => authority.issue_principal(&public, &who, issued_at_s, HOUR_S),
        }
        .expect("issued");
        assert_eq!(issued.leaf.spki_sha256, public.spki_sha256());
        let chain = vec![issued.certificate, authority.certificate()];
        Presented { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    fn device(&self, issued_at_s: u64) -> Presented {
        self.present(Kind::Device, issued_at_s)
    }

    fn app(&self) -> Presented {
        self.present(Kind::App, NOW_S)
    }

    fn hub(&self) -> Presented {
        self.present(Kind::Node, NOW_S)
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
    trust: &Peers,
    server: &Presented,
    expect: &Expect,
    optional: bool,
    client: Option<&Presented>,
    alpn: &[&[u8]],
    server_name: &str,
) -> Result<Done, (&'static str, String)> {
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
    handshake(trust, server, expect, optional, config, server_name)
}

fn handshake(
    trust: &Peers,
    server: &Presented,
    expect: &Expect,
    optional: bool,
    config: ClientConfig,
    server_name: &str,
) -> Result<Done, (&'static str, String)> {
    let verifier = Arc::new(PeerVerifier::new(trust, expect, optional, Vec::new()).expect("verifier"));
    handshake_verified(trust, server, expect, verifier, config, server_name, NOW_S)
}

fn handshake_verified(
    trust: &Peers,
    server: &Presented,
    expect: &Expect,
    verifier: Arc<dyn ClientCertVerifier>,
    config: ClientConfig,
    server_name: &str,
    now_s: u64,
) -> Result<Done, (&'static str, String)> {
    let identity = ServerIdentity { chain: server.chain.clone(), key: server.key.clone_key() };
    let mut served = server_tls_config(&identity, verifier, &MQTT_ALPN).expect("server");
    served.time_provider = Arc::new(At(now_s));
    let mut server = ServerConnection::new(Arc::new(served)).expect("server");
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
    // What every end does next, before it acts on anything.
    if let Some(peer) = server.peer_certificates().and_then(|chain| chain.first()) {
        trust.peer(peer, expect).map_err(|error| ("server", error.to_string()))?;
    }
    Ok(Done {
        alpn: server.alpn_protocol().map(<[u8]>::to_vec),
        client_known: server.peer_certificates().is_some(),
        kind: server.handshake_kind(),
    })
}

/// An end of a hub: its name, what it expects, what the client offers, who may come in.
type End = (&'static str, Expect, &'static [&'static [u8]], &'static [Kind]);

const ENDS: [End; 4] = [
    ("MQTT over TLS", Expect::MQTT, &[b"mqtt"], &[Kind::Device, Kind::App, Kind::Service]),
    ("MQTT over WebSocket", Expect::MQTT, &[], &[Kind::Device, Kind::App, Kind::Service]),
    // Devices renew by EST there; the API behind it refuses them.
    ("HTTPS", Expect::API, &[], &[Kind::Device, Kind::App, Kind::User, Kind::Service]),
    ("enrolment", Expect::ENROLMENT, &[enrolment::ALPN], &[Kind::Device]),
];

#[test]
fn a_certificate_of_each_wrong_kind_is_refused_at_each_end_of_the_hub() {
    let (ours, theirs) = (Installation::new(), Installation::new());
    let (trust, hub) = (ours.trust(), ours.hub());
    for (end, expect, alpn, takes) in &ENDS {
        for kind in Kind::ALL {
            for optional in [false, true] {
                let at = |client: &Presented| {
                    meet(&trust, &hub, expect, optional, Some(client), alpn, "localhost")
                };
                let met = at(&ours.present(kind, NOW_S));
                match takes.contains(&kind) {
                    true => assert!(met.expect(end).client_known, "{kind} at {end}"),
                    false => assert_eq!(met.expect_err(end).0, "server", "{kind} at {end}"),
                }
                assert!(at(&theirs.present(kind, NOW_S)).is_err(), "{kind} of another installation at {end}");
                assert!(at(&ours.present(kind, NOW_S - 2 * HOUR_S)).is_err(), "expired {kind} at {end}");
                assert!(at(&ours.present(kind, NOW_S + HOUR_S)).is_err(), "early {kind} at {end}");
            }
        }
        let nobody =
            |optional| meet(&trust, &hub, expect, optional, None, alpn, "localhost").map(|d| d.client_known);
        assert_eq!(nobody(true), Ok(false));
        assert_eq!(nobody(false).expect_err("nobody").0, "server");
    }
}

/// The same installation, seen from a device: it presents a good certificate, and looks at what the other end shows.
#[test]
fn a_certificate_of_each_wrong_kind_is_refused_at_a_device() {
    let (ours, theirs) = (Installation::new(), Installation::new());
    let trust = Arc::new(HubTrust::default());
    trust.expect_tenant(Some("acme".parse().expect("tenant")));
    let roots = [ours.root.certificate()];
    let verifier = HubVerifier::new(&roots, provider(), Arc::clone(&trust)).expect("root");
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
    let meets = |shown: &Presented, name: &str| {
        let device = ours.device(NOW_S);
        let config = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
            .with_protocol_versions(&[&TLS13])
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_client_auth_cert(device.chain, device.key)
            .expect("device");
        handshake(&ours.trust(), shown, &Expect::MQTT, true, config, name)
    };
    for kind in Kind::ALL {
        let met = meets(&ours.present(kind, NOW_S), "localhost");
        assert_eq!(met.is_ok(), kind == Kind::Node, "{kind}: {met:?}");
        assert!(meets(&theirs.present(kind, NOW_S), "localhost").is_err(), "{kind} of another installation");
    }
    meets(&ours.hub(), "a.name.that.moved.example").expect("names are not trusted, and not needed");
    let hub_of = |tenants: &str| ours.present_for(Kind::Node, NOW_S, &tenants.parse().expect("tenants"));
    meets(&hub_of("acme,globex"), "localhost").expect("entitled to acme");
    assert_eq!(meets(&hub_of("globex"), "localhost").expect_err("of others").0, "client");
}

#[test]
fn only_a_certificate_of_the_server_authority_serves_clients_that_are_not_ours() {
    let (ours, theirs) = (Installation::new(), Installation::new());
    let (trust, app) = (ours.trust(), ours.app());
    for kind in Kind::ALL {
        let served = ours.present(kind, NOW_S);
        let met = meet(&trust, &served, &Expect::API, false, Some(&app), &[], "localhost");
        match kind {
            Kind::Node => assert!(met.is_ok(), "{kind}: {met:?}"),
            _ => assert_eq!(met.expect_err("no hub").0, "client", "{kind}"),
        }
    }
    let met = meet(&trust, &theirs.hub(), &Expect::API, false, Some(&app), &[], "localhost");
    assert_eq!(met.expect_err("another installation").0, "client");
}

#[test]
fn one_service_cannot_present_itself_as_another() {
    let ours = Installation::new();
    let sink = ours.present(Kind::Service, NOW_S);
    // Whose certificate it is stands in what the authority signed; another key cannot use it, and it cannot be changed.
    let other = ours.present(Kind::Service, NOW_S);
    let posing = Presented { chain: sink.chain.clone(), key: other.key.clone_key() };
    let client = |presented: &Presented| {
        ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(presented.chain.clone(), presented.key.clone_key())
    };
    assert!(client(&sink).is_ok());
    assert!(client(&posing).is_err(), "the key of another");
    let life = ours.trust().leaf(&sink.chain[0]).expect("leaf");
    assert!(life.not_after_s - life.not_before_s <= DAY_S, "a service's certificate is short-lived");
}

#[test]
fn the_hub_is_found_under_its_names_and_addresses_only() {
    let ours = Installation::new();
    let (trust, hub, app) = (ours.trust(), ours.hub(), ours.app());
    for (name, accepted) in [("localhost", true), ("127.0.0.1", true), ("127.0.0.2", false), ("hub", false)] {
        let met = meet(&trust, &hub, &Expect::API, false, Some(&app), &[], name);
        assert_eq!(met.is_ok(), accepted, "{name}: {met:?}");
    }
}

#[test]
fn no_protocol_name_and_mqtt_and_enrolment_are_served_and_others_refused() {
    let ours = Installation::new();
    let (trust, hub, app) = (ours.trust(), ours.hub(), ours.app());
    let offer = |alpn: &[&[u8]]| {
        meet(&trust, &hub, &Expect::API, false, Some(&app), alpn, "localhost").map(|d| d.alpn)
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
        let met = meet(&trust, &hub, &Expect::API, false, Some(&app), &[], "localhost").expect("accepted");
        assert!(matches!(met.kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)));
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_no_other() {
    let ours = Installation::new();
    let (trust, hub) = (ours.trust(), ours.hub());
    let (stolen, good, app) = (ours.device(NOW_S), ours.device(NOW_S), ours.app());
    let leaf = trust.leaf(&stolen.chain[0]).expect("leaf");
    let revoked = [Arc::new(Revocation {
        authority: Role::Device,
        serial: leaf.serial,
        not_after_s: leaf.not_after_s,
        revoked_at_s: NOW_S,
        reason: RevocationReason::KeyCompromise,
        invalid_since_s: None,
        principal: leaf.principal,
    })];
    let lists: Vec<List> =
        ours.below.iter().map(|a| List::sign(a, &revoked, 1, NOW_S).expect("list")).collect();
    let identity = ServerIdentity { chain: hub.chain.clone(), key: hub.key.clone_key() };
    TlsConfigs::new(&trust, &Witness::new(SystemClock::shared()), &identity, &lists)
        .expect("every door has a list of each of its authorities");
    let meets = |client: &Presented| {
        let lists = lists.iter().filter(|list| Expect::MQTT.roles.contains(&list.role));
        let lists = lists.map(|list| list.der.to_vec().into()).collect();
        let verifier = Arc::new(PeerVerifier::new(&trust, &Expect::MQTT, true, lists).expect("verifier"));
        let mut roots = RootCertStore::empty();
        roots.add(trust.root().clone()).expect("root");
        let config = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
            .expect("client");
        handshake_verified(&trust, &hub, &Expect::MQTT, verifier, config, "localhost", NOW_S)
    };
    let (end, why) = meets(&stolen).expect_err("revoked");
    assert_eq!(end, "server");
    assert!(why.contains("Revoked"), "{why}");
    meets(&good).expect("another device");
    meets(&app).expect("an app");
}

/// Attack: a client keeps whatever the hub gives it to resume with, and comes back once its certificate is revoked, or has
/// ended.
#[test]
fn a_revoked_or_ended_certificate_is_not_resumed() {
    let ours = Installation::new();
    let (trust, hub, device) = (ours.trust(), ours.hub(), ours.device(NOW_S));
    let leaf = trust.leaf(&device.chain[0]).expect("leaf");
    let revoked = [Arc::new(Revocation {
        authority: Role::Device,
        serial: leaf.serial,
        not_after_s: leaf.not_after_s,
        revoked_at_s: NOW_S,
        reason: RevocationReason::KeyCompromise,
        invalid_since_s: None,
        principal: leaf.principal,
    })];
    let mut roots = RootCertStore::empty();
    roots.add(trust.root().clone()).expect("root");
    let mut keeps = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(device.chain.clone(), device.key.clone_key())
        .expect("client");
    keeps.resumption = Resumption::in_memory_sessions(8);
    let comes = |lists: &[List], now_s: u64| {
        let lists = lists.iter().filter(|list| Expect::MQTT.roles.contains(&list.role));
        let lists = lists.map(|list| list.der.to_vec().into()).collect();
        let verifier = Arc::new(PeerVerifier::new(&trust, &Expect::MQTT, true, lists).expect("verifier"));
        // A clone shares what was kept.
        handshake_verified(&trust, &hub, &Expect::MQTT, verifier, keeps.clone(), "localhost", now_s)
    };
    for _ in 0..2 {
        let met = comes(&[], NOW_S).expect("good");
        assert!(!matches!(met.kind, Some(HandshakeKind::Resumed)), "nothing is resumed");
    }
    let lists: Vec<List> =
        ours.below.iter().map(|a| List::sign(a, &revoked, 1, NOW_S).expect("list")).collect();
    let (end, why) = comes(&lists, NOW_S).expect_err("revoked");
    assert!(end == "server" && why.contains("Revoked"), "{why}");
    let (end, why) = comes(&[], NOW_S + 2 * HOUR_S).expect_err("ended");
    assert!(end == "server" && why.contains("expired"), "{why}");
}
