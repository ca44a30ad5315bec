use muster_trust::{TENANTS_OID, kind_oid};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType};
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{FromDer as _, X509Certificate},
};

use super::*;
use crate::limits::{DEVICE_VALIDITY_S, YEAR_S};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn root() -> Authority {
    Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root")
}

fn key() -> (KeyPair, PublicKey) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let public = PublicKey::from_spki(&key.subject_public_key_info()).expect("public key");
    (key, public)
}

fn principal(uri: &str) -> Principal {
    uri.parse().expect("principal")
}

fn device() -> Principal {
    principal("spiffe://muster.example/t/acme/device/pump-7")
}

#[test]
fn a_device_certificate_says_exactly_what_its_profile_says() {
    let root = root();
    let authority = root.new_intermediate(Role::Device, NOW_S).expect("authority");
    let (_, public) = key();
    let issued = authority.issue_device(&public, &device(), NOW_S, DEVICE_VALIDITY_S).expect("issued");
    assert_eq!(issued.leaf.principal, device());
    assert_eq!(issued.leaf.authority, Role::Device);
    assert_eq!(issued.leaf.not_before_s, NOW_S - 300);
    assert_eq!(issued.leaf.not_after_s, NOW_S + DEVICE_VALIDITY_S);
    assert_eq!(issued.leaf.spki_sha256, public.spki_sha256());

    let (_, parsed) = X509Certificate::from_der(&issued.certificate).expect("DER");
    assert_eq!(parsed.raw_serial(), issued.leaf.serial.as_bytes());
    let mut seen = Vec::new();
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => assert_eq!(usage.flags, 1, "digitalSignature only"),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.client_auth && !usage.server_auth && !usage.any);
                assert_eq!(usage.other.len(), 1, "the kind's own");
            }
            ParsedExtension::SubjectAlternativeName(names) => assert_eq!(names.general_names.len(), 1),
            ParsedExtension::BasicConstraints(constraints) => assert!(!constraints.ca),
            ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::SubjectKeyIdentifier(_) => {}
            other => panic!("an extension nobody asked for: {other:?}"),
        }
        seen.push(extension.oid.to_id_string());
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(is_signed_by(&issued.certificate, &authority.certificate()));
    assert!(is_signed_by(&authority.certificate(), &root.certificate()));
    assert!(!is_signed_by(&issued.certificate, &root.certificate()));
}

#[test]
fn serial_numbers_are_full_length_and_differ() {
    let authority = root().new_intermediate(Role::Device, NOW_S).expect("authority");
    let (_, public) = key();
    let mut serials: Vec<_> = (0..16)
        .map(|_| authority.issue_device(&public, &device(), NOW_S, 60).expect("issued").leaf.serial)
        .collect();
    assert_eq!(serials[0].to_string().parse(), Ok(serials[0]));
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 16);
}

#[test]
fn an_authority_signs_only_its_kind_and_its_installation() {
    let root = root();
    let (_, public) = key();
    let device_authority = root.new_intermediate(Role::Device, NOW_S).expect("authority");
    let client_authority = root.new_intermediate(Role::Client, NOW_S).expect("authority");
    let app = principal("spiffe://muster.example/t/acme/app/dashboard");
    let foreign = principal("spiffe://other.example/t/acme/device/pump-7");
    let refused = |result: Result<Issued, AuthorityError>| result.expect_err("refused");
    assert!(matches!(
        refused(device_authority.issue_device(&public, &app, NOW_S, 60)),
        AuthorityError::WrongKind { .. }
    ));
    assert!(matches!(
        refused(device_authority.issue_client(&public, &app, NOW_S, 60)),
        AuthorityError::WrongKind { .. }
    ));
    assert!(matches!(
        refused(client_authority.issue_client(&public, &device(), NOW_S, 60)),
        AuthorityError::WrongKind { .. }
    ));
    assert!(matches!(
        refused(root.issue_device(&public, &device(), NOW_S, 60)),
        AuthorityError::WrongKind { .. }
    ));
    assert!(matches!(
        refused(device_authority.issue_device(&public, &foreign, NOW_S, 60)),
        AuthorityError::WrongTrustDomain { .. }
    ));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let authority = root().new_intermediate(Role::Device, NOW_S).expect("authority");
    let (_, public) = key();
    let late = NOW_S + 5 * YEAR_S - 60;
    let issued = authority.issue_device(&public, &device(), late, DEVICE_VALIDITY_S).expect("issued");
    assert_eq!(issued.leaf.not_after_s, authority.not_after_s());
    let after = authority.issue_device(&public, &device(), late + 60, DEVICE_VALIDITY_S);
    assert!(matches!(after, Err(AuthorityError::NotValidNow { .. })));
    let never = authority.issue_device(&public, &device(), NOW_S, 0);
    assert!(matches!(never, Err(AuthorityError::Validity)));
}

#[test]
fn an_authority_survives_storage_and_refuses_a_key_or_certificate_of_another() {
    let root = root();
    let device = root.new_intermediate(Role::Device, NOW_S).expect("authority");
    let client = root.new_intermediate(Role::Client, NOW_S).expect("authority");
    let load = |role, certificate: &Authority, key: &Authority| {
        Authority::from_stored(role, certificate.certificate(), &key.private_key_pkcs8())
    };
    let loaded = load(Role::Device, &device, &device).expect("stored");
    let (_, public) = key();
    let issued = loaded.issue_device(&public, &self::device(), NOW_S, 60).expect("issued");
    assert!(is_signed_by(&issued.certificate, &device.certificate()));
    assert!(load(Role::Device, &device, &client).is_err());
    assert!(load(Role::Client, &device, &device).is_err());
}

#[test]
fn a_bundle_takes_authorities_of_its_own_root_only() {
    let (ours, theirs) = (root(), root());
    let device = ours.new_intermediate(Role::Device, NOW_S).expect("authority");
    let foreign = theirs.new_intermediate(Role::Client, NOW_S).expect("authority");
    let bundle = TrustBundle::new(ours.certificate(), [(Role::Device, device.certificate())]);
    let bundle = bundle.expect("one installation");
    assert_eq!(bundle.anchors(&[Role::Device, Role::Client]).len(), 1);
    let (_, public) = key();
    let issued = device.issue_device(&public, &self::device(), NOW_S, 60).expect("issued");
    assert_eq!(bundle.leaf(&issued.certificate), Ok(issued.leaf));
    assert_eq!(bundle.leaf(&foreign.certificate()), Err(InvalidLeaf::UnknownIssuer));
    assert_eq!(bundle.leaf(&CertificateDer::from(vec![0x30, 0x00])), Err(InvalidLeaf::Malformed));
    let mixed = TrustBundle::new(ours.certificate(), [(Role::Client, foreign.certificate())]);
    assert_eq!(mixed.expect_err("another root").0, Role::Client);
}

#[test]
fn a_leaf_with_no_uri_or_two_is_refused() {
    let root = root();
    let authority = root.new_intermediate(Role::Device, NOW_S).expect("authority");
    let (_, public) = key();
    let bundle = TrustBundle::new(root.certificate(), [(Role::Device, authority.certificate())]);
    let bundle = bundle.expect("one installation");
    for uris in [0, 2] {
        let served = Served::default();
        let mut params = profile::leaf_params(&device(), served, NOW_S, NOW_S + 60).expect("params");
        let uri = SanType::URI(profile::ascii(&device().to_string()).expect("ascii"));
        params.subject_alt_names = vec![uri; uris];
        params.subject_alt_names.push(SanType::DnsName(profile::ascii("pump-7").expect("ascii")));
        let certificate = params.signed_by(&public, &authority.signer.load().issuer).expect("signed");
        assert_eq!(bundle.leaf(certificate.der()), Err(InvalidLeaf::Uris { found: uris }));
    }
}

#[test]
fn a_signing_request_gives_its_key_and_nothing_else() {
    let (pair, public) = key();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).expect("params");
    params.distinguished_name.push(DnType::CommonName, "operator");
    let csr = params.serialize_request(&pair).expect("request");
    assert_eq!(PublicKey::from_csr(csr.der()), Ok(public.clone()));
    assert_eq!(PublicKey::from_csr_pem(&csr.pem().expect("pem")), Ok(public));
    let authority = root().new_intermediate(Role::Device, NOW_S).expect("authority");
    let key = PublicKey::from_csr(csr.der()).expect("key");
    let issued = authority.issue_device(&key, &device(), NOW_S, 60).expect("issued");
    let text = String::from_utf8_lossy(&issued.certificate).into_owned();
    assert!(!text.contains("evil.example") && !text.contains("operator"));
}

#[test]
fn a_signing_request_that_was_changed_is_refused() {
    let (pair, _) = key();
    let csr = CertificateParams::default().serialize_request(&pair).expect("request").der().to_vec();
    for at in 0..csr.len() {
        let mut changed = csr.clone();
        changed[at] ^= 0x01;
        assert!(PublicKey::from_csr(&changed).is_err(), "byte {at} was not covered");
        assert!(PublicKey::from_csr(&csr[..at]).is_err(), "a cut at {at} was not seen");
    }
    let mut followed = csr;
    followed.push(0);
    assert_eq!(PublicKey::from_csr(&followed), Err(InvalidPublicKey::Der));
    assert_eq!(PublicKey::from_csr(&vec![0x30; 9_000]), Err(InvalidPublicKey::TooLong));
    assert_eq!(PublicKey::from_csr_pem("no request"), Err(InvalidPublicKey::Pem));
}

#[test]
fn a_key_of_another_curve_or_off_the_curve_is_refused() {
    let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("key");
    assert_eq!(PublicKey::from_spki(&other.subject_public_key_info()), Err(InvalidPublicKey::NotP256));
    let csr = CertificateParams::default().serialize_request(&other).expect("request");
    assert_eq!(PublicKey::from_csr(csr.der()), Err(InvalidPublicKey::NotP256));
    let (_, public) = key();
    let mut point = *public.sec1();
    point[64] ^= 1;
    assert_eq!(PublicKey::from_sec1(&point), Err(InvalidPublicKey::NotAPoint));
    assert_eq!(PublicKey::from_sec1(&point[..64]), Err(InvalidPublicKey::NotAPoint));
    assert_eq!(PublicKey::from_sec1(&[0; 65]), Err(InvalidPublicKey::NotAPoint));
}

#[test]
fn each_kind_has_one_authority_a_life_and_usages_of_its_own() {
    let root = root();
    let (_, public) = key();
    let mut usages = Vec::new();
    for (kind, life_s, most_s) in PROFILES {
        assert!(life_s <= most_s);
        let authority = root.new_intermediate(Role::of(kind), NOW_S).expect("authority");
        let who = principal(&format!("spiffe://muster.example/t/operator/{kind}/a"));
        let issued = match kind {
            Kind::Node => authority.issue_server(&public, &who, (&[], &Tenants::All), NOW_S, life_s),
            _ => authority.issue_principal(&public, &who, NOW_S, life_s),
        }
        .expect("issued");
        assert_eq!((issued.leaf.authority, issued.leaf.principal.kind), (Role::of(kind), kind));
        let (_, parsed) = X509Certificate::from_der(&issued.certificate).expect("DER");
        let usage = parsed.extended_key_usage().expect("well formed").expect("there").value.clone();
        assert_eq!(usage.code_signing, kind == Kind::Software);
        assert_eq!(usage.client_auth, !matches!(kind, Kind::Node | Kind::Software));
        usages.push((usage.server_auth, format!("{:?}", usage.other)));
        for other in Role::INTERMEDIATES.into_iter().filter(|role| *role != Role::of(kind)) {
            let other = root.new_intermediate(other, NOW_S).expect("authority");
            assert!(other.issue_principal(&public, &who, NOW_S, 60).is_err(), "{kind} by {}", other.role());
        }
    }
    usages.sort();
    usages.dedup();
    assert_eq!(usages.len(), PROFILES.len(), "two kinds have the same usages");
    assert_ne!(kind_oid(Kind::App), kind_oid(Kind::User));
}

#[test]
fn a_certificate_whose_usages_are_of_another_kind_is_nobodys() {
    let root = root();
    let authority = root.new_intermediate(Role::Client, NOW_S).expect("authority");
    let bundle = TrustBundle::new(root.certificate(), [(Role::Client, authority.certificate())]);
    let (bundle, (_, public)) = (bundle.expect("one installation"), key());
    let read = |uri: &str, as_kind: Kind| {
        let usages = profile::leaf_params(
            &principal(&format!("spiffe://muster.example/t/acme/{as_kind}/a")),
            Served::default(),
            NOW_S,
            NOW_S + 60,
        );
        let mut params = usages.expect("params");
        params.subject_alt_names = vec![SanType::URI(profile::ascii(uri).expect("ascii"))];
        let certificate = params.signed_by(&public, &authority.signer.load().issuer).expect("signed");
        bundle.leaf(certificate.der()).map(|leaf| leaf.principal.kind)
    };
    assert_eq!(read("spiffe://muster.example/t/acme/app/a", Kind::App), Ok(Kind::App));
    let posing = read("spiffe://muster.example/t/acme/user/a", Kind::App);
    assert_eq!(posing, Err(InvalidLeaf::Usage(Kind::User)));
    let elsewhere = read("spiffe://muster.example/t/acme/device/a", Kind::App);
    assert!(matches!(elsewhere, Err(InvalidLeaf::Kind { role: Role::Client, .. })), "{elsewhere:?}");
}

#[test]
fn a_hubs_certificate_names_its_tenants_in_an_extension_that_others_may_ignore() {
    let root = root();
    let authority = root.new_intermediate(Role::Server, NOW_S).expect("authority");
    let (_, public) = key();
    let hub = principal("spiffe://muster.example/t/operator/node/hub");
    let tenants: Tenants = "acme,globex".parse().expect("tenants");
    let issued = authority.issue_server(&public, &hub, (&[], &tenants), NOW_S, 60).expect("issued");
    assert_eq!(Tenants::of_certificate(&issued.certificate), Ok(Some(tenants)));
    let (_, parsed) = X509Certificate::from_der(&issued.certificate).expect("DER");
    let unknown: Vec<_> = parsed
        .extensions()
        .iter()
        .filter(|e| matches!(e.parsed_extension(), ParsedExtension::UnsupportedExtension { .. }))
        .collect();
    assert_eq!(unknown.len(), 1, "{TENANTS_OID:?}");
    assert!(unknown.iter().all(|extension| !extension.critical));
}

#[test]
fn authorities_of_a_role_that_follow_each_other_are_trusted_side_by_side() {
    let root = root();
    let old = root.new_intermediate(Role::Device, NOW_S).expect("authority");
    let new = root.new_generation(Role::Device, 2, NOW_S).expect("authority");
    assert_eq!((old.generation(), new.generation()), (1, 2));
    let bundle = |all: &[&Authority]| {
        TrustBundle::new(root.certificate(), all.iter().map(|a| (a.role(), a.certificate())))
            .expect("one installation")
    };
    let before = bundle(&[&old]);
    let (_, public) = key();
    let by_old = old.issue_device(&public, &device(), NOW_S, 60).expect("issued");
    // Everybody who holds the bundle and the authority follows.
    let (held, signing) = (before.clone(), old.clone());
    before.replace(&bundle(&[&new, &old])).expect("the same root");
    old.replace(&new).expect("the same role");
    let by_new = signing.issue_device(&public, &device(), NOW_S, 60).expect("issued");
    assert!(is_signed_by(&by_new.certificate, &new.certificate()));
    for issued in [&by_old, &by_new] {
        assert_eq!(held.leaf(&issued.certificate).as_ref(), Ok(&issued.leaf));
    }
    assert_eq!(held.anchors(&[Role::Device]).len(), 2);
    assert_eq!(held.authority(Role::Device), Some(new.certificate()), "the newest");
    let elsewhere = self::root();
    let other = TrustBundle::new(elsewhere.certificate(), []).expect("another installation");
    assert!(held.replace(&other).is_err());
    assert!(old.replace(&root.new_intermediate(Role::Client, NOW_S).expect("authority")).is_err());
}
