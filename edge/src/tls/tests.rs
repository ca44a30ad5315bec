//! Who is taken for a hub: handshakes in memory, with certificates of a small installation.

use std::io::Write as _;

use muster_tpm::{
    device::{TlsKey, TpmThread},
    keys::{DeviceKeys, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm,
};
use rustls::{
    ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    client::danger::ServerCertVerifier as _,
    pki_types::{PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::WebPkiClientVerifier,
};

use muster_schemas::Kind;
use muster_trust::{Profile, Role, TENANTS_OID, Tenants, kind_oid};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.subject_alt_names = vec![SanType::URI("spiffe://muster.example".try_into().expect("uri"))];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    match above {
        None => CertifiedIssuer::self_signed(parameters, key),
        Some(above) => CertifiedIssuer::signed_by(parameters, key, above),
    }
    .expect("authority")
}

fn root() -> Authority {
    authority("muster root", None)
}

fn leaf(uri: &str, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("name");
    parameters.serial_number = Some(SerialNumber::from_slice(&[0x40; 16]));
    if !uri.is_empty() {
        parameters.subject_alt_names.push(SanType::URI(uri.try_into().expect("uri")));
    }
    parameters.extended_key_usages = usages.to_vec();
    parameters
}

/// What a server presents.
struct Shown<'a> {
    authority: &'a str,
    uri: &'a str,
    usages: Vec<ExtendedKeyUsagePurpose>,
    tenants: Option<&'a str>,
    /// The name that the device dialled.
    dialled: &'a str,
}

/// A hub of every tenant's.
fn hub() -> Shown<'static> {
    Shown {
        authority: "muster server authority",
        uri: NODE,
        usages: usages_of(Kind::Node),
        tenants: Some("*"),
        dialled: "localhost",
    }
}

fn usages_of(kind: Kind) -> Vec<ExtendedKeyUsagePurpose> {
    let profile = Profile::of(kind);
    let mut usages = vec![ExtendedKeyUsagePurpose::Other(kind_oid(kind).to_vec())];
    for (has, usage) in [
        (profile.client_auth, ExtendedKeyUsagePurpose::ClientAuth),
        (profile.server_auth, ExtendedKeyUsagePurpose::ServerAuth),
        (profile.code_signing, ExtendedKeyUsagePurpose::CodeSigning),
    ] {
        if has {
            usages.push(usage);
        }
    }
    usages
}

/// The point of a key in the TPM.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A handshake of a device of tenant acme with a server that presents this. The server wants a certificate of the device
/// authority; the device's key is in (simulated) hardware.
fn meet(root: &Authority, trusted: &Authority, shown: Shown<'_>) -> Result<(), Error> {
    let server_authority = authority(shown.authority, Some(root));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut parameters = leaf(shown.uri, &shown.usages);
    if let Some(tenants) = shown.tenants {
        let tenants: Tenants = tenants.parse().expect("tenants");
        parameters.custom_extensions =
            vec![CustomExtension::from_oid_content(&TENANTS_OID, tenants.to_der())];
    }
    let certificate = parameters.signed_by(&key, &server_authority).expect("leaf");
    let chain = vec![certificate.der().clone(), server_authority.der().clone()];

    let device_authority = authority("muster device authority", Some(root));
    let tpm = TpmThread::start(|| {
        let mut keys = SimulatedSoftwareKeys::new(&[4; 32], &SimulatedManufacturer::well_known()?)?;
        keys.create_ldevid(Slot::B)?;
        Ok(Box::new(keys))
    })
    .expect("soft keys");
    let identity = TlsKey::open(tpm, Slot::B).expect("key");
    let parameters = leaf("spiffe://muster.example/t/acme/device/a", &usages_of(Kind::Device));
    let device = parameters.signed_by(&Point(identity.sec1().to_vec()), &device_authority).expect("leaf");
    let credentials = Arc::new(Credentials::default());
    assert!(!credentials.has_certs());
    credentials.set(CertifiedKey::new(vec![device.der().clone()], Arc::new(identity)));

    let mut anchors = RootCertStore::empty();
    anchors.add(device_authority.der().clone()).expect("anchor");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider()).build().expect("verifier");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("certificate");
    config.alpn_protocols = vec![MQTT_ALPN.to_vec()];

    let roots = [trusted.der().clone()];
    let dialects = Dialects::new(&roots, &credentials).expect("dialects");
    let name = ServerName::try_from(shown.dialled.to_owned()).expect("name");
    let mut client = ClientConnection::new(dialects.session, name).expect("client");
    let mut server = ServerConnection::new(Arc::new(config)).expect("server");
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        client.write_tls(&mut wire).expect("in memory");
        server.read_tls(&mut std::mem::take(&mut wire).as_slice()).expect("in memory");
        server.process_new_packets()?;
        server.write_tls(&mut wire).expect("in memory");
        client.read_tls(&mut std::mem::take(&mut wire).as_slice()).expect("in memory");
        client.process_new_packets()?;
    }
    assert_eq!(client.alpn_protocol(), Some(MQTT_ALPN));
    assert!(server.peer_certificates().is_some());
    Ok(())
}

const NODE: &str = "spiffe://muster.example/t/operator/node/hub";

fn refused(root: &Authority, trusted: &Authority, shown: Shown<'_>, why: &str) {
    let error = meet(root, trusted, shown).expect_err(why);
    assert!(matches!(error, Error::InvalidCertificate(_)), "{why}: {error}");
    assert!(error.to_string().contains(why), "{why}: {error}");
}

#[test]
fn a_hub_is_taken_for_one_and_the_tpm_signs_for_us() {
    let root = root();
    meet(&root, &root, hub()).expect("a hub of every tenant's");
    meet(&root, &root, Shown { tenants: Some("acme,globex"), ..hub() }).expect("a hub of ours");
}

#[test]
fn a_hub_that_moved_to_another_name_or_address_is_still_taken() {
    let root = root();
    for dialled in ["elsewhere.example", "192.0.2.7", "::1"] {
        meet(&root, &root, Shown { dialled, ..hub() }).expect(dialled);
    }
}

/// Of a hub that a kind's certificate is put up for, every other kind is refused: by its usages, and, had they been
/// forged, by its authority and its name.
#[test]
fn a_certificate_of_each_wrong_kind_is_refused_as_a_hub() {
    let root = root();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node) {
        for tenant in ["acme", "operator"] {
            let uri = format!("spiffe://muster.example/t/{tenant}/{kind}/a");
            let by = format!("muster {} authority", Role::of(kind));
            let shown = Shown { authority: &by, uri: &uri, usages: usages_of(kind), ..hub() };
            meet(&root, &root, shown).expect_err(&uri);
            let forged = Shown { authority: &by, uri: &uri, ..hub() };
            meet(&root, &root, forged).expect_err(&uri);
            let posing = Shown { authority: &by, ..hub() };
            meet(&root, &root, posing).expect_err(&by);
        }
    }
}

#[test]
fn a_node_that_is_not_the_operators_or_contradicts_itself_is_refused() {
    let root = root();
    let acme = Shown { uri: "spiffe://muster.example/t/acme/node/hub", ..hub() };
    refused(&root, &root, acme, "NotTheOperators");
    let elsewhere = Shown { uri: "spiffe://other.example/t/operator/node/hub", ..hub() };
    refused(&root, &root, elsewhere, "TrustDomain");
    refused(&root, &root, Shown { uri: "https://muster.example/", ..hub() }, "Principal");
    let mut usages = usages_of(Kind::Node);
    usages.push(ExtendedKeyUsagePurpose::Other(kind_oid(Kind::App).to_vec()));
    refused(&root, &root, Shown { usages, ..hub() }, "Usage");
}

#[test]
fn a_stolen_certificate_of_another_tenants_hub_is_refused() {
    let root = root();
    refused(&root, &root, Shown { tenants: Some("globex,umbrella"), ..hub() }, "Tenant");
    refused(&root, &root, Shown { tenants: None, ..hub() }, "NoTenants");
}

#[test]
fn a_spoofed_hub_with_a_valid_public_certificate_is_refused() {
    // What a public authority gives to whoever controls the name that the device dials, with and without our shape.
    let (root, public) = (root(), authority("ISRG Root X1", None));
    let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let plain = Shown { authority: "R13", uri: "", usages, tenants: None, dialled: "localhost" };
    refused(&public, &root, plain, "UnknownIssuer");
    refused(&public, &root, hub(), "UnknownIssuer");
}

#[test]
fn a_hub_of_another_installation_is_not_trusted() {
    let (ours, other) = (root(), root());
    meet(&other, &ours, hub()).expect_err("another root of the same name");
}

#[test]
fn a_first_enrolment_takes_the_hub_of_any_tenant_and_no_session_does() {
    let trust = Arc::new(HubTrust::default());
    trust.expect_tenant(Some("acme".parse().expect("tenant")));
    let (root, provider) = (root(), provider());
    let server = authority("muster server authority", Some(&root));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut parameters = leaf(NODE, &usages_of(Kind::Node));
    let tenants: Tenants = "globex".parse().expect("tenants");
    parameters.custom_extensions = vec![CustomExtension::from_oid_content(&TENANTS_OID, tenants.to_der())];
    let certificate = parameters.signed_by(&key, &server).expect("leaf");
    let verifier =
        || HubVerifier::new(&[root.der().clone()], Arc::clone(&provider), Arc::clone(&trust)).expect("root");
    let name = ServerName::try_from("localhost").expect("name");
    let verify = |verifier: HubVerifier| {
        verifier.verify_server_cert(certificate.der(), &[server.der().clone()], &name, &[], UnixTime::now())
    };
    verify(verifier().of_any_tenant()).expect("it may tell whose the device is");
    verify(verifier()).expect_err("it is not this device's");
    let acme = "acme".parse().expect("tenant");
    assert!(muster_trust::entitled(certificate.der(), &acme).is_err(), "a certificate from it is not used");
}

#[test]
fn a_file_without_a_certificate_is_no_root() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    let error = read_roots(file.path()).expect_err("it is empty").to_string();
    assert!(error.ends_with("it has no certificate in PEM"), "{error}");
    file.write_all(root().pem().as_bytes()).expect("written");
    assert_eq!(read_roots(file.path()).expect("a root").len(), 1);
    assert!(read_roots(Path::new("/nowhere/root.crt")).is_err());
}
