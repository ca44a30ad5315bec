//! Attacks on the chain from an endorsement key to its manufacturer, and the chains of honest vendors: an issuing authority
//! between the root and the chip.

use muster_schemas::enrolment::{Begin, RefusalCode};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::*;
use crate::{
    csr::signing_request,
    endorsement::{EndorsementRoots, TpmClass},
    keys::{DeviceKeys, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
    wire::TpmtPublic,
};

/// 2027-01-15.
const NOW_UNIX_S: u64 = 1_800_000_000;

/// An authority of a manufacturer, with its key.
struct Authority {
    parameters: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Authority {
    fn root(name: &str) -> Self {
        let (parameters, key) = (parameters(name, 2040), KeyPair::generate().unwrap());
        let certificate = parameters.self_signed(&key).unwrap();
        Self { parameters, key, certificate }
    }

    /// An authority below this one that ends with a year.
    fn issuing(&self, name: &str, until: i32) -> Self {
        let (parameters, key) = (parameters(name, until), KeyPair::generate().unwrap());
        let certificate = parameters.signed_by(&key, &self.issuer()).unwrap();
        Self { parameters, key, certificate }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::new(self.parameters.clone(), &self.key)
    }

    fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    fn spki_sha256(&self) -> [u8; 32] {
        sha256(&[&rcgen::PublicKeyData::subject_public_key_info(&self.key)])
    }

    /// An endorsement certificate for the key of a device with soft keys.
    fn endorse(&self, device: &mut SimulatedSoftwareKeys, purpose: &[u64]) -> Vec<u8> {
        let ek = TpmtPublic::parse(&device.ek_public().unwrap()).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.not_after = date_time_ymd(2040, 1, 1);
        parameters.serial_number = Some(vec![0x01, 0x17].into());
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(purpose.to_vec())];
        parameters.signed_by(&Point(ek.p256_sec1().unwrap()), &self.issuer()).unwrap().der().to_vec()
    }
}

fn parameters(name: &str, until: i32) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_after = date_time_ymd(until, 1, 1);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

struct Point([u8; 65]);

impl rcgen::PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];

fn trusting(authority: &Authority) -> EndorsementRoots {
    EndorsementRoots::new(vec![(authority.der(), TpmClass::Hardware)]).unwrap()
}

/// What a device whose endorsement certificate `authority` issued sends first, with this chain.
fn begins(authority: &Authority, chain: &[&Authority]) -> Begin {
    let maker = SimulatedManufacturer::well_known().unwrap();
    let mut keys = SimulatedSoftwareKeys::new(&[1; 32], &maker).unwrap();
    keys.create_ldevid(Slot::A).unwrap();
    Begin {
        ek_certificate: Some(authority.endorse(&mut keys, &EK_CERTIFICATE)),
        ek_chain: chain.iter().map(|authority| authority.der()).collect(),
        ek_public: keys.ek_public().unwrap(),
        ak_public: keys.ak_public().unwrap(),
        ldevid_public: keys.ldevid_public(Slot::A).unwrap().unwrap(),
        csr: signing_request(&mut keys, Slot::A).unwrap(),
        claim: None,
        model: "soft".to_owned(),
        agent_version: "0".to_owned(),
        serial_number: None,
        mac: None,
    }
}

#[test]
fn a_chip_of_a_vendor_with_an_issuing_authority_is_accepted_with_its_chain() {
    let root = Authority::root("Vendor Root");
    let issuing = root.issuing("Vendor TPM CA 7", 2040);
    let candidate = check_begin(&begins(&issuing, &[&issuing]), &trusting(&root), NOW_UNIX_S).unwrap();
    let endorsement = candidate.endorsement.unwrap();
    assert_eq!(endorsement.class, TpmClass::Hardware);
    assert_eq!(endorsement.issuer, "CN=Vendor TPM CA 7");
    assert_eq!(endorsement.serial, [0x01, 0x17]);
    assert_eq!(endorsement.issuer_spki_sha256, issuing.spki_sha256());
    // An operator may list the issuing authority itself; then no chain is needed, and the issuer has the same name.
    let candidate = check_begin(&begins(&issuing, &[]), &trusting(&issuing), NOW_UNIX_S).unwrap();
    assert_eq!(candidate.endorsement.unwrap().issuer_spki_sha256, issuing.spki_sha256());
}

#[test]
fn a_chip_whose_issuing_authority_is_missing_or_anothers_is_refused() {
    let (root, stranger) = (Authority::root("Vendor Root"), Authority::root("Vendor Root"));
    let issuing = root.issuing("Vendor TPM CA 7", 2040);
    let foreign = stranger.issuing("Vendor TPM CA 7", 2040);
    for begin in [begins(&issuing, &[]), begins(&foreign, &[&foreign]), begins(&foreign, &[&issuing])] {
        let refused = check_begin(&begin, &trusting(&root), NOW_UNIX_S).unwrap_err();
        assert_eq!(refused.code, RefusalCode::UntrustedEndorsement);
    }
}

#[test]
fn a_chip_of_an_expired_endorsement_authority_is_refused() {
    let root = Authority::root("Vendor Root");
    let issuing = root.issuing("Vendor TPM CA 6", 2026);
    let begin = begins(&issuing, &[&issuing]);
    let refused = check_begin(&begin, &trusting(&root), NOW_UNIX_S).unwrap_err();
    assert_eq!(refused.code, RefusalCode::UntrustedEndorsement);
    assert!(check_begin(&begin, &trusting(&root), NOW_UNIX_S - 2 * 365 * 86_400).is_ok(), "it was good once");
}

#[test]
fn a_chips_own_certificate_issues_no_other() {
    let root = Authority::root("Vendor Root");
    let mut begin = begins(&root, &[]);
    let chip = begin.ek_certificate.clone().unwrap();
    let forged = Authority::root("CN=chip");
    begin.ek_certificate = begins(&forged, &[]).ek_certificate;
    begin.ek_chain = vec![chip, forged.der()];
    let refused = check_begin(&begin, &trusting(&root), NOW_UNIX_S).unwrap_err();
    assert_eq!(refused.code, RefusalCode::UntrustedEndorsement);
}

#[test]
fn a_certificate_for_another_purpose_is_no_endorsement() {
    let root = Authority::root("Vendor Root");
    let mut begin = begins(&root, &[]);
    let maker = SimulatedManufacturer::well_known().unwrap();
    let mut keys = SimulatedSoftwareKeys::new(&[1; 32], &maker).unwrap();
    // serverAuth: the root also signs what is no chip.
    begin.ek_certificate = Some(root.endorse(&mut keys, &[1, 3, 6, 1, 5, 5, 7, 3, 1]));
    assert!(check_begin(&begin, &trusting(&root), NOW_UNIX_S).is_err());
}
