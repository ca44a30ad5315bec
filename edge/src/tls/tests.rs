//! Who is taken for a hub: handshakes in memory, with certificates of a small installation.

use std::io::Write as _;

use muster_tpm::{
    device::{TlsKey, TpmThread},
    keys::{DeviceKeys, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::{
    ClientConnection, ServerConfig, ServerConnection, pki_types::PrivatePkcs8KeyDer,
    server::WebPkiClientVerifier,
};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    match above {
        None => CertifiedIssuer::self_signed(parameters, key),
        Some(above) => CertifiedIssuer::signed_by(parameters, key, above),
    }
    .expect("authority")
}

fn leaf(uri: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("name");
    parameters.subject_alt_names.push(SanType::URI(uri.try_into().expect("uri")));
    parameters.extended_key_usages = vec![usage];
    parameters
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

/// A handshake with a server that presents a leaf of `uri` and `usage`. The server wants a certificate of the device
/// authority; the device's key is in (simulated) hardware.
fn meet(
    root: &Authority,
    trusted: &Authority,
    uri: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(), Error> {
    let server_authority = authority("server authority", Some(root));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let certificate = leaf(uri, usage).signed_by(&key, &server_authority).expect("leaf");
    let chain = vec![certificate.der().clone(), server_authority.der().clone()];

    let device_authority = authority("device authority", Some(root));
    let tpm = TpmThread::start(|| {
        let mut keys = SimulatedSoftwareKeys::new(&[4; 32], &SimulatedManufacturer::well_known()?)?;
        keys.create_ldevid(Slot::B)?;
        Ok(Box::new(keys))
    })
    .expect("soft keys");
    let identity = TlsKey::open(tpm, Slot::B).expect("key");
    let parameters = leaf("spiffe://muster.example/t/acme/device/a", ExtendedKeyUsagePurpose::ClientAuth);
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

    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).expect("root");
    let dialects = Dialects::new(roots, &credentials).expect("dialects");
    let name = ServerName::try_from("localhost").expect("name");
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

#[test]
fn a_hub_is_taken_for_one_and_the_tpm_signs_for_us() {
    let root = authority("root", None);
    meet(&root, &root, NODE, ExtendedKeyUsagePurpose::ServerAuth).expect("they meet");
}

#[test]
fn nothing_else_of_the_same_installation_is_taken_for_a_hub() {
    let root = authority("root", None);
    for (uri, usage) in [
        ("spiffe://muster.example/t/acme/device/a", ExtendedKeyUsagePurpose::ServerAuth),
        ("spiffe://muster.example/t/acme/node/hub", ExtendedKeyUsagePurpose::ServerAuth),
        ("https://muster.example/", ExtendedKeyUsagePurpose::ServerAuth),
        (NODE, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let error = meet(&root, &root, uri, usage.clone()).expect_err(uri);
        assert!(matches!(error, Error::InvalidCertificate(_)), "{uri} {usage:?}: {error}");
    }
}

#[test]
fn a_hub_of_another_installation_is_not_trusted() {
    let (root, other) = (authority("root", None), authority("another root", None));
    let error = meet(&root, &other, NODE, ExtendedKeyUsagePurpose::ServerAuth).expect_err("another root");
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn a_file_without_a_certificate_is_no_root() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    let error = read_roots(file.path()).expect_err("it is empty").to_string();
    assert!(error.ends_with("it has no certificate in PEM"), "{error}");
    file.write_all(authority("root", None).pem().as_bytes()).expect("written");
    assert_eq!(read_roots(file.path()).expect("a root").len(), 1);
    assert!(read_roots(Path::new("/nowhere/root.crt")).is_err());
}
