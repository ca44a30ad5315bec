//! Every attack that the protocol is made to refuse, one test each, with soft keys that make what a TPM would not.

use muster_schemas::enrolment::{Begin, Event, Finish, RefusalCode, RenewBegin, RenewFinish};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};

use super::*;
use crate::{
    binding::{activation_proof, qualifying_data},
    csr::signing_request,
    endorsement::{EndorsementRoots, TpmClass},
    keys::{DeviceKeys, KeyError, Slot},
    manufacturer::SimulatedManufacturer,
    soft::{SimulatedSoftwareKeys, derive_scalar, sign_statement, signing_public},
    templates::{AK_ATTRIBUTES, LDEVID_ATTRIBUTES},
    wire::{Attested, Attributes, TpmsAttest, TpmtPublic},
};

const NOW_UNIX_S: u64 = 1_800_000_000;
const SELECTION: [u8; 3] = [0, 7, 9];

fn roots() -> EndorsementRoots {
    let root = SimulatedManufacturer::well_known().unwrap().root_certificate().to_vec();
    EndorsementRoots::new(vec![(root, TpmClass::Simulated)]).unwrap()
}

/// An honest device with one key in slot A, booted with three measured events.
struct Device {
    keys: SimulatedSoftwareKeys,
    log: Vec<Event>,
}

impl Device {
    fn new(seed: u8) -> Self {
        let manufacturer = SimulatedManufacturer::well_known().unwrap();
        let mut keys = SimulatedSoftwareKeys::new(&[seed; 32], &manufacturer).unwrap();
        keys.create_ldevid(Slot::A).unwrap();
        let mut log = Vec::new();
        for (pcr, digest) in [(0, [1; 32]), (9, [2; 32]), (9, [3; 32])] {
            keys.extend(pcr, &digest).unwrap();
            log.push(Event { pcr, digest, kind: "boot".to_owned(), text: String::new() });
        }
        Self { keys, log }
    }

    fn begin(&mut self) -> Begin {
        Begin {
            ek_certificate: self.keys.ek_certificate().unwrap(),
            ek_chain: Vec::new(),
            ek_public: self.keys.ek_public().unwrap(),
            ak_public: self.keys.ak_public().unwrap(),
            ldevid_public: self.keys.ldevid_public(Slot::A).unwrap().unwrap(),
            csr: signing_request(&mut self.keys, Slot::A).unwrap(),
            claim: None,
            model: "soft".to_owned(),
            agent_version: "0".to_owned(),
            serial_number: None,
            mac: None,
        }
    }

    fn finish(
        &mut self,
        csr: &[u8],
        expected: &Expected,
        credential: &crate::credential::Credential,
    ) -> Finish {
        let secret = self.keys.activate(&credential.credential_blob, &credential.encrypted_secret).unwrap();
        let binding = qualifying_data(&expected.nonce, &expected.exporter, csr);
        Finish {
            session: [0; 16],
            proof: activation_proof(&secret, &expected.nonce),
            certify: self.keys.certify(Slot::A, &binding).unwrap(),
            quote: self.keys.quote(&expected.pcr_selection, &binding).unwrap(),
            pcrs: self.keys.pcrs(&expected.pcr_selection).unwrap(),
            event_log: self.log.clone(),
        }
    }

    /// Signs a changed statement with the attestation key, as only a stolen one could.
    fn forge(&self, sent: &mut muster_schemas::enrolment::Attestation, change: impl FnOnce(&mut TpmsAttest)) {
        let mut statement = TpmsAttest::parse(&sent.attest).unwrap();
        change(&mut statement);
        *sent = sign_statement(self.keys.stolen_ak(), &statement).unwrap();
    }
}

fn expected() -> Expected {
    Expected { nonce: [3; 32], exporter: [4; 32], secret: [5; 32], pcr_selection: SELECTION.to_vec() }
}

fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0u8;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_add(1);
            *byte = next;
        }
    }
}

/// A device that got as far as its finish.
fn enrolling() -> (Device, Candidate, Finish) {
    let mut device = Device::new(1);
    let begin = device.begin();
    let candidate = check_begin(&begin, &roots(), NOW_UNIX_S).unwrap();
    let credential = challenge(&candidate, &expected().secret, &mut counting()).unwrap();
    let finish = device.finish(&begin.csr, &expected(), &credential);
    (device, candidate, finish)
}

#[track_caller]
fn begin_refused(begin: &Begin, code: RefusalCode) {
    assert_eq!(check_begin(begin, &roots(), NOW_UNIX_S).unwrap_err().code, code);
}

#[track_caller]
fn finish_refused(candidate: &Candidate, finish: &Finish, code: RefusalCode) {
    assert_eq!(check_finish(candidate, &expected(), finish).unwrap_err().code, code);
}

#[test]
fn an_honest_device_is_accepted() {
    let (_, candidate, finish) = enrolling();
    let evidence = check_finish(&candidate, &expected(), &finish).unwrap();
    let endorsement = candidate.endorsement.expect("a certificate");
    assert_eq!(endorsement.class, TpmClass::Simulated);
    assert_eq!(endorsement.issuer, "CN=NOT A REAL TPM");
    assert_eq!(endorsement.ek_hash, ek_hash(&candidate.ek_public));
    assert_eq!(evidence.reset_count, 1);
    assert_eq!(evidence.pcrs.keys().copied().collect::<Vec<_>>(), SELECTION);
    assert_eq!(evidence.pcrs[&7], [0; 32]);
}

#[test]
fn a_padded_endorsement_certificate_is_accepted() {
    let mut begin = Device::new(1).begin();
    begin.ek_certificate.as_mut().unwrap().extend([0xff; 100]);
    assert!(check_begin(&begin, &roots(), NOW_UNIX_S).is_ok());
}

#[test]
fn a_device_without_endorsement_certificate_is_vouched_for_by_nobody() {
    let mut begin = Device::new(1).begin();
    begin.ek_certificate = None;
    let candidate = check_begin(&begin, &roots(), NOW_UNIX_S).unwrap();
    assert_eq!(candidate.endorsement, None);
    assert_eq!(candidate.ek_hash, ek_hash(&candidate.ek_public));
}

#[test]
fn a_certificate_of_an_unknown_manufacturer_is_refused() {
    let stranger = SimulatedManufacturer::new(&[9; 32]).unwrap();
    let mut keys = SimulatedSoftwareKeys::new(&[1; 32], &stranger).unwrap();
    let mut begin = Device::new(1).begin();
    begin.ek_certificate = keys.ek_certificate().unwrap();
    begin_refused(&begin, RefusalCode::UntrustedEndorsement);
    // Sending the stranger's root along does not make it trusted.
    begin.ek_chain = vec![stranger.root_certificate().to_vec()];
    begin_refused(&begin, RefusalCode::UntrustedEndorsement);
}

#[test]
fn a_certificate_before_its_time_is_refused() {
    let begin = Device::new(1).begin();
    let error = check_begin(&begin, &roots(), 1_000_000_000).unwrap_err();
    assert_eq!(error.code, RefusalCode::UntrustedEndorsement);
}

#[test]
fn a_chip_whose_manufacturer_revoked_its_certificate_is_refused() {
    let manufacturer = SimulatedManufacturer::well_known().unwrap();
    let (mut revoked, mut other) = (Device::new(1), Device::new(2));
    let key = TpmtPublic::parse(&revoked.keys.ek_public().unwrap()).unwrap().p256_sec1().unwrap();
    let roots = roots().with_revocation_lists(vec![manufacturer.revoke(&[key]).unwrap()]).unwrap();
    let error = check_begin(&revoked.begin(), &roots, NOW_UNIX_S).unwrap_err();
    assert_eq!(error.code, RefusalCode::UntrustedEndorsement);
    assert!(error.detail.contains("Revoked"), "{}", error.detail);
    check_begin(&other.begin(), &roots, NOW_UNIX_S).unwrap();
}

#[test]
fn a_revocation_list_that_the_manufacturer_did_not_sign_is_not_believed() {
    let mut device = Device::new(1);
    let key = TpmtPublic::parse(&device.keys.ek_public().unwrap()).unwrap().p256_sec1().unwrap();
    let forged = SimulatedManufacturer::new(&[7; 32]).unwrap().revoke(&[key]).unwrap();
    let roots = roots().with_revocation_lists(vec![forged]).unwrap();
    let begin = device.begin();
    // It bears the manufacturer's name and another's signature: what cannot be judged is refused.
    let error = check_begin(&begin, &roots, NOW_UNIX_S).unwrap_err();
    assert_eq!(error.code, RefusalCode::UntrustedEndorsement);
    assert!(EndorsementRoots::default().with_revocation_lists(vec![vec![0x30, 0]]).is_err());
}

#[test]
fn the_root_itself_endorses_nothing() {
    let mut begin = Device::new(1).begin();
    begin.ek_certificate = Some(SimulatedManufacturer::well_known().unwrap().root_certificate().to_vec());
    assert!(check_begin(&begin, &roots(), NOW_UNIX_S).is_err());
}

#[test]
fn the_certificate_of_one_chip_with_the_keys_of_another_is_refused() {
    let mut begin = Device::new(2).begin();
    begin.ek_certificate = Device::new(1).begin().ek_certificate;
    begin_refused(&begin, RefusalCode::EndorsementMismatch);
}

#[test]
fn the_endorsement_key_of_one_chip_with_the_attestation_key_of_another_cannot_open_the_credential() {
    let (mut victim, mut thief) = (Device::new(1), Device::new(2));
    let mut begin = thief.begin();
    begin.ek_certificate = victim.keys.ek_certificate().unwrap();
    begin.ek_public = victim.keys.ek_public().unwrap();
    let candidate = check_begin(&begin, &roots(), NOW_UNIX_S).unwrap();
    let credential = challenge(&candidate, &expected().secret, &mut counting()).unwrap();
    for device in [&mut victim, &mut thief] {
        let opened = device.keys.activate(&credential.credential_blob, &credential.encrypted_secret);
        assert_eq!(opened, Err(KeyError::ForeignCredential));
    }
}

#[test]
fn an_endorsement_key_outside_the_templates_is_refused() {
    let mut begin = Device::new(1).begin();
    let mut ek = TpmtPublic::parse(&begin.ek_public).unwrap();
    // A key that may also sign could be used for more than credentials.
    ek.attributes = ek.attributes.and(Attributes::SIGN);
    begin.ek_public = ek.marshal();
    begin_refused(&begin, RefusalCode::UnsuitableEndorsementKey);
}

#[test]
fn an_unrestricted_attestation_key_is_refused() {
    let mut begin = Device::new(1).begin();
    let mut ak = TpmtPublic::parse(&begin.ak_public).unwrap();
    ak.attributes = LDEVID_ATTRIBUTES;
    begin.ak_public = ak.marshal();
    begin_refused(&begin, RefusalCode::UnsuitableAttestationKey);
}

#[test]
fn an_attestation_key_with_any_wrong_attribute_is_refused() {
    let honest = Device::new(1).begin();
    let base = AK_ATTRIBUTES.0;
    let missing = [
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::SIGN,
    ];
    let added =
        [Attributes::DECRYPT, Attributes::ENCRYPTED_DUPLICATION, Attributes::X509_SIGN, Attributes::ST_CLEAR];
    for attributes in missing.iter().map(|bit| base & !bit.0).chain(added.iter().map(|bit| base | bit.0)) {
        let mut begin = honest.clone();
        let mut ak = TpmtPublic::parse(&begin.ak_public).unwrap();
        ak.attributes = Attributes(attributes);
        begin.ak_public = ak.marshal();
        begin_refused(&begin, RefusalCode::UnsuitableAttestationKey);
    }
}

#[test]
fn a_duplicable_identity_key_is_refused() {
    let honest = Device::new(1).begin();
    let base = LDEVID_ATTRIBUTES.0;
    for attributes in [
        base & !Attributes::FIXED_TPM.0,
        base & !Attributes::FIXED_PARENT.0,
        base | Attributes::ENCRYPTED_DUPLICATION.0,
    ] {
        let mut begin = honest.clone();
        let mut ldevid = TpmtPublic::parse(&begin.ldevid_public).unwrap();
        ldevid.attributes = Attributes(attributes);
        begin.ldevid_public = ldevid.marshal();
        begin_refused(&begin, RefusalCode::UnsuitableIdentityKey);
    }
}

#[test]
fn an_imported_or_restricted_identity_key_is_refused() {
    let honest = Device::new(1).begin();
    let base = LDEVID_ATTRIBUTES.0;
    for attributes in
        [base & !Attributes::SENSITIVE_DATA_ORIGIN.0, AK_ATTRIBUTES.0, base | Attributes::DECRYPT.0]
    {
        let mut begin = honest.clone();
        let mut ldevid = TpmtPublic::parse(&begin.ldevid_public).unwrap();
        ldevid.attributes = Attributes(attributes);
        begin.ldevid_public = ldevid.marshal();
        begin_refused(&begin, RefusalCode::UnsuitableIdentityKey);
    }
}

#[test]
fn a_software_key_in_the_signing_request_is_refused() {
    let mut begin = Device::new(1).begin();
    begin.csr = Device::new(2).begin().csr;
    begin_refused(&begin, RefusalCode::BadSigningRequest);
}

#[test]
fn a_signing_request_with_a_broken_signature_is_refused() {
    let mut begin = Device::new(1).begin();
    *begin.csr.last_mut().unwrap() ^= 1;
    begin_refused(&begin, RefusalCode::BadSigningRequest);
    begin.csr = b"not a request".to_vec();
    begin_refused(&begin, RefusalCode::BadSigningRequest);
}

#[test]
fn a_software_key_posing_as_identity_key_is_not_certified() {
    // The claims of a software key can be perfect: public area and signing request are anybody's to write.
    let mut device = Device::new(1);
    let (_, _, honest) = enrolling();
    let software = SigningKey::from(derive_scalar(&[8; 32], "software"));
    let mut begin = device.begin();
    begin.ldevid_public = signing_public(LDEVID_ATTRIBUTES, software.verifying_key()).marshal();
    begin.csr = software_request(&software, rcgen::CertificateParams::default());
    let candidate = check_begin(&begin, &roots(), NOW_UNIX_S).unwrap();
    let credential = challenge(&candidate, &expected().secret, &mut counting()).unwrap();
    // The TPM certifies only what is loaded in it, so the statement is about the key in slot A.
    let finish = device.finish(&begin.csr, &expected(), &credential);
    finish_refused(&candidate, &finish, RefusalCode::BadCertify);
    assert_eq!(finish.proof, honest.proof);
}

#[test]
fn a_signing_request_for_a_foreign_subject_or_name_is_refused() {
    let software = SigningKey::from(derive_scalar(&[8; 32], "software"));
    let mut begin = Device::new(1).begin();
    begin.ldevid_public = signing_public(LDEVID_ATTRIBUTES, software.verifying_key()).marshal();
    let mut subject = rcgen::CertificateParams::default();
    subject.distinguished_name.push(rcgen::DnType::CommonName, "another-device");
    let mut name = rcgen::CertificateParams::default();
    let foreign = "spiffe://muster.example/t/globex/device/another-device".try_into().unwrap();
    name.subject_alt_names.push(rcgen::SanType::URI(foreign));
    for wish in [subject, name] {
        begin.csr = software_request(&software, wish);
        begin_refused(&begin, RefusalCode::BadSigningRequest);
    }
    begin.csr = software_request(&software, rcgen::CertificateParams::default());
    assert!(check_begin(&begin, &roots(), NOW_UNIX_S).is_ok(), "a request without wishes is not");
}

fn software_request(key: &SigningKey, mut wishes: rcgen::CertificateParams) -> Vec<u8> {
    // The library's default subject is a wish too.
    if wishes.distinguished_name == rcgen::CertificateParams::default().distinguished_name {
        wishes.distinguished_name = rcgen::DistinguishedName::new();
    }
    struct Request<'a>(&'a SigningKey, [u8; 65]);
    impl rcgen::PublicKeyData for Request<'_> {
        fn der_bytes(&self) -> &[u8] {
            &self.1
        }
        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ECDSA_P256_SHA256
        }
    }
    impl rcgen::SigningKey for Request<'_> {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            let signature: Signature = self.0.sign(message);
            Ok(signature.to_der().as_bytes().to_vec())
        }
    }
    let request = Request(key, crate::soft::sec1_of(key.verifying_key()));
    wishes.serialize_request(&request).unwrap().der().to_vec()
}

#[test]
fn a_wrong_proof_is_refused() {
    let (_, candidate, mut finish) = enrolling();
    finish.proof[31] ^= 1;
    finish_refused(&candidate, &finish, RefusalCode::WrongProof);
}

#[test]
fn evidence_from_another_tls_channel_is_refused() {
    let (_, candidate, finish) = enrolling();
    let relayed = Expected { exporter: [0xee; 32], ..expected() };
    assert_eq!(check_finish(&candidate, &relayed, &finish).unwrap_err().code, RefusalCode::WrongChannel);
}

#[test]
fn evidence_for_another_challenge_is_refused() {
    let (_, candidate, finish) = enrolling();
    let later = Expected { nonce: [0xee; 32], ..expected() };
    // The proof covers the nonce as well and is looked at first.
    assert_eq!(check_finish(&candidate, &later, &finish).unwrap_err().code, RefusalCode::WrongProof);
    let with_proof = Finish { proof: activation_proof(&later.secret, &later.nonce), ..finish };
    assert_eq!(check_finish(&candidate, &later, &with_proof).unwrap_err().code, RefusalCode::WrongChannel);
}

#[test]
fn evidence_for_another_signing_request_is_refused() {
    let (_, mut candidate, finish) = enrolling();
    candidate.csr_hash[0] ^= 1;
    finish_refused(&candidate, &finish, RefusalCode::WrongChannel);
}

#[test]
fn a_statement_signed_by_another_key_is_refused() {
    let (_, candidate, honest) = enrolling();
    let other = Device::new(2);
    let mut finish = honest.clone();
    other.forge(&mut finish.certify, |_| {});
    finish_refused(&candidate, &finish, RefusalCode::BadCertify);
    let mut finish = honest;
    other.forge(&mut finish.quote, |_| {});
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
}

#[test]
fn a_statement_changed_after_signing_is_refused() {
    let (_, candidate, mut finish) = enrolling();
    *finish.quote.attest.last_mut().unwrap() ^= 1;
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
}

#[test]
fn a_quote_in_place_of_the_certification_is_refused() {
    let (_, candidate, mut finish) = enrolling();
    std::mem::swap(&mut finish.certify, &mut finish.quote);
    finish_refused(&candidate, &finish, RefusalCode::BadCertify);
    finish.quote = enrolling().2.certify;
    finish.certify = enrolling().2.certify;
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
}

#[test]
fn a_quote_of_other_registers_is_refused() {
    let (device, candidate, honest) = enrolling();
    for registers in [vec![0, 7], vec![0, 7, 8], vec![0, 7, 9, 10], vec![]] {
        let mut finish = honest.clone();
        device.forge(&mut finish.quote, |statement| {
            let Attested::Quote { selection, .. } = &mut statement.attested else { unreachable!() };
            selection[0].registers = registers;
        });
        finish_refused(&candidate, &finish, RefusalCode::BadQuote);
    }
}

#[test]
fn a_quote_of_another_bank_or_of_two_is_refused() {
    let (device, candidate, honest) = enrolling();
    let mut finish = honest.clone();
    device.forge(&mut finish.quote, |statement| {
        let Attested::Quote { selection, .. } = &mut statement.attested else { unreachable!() };
        selection[0].hash = 0x0004;
    });
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
    let mut finish = honest;
    device.forge(&mut finish.quote, |statement| {
        let Attested::Quote { selection, .. } = &mut statement.attested else { unreachable!() };
        selection.push(selection[0].clone());
    });
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
}

#[test]
fn register_values_that_were_not_quoted_are_refused() {
    let (_, candidate, honest) = enrolling();
    let mut finish = honest.clone();
    finish.pcrs[1] = [0xee; 32];
    finish_refused(&candidate, &finish, RefusalCode::PcrMismatch);
    let mut finish = honest;
    finish.pcrs.pop();
    finish_refused(&candidate, &finish, RefusalCode::PcrMismatch);
}

#[test]
fn an_event_log_that_does_not_replay_is_refused() {
    let (_, candidate, honest) = enrolling();
    let changes: [fn(&mut Vec<Event>); 4] = [
        |log| drop(log.remove(2)),
        |log| log[0].digest = [0xee; 32],
        |log| log.push(log[1].clone()),
        |log| log[0].pcr = 5,
    ];
    for change in changes {
        let mut finish = honest.clone();
        change(&mut finish.event_log);
        finish_refused(&candidate, &finish, RefusalCode::EventLogMismatch);
    }
}

#[test]
fn a_register_that_the_log_is_silent_about_has_the_value_that_was_quoted() {
    // Firmware keeps no log, or the device may not read it: the quote proves the value, and policy judges that.
    let (_, candidate, mut finish) = enrolling();
    let honest = check_finish(&candidate, &expected(), &finish).unwrap();
    finish.event_log.clear();
    assert_eq!(check_finish(&candidate, &expected(), &finish).unwrap().pcrs, honest.pcrs);
    finish.pcrs[0] = [0; 32];
    finish_refused(&candidate, &finish, RefusalCode::PcrMismatch);
}

#[test]
fn trailing_bytes_are_refused_in_every_structure() {
    let honest = Device::new(1).begin();
    let parts: [fn(&mut Begin) -> &mut Vec<u8>; 3] =
        [|begin| &mut begin.ek_public, |begin| &mut begin.ak_public, |begin| &mut begin.ldevid_public];
    for part in parts {
        let mut begin = honest.clone();
        part(&mut begin).push(0);
        begin_refused(&begin, RefusalCode::Malformed);
    }
    let mut begin = honest;
    begin.csr.push(0);
    begin_refused(&begin, RefusalCode::BadSigningRequest);

    let (device, candidate, honest) = enrolling();
    let mut finish = honest.clone();
    finish.certify.signature.push(0);
    finish_refused(&candidate, &finish, RefusalCode::BadCertify);
    // Even under a good signature.
    let mut finish = honest;
    finish.quote.attest.push(0);
    let signature: Signature = device.keys.stolen_ak().sign(&finish.quote.attest);
    let (r, s) = signature.split_bytes();
    let hash = crate::wire::Hash::Sha256;
    finish.quote.signature = crate::wire::TpmtSignature { hash, r: r.to_vec(), s: s.to_vec() }.marshal();
    finish_refused(&candidate, &finish, RefusalCode::BadQuote);
}

#[test]
fn a_bad_selection_is_the_hubs_fault() {
    let (_, candidate, finish) = enrolling();
    for pcr_selection in [vec![], vec![7, 0], vec![17], vec![24]] {
        let wrong = Expected { pcr_selection, ..expected() };
        assert_eq!(check_finish(&candidate, &wrong, &finish).unwrap_err().code, RefusalCode::HubUnavailable);
    }
}

fn renewing(device: &mut Device, slot: Slot) -> (RenewCandidate, RenewExpected, RenewFinish) {
    let begin = RenewBegin {
        ldevid_public: device.keys.ldevid_public(slot).unwrap().unwrap(),
        csr: signing_request(&mut device.keys, slot).unwrap(),
        agent_version: "0".to_owned(),
    };
    let candidate = check_renew_begin(&begin).unwrap();
    let expected = RenewExpected { nonce: [6; 32], exporter: [7; 32], pcr_selection: SELECTION.to_vec() };
    let binding = qualifying_data(&expected.nonce, &expected.exporter, &begin.csr);
    let finish = RenewFinish {
        session: [0; 16],
        certify: device.keys.certify(slot, &binding).unwrap(),
        quote: device.keys.quote(&SELECTION, &binding).unwrap(),
        pcrs: device.keys.pcrs(&SELECTION).unwrap(),
        event_log: device.log.clone(),
    };
    (candidate, expected, finish)
}

#[test]
fn a_renewal_with_the_key_of_the_other_slot_is_accepted() {
    let mut device = Device::new(1);
    let first = device.keys.ldevid_public(Slot::A).unwrap();
    assert_ne!(Some(device.keys.create_ldevid(Slot::B).unwrap()), first);
    let ak = TpmtPublic::parse(&device.keys.ak_public().unwrap()).unwrap();
    for slot in [Slot::A, Slot::B] {
        let (candidate, expected, finish) = renewing(&mut device, slot);
        check_renew_finish(&candidate, &ak, &expected, &finish).unwrap();
    }
}

#[test]
fn a_renewal_attested_by_another_chip_is_refused() {
    let mut device = Device::new(1);
    let (candidate, expected, finish) = renewing(&mut device, Slot::A);
    let other = TpmtPublic::parse(&Device::new(2).keys.ak_public().unwrap()).unwrap();
    let error = check_renew_finish(&candidate, &other, &expected, &finish).unwrap_err();
    assert_eq!(error.code, RefusalCode::BadCertify);
}

#[test]
fn a_renewal_on_another_channel_is_refused() {
    let mut device = Device::new(1);
    let ak = TpmtPublic::parse(&device.keys.ak_public().unwrap()).unwrap();
    let (candidate, mut expected, finish) = renewing(&mut device, Slot::A);
    expected.exporter = [0xee; 32];
    let error = check_renew_finish(&candidate, &ak, &expected, &finish).unwrap_err();
    assert_eq!(error.code, RefusalCode::WrongChannel);
}

#[test]
fn a_slot_is_never_overwritten() {
    let mut device = Device::new(1);
    let first = device.keys.ldevid_public(Slot::A).unwrap();
    assert_eq!(device.keys.create_ldevid(Slot::A), Err(KeyError::OccupiedSlot(Slot::A)));
    assert_eq!(device.keys.ldevid_public(Slot::A).unwrap(), first);
    device.keys.evict_ldevid(Slot::A).unwrap();
    assert_ne!(Some(device.keys.create_ldevid(Slot::A).unwrap()), first);
}
