//! Self-signed certificates against the HTTPS listener's end of TLS. Time is fixed: nothing here asks a clock.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, ServerConnection,
    SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};

use super::*;
use crate::{
    authority::{Authority, PublicKey, Role, Tenants},
    limits::DAY_S,
    peer_verifier::PeerVerifier,
    tls::{HTTPS_ALPN, ServerIdentity, provider, server_tls_config},
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// Shows what it is given, whether or not the key is the certificate's.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key")
}

/// A certificate of its owner's making, with these days of life around [`NOW_S`].
fn self_signed(key: &KeyPair, from_day: u64, to_day: u64) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).expect("params");
    let begin = date_time_ymd(2026, 1, 22);
    params.not_before = begin + Duration::from_secs(from_day * DAY_S);
    params.not_after = begin + Duration::from_secs(to_day * DAY_S);
    params.self_signed(key).expect("signed").der().clone()
}

struct Hub {
    trust: Peers,
    identity: ServerIdentity,
}

impl Hub {
    fn new() -> Self {
        let root =
            Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S - DAY_S).expect("root");
        let below = |role| root.new_intermediate(role, NOW_S - DAY_S).expect("authority");
        let (server, client) = (below(Role::Server), below(Role::Client));
        let own = key();
        let names = [ServerName::try_from("localhost").expect("name")];
        let public = PublicKey::from_sec1(own.der_bytes()).expect("point");
        let principal = "spiffe://muster.example/t/operator/node/hub".parse().expect("principal");
        let issued =
            server.issue_server(&public, &principal, (&names, &Tenants::All), NOW_S, DAY_S).expect("hub");
        let authorities = [&server, &client].map(|a| (a.role(), a.certificate()));
        let trust = TrustBundle::new(root.certificate(), authorities).expect("one installation");
        let trust = Peers::new(trust, Pins::default());
        let identity = ServerIdentity {
            chain: vec![issued.certificate, server.certificate()],
            key: PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
        };
        Self { trust, identity }
    }

    fn pin(&self, der: &CertificateDer<'_>) {
        let ann = ("acme".parse().expect("id"), Kind::User, "ann".parse().expect("id"));
        self.trust.pins().replace([(fingerprint(der), ann)].into());
    }

    /// Who the hub takes a peer for that shows this; its reason, if it does not let it in.
    fn meet(&self, der: &CertificateDer<'static>, key: &KeyPair) -> Result<Result<Leaf, NotThePeer>, Error> {
        let verifier =
            Arc::new(PeerVerifier::new(&self.trust, &Expect::API, true, Vec::new()).expect("verifier"));
        let mut config = server_tls_config(&self.identity, verifier, &HTTPS_ALPN).expect("server");
        config.time_provider = Arc::new(At(NOW_S));
        let mut server = ServerConnection::new(Arc::new(config)).expect("server");
        let mut roots = RootCertStore::empty();
        roots.add(self.trust.root().clone()).expect("root");
        let signer = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signer = provider().key_provider.load_private_key(signer).expect("signer");
        let shown = CertifiedKey::new(vec![der.clone()], signer);
        let config = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW_S)))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Shows(Arc::new(shown))));
        let name = ServerName::try_from("localhost").expect("name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("client");
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("memory");
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory");
                server.process_new_packets()?;
            }
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("memory");
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory");
                client.process_new_packets()?;
            }
        }
        let leaf = server.peer_certificates().and_then(<[_]>::first).expect("shown");
        Ok(self.trust.peer(leaf, &Expect::API))
    }
}

#[test]
fn a_pinned_certificate_is_let_in_as_the_one_it_is_registered_for() {
    let (hub, own) = (Hub::new(), key());
    let der = self_signed(&own, 0, 20);
    hub.pin(&der);
    let leaf = hub.meet(&der, &own).expect("let in").expect("known");
    assert_eq!(leaf.principal, "spiffe://muster.example/t/acme/user/ann".parse().expect("principal"));
    assert_eq!(leaf.serial.as_bytes()[..], fingerprint(&der)[..16]);
    // What it says of itself means nothing, and once it is not pinned any more, it is nobody's.
    hub.trust.pins().replace(PinnedFor::new());
    assert_eq!(hub.trust.peer(&der, &Expect::API), Err(InvalidLeaf::UnknownIssuer.into()));
}

#[test]
fn a_self_signed_certificate_that_nobody_pinned_is_refused() {
    let (hub, own) = (Hub::new(), key());
    hub.pin(&self_signed(&key(), 0, 20));
    let refused = hub.meet(&self_signed(&own, 0, 20), &own).expect_err("not pinned");
    assert!(matches!(refused, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{refused}");
}

#[test]
fn another_certificate_for_a_pinned_key_is_refused() {
    let (hub, own) = (Hub::new(), key());
    hub.pin(&self_signed(&own, 0, 20));
    assert!(hub.meet(&self_signed(&own, 0, 21), &own).is_err());
}

#[test]
fn a_pinned_certificate_with_another_key_is_refused() {
    let (hub, own) = (Hub::new(), key());
    let der = self_signed(&own, 0, 20);
    hub.pin(&der);
    let refused = hub.meet(&der, &key()).expect_err("signed with another key");
    assert!(matches!(refused, Error::InvalidCertificate(CertificateError::BadSignature)), "{refused}");
}

#[test]
fn a_pinned_certificate_ends_when_it_says() {
    let (hub, own) = (Hub::new(), key());
    for (from_day, to_day, why) in
        [(0, 9, CertificateError::Expired), (11, 20, CertificateError::NotValidYet)]
    {
        let der = self_signed(&own, from_day, to_day);
        hub.pin(&der);
        assert_eq!(hub.meet(&der, &own).expect_err("not now"), Error::InvalidCertificate(why));
    }
}
