use std::{sync::Arc, time::Duration};

use muster_schemas::trust::{SignedTrust, Trust};
use muster_trust::{Disbelief, HubTrust, HubVerifier, TrustObject};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use rustls::{
    client::danger::ServerCertVerifier as _,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{CertificateRevocationList, FromDer as _},
};

use super::{List, sign_trust};
use crate::{
    authority::{Authority, Issued, PublicKey, Role, Serial, Tenants, TrustBundle},
    registry::{Revocation, RevocationReason},
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn row(authority: Role, serial: [u8; 16], reason: RevocationReason) -> Arc<Revocation> {
    Arc::new(Revocation {
        authority,
        serial: Serial::from(serial),
        not_after_s: NOW_S + 60,
        revoked_at_s: NOW_S,
        reason,
        invalid_since_s: Some(NOW_S - 3_600),
        principal: "spiffe://muster.example/t/acme/device/pump-7".parse().expect("principal"),
    })
}

fn device_authority() -> Authority {
    let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
    root.new_intermediate(Role::Device, NOW_S).expect("authority")
}

#[test]
fn a_list_says_what_was_revoked_since_when_and_why() {
    let authority = device_authority();
    let rows = [
        row(Role::Device, [0x41; 16], RevocationReason::KeyCompromise),
        row(Role::Client, [0x42; 16], RevocationReason::KeyCompromise),
    ];
    let list = List::sign(&authority, &rows, 7, NOW_S).expect("signed");
    assert_eq!(list.name(), "device");
    assert!(list.pem().starts_with("-----BEGIN X509 CRL-----\n"));
    let (rest, parsed) = CertificateRevocationList::from_der(&list.der).expect("DER");
    assert!(rest.is_empty());
    assert_eq!(parsed.crl_number().map(ToString::to_string), Some("7".to_owned()));
    assert_eq!(parsed.last_update().timestamp(), i64::try_from(NOW_S).expect("in range"));
    let revoked: Vec<_> = parsed.iter_revoked_certificates().collect();
    let [entry] = revoked.as_slice() else { panic!("one of this authority") };
    assert_eq!(entry.raw_serial(), [0x41; 16]);
    assert_eq!(entry.reason_code().map(|(_, code)| code.0), Some(RevocationReason::KeyCompromise.code()));
    let since = entry.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::InvalidityDate(date) => Some(date.timestamp()),
        _ => None,
    });
    assert_eq!(since, i64::try_from(NOW_S - 3_600).ok(), "the compromise date");
}

#[test]
fn an_authority_that_follows_another_has_a_list_of_its_own_name() {
    let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
    let second = root.new_generation(Role::Device, 2, NOW_S).expect("authority");
    let list = List::sign(&second, &[], 1, NOW_S).expect("signed");
    assert_eq!((list.name(), list.generation), ("device-2".to_owned(), 2));
}

/// An installation with its software authority, and a hub of it that was revoked.
struct Installation {
    root: Authority,
    server: Authority,
    software: Authority,
}

impl Installation {
    fn new() -> Self {
        let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
        let below = |role| root.new_intermediate(role, NOW_S).expect("authority");
        Self { server: below(Role::Server), software: below(Role::Software), root }
    }

    fn bundle(&self) -> TrustBundle {
        let below = [&self.server, &self.software].map(|a| (a.role(), a.certificate()));
        TrustBundle::new(self.root.certificate(), below).expect("one installation")
    }

    fn object(&self, revoked: &[Arc<Revocation>], version: u64) -> Vec<u8> {
        sign_trust(&self.software, &self.bundle(), revoked, version, NOW_S).expect("signed").to_vec()
    }

    fn roots(&self) -> [CertificateDer<'static>; 1] {
        [self.root.certificate()]
    }

    fn believed(&self, bytes: &[u8]) -> TrustObject {
        TrustObject::verify(bytes, &self.roots()).expect("believed")
    }

    fn hub(&self) -> Issued {
        let who = "spiffe://muster.example/t/operator/node/hub".parse().expect("principal");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let public = PublicKey::from_sec1(key.der_bytes()).expect("point");
        self.server.issue_server(&public, &who, (&[], &Tenants::All), NOW_S, 3_600).expect("issued")
    }

    /// What a device with this trust says of a hub that shows this certificate.
    fn meets(&self, trust: &Arc<HubTrust>, hub: &Issued) -> Result<(), String> {
        let verifier = HubVerifier::new(&self.roots(), crate::tls::provider(), Arc::clone(trust));
        let name = ServerName::try_from("localhost").expect("name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW_S));
        verifier
            .expect("root")
            .verify_server_cert(&hub.certificate, &[self.server.certificate()], &name, &[], now)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

#[test]
fn a_revoked_hub_is_refused_by_a_device_that_has_the_trust_object() {
    let ours = Installation::new();
    let (stolen, good) = (ours.hub(), ours.hub());
    let trust = Arc::new(HubTrust::default());
    ours.meets(&trust, &stolen).expect("nothing is known of it yet");
    let rows = [row(Role::Server, *stolen.leaf.serial.as_bytes(), RevocationReason::KeyCompromise)];
    assert_eq!(trust.take(ours.believed(&ours.object(&rows, 2))), Ok(true));
    let refused = ours.meets(&trust, &stolen).expect_err("revoked");
    assert!(refused.contains("Revoked"), "{refused}");
    ours.meets(&trust, &good).expect("another hub");
    // A first enrolment goes by it as well.
    let verifier = HubVerifier::new(&ours.roots(), crate::tls::provider(), Arc::clone(&trust)).expect("root");
    let name = ServerName::try_from("localhost").expect("name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW_S));
    let chain = [ours.server.certificate()];
    let met = verifier.of_any_tenant().verify_server_cert(&stolen.certificate, &chain, &name, &[], now);
    assert!(met.is_err());
}

#[test]
fn every_hub_of_a_revoked_authority_is_refused() {
    let ours = Installation::new();
    let hub = ours.hub();
    let trust = Arc::new(HubTrust::default());
    let serial = muster_trust::authority_of(&ours.server.certificate()).expect("authority").serial;
    let rows = [row(Role::Root, *serial.as_bytes(), RevocationReason::CaCompromise)];
    trust.take(ours.believed(&ours.object(&rows, 2))).expect("taken");
    assert!(ours.meets(&trust, &hub).is_err());
}

#[test]
fn a_trust_object_is_not_rolled_back() {
    let ours = Installation::new();
    let stolen = ours.hub();
    let trust = Arc::new(HubTrust::default());
    let before = ours.object(&[], 1);
    let rows = [row(Role::Server, *stolen.leaf.serial.as_bytes(), RevocationReason::KeyCompromise)];
    trust.take(ours.believed(&ours.object(&rows, 2))).expect("taken");
    let refused = trust.take(ours.believed(&before));
    assert_eq!(refused, Err(Disbelief::RolledBack { present: 2, offered: 1 }));
    assert!(ours.meets(&trust, &stolen).is_err(), "it is still revoked");
    assert_eq!(trust.take(ours.believed(&ours.object(&rows, 2))), Ok(false), "the same again is no news");
}

#[test]
fn a_forged_trust_object_is_not_believed() {
    let (ours, theirs) = (Installation::new(), Installation::new());
    let whole = ours.object(&[row(Role::Server, [0x41; 16], RevocationReason::KeyCompromise)], 2);
    let meant = ours.believed(&whole);
    let mut covered = 0;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x01;
        // Behind what is signed of the signer's certificate, tags can be written in more ways than one.
        match TrustObject::verify(&changed, &ours.roots()) {
            Ok(object) => assert_eq!(object.trust(), meant.trust(), "byte {at} changed what it says"),
            Err(_) => covered += 1,
        }
    }
    assert!(covered > whole.len() - 32, "{covered} of {} bytes are covered", whole.len());
    assert_eq!(TrustObject::verify(&theirs.object(&[], 9), &ours.roots()), Err(Disbelief::Root));
    // Another installation's signature over our body.
    let forged = sign_trust(&theirs.software, &ours.bundle(), &[], 9, NOW_S).expect("signed");
    assert!(matches!(TrustObject::verify(&forged, &ours.roots()), Err(Disbelief::Signer(_))));
    // Another body under the signature of this one.
    let mut signed = SignedTrust::decode(&whole).expect("whole");
    let mut body = Trust::decode(&signed.body).expect("body");
    body.version = 9;
    signed.body = body.encode();
    assert_eq!(TrustObject::verify(&signed.encode(), &ours.roots()), Err(Disbelief::Signature));
}

#[test]
fn no_other_key_of_the_installation_signs_the_trust_object() {
    let ours = Installation::new();
    let body = SignedTrust::decode(&ours.object(&[], 2)).expect("whole").body;
    let sign = |authority: &Authority, who: &str, entitled: bool| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let public = PublicKey::from_sec1(key.der_bytes()).expect("point");
        let who = who.parse().expect("principal");
        let issued = match (authority.role(), entitled) {
            (Role::Server, _) => authority.issue_server(&public, &who, (&[], &Tenants::All), NOW_S, 60),
            (_, true) => authority.issue_trust_signer(&public, &who, NOW_S, 60),
            (_, false) => authority.issue_principal(&public, &who, NOW_S, 60),
        };
        let chain = vec![issued.expect("issued").certificate.to_vec(), authority.certificate().to_vec()];
        let signature = key.sign(&SignedTrust::signed_bytes(&body)).expect("signed");
        let signed = SignedTrust { body: body.clone(), chain, signature };
        TrustObject::verify(&signed.encode(), &ours.roots())
    };
    let trust = "spiffe://muster.example/t/operator/software/trust";
    sign(&ours.software, trust, true).expect("that is the one");
    for (authority, who, entitled) in [
        (&ours.software, trust, false),
        (&ours.software, "spiffe://muster.example/t/operator/software/firmware", true),
        (&ours.software, "spiffe://muster.example/t/acme/software/trust", true),
        (&ours.server, "spiffe://muster.example/t/operator/node/hub", false),
    ] {
        assert!(sign(authority, who, entitled).is_err(), "{who}, entitled: {entitled}");
    }
    let device = ours.root.new_intermediate(Role::Device, NOW_S).expect("authority");
    assert!(sign(&device, "spiffe://muster.example/t/acme/device/pump-7", false).is_err());
}

#[test]
fn whoever_carries_the_trust_object_changes_nothing() {
    // A hub signs it; a relay keeps the bytes while the hub is away; a device behind it gets them from there.
    let ours = Installation::new();
    let stolen = ours.hub();
    let rows = [row(Role::Server, *stolen.leaf.serial.as_bytes(), RevocationReason::KeyCompromise)];
    let relay = Arc::new(HubTrust::default());
    relay.take(ours.believed(&ours.object(&rows, 2))).expect("taken");
    let carried = relay.object().expect("kept").as_bytes().to_vec();
    let device = Arc::new(HubTrust::default());
    assert_eq!(device.take(ours.believed(&carried)), Ok(true));
    assert!(ours.meets(&device, &stolen).is_err());
}
